"""zig: a C and C++ compiler for any glibc of any architecture, one static program with its headers.

The package index has it as ``ziglang``. It is locked like the toolchain, but no part of it: some
hundred megabytes that only a build for another architecture, or for an old glibc, needs. It is
fetched when the first such build starts, unpacked aside, and put in its place by a rename.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import remove_tree
from orchestrator.host.emulation import host_arch
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.target import Digest
from orchestrator.provision import wheelhouse
from orchestrator.provision.cache_dir import ZIG, CacheEntry, CacheLock, Progress, existing_entry
from orchestrator.provision.failures import run_step
from orchestrator.provision.wheelhouse import LockEntry, Platform

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.provision.host import Host

HOSTS = (Arch.X86_64, Arch.AARCH64)
"""Machines that our compiler driver runs on; zig itself runs on more."""

_FOR_OTHERS = (
    # Headers and libraries of other systems: a third of what is unpacked.
    *("libc/include/*windows*", "libc/include/*darwin*", "libc/include/*bsd*"),
    *("libc/mingw", "libc/wasi", "libc/darwin"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zig:
    """An unpacked zig.

    Attributes:
        root: its directory; ``zig`` and ``lib`` are in it, and it may be mounted elsewhere.
        version: ``0.17.1``.
        digest: of its lock, for cache keys.
        cache: where it keeps the C libraries that it has built; they take tens of seconds.
        hold: keeps it from being pruned; None if this file system has no locks.
    """

    root: Path
    version: str
    digest: Digest
    cache: Path
    hold: CacheLock | None = field(default=None, repr=False, compare=False)

    @property
    def program(self) -> Path:
        """The executable, static and native."""
        return self.root / "zig"


def lock_text() -> str:
    """Return the lock."""
    return resources.files("orchestrator.provision").joinpath("zig.lock").read_text("utf-8")


def lock_digest() -> Digest:
    """Return the SHA-256 of the lock; needs no zig."""
    return Digest(hashlib.sha256(lock_text().encode()).hexdigest())


def locked() -> tuple[LockEntry, ...]:
    """Return the lock's entry, with a marker for the machines that it is used on."""
    used = " or ".join(f'platform_machine == "{each}"' for each in HOSTS)
    return tuple(
        replace(each, requirement=Requirement(f"{each.requirement}; {used}"))
        for each in wheelhouse.parse(lock_text())
    )


def locked_version() -> str:
    """Return the version that the lock names."""
    (entry,) = locked()
    return entry.version


def existing(cache_dir: Path) -> Zig | None:
    """Return the zig of the lock if it is there; a handful of stats."""
    entry = existing_entry(ZIG.folder(cache_dir, host_arch()))
    return None if entry is None else _unpacked(entry)


def _unpacked(entry: CacheEntry) -> Zig:
    root = entry.folder
    version, cache = locked_version(), root / "libraries"
    return Zig(root=root, version=version, digest=lock_digest(), cache=cache, hold=entry.hold)


def provide(host: Host, say: Progress, cancel: Cancel | None = None) -> Zig:
    """Return zig; fetch it if it is missing. Any number of processes may do this at once.

    Raises:
        EnvironmentProblemError: it cannot be fetched; says why and what to do.
    """
    if found := existing(host.cache_dir):
        return found
    if host_arch() not in HOSTS:
        raise EnvironmentProblemError.of(
            f"zig compiles nothing on {host_arch()}: there is no compiler driver for it",
            hint=f"it does on {' and '.join(HOSTS)}",
        )
    stop = cancel or Cancel()
    entry = ZIG.provide(
        host.cache_dir,
        host_arch(),
        lambda made: _unpack(host, made, say, stop),
        say=say,
        cancel=stop,
    )
    return _unpacked(entry)


def _unpack(host: Host, made: Path, say: Progress, cancel: Cancel) -> None:
    """Unpack the wheel of the lock, which pip downloads unless it is in a directory already."""
    scratch, tools = made.parent, host.toolchain
    env, unpacked = {**host.env, "TMPDIR": str(scratch)}, scratch / "unpacked"
    step = partial(run_step, cwd=scratch, cancel=cancel)
    wheels = host.wheels
    if wheels is None:
        wheels = scratch / "wheels"
        # pip knows the user's index, proxy and certificates.
        pip_env = env | host.network.child_env() | wheelhouse.PIP_ENV
        pip = wheelhouse.find_pip((tools.python,), env=pip_env, scratch=scratch)
        platform = Platform.here(PythonTag.of_version(tools.base.version).minor, host_arch())
        lock = wheelhouse.parse(lock_text())
        words = wheelhouse.download_arguments(lock, platform, scratch=scratch, into=wheels)
        say(f"downloading zig {locked_version()}, some 100 MB (once, into the cache)")
        step("download zig", [*pip, *words], env=pip_env)
    requirements = scratch / "zig.lock"
    requirements.write_text(lock_text(), encoding="utf-8")
    install = wheelhouse.install_arguments(wheels, requirements, tools.python)
    own = {"UV_CACHE_DIR": str(scratch / "cache"), "NO_COLOR": "1"}
    argv = [str(tools.bin / "uv"), *install, f"--target={unpacked}"]
    step("unpack zig", argv, env=env | own)
    made.rmdir()
    (unpacked / "ziglang").rename(made)
    for pattern in _FOR_OTHERS:
        for each in (made / "lib").glob(pattern):
            remove_tree(each)
    step("start zig", [str(made / "zig"), "version"], env=env)
