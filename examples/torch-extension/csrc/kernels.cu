#include <cuda_runtime.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "kernels.h"

namespace rmsnorm {
namespace {

constexpr int THREADS = 256;
constexpr int WARP = 32;

template <typename Sum>
__device__ Sum add_over_block(Sum value) {
  __shared__ Sum of_warp[THREADS / WARP];
  for (int step = WARP / 2; step > 0; step /= 2) {
    value += __shfl_down_sync(0xffffffff, value, step);
  }
  if (threadIdx.x % WARP == 0) {
    of_warp[threadIdx.x / WARP] = value;
  }
  __syncthreads();
  Sum total = 0;
  for (Sum each : of_warp) {
    total += each;
  }
  return total;
}

template <typename T, typename Sum>
__global__ void rms_norm_kernel(const T* x, const T* weight, T* out, int64_t width, Sum eps) {
  const T* in = x + blockIdx.x * width;
  T* to = out + blockIdx.x * width;
  Sum squares = 0;
  for (int64_t i = threadIdx.x; i < width; i += THREADS) {
    const Sum value = static_cast<Sum>(in[i]);
    squares += value * value;
  }
  const Sum mean = add_over_block(squares) / static_cast<Sum>(width);
  const Sum scale = static_cast<Sum>(1) / sqrt(mean + eps);
  for (int64_t i = threadIdx.x; i < width; i += THREADS) {
    to[i] = static_cast<T>(static_cast<Sum>(in[i]) * scale * static_cast<Sum>(weight[i]));
  }
}

}  // namespace

template <typename T>
void rms_norm_cuda(const T* x, const T* weight, T* out, int64_t rows, int64_t width, double eps,
                   void* stream) {
  using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;
  rms_norm_kernel<<<rows, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(
      x, weight, out, width, static_cast<Sum>(eps));
}

#define INSTANTIATE(T) \
  template void rms_norm_cuda(const T*, const T*, T*, int64_t, int64_t, double, void*)
INSTANTIATE(float);
INSTANTIATE(double);
INSTANTIATE(torch::headeronly::Half);
INSTANTIATE(torch::headeronly::BFloat16);

}  // namespace rmsnorm
