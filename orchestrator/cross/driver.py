"""Compiler drivers: the names that a build calls, and the programs behind them.

A build finds compilers by their names on PATH. This module makes a directory of such names for one
target: links to one small native program (`driver_src/*.c`). It reads the configuration beside it,
adds the target's arguments, translates those that the real compiler refuses, and becomes the real
compiler. The paths in the configuration are those of the place where it runs, such as a container.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.host.emulation import host_arch
from orchestrator.models.target import CompilerKind
from orchestrator.provision.cache_dir import DRIVERS
from orchestrator.provision.cross_gcc import BINUTILS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.models.platforms import Arch
    from orchestrator.provision.cross_gcc import CrossGcc
    from orchestrator.provision.zig import Zig

SOURCE_DIR = Path(__file__).parent / "driver_src"
SOURCES = tuple(sorted(SOURCE_DIR.glob("*.c")))

PROGRAM, CONFIGURATION = "compiler", "compiler.conf"

_COMPILERS = {"cc": ("cc", "gcc"), "c++": ("c++", "g++")}
"""Tool -> its names."""

_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The programs behind the names in a directory, and their arguments.

    Attributes:
        compiler: ``gcc`` passes arguments on unchanged, ``zig`` translates them.
        arch: the architecture to compile for.
        tools: (``cc``, ``c++``, ``ar``, ``ranlib``, ``ld``, ...; its program and first arguments).
        first: arguments of every compilation and link, before all others.
        last: the same, after all others.
        link: arguments of links only, after all others.
        drop_below: directories of headers and libraries for another machine, which are left out.
        libraries: directories that ``-l:FILE`` and ``-print-file-name`` search.
        env: variables of the real program.
        answers: (question of a configure step, answer).
        native: whether ``-march=native`` is allowed.
        headers: (variable, the directories of one language's headers).
        own: (name, the image's program of that name), if the names are not those of `tools`. These
            programs do everything but compile C and C++.
        log: file that gets a line for each call; empty for none.
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
        """The configuration as the program reads it; `driver_src/main.c` describes it."""
        lines = [f"mode {self.compiler}", f"machine {self.arch}"]
        lines += ["native"] if self.native else []
        lines += [f"log {self.log}"] if self.log else []
        lines += [f"own {name} {path}" for name, path in self.own]
        lines += [f"headers {name}={paths}" for name, paths in self.headers]
        for name, argv in self.tools:
            lines += [f"tool {name}", *(f"exec {word}" for word in argv)]
        lists = {"first": self.first, "last": self.last, "link": self.link}
        lists |= {"drop-below": self.drop_below, "library": self.libraries}
        lines += [f"{key} {value}" for key, values in lists.items() for value in values]
        lines += [f"env {name}={value}" for name, value in self.env]
        lines += [f"answer {question} {answer}" for question, answer in self.answers]
        return "".join(f"{line}\n" for line in lines)

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
    """zig's directories, as paths of the place where the driver runs.

    Attributes:
        root: zig itself.
        cache: the C libraries that it builds.
        scratch: intermediate files, useless after the build.
    """

    root: Path
    cache: Path
    scratch: Path


def zig_driver(arch: Arch, glibc: str, paths: ZigPaths, *, native: bool = False) -> Driver:
    """Return the driver that compiles with zig.

    Args:
        arch: the architecture to compile for.
        glibc: the newest glibc that the results may need (``2.17``).
        paths: zig's directories.
        native: whether the target is this machine's architecture.
    """
    zig = str(paths.root / "zig")
    return Driver(
        compiler=CompilerKind.ZIG,
        arch=arch,
        tools=tuple((name, (zig, command)) for name, command in _ZIG_TOOLS.items()),
        first=(
            *("-target", zig_target(arch, glibc)),
            "-fno-sanitize=undefined",  # zig's default; no Python has its runtime
            # gcc ignores unknown -Wno- options and unused arguments silently.
            *("-Wno-unknown-warning-option", "-Wno-unused-command-line-argument"),
            "-Wno-ignored-optimization-argument",
        ),
        # The debug information of zig's own libraries names directories of this machine.
        link=("-Wl,-S",),
        env=(
            ("ZIG_GLOBAL_CACHE_DIR", str(paths.cache)),
            ("ZIG_LOCAL_CACHE_DIR", str(paths.scratch)),
        ),
        answers=tuple((q, arch.facts.triplet) for q in ("-dumpmachine", "-print-multiarch")),
        native=native,
    )


def gcc_driver(arch: Arch, gcc: CrossGcc) -> Driver:
    """Return the driver of a cross build by gcc, with the libraries that came with it."""
    programs = {"cc": gcc.gcc, "c++": gcc.gxx}
    for name in ("ld", *BINUTILS):
        programs[name] = gcc.gcc.with_name(f"{arch.facts.triplet}-{name}")
    return Driver(
        compiler=CompilerKind.GCC,
        arch=arch,
        tools=tuple((name, (str(program),)) for name, program in programs.items()),
        first=(f"--sysroot={gcc.folder}",),
        # As zig: debug information names directories of this machine.
        link=("-Wl,-S",),
    )


def with_system(zig: Driver, headers: Sequence[str], libraries: Sequence[str]) -> Driver:
    """Return a driver that also finds a system's headers and libraries, after zig's own."""
    return replace(
        zig,
        last=(*zig.last, *(word for folder in headers for word in ("-idirafter", folder))),
        link=(*zig.link, *(f"-L{folder}" for folder in libraries)),
        libraries=(*zig.libraries, *libraries),
    )


_ZIG_TOOLS = {"cc": "cc", "c++": "c++", "ar": "ar", "ranlib": "ranlib", "ld": "ld.lld"}


def program(zig: Zig, cache_dir: Path) -> Path:
    """Return the driver's program for this machine; each version is compiled once.

    Raises:
        EnvironmentProblemError: zig cannot compile it.
    """
    entry = DRIVERS.provide(cache_dir, host_arch(), lambda made: _compile(zig, made))
    return entry.folder / PROGRAM


def _compile(zig: Zig, folder: Path) -> None:
    made, aside = folder / PROGRAM, str(folder.parent)
    own = {"ZIG_GLOBAL_CACHE_DIR": str(zig.cache), "ZIG_LOCAL_CACHE_DIR": aside, "HOME": aside}
    # Without a libc: zig would have to build one first.
    flags = ["-ffreestanding", "-nostdlib", "-static", "-O2", "-s"]
    flags += ["-fno-sanitize=undefined", "-fno-stack-protector"]
    target = f"{host_arch().facts.zig}-linux-none"
    argv = [str(zig.program), "cc", "-target", target, *flags, "-o", str(made)]
    argv += map(str, SOURCES)
    done = process.capture(argv, env={"PATH": os.defpath} | own, timeout=_TIMEOUT)
    if not done.ok:
        raise EnvironmentProblemError.of(
            f"the compiler driver cannot be compiled: {done.last_line}",
            hint=f"the cached zig may be damaged: `rm -r {zig.root}`, and it is fetched again",
        )


def make(folder: Path, driver: Driver, compiled: Path) -> Path:
    """Make the directory of names, which must not exist; `compiled` is from `program`."""
    folder.mkdir(parents=True)
    shutil.copy(compiled, folder / PROGRAM)
    (folder / CONFIGURATION).write_text(driver.text, encoding="utf-8")
    for name in driver.names:
        (folder / name).symlink_to(PROGRAM)
    return folder
