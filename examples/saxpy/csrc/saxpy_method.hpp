// The Python side that both modules share: saxpy(a, x, y, out) over float32 buffers.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstddef>
#include <cstring>

namespace saxpy {

// One-dimensional, contiguous float32 memory of any object with the buffer protocol.
class FloatBuffer {
public:
    FloatBuffer() = default;
    FloatBuffer(const FloatBuffer &) = delete;
    FloatBuffer &operator=(const FloatBuffer &) = delete;
    ~FloatBuffer() { PyBuffer_Release(&view_); } // does nothing unless acquired

    // Returns false with a Python exception set.
    bool acquire(PyObject *object, const char *name, int access) {
        if (PyObject_GetBuffer(object, &view_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | access) != 0)
            return false;
        if (view_.ndim == 1 && view_.itemsize == sizeof(float) && is_native_float(view_.format))
            return true;
        PyErr_Format(PyExc_TypeError,
                     "saxpy: %s must be one-dimensional float32, not %d-dimensional '%s'", name,
                     view_.ndim, view_.format ? view_.format : "B");
        return false;
    }

    float *data() const { return static_cast<float *>(view_.buf); }
    std::size_t size() const { return static_cast<std::size_t>(view_.len) / sizeof(float); }

private:
    static bool is_native_float(const char *format) {
        return format && (!std::strcmp(format, "f") || !std::strcmp(format, "@f") ||
                          !std::strcmp(format, "=f"));
    }

    Py_buffer view_{};
};

// `compute` is const char *(float a, const float *x, const float *y, float *out, size_t n): it
// returns what went wrong, or nullptr. It runs without the GIL, so it must not touch Python.
template <typename Compute>
PyObject *saxpy_method(PyObject *args, Compute compute) {
    float a = 0.0F;
    PyObject *x_object = nullptr, *y_object = nullptr, *out_object = nullptr;
    if (!PyArg_ParseTuple(args, "fOOO:saxpy", &a, &x_object, &y_object, &out_object))
        return nullptr;

    FloatBuffer x, y, out;
    if (!x.acquire(x_object, "x", PyBUF_SIMPLE) || !y.acquire(y_object, "y", PyBUF_SIMPLE) ||
        !out.acquire(out_object, "out", PyBUF_WRITABLE))
        return nullptr;
    if (x.size() != y.size() || x.size() != out.size()) {
        PyErr_Format(PyExc_ValueError, "saxpy: x has %zu items, y has %zu, out has %zu", x.size(),
                     y.size(), out.size());
        return nullptr;
    }

    const char *error = nullptr;
    Py_BEGIN_ALLOW_THREADS
    error = compute(a, x.data(), y.data(), out.data(), out.size());
    Py_END_ALLOW_THREADS
    if (error) {
        PyErr_Format(PyExc_RuntimeError, "saxpy: CUDA: %s", error);
        return nullptr;
    }
    Py_RETURN_NONE;
}

// Neither module keeps state: any interpreter, with or without a GIL, may load it.
inline PyModuleDef_Slot *stateless_slots() {
    static PyModuleDef_Slot slots[] = {
#if PY_VERSION_HEX >= 0x030C0000
        {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
        {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
        {0, nullptr},
    };
    return slots;
}

} // namespace saxpy
