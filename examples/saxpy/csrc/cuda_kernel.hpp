// What cuda.cpp (host compiler, Python) and cuda_kernel.cu (nvcc, no Python) know of each other.
// Apart, nvcc never parses Python's headers, and the kernel's object is the same for all Pythons.
#pragma once

#include <cstddef>

namespace saxpy {

// Whether a driver and at least one device are at hand. Never fails.
bool device_available() noexcept;

// out = a*x + y through the current device; all pointers are host memory.
// Returns what went wrong, or nullptr.
const char *saxpy_on_device(float a, const float *x, const float *y, float *out,
                            std::size_t n) noexcept;

} // namespace saxpy
