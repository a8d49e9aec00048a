#include <Python.h>
#include <math.h>
static PyObject *power(PyObject *self, PyObject *args) {
  double a, b;
  return PyArg_ParseTuple(args, "dd", &a, &b) ? PyFloat_FromDouble(pow(a, b)) : NULL;
}
static PyMethodDef methods[] = {{"power", power, METH_VARARGS, ""}, {0}};
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "c_part", "", -1, methods};
PyMODINIT_FUNC PyInit_c_part(void) { return PyModule_Create(&m); }
