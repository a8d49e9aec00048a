"""Environments of builds that a lock names to the file; see `orchestrator lock`."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.host.emulation import host_arch
from orchestrator.host.redaction import without_login
from orchestrator.models.reading import parse
from orchestrator.models.requirement_lock import LockedFile
from orchestrator.provision.wheelhouse import LockEntry

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.models.requirement_lock import LockedEnvironment
    from orchestrator.provision.cache_dir import Progress
    from orchestrator.provision.environments import (
        EnvironmentMaker,
        EnvironmentQuestion,
        PreparedEnvironment,
    )

_PYLOCK = "pylock.toml"
_CHOOSING = frozenset({"UV_CONSTRAINT", "UV_OVERRIDE"})
"""Variables of uv that choose between versions."""


@dataclass(kw_only=True, eq=False)
class LockedEnvironmentMaker:
    """Locks environments, and makes them as they are locked; one serves all threads of a run.

    Attributes:
        maker: what makes environments.
        newer: pin of a lock -> the version that the index leads to now.
    """

    maker: EnvironmentMaker
    newer: dict[str, str] = field(default_factory=dict)
    _compared: set[str] = field(default_factory=set)
    _comparing: threading.Lock = field(default_factory=threading.Lock)

    def lock(
        self, question: EnvironmentQuestion, keep: Iterable[str], say: Progress
    ) -> tuple[LockedFile, ...]:
        """Return the files that requirements lead to, sorted by name.

        Args:
            question: what is asked for.
            keep: pins (``name==version``) that are taken where they may be.
            say: told what takes a while.

        Raises:
            EnvironmentProblemError: the requirements contradict each other or are nowhere, or an
                index does not say what its files are.
        """
        found = self.maker.resolve(question, self.maker.downloads(say), keep)
        files = {file.name: file for file in found.files}
        locked = []
        for package in found.packages:
            index, file = without_login(package.index), files.get(package.name)
            if file is None or not file.sha256:
                what = f"{package.pin} cannot be locked: no hash of a file is known"
                raise EnvironmentProblemError.of(what, where=index)
            known = {**asdict(file), "index": index}
            try:
                locked.append(parse(LockedFile, known, where=package.pin))
            except ConfigError as error:
                what = f"{package.pin} cannot be locked: {error.what}"
                raise EnvironmentProblemError.of(what, where=index) from None
        return tuple(sorted(locked, key=lambda file: file.name))

    def prepare(
        self, question: EnvironmentQuestion, locked: LockedEnvironment, say: Progress
    ) -> PreparedEnvironment:
        """Return an environment as it is locked; make it if it is missing, or was written into.

        Raises:
            EnvironmentProblemError: it cannot be made, or the index has other files of a version
                than when it was locked.
        """
        question = replace(question, may_build=question.arch is host_arch())
        with self._comparing:  # once in a run
            if locked.name not in self._compared:
                self._compare(question, locked, say)
                self._compared.add(locked.name)
        return self.maker.provide(
            question,
            partial(self._install, question, locked, say),
            packages=tuple(map(_entry, locked.files)),
            files=tuple(file.recorded for file in locked.files),
            say=say,
        )

    def _install(
        self, question: EnvironmentQuestion, locked: LockedEnvironment, say: Progress, made: Path
    ) -> None:
        host, scratch = self.maker.host, made.parent
        (scratch / _PYLOCK).write_text(_pylock(locked.files), encoding="utf-8")
        env = host.uv_env(self.maker.downloads(say), host.build_env(scratch))
        # The lock names every file, and uv takes nothing beside one.
        env = {name: value for name, value in env.items() if name not in _CHOOSING}
        arguments = (f"--requirements={_PYLOCK}", "--no-deps", "--preview-features=pylock")
        self.maker.install(question, made, arguments, env)

    def _compare(
        self, question: EnvironmentQuestion, locked: LockedEnvironment, say: Progress
    ) -> None:
        """Note what the index has newer than a lock; refuse what it has changed.

        Raises:
            EnvironmentProblemError: it has other files of the same version.
        """
        try:
            now = self._packages(question, say)
            kept = now
            if any(file.pin not in now for file in locked.files):
                kept = self._packages(replace(question, requires=locked.pins, constraints=()), say)
        except EnvironmentProblemError as error:
            if error.kind is ErrorKind.CANCELLED:
                raise
            say(f"what the index has newer than the lock is not known: {_first_line(error)}")
            return
        newest = {str(package.name): package for package in now.values()}
        for file in locked.files:
            there = kept.get(file.pin)
            if there is not None and there.hashes and file.sha256 not in there.hashes:
                raise EnvironmentProblemError.of(
                    f"{there.index or 'the index'} has other files of {file.pin} than when it was "
                    f"locked: none has the sha256 of {file.filename}, {file.sha256}",
                    hint="find out who changed it; `orchestrator lock --upgrade` takes what is "
                    "there now",
                )
            if file.name in newest and newest[file.name].pin != file.pin:
                self.newer[file.pin] = newest[file.name].version
                say(f"the index has {newest[file.name].pin}, and {file.version} is locked")

    def _packages(self, question: EnvironmentQuestion, say: Progress) -> dict[str, LockEntry]:
        """Return what a question leads to now, by pin."""
        found = self.maker.resolve(question, self.maker.downloads(say))
        return {package.pin: package for package in found.packages}


def _entry(file: LockedFile) -> LockEntry:
    return LockEntry(
        requirement=Requirement(file.pin), hashes=frozenset({file.sha256}), index=file.index
    )


def _first_line(error: EnvironmentProblemError) -> str:
    return error.what.splitlines()[0]


def _pylock(files: Iterable[LockedFile]) -> str:
    """Return files as a lock that uv installs (PEP 751)."""
    lines = ['lock-version = "1.0"', 'created-by = "wheel-orchestrator"']
    for file in files:
        lines += ["[[packages]]", f'name = "{file.name}"', f'version = "{file.version}"']
        if file.index:
            lines.append(f"index = {json.dumps(file.index)}")
        facts = f"name = {json.dumps(file.filename)}, url = {json.dumps(file.url)}"
        facts = f'{{ {facts}, hashes = {{ sha256 = "{file.sha256}" }} }}'
        lines.append(f"wheels = [{facts}]" if file.is_wheel else f"sdist = {facts}")
    return "\n".join([*lines, ""])
