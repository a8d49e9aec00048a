#include <Python.h>
int kernel(int);
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "heavy"};
PyMODINIT_FUNC PyInit_heavy(void) { kernel(0); return PyModule_Create(&m); }
