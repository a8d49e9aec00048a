import os, pathlib
from setuptools import Extension, setup
print("SEEN", os.environ["HOSTILE"], os.environ["EVALUATED"])
pathlib.Path("c_part.c").write_text('''
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "c_part"};
PyMODINIT_FUNC PyInit_c_part(void) { return PyModule_Create(&m); }
''')
pathlib.Path("cxx_part.cpp").write_text('''
#include <Python.h>
#include <string>
static PyObject *word(PyObject *, PyObject *) {
  std::string text = "made of " + std::to_string(2);
  return PyUnicode_FromString(text.c_str());
}
static PyMethodDef methods[] = {{"word", word, METH_NOARGS, nullptr}, {nullptr}};
static PyModuleDef m = {PyModuleDef_HEAD_INIT, "cxx_part", nullptr, -1, methods};
PyMODINIT_FUNC PyInit_cxx_part() { return PyModule_Create(&m); }
''')
setup(name="two", version="1.0",
      ext_modules=[Extension("c_part", ["c_part.c"]), Extension("cxx_part", ["cxx_part.cpp"])])
