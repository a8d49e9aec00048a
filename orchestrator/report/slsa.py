"""Statements on how wheels were built, for attestations: SLSA v1 provenance in in-toto v1.

A statement only says what results.json says of a wheel; who signs it vouches for it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from orchestrator.report.schemas import to_json_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.result import RequirementFile
    from orchestrator.report.schemas import Result

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:wheel-orchestrator:wheel:1"
BUILDER = "urn:wheel-orchestrator:unsigned:1"
"""The builder of a statement that nobody vouches for yet: who signs it names its own."""


def statement(result: Result, builder: str = BUILDER) -> dict[str, Any]:
    """Return the statement on the wheel of a target.

    Args:
        result: one with a wheel and a request.
        builder: who built it, as a URI.

    Returns:
        An in-toto statement v1 whose predicate is SLSA provenance v1: what the matrix asks for are
        the external parameters; source, image, requirements and toolchain the resolved
        dependencies.
    """
    wheel = result.wheel
    if wheel is None:
        raise ValueError(f"{result.target_id} has no wheel")
    return {
        "_type": STATEMENT,
        "subject": [{"name": str(wheel.filename), "digest": {"sha256": str(wheel.sha256)}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": _external(result),
                "internalParameters": _internal(result),
                "resolvedDependencies": list(_dependencies(result)),
            },
            "runDetails": {"builder": _builder(result, builder), "metadata": _metadata(result)},
        },
    }


def _external(result: Result) -> dict[str, Any]:
    """Return what the matrix asks for."""
    request = None if result.request is None else to_json_value(result.request)
    asked = {} if request is None else {name: request[name] for name in ("commands", "pins")}
    target = None if result.target is None else to_json_value(result.target)
    made = result.provenance
    run = {} if made is None else {"workflow": made.workflow, "ref": made.ref}
    known = {name: value for name, value in run.items() if value}
    return {"id": str(result.target_id), "target": target, **known, **asked}


def _internal(result: Result) -> dict[str, Any]:
    request = result.request
    return {
        "key": result.key,
        "backend": result.backend,
        "environment": {} if request is None else {v.name: v.value for v in request.env},
        "python": "" if result.environment is None else result.environment.python,
        "packages": {} if result.environment is None else dict(result.environment.packages),
    }


def _dependencies(result: Result) -> Iterator[dict[str, Any]]:
    """Yield what the build was made from, as in-toto's resource descriptors."""
    yield from _source(result)
    if (container := result.container) is not None:
        name, _, digest = (container.digest or container.image_id).rpartition("sha256:")
        uri = f"pkg:oci/{name.rpartition('/')[2].rstrip('@')}" if name.rstrip("@") else ""
        yield _descriptor(uri, {"sha256": digest}, name=container.image)
    if result.request is not None:
        yield _descriptor("", {"sha256": result.request.toolchain}, name="toolchain.lock")
    for file in () if result.environment is None else result.environment.files:
        yield _requirement(file)


def _source(result: Result) -> Iterator[dict[str, Any]]:
    revision = None if result.provenance is None else result.provenance.revision
    if revision is not None:
        at = f"@{revision.commit}" if revision.remote else ""
        changed = {"changedFiles": revision.changed} if revision.changed else {}
        yield _descriptor(
            f"git+{revision.remote}{at}" if revision.remote else "",
            {"gitCommit": revision.commit},
            name="commit",
            annotations={"tags": list(revision.tags), **changed},
        )
    if result.request is not None:
        source = result.request.source
        yield _descriptor("", {"sha256": str(source.digest)}, name="files of the source")


def _requirement(file: RequirementFile) -> dict[str, Any]:
    """Return a requirement, named by its package URL."""
    at = f"@{file.version}" if file.version else ""
    return _descriptor(
        f"pkg:pypi/{canonicalize_name(file.name)}{at}",
        {"sha256": file.sha256},
        name=file.filename,
        downloadLocation=file.url,
        annotations={"index": file.index} if file.index else {},
    )


def _descriptor(uri: str, digest: dict[str, str], **more: Any) -> dict[str, Any]:
    """Return a resource descriptor, without the fields that would be empty."""
    digest = {name: value for name, value in digest.items() if value}
    fields = {"uri": uri, "digest": digest, **more}
    return {name: value for name, value in fields.items() if value}


def _builder(result: Result, builder: str) -> dict[str, Any]:
    request = result.request
    return {"id": builder, "version": {"orchestrator": "" if request is None else request.builder}}


def _metadata(result: Result) -> dict[str, Any]:
    made = result.provenance
    began = None if made is None else made.began
    found: dict[str, Any] = {}
    if made is not None and made.invocation:
        found["invocationId"] = made.invocation
    if began is not None:
        found |= {"startedOn": _time(began), "finishedOn": _time(began + result.duration)}
    return found


def _time(seconds: float) -> str:
    """Return a time as RFC 3339 has it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
