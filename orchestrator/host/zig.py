"""zig: a C and C++ compiler for any glibc of any architecture, one static program with its headers.

The package index has it as ``ziglang``. It is locked like the toolchain, but no part of it: some
hundred megabytes that only a build for another architecture, or for an old glibc, needs. It is
fetched when the first such build starts, unpacked aside, and put in its place by a rename.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.host import toolchain, wheelhouse
from orchestrator.host.emulation import host_arch
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import Cancel, Tail, run
from orchestrator.host.wheelhouse import Platform
from orchestrator.models import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.host.environment import Toolchain

_FOR_OTHERS = (
    # Headers and libraries of systems that no wheel of ours is for: a third of what is unpacked.
    *("libc/include/*windows*", "libc/include/*darwin*", "libc/include/*bsd*"),
    *("libc/mingw", "libc/wasi", "libc/darwin"),
)

_NEW = ".new-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zig:
    """An unpacked zig.

    Attributes:
        root: its directory; ``zig`` and ``lib`` are in it, and it may be mounted elsewhere.
        version: ``0.17.1``.
        digest: of its lock, for cache keys.
        cache: where it keeps the C libraries that it has built; builds share it, and each pays
            tens of seconds without.
    """

    root: Path
    version: str
    digest: Digest
    cache: Path

    @property
    def program(self) -> Path:
        """The executable, static and native."""
        return self.root / "zig"


def lock_text() -> str:
    """Return the lock."""
    return resources.files("orchestrator.host").joinpath("zig.lock").read_text("utf-8")


def lock_digest() -> Digest:
    """Return the SHA-256 of the lock; needs no zig."""
    return Digest(hashlib.sha256(lock_text().encode()).hexdigest())


def locked_version() -> str:
    """Return the version that the lock names."""
    (entry,) = wheelhouse.parse(lock_text())
    return str(entry.requirement.specifier).removeprefix("==")


def existing(cache_dir: Path) -> Zig | None:
    """Return the zig of the lock if it is there; two stats."""
    place = cache_dir.absolute() / "zig"
    digest = lock_digest()
    root = place / f"{digest[:16]}-{host_arch()}"
    if not (root / "zig").is_file():
        return None
    cache = place / f"libraries-{digest[:16]}"
    return Zig(root=root, version=locked_version(), digest=digest, cache=cache)


def provide(  # noqa: PLR0913 - mostly keywords
    cache_dir: Path,
    tools: Toolchain,
    network: HostNetwork,
    on_progress: toolchain.Progress,
    *,
    environ: Mapping[str, str],
    cancel: Cancel | None = None,
) -> Zig:
    """Return zig; fetch it if it is missing. Any number of processes may do this at once.

    Args:
        cache_dir: the user's cache directory.
        tools: its uv unpacks the wheel.
        network: how to reach the package index.
        on_progress: told what is being done.
        environ: `base_env` of it, and `toolchain.WHEELS`, a directory of wheels to take it from.
        cancel: stops it.

    Raises:
        EnvironmentProblemError: it cannot be had here; says why and what to do.
    """
    if found := existing(cache_dir):
        return found
    place, stop = cache_dir.absolute() / "zig", cancel or Cancel()
    with (
        toolchain.machine_errors(place),
        toolchain.locked_folder(place, on_progress, stop) as lock,
    ):
        if found := existing(cache_dir):  # whoever held the lock before us has done the work
            return found
        for litter in place.glob(f"{_NEW}*"):
            shutil.rmtree(litter)
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=place) as scratch:
            _Fetch(tools, network, on_progress, environ, stop, Path(scratch), lock).into(
                place / f"{lock_digest()[:16]}-{host_arch()}"
            )
    if found := existing(cache_dir):
        return found
    raise toolchain.failed(f"zig is not in {place} although it was put there", "")


@dataclass(frozen=True, slots=True)
class _Fetch:
    """Gets one zig."""

    tools: Toolchain
    network: HostNetwork
    say: toolchain.Progress
    environ: Mapping[str, str]
    cancel: Cancel
    scratch: Path
    lock: int

    def into(self, root: Path) -> None:
        given = self.environ.get(toolchain.WHEELS, "")
        wheels = Path(given).expanduser().absolute() if given else self._download()
        requirements = self.scratch / "zig.lock"
        requirements.write_text(lock_text(), encoding="utf-8")
        unpacked = self.scratch / "unpacked"
        argv = [str(self.tools.bin / "uv"), "pip", "install", "--offline", "--no-config"]
        argv += ["--no-progress", "--no-index", f"--find-links={wheels}", "--require-hashes"]
        argv += ["--no-deps", "--only-binary=:all:", f"--python={self.tools.python}"]
        argv += [f"--target={unpacked}", f"--requirement={requirements}"]
        own = {"UV_CACHE_DIR": str(self.scratch / "cache"), "NO_COLOR": "1"}
        self._step("unpack zig", argv, self._env | own)
        made = unpacked / "ziglang"
        for pattern in _FOR_OTHERS:
            for each in (made / "lib").glob(pattern):
                shutil.rmtree(each)
        self._step("start zig", [str(made / "zig"), "version"], self._env)
        made.rename(root)

    def _download(self) -> Path:
        """Have pip download the wheel: it knows the user's index, proxy and certificates."""
        wheels = self.scratch / "wheels"
        env = self._env | self.network.child_env() | toolchain.PIP_ENV
        pip = wheelhouse.find_pip((self.tools.python,), env=env, scratch=self.scratch)
        minor = int(self.tools.base.version.split(".")[1])
        arguments = wheelhouse.download_arguments(
            wheelhouse.parse(lock_text()),
            Platform.here(minor, host_arch()),
            scratch=self.scratch,
            into=wheels,
        )
        self.say(f"downloading zig {locked_version()}, some 100 MB (once, into the cache)")
        self._step("download zig", [*pip, *arguments], env)
        return wheels

    @property
    def _env(self) -> dict[str, str]:
        return base_env(self.environ) | {"TMPDIR": str(self.scratch)}

    def _step(self, what: str, argv: list[str], env: Mapping[str, str]) -> None:
        tail = Tail()
        done = run(
            argv,
            env=env,
            cwd=self.scratch,
            log=tail,
            timeout=toolchain.STEP_TIMEOUT,
            cancel=self.cancel,
            pass_fds=(self.lock,),
        )
        if done.returncode != 0 or done.cancelled or done.timed_out:
            raise toolchain.failed(f"could not {what}{toolchain.ending(done)}", tail.text)
