from setuptools import Extension, setup
setup(name="heavy", version="1.0", ext_modules=[Extension("heavy", ["module.c", "kernel.c"])])
