// The operator over libtorch's C++ ABI: a wheel serves the one torch that it is compiled with.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "kernels.h"

#ifdef WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace rmsnorm {
namespace {

void check(const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(x.dim() >= 1, "rms_norm: x needs at least one dimension");
  TORCH_CHECK(weight.dim() == 1 && weight.size(0) == x.size(-1),
              "rms_norm: weight must have the size of x's last dimension");
  TORCH_CHECK(weight.scalar_type() == x.scalar_type() && weight.device() == x.device(),
              "rms_norm: weight must have the dtype and the device of x");
}

at::Tensor rms_norm_cpu(const at::Tensor& input, const at::Tensor& weights, double eps) {
  check(input, weights);
  const at::Tensor x = input.contiguous(), weight = weights.contiguous(), out = at::empty_like(x);
  const int64_t width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "rms_norm", [&] {
    const scalar_t *from = x.const_data_ptr<scalar_t>(), *by = weight.const_data_ptr<scalar_t>();
    scalar_t* to = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      rms_norm_rows(from, by, to, begin, end, width, eps);
    });
  });
  return out;
}

#ifdef WITH_CUDA
at::Tensor rms_norm_on_gpu(const at::Tensor& input, const at::Tensor& weights, double eps) {
  check(input, weights);
  const c10::cuda::CUDAGuard guard(input.device());
  const at::Tensor x = input.contiguous(), weight = weights.contiguous(), out = at::empty_like(x);
  if (x.numel() > 0) {
    const int64_t width = x.size(-1), rows = x.numel() / width;
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "rms_norm", [&] {
      rms_norm_cuda(x.const_data_ptr<scalar_t>(), weight.const_data_ptr<scalar_t>(),
                    out.mutable_data_ptr<scalar_t>(), rows, width, eps,
                    c10::cuda::getCurrentCUDAStream());
    });
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return out;
}
#endif

}  // namespace

TORCH_LIBRARY(rmsnorm, m) { m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor"); }

TORCH_LIBRARY_IMPL(rmsnorm, CPU, m) { m.impl("rms_norm", &rms_norm_cpu); }

#ifdef WITH_CUDA
TORCH_LIBRARY_IMPL(rmsnorm, CUDA, m) { m.impl("rms_norm", &rms_norm_on_gpu); }
#endif

}  // namespace rmsnorm
