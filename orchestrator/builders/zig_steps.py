"""The `direct` backend with zig: for an old glibc or another architecture, without a container.

A host's own compilers make what this very host runs. zig makes what any glibc of any architecture
runs; its drivers come first on PATH, and everything else is as ever. For another architecture, the
hooks of the build backend are told besides that they are on it: an interpreter of this host runs
them, with headers and settings derived for the other one (`scripts/cross_python.py`).
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.builders import drivers
from orchestrator.builders.contained import prove_elsewhere
from orchestrator.builders.direct import Direct, HostSteps
from orchestrator.builders.drivers import TRIPLETS, ZigPlaces, zig_driver
from orchestrator.host.emulation import host_arch
from orchestrator.host.interpreters import with_headers, without_own_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.base import Host, Job, Outcome
    from orchestrator.builders.container import Shop
    from orchestrator.host.zig import Zig
    from orchestrator.models import BackendName

CROSS_PYTHON = Path(__file__).parent / "scripts" / "cross_python.py"
CROSS_BUILD = Path(__file__).parent / "scripts" / "cross_build.py"

_HOST_PLACES = (
    *("/usr/include", "/usr/lib", "/usr/lib64", "/lib", "/lib64"),
    *("/usr/local/include", "/usr/local/lib"),
)
"""Headers and libraries of this host, which are of no use to another architecture."""

_MESON = "mesonpy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZigDirect:
    """Builds on this host, compiles with zig.

    Attributes:
        direct: the backend without it.
        zig: compiles.
        shop: makes containers to test in what this host cannot run; None where there is no engine.
    """

    direct: Direct
    zig: Zig
    shop: Shop | None

    @property
    def name(self) -> BackendName:
        """See `Backend.name`."""
        return self.direct.name

    @property
    def host(self) -> Host:
        """Tools, network, environment."""
        return self.direct.host

    def build(self, job: Job) -> Outcome:
        """See `Backend.build`."""
        foreign = job.request.target.arch is not host_arch()
        steps = _CrossSteps if foreign else _ZigSteps
        return steps(self, job).outcome()


class _ZigSteps(HostSteps):
    """The steps on this host, with zig in place of its compilers."""

    def __init__(self, backend: ZigDirect, job: Job) -> None:
        super().__init__(backend.direct, job)
        self._zig = backend.zig
        self._own = job.scratch / "zig"

    def builder(self) -> str:
        self.prepare()
        driver = self.driver(
            zig_driver(
                self.target.arch,
                self.target.compiling.baseline,
                ZigPlaces(
                    root=self._zig.root, cache=self._zig.cache, scratch=self._own / "objects"
                ),
                native=self.target.arch is host_arch(),
            )
        )
        compiled = drivers.program(self._zig, self.host.cache_dir)
        drivers.make(self.programs, driver, compiled)
        return super().builder()

    @property
    def programs(self) -> Path:
        """The directory of compiler drivers."""
        return self._own / "bin"

    @cached_property
    def tools(self) -> Mapping[str, str]:
        """Names of the drivers that say which architecture they are for."""
        return {name: f"{TRIPLETS[self.target.arch]}-{name}" for name in ("gcc", "g++", "ar")}

    def prepare(self) -> None:
        """Make what the driver's configuration names."""

    def driver(self, plain: drivers.Driver) -> drivers.Driver:
        """Return the driver with what is to be found on this host."""
        # Debian's Python.h leads to <x86_64-linux-gnu/python3.11/pyconfig.h>; and libraries that
        # auditwheel grafts later are this host's too.
        triplet = TRIPLETS[self.target.arch]
        headers = (each for folder in self.headers for each in ("-isystem", str(folder)))
        system = ("/usr/include", f"/usr/include/{triplet}")
        places = (f"/usr/lib/{triplet}", "/usr/lib64", "/usr/lib")
        found = tuple(each for each in places if Path(each).is_dir())
        return replace(
            plain,
            first=(*plain.first, *headers),
            # zig has the C library's headers for the glibc that is asked for, and they come first.
            last=tuple(each for folder in system for each in ("-idirafter", folder)),
            link=(*plain.link, *(f"-L{each}" for each in found)),
            drop_below=("/usr/include",),
            libraries=found,
        )

    def path(self, builder: str) -> str:
        return f"{self.programs}:{super().path(builder)}"

    def build_env(self, env: Mapping[str, str]) -> Mapping[str, str]:
        cc, cxx = self.tools["gcc"], self.tools["g++"]
        own = {"CC": cc, "CXX": cxx, "AR": self.tools["ar"]}
        own |= {"LDSHARED": f"{cc} -shared", "LDCXXSHARED": f"{cxx} -shared"}
        for name in ("CC", "CXX"):
            if env.get(name, own[name]) != own[name]:
                self.job.log(f"{name}={env[name]} is not used: zig compiles this target")
        found = self.python_env(without_own_path(env, self.interpreter))
        return {**found, **own}

    def python_env(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which the headers of Python are found."""
        found = with_headers(env, self.headers)
        # The driver has them; CPATH would come before zig's own headers.
        return {name: value for name, value in found.items() if name != "CPATH"}


class _CrossSteps(_ZigSteps):
    """The same for another architecture: nothing that is built can be run here."""

    def __init__(self, backend: ZigDirect, job: Job) -> None:
        super().__init__(backend, job)
        self._shop = backend.shop
        self._folder = self._own / "python"
        self._facts: dict[str, str] = {}

    def prepare(self) -> None:
        """Derive the target's headers and settings of Python."""
        cc, cxx, ar = self.tools["gcc"], self.tools["g++"], self.tools["ar"]
        asked = {
            "triplet": TRIPLETS[self.target.arch],
            "folder": str(self._folder),
            "headers": list(map(str, self.headers)),
            "tools": {"cc": cc, "c++": cxx, "ar": ar},
        }
        question = self.job.scratch / "cross-python.json"
        question.write_text(json.dumps(asked), encoding="utf-8")
        self.run([str(self.interpreter.path), "-I", str(CROSS_PYTHON), str(question)])
        self._facts = json.loads((self._folder / "facts.json").read_text(encoding="utf-8"))
        self.job.log(
            f"headers and settings of Python for {self.target.arch}: derived from those of "
            f"{self.interpreter.path} ({self.interpreter.version})"
        )

    def driver(self, plain: drivers.Driver) -> drivers.Driver:
        own = {str(self.interpreter.include), str(self.interpreter.path.parent.parent / "lib")}
        own |= {str(each) for each in self.headers}
        return replace(
            plain,
            first=(*plain.first, f"-I{self._folder / 'include'}"),
            drop_below=(*_HOST_PLACES, *sorted(own)),
        )

    def python_env(self, env: Mapping[str, str]) -> dict[str, str]:
        toolchain = self._own / "toolchain.cmake"
        toolchain.write_text(self._cmake(), encoding="utf-8")
        (self._own / "cross.ini").write_text(self._meson(), encoding="utf-8")
        nothing = self._own / "pkgconfig"
        nothing.mkdir(exist_ok=True)
        return {
            **env,
            "CMAKE_TOOLCHAIN_FILE": str(toolchain),
            # Libraries of this host are another architecture's.
            "PKG_CONFIG_LIBDIR": str(nothing),
            "PKG_CONFIG_PATH": "",
        }

    def make_wheel(
        self, builder: str, output: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """Run the PEP 517 build, its hooks as if they ran on the target's machine."""
        self.provide_build(builder, options, env)
        module = self._facts["module"]
        asked = {
            "source": self.project,
            "output": output,
            "flags": list(options["flags"]),
            "settings": self._settings(),
            "module": str(self._folder / "lib" / f"{module}.py"),
            "env": {
                "_PYTHON_HOST_PLATFORM": f"linux-{self.target.arch}",
                "_PYTHON_SYSCONFIGDATA_NAME": module,
                "SETUPTOOLS_EXT_SUFFIX": self._facts["suffix"],
            },
        }
        question = self.job.scratch / "cross-build.json"
        question.write_text(json.dumps(asked), encoding="utf-8")
        self.run([f"{builder}/python", str(CROSS_BUILD), str(question)], env)

    def prove(self, wheel: str, options: Mapping[str, Any]) -> None:
        """Test it where its architecture is emulated, if there is such a place."""
        if self._shop is None:
            self.job.log(f"NOT IMPORTED: nothing here runs programs of {self.target.arch}")
        elif options["test"] and options["tested"]:
            prove_elsewhere(self._shop, self.job, Path(wheel))

    # what build systems want to be told

    def _settings(self) -> Sequence[tuple[str, str]]:
        file = self.job.source / "pyproject.toml"
        project = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
        backend = project.get("build-system", {}).get("build-backend", "")
        return [("setup-args", f"--cross-file={self._own / 'cross.ini'}")] * (backend == _MESON)

    def _cmake(self) -> str:
        include = self._folder / "include"
        own = {
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": str(self.target.arch),
            "CMAKE_C_COMPILER": self.tools["gcc"],
            "CMAKE_CXX_COMPILER": self.tools["g++"],
            "CMAKE_AR": str(self.programs / self.tools["ar"]),
            "CMAKE_RANLIB": str(self.programs / "ranlib"),
            "CMAKE_FIND_ROOT_PATH": str(self._folder),
            "CMAKE_FIND_ROOT_PATH_MODE_PROGRAM": "NEVER",
            "CMAKE_FIND_ROOT_PATH_MODE_LIBRARY": "ONLY",
            "CMAKE_FIND_ROOT_PATH_MODE_INCLUDE": "ONLY",
            # Build requirements bring CMake packages that are headers: pybind11, nanobind.
            "CMAKE_FIND_ROOT_PATH_MODE_PACKAGE": "BOTH",
        }
        lines = [f'set({name} "{value}")\n' for name, value in own.items()]
        lines += [
            f'set({python}_INCLUDE_DIR "{include}" CACHE PATH "")\n'
            for python in ("Python", "Python3")
        ]
        return "".join(lines)

    def _meson(self) -> str:
        tools = {"c": "gcc", "cpp": "g++", "ar": "ar"}
        binaries = "".join(f"{name} = {self.tools[tool]!r}\n" for name, tool in tools.items())
        machine = {"system": "linux", "cpu_family": self.target.arch, "cpu": self.target.arch}
        machine |= {"endian": "little"}
        host = "".join(f"{name} = {str(value)!r}\n" for name, value in machine.items())
        # Even where QEMU would run them: whether it does must not change what is built.
        return (
            f"[binaries]\n{binaries}[host_machine]\n{host}[properties]\nneeds_exe_wrapper = true\n"
        )
