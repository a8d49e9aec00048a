#include "shared.h"
#include <filesystem>
#include <pybind11/pybind11.h>
static void throws() {
  throw Shared(std::filesystem::path("/a/thrown").filename().string());
}
PYBIND11_MODULE(thrower, m) {
  pybind11::register_exception<Shared>(m, "Shared");
  m.attr("function") = pybind11::capsule(reinterpret_cast<void *>(&throws), "function");
}
