#include "cuda_kernel.hpp"

#include <algorithm>
#include <cstddef>

namespace saxpy {

// Not in an anonymous namespace: nvcc names those after a hash of this file's absolute path, and
// a kernel's name stays in the wheel, which would then differ from one build folder to another.
__global__ void saxpy_kernel(float a, const float *x, float *y, std::size_t n) {
    const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
    for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
         i += stride)
        y[i] = a * x[i] + y[i];
}

namespace {

constexpr std::size_t threads_per_block = 256;
constexpr std::size_t most_blocks = 65536; // the kernel's loop takes what is beyond them

class DeviceVector {
public:
    explicit DeviceVector(std::size_t n) : bytes_(n * sizeof(float)) {}
    DeviceVector(const DeviceVector &) = delete;
    DeviceVector &operator=(const DeviceVector &) = delete;
    ~DeviceVector() { cudaFree(data_); } // cudaFree takes nullptr

    cudaError_t upload(const float *host) {
        const cudaError_t status = cudaMalloc(&data_, bytes_);
        return status == cudaSuccess ? cudaMemcpy(data_, host, bytes_, cudaMemcpyHostToDevice)
                                     : status;
    }
    cudaError_t download(float *host) const {
        return cudaMemcpy(host, data_, bytes_, cudaMemcpyDeviceToHost);
    }
    float *data() const { return data_; }

private:
    float *data_ = nullptr;
    std::size_t bytes_;
};

cudaError_t run(float a, const float *host_x, const float *host_y, float *host_out,
                std::size_t n) {
    DeviceVector x(n), y(n);
    if (const cudaError_t status = x.upload(host_x); status != cudaSuccess)
        return status;
    if (const cudaError_t status = y.upload(host_y); status != cudaSuccess)
        return status;
    const std::size_t blocks = std::min((n - 1) / threads_per_block + 1, most_blocks);
    saxpy_kernel<<<static_cast<unsigned>(blocks), threads_per_block>>>(a, x.data(), y.data(), n);
    if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess)
        return status;
    return y.download(host_out); // waits for the kernel, and reports its failure
}

} // namespace

bool device_available() noexcept {
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

const char *saxpy_on_device(float a, const float *x, const float *y, float *out,
                            std::size_t n) noexcept {
    const cudaError_t status = n == 0 ? cudaSuccess : run(a, x, y, out, n);
    return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

} // namespace saxpy
