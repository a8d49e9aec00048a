import os
from setuptools import Extension, setup
print("SEEN", {name: os.environ.get(name) for name in ("VERSION", "CUDA_VERSION", "EMPTY")})
setup(ext_modules=[Extension("ext", ["ext.c"])]%s)
