"""``orchestrator collect``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import DIRECTORY, FILE
from orchestrator.cli.output import say
from orchestrator.cli.report import write_reports
from orchestrator.errors import EnvironmentProblemError, ExitCode, Problem
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.ci.collect import Collected
    from orchestrator.report.schemas import PlanDocument, ResultsDocument

STEP_LIMIT = 1 << 20
"""Bytes that GitHub takes of the summary of one step."""


@click.command("collect", epilog=examples("collect jobs --plan plan.json --output-dir dist"))
@click.argument("artefacts", nargs=-1, required=True, type=DIRECTORY, metavar="ARTEFACT_DIR...")
@click.option(
    "--plan",
    "planned",
    required=True,
    type=FILE,
    metavar="FILE",
    help="Plan: the output of `orchestrator plan --format json`.",
)
@click.option(
    "--output-dir",
    "output",
    type=DIRECTORY,
    default=Path("dist"),
    show_default=True,
    help="Directory for wheels, results.json and the reports.",
)
def command(artefacts: Sequence[Path], planned: Path, output: Path) -> int:
    """Collect the wheels of many jobs, and check that every planned wheel is there, unchanged.

    ARTEFACT_DIR is the output directory of a job's `build`, or a directory of several. Good wheels
    are collected even if others are missing. On GitHub Actions the summary of the step gets the
    report, and each failure is shown at its line of the matrix file.
    """
    from orchestrator.ci.artefacts import find_artefacts
    from orchestrator.ci.collect import collect
    from orchestrator.ci.commands import in_actions
    from orchestrator.cli.workspace import read
    from orchestrator.models.reading import parse
    from orchestrator.report.results import NAME
    from orchestrator.report.schemas import ResultsDocument, read_plan

    hint = "the job that plans must pass on the output of `orchestrator plan --format json`"
    plan = read_plan(read(planned, hint=hint), where=str(planned))
    found, notes = find_artefacts(artefacts, output=output)
    collected = collect(plan, found, output)
    results = parse(ResultsDocument, collected.document)
    files = {"html": "report.html", "junit": "junit.xml", "markdown": "report.md", "json": NAME}
    reports = {option: output / name for option, name in files.items()}
    problems = [*collected.problems, *write_reports(reports, collected.document)]
    _say(plan, collected, results, notes=[*notes, *collected.notes], output=output)
    if in_actions(os.environ):
        problems += _summarise(results)
        _annotate(plan, results)
    if problems:
        raise EnvironmentProblemError(*problems)
    if collected.spoiled:
        return ExitCode.BAD_WHEEL
    failed = collected.lacking or collected.without_sdist
    return ExitCode.TARGET_FAILED if failed else ExitCode.OK


def _say(
    plan: PlanDocument,
    collected: Collected,
    results: ResultsDocument,
    *,
    notes: Sequence[str],
    output: Path,
) -> None:
    """Name each missing wheel, and say why it is missing."""
    from orchestrator.ci.annotations import reason
    from orchestrator.report.summary import sdist_lines
    from orchestrator.report.text import one_line

    lacking = set(collected.lacking)
    for note in notes:
        say(f"note: {one_line(note)}")
    for result in results.results:
        if result.target_id in lacking:
            say(f"{one_line(result.target_id)}: {reason(result)}")
    libraries = sum(target.library is not None for target in plan.targets)
    wheels = len(plan.targets) + len(plan.undetermined) - libraries
    if results.sdist is not None:
        for line in sdist_lines(results.sdist):
            say(one_line(line))
    elif plan.sdist:
        say("error: sdist: no job has the project's sdist")
    good = wheels - len(lacking)
    are = "is" if 1 in {good, wheels} else "are"
    say(f"{good} of {count_of(wheels, 'planned wheel')} {are} in {output}")


def _summarise(results: ResultsDocument) -> list[Problem]:
    """Append the report to the summary of this step, as far as GitHub takes it."""
    from orchestrator.report import markdown

    place = os.environ.get("GITHUB_STEP_SUMMARY")
    if not place:
        return []
    path = Path(place)
    try:
        size = path.stat().st_size if path.exists() else 0
        room = min(STEP_LIMIT - size - 1, markdown.LIMIT)
        if room < markdown.LEAST:
            say("note: the summary of this step is full: report.md has the whole report")
            return []
        with path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if size else "") + markdown.render(results, limit=room))
    except OSError as error:
        what = f"the summary of the step cannot be written: {error.strerror or error}"
        return [Problem(what=what, where=str(path), hint="report.md has the same")]
    return []


def _annotate(plan: PlanDocument, results: ResultsDocument) -> None:
    """Show failures at the lines of the matrix file."""
    from orchestrator.ci.annotations import failure_annotations
    from orchestrator.ci.commands import EscapedStream, shown

    for annotation in shown(failure_annotations(plan, results, os.environ)):
        if isinstance(sys.stderr, EscapedStream):
            sys.stderr.command(str(annotation))
