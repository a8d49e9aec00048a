"""Lock what the builds and tests of targets install."""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders.ask_backend import ask_backend
from orchestrator.builders.declared_requirements import own_requires, undeclared
from orchestrator.builders.locked_target import asked_of_build, asked_of_tests
from orchestrator.errors import EnvironmentProblemError, ErrorKind, Problem
from orchestrator.host.emulation import host_arch
from orchestrator.models.platforms import Arch
from orchestrator.models.requirement_lock import (
    Asked,
    LockedEnvironment,
    RequirementLock,
    TargetLock,
)
from orchestrator.provision.environments import EnvironmentQuestion
from orchestrator.run.run_source import RunSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.models.target import Target
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.tools import Tools
    from orchestrator.run.inputs import Inputs


@dataclass(frozen=True, slots=True, kw_only=True)
class LockReport:
    """What came of locking.

    Attributes:
        lock: the new lock.
        changes: packages that differ from the lock before: (pin before or empty, pin now or empty).
        problems: targets that cannot be locked, and why.
        notes: what no lock has.
    """

    lock: RequirementLock
    changes: tuple[tuple[str, str], ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


@dataclass(kw_only=True, eq=False)
class RequirementLocker:
    """Locks the targets of a run.

    Attributes:
        inputs: the targets and their source.
        tools: this machine.
        before: the lock before; what it has of other targets stays.
        upgrade: distributions whose locked versions are not kept; None for all.
        say: told what takes a while.
    """

    inputs: Inputs
    tools: Tools
    before: RequirementLock
    upgrade: frozenset[str] | None
    say: Callable[[str], object]
    _locked: dict[str, LockedEnvironment] = field(default_factory=dict)
    _answers: dict[object, tuple[str, ...]] = field(default_factory=dict)
    _failed: dict[object, EnvironmentProblemError] = field(default_factory=dict)
    _source: Path = field(default=Path(), init=False)

    def lock(self, written: tuple[Path, ...], *, only: bool) -> LockReport:
        """Lock all targets.

        Args:
            written: directories of builds, which are no part of the source.
            only: whether the new lock has no other targets; those that fail keep what they had.

        Raises:
            OrchestratorError: the source cannot be had, or somebody stopped it.
        """
        environ = self.tools.host.environ
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
            run_source = RunSource(
                inputs=self.inputs, written=written, environ=environ, host=lambda: self.tools.host
            )
            staged = run_source.stage(Path(folder, "source"), run_source.identify())
            self._source = staged.root
            wheels = [target for target in self.inputs.targets if target.library is None]
            targets, failed = self._lock_all(wheels)
            notes = tuple(self._notes(wheels))
        kept = {
            each: locked
            for each, locked in self.before.targets.items()
            if not only or any(each in ids for ids in failed.values())
        }
        lock = self._merge({**kept, **targets})
        return LockReport(
            lock=lock,
            changes=_changes(self.before, lock),
            problems=tuple(
                Problem(what=what, where=f"{ids[0]}{_and_more(ids)}", hint=hint)
                for (what, hint), ids in failed.items()
            ),
            notes=notes,
        )

    def _lock_all(
        self, wheels: Sequence[Target]
    ) -> tuple[dict[str, TargetLock], Mapping[tuple[str, str], list[str]]]:
        """Lock targets; return also why some cannot be: (what, hint) -> their IDs."""
        targets, failed = {}, defaultdict[tuple[str, str], list[str]](list)
        for target in wheels:
            try:
                targets[str(target.id)] = self._lock_target(target)
            except EnvironmentProblemError as error:
                if error.kind is ErrorKind.CANCELLED:
                    raise
                for each in error.problems:
                    failed[_one_line(each.what), each.hint].append(str(target.id))
        return targets, failed

    def _notes(self, wheels: Sequence[Target]) -> Iterator[str]:
        """Yield what no lock has, and what no other machine has."""
        if any(undeclared(target, self._source) for target in wheels):
            yield (
                "the project states its dependencies only when it is built, so a locked test does "
                "not get them: add them to test.requires"
            )
        files = [file for each in self._locked.values() for file in each.files]
        if sdists := sorted({file.pin for file in files if not file.is_wheel}):
            yield (
                f"sdists are locked, and what builds them is not, whatever it is: "
                f"{', '.join(sdists)}"
            )
        if here := sorted({file.pin for file in files if file.url.startswith("file:")}):
            yield f"files of this machine are locked, which others may not have: {', '.join(here)}"

    def _merge(self, targets: Mapping[str, TargetLock]) -> RequirementLock:
        """Return the lock of targets, without environments that none of them has."""
        every = dict(sorted(targets.items()))
        known = {**self.before.environments, **self._locked}
        used = {name for target in every.values() for name in target.names}
        return RequirementLock(
            environments={name: known[name] for name in sorted(used)}, targets=every
        )

    def _lock_target(self, target: Target) -> TargetLock:
        before = self.before.targets.get(str(target.id), TargetLock())
        asked = asked_of_build(target, self._source)
        build = "" if asked is None else self._lock(asked, target, before.build, builds=True)
        known = {
            self.before.environments[name].asked.python: name
            for names in before.tests
            for name in names
        }
        return TargetLock(
            build=build,
            tests=tuple(
                tuple(self._lock(each, target, known.get(each.python, "")) for each in row)
                for row in asked_of_tests(target, self._source)
            ),
        )

    def _lock(self, asked: Asked, target: Target, before: str, *, builds: bool = False) -> str:
        """Lock an environment, if it is not; return its name. `before` is that of the last lock."""
        asking = (asked, *(_settings(target) if builds else ()))
        if asking in self._failed:
            raise self._failed[asking]
        try:
            return self._environment(asked, target, before, builds=builds)
        except EnvironmentProblemError as error:
            self._failed[asking] = error
            raise

    def _environment(self, asked: Asked, target: Target, before: str, *, builds: bool) -> str:
        python = self._interpreter(asked.python)
        question = _question(asked, target, python)
        question.options(self.tools.host.toolchain.python)  # before a backend is asked
        backend: tuple[str, ...] = ()
        if builds and target.steps.environment.isolation:
            backend = self._backend(asked, target, python)
        environment = LockedEnvironment(asked=asked, backend=backend)
        if environment.name not in self._locked:
            self.say(f"locking {asked.python} {asked.platform}: {', '.join(asked.requires)}")
            files = self.tools.locked_environments.lock(
                replace(question, requires=environment.everything),
                self._keep(environment.name, before),
                self.say,
            )
            self._locked[environment.name] = replace(environment, files=files)
        return environment.name

    def _interpreter(self, python: str) -> Interpreter | None:
        try:
            return self.tools.python(python).interpreter
        except EnvironmentProblemError as error:
            if error.kind is ErrorKind.CANCELLED:
                raise
            return None

    def _backend(self, asked: Asked, target: Target, python: Interpreter | None) -> tuple[str, ...]:
        """Return what the build backend asks for when it runs, on this host in place of another."""
        if python is None:  # backends hardly ask for different things
            python = self.tools.installed_python(f"cp3{sys.version_info.minor}").interpreter
        own = own_requires(self._source)
        asking = (asked.python, own, *_settings(target))
        if asking not in self._answers:
            # What the matrix requires may be large, and few backends look at it.
            for requires in dict.fromkeys((own, asked.requires)):
                try:
                    self._answers[asking] = self._ask(asked, requires, target, python)
                    break
                except EnvironmentProblemError:
                    if requires == asked.requires:
                        raise
        return self._answers[asking]

    def _ask(
        self, asked: Asked, requires: tuple[str, ...], target: Target, python: Interpreter
    ) -> tuple[str, ...]:
        here = replace(
            _question(asked, target, python),
            python=str(python.tag),
            arch=host_arch(),
            is_here=True,
            requires=requires,
        )
        return ask_backend(
            target,
            self._source,
            python=python,
            prepared=self.tools.environments.prepare(here, self.say).site,
            requires=requires,
            tools=self.tools,
        )

    def _keep(self, name: str, before: str) -> tuple[str, ...]:
        """Return the pins of the lock before that stay, if they may.

        They are those of the same environment, or of what the target had in its place.
        """
        if self.upgrade is None:
            return ()
        every = self.before.environments
        known = every.get(name, every.get(before))
        files = () if known is None else known.files
        return tuple(file.pin for file in files if file.name not in self.upgrade)


def _settings(target: Target) -> tuple[object, ...]:
    """Return what a backend may look at, but for the version, which each cell has its own of."""
    variables = ((each.name, each.value) for each in target.env if "version." not in each.origin)
    return target.steps.config_settings, tuple(variables)


def _one_line(what: str) -> str:
    """Return why a target cannot be locked, in one line."""
    return " ".join(map(str.strip, what.removeprefix("toolchain: ").splitlines()))


def _and_more(ids: Sequence[str]) -> str:
    return f" and {len(ids) - 1} more" if len(ids) > 1 else ""


def _question(asked: Asked, target: Target, python: Interpreter | None) -> EnvironmentQuestion:
    arch = Arch(asked.platform.removeprefix(f"{target.libc}_"))
    return EnvironmentQuestion(
        python=asked.python,
        interpreter=python,
        arch=arch,
        libc=target.libc,
        glibc=asked.glibc,
        may_build=arch is host_arch(),
        requires=asked.requires,
        constraints=asked.constraints,
        indexes=asked.indexes,
    )


def _changes(before: RequirementLock, now: RequirementLock) -> tuple[tuple[str, str], ...]:
    """Return the packages that one lock has and the other has not, by name."""
    then, today = (
        {file.pin for each in lock.environments.values() for file in each.files}
        for lock in (before, now)
    )
    gone, new = sorted(then - today), sorted(today - then)
    names = sorted({pin.partition("==")[0] for pin in (*gone, *new)})
    found = []
    for name in names:
        old, fresh = ([p for p in pins if p.partition("==")[0] == name] for pins in (gone, new))
        pairs = max(len(old), len(fresh))
        padded = ([*each, *[""] * (pairs - len(each))] for each in (old, fresh))
        found += list(zip(*padded, strict=True))
    return tuple(found)
