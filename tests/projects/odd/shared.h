#pragma once
#include <stdexcept>
struct __attribute__((visibility("default"))) Shared : std::runtime_error {
  using std::runtime_error::runtime_error;
};
using Function = void (*)();
