#include <Python.h>
#include <float.h>
long sum_of_two(long, long);
const char *answer_words(void);
const char *answer_file(void);
int answer(void);
int inlined(int);
__attribute__((visibility("default"))) int shown(void) { return 1; }
int hidden(void) { return 2; }
static _Thread_local int mine = 5;
static PyObject *all(PyObject *self, PyObject *none) {
  volatile unsigned __int128 big = (unsigned __int128)1 << 100;
  volatile long double third = 1.0L / 3;
  return Py_BuildValue("(lissiiii)", sum_of_two(2, 3), answer(), answer_words(), answer_file(),
                       inlined(6), mine, (int)(big >> 98), (int)LDBL_MANT_DIG + (third == 1));
}
static PyMethodDef methods[] = {{"all", all, METH_NOARGS, ""}, {0}};
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "plain", "", -1, methods};
PyMODINIT_FUNC PyInit_plain(void) { return PyModule_Create(&m); }
