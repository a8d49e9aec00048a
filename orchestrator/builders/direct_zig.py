"""The `direct` backend with zig: for an old glibc or another architecture, without a container.

A host's own compilers make what this very host runs. zig makes what any glibc of any architecture
runs; its drivers come first on PATH, and everything else is as ever. For another architecture, the
hooks of the build backend are told besides that they are on it: an interpreter of this host runs
them, with headers and settings derived for the other one (`scripts/cross_python.py`).
"""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.builders.direct_container import prove_elsewhere
from orchestrator.builders.direct_host import DirectOnHost, HostSteps
from orchestrator.builders.steps import StepFailed
from orchestrator.cross import driver
from orchestrator.cross.driver import ZigPaths, zig_driver
from orchestrator.cross.toolchain_files import CrossBuild, compilers
from orchestrator.host.emulation import host_arch
from orchestrator.models.result import FailureKind
from orchestrator.provision.pythons import with_headers, without_own_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import BackendName
    from orchestrator.provision.host import Host
    from orchestrator.provision.zig import Zig

CROSS_PYTHON = Path(__file__).parent / "scripts" / "cross_python.py"
CROSS_BUILD = Path(__file__).parent / "scripts" / "cross_build.py"

_HOST_PLACES = (
    *("/usr/include", "/usr/lib", "/usr/lib64", "/lib", "/lib64"),
    *("/usr/local/include", "/usr/local/lib"),
)
"""Headers and libraries of this host, which are of no use to another architecture."""

_MESON = "mesonpy"
_MESON_PYTHON = re.compile(r"meson[-_.]python\b", re.IGNORECASE)

