// saxpy._cuda: only in CUDA builds.
#include "cuda_kernel.hpp"
#include "saxpy_method.hpp"

#include <cuda_runtime_api.h>

namespace {

PyObject *cuda_saxpy(PyObject *, PyObject *args) {
    return saxpy::saxpy_method(args, saxpy::saxpy_on_device);
}

PyObject *cuda_available(PyObject *, PyObject *) {
    bool available = false;
    Py_BEGIN_ALLOW_THREADS // the first call starts the driver, which can take seconds
    available = saxpy::device_available();
    Py_END_ALLOW_THREADS
    return PyBool_FromLong(available);
}

PyObject *cuda_version(PyObject *, PyObject *) {
    return PyUnicode_FromFormat("%d.%d", CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
}

PyMethodDef methods[] = {
    {"saxpy", cuda_saxpy, METH_VARARGS, "saxpy(a, x, y, out): out = a*x + y, on the GPU."},
    {"available", cuda_available, METH_NOARGS, "Whether a driver and a device are at hand."},
    {"version", cuda_version, METH_NOARGS, "The CUDA version compiled against."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "saxpy._cuda",
                          nullptr,
                          0,
                          methods,
                          saxpy::stateless_slots(),
                          nullptr,
                          nullptr,
                          nullptr};

} // namespace

PyMODINIT_FUNC PyInit__cuda() { return PyModuleDef_Init(&definition); }
