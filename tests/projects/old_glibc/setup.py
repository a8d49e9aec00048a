import os, subprocess
from setuptools import Extension, setup
cxx = os.environ["CXX"].split()
subprocess.check_call([*cxx, "helper.cpp", "-o", "helper"])
with open("number.h", "w") as made:
    made.write(subprocess.check_output(["./helper"], text=True))
setup(ext_modules=[Extension("native", ["native.cpp"], include_dirs=["."])])
