#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "native"};
PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&m); }
