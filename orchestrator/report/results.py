"""``results.json``, beside the wheels."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import to_json

from orchestrator import __version__
from orchestrator.errors import ConfigError, clipped
from orchestrator.fsutil import file_sha256, locked, read_file, write_whole
from orchestrator.host.json_file import load_json
from orchestrator.models.reading import LARGEST, json_value, parse
from orchestrator.models.result import SdistFacts, Status
from orchestrator.models.target import TargetId
from orchestrator.report import serialize as documents
from orchestrator.report.schemas import (
    SCHEMA,
    Result,
    RunFacts,
    check_results,
    read_results,
    to_json_value,
)
from orchestrator.report.text import cleaned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import Target
    from orchestrator.report.schemas import ResultsDocument

NAME = "results.json"

_T = TypeVar("_T")
_TABLES = ("runs", "results")

SHARE = 20
"""Writing takes at most 1/SHARE of a run's time."""


def read(place: Path) -> ResultsDocument:
    """Read a ``results.json``, or the one in a directory.

    Raises:
        ConfigError: it cannot be read, is none, or is one of a later version of the schema.
    """
    file, data = _contents(place)
    return read_results(data, where=str(file))


def read_raw(place: Path) -> dict[str, Any]:
    """Return the same as JSON data, including fields that only a later version knows."""
    file, data = _contents(place)
    found = read_each(data, where=str(file))
    for _, error in found.refused:
        raise error
    results = [each.raw for each in found.results]
    sdist = None if found.sdist is None else to_json_value(found.sdist)
    return {"runs": [*found.runs.values()], "results": results, "sdist": sdist}


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResult:
    """A result of a file, also as JSON data with the fields that only a later version knows."""

    result: Result
    raw: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedResults:
    """The contents of a ``results.json``, each result for itself.

    Attributes:
        results: those that can be.
        refused: (target or place in the file, why) of the others.
        runs: ID of a run -> what it says of it, as JSON data.
        sdist: the project's sdist.
    """

    results: tuple[RecordedResult, ...]
    refused: tuple[tuple[str, ConfigError], ...]
    runs: dict[str, dict[str, Any]]
    sdist: SdistFacts | None = None

    def began(self, each: RecordedResult) -> float:
        """Return when a result was started; for one from the store, when its run was."""
        run = self.runs.get(each.result.run or "")
        return each.result.started or (0.0 if run is None else float(run["began"]))


def read_each(data: bytes, *, where: str) -> RecordedResults:
    """Read a ``results.json`` of which some results, or runs, may be what none can be.

    Raises:
        ConfigError: it is no such file.
    """
    document = json_value(data, where=where)
    lists = document if isinstance(document, dict) else {}
    runs, results = (
        found if isinstance(found := lists.get(name), list) else [] for name in _TABLES
    )
    empty: dict[str, Any] = {each: [] for each in _TABLES if isinstance(lists.get(each), list)}
    check_results(document | empty if empty else document, where=where)
    refused: list[tuple[str, ConfigError]] = []
    good_runs = _readable(RunFacts, "runs", runs, where, refused)
    sdist = _readable(SdistFacts, "sdist", filter(None, [lists.get("sdist")]), where, refused)
    return RecordedResults(
        runs={run.id: raw for run, raw in good_runs},
        results=tuple(
            RecordedResult(result=result, raw=raw)
            for result, raw in _readable(Result, "results", results, where, refused)
        ),
        sdist=next((value for value, _ in sdist), None),
        refused=tuple(refused),
    )


def _readable(
    kind: type[_T],
    name: str,
    rows: Iterable[Any],
    where: str,
    refused: list[tuple[str, ConfigError]],
) -> Iterator[tuple[_T, dict[str, Any]]]:
    """Yield the rows that can be, as values and as JSON data that can be written again."""
    for index, row in enumerate(rows):
        place = f"{name}.{index}"
        try:
            raw = cleaned(row)
            value = parse(kind, raw, where=f"{where}: {place}")
            raw = _canonical(raw, to_json_value(value))
            to_json(raw)
        except (ConfigError, ValueError, RecursionError) as error:
            known = row.get("id") if isinstance(row, dict) else None
            if not isinstance(error, ConfigError):  # it is too deep
                what = f"cannot be written again: {clipped(str(error))}"
                error = ConfigError.of(what, where=f"{where}: {place}")
            refused.append((known if isinstance(known, str) else place, error))
        else:
            yield value, raw


def _canonical(raw: Any, ours: Any) -> Any:
    """Return JSON data in which what we know is spelled as we do: ``1.0`` for ``"1"``."""
    if isinstance(raw, dict) and isinstance(ours, dict):
        return {k: _canonical(v, ours[k]) if k in ours else v for k, v in raw.items()}
    if isinstance(raw, list) and isinstance(ours, list) and len(raw) == len(ours):
        return [_canonical(*pair) for pair in zip(raw, ours, strict=True)]
    return ours


def _contents(place: Path) -> tuple[Path, bytes]:
    file = place / NAME if place.is_dir() else place
    try:
        return file, read_file(file, limit=LARGEST)
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(file)) from None


def earlier_seconds(folder: Path) -> dict[TargetId, float]:
    """Return how long targets took in earlier runs; without a ``results.json`` of ours, nothing."""
    try:
        return {
            TargetId(result["id"]): float(result["duration"])
            for result in _earlier(folder / NAME).get("results", [])
            # What came from the store took no time, and what failed may have stopped early.
            if result["status"] == Status.OK and not result.get("cached")
        }
    except (ValueError, LookupError, TypeError):
        return {}  # it only helps to order