_OLDEST = "2.17"
"""The glibc that programs for this host are compiled for: no host of ours has an older one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReason:
    """What a line of a build's output says about why it failed.

    Attributes:
        pattern: what the line has.
        what: what is wrong, ``{arch}``, ``{rust}`` and the pattern's groups filled in.
        hint: what to do about it.
    """

    pattern: re.Pattern[str]
    what: str
    hint: str


_TRANSLATED = (
    "a CPython of this host's distribution, of pyenv or of `uv python install` has them; "
    'or build.emulation = "accelerated" for this target'
)

_EMULATE = 'build.emulation = "accelerated" for this target runs it under QEMU'

REFUSED = LogReason(
    # The driver marks what it refuses (driver_src/runtime.c).
    pattern=re.compile(r": error: (?P<said>\S.*) \[refused\]$"),
    what="the compiler refused {said}",
    hint="have the project leave the flag out where it builds for this target",
)

_CROSS_REASONS = (
    LogReason(
        pattern=re.compile(
            r"Exec format error|cannot execute|annot run C(\+\+)? compiled programs"
            r"|TRY_RUN\(\) invoked|an not run test applications|qemu-\w+: Could not open"
            r"|\bld-linux-\S+ ?: No such file"
            r"|\x7fELF"  # a shell that takes it for a script
        ),
        what="the project runs what it has compiled for {arch}, which a cross build cannot",
        hint=f"{_EMULATE}; or have it compile such programs with CC_FOR_BUILD",
    ),
    LogReason(
        pattern=re.compile(r"policy CMP0190"),
        what="CMake looks for no Python of this host in a cross build, as the project has it",
        hint="cmake_policy(SET CMP0190 OLD) in it, or cmake_minimum_required(VERSION ...4.0)",
    ),
    LogReason(
        pattern=re.compile(r"unable to find dynamic system library [\"'](?P<name>[^\"']+)"),
        what="the project links a library that is not in its source: {name}",
        hint='build.emulation = "accelerated" for this target has the libraries of its image',
    ),
    LogReason(
        pattern=re.compile(r"is incompatible with (elf\S+|\S*linux\S*)"),
        what="the project links what is for another architecture than {arch}",
        hint='build.emulation = "accelerated" for this target has the libraries of its image',
    ),
    LogReason(
        pattern=re.compile(
            r"can't find crate for `(core|std)`|the `\S+` target may not be installed"
        ),
        what="this host's Rust has no standard library for {rust}",
        hint="`rustup target add {rust}`, or the distribution's libstd-rust-dev for {arch}",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectByZig:
    """Builds on this host, compiles with zig.

    Attributes:
        direct: the backend without it.
        zig: compiles.
        containers: makes containers to test in what this host cannot run; None without an engine.
        imported: whether what is built is imported afterwards where there is none.
    """

    direct: DirectOnHost
    zig: Zig
    containers: ContainerFactory | None
    imported: bool = False

    @property
    def name(self) -> BackendName:
        """See `Backend.name`."""
        return self.direct.name

    @property
    def host(self) -> Host:
        """Tools, network, environment."""
        return self.direct.host

    def build(self, job: BuildContext) -> Outcome:
        """See `Backend.build`."""
        foreign = job.request.target.arch is not host_arch()
        steps = _CrossSteps if foreign else _ZigSteps
        return steps(self, job).outcome()


class _ZigSteps(HostSteps):
    """The steps on this host, with zig in place of its compilers."""

    def __init__(self, backend: DirectByZig, job: BuildContext) -> None:
        super().__init__(backend.direct, job)
        self._zig = backend.zig
        self._place = CrossBuild(arch=self.target.arch, here=host_arch(), own=job.scratch / "zig")
        self._heard: list[tuple[LogReason, Mapping[str, str]]] = []

    def builder(self) -> str:
        self.prepare()
        plain = self.plain_driver(self.target.arch, self.target.compiling.baseline)
        self.make_drivers(self._place.programs, self.driver(plain))
        return super().builder()

    def plain_driver(self, arch: Arch, glibc: str) -> driver.Driver:
        """Return a driver that knows no place of this host but zig's."""
        objects = self._place.own / "objects"
        places = ZigPaths(root=self._zig.root, cache=self._zig.cache, scratch=objects)
        return zig_driver(arch, glibc, places, native=arch is host_arch())

    def make_drivers(self, folder: Path, made: driver.Driver) -> None:
        """Make a directory of compilers."""
        driver.make(folder, made, driver.program(self._zig, self.host.cache_dir))

    def prepare(self) -> None:
        """Make what the driver's configuration names."""

    @property
    def reasons(self) -> tuple[LogReason, ...]:
        """What is known to make builds like this one fail."""
        return (REFUSED,)

    def hear(self, line: str) -> None:
        super().hear(line)
        for reason in self.reasons:
            if found := reason.pattern.search(line):
                self._heard.append((reason, found.groupdict()))

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> None:
        self._heard.clear()
        try:
            super().run(argv, env, cwd)
        except StepFailed as ended:
            if not self._heard or ended.failure.kind is not FailureKind.BUILD:
                raise
            reason, said = self._heard[-1]
            words = {**said, "arch": self.target.arch, "rust": self.target.arch.facts.rust_target}
            what, hint = (text.format_map(words) for text in (reason.what, reason.hint))
            raise StepFailed(replace(ended.failure, message=what, hint=hint)) from None

    def driver(self, plain: driver.Driver) -> driver.Driver:
        """Return the driver with what is to be found on this host."""
        # Debian's Python.h leads to <x86_64-linux-gnu/python3.11/pyconfig.h>; and libraries that
        # auditwheel grafts later are this host's too.
        triplet = self.target.arch.facts.triplet
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
        return f"{self._place.programs}:{super().path(builder)}"

    def build_env(self, env: Mapping[str, str]) -> Mapping[str, str]:
        own = compilers(self.target.arch)
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

    def __init__(self, backend: DirectByZig, job: BuildContext) -> None:
        super().__init__(backend, job)
        self._containers = backend.containers
        self._imported = backend.imported
        self._facts: dict[str, str] = {}
        self._staged = frozenset(each.name for each in job.source.iterdir())

    def prepare(self) -> None:
        """Derive the target's headers and settings of Python; make compilers for this machine."""
        place, named = self._place, compilers(self.target.arch)
        asked = {
            "triplet": self.target.arch.facts.triplet,
            "folder": str(place.python),
            "headers": list(map(str, self.headers)),
            "tools": {"cc": named["CC"], "c++": named["CXX"], "ar": named["AR"]},
        }
        question = self.job.scratch / "cross-python.json"
        question.write_text(json.dumps(asked), encoding="utf-8")
        try:
            self.run([str(self.interpreter.path), "-I", str(CROSS_PYTHON), str(question)])
        except StepFailed as ended:
            said = f"no Python settings for {self.target.arch}: {self._tail[-1]}"
            raise StepFailed(replace(ended.failure, message=said, hint=_TRANSLATED)) from None
        self._facts = json.loads((place.python / "facts.json").read_text(encoding="utf-8"))
        self.make_drivers(place.programs_here, self.plain_driver(host_arch(), _OLDEST))
        self.job.log(
            f"headers and settings of Python for {self.target.arch}: derived from those of "
            f"{self.interpreter.path} ({self.interpreter.version})"
        )

    def driver(self, plain: driver.Driver) -> driver.Driver:
        own = {str(self.interpreter.include), str(self.interpreter.path.parent.parent / "lib")}
        own |= {str(each) for each in self.headers}
        return replace(
            plain,
            first=(*plain.first, f"-I{self._place.python / 'include'}"),
            drop_below=(*_HOST_PLACES, *sorted(own)),
        )

    def python_env(self, env: Mapping[str, str]) -> dict[str, str]:
        place = self._place
        place.toolchain_file.write_text(place.cmake(), encoding="utf-8")
        place.cross_file.write_text(place.meson(), encoding="utf-8")
        config = place.config(self._facts["suffix"], self._facts["flags"])
        place.python_config.write_text(config, encoding="utf-8")
        place.python_config.chmod(0o755)
        place.no_packages.mkdir(exist_ok=True)
        return {**env, **place.variables()}

    @property
    def reasons(self) -> tuple[LogReason, ...]:
        return (*super().reasons, *_CROSS_REASONS)

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
            "module": str(self._place.python / "lib" / f"{module}.py"),
            "env": self._place.hooks(module, self._facts["suffix"]),
        }
        question = self.job.scratch / "cross-build.json"
        question.write_text(json.dumps(asked), encoding="utf-8")
        self.run([f"{builder}/python", str(CROSS_BUILD), str(question)], env)

    def prove(self, wheel: str, options: Mapping[str, Any]) -> None:
        """Test it where its architecture is emulated, if there is such a place."""
        wanted = options["test"] and options["tested"]
        if self._containers is None and not self._imported:
            self.job.log(f"NOT IMPORTED: nothing here runs programs of {self.target.arch}")
        elif self._containers is None and wanted:
            self.job.log("NOT TESTED: a test takes a container engine and the target's image")
        elif self._containers is not None and wanted:
            self._put_aside()
            prove_elsewhere(self._containers, self.job, Path(wheel))

    def _put_aside(self) -> None:
        """Move what the build has made out of the source: none of it is for the test's container.

        Rust's ``target`` has hundreds of megabytes.
        """
        aside = self._place.own / "left"
        aside.mkdir()
        for each in self.job.source.iterdir():
            if each.name not in self._staged:
                each.rename(aside / each.name)

    def _settings(self) -> Sequence[tuple[str, str]]:
        """Config settings for the backend: only they tell Meson of a cross file."""
        file = self.job.source / "pyproject.toml"
        project = tomllib.loads(file.read_text("utf-8")) if file.is_file() else {}
        system = project.get("build-system", {})
        # Also where a backend of the project's own calls Meson's.
        wrapped = "backend-path" in system and any(map(_MESON_PYTHON.match, system["requires"]))
        if wrapped or system.get("build-backend") == _MESON:
            return [("setup-args", f"--cross-file={self._place.cross_file}")]
        return []
