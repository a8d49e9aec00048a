import pathlib
from setuptools import Extension, setup
pathlib.Path("tiny.c").write_text('''
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }
''')
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