def describe_run(channel: str, jobs: int | None) -> dict[str, Any]:
    """Describe a run that begins now, as results.json has it."""
    began = time.time()
    run = RunFacts(
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(began))}-{secrets.token_hex(4)}",
        began=began,
        channel=channel,
        jobs=jobs,
        cpus=len(os.sched_getaffinity(0)),
        orchestrator=__version__,
    )
    return to_json_value(run)


class ResultsWriter:
    """Keep ``results.json`` up to date while targets end; safe in any thread.

    A result is written when its target ends. If targets end faster than a large file can be
    rewritten, for example because they come from the store, some wait for the next write. A failed
    write loses nothing: it is retried with the next result and at the end.
    """

    def __init__(
        self, targets: Sequence[Target], run: Mapping[str, Any], *, output: Path, work: Path
    ) -> None:
        """Prepare; nothing is written yet. The run is `describe_run`'s; `work` has the lock."""
        self.problem: OSError | None = None
        """Why the file cannot be written; None while it can."""
        self._targets: dict[TargetId, Target] = {each.id: each for each in targets}
        self._run = run
        self._output = output
        self._work = work
        self._sdist: dict[str, Any] | None = None
        self._done: list[dict[str, Any]] = []
        self._waiting: list[dict[str, Any]] = []
        self._not_before = 0.0
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    @property
    def document(self) -> dict[str, Any]:
        """The results of this run so far, without earlier ones."""
        with self._lock:
            runs = [self._run]
            return documents.results_document(self._done, runs, earlier={}, sdist=self._sdist)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._flush()

    def ended(self, *outcomes: BuildResult) -> None:
        """Take the results of targets that ended."""
        root, run = self._output.absolute().parent, self._run["id"]
        planned = self._targets.get
        made = [documents.result(e, planned(e.target_id), root=root, run=run) for e in outcomes]
        with self._lock:
            self._done += made
            self._waiting += made
            wait = self._not_before - time.monotonic()
            if wait <= 0:
                self._flush()
            elif self._timer is None:
                self._timer = threading.Timer(wait, self._later)
                self._timer.daemon = True
                self._timer.start()

    def made_sdist(self, sdist: SdistFacts) -> None:
        """Take the project's sdist."""
        with self._lock:
            self._sdist = cleaned(to_json_value(sdist))
            self._flush()

    def _later(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        self._timer = None
        if not self._waiting and self._sdist is None:
            return
        began = time.monotonic()
        try:
            own = {"output": self._output, "work": self._work}
            write(self._waiting, [self._run], **own, sdist=self._sdist)
        except OSError as error:
            self.problem = error
        else:
            self.problem = None
            self._waiting.clear()
        now = time.monotonic()
        self._not_before = now + SHARE * (now - began)


def write(
    results: Sequence[Mapping[str, Any]],
    runs: Sequence[Mapping[str, Any]] = (),
    *,
    output: Path,
    work: Path,
    sdist: Mapping[str, Any] | None = None,
) -> Path:
    """Merge results (`serialize.result`) into ``results.json``; safe for concurrent runs.

    Targets that are not among them stay. The work directory has the lock.
    """
    path = output / NAME
    with locked(work / "results.lock"):
        earlier = _earlier(path)
        document = documents.results_document(results, runs, earlier=earlier, sdist=sdist)
        _move_superseded(earlier, document, output=output, aside=work / "superseded")
        write_whole(path, documents.dumps(document))
    return path


def _earlier(path: Path) -> dict[str, Any]:
    """Return the existing document, or an empty one if it is broken or not ours."""
    try:
        seen = path.stat()
    except OSError:
        return {}
    return _read_earlier(path, (seen.st_ino, seen.st_size, seen.st_mtime_ns))


@lru_cache(maxsize=1)  # a run reads it for the order of its targets, and when it writes its own
def _read_earlier(path: Path, _sign: tuple[int, ...]) -> dict[str, Any]:
    found: Any = None
    with contextlib.suppress(ConfigError):
        found = load_json(dict[str, Any], path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        return {}
    tables = [found.get("results"), found.get("runs", [])]
    ours = all(isinstance(t, list) and all(isinstance(row, dict) for row in t) for t in tables)
    return found if ours else {}


def _move_superseded(
    earlier: dict[str, Any], document: dict[str, Any], *, output: Path, aside: Path
) -> None:
    """Move wheels out of ``output`` that a target made earlier under another name.

    Otherwise an upload of the directory would publish the old version, or the old tag, as well.
    Only files that are still what results.json said are touched.
    """
    current = {name for name, _ in _wheels(document)}
    for name, sha256 in _wheels(earlier):
        if name in current:
            continue
        wheel = output / name
        if wheel.parent == output and wheel.is_file() and file_sha256(wheel) == sha256:
            aside.mkdir(parents=True, exist_ok=True)
            shutil.move(wheel, aside / name)


def _wheels(document: dict[str, Any]) -> list[tuple[str, str]]:
    found = [each.get("wheel") for each in document.get("results", [])]
    found += [sdist] if (sdist := document.get("sdist")) and sdist.get("filename") else []
    return [(file["filename"], file["sha256"]) for file in found if file]
