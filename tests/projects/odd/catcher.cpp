#include "shared.h"
#include <pybind11/pybind11.h>
#include <string>
static thread_local int calls = 0;
PYBIND11_MODULE(catcher, m) {
  m.def("catch_it", [](pybind11::capsule given) -> std::string {
    try { reinterpret_cast<Function>(given.get_pointer())(); }
    catch (const Shared &error) { return error.what() + std::to_string(++calls); }
    return "not thrown";
  });
  m.def("pass_it", [](pybind11::capsule given) {
    reinterpret_cast<Function>(given.get_pointer())();
  });
}
