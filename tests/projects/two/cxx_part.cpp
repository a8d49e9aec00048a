#include <Python.h>
#include <map>
#include <stdexcept>
#include <string>
static thread_local std::map<std::string, int> seen;
static PyObject *count(PyObject *, PyObject *) {
  try { return PyLong_FromLong(++seen.at("word")); }
  catch (const std::out_of_range &) { return PyLong_FromLong(seen["word"] = 1); }
}
static PyMethodDef methods[] = {{"count", count, METH_NOARGS, ""}, {}};
static PyModuleDef m = {PyModuleDef_HEAD_INIT, "cxx_part", "", -1, methods};
PyMODINIT_FUNC PyInit_cxx_part() { return PyModule_Create(&m); }
