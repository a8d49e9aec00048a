"""What a lock of requirements has for one target, and whether it is of today's matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.builders.declared_requirements import build_requires, test_requires
from orchestrator.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.models.requirement_lock import LockedEnvironment, RequirementLock
    from orchestrator.models.target import Target
    from orchestrator.provision.locked_environments import LockedEnvironmentMaker

AGAIN = "`orchestrator lock` locks it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedTarget:
    """A lock, and what makes its environments.

    Attributes:
        lock: of all targets.
        where: the file that has it.
        maker: makes environments in the cache.
    """

    lock: RequirementLock
    where: str
    maker: LockedEnvironmentMaker

    def check(
        self, target: Target, source: Path
    ) -> tuple[LockedEnvironment | None, tuple[tuple[LockedEnvironment, ...], ...]]:
        """Return the environment that compiles, and those of each test for the target's Pythons.

        Raises:
            EnvironmentProblemError: the lock does not have the target, or is of another matrix or
                another source.
        """
        has = self.lock.targets.get(target.id)
        if has is None:
            raise self._stale(target, "is not locked")
        build = self.lock.environments.get(has.build)
        requires = build_requires(target, source)
        self._compare(target, "the build", build, requires)
        if build is not None and build.asked.constraints != target.steps.environment.constraints:
            raise self._stale(target, "has other constraints now")
        wanted = test_requires(target, source)
        if len(wanted) != len(has.tests):
            raise self._stale(target, "has other tests now")
        rows = []
        for names, lines in zip(has.tests, wanted, strict=True):
            known = {e.asked.python: e for e in map(self.lock.environments.__getitem__, names)}
            row = [known.get(python) for python in (target.python, *target.test_pythons)]
            for environment in row:
                self._compare(target, "the test", environment, lines)
            rows.append(tuple(filter(None, row)))
        return build, tuple(row for row in rows if row)

    def _compare(
        self,
        target: Target,
        what: str,
        locked: LockedEnvironment | None,
        requires: tuple[str, ...],
    ) -> None:
        """Make sure that requirements are those that were locked."""
        before = () if locked is None else locked.asked.requires
        if before == requires:
            indexes = target.steps.environment.indexes
            if locked is None or locked.asked.indexes == indexes:
                return
            raise self._stale(target, "gets packages from other indexes now")
        added = [each for each in requires if each not in before]
        gone = [each for each in before if each not in requires]
        told = [f"{each!r} now" for each in added] + [f"no {each!r}" for each in gone]
        raise self._stale(target, f"{what} requires {', '.join(told) or 'them in another order'}")

    def _stale(self, target: Target, why: str) -> EnvironmentProblemError:
        what = why if why.startswith("the ") else f"{target.id} {why}"
        return EnvironmentProblemError.of(what, where=self.where, hint=AGAIN)
