#include <Python.h>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include "number.h"
static PyObject *number(PyObject *, PyObject *) {
  try { throw std::out_of_range(std::to_string(NUMBER)); }
  catch (const std::out_of_range &error) {
    std::ostringstream text;
    text << error.what() << '!';
    std::cout << "said " << text.str() << std::endl;
    return PyUnicode_FromString(text.str().c_str());
  }
}
static PyMethodDef methods[] = {{"number", number, METH_NOARGS, ""}, {}};
static PyModuleDef m = {PyModuleDef_HEAD_INIT, "native", "", -1, methods};
PyMODINIT_FUNC PyInit_native() { return PyModule_Create(&m); }
