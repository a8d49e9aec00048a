#include <Python.h>
__attribute__((used)) static const char round_of_this[] = "{mark}";
static struct PyModuleDef m = {{PyModuleDef_HEAD_INIT, "chaos"}};
PyMODINIT_FUNC PyInit_chaos(void) {{ return PyModule_Create(&m); }}
