"""Make the JSON documents of the command line from the program's values."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import PydanticSerializationError, from_json, to_json

from orchestrator.host.redaction import masked, redactor
from orchestrator.models.json_form import HIDDEN
from orchestrator.models.reading import adapter
from orchestrator.models.result import Status
from orchestrator.models.secret_names import is_secret
from orchestrator.models.wheel import Severity
from orchestrator.plan.other_systems import other_system
from orchestrator.plan.plan import on_host
from orchestrator.report import schemas
from orchestrator.report.logs import log_end
from orchestrator.report.schemas import SCHEMA, to_json_value
from orchestrator.report.text import cleaned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import (
        BuildRequest,
        EnvironmentSpec,
        Job,
        Plan,
        Target,
        TargetId,
    )
    from orchestrator.models.wheel import Finding, WheelReport

SHORTEST = 6
"""Shorter secrets are not searched for in results: they would match ordinary words."""

T = TypeVar("T")


def dumps(document: Mapping[str, Any]) -> str:
    """Serialise a document, indented and in a stable order; a number without an end is null."""
    how: dict[str, Any] = {"indent": 2, "inf_nan_mode": "null"}
    try:
        text = to_json(document, **how).decode()
    except PydanticSerializationError:  # half of a surrogate pair, which UTF-8 cannot have
        text = to_json(cleaned(document), **how).decode()
    return f"{text}\n"


def _extend(kind: type[T], value: Any, **more: Any) -> T:
    """Convert a dataclass value to another class, by equal field names and additional values."""
    names = _names(kind) & _names(type(value))  # type: ignore[arg-type]
    return kind(**{name: getattr(value, name) for name in names} | more)


@cache  # a results.json has thousands of values of the same few
def _names(kind: type) -> frozenset[str]:
    return frozenset(each.name for each in fields(kind))


def _gather(kind: type[T], request: BuildRequest) -> T:
    """Make a value whose fields stand at their metadata's `path` in a build request."""
    return kind(**{name: get(request) for name, get in _getters(kind)})  # type: ignore[arg-type]


@cache
def _getters(kind: type) -> tuple[tuple[str, attrgetter[Any]], ...]:
    return tuple((each.name, attrgetter(each.metadata["path"])) for each in fields(kind))


def plan_document(  # noqa: PLR0913 - mostly keywords
    plan: Plan,
    requests: Sequence[BuildRequest],
    *,
    jobs: Iterable[Job] = (),
    matrix: str = "",
    lines: Mapping[TargetId, int] | None = None,
    sdist: bool | None = False,
) -> dict[str, Any]:
    """Return ``plan --format json`` of a plan and its targets' requests, in plan order.

    `lines` has for each target the line of the matrix file that says most about it.
    """
    known = lines or {}
    unknown = schemas.UndeterminedTarget
    return to_json_value(
        schemas.PlanDocument(
            channel=plan.channel,
            matrix=matrix,
            targets=tuple(planned_target(each, known.get(each.target.id)) for each in requests),
            undetermined=tuple(unknown(id=e.id, reason=e.reason) for e in plan.undetermined),
            excluded=plan.exclusions,
            jobs=tuple(jobs),
            inputs=plan_inputs(requests[0]) if requests else None,
            sdist=sdist,
            elsewhere=tuple(
                schemas.ElsewhereTarget(id=each.id, system=other_system(each))
                for each in plan.elsewhere
            ),
        )
    )


def planned_target(request: BuildRequest, line: int | None = None) -> schemas.PlannedTarget:
    """Return one target of a plan, and the line of the matrix file that says most about it."""
    return _extend(
        schemas.PlannedTarget,
        request.target,
        env=tuple((each.name, masked(each.value)) for each in request.target.env),
        key=request.key,
        host_key=on_host(request).key,
        environment=_environment(request.target.steps.environment),
        line=line,
    )


def _environment(spec: EnvironmentSpec) -> EnvironmentSpec:
    """Hide the passwords of URLs."""
    return replace(
        spec,
        requires=tuple(map(masked, spec.requires)),
        constraints=tuple(map(masked, spec.constraints)),
        indexes=tuple((name, masked(url)) for name, url in spec.indexes),
    )


def plan_inputs(request: BuildRequest) -> schemas.PlanInputs:
    """Return what all targets of a plan share, from the request of one of them."""
    return _gather(schemas.PlanInputs, request)


def inspect_document(reports: Iterable[tuple[Path, WheelReport]]) -> dict[str, Any]:
    """Return ``inspect --json``."""
    wheels = (
        _extend(schemas.InspectedWheel, report, path=cleaned(str(path))) for path, report in reports
    )
    return to_json_value(schemas.InspectDocument(wheels=tuple(wheels)))


