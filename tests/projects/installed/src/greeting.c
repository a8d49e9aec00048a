#include <Python.h>

static PyObject *hello(PyObject *self, PyObject *nothing) { return PyUnicode_FromString("hello"); }
static PyMethodDef functions[] = {{"hello", hello, METH_NOARGS, NULL}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "greeting", NULL, -1, functions};
PyMODINIT_FUNC PyInit_greeting(void) { return PyModule_Create(&module); }
