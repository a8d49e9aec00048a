import os, subprocess
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
case, flags, libraries = os.environ["CASE"], [], []

class helped(build_ext):
    def run(self):
        compilers = {"runs": os.environ["CC"], "helped": os.environ["CC_FOR_BUILD"]}
        if case in compilers:
            subprocess.check_call([*compilers[case].split(), "helper.c", "-o", "helper"])
            with open("native.c", "w") as made:
                made.write(subprocess.check_output(["./helper"], text=True))
        super().run()

flags += {"march": ["-march=native"], "avx": ["-mavx2"]}.get(case, [])
libraries += {"links": ["bz2"]}.get(case, [])
made = Extension("native", ["native.c"], extra_compile_args=flags, libraries=libraries)
setup(ext_modules=[made], cmdclass={"build_ext": helped})
