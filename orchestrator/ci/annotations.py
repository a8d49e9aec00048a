"""Failures as annotations: errors that GitHub shows at the lines of targets in the matrix file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.ci.commands import Annotation
from orchestrator.config.lines import line_numbers, line_of
from orchestrator.models.result import Status
from orchestrator.plan.axes import Axes
from orchestrator.plan.layers import channel_matrix
from orchestrator.report.text import one_line
from orchestrator.report.view import ResultsView

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.config.settings import Settings
    from orchestrator.models.target import Target, TargetId
    from orchestrator.report.schemas import PlanDocument, Result, ResultsDocument


def failure_annotations(
    plan: PlanDocument, results: ResultsDocument, environ: Mapping[str, str]
) -> Iterator[Annotation]:
    """Yield an annotation at its line for each failure; `environ` names the repository."""
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


def target_lines(
    targets: Iterable[Target], settings: Settings, text: str, channel: str
) -> dict[TargetId, int]:
    """Return the line that says most about each target.

    That is the last override that holds for it; else the value of the first of the user's
    axes that it has, else its Python's. For a library it is the library's table. ``text`` is
    matrix.toml itself.
    """
    lines = line_numbers(text)
    axes = Axes(channel_matrix(settings, channel).grid)
    numbers = {
        target.id: next(filter(None, (line_of(path, lines) for path in _paths(target, axes))), None)
        for target in targets
    }
    return {target_id: line for target_id, line in numbers.items() if line is not None}


def _paths(target: Target, axes: Axes) -> Iterator[str]:
    if target.library is not None:
        yield f"library.{target.library.name}"
        return
    yield from reversed(target.overrides)
    pythons = (("python", target.python_value), ("python", target.python))
    for axis, value in (*target.variant, *pythons):
        if value in axes.domain.get(axis, ()):
            yield axes.place(axis, value)
    yield "axes"
