"""Collect what many jobs built: every planned wheel once, byte for byte as its job made it.

A job hands on a directory with ``results.json`` and its wheels. If several runs have a result of
one target, the last one that matches the plan counts: see `collect`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from orchestrator.errors import BadWheelError, ConfigError
from orchestrator.fsutil import copy_file, file_sha256, replacing
from orchestrator.models.result import Failure, FailureKind, Status
from orchestrator.models.target import TargetId
from orchestrator.report import serialize as documents
from orchestrator.report.results import NAME, read_each
from orchestrator.report.schemas import Result, to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.report.schemas import PlanDocument, PlannedTarget

_Raw = dict[str, Any]
"""A part of a results.json, with what a later version may have added to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """What one job handed on: a directory with wheels, and its ``results.json``.

    Attributes:
        refused: by target, what is wrong with the results that are left out of the document.
    """

    folder: Path
    document: _Raw
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """All that was built of a plan.

    Attributes:
        document: the ``results.json`` of all; a planned wheel that no job has is a failure in it.
        wheels: names of the good wheels.
        lacking: the missing wheels.
        spoiled: those of them whose file is not what its result says.
    """

    document: _Raw
    wheels: tuple[str, ...]
    lacking: tuple[TargetId, ...]
    spoiled: tuple[TargetId, ...]
    notes: tuple[str, ...]


def find_artefacts(places: Iterable[Path], *, output: Path) -> tuple[list[Artefact], list[str]]:
    """Find the artefacts in and below some directories, and what is wrong with the others.

    The order is stable. One job's damaged file must not keep back the other jobs' wheels.
    ``output``, where an earlier `collect` put wheels, is left out.
    """
    artefacts, notes = [], []
    for place in places:
        folders = list(_folders(place, output.resolve()))
        if not folders:
            notes.append(f"{place}: no {NAME} in it: its job ended before it had any result")
        for folder in folders:
            try:
                document, refused = read_each(folder)
            except ConfigError as error:
                notes.append(f"left out: {error}")
                continue
            notes += (f"left out: {error}" for error in refused.values())
            texts = {target_id: error.what for target_id, error in refused.items()}
            artefacts.append(Artefact(folder=folder, document=document, refused=texts))
    return artefacts, notes


def _folders(place: Path, output: Path) -> Iterator[Path]:
    for top, below, files in os.walk(place):
        folder = Path(top)
        below[:] = sorted(each for each in below if (folder / each).resolve() != output)
        if NAME in files:
            below.clear()
            yield folder


def collect(plan: PlanDocument, found: Sequence[Artefact], output: Path) -> Collected:
    """Put all good wheels into one directory, and say what is missing.

    A result counts if its key is the plan's, or if it has none because its run never got to the
    target. Of several, the one that started last is taken; a result from the store counts as
    started with its run, and one without a key is taken only if there is no other. So a re-run
    replaces a failure, and a wheel that was built twice is there once.

    Args:
        plan: what was planned.
        found: what jobs handed on.
        output: where the wheels go; each is there whole or not at all.

    Raises:
        OSError: ``output`` cannot be written.
    """
    planned: dict[TargetId, PlannedTarget | None] = {target.id: target for target in plan.targets}
    planned |= {target.id: None for target in plan.undetermined}
    of_plan, notes = [], []
    rejected: dict[str, str] = {}
    owner: dict[int, Path] = {}
    for artefact in found:
        kept = []
        for result in artefact.document["results"]:
            target_id = result["id"]
            if target_id not in planned:
                notes.append(f"{target_id} in {artefact.folder} is not in the plan: left out")
            elif _is_of(result, planned[target_id]):
                kept.append(result)
                owner[id(result)] = artefact.folder
            else:
                rejected[target_id] = f"{artefact.folder} has it with the key {result['key']}"
        of_plan.append(artefact.document | {"results": kept})
    merged = documents.merged(of_plan)
    refused = {target_id: what for each in found for target_id, what in each.refused.items()}
    table = _Table(plan=plan, rejected=rejected, refused=refused, output=output)
    output.mkdir(parents=True, exist_ok=True)
    results = list(table.settle(planned, merged["results"], owner))
    notes += table.others(results)
    libraries = {target.id for target in plan.targets if target.library is not None}
    without = (result["id"] for result in results if not result["wheel"])
    return Collected(
        document=merged | {"results": sorted(results, key=itemgetter("id"))},
        wheels=tuple(sorted(result["wheel"]["filename"] for result in results if result["wheel"])),
        lacking=tuple(target_id for target_id in without if target_id not in libraries),
        spoiled=tuple(table.spoiled),
        notes=tuple(notes),
    )


def _is_of(result: _Raw, target: PlannedTarget | None) -> bool:
    """Whether a result is of what was planned."""
    if target is None:  # its version was not known yet when it was planned
        return True
    if not result["key"]:  # nobody got so far as to ask for it
        return result["wheel"] is None
    return result["key"] in {target.key, target.host_key}


