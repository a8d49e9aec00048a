import os, pathlib, sys, time
from setuptools import Extension, setup
kind = os.environ["KIND"]
with open(os.environ["BUILT"], "a") as stream:
    stream.write(kind + "\n")
mended = os.path.exists(os.environ["MENDED"])
if kind == "bad" and not mended:
    sys.exit("this one fails\n::set-output name=x::y\n##[error]z")
if kind == "slow" and not mended:
    time.sleep(600)
pathlib.Path("tiny.c").write_text('''
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }
''')
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
