import os, pathlib
from setuptools import Extension, setup
names = ("MAX_JOBS", "NVCC_THREADS", "CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS", "MINE")
print("told", *(f"{name}={os.environ.get(name)}" for name in names), flush=True)
pathlib.Path("tiny.c").write_text('''
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }
''')
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
