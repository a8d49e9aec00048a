#include <stdio.h>
int main(void) {
  puts("#include <Python.h>\n"
       "static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, \"native\"};\n"
       "PyMODINIT_FUNC PyInit_native(void) { return PyModule_Create(&m); }");
  return 0;
}
