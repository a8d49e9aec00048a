import os, platform, struct, subprocess, sys, sysconfig
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

class asking(build_ext):
    def run(self):
        arch = sysconfig.get_platform().removeprefix("linux-")
        assert arch in {"aarch64", "riscv64", "loongarch64"}, arch
        script = "import platform; print(platform.machine())"
        child = subprocess.check_output([sys.executable, "-c", script], text=True).strip()
        said = {platform.machine(), platform.uname().machine, os.uname()[4], child}
        assert said == {arch}, said
        assert struct.calcsize("P") == 8 and sys.byteorder == "little"
        assert sysconfig.get_config_var("MULTIARCH") == f"{arch}-linux-gnu"
        assert sysconfig.get_config_var("EXT_SUFFIX").endswith(f"-{arch}-linux-gnu.so")
        (extension,) = self.extensions
        define = {"riscv64": "__riscv", "loongarch64": "__loongarch64"}[arch]
        with open("native.c.in") as stream, open("native.c", "w") as made:
            made.write(stream.read().format(arch=platform.machine(), define=define))
        super().run()

api = [("Py_LIMITED_API", "0x030b0000")]
setup(
    ext_modules=[Extension("native", ["native.c"], define_macros=api, py_limited_api=True)],
    cmdclass={"build_ext": asking},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
