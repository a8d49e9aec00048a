"""What jobs hand on: directories with wheels and a ``results.json``, and which job each is of.

Everything in such a directory is a claim of its job. The directory's name is not: the CI system
gives it, or whoever calls `collect`. So a directory is of the job that its name says; without one,
of a job whose targets it holds and no others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, clipped
from orchestrator.fsutil import open_beneath, walk
from orchestrator.models.reading import LARGEST
from orchestrator.report.results import NAME, read_each
from orchestrator.report.text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from orchestrator.models.target import Job, TargetId
    from orchestrator.report.results import RecordedResult, RecordedResults

LISTED = 5
"""Targets that a note lists one by one."""

_JOB = re.compile(r"(?:^|[-_. ])job[-_. ]?([A-Za-z0-9]+)")
_WORDS = re.compile(r"[-_. ]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """What one job handed on: a directory with wheels, and its ``results.json``.

    Attributes:
        folder: the directory.
        names: names of directories that may say which job it is of; the first that does counts.
        contents: what its ``results.json`` says.
    """

    folder: Path
    names: tuple[str, ...]
    contents: RecordedResults

    @property
    def shown(self) -> str:
        """Its directory, for messages."""
        return clipped(one_line(str(self.folder)))


class Standing(IntEnum):
    """How well it is known that an artefact is of a job; of several, only the best count."""

    STRAY = 0
    """It holds targets of several jobs, and its name says none."""
    CONTENTS = 1
    """It holds targets of this job only."""
    NAME = 2
    """Its directory has the job's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A result of a planned target, the artefact that has it, and whether that is of its job."""

    artefact: Artefact
    recorded: RecordedResult
    standing: Standing


def find_artefacts(places: Iterable[Path], *, output: Path) -> tuple[list[Artefact], list[str]]:
    """Find the artefacts in and below some directories, and what is wrong with the others.

    The order is stable. One job's damaged file must not keep back the other jobs' wheels.
    ``output``, where an earlier `collect` put wheels, is left out.
    """
    artefacts, notes = [], []
    for place in places:
        try:
            folders = list(_folders(place, output.resolve()))
        except OSError as error:
            notes.append(f"left out: {one_line(str(place))}: {error.strerror}")
            continue
        if not folders:
            text = one_line(str(place))
            notes.append(f"{text}: no {NAME} in it: its job ended before it had any result")
        # The name of a directory that holds several artefacts says nothing about one of them.
        own = (place.name, place.parent.name) if len(folders) == 1 else ()
        for folder in folders:
            try:
                contents = _read(folder)
            except ConfigError as error:
                notes.append(f"left out: {error}")
                continue
            notes += (f"left out: {error}" for _, error in contents.refused)
            names = (*folder.relative_to(place).parts, *own)
            artefacts.append(Artefact(folder=folder, names=names, contents=contents))
    return artefacts, notes


def _folders(place: Path, output: Path) -> Iterator[Path]:
    for top, below, files in walk(place):
        folder = Path(top)
        below[:] = sorted(each for each in below if (folder / each).resolve() != output)
        if NAME in files:
            below.clear()
            yield folder


def _read(folder: Path) -> RecordedResults:
    where = one_line(str(folder / NAME))
    try:
        with open_beneath(folder, NAME) as stream:
            data = stream.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=where) from None
    return read_each(data, where=where)


class Owners:
    """Which job builds each target, by the plan."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        """Take the plan's jobs."""
        self._ids = frozenset(job.id for job in jobs)
        self._jobs: dict[TargetId, set[str]] = {}
        for job in jobs:
            for target_id in job.targets:
                self._jobs.setdefault(target_id, set()).add(job.id)

    def candidates(
        self, artefacts: Iterable[Artefact]
    ) -> tuple[dict[TargetId, list[Candidate]], list[str]]:
        """Return the results that count for each target, and what is said of the others.

        A job has no say about another job's targets.
        """
        found: dict[TargetId, list[Candidate]] = {}
        notes = []
        for artefact in artefacts:
            job = self._named(artefact)
            results = artefact.contents.results
            own = [(each, self._standing(each.result.target_id, job)) for each in results]
            foreign = [each.result.target_id for each, standing in own if standing is None]
            if foreign:
                what = f"{artefact.shown} is of job {job}, and has results of other jobs"
                notes.append(f"{what}: {listed(foreign)}: left out")
            several = job is None and not self._together(each.result.target_id for each, _ in own)
            for each, standing in own:
                if standing is not None:
                    standing = Standing.STRAY if several else standing  # noqa: PLW2901
                    candidate = Candidate(artefact=artefact, recorded=each, standing=standing)
                    found.setdefault(each.result.target_id, []).append(candidate)
        return found, notes

    def standing(self, artefact: Artefact, jobs: Collection[str]) -> Standing | None:
        """Return how well an artefact stands for one of some jobs; None if it has no say."""
        job = self._named(artefact)
        if job is not None:
            return Standing.NAME if job in jobs else None
        own = self._together(each.result.target_id for each in artefact.contents.results)
        return None if own.isdisjoint(jobs) else Standing.CONTENTS

    def _named(self, artefact: Artefact) -> str | None:
        return next(filter(None, (self._job_in(name) for name in artefact.names)), None)

    def _job_in(self, name: str) -> str | None:
        words = [*_JOB.findall(name), name, *_WORDS.split(name)[-1:]]
        return next((word for word in words if word in self._ids), None)

    def _standing(self, target_id: TargetId, job: str | None) -> Standing | None:
        """Return how well an artefact of a job stands for a target; None if it has no say."""
        owners = self._jobs.get(target_id)
        if owners is None:
            return Standing.STRAY
        if job is None:
            return Standing.CONTENTS
        return Standing.NAME if job in owners else None

    def _together(self, targets: Iterable[TargetId]) -> set[str]:
        """Return the jobs each of which builds all of some targets."""
        owners = [self._jobs[each] for each in targets if each in self._jobs]
        return set.intersection(*owners) if owners else set()


def listed(targets: Sequence[str]) -> str:
    """Name the first of some targets, and count the others."""
    more = len(targets) - LISTED
    names = ", ".join(map(one_line, targets[:LISTED]))
    return f"{names} and {more} more" if more > 0 else names
