"""What a lock of requirements has for one target, and whether it is of today's matrix."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from orchestrator.builders.declared_requirements import build_requires, own_table, test_requires
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.models.platforms import Libc
from orchestrator.models.requirement_lock import Asked
from orchestrator.models.target import EmulationMode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.models.requirement_lock import LockedEnvironment, RequirementLock
    from orchestrator.models.target import Target
    from orchestrator.provision.locked_environments import LockedEnvironmentMaker

AGAIN = "`orchestrator lock` locks it again"

OLDEST = "2.28"
"""The glibc of an image whose name does not say it."""

_IMAGE_GLIBC = re.compile(r"manylinux_(2_\d+)|manylinux(2014)")


def image_glibc(image: str) -> str:
    """Return the version of the glibc that an image's name says, or else `OLDEST`."""
    found = _IMAGE_GLIBC.search(image)
    if found is None:
        return OLDEST
    return "2.17" if found[2] else found[1].replace("_", ".")


def asked_of_build(target: Target, source: Path) -> Asked | None:
    """Return what the environment that compiles a target is asked for; None for nothing."""
    requires = build_requires(target, source)
    if not requires:
        return None
    # This machine's Python makes a cross build.
    is_cross = target.compiling.emulation is EmulationMode.CROSS
    platform = f"{target.libc}_{host_arch()}" if is_cross else target.platform
    constraints = target.steps.environment.constraints
    return _asked(target, target.python, requires, platform, constraints)


def asked_of_tests(target: Target, source: Path) -> tuple[tuple[Asked, ...], ...]:
    """Return what the test and each further test are asked for, for each Python they run with."""
    pythons = (target.python, *target.test_pythons)
    return tuple(
        tuple(_asked(target, python, lines, target.platform) for python in pythons)
        for lines in test_requires(target, source)
    )


def _asked(
    target: Target,
    python: str,
    requires: tuple[str, ...],
    platform: str,
    constraints: tuple[str, ...] = (),
) -> Asked:
    return Asked(
        python=python,
        platform=platform,
        glibc=image_glibc(target.image) if target.libc is Libc.MANYLINUX else "",
        requires=requires,
        constraints=constraints,
        indexes=target.steps.environment.indexes,
    )


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
        self._compare(target, "the build", build, asked_of_build(target, source))
        wanted = asked_of_tests(target, source)
        if len(wanted) != len(has.tests):
            raise self._stale(target, "has other tests now")
        if wanted and "before-test" in own_table(source):
            raise self._stale(
                target,
                "is tested after before-test of [tool.cibuildwheel], which replaces ours",
                hint="say test.before in the matrix instead",
            )
        rows = []
        for names, row in zip(has.tests, wanted, strict=True):
            known = {e.asked.python: e for e in map(self.lock.environments.__getitem__, names)}
            for asked in row:
                self._compare(target, "the test", known.get(asked.python), asked)
            rows.append(tuple(known[asked.python] for asked in row))
        return build, tuple(rows)

    def _compare(
        self, target: Target, what: str, locked: LockedEnvironment | None, asked: Asked | None
    ) -> None:
        """Make sure that an environment was locked for what is asked."""
        before = None if locked is None else locked.asked
        if before != asked:
            raise self._stale(target, f"{what} {'; '.join(_differences(before, asked))}")

    def _stale(self, target: Target, why: str, hint: str = AGAIN) -> EnvironmentProblemError:
        return EnvironmentProblemError.of(f"{target.id}: {why}", where=self.where, hint=hint)


def _differences(before: Asked | None, now: Asked | None) -> Iterator[str]:
    """Yield the differences between what was locked and what is asked for now."""
    if before is None or now is None:
        python = f" for {now.python}" if now is not None else ""
        yield f"is not locked{python}" if now is not None else "requires nothing now"
        return
    added = [each for each in now.requires if each not in before.requires]
    gone = [each for each in before.requires if each not in now.requires]
    told = [f"{each!r} now" for each in added] + [f"no {each!r}" for each in gone]
    if before.requires != now.requires:
        yield f"requires {', '.join(told) or 'the same in another order'}"
    for name in (each.name for each in fields(Asked) if each.name != "requires"):
        old, new = getattr(before, name), getattr(now, name)
        if old != new:
            yield f"has other {name} now ({_shown(new)}, locked: {_shown(old)})"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
