"""The `direct` backend with zig: for an old glibc or another architecture, without a container.

This host's own compilers compile for this host only. zig compiles for any glibc and architecture;
its drivers come first on PATH, and all else is unchanged. For another architecture, an interpreter
of this host runs the hooks of the build backend with headers and settings that are derived for the
target (`scripts/cross_python.py`), so that the hooks take this machine for the target's. For CUDA
the distribution's cross gcc compiles in zig's place, as nvcc does not take zig's clang.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.builders.direct_container import prove_elsewhere
from orchestrator.builders.direct_host import DirectOnHost, HostSteps, with_prefix_maps
from orchestrator.builders.steps import StepFailed
from orchestrator.cross import driver
from orchestrator.cross.driver import ZigPaths, zig_driver
from orchestrator.cross.toolchain_files import CrossBuild, compilers
from orchestrator.host.emulation import host_arch
from orchestrator.host.json_file import load_json
from orchestrator.models.result import FailureKind
from orchestrator.provision.pythons import with_headers, without_own_path
from orchestrator.source.locate import read_toml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.builders.steps import Place
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import BackendName
    from orchestrator.provision.cross_gcc import CrossGcc
    from orchestrator.provision.zig import Zig

CROSS_PYTHON = Path(__file__).parent / "scripts" / "cross_python.py"

_HOST_PLACES = (
    *("/usr/include", "/usr/lib", "/usr/lib64", "/lib", "/lib64"),
    *("/usr/local/include", "/usr/local/lib"),
)
"""Headers and libraries of this host, which are useless for another architecture."""

_MESON = "mesonpy"
_MESON_PYTHON = re.compile(r"meson[-_.]python\b", re.IGNORECASE)

_OLDEST = "2.17"
"""The glibc that programs for this host are compiled for; no supported host has an older one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReason:
    """A known reason why a build fails, and the line of its output that shows it.

    Attributes:
        pattern: is searched for in each line.
        what: the message; ``{arch}``, ``{rust}`` and the pattern's groups are filled in.
        hint: what to do; they are filled in here too.
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
        what="the build runs a program that it compiled for {arch}; a cross build cannot run it",
        hint=f"{_EMULATE}; or have it compile such programs with CC_FOR_BUILD",
    ),
    LogReason(
        pattern=re.compile(r"policy CMP0190"),
        what="with the project's policies, CMake finds no Python of this host in a cross build",
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
    """Build on this host, and compile with zig.

    Attributes:
        direct: the backend without zig.
        zig: compiles; with gcc, only what runs during the build.
        gcc: compiles for another architecture in place of zig; None for none.
        containers: makes containers for tests that this host cannot run; None without an engine.
        imported: whether the wheel is imported afterwards, if there is no engine.
    """

    direct: DirectOnHost
    zig: Zig
    gcc: CrossGcc | None
    containers: ContainerFactory | None
    imported: bool = False

    @property
    def name(self) -> BackendName:
        return self.direct.name

    def build(self, job: BuildContext) -> Outcome:
        foreign = job.request.target.arch is not host_arch()
        steps = _CrossSteps if foreign else _ZigSteps
        return steps(self, job).outcome()


class _ZigSteps(HostSteps):
    """The steps on this host, with zig in place of its compilers."""

    def __init__(self, backend: DirectByZig, job: BuildContext) -> None:
        super().__init__(backend.direct, job)
        self._zig = backend.zig
        self._cross = CrossBuild(
            arch=self.target.arch,
            here=host_arch(),
            own=job.scratch / "zig",
            cuda=dict(job.compilers.env).get("CUDA_HOME", ""),
        )
        self._heard: list[tuple[LogReason, Mapping[str, str]]] = []
        job.clues.listeners.append(self.hear)

    def open_place(self) -> Place:
        self.make_drivers()
        return replace(super().open_place(), first=(str(self._cross.programs),))

    def make_drivers(self) -> None:
        """Make the directory of compilers."""
        plain = self.plain_driver(self.target.arch, self.target.compiling.baseline)
        # Debian's Python.h leads to <x86_64-linux-gnu/python3.11/pyconfig.h>; and libraries that
        # auditwheel grafts later are this host's too.
        triplet = self.target.arch.facts.triplet
        python = (word for folder in self.headers for word in ("-isystem", str(folder)))
        headers = ("/usr/include", f"/usr/include/{triplet}")
        places = (f"/usr/lib/{triplet}", "/usr/lib64", "/usr/lib")
        libraries = [folder for folder in places if Path(folder).is_dir()]
        # zig's own headers of the C library come first: they are for the requested glibc.
        hosted = driver.with_system(plain, headers, libraries)
        first = (*plain.first, *python)
        hosted = replace(hosted, first=first, drop_below=("/usr/include",))
        self.make_driver(self._cross.programs, hosted)

    def plain_driver(self, arch: Arch, glibc: str) -> driver.Driver:
        """Return a driver that knows no directory of this host but zig's."""
        objects = self._cross.own / "objects"
        paths = ZigPaths(root=self._zig.root, cache=self._zig.cache, scratch=objects)
        return zig_driver(arch, glibc, paths, native=arch is host_arch())

    def make_driver(self, folder: Path, compilers: driver.Driver) -> None:
        driver.make(folder, compilers, driver.program(self._zig, self.host.cache_dir))

    reasons: tuple[LogReason, ...] = (REFUSED,)
    """The known reasons why builds like this one fail."""

    def hear(self, line: str) -> None:
        """Take a line that a command prints."""
        for reason in self.reasons:
            if match := reason.pattern.search(line):
                self._heard.append((reason, match.groupdict()))

    def check(self, argv: Sequence[str], code: int) -> None:
        try:
            super().check(argv, code)
        except StepFailed as ended:
            if not self._heard or ended.failure.kind is not FailureKind.BUILD:
                raise
            reason, said = self._heard[-1]
            words = {**said, "arch": self.target.arch, "rust": self.target.arch.facts.rust_target}
            what, hint = (text.format_map(words) for text in (reason.what, reason.hint))
            raise StepFailed(replace(ended.failure, message=what, hint=hint)) from None
        finally:
            self._heard.clear()

    def adapt(self, env: Mapping[str, str]) -> Mapping[str, str]:
        own = compilers(self.target.arch)
        for name in ("CC", "CXX"):
            if env.get(name, own[name]) != own[name]:
                self.job.log(f"{name}={env[name]} is not used: zig compiles this target")
        plain = self.python_env(without_own_path(env, self.interpreter))
        return {**with_prefix_maps(plain, self.job), **own}

    def python_env(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return an environment in which the headers of Python are found."""
        # The driver has them; CPATH would come before zig's own headers.
        given = with_headers(env, self.headers)
        return {name: value for name, value in given.items() if name != "CPATH"}


class _CrossSteps(_ZigSteps):
    """The same for another architecture: nothing that is built can run here."""

    reasons = (REFUSED, *_CROSS_REASONS)

    def __init__(self, backend: DirectByZig, job: BuildContext) -> None:
        super().__init__(backend, job)
        self._gcc = backend.gcc
        self._containers = backend.containers
        self._imported = backend.imported
        self._facts: dict[str, str] = {}
        self._staged = frozenset(entry.name for entry in job.source.iterdir())

    def make_drivers(self) -> None:
        """Derive Python's headers and settings; make compilers for the target and this machine."""
        self._derive_python()
        self.make_driver(self._cross.programs_here, self.plain_driver(host_arch(), _OLDEST))
        if self._gcc is None:
            plain = self.plain_driver(self.target.arch, self.target.compiling.baseline)
        else:
            plain = driver.gcc_driver(self.target.arch, self._gcc)
        cuda = self._cross.cuda
        own = {str(self.interpreter.include), str(self.interpreter.path.parent.parent / "lib")}
        own |= {str(folder) for folder in self.headers}
        foreign = replace(
            plain,
            first=(*plain.first, f"-I{self._cross.python / 'include'}"),
            link=(*plain.link, *((f"-L{cuda}/lib",) if cuda else ())),
            drop_below=(*_HOST_PLACES, *sorted(own)),
        )
        self.make_driver(self._cross.programs, foreign)

    def _derive_python(self) -> None:
        named = compilers(self.target.arch)
        question = self.write_json(
            "cross-python",
            {
                "triplet": self.target.arch.facts.triplet,
                "folder": str(self._cross.python),
                "headers": list(map(str, self.headers)),
                "tools": {"cc": named["CC"], "c++": named["CXX"], "ar": named["AR"]},
            },
        )
        try:
            self.run_here([str(self.interpreter.path), "-I", str(CROSS_PYTHON), question])
        except StepFailed as ended:
            if ended.failure.kind is not FailureKind.SETUP:
                raise
            said = f"no Python settings for {self.target.arch}: {self.job.clues.last_line}"
            raise StepFailed(replace(ended.failure, message=said, hint=_TRANSLATED)) from None
        self._facts = load_json(dict[str, str], self._cross.python / "facts.json")
        self.job.log(
            f"Python's headers and settings for {self.target.arch} are derived from those of "
            f"{self.interpreter.path} ({self.interpreter.version})"
        )

    def python_env(self, env: Mapping[str, str]) -> dict[str, str]:
        self._cross.write_files(self._facts["suffix"], self._facts["flags"])
        return {**env, **self._cross.variables()}

    def for_hooks(self) -> dict[str, object]:
        """Have the hooks take this machine for the target's."""
        module = self._facts["module"]
        return {
            "settings": self._settings(),
            "module": str(self._cross.python / "lib" / f"{module}.py"),
            "env": self._cross.hooks(module, self._facts["suffix"]),
        }

    def prove(self, wheel: str, options: Mapping[str, Any]) -> None:
        """Test the wheel where its architecture is emulated, if there is such a place."""
        wanted = options["test"] and options["tested"]
        if self._containers is None and not self._imported:
            self.job.log(f"NOT IMPORTED: nothing here runs programs of {self.target.arch}")
        elif self._containers is None and wanted:
            self.job.log("NOT TESTED: a test needs a container engine and the target's image")
        elif self._containers is not None and wanted:
            self._put_aside()
            prove_elsewhere(self._containers, self.job, Path(wheel))

    def _put_aside(self) -> None:
        """Move the build's files out of the source: the container of the test needs none.

        Rust's ``target`` has hundreds of megabytes.
        """
        aside = self._cross.own / "left"
        aside.mkdir()
        for entry in self.job.source.iterdir():
            if entry.name not in self._staged:
                entry.rename(aside / entry.name)

    def _settings(self) -> Sequence[tuple[str, str]]:
        """Return config settings for the backend: only they name a cross file for Meson."""
        project = read_toml(self.job.source, "pyproject.toml")
        system = project.get("build-system", {})
        # Also if a backend of the project's own calls Meson's.
        wrapped = "backend-path" in system and any(map(_MESON_PYTHON.match, system["requires"]))
        if wrapped or system.get("build-backend") == _MESON:
            return [("setup-args", f"--cross-file={self._cross.cross_file}")]
        return []
