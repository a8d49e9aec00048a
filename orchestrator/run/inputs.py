"""What a run gets: the matrix' part in it, options, observers, this machine, and its store."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, closest
from orchestrator.fsutil import read_file
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.models.store_trust import StoreTrust
from orchestrator.provision import toolchain
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.host import Host
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.seals import SigningKey, TrustedKeys, machine_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.builders.base import StoppedBuild
    from orchestrator.config.settings import (
        CompilerCacheSettings,
        EngineSettings,
        RunSettings,
        StoreSettings,
    )
    from orchestrator.host.process import Cancel
    from orchestrator.models.requirement_lock import RequirementLock
    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import BackendName, CibuildwheelCatalog, Target, TargetId
    from orchestrator.run.executors.local import Listener
    from orchestrator.run.reproduce import RebuildReport, RebuildRequest
    from orchestrator.source.locate import SourceLocation
    from orchestrator.store.remote import RemoteStore

READ_ONLY = "ORCHESTRATOR_STORE_READ_ONLY"
STORE_DIR = "ORCHESTRATOR_STORE_DIR"
TRUST = "ORCHESTRATOR_STORE_TRUST"
KEY = "ORCHESTRATOR_STORE_KEY"
KEY_FILE = "ORCHESTRATOR_STORE_KEY_FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run.

    Without `jobs` as many targets run at once as the machine holds; without a backend it is auto.
    `allow_unavailable` is whether a run ends well without the targets that cannot be built here.
    Wheels go to `output`, everything else to `work`. `cache` is whether results may come from the
    store, `read_only` whether the shared one is only read. `seconds` is how long targets took in
    earlier runs, `again` what is compared with what was built before, and `deadline` when the run
    is stopped, by `time.monotonic`.
    """

    jobs: int | None
    backend: BackendName | None
    fail_fast: bool
    allow_unavailable: bool = False
    output: Path
    work: Path
    cache: bool = True
    read_only: bool = False
    seconds: Mapping[TargetId, float] = field(default_factory=dict)
    again: RebuildRequest | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """A lock of requirements, and what its file is called."""

    lock: RequirementLock
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What to build: the selected targets in plan order, their source, and sections of the matrix.

    The matrix file is no part of the source, where it lies: a comment in it must not change every
    key. Other files may lie `beside` it in the source without being a part of it. With a `lock`,
    builds and tests install what it has, and nothing else.
    """

    targets: tuple[Target, ...]
    origin: SourceLocation
    matrix: Path
    engine: EngineSettings
    compiler_cache: CompilerCacheSettings
    run: RunSettings
    facts: CibuildwheelCatalog
    store: StoreSettings
    beside: tuple[Path, ...] = ()
    lock: LockFile | None = None

    @property
    def project(self) -> str:
        """What the store calls this matrix where it notes its last results."""
        return hashlib.sha256(os.fsencode(self.matrix)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunObservers:
    """Who hears what a run does.

    Attributes:
        listener: what happens to targets.
        say: what the preparation is at, and what is wrong with a store.
        announce: the backend of every target that is not restored, before the first build starts.
        restored: the results that came from the store before anything is built.
        stopped: where a build failed, before anything there is removed, and what ends the run; then
            nothing is tried twice. None if nobody wants to look.
        compared: how the wheel of `Options.again` compares with the one before.
    """

    listener: Listener
    say: Callable[[str], object]
    announce: Callable[[Mapping[TargetId, Choice]], object]
    restored: Callable[[Sequence[BuildResult]], object]
    stopped: Callable[[StoppedBuild, Cancel], object] | None = None
    compared: Callable[[RebuildReport], object] | None = None


def open_host(environ: Mapping[str, str], say: Callable[[str], object]) -> Host:
    """Return what backends need of this machine, the toolchain made first if it is missing.

    Raises:
        EnvironmentProblemError: the toolchain cannot be made.
    """
    cache = default_cache_dir(environ)
    network = HostNetwork.detect(environ)
    tools = toolchain.existing(cache, environ)
    if tools is None:
        say("preparing the locked toolchain (once for each lock, in the cache)")
        tools = toolchain.sync(cache, network, say, environ=environ)
    return Host(
        toolchain=tools,
        network=network,
        env=base_env(environ),
        cache_dir=cache,
        environ=environ,
    )


def open_store(
    settings: StoreSettings,
    *,
    environ: Mapping[str, str],
    warn: Callable[[str], object],
    read_only: bool = False,
) -> Store:
    """Return the store; nothing of it is read, made or asked yet.

    Raises:
        ConfigError: the environment has no such trust, or no such key.
        EnvironmentProblemError: what signs is not installed.
    """
    cache_dir, root = caches(environ)
    url = settings.remote

    def open_remote(url: str) -> RemoteStore:
        # Its network takes long to import, and most runs have no shared store.
        from orchestrator.store.remote import RemoteStore  # noqa: PLC0415

        authorities = HostNetwork.detect(environ).ca_bundle
        return RemoteStore(url, options=settings.options, environ=environ, ca_bundle=authorities)

    forced = environ.get(READ_ONLY, "").lower() in {"1", "true", "yes"}
    read_only = read_only or settings.read_only or forced
    signer = signing_key(environ)
    own = partial(machine_secret, cache_dir / "store.secret")
    return Store(
        # Machines with one key believe each other's directories: a CI system moves them around.
        local=LocalStore(root, own if signer is None else signer.secret),
        warn=warn,
        open_remote=None if url is None else partial(open_remote, url),
        read_only=read_only,
        trust=store_trust(settings, environ),
        keys=TrustedKeys.of(settings.trusted_keys),
        signer=signer,
    )


def store_trust(settings: StoreSettings, environ: Mapping[str, str]) -> StoreTrust:
    """Return which results of others are taken; raises ConfigError."""
    word, known = environ.get(TRUST, ""), [each.value for each in StoreTrust]
    if word and word not in known:
        raise ConfigError.of(f"{word!r} is not a trust", where=TRUST, hint=closest(word, known))
    default = StoreTrust.SIGNED if settings.trusted_keys else StoreTrust.ALL
    return StoreTrust(word) if word else settings.trust or default


def signing_key(environ: Mapping[str, str]) -> SigningKey | None:
    """Return the private key of the environment, or of the file that it names, if any.

    Raises:
        ConfigError: there is no such file, or it has no key.
        EnvironmentProblemError: what signs is not installed.
    """
    return read_signing_key(environ.get(KEY, ""), environ.get(KEY_FILE, ""), names=(KEY, KEY_FILE))


def read_signing_key(text: str, file: str, *, names: tuple[str, str]) -> SigningKey | None:
    """Return a private key from a text, or else from a file; `names` says where each was named.

    Raises:
        ConfigError: there is no such file, or it has no key.
        EnvironmentProblemError: what signs is not installed.
    """
    if text or not file:
        return SigningKey.parse(text, where=names[0]) if text else None
    try:
        text = read_file(Path(file).expanduser(), limit=1 << 16).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigError.of(
            f"cannot be read: {why}", where="=".join(filter(None, (names[1], file)))
        ) from None
    return SigningKey.parse(text, where=file)


def caches(environ: Mapping[str, str]) -> tuple[Path, Path]:
    """Return our cache and the local store, which CI systems keep below the source."""
    cache, own = default_cache_dir(environ), environ.get(STORE_DIR)
    return cache, Path(own).expanduser().absolute() if own else cache / "store"
