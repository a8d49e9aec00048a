// The operator over libtorch's stable ABI: a wheel serves the torch that TORCH_TARGET_VERSION names
// (setup.py sets it), and every later one. Only torch/csrc/stable, torch/headeronly and the C shims are used.
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/macros.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/Dispatch_v2.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include "kernels.h"

#ifdef WITH_CUDA
#include <cuda_runtime.h>
#endif

namespace rmsnorm {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

void check(const Tensor& x, const Tensor& weight) {
  STD_TORCH_CHECK(x.dim() >= 1, "rms_norm: x needs at least one dimension");
  STD_TORCH_CHECK(weight.dim() == 1 && weight.size(0) == x.size(x.dim() - 1),
                  "rms_norm: weight must have the size of x's last dimension");
  STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type() && weight.device() == x.device(),
                  "rms_norm: weight must have the dtype and the device of x");
}

Tensor rms_norm_cpu(const Tensor& input, const Tensor& weights, double eps) {
  check(input, weights);
  const Tensor x = torch::stable::contiguous(input), weight = torch::stable::contiguous(weights),
               out = torch::stable::empty_like(x);
  const int64_t width = x.size(x.dim() - 1), rows = width == 0 ? 0 : x.numel() / width;
  THO_DISPATCH_V2(
      x.scalar_type(), "rms_norm", AT_WRAP([&] {
        torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
          rms_norm_rows(x.const_data_ptr<scalar_t>(), weight.const_data_ptr<scalar_t>(),
                        out.mutable_data_ptr<scalar_t>(), begin, end, width, eps);
        });
      }),
      AT_EXPAND(AT_FLOATING_TYPES), ScalarType::Half, ScalarType::BFloat16);
  return out;
}

#ifdef WITH_CUDA
Tensor rms_norm_on_gpu(const Tensor& input, const Tensor& weights, double eps) {
  check(input, weights);
  const int32_t device = input.get_device_index();
  const torch::stable::accelerator::DeviceGuard guard(device);
  const Tensor x = torch::stable::contiguous(input), weight = torch::stable::contiguous(weights),
               out = torch::stable::empty_like(x);
  if (x.numel() > 0) {
    const int64_t width = x.size(x.dim() - 1);
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device, &stream));
    const int64_t rows = x.numel() / width;
    THO_DISPATCH_V2(
        x.scalar_type(), "rms_norm", AT_WRAP([&] {
          rms_norm_cuda(x.const_data_ptr<scalar_t>(), weight.const_data_ptr<scalar_t>(),
                        out.mutable_data_ptr<scalar_t>(), rows, width, eps, stream);
        }),
        AT_EXPAND(AT_FLOATING_TYPES), ScalarType::Half, ScalarType::BFloat16);
    STD_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return out;
}
#endif

}  // namespace

STABLE_TORCH_LIBRARY(rmsnorm, m) {
  m.def("rms_norm(Tensor x, Tensor weight, float eps) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(rmsnorm, CPU, m) { m.impl("rms_norm", TORCH_BOX(&rms_norm_cpu)); }

#ifdef WITH_CUDA
STABLE_TORCH_LIBRARY_IMPL(rmsnorm, CUDA, m) { m.impl("rms_norm", TORCH_BOX(&rms_norm_on_gpu)); }
#endif

}  // namespace rmsnorm
