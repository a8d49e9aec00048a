"""The parts of this machine that change the bytes of a wheel built on it without a container.

Compilers and linkers are identified by their contents: nothing is started. Headers and libraries of
the system are not considered; `docs/concepts/store.md` says so.
"""

from __future__ import annotations

import os
import platform
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.fsutil import file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

TOOLS = ("cc", "c++", "gcc", "g++", "gfortran", "clang", "clang++", "ld", "as", "nvcc", "rustc")
"""Programs that make machine code, by the names under which builds call them."""

NAMING = frozenset(
    {
        "CC",
        "CXX",
        "CPP",
        "FC",
        "LD",
        "AS",
        "AR",
        "LDSHARED",
        "LDCXXSHARED",
        "CUDACXX",
        "NVCC",
        "RUSTC",
    }
)
"""Variables that may name other ones."""


def describe(path: str, env: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """Return what distinguishes this machine's builds from those of another machine.

    `path` is the PATH of builds, and `env` their variables, which may name compilers.
    """
    # `ccache gcc-12 -pthread` names two.
    words = [word for name, value in env if name in NAMING for word in value.split()]
    named = [word for word in words if not word.startswith("-")]
    found = {tool: _tools(tool, path) for tool in dict.fromkeys((*TOOLS, *named))}
    libc = " ".join(platform.libc_ver()).strip() or "another libc"
    machine = {"machine": platform.machine(), "libc": libc, "system": _system()}
    return machine | {tool: digests for tool, digests in found.items() if digests}


def _tools(name: str, path: str) -> str:
    """Return digests of every program of a name: the first may be a wrapper of the next."""
    places = (shutil.which(name, path=folder) for folder in path.split(os.pathsep) if folder)
    real = dict.fromkeys(os.path.realpath(place) for place in places if place)
    beside = (Path(each).with_name(name) for each in real for name in _settings(Path(each).name))
    files = (*real, *(str(file) for file in beside if file.is_file()))
    return " ".join(_digest(each, Path(each).stat().st_mtime_ns) for each in files)


def _settings(program: str) -> Iterator[str]:
    """Return the files beside a program that it reads its options from."""
    if program.startswith("clang"):
        yield from (f"{program}.cfg", "clang.cfg", "clang++.cfg")
    if program == "nvcc":
        yield "nvcc.profile"


def users_settings(home: Path) -> dict[str, str]:
    """Return digests of the files in a home directory that reach a build: those of Rust."""
    files = [home / name for name in _USERS_SETTINGS]
    files += sorted(home.glob(".rustup/toolchains/*/bin/rustc"))
    found = {str(path.relative_to(home)): path for path in files if path.is_file()}
    return {name: _digest(str(path), path.stat().st_mtime_ns) for name, path in found.items()}


_USERS_SETTINGS = (".cargo/config", ".cargo/config.toml", ".rustup/settings.toml")


@cache
def _digest(program: str, _changed: int) -> str:
    try:
        return file_sha256(Path(program))[:16]
    except OSError:
        return "unreadable"


@cache
def _system() -> str:
    try:
        release: Mapping[str, str] = platform.freedesktop_os_release()
    except OSError:
        return platform.system()
    return " ".join(filter(None, (release.get("ID"), release.get("VERSION_ID"))))
