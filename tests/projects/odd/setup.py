import os, pathlib, subprocess
from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup

def call(*argv):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print("CALL", done.returncode, " ".join(argv), "|", done.stdout.strip(), flush=True)
    return done.returncode

assert call("cc", "-c", "sum.S", "-o", "sum.o") == 0
pathlib.Path("flags.rsp").write_text('-DANSWER=42 "-DWORDS=\\"two words\\"" -fPIC\n')
assert call("cc", "@flags.rsp", "-c", "with spaces/answer.c", "-o", "with spaces/answer.o") == 0
for flag in ("-march=haswell", "-msse4.2", "-m64"):
    assert call("cc", flag, "-c", "with spaces/answer.c", "-o", "never.o") != 0
assert call("cc", "-c", "broken.c") == 1
assert call("cc", "-march=native", "-DANSWER=1", '-DWORDS="x"', "-c", "with spaces/answer.c") == 0
assert call("gcc", "-dumpmachine") == call("c++", "--version") == 0
assert call("cc", "-print-file-name=libstdc++.so") == 0

setup(ext_modules=[
    Pybind11Extension("thrower", ["thrower.cpp"], cxx_std=17),
    Pybind11Extension("catcher", ["catcher.cpp"], cxx_std=17, extra_compile_args=["-O1"]),
    Extension("plain", ["plain.c", "lto.c"], extra_compile_args=["-flto", "-fvisibility=hidden"],
              extra_link_args=["-flto"], extra_objects=["sum.o", "with spaces/answer.o"]),
])
