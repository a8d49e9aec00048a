"""What build systems are told of a machine that is not this one: variables, and text of files.

Every build system has a way of its own to hear that what it makes runs elsewhere. All of them are
told the same here, and whatever they look for without being told is the target's as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.models.platforms import Arch


def tool(arch: Arch, name: str) -> str:
    """Return the name of a driver that says which architecture it is for."""
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
    """A build on one machine for another one.

    Attributes:
        arch: what is built for.
        here: this machine's architecture.
        own: a directory of the build's own, which has everything that is named.
    """

    arch: Arch
    here: Arch
    own: Path

    @property
    def programs(self) -> Path:
        """The drivers of the target's compilers."""
        return self.own / "bin"

    @property
    def programs_here(self) -> Path:
        """The drivers of compilers for this machine: what is compiled to run in the build."""
        return self.own / "here"

    @property
    def python(self) -> Path:
        """Python's headers and settings: ``include`` and ``lib``."""
        return self.own / "python"

    @property
    def toolchain_file(self) -> Path:
        """CMake's."""
        return self.own / "toolchain.cmake"

    @property
    def python_config(self) -> Path:
        """What build systems ask that do not ask an interpreter."""
        return self.programs / "python3-config"

    @property
    def cross_file(self) -> Path:
        """Meson's."""
        return self.own / "cross.ini"

    @property
    def no_packages(self) -> Path:
        """An empty directory for pkg-config: libraries of this host are another machine's."""
        return self.own / "pkgconfig"

    def variables(self) -> dict[str, str]:
        """Return the variables of the whole build, those of `compilers` not among them."""
        here = {name: str(self.programs_here / name) for name in ("cc", "c++", "ar")}
        return {
            "CMAKE_TOOLCHAIN_FILE": str(self.toolchain_file),
            "PKG_CONFIG_LIBDIR": str(self.no_packages),
            "PKG_CONFIG_PATH": "",
            # Autoconf's and Meson's names of compilers whose programs run in the build.
            "CC_FOR_BUILD": here["cc"],
            "CXX_FOR_BUILD": here["c++"],
            "AR_FOR_BUILD": here["ar"],
            **self._rust(here),
        }

    def _rust(self, here: Mapping[str, str]) -> dict[str, str]:
        """Variables of cargo, of the crate `cc`, and of PyO3."""
        target, host = self.arch.facts.rust_target, self.here.facts.rust_target
        linker = "CARGO_TARGET_{}_LINKER"
        return {
            "CARGO_BUILD_TARGET": target,
            linker.format(_shouted(target)): tool(self.arch, "gcc"),
            # Build scripts run here.
            linker.format(_shouted(host)): here["cc"],
            "HOST_CC": here["cc"],
            "HOST_CXX": here["c++"],
            "HOST_AR": here["ar"],
            "PYO3_CROSS_LIB_DIR": str(self.python / "lib"),
        }

    def hooks(self, module: str, suffix: str) -> dict[str, str]:
        """Return the variables that tell Python itself, in the hooks of the build backend alone.

        Args:
            module: the name of the module with the target's settings (see `sysconfig`).
            suffix: of its extension modules (``.cpython-312-aarch64-linux-gnu.so``).
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
            "CMAKE_FIND_ROOT_PATH": str(self.python),
            "CMAKE_FIND_ROOT_PATH_MODE_PROGRAM": "NEVER",
            "CMAKE_FIND_ROOT_PATH_MODE_LIBRARY": "ONLY",
            "CMAKE_FIND_ROOT_PATH_MODE_INCLUDE": "ONLY",
            # Build requirements bring CMake packages that are headers: pybind11, nanobind.
            "CMAKE_FIND_ROOT_PATH_MODE_PACKAGE": "BOTH",
        }
        lines = [f'set({name} "{value}")\n' for name, value in own.items()]
        for name in ("Python", "Python3"):
            # Who calls CMake may name this host's headers.
            where = f'"{self.python / "include"}" CACHE PATH "" FORCE'
            lines.append(f"set({name}_INCLUDE_DIR {where})\n")
            # For the suffix, older ones than CMake 4 ask no interpreter in a cross build, but this.
            lines.append(f'set(_{name}_CONFIG "{self.python_config}" CACHE INTERNAL "")\n')
        return "".join(lines)

    def config(self, suffix: str, flags: str) -> str:
        """Return the ``python3-config``, a shell script.

        Args:
            suffix: of the target's extension modules (``.cpython-312-aarch64-linux-gnu.so``).
            flags: the target's ABI flags; ``t`` without the GIL.
        """
        includes = f"-I{self.python / 'include'}"
        said = {
            "--extension-suffix": suffix,
            "--abiflags": flags,
            "--includes": includes,
            "--cflags": includes,
            # No extension module links a library of Python.
            "--libs|--ldflags|--embed|--help": "",
            "--configdir": str(self.python / f"lib/{self.arch.facts.triplet}"),
            "--prefix|--exec-prefix": str(self.python),
        }
        cases = "".join(f"  {asked}) echo '{text}' ;;\n" for asked, text in said.items())
        return f'#!/bin/sh\nfor each; do case "$each" in\n{cases}  *) exit 1 ;;\nesac; done\n'

    def meson(self) -> str:
        """Return the cross file."""
        named = {"c": "gcc", "cpp": "g++", "ar": "ar"}
        binaries = "".join(f"{key} = {tool(self.arch, name)!r}\n" for key, name in named.items())
        machine = {"system": "linux", "cpu_family": self.arch, "cpu": self.arch}
        machine |= {"endian": "little"}
        host = "".join(f"{name} = {str(value)!r}\n" for name, value in machine.items())
        # Even where QEMU would run them: whether it does must not change what is built.
        return (
            f"[binaries]\n{binaries}[host_machine]\n{host}[properties]\nneeds_exe_wrapper = true\n"
        )


def _shouted(triple: str) -> str:
    return triple.upper().replace("-", "_")
