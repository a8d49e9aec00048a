from setuptools import Extension, setup
flags = ["-Wl,-Bsymbolic-functions", "-Wl,-z,separate-code"]
setup(name="root", version="1.0",
      ext_modules=[Extension("root", ["root.c"], libraries=["m"], extra_link_args=flags)])
