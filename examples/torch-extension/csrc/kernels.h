// RMS norm over plain pointers, which both bindings share. Of torch it needs the number types at most:
// nvcc compiles kernels.cu in seconds, and takes more than a minute for ATen's headers.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

namespace rmsnorm {

/// out = x / sqrt(mean(x^2) + eps) * weight, for the rows [begin, end) of a matrix.
template <typename T>
void rms_norm_rows(const T* x, const T* weight, T* out, int64_t begin, int64_t end, int64_t width,
                   double eps) {
  // Half precision is too small to add up squares in.
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  for (int64_t row = begin; row < end; ++row) {
    const T* in = x + row * width;
    Sum squares = 0;
    for (int64_t i = 0; i < width; ++i) {
      const Sum value = static_cast<Sum>(in[i]);
      squares += value * value;
    }
    const Sum scale = 1 / std::sqrt(squares / static_cast<Sum>(width) + static_cast<Sum>(eps));
    for (int64_t i = 0; i < width; ++i) {
      out[row * width + i] =
          static_cast<T>(static_cast<Sum>(in[i]) * scale * static_cast<Sum>(weight[i]));
    }
  }
}

/// The same for all rows, on the current CUDA device. It only starts the kernel, on a cudaStream_t.
template <typename T>
void rms_norm_cuda(const T* x, const T* weight, T* out, int64_t rows, int64_t width, double eps,
                   void* stream);

}  // namespace rmsnorm
