"""The JSON documents of the command-line contract; each carries its schema's version."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from orchestrator.host.redaction import masked
from orchestrator.models.result import Status
from orchestrator.models.wheel import Severity
from orchestrator.plan.plan import on_host
from orchestrator.report.logs import log_end
from orchestrator.report.text import cleaned, is_secret, secrets_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.models.result import BuildResult, CompilerCacheStats
    from orchestrator.models.target import (
        BuildRequest,
        Exclusion,
        Job,
        Plan,
        Target,
        TargetId,
        VersionPart,
    )
    from orchestrator.models.wheel import Finding, Reason, WheelReport

SCHEMA = 1


def dumps(document: Mapping[str, Any]) -> str:
    """Serialise a document, stable and readable."""
    return to_json(document, indent=2).decode() + "\n"


def plan_document(
    plan: Plan,
    requests: Sequence[BuildRequest],
    *,
    jobs: Iterable[Job] = (),
    matrix: str = "",
    lines: Mapping[TargetId, int] | None = None,
) -> dict[str, Any]:
    """Return ``plan --format json``.

    Args:
        plan: the (selected) plan.
        requests: those of its targets, in plan order.
        jobs: its targets as jobs of a CI system.
        matrix: the matrix file, as it was named.
        lines: target ID -> the line of that file that says most about it.
    """
    return {
        "schema": SCHEMA,
        "channel": plan.channel,
        "matrix": matrix,
        "targets": [
            {**planned_target(each), "line": (lines or {}).get(each.target.id)} for each in requests
        ],
        "undetermined": [{"id": each.id, "reason": each.reason} for each in plan.undetermined],
        "excluded": [_exclusion(each) for each in plan.exclusions],
        "jobs": [asdict(each) for each in jobs],
        "inputs": plan_inputs(requests[0]) if requests else None,
    }


def planned_target(request: BuildRequest) -> dict[str, Any]:
    """Return one target of a plan."""
    target = request.target
    return {
        "id": target.id,
        **facts(target),
        "env": {variable.name: masked(variable.value) for variable in target.env},
        "key": request.key,
        "host_key": on_host(request).key,
    }


def plan_inputs(request: BuildRequest) -> dict[str, Any]:
    """Return what all targets of a plan are made from, of the request of any of them."""
    return {
        "source": request.source.digest,
        "name": request.source.name,
        "epoch": request.source.epoch,
        "toolchain": request.toolchain_digest,
        "builder": request.builder_version,
    }


def facts(target: Target) -> dict[str, Any]:
    """Return what is planned for a target."""
    return {
        "python": target.python,
        "arch": target.arch,
        "libc": target.libc,
        "variant": dict(target.variant),
        "version": target.version,
        "build_tag": target.build_tag,
        "image": target.image,
        "runner": ", ".join(target.runner),
        "emulated": target.emulated,
        "cost": target.cost,
        "abi3": target.abi3,
        "baseline": target.baseline,
        "derived": dict(target.derived),
        "covers": [dict(each) for each in target.covers],
        "test_pythons": list(target.test_pythons),
        "needs": list(target.needs),
        "publish": list(target.publish),
        "library": None if target.library is None else target.library.name,
    }


def _part(part: VersionPart) -> dict[str, Any]:
    return {
        "name": part.name,
        "value": part.value,
        "source": part.source or None,
        "sources": [
            {"source": each.source, "value": each.value, "note": each.note} for each in part.answers
        ],
    }


def _exclusion(exclusion: Exclusion) -> dict[str, Any]:
    return {"cell": dict(exclusion.cell), "rule": exclusion.rule, "reason": exclusion.reason}


def inspect_document(reports: Iterable[tuple[Path, WheelReport]]) -> dict[str, Any]:
    """Return ``inspect --json``."""
    return {
        "schema": SCHEMA,
        "wheels": [
            {"path": cleaned(str(path)), **wheel(report), **_details(report)}
            for path, report in reports
        ],
    }


def verify_document(
    verdicts: Iterable[tuple[Path, tuple[Finding, ...], WheelReport | None]],
) -> dict[str, Any]:
    """Return ``verify --json``.

    Args:
        verdicts: a wheel, all that was found, and the report on it; None for a file that cannot be
            read as a wheel at all.
    """
    return {
        "schema": SCHEMA,
        "wheels": [
            {
                "path": str(path),
                "ok": not any(each.severity is Severity.ERROR for each in findings),
                **({} if report is None else wheel(report)),
                "problems": [finding(each) for each in findings],
            }
            for path, findings, report in verdicts
        ],
    }


def _details(report: WheelReport) -> dict[str, Any]:
    """Return what is too long for the results of a whole matrix."""
    return {
        "steps": [
            {
                "tag": step.tag,
                "reasons": list(map(_reason, step.reasons)),
                "remedies": list(step.remedies),
            }
            for step in report.steps
        ],
        "elf_files": [
            {
                "file": each.file,
                "arch": each.arch,
                "libc": each.libc,
                "soname": each.soname,
                "needed": list(each.needed),
                "rpath": list(each.rpath),
                "python_abi": each.python_abi,
                "isa": each.isa,
            }
            for each in report.elf_files
        ],
    }


def wheel(report: WheelReport) -> dict[str, Any]:
    """Return one wheel's report."""
    return {
        "filename": report.filename,
        "sha256": report.sha256,
        "size": report.size,
        "version": report.version,
        "declared_tags": list(report.declared_tags),
        "observed_tag": report.observed_tag,
        "reasons": list(map(_reason, report.reasons)),
        "external_libs": {name: list(files) for name, files in report.external_libs},
        "isa": report.isa,
        "abi3": report.abi3,
        "problems": [finding(each) for each in report.problems],
    }


