from setuptools import Extension, setup
setup(ext_modules=[Extension("three", ["three.c"], libraries=["pthread"])])
