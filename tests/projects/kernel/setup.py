import subprocess
from setuptools import Extension, setup
places = "nvcc", "/usr/local/cuda-13.0/bin/nvcc", "/usr/local/cuda/bin/nvcc"
flags = ["-arch=sm_90", "-Xcompiler=-fPIC,-g"]
for number, nvcc in enumerate(places):
    command = [nvcc, *flags, "-rdc=true", "-c", "kernel.cu", "-o", f"{number}.o"]
    subprocess.run(command, check=True)
subprocess.run(["nvcc", *flags, "-dlink", "0.o", "-o", "link.o"], check=True)
libraries = [f"/usr/local/cuda/lib64/libcuda{each}.a" for each in ("devrt", "rt_static")]
static = ["0.o", "link.o", *libraries]
setup(ext_modules=[Extension("kernel", ["module.c"], extra_objects=static, libraries=["stdc++"])])
