"""Failures as annotations: errors that GitHub shows at lines of the matrix file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.ci.commands import Annotation
from orchestrator.models.result import Status
from orchestrator.report.text import one_line
from orchestrator.report.view import ResultsView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.report.schemas import PlanDocument, Result, ResultsDocument


def failure_annotations(
    plan: PlanDocument, results: ResultsDocument, environ: Mapping[str, str]
) -> Iterator[Annotation]:
    """Yield an annotation for each failure.

    Args:
        plan: says at which line of the matrix file each target is.
        results: how the targets ended.
        environ: usually `os.environ`; says where the repository is.
    """
    lines = {target.id: target.line for target in plan.targets}
    file = _in_repository(plan.matrix, environ)
    for failed in ResultsView(document=results).failures:
        line = lines.get(failed.target_id)
        yield Annotation(
            title=failed.target_id,
            message="\n".join(filter(None, (reason(failed), _first_error(failed)))),
            file=file if line else "",
            line=line,
        )


def reason(result: Result) -> str:
    """Say why a target has no wheel, with the hint in a line of its own."""
    failure = result.failure
    if failure is None:
        return result.status.value
    step = f" in {one_line(failure.step)}" if failure.step else ""
    hint = f"\n  hint: {one_line(failure.hint)}" if failure.hint else ""
    return f"{failure.kind.value}{step}: {one_line(failure.message)}{hint}"


def _first_error(result: Result) -> str:
    """Return the line of the log that says what went wrong; empty if there is none."""
    end = result.log_end
    if end is None or end.error is None or result.status is not Status.FAILED:
        return ""
    return dict(end.lines).get(end.error, "")


def _in_repository(matrix: str, environ: Mapping[str, str]) -> str:
    """Return a file's name relative to the repository, as annotations need it."""
    root = environ.get("GITHUB_WORKSPACE")
    path = Path(matrix).absolute()
    if matrix and root and path.is_relative_to(root):
        return str(path.relative_to(root))
    return matrix