@dataclass(slots=True, kw_only=True)
class _Table:
    """Settles, target by target, what there is of a plan."""

    plan: PlanDocument
    rejected: Mapping[str, str]
    refused: Mapping[str, str]
    output: Path
    spoiled: list[TargetId] = field(default_factory=list)

    def settle(
        self,
        planned: Mapping[TargetId, PlannedTarget | None],
        results: Iterable[_Raw],
        owner: Mapping[int, Path],
    ) -> Iterator[_Raw]:
        """Yield the result of every target, its wheel in place."""
        known = {result["id"]: result for result in results}
        claims = self._claims(known.values())
        for target_id, target in planned.items():
            result = known.get(target_id)
            if result is not None:
                yield self._take(result, owner[id(result)], claims)
            elif target is None or target.library is None:
                yield self._missing(target_id, target)

    @staticmethod
    def _claims(results: Iterable[_Raw]) -> dict[str, dict[str, str]]:
        """Name of a wheel -> digest -> the first target that says so."""
        claims: dict[str, dict[str, str]] = {}
        for result in results:
            if wheel := result["wheel"]:
                claims.setdefault(wheel["filename"], {}).setdefault(wheel["sha256"], result["id"])
        return claims

    def _missing(self, target_id: TargetId, planned: PlannedTarget | None) -> _Raw:
        names = (f"job {job.id} ({job.name})" for job in self.plan.jobs if target_id in job.targets)
        again = f"run {next(names, 'the job that builds it')} again"
        message, hint = "no job has a result of it", f"{again}, or see why it ended early"
        kind = FailureKind.MISSING
        if target_id in self.rejected:
            message = f"no job has it as planned; {self.rejected[target_id]}"
            hint = f"{again}, with the source and the orchestrator of the plan"
        if target_id in self.refused:
            self.spoiled.append(target_id)
            kind, hint = FailureKind.BAD_WHEEL, again
            message = f"the result that a job has of it cannot be: {self.refused[target_id]}"
        result = Result(
            target_id=target_id,
            key="",
            status=Status.FAILED,
            backend=None,
            backend_reason="",
            wheel=None,
            log=None,
            duration=0.0,
            failure=Failure(kind=kind, message=message, hint=hint),
            target=planned,
        )
        document: _Raw = to_json_value(result)
        return document

    def _take(self, result: _Raw, folder: Path, claims: Mapping[str, Mapping[str, str]]) -> _Raw:
        """Put a result's wheel in place; without it, the result is a failure."""
        wheel = result["wheel"]
        if wheel is None:
            return result
        rivals = [
            name for sha256, name in claims[wheel["filename"]].items() if sha256 != wheel["sha256"]
        ]
        if rivals:
            return self._spoil(result, f"{rivals[0]} has another wheel of this name")
        source = folder / wheel["filename"]
        if not _is_name(wheel["filename"]):
            return self._spoil(result, "its result says that this is its name, and it can be none")
        if not source.is_file():
            return result | _failure(
                FailureKind.MISSING,
                f"{wheel['filename']} is not in {folder}, which says that it was built",
                "upload the whole output directory of each job",
            )
        try:
            _install(source, self.output / source.name, wheel["sha256"])
        except BadWheelError as error:
            return self._spoil(result, str(error))
        return result

    def _spoil(self, result: _Raw, problem: str) -> _Raw:
        self.spoiled.append(TargetId(result["id"]))
        message = f"{result['wheel']['filename']}: {problem}"
        return result | _failure(FailureKind.BAD_WHEEL, message, "build it again")

    def others(self, results: Iterable[_Raw]) -> Iterator[str]:
        """Yield what is wrong with the wheels that lie beside those that were put in place."""
        ours = {result["wheel"]["filename"] for result in results if result["wheel"] is not None}
        names = sorted({path.name for path in self.output.glob("*.whl")} - ours)
        if names:
            yield f"{self.output} has other wheels beside the collected ones: {', '.join(names)}"


def _failure(kind: FailureKind, message: str, hint: str) -> _Raw:
    failure = to_json_value(Failure(kind=kind, message=message, hint=hint))
    return {"status": Status.FAILED, "wheel": None, "failure": failure}


def _is_name(name: str) -> bool:
    """Whether a text is a wheel's name, and no path."""
    try:
        parse_wheel_filename(name)
    except InvalidWheelFilename:
        return False
    return Path(name).name == name


def _install(source: Path, place: Path, sha256: str) -> None:
    """Put a wheel to its place; raises BadWheelError if it is not the one that was built."""
    if place.is_file() and file_sha256(place) == sha256:
        return
    with replacing(place) as partial:
        copy_file(source, partial)
        # What is checked is the copy: nothing can come between that and its name.
        found = file_sha256(partial)
        if found != sha256:
            raise BadWheelError.of(f"its SHA-256 is {found}, and its result says {sha256}")
