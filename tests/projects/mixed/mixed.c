#include <Python.h>
#ifdef WITH_FORTRAN
double squared_(double *);
#else
static double squared_(double *x) { return *x * *x; }
#endif
static PyObject *square(PyObject *self, PyObject *x) {
  double value = PyFloat_AsDouble(x);
  return PyFloat_FromDouble(squared_(&value));
}
static PyMethodDef methods[] = {{"square", square, METH_O, ""}, {0}};
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "mixed", "", -1, methods};
PyMODINIT_FUNC PyInit_mixed(void) { return PyModule_Create(&m); }
