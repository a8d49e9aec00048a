// saxpy._cpu: the reference that every build has.
#include "saxpy_method.hpp"

namespace {

const char *saxpy_on_cpu(float a, const float *x, const float *y, float *out, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
        out[i] = a * x[i] + y[i];
    return nullptr;
}

PyObject *cpu_saxpy(PyObject *, PyObject *args) {
    return saxpy::saxpy_method(args, saxpy_on_cpu);
}

PyMethodDef methods[] = {
    {"saxpy", cpu_saxpy, METH_VARARGS, "saxpy(a, x, y, out): out = a*x + y, on the CPU."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "saxpy._cpu",
                          nullptr,
                          0,
                          methods,
                          saxpy::stateless_slots(),
                          nullptr,
                          nullptr,
                          nullptr};

} // namespace

PyMODINIT_FUNC PyInit__cpu() { return PyModuleDef_Init(&definition); }
