import pathlib
from setuptools import Extension, setup
code = '#include <Python.h>\nstatic struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};\n'
code += "PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }\n"
pathlib.Path("tiny.c").write_text(code)
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])], py_modules=["pure"])
