"""The JSON documents of the command-line contract; each carries its schema's version."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.host.secrets import masked
from orchestrator.models import Severity, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.models import (
        BuildResult,
        CompilerCacheStats,
        Digest,
        Exclusion,
        Finding,
        Plan,
        Reason,
        Target,
        TargetId,
        VersionPart,
        WheelReport,
    )

SCHEMA = 1


def dumps(document: Mapping[str, Any]) -> str:
    """Serialise a document, stable and readable."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def plan_document(plan: Plan, keys: Mapping[TargetId, Digest]) -> dict[str, Any]:
    """Return ``plan --format json``.

    Args:
        plan: the (selected) plan.
        keys: target ID -> cache key.
    """
    return {
        "schema": SCHEMA,
        "channel": plan.channel,
        "targets": [_target(each, keys[each.id]) for each in plan.targets],
        "undetermined": [{"id": each.id, "reason": each.reason} for each in plan.undetermined],
        "excluded": [_exclusion(each) for each in plan.exclusions],
    }


def _target(target: Target, key: str) -> dict[str, Any]:
    return {
        "id": target.id,
        "python": target.python,
        "arch": target.arch,
        "libc": target.libc,
        "variant": dict(target.variant),
        "version": target.version,
        "build_tag": target.build_tag,
        "image": target.image,
        "runner": target.runner,
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
        "env": {each.name: masked(each.value) for each in target.env},
        "key": key,
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
            {"path": str(path), **wheel(report), **_details(report)} for path, report in reports
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
    results: Iterable[BuildResult], *, earlier: Mapping[str, Any], root: Path
) -> dict[str, Any]:
    """Return ``results.json``: this run's results laid over the earlier ones.

    Args:
        results: this run's results.
        earlier: the document that is there already, or an empty mapping.
        root: directory that paths are made relative to, where they lie below it.
    """
    kept: dict[str, Any] = {}
    if earlier.get("schema") == SCHEMA:
        kept = {each["id"]: each for each in earlier.get("results", [])}
    for each in results:
        built = each.status in {Status.OK, Status.FAILED}
        # A run that never got to a target says nothing about the wheel an earlier one made.
        if built or kept.get(each.target_id, {}).get("status") != Status.OK:
            kept[str(each.target_id)] = _result(each, root)
    return {"schema": SCHEMA, "results": [kept[each] for each in sorted(kept)]}


def _result(result: BuildResult, root: Path) -> dict[str, Any]:
    failure = result.failure
    return {
        "id": result.target_id,
        "key": result.key,
        "status": result.status,
        "cached": result.cached,
        "backend": result.backend,
        "backend_reason": result.backend_reason,
        "container": None if result.container is None else asdict(result.container),
        "duration": round(result.duration, 3),
        "version_parts": [_part(each) for each in result.parts],
        "compiler_cache": _compilations(result.compiler_cache),
        "wheel": None if result.wheel is None else wheel(result.wheel),
        "rejected": _relative(result.rejected, root),
        "log": _relative(result.log, root),
        "failure": None
        if failure is None
        else {
            "kind": failure.kind,
            "step": failure.step,
            "message": failure.message,
            "hint": failure.hint,
        },
    }


def _compilations(done: CompilerCacheStats | None) -> dict[str, int] | None:
    return None if done is None else {"hits": done.hits, "misses": done.misses}


def _relative(path: Path | None, root: Path) -> str | None:
    if path is None:
        return None
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
