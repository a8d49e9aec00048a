"""Compiler drivers: the names that a build calls, and what they stand for.

A build finds compilers by names on PATH. Here a directory of such names is made for one target:
links to one small native program (`driver_src/*.c`), which reads a configuration beside itself,
puts the target's arguments in front, translates what the real compiler refuses, and becomes it.
The directory may be mounted into a container: the configuration's paths are those of where it runs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.host.emulation import host_arch
from orchestrator.models.target import CompilerKind
from orchestrator.provision.cache_dir import DRIVERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.models.platforms import Arch
    from orchestrator.provision.zig import Zig

SOURCE_DIR = Path(__file__).parent / "driver_src"
SOURCES = tuple(sorted(SOURCE_DIR.glob("*.c")))
"""What the program is compiled from."""

PROGRAM, CONFIGURATION = "compiler", "compiler.conf"

_COMPILERS = {"cc": ("cc", "gcc"), "c++": ("c++", "g++")}
"""Tool -> its names."""

_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """What the names in a directory stand for.

    Attributes:
        compiler: ``gcc`` hands arguments on as they are, ``zig`` translates them.
        arch: what is compiled for.
        tools: (``cc``, ``c++``, ``ar``, ``ranlib``, ``ld``, ...; its program and first arguments).
        first: arguments of every compilation and link, before all others.
        last: the same, after all others.
        link: arguments of links alone, after all others.
        drop_below: directories whose headers and libraries are another machine's.
        libraries: directories where ``-l:FILE`` and ``-print-file-name`` look.
        env: variables of the real program.
        answers: (question of a configure step, what is answered).
        native: whether code for this very CPU may be asked for.
        headers: (variable, the directories of one language's headers that it names).
        own: (name, program of that name that is not ours): the names, where they are not those of
            the tools; what is no compilation of C or C++ is left to these programs.
        log: gets a line for each call; empty for none.
    """

    compiler: CompilerKind
    arch: Arch
    tools: tuple[tuple[str, tuple[str, ...]], ...]
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    link: tuple[str, ...] = ()
    drop_below: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    answers: tuple[tuple[str, str], ...] = ()
    native: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    log: str = ""

    @property
    def text(self) -> str:
        """The configuration as the program reads it."""
        return "".join(f"{key} {value}".rstrip(" ") + "\n" for key, value in self._lines())

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "mode", self.compiler
        yield "machine", self.arch
        if self.native:
            yield "native", ""
        if self.log:
            yield "log", self.log
        yield from (("own", f"{name} {path}") for name, path in self.own)
        yield from (("headers", f"{name}={places}") for name, places in self.headers)
        for name, argv in self.tools:
            yield "tool", name
            yield from (("exec", each) for each in argv)
        yield from (("first", each) for each in self.first)
        yield from (("last", each) for each in self.last)
        yield from (("link", each) for each in self.link)
        yield from (("drop-below", each) for each in self.drop_below)
        yield from (("library", each) for each in self.libraries)
        yield from (("env", f"{name}={value}") for name, value in self.env)
        yield from (("answer", f"{question} {said}") for question, said in self.answers)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the tools, alone and with the target's triplet in front."""
        if self.own:
            return tuple(name for name, _ in self.own)
        return _names(self.arch, (tool for tool, _ in self.tools))


def _names(arch: Arch, tools: Iterable[str]) -> tuple[str, ...]:
    plain = [name for tool in tools for name in _COMPILERS.get(tool, (tool,))]
    return (*plain, *(f"{arch.facts.triplet}-{name}" for name in plain))


def zig_names(arch: Arch) -> tuple[str, ...]:
    """Return the names under which builds call zig's compilers."""
    return _names(arch, _COMPILERS)


def zig_target(arch: Arch, glibc: str) -> str:
    """Return zig's name of an architecture with a glibc: ``aarch64-linux-gnu.2.17``."""
    return f"{arch.facts.zig}-linux-{arch.facts.abi}.{glibc}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZigPaths:
    """Where zig is, and where it writes, as paths of where the driver runs.

    Attributes:
        root: zig's directory.
        cache: where it keeps the C libraries that it has built.
        scratch: where it keeps what it compiles; worth nothing afterwards.
    """

    root: Path
    cache: Path
    scratch: Path


def zig_driver(arch: Arch, glibc: str, places: ZigPaths, *, native: bool = False) -> Driver:
    """Return the driver that compiles with zig.

    Args:
        arch: what is compiled for.
        glibc: the glibc that the results need at most (``2.17``).
        places: where zig is.
        native: whether the target is this machine's architecture.
    """
    zig = str(places.root / "zig")
    first = ["-target", zig_target(arch, glibc)]
    # On by default in zig, and its runtime is in no Python.
    first += ["-fno-sanitize=undefined"]
    # gcc is silent about what it does not know in the negative, and so are these.
    first += ["-Wno-unknown-warning-option", "-Wno-unused-command-line-argument"]
    first += ["-Wno-ignored-optimization-argument"]
    return Driver(
        compiler=CompilerKind.ZIG,
        arch=arch,
        tools=tuple((name, (zig, command)) for name, command in _ZIG_TOOLS.items()),
        first=tuple(first),
        # The debug information of zig's own libraries names directories of this machine.
        link=("-Wl,-S",),
        env=(
            ("ZIG_GLOBAL_CACHE_DIR", str(places.cache)),
            ("ZIG_LOCAL_CACHE_DIR", str(places.scratch)),
        ),
        answers=tuple((each, arch.facts.triplet) for each in ("-dumpmachine", "-print-multiarch")),
        native=native,
    )


_ZIG_TOOLS = {"cc": "cc", "c++": "c++", "ar": "ar", "ranlib": "ranlib", "ld": "ld.lld"}


def program(zig: Zig, cache_dir: Path) -> Path:
    """Return the driver's program for this machine, compiled once for each version of it.

    Args:
        zig: compiles it.
        cache_dir: the user's cache directory.

    Raises:
        EnvironmentProblemError: zig does not compile it.
    """
    entry = DRIVERS.provide(cache_dir, host_arch(), lambda made: _compile(zig, made))
    return entry.folder / PROGRAM


def _compile(zig: Zig, folder: Path) -> None:
    made, aside = folder / PROGRAM, str(folder.parent)
    own = {"ZIG_GLOBAL_CACHE_DIR": str(zig.cache), "ZIG_LOCAL_CACHE_DIR": aside, "HOME": aside}
    # No libc: nothing has to be built for it first, and nothing of it can be missing.
    flags = ["-ffreestanding", "-nostdlib", "-static", "-O2", "-s"]
    flags += ["-fno-sanitize=undefined", "-fno-stack-protector"]
    target = f"{host_arch().facts.zig}-linux-none"
    argv = [str(zig.program), "cc", "-target", target, *flags, "-o", str(made)]
    argv += map(str, SOURCES)
    said = process.capture(argv, env={"PATH": os.defpath} | own, timeout=_TIMEOUT)
    if not said.ok:
        raise EnvironmentProblemError.of(
            f"the compiler driver cannot be compiled: {said.last_line}",
            hint="is the cache directory complete? `rm -r` its zig, and it is fetched again",
        )


def make(folder: Path, driver: Driver, compiled: Path) -> Path:
    """Make the directory of names; return it.

    Args:
        folder: the directory; must not exist.
        driver: what the names stand for.
        compiled: from `program`.
    """
    folder.mkdir(parents=True)
    shutil.copy(compiled, folder / PROGRAM)
    (folder / CONFIGURATION).write_text(driver.text, encoding="utf-8")
    for name in driver.names:
        (folder / name).symlink_to(PROGRAM)
    return folder
