"""``orchestrator collect``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.errors import ConfigError, EnvironmentProblemError, ExitCode, Problem
from orchestrator.models.result import Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.ci.collect import Collected
    from orchestrator.ci.commands import Annotation
    from orchestrator.models.target import TargetId
    from orchestrator.report.schemas import PlanDocument, Result, ResultsDocument

STEP_LIMIT = 1 << 20
"""Bytes that GitHub takes of the summary of one step."""


@click.command("collect")
@click.argument(
    "artefacts",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="ARTEFACT_DIR...",
)
@click.option(
    "--plan",
    "planned",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="What was planned: `orchestrator plan --format json`.",
)
@click.option(
    "--output-dir",
    "output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("dist"),
    show_default=True,
    help="Where wheels, results.json and the reports go.",
)
def command(artefacts: Sequence[Path], planned: Path, output: Path) -> int:
    """Put the wheels of many jobs together, and check that every planned one is there, unchanged.

    ARTEFACT_DIR is the output directory of a job's `build`, or a directory of several. What is good
    is put in place, whatever else is missing. On GitHub Actions the summary of the step gets the
    report, and each failure is shown at its line of the matrix file.
    """
    from orchestrator.ci.collect import artefacts as find
    from orchestrator.ci.collect import collect
    from orchestrator.ci.commands import in_actions
    from orchestrator.report.schemas import ResultsDocument, parse

    plan = _plan(planned)
    found, notes = find(artefacts, output=output)
    collected = collect(plan, found, output)
    seen = parse(ResultsDocument, collected.document)
    problems = _write(collected, output)
    _say(plan, collected, seen, notes=[*notes, *collected.notes], output=output)
    if in_actions(os.environ):
        problems += _summarise(seen)
        _annotate(plan, seen)
    if problems:
        raise EnvironmentProblemError(*problems)
    if collected.spoiled:
        return ExitCode.BAD_WHEEL
    return ExitCode.TARGET_FAILED if collected.lacking else ExitCode.OK


def _plan(path: Path) -> PlanDocument:
    from orchestrator.report.schemas import read_plan

    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "the job that plans must hand on what `orchestrator plan --format json` prints"
        raise ConfigError.of(error.strerror or str(error), where=str(path), hint=hint) from None
    return read_plan(data, where=str(path))


def _write(collected: Collected, output: Path) -> list[Problem]:
    """Write all reports beside the wheels, and return what went wrong."""
    from orchestrator.cli.report import ReportPaths
    from orchestrator.report.results import NAME

    wanted = ReportPaths(
        html=output / "report.html",
        junit=output / "junit.xml",
        markdown=output / "report.md",
        json=output / NAME,
    )
    return list(wanted.write(collected.document))


def _say(
    plan: PlanDocument,
    collected: Collected,
    seen: ResultsDocument,
    *,
    notes: Sequence[str],
    output: Path,
) -> None:
    """Name each wheel that is missing, and say why."""
    from orchestrator.report.text import one_line

    lacking = set(collected.lacking)
    for each in notes:
        click.echo(f"note: {one_line(each)}", err=True)
    for result in seen.results:
        if result.target_id in lacking:
            click.echo(f"{one_line(result.target_id)}: {_why(result)}", err=True)
    libraries = sum(each.library is not None for each in plan.targets)
    wheels = len(plan.targets) + len(plan.undetermined) - libraries
    click.echo(f"{wheels - len(lacking)} of {wheels} planned wheels are in {output}", err=True)


def _why(result: Result) -> str:
    from orchestrator.report.text import one_line

    failure = result.failure
    if failure is None:
        return result.status.value
    step = f" in {one_line(failure.step)}" if failure.step else ""
    hint = f"\n  hint: {one_line(failure.hint)}" if failure.hint else ""
    return f"{failure.kind.value}{step}: {one_line(failure.message)}{hint}"


def _summarise(seen: ResultsDocument) -> list[Problem]:
    """Append the report to the summary of this step, as far as GitHub takes it."""
    from orchestrator.report import markdown

    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return []
    path = Path(place)
    try:
        there = path.stat().st_size if path.exists() else 0
        room = min(STEP_LIMIT - there - 1, markdown.LIMIT)
        if room < markdown.LEAST:
            click.echo("note: the summary of this step is full: report.md has all of it", err=True)
            return []
        with path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if there else "") + markdown.render(seen, limit=room))
    except OSError as error:
        what = f"the summary of the step cannot be written: {error.strerror or error}"
        return [Problem(what=what, where=str(path), hint="report.md has the same")]
    return []


def _annotate(plan: PlanDocument, seen: ResultsDocument) -> None:
    """Show failures at the lines of the matrix file."""
    from orchestrator.ci.commands import EscapedStream, shown

    lines = {each.id: each.line for each in plan.targets}
    file = _in_repository(plan.matrix, os.environ)
    for each in shown(_annotations(seen, file, lines)):
        if isinstance(sys.stderr, EscapedStream):
            sys.stderr.command(str(each))


def _annotations(
    seen: ResultsDocument, file: str, lines: Mapping[TargetId, int | None]
) -> Iterator[Annotation]:
    from orchestrator.ci.commands import Annotation
    from orchestrator.report.view import ResultsView

    for each in ResultsView(document=seen).failures:
        line = lines.get(each.target_id)
        parts = (_why(each), _first_error(each))
        yield Annotation(
            title=each.target_id,
            message="\n".join(filter(None, parts)),
            file=file if line else "",
            line=line,
        )


def _first_error(result: Result) -> str:
    """Return the line of the log that says what went wrong; empty where none does."""
    end = result.log_end
    if end is None or end.error is None or result.status is not Status.FAILED:
        return ""
    return dict(end.lines).get(end.error, "")


def _in_repository(matrix: str, environ: Mapping[str, str]) -> str:
    """Return a file's name as an annotation has it: relative to the repository."""
    if not matrix:
        return ""
    root = environ.get("GITHUB_WORKSPACE")
    path = Path(matrix).absolute()
    if root and path.is_relative_to(root):
        return str(path.relative_to(root))
    return matrix
