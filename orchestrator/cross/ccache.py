"""The compiler cache: objects that were compiled for one Python are reused for the next.

A directory of links with the names of compilers comes first on PATH, and leads to ccache. That
works for every build system; a project with its own launcher gets none. The toolchain's ccache is
one static program for this machine, which runs without emulation in emulated containers too: only
the compiler that it calls is emulated.

Nothing here is part of a cache key: ccache returns what the compiler would have made.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.access import Access, count_words
from orchestrator.fsutil import making
from orchestrator.models.result import CompilerCacheStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.models.target import Target

REMOTE = "CCACHE_REMOTE_STORAGE"
"""ccache's variable for a storage that is shared with other machines."""

_THERE = Path("/opt/orchestrator-ccache")
"""ccache, its links, its entries and its log, in a container."""

_NAMES = ("cc", "c++", "gcc", "g++", "clang", "clang++")
"""Names that build systems look for. Not nvcc: its directory leads tools to the CUDA toolkit."""

_NVCC = "nvcc"

_OWN_LAUNCHER = re.compile(
    r"(?:\b|-D)(CMAKE_\w+_COMPILER_LAUNCHER|PYTORCH_NVCC|CCACHE_[A-Z]+|SCCACHE_[A-Z]+"
    r"|(?:CC|CXX|CUDACXX)[\"']?\s*=\s*[\"']?\S*(?:ccache|sccache|distcc|icecc))\b"
)

_NOT_CODE = "-Wno-unused-result -Wsign-compare -Wunreachable-code"
"""Warnings in the CFLAGS of some versions of CPython only; they do not change the code."""

_OWN_PLACES = "-fdebug-prefix-map=*"
"""It takes a build's own directory out of what is compiled, so that every build may share that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerCache:
    """ccache, and where its entries are.

    Attributes:
        program: the toolchain's static ccache.
        home: directory of the entries and links, in the user's cache.
        size: the limit of the entries of each kind, in bytes.
        remote: address of a storage that machines share, as ccache spells it; may contain a
            password. Empty for none.
        shares: whether builds in other directories on this host get the same objects. Those that
            record what a program runs name the directory of its profile.
    """

    program: Path
    home: Path
    size: int
    remote: str = field(repr=False, default="")
    shares: bool = True

    def on_host(
        self, target: Target, scratch: Path, *, found: Iterable[str], compiler: str = ""
    ) -> Access:
        """Prepare the cache for a build on this host.

        Args:
            target: the target to build.
            scratch: its private directory.
            found: the compilers (`compiler_names`) that are on PATH.
            compiler: identifies the compiler, if the programs of these names do not.
        """
        names = frozenset(found)
        env = self._env(self._entries("host"), _log_folder(scratch), program=self.program)
        # Targets have different directories, but shall share objects.
        namespace = f"{target.arch}-{_short(compiler)}" if compiler else str(target.arch)
        env["CCACHE_NAMESPACE"] = namespace
        if self.shares:
            env["CCACHE_BASEDIR"] = str(scratch)
        return self._access(env, self._links(names, self.program), names)

    def in_container(
        self, target: Target, scratch: Path, *, found: Iterable[str], compiler: str = ""
    ) -> Access:
        """Prepare the cache for a build in a container; see `on_host`."""
        names, program = frozenset(found), _THERE / "ccache"
        mounts = (
            (self.program.resolve(), program, False),
            (self._links(names, program), _THERE / "bin", False),
            (self._entries("containers"), _THERE / "entries", True),
            (_log_folder(scratch), _THERE / "log", True),
        )
        env = self._env(_THERE / "entries", _THERE / "log", program=program)
        # Images of one architecture have different compilers, or different assemblers.
        env["CCACHE_NAMESPACE"] = f"{target.arch}-{_short(target.image + compiler)}"
        # This user can remove the entries, whatever user the container runs as.
        env["CCACHE_UMASK"] = "000"
        return self._access(env, _THERE / "bin", names, mounts)

    def _access(
        self,
        env: Mapping[str, str],
        links: Path,
        names: frozenset[str],
        mounts: tuple[tuple[Path, Path, bool], ...] = (),
    ) -> Access:
        # torch looks for nvcc below CUDA_HOME and not on PATH.
        nvcc = (("PYTORCH_NVCC", str(links / "cuda" / _NVCC)),) if _NVCC in names else ()
        private = ((REMOTE, self.remote),) if self.remote else ()
        return Access(links=(links,), env=(*env.items(), *nvcc), private=private, mounts=mounts)

    def _env(self, entries: Path, log: Path, *, program: Path) -> dict[str, str]:
        return {
            "CCACHE_DIR": str(entries),
            "CCACHE_CONFIGPATH": os.devnull,  # the user's settings are for other builds
            "CCACHE_MAXSIZE": f"{self.size // 1000}k",
            "CCACHE_COMPILERCHECK": "content",
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_IGNOREOPTIONS": f"{_NOT_CODE} {_OWN_PLACES}",
            "CCACHE_STATSLOG": str(log / _LOG),
            "CMAKE_CUDA_COMPILER_LAUNCHER": str(program),
        }

    def _entries(self, kind: str) -> Path:
        """Make a directory of entries, which only this user can reach."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        folder = self.home / kind
        folder.mkdir(exist_ok=True)
        return folder

    def _links(self, names: frozenset[str], program: Path) -> Path:
        """Make a directory of links to ``program`` with the names of compilers, once."""
        wanted = {name: f"cuda/{name}" if name == _NVCC else name for name in sorted(names)}
        folder = self.home / "links" / _short(f"{program} {' '.join(wanted)}")
        if not folder.is_dir():
            with making(folder) as made:
                (made / "cuda").mkdir()
                for place in wanted.values():
                    (made / place).symlink_to(program)
        return folder


def compiler_names(target: Target) -> tuple[str, ...]:
    """Return the names under which a build of a target may call a compiler."""
    named = {variable.name: variable.value.split() for variable in target.env if not variable.shell}
    triplets = (target.arch.facts.triplet, f"{target.arch}-linux-gnu")
    # CC=clang-18 is looked up on PATH; a path bypasses the links.
    own = (words[0] for name in ("CC", "CXX") if (words := named.get(name)))
    prefixed = (f"{triplet}-{name}" for triplet in triplets for name in ("gcc", "g++"))
    names = (*_NAMES, _NVCC, *prefixed, *own)
    return tuple(dict.fromkeys(name for name in names if re.fullmatch(r"[\w.+-]+", name)))


def own_launcher(target: Target, pyproject: str) -> str | None:
    """Return the setting that makes the project use its own compiler cache; None without one.

    The text of pyproject.toml counts: ``[tool.cibuildwheel]`` or a build backend may set it.
    """
    lines = (f"{variable.name}={variable.value}" for variable in target.env)
    setting = next(filter(None, map(_OWN_LAUNCHER.search, (*lines, pyproject))), None)
    return setting[1] if setting else None


def stats(scratch: Path) -> CompilerCacheStats | None:
    """Return the hits and misses of the build in `scratch`; None if it had no cache."""
    folder = scratch / _LOG_DIR
    if not folder.is_dir():
        return None
    counts = count_words(folder, _LOG)  # none if no compiler was called
    return CompilerCacheStats(
        hits=counts["direct_cache_hit"] + counts["preprocessed_cache_hit"],
        misses=counts["cache_miss"],
    )


_LOG_DIR, _LOG = "ccache", "log"
"""ccache's log in a target's private directory: a line of one word for each event."""


def _log_folder(scratch: Path) -> Path:
    folder = scratch / _LOG_DIR
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
