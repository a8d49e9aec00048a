#include <Python.h>
#include <math.h>
static PyObject *root(PyObject *self, PyObject *x) {
  return PyFloat_FromDouble(sqrt(PyFloat_AsDouble(x)) + 0 * pow(PyFloat_AsDouble(x), 0.3));
}
static PyMethodDef methods[] = {{"root", root, METH_O, ""}, {0}};
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "root", "", -1, methods};
PyMODINIT_FUNC PyInit_root(void) { return PyModule_Create(&m); }
