// `import rmsnorm._C` loads this library, which registers the operators; the module itself only
// says what it was compiled with.
#include <Python.h>
#include <torch/headeronly/version.h>

#ifdef WITH_CUDA
#include <cuda_runtime_api.h>
#else
#define CUDART_VERSION 0
#endif

static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr,
                                 nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit__C() {
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr || PyModule_AddStringConstant(module, "torch_version", TORCH_VERSION) < 0 ||
      PyModule_AddIntConstant(module, "cuda_version", CUDART_VERSION) < 0) {
    Py_XDECREF(module);
    return nullptr;
  }
  return module;
}