def _reason(each: Reason) -> dict[str, Any]:
    return {
        "file": each.file,
        "library": each.library,
        "symbol_version": each.symbol_version,
        "symbols": list(each.symbols),
    }


def finding(each: Finding) -> dict[str, str]:
    """Return one finding."""
    return {"rule": each.rule, "severity": each.severity, "message": each.message}


def results_document(
    results: Iterable[Mapping[str, Any]],
    runs: Iterable[Mapping[str, Any]] = (),
    *,
    earlier: Mapping[str, Any],
) -> dict[str, Any]:
    """Return ``results.json``: some results laid over the earlier ones.

    Args:
        results: from `result`, or of another such document.
        runs: the runs they are from.
        earlier: the document that is there already, or an empty mapping.
    """
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
    }


def merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one ``results.json`` of several, as if one machine had built everything.

    Where several know a target, what was started last counts; for what came from the store, when
    its run began. What never got to it never does.

    Args:
        documents: documents that are valid.
    """
    found = list(documents)
    runs = [run for each in found for run in each.get("runs", [])]
    results = [result for each in found for result in each["results"]]
    began = {each["id"]: each["began"] for each in runs}
    results.sort(key=lambda each: each.get("started") or began.get(each.get("run"), 0.0))
    return results_document(results, runs, earlier={})


def result(
    outcome: BuildResult, target: Target | None = None, *, root: Path, run: str | None = None
) -> dict[str, Any]:
    """Return one target's result, without credentials and secrets.

    Args:
        outcome: how it ended.
        target: what was planned, where no request says so.
        root: directory that paths are made relative to, where they lie below it.
        run: ID of the run.
    """
    request, failure = outcome.request, outcome.failure
    planned = request.target if request is not None else target
    end = None
    if failure is not None and outcome.log is not None:
        end = log_end(outcome.log, failure.step)
    document = {
        "id": outcome.target_id,
        "key": outcome.key,
        "status": outcome.status,
        "backend": outcome.backend,
        "backend_reason": outcome.backend_reason,
        "container": None if outcome.container is None else asdict(outcome.container),
        "duration": round(outcome.duration, 3),
        "version_parts": [_part(each) for each in outcome.parts],
        "compiler_cache": _compilations(outcome.compiler_cache),
        "compiled": None if outcome.compiled is None else asdict(outcome.compiled),
        "wheel": None if outcome.wheel is None else wheel(outcome.wheel),
        "rejected": _relative(outcome.rejected, root),
        "log": _relative(outcome.log, root),
        "failure": None
        if failure is None
        else {
            "kind": failure.kind,
            "step": failure.step,
            "message": failure.message,
            "hint": failure.hint,
        },
        "run": run,
        "started": None if outcome.started is None else round(outcome.started, 3),
        "steps": [{"name": name, "seconds": round(took, 3)} for name, took in outcome.steps],
        "slot": outcome.slot,
        "cpu_seconds": None if outcome.cpu_seconds is None else round(outcome.cpu_seconds, 3),
        "attempts": outcome.attempts,
        "cached": outcome.cached,
        "log_end": None if end is None else asdict(end),
        "target": None if planned is None else facts(planned),
        "request": None if request is None else _request(request),
    }
    env = () if planned is None else planned.env
    cleaned_document: dict[str, Any] = cleaned(
        document, secrets_of((each.name, each.value) for each in env)
    )
    return cleaned_document


def _request(request: BuildRequest) -> dict[str, Any]:
    target = request.target
    return {
        "source": {
            "name": request.source.name,
            "version": request.source.version,
            "digest": request.source.digest,
            "epoch": request.source.epoch,
        },
        "env": [
            {
                "name": each.name,
                "value": None if is_secret(each.name) else each.value,
                "origin": each.origin,
                "shell": each.shell,
            }
            for each in target.env
        ],
        "commands": asdict(target.steps),
        "compiling": {
            "emulation": target.compiling.emulation,
            "compiler": target.compiling.compiler,
            "baseline": target.compiling.baseline,
        },
        "library": None if target.library is None else asdict(target.library),
        "pins": list(target.pins),
        "on_mismatch": target.on_mismatch,
        "cpus": target.resources.cpus,
        "memory": target.resources.memory,
        "toolchain": request.toolchain_digest,
        "builder": request.builder_version,
    }


def _compilations(done: CompilerCacheStats | None) -> dict[str, int] | None:
    return None if done is None else {"hits": done.hits, "misses": done.misses}


def _relative(path: Path | None, root: Path) -> str | None:
    if path is None:
        return None
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
