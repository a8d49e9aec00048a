"""Variables and files that tell build systems to build for another machine.

Every build system has its own way to learn that. All of them get the same settings here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.models.platforms import Arch


def tool(arch: Arch, name: str) -> str:
    """Return a driver's name with the architecture in it: ``aarch64-linux-gnu-gcc``."""
    return f"{arch.facts.triplet}-{name}"


def compilers(arch: Arch) -> dict[str, str]:
    """Return the variables that name the compilers of a target."""
    cc, cxx = tool(arch, "gcc"), tool(arch, "g++")
    return {
        "CC": cc,
        "CXX": cxx,
        "AR": tool(arch, "ar"),
        "LDSHARED": f"{cc} -shared",
        "LDCXXSHARED": f"{cxx} -shared",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossBuild:
    """A build on the machine ``here`` for the machine ``arch``; all files are in ``own``.

    ``cuda`` is the CUDA toolkit, if any.
    """

    arch: Arch
    here: Arch
    own: Path
    cuda: str = ""

    @property
    def programs(self) -> Path:
        """The drivers of the target's compilers."""
        return self.own / "bin"

    @property
    def programs_here(self) -> Path:
        """The drivers of compilers for this machine, for programs that run during the build."""
        return self.own / "here"

    @property
    def python(self) -> Path:
        """Python's headers and settings: ``include`` and ``lib``."""
        return self.own / "python"

    @property
    def toolchain_file(self) -> Path:
        """CMake's toolchain file."""
        return self.own / "toolchain.cmake"

    @property
    def cross_file(self) -> Path:
        """Meson's cross file."""
        return self.own / "cross.ini"

    @property
    def _python_config(self) -> Path:
        """Answers build systems that run no interpreter."""
        return self.programs / "python3-config"

    @property
    def _no_packages(self) -> Path:
        """An empty directory for pkg-config: the host's libraries are for another machine."""
        return self.own / "pkgconfig"

    def write_files(self, suffix: str, flags: str) -> None:
        """Write the files that `variables` name, for a Python; see `config`."""
        self.toolchain_file.write_text(self.cmake(), encoding="utf-8")
        self.cross_file.write_text(self.meson(), encoding="utf-8")
        self._python_config.write_text(self.config(suffix, flags), encoding="utf-8")
        self._python_config.chmod(0o755)
        self._no_packages.mkdir(exist_ok=True)

    def variables(self) -> dict[str, str]:
        """Return the variables of the build besides those of `compilers`."""
        here = {name: str(self.programs_here / name) for name in ("cc", "c++", "ar")}
        return {
            "CMAKE_TOOLCHAIN_FILE": str(self.toolchain_file),
            "PKG_CONFIG_LIBDIR": str(self._no_packages),
            "PKG_CONFIG_PATH": "",
            # Autoconf's and Meson's compilers for programs that run during the build.
            "CC_FOR_BUILD": here["cc"],
            "CXX_FOR_BUILD": here["c++"],
            "AR_FOR_BUILD": here["ar"],
            **self._rust(here),
            **(self._nvcc() if self.cuda else {}),
        }

    def _nvcc(self) -> dict[str, str]:
        """Return the variables of nvcc, and of CMake about it."""
        host = str(self.programs / "g++")
        return {"CUDACXX": f"{self.cuda}/bin/nvcc", "CUDAHOSTCXX": host, "NVCC_CCBIN": host}

    def _rust(self, here: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of cargo, of the crate `cc`, and of PyO3."""
        target, host = self.arch.facts.rust_target, self.here.facts.rust_target

        def linker(triple: str) -> str:
            return f"CARGO_TARGET_{triple.upper().replace('-', '_')}_LINKER"

        return {
            "CARGO_BUILD_TARGET": target,
            linker(target): tool(self.arch, "gcc"),
            # Build scripts run here.
            linker(host): here["cc"],
            "HOST_CC": here["cc"],
            "HOST_CXX": here["c++"],
            "HOST_AR": here["ar"],
            "PYO3_CROSS_LIB_DIR": str(self.python / "lib"),
        }

    def hooks(self, module: str, suffix: str) -> dict[str, str]:
        """Return the variables for Python itself; only hooks of the build backend get them.

        Args:
            module: the name of the module with the target's settings (see `sysconfig`).
            suffix: the suffix of its extension modules (``.cpython-312-aarch64-linux-gnu.so``).
        """
        return {
            "_PYTHON_HOST_PLATFORM": f"linux-{self.arch}",
            "_PYTHON_SYSCONFIGDATA_NAME": module,
            "SETUPTOOLS_EXT_SUFFIX": suffix,
        }

    def cmake(self) -> str:
        """Return the toolchain file."""
        own = {
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": str(self.arch),
            "CMAKE_C_COMPILER": tool(self.arch, "gcc"),
            "CMAKE_CXX_COMPILER": tool(self.arch, "g++"),
            "CMAKE_AR": str(self.programs / tool(self.arch, "ar")),
            "CMAKE_RANLIB": str(self.programs / "ranlib"),
            "CMAKE_FIND_ROOT_PATH": ";".join(filter(None, (str(self.python), self.cuda))),
            "CMAKE_FIND_ROOT_PATH_MODE_PROGRAM": "NEVER",
            "CMAKE_FIND_ROOT_PATH_MODE_LIBRARY": "ONLY",
            "CMAKE_FIND_ROOT_PATH_MODE_INCLUDE": "ONLY",
            # Some build requirements are header-only CMake packages: pybind11, nanobind.
            "CMAKE_FIND_ROOT_PATH_MODE_PACKAGE": "BOTH",
        }
        lines = [f'set({name} "{value}")\n' for name, value in own.items()]
        for name in ("Python", "Python3"):
            # The caller of CMake may have set the host's headers.
            where = f'"{self.python / "include"}" CACHE PATH "" FORCE'
            lines.append(f"set({name}_INCLUDE_DIR {where})\n")
            # In a cross build, CMake before 4 gets the suffix from this and no interpreter.
            lines.append(f'set(_{name}_CONFIG "{self._python_config}" CACHE INTERNAL "")\n')
        return "".join(lines)

    def config(self, suffix: str, flags: str) -> str:
        """Return ``python3-config``, a shell script.

        Args:
            suffix: as for `hooks`.
            flags: the target's ABI flags: ``t`` without the GIL.
        """
        includes = f"-I{self.python / 'include'}"
        answers = {
            "--extension-suffix": suffix,
            "--abiflags": flags,
            "--includes": includes,
            "--cflags": includes,
            # No extension module links a library of Python.
            "--libs|--ldflags|--embed|--help": "",
            "--configdir": str(self.python / f"lib/{self.arch.facts.triplet}"),
            "--prefix|--exec-prefix": str(self.python),
        }
        cases = "".join(f"  {question}) echo '{text}' ;;\n" for question, text in answers.items())
        return f'#!/bin/sh\nfor each; do case "$each" in\n{cases}  *) exit 1 ;;\nesac; done\n'

    def meson(self) -> str:
        """Return the cross file."""
        named = {"c": "gcc", "cpp": "g++", "ar": "ar"}
        binaries = "".join(f"{key} = {tool(self.arch, name)!r}\n" for key, name in named.items())
        cpu = f"cpu_family = '{self.arch}'\ncpu = '{self.arch}'\n"
        host = f"system = 'linux'\n{cpu}endian = 'little'\n"
        # Even if QEMU could run the programs: that must not change what is built.
        properties = "needs_exe_wrapper = true\n"
        return f"[binaries]\n{binaries}[host_machine]\n{host}[properties]\n{properties}"
