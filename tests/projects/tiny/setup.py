import os, pathlib
from setuptools import Extension, setup
print("SEEN", {name: os.environ.get(name) for name in
      ("FROM_PROJECT", "FROM_MATRIX", "HOSTILE", "EVALUATED", "LEAKED", "CFLAGS")})
pathlib.Path("src").mkdir(exist_ok=True)
code = '#include <Python.h>\nstatic struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};\n'
code += "PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }\n"
pathlib.Path("tiny.c").write_text(code)
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