def verify_document(
    verdicts: Iterable[tuple[Path, tuple[Finding, ...], WheelReport | None]],
) -> dict[str, Any]:
    """Return ``verify --json``; a file that cannot be read as a wheel at all has no report."""
    wheels: list[schemas.VerifiedWheel | schemas.VerifiedFile] = []
    for path, findings, report in verdicts:
        ok = not any(each.severity is Severity.ERROR for each in findings)
        ok = ok and not (report and report.not_examined)
        if report is None:
            wheels.append(schemas.VerifiedFile(path=str(path), ok=ok, problems=findings))
        else:
            more = {"path": str(path), "ok": ok, "problems": findings}
            wheels.append(_extend(schemas.VerifiedWheel, report, **more))
    return to_json_value(schemas.VerifyDocument(wheels=tuple(wheels)))


def results_document(
    results: Iterable[Mapping[str, Any]],
    runs: Iterable[Mapping[str, Any]] = (),
    *,
    earlier: Mapping[str, Any],
    sdist: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return ``results.json``: results, from `result`, merged into an earlier document."""
    kept: dict[str, Any] = {}
    known: dict[str, Any] = {}
    if earlier.get("schema") == SCHEMA:
        kept = {each["id"]: each for each in earlier.get("results", [])}
        known = {each["id"]: each for each in earlier.get("runs", [])}
    known |= {each["id"]: each for each in runs}
    for each in results:
        # A run that never got to a target says nothing about the wheel an earlier one made.
        built = each["status"] in {Status.OK, Status.FAILED}
        if built or kept.get(each["id"], {}).get("status") != Status.OK:
            kept[each["id"]] = each
    named = {each.get("run") for each in kept.values()}
    return {
        "schema": SCHEMA,
        "runs": sorted(
            (each for each in known.values() if each["id"] in named),
            key=lambda each: (each["began"], each["id"]),
        ),
        "results": [kept[each] for each in sorted(kept)],
        "sdist": sdist or earlier.get("sdist"),
    }


def merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one ``results.json`` of several, as if one machine had built everything.

    If several documents have a target, the result that started last counts; for one from the store,
    the start of its run. A result of a run that did not reach the target never replaces another.
    """
    found = list(documents)
    runs = [run for each in found for run in each.get("runs", [])]
    results = [result for each in found for result in each["results"]]
    began = {each["id"]: each["began"] for each in runs}
    results.sort(key=lambda each: each.get("started") or began.get(each.get("run"), 0.0))
    sdist = next((each["sdist"] for each in reversed(found) if each.get("sdist")), None)
    return results_document(results, runs, earlier={}, sdist=sdist)


def result(
    outcome: BuildResult, target: Target | None = None, *, root: Path, run: str | None = None
) -> dict[str, Any]:
    """Return one target's result, without credentials and secrets.

    Paths below `root` are made relative to it. The target is what was planned, where no request
    says so.
    """
    failure, log = outcome.failure, outcome.log
    planned = target if outcome.request is None else outcome.request.target
    recorded = _extend(
        schemas.Result,
        outcome,
        rejected=_relative(outcome.rejected, root),
        log=_relative(log, root),
        run=run,
        log_end=None if failure is None or log is None else log_end(log, failure.step),
        target=planned,
        request=None if outcome.request is None else _request(outcome.request),
    )
    env = () if planned is None else planned.env
    redact = redactor({each.name: each.value for each in env}, SHORTEST)
    clean = _clean_document(recorded, redact)
    return cleaned(to_json_value(recorded), redact) if clean is None else clean


def _clean_document(value: schemas.Result, redact: Callable[[str], str]) -> dict[str, Any] | None:
    """Return a document that needs no cleaning: most do not. None if it may need some."""
    try:
        data = adapter(schemas.Result).dump_json(value, by_alias=True)
    except PydanticSerializationError:  # half of a surrogate pair
        return None
    text = data.decode()
    found: dict[str, Any] = from_json(data)
    return found if "\\" not in text and redact(text) == text else None


def _request(request: BuildRequest) -> schemas.Request:
    found = _gather(schemas.Request, request)
    env = (replace(each, value=HIDDEN) if is_secret(each.name) else each for each in found.env)
    return replace(found, env=tuple(env))


def _relative(path: Path | None, root: Path) -> Path | None:
    try:
        return None if path is None else path.relative_to(root)
    except ValueError:
        return path
