import os, pathlib, subprocess
from setuptools import Extension, setup
kind = os.environ["KIND"]
code = '#include <Python.h>\nint greet(void);\n'
code += 'static PyObject *f(PyObject *s, PyObject *a) { return PyLong_FromLong(greet()); }\n'
code += 'static PyMethodDef d[] = {{"greet", f, METH_NOARGS, 0}, {0}};\n'
code += 'static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "greeter", 0, -1, d};\n'
code += 'PyMODINIT_FUNC PyInit_greeter(void) { return PyModule_Create(&m); }\n'
links = {}
if kind == "packaged":
    # of a package of the image: libgomp, which no policy promises
    code += '#include <omp.h>\n#include <stdlib.h>\nint greet(void) '
    # and of libc: auditwheel 6.4 takes no extension that does not need it
    code += '{ return omp_get_max_threads() > 0 && !getenv("NEVER_SET") ? 42 : 0; }\n'
    links = {"extra_link_args": ["-fopenmp"], "extra_compile_args": ["-fopenmp"]}
else:
    pathlib.Path("greet.c").write_text("int greet(void) { return 42; }")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", "libgreet.so", "greet.c",
                    "-Wl,-soname,libgreet.so.1"], check=True)
    links = {"libraries": ["greet"], "library_dirs": ["."]}
    if kind == "handmade":
        subprocess.run(["cp", "libgreet.so", "/usr/local/lib/libgreet.so.1"], check=True)
        subprocess.run(["/sbin/ldconfig"], check=True)
pathlib.Path("greeter.c").write_text(code)
setup(name="greeter", version="1.0", ext_modules=[Extension("greeter", ["greeter.c"], **links)])
