#define _GNU_SOURCE
#include <Python.h>
#include <pthread.h>
#include <stdlib.h>
static void *nothing(void *x) { return x; }
static PyObject *run(PyObject *self, PyObject *args) {
    pthread_t thread; /* in libc since glibc 2.34 */
    if (pthread_create(&thread, NULL, nothing, NULL)) return PyErr_NoMemory();
    pthread_join(thread, NULL);
    return PyLong_FromLong(strtol("42", NULL, 10)); /* C23's since glibc 2.38 */
}
static PyMethodDef methods[] = {{"run", run, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static PyModuleDef def = {PyModuleDef_HEAD_INIT, "three", NULL, -1, methods};
PyMODINIT_FUNC PyInit_three(void) { return PyModule_Create(&def); }
