import os
from setuptools import Extension, setup
setup(version=os.environ["VERSION"],
      ext_modules=[Extension("c_part", ["c_part.c"]), Extension("cxx_part", ["cxx_part.cpp"])])
