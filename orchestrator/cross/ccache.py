"""The compiler cache: what was compiled for one Python is not compiled again for the next.

ccache stands in front of the compilers: a directory of links with their names comes first on PATH.
That reaches every build system, and a project that names a launcher of its own is left alone. The
toolchain's ccache is one static program for this machine, so that it runs in any container, also in
an emulated one: there it is native, and only the compiler it calls is emulated.

Nothing here enters a cache key of ours: ccache returns what the compiler would have made.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.access import Access
from orchestrator.fsutil import making
from orchestrator.models.result import CompilerCacheStats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.models.target import Target

REMOTE = "CCACHE_REMOTE_STORAGE"
"""ccache's own variable for a storage that other machines use too."""

_THERE = Path("/opt/orchestrator-ccache")
"""Where a container finds ccache, its links, its entries and its log."""

_NAMES = ("cc", "c++", "gcc", "g++", "clang", "clang++")
"""Names that build systems look for. Not nvcc: tools find the CUDA toolkit from where nvcc is."""

_NVCC = "nvcc"

_OWN_LAUNCHER = re.compile(
    r"(?:\b|-D)(CMAKE_\w+_COMPILER_LAUNCHER|PYTORCH_NVCC|CCACHE_[A-Z]+|SCCACHE_[A-Z]+"
    r"|(?:CC|CXX|CUDACXX)[\"']?\s*=\s*[\"']?\S*(?:ccache|sccache|distcc|icecc))\b"
)

_NOT_CODE = "-Wno-unused-result -Wsign-compare -Wunreachable-code"
"""Warnings in CPython's own CFLAGS of one version that those of the next lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerCache:
    """ccache, and where its entries are.

    Attributes:
        program: the static ccache of the toolchain.
        home: directory of ours in the user's cache.
        size: bytes that the entries of one kind may take.
        remote: address of a storage that other machines use too, as ccache spells it; may hold a
            password. Empty for none.
    """

    program: Path
    home: Path
    size: int
    remote: str = field(repr=False, default="")

    def on_host(
        self, target: Target, scratch: Path, *, found: Iterable[str], compiler: str = ""
    ) -> Access:
        """Prepare the cache for a build on this host.

        Args:
            target: what is built.
            scratch: its private directory.
            found: the compilers (`compiler_names`) that are on PATH.
            compiler: says what compiles, where the programs of these names do not tell.
        """
        names = frozenset(found)
        env = self._env(self._entries("host"), _log_folder(scratch), program=self.program)
        # Every target has a directory of its own, which must not tell its objects apart.
        namespace = f"{target.arch}-{_short(compiler)}" if compiler else str(target.arch)
        env |= {"CCACHE_BASEDIR": str(scratch), "CCACHE_NAMESPACE": namespace}
        return self._access(env, self._links(names, self.program), names)

    def in_container(
        self, target: Target, scratch: Path, *, found: Iterable[str], compiler: str = ""
    ) -> Access:
        """Prepare the cache for a build in a container.

        Args:
            target: what is built.
            scratch: its private directory.
            found: the compilers (`compiler_names`) that are on PATH.
            compiler: digest of what compiles, where that is not what the image has.
        """
        names, program = frozenset(found), _THERE / "ccache"
        mounts = (
            (self.program.resolve(), program, False),
            (self._links(names, program), _THERE / "bin", False),
            (self._entries("containers"), _THERE / "entries", True),
            (_log_folder(scratch), _THERE / "log", True),
        )
        env = self._env(_THERE / "entries", _THERE / "log", program=program)
        # Another image of the same architecture has another compiler, or another assembler.
        env["CCACHE_NAMESPACE"] = f"{target.arch}-{_short(target.image + compiler)}"
        # Whoever a container runs as, this user can remove what it wrote.
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
            "CCACHE_CONFIGPATH": os.devnull,  # a user's own settings are for the user's own builds
            "CCACHE_MAXSIZE": f"{self.size // 1000}k",
            "CCACHE_COMPILERCHECK": "content",
            "CCACHE_NOHASHDIR": "1",
            "CCACHE_IGNOREOPTIONS": _NOT_CODE,
            "CCACHE_STATSLOG": str(log / _LOG),
            "CMAKE_CUDA_COMPILER_LAUNCHER": str(program),
        }

    def _entries(self, kind: str) -> Path:
        """Return a directory for entries; only this user gets there, whatever the modes below."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        folder = self.home / kind
        folder.mkdir(exist_ok=True)
        return folder

    def _links(self, names: frozenset[str], program: Path) -> Path:
        """Return a directory of links to ``program``, named like compilers; made once."""
        wanted = {name: f"cuda/{name}" if name == _NVCC else name for name in sorted(names)}
        folder = self.home / "links" / _short(f"{program} {' '.join(wanted)}")
        if not folder.is_dir():
            with making(folder) as made:
                (made / "cuda").mkdir()
                for place in wanted.values():
                    (made / place).symlink_to(program)
        return folder


def compiler_names(target: Target) -> tuple[str, ...]:
    """Return the names under which a build of ``target`` may call a compiler."""
    named = {each.name: each.value.split() for each in target.env if not each.shell}
    triplets = (target.arch.facts.triplet, f"{target.arch}-linux-gnu")
    # CC=clang-18 is asked for by name; a path goes past every link.
    own = (words[0] for name in ("CC", "CXX") if (words := named.get(name)))
    names = (
        *_NAMES,
        _NVCC,
        *(f"{each}-{name}" for each in triplets for name in ("gcc", "g++")),
        *own,
    )
    return tuple(dict.fromkeys(name for name in names if re.fullmatch(r"[\w.+-]+", name)))


def own_launcher(target: Target, pyproject: str) -> str | None:
    """Return what says that the project brings a compiler cache of its own, None for nothing.

    Args:
        target: what is built, with its environment.
        pyproject: the text of the project's pyproject.toml, whose ``[tool.cibuildwheel]`` or
            build backend may set a launcher.
    """
    lines = (f"{each.name}={each.value}" for each in target.env)
    found = next(filter(None, map(_OWN_LAUNCHER.search, (*lines, pyproject))), None)
    return found[1] if found else None


def stats(scratch: Path) -> CompilerCacheStats | None:
    """Return what the cache did for the build in ``scratch``; None where it had none."""
    folder = scratch / _FOLDER
    if not folder.is_dir():
        return None
    try:
        lines = (folder / _LOG).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        lines = []  # no compiler was called
    counts = Counter(lines)
    return CompilerCacheStats(
        hits=counts["direct_cache_hit"] + counts["preprocessed_cache_hit"],
        misses=counts["cache_miss"],
    )


_FOLDER, _LOG = "ccache", "log"
"""Where ccache says what it did, one word a line, in a target's private directory."""


def _log_folder(scratch: Path) -> Path:
    folder = scratch / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
