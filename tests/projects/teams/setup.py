import pathlib
from setuptools import Extension, setup
pathlib.Path("teams.c").write_text('''
#include <Python.h>
#include <omp.h>
int teams(void) { return omp_get_max_threads(); }
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "teams"};
PyMODINIT_FUNC PyInit_teams(void) { return PyModule_Create(&m); }
''')
flags = ["-fopenmp", "-g0"]
setup(name="teams", version="1.0", ext_modules=[
    Extension("teams", ["teams.c"], extra_compile_args=flags, extra_link_args=flags)])
