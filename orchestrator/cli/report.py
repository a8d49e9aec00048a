"""``orchestrator report``, and the reports that ``build`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import report_options
from orchestrator.errors import ConfigError, EnvironmentProblemError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from orchestrator.report.schemas import ResultsDocument

STDOUT = Path("-")


@click.command("report")
@click.argument(
    "results",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="RESULTS...",
)
@report_options
@click.option(
    "--json",
    "merged",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="One results.json of all that are given.  [- is stdout]",
)
def command(
    results: Sequence[Path],
    html: Path | None,
    junit: Path | None,
    markdown: Path | None,
    merged: Path | None,
) -> None:
    """Show how runs ended, from one or more results.json (or directories that have one).

    Where several know a target, what was started last counts. Without options: Markdown.
    """
    from orchestrator.report import serialize as documents
    from orchestrator.report.results import read_raw

    document = documents.merged(map(read_raw, results))
    wanted = ReportPaths(html=html, junit=junit, markdown=markdown, json=merged)
    if wanted.nothing:
        wanted = ReportPaths(markdown=STDOUT)
    wanted.check()
    problems = wanted.write(document)
    if problems:
        raise EnvironmentProblemError(*problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """Where reports go: a file, `STDOUT`, or None for a report nobody wants."""

    html: Path | None = None
    junit: Path | None = None
    markdown: Path | None = None
    json: Path | None = None

    @property
    def nothing(self) -> bool:
        """Whether no report is wanted."""
        return not list(self._places())

    def _places(self) -> Iterator[tuple[str, Path]]:
        for name in ("html", "junit", "markdown", "json"):
            place = getattr(self, name)
            if place is not None:
                yield name, place

    def check(self) -> None:
        """Refuse, before hours of building, what cannot be written in the end.

        Raises:
            ConfigError: two reports have one place.
            EnvironmentProblemError: there is no such directory, or it cannot be written to.
        """
        import os

        places: dict[Path, str] = {}
        for name, place in self._places():
            other = places.setdefault(place.absolute(), name)
            if other != name:
                raise ConfigError.of(f"--{other} and --{name} write to one place", where=str(place))
            folder = place.absolute().parent
            if place == STDOUT or (place.exists() and not place.is_file()):
                continue  # a pipe, /dev/stdout
            if not (folder.is_dir() and os.access(folder, os.W_OK)):
                problem = (
                    "cannot be written to" if folder.is_dir() else "there is no such directory"
                )
                raise EnvironmentProblemError.of(problem, where=str(folder), hint=f"for --{name}")

    def write(self, document: Mapping[str, Any]) -> tuple[Problem, ...]:
        """Write all reports, each whole or not at all, and return what went wrong.

        Args:
            document: a valid ``results.json``.
        """
        from orchestrator.fsutil import write_whole
        from orchestrator.report.schemas import ResultsDocument, parse

        seen = parse(ResultsDocument, document)
        problems = []
        for name, place in self._places():
            text = _text(name, document, seen)
            if place == STDOUT:
                click.echo(text, nl=False)
                continue
            try:
                write_whole(place, text, parents=False)
            except OSError as error:
                what = f"the --{name} report cannot be written: {error.strerror or error}"
                problems.append(Problem(what=what, where=str(place), hint=_AGAIN))
        return tuple(problems)


_AGAIN = "`orchestrator report` makes it from results.json at any time"


def _text(name: str, document: Mapping[str, Any], seen: ResultsDocument) -> str:
    from orchestrator.report import serialize as documents

    if name == "html":
        from orchestrator.report import html_report

        return html_report.render(seen)
    if name == "junit":
        from orchestrator.report import junit

        return junit.render(seen)
    if name == "markdown":
        from orchestrator.report import markdown

        return markdown.render(seen)
    return documents.dumps(document)
