"""``orchestrator report``, and the reports that ``build`` and ``collect`` write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import FILE, FILE_OR_STDOUT, report_options
from orchestrator.cli.output import STDOUT, emit
from orchestrator.errors import ConfigError, EnvironmentProblemError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from orchestrator.report.schemas import ResultsDocument
    from orchestrator.store.seals import SigningKey

SIGNING_KEY = "ORCHESTRATOR_PROVENANCE_KEY"

_AGAIN = "`orchestrator report` makes it from results.json at any time"


@click.command(
    "report",
    epilog=examples(
        "report dist/results.json",
        "report jobs/*/results.json --html report.html",
        "report dist releases/*/results.json --html report.html",
    ),
)
@click.argument(
    "results",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="RESULTS...",
)
@report_options
@click.option(
    "--provenance",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write SLSA v1 provenance (in-toto) of each wheel to DIR/WHEEL.json.",
)
@click.option(
    "--sign-with",
    type=FILE,
    metavar="KEY",
    help="Sign the provenance with this private key, and write DIR/WHEEL.intoto.jsonl instead.  "
    f"[default: ${SIGNING_KEY}]",
)
@click.option(
    "--builder", metavar="URI", help="Who built the wheels, for --provenance.  [default: the key]"
)
@click.option(
    "--json",
    type=FILE_OR_STDOUT,
    metavar="FILE",
    help="Write one results.json for all RESULTS.  [- is stdout]",
)
def command(
    results: Sequence[Path],
    provenance: Path | None,
    sign_with: Path | None,
    builder: str | None,
    **reports: Path | None,
) -> None:
    """Show how runs ended, from results.json files or directories that have one.

    If several files have a target, the result that started last counts; the HTML page also shows
    the earlier ones, as a history, and Markdown how the wheels have grown. Without options:
    Markdown.
    """
    from orchestrator.report import serialize as documents
    from orchestrator.report.results import read_raw

    found = [read_raw(each) for each in results]
    if not any(reports.values()) and provenance is None:
        reports["markdown"] = STDOUT
    check_reports(reports)
    merged = documents.merged(found)
    problems = write_reports(reports, merged, parts=found)
    if provenance is not None:
        problems += _write_statements(provenance, merged, _signing_key(sign_with), builder)
    elif sign_with is not None or builder is not None:
        what, hint = "nothing is signed without --provenance", "say --provenance DIR"
        raise ConfigError.of(what, where="--sign-with" if sign_with else "--builder", hint=hint)
    if problems:
        raise EnvironmentProblemError(*problems)


def check_reports(reports: Mapping[str, Path | None]) -> None:
    """Refuse, before hours of building, what cannot be written in the end.

    The reports are option -> file, `STDOUT`, or None for one that nobody wants.

    Raises:
        ConfigError: two reports have one file.
        EnvironmentProblemError: the directory does not exist, or cannot be written to.
    """
    names: dict[Path, str] = {}
    for name, path in _wanted(reports).items():
        other = names.setdefault(path.absolute(), name)
        if other != name:
            what = f"--{other} and --{name} write to the same file"
            raise ConfigError.of(what, where=str(path))
        if path == STDOUT or (path.exists() and not path.is_file()):
            continue  # a pipe, /dev/stdout
        folder = path.absolute().parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            what = "cannot be written to" if folder.is_dir() else "there is no such directory"
            raise EnvironmentProblemError.of(what, where=str(folder), hint=f"for --{name}")


def write_reports(
    reports: Mapping[str, Path | None],
    document: Mapping[str, Any],
    *,
    parts: Sequence[Mapping[str, Any]] = (),
) -> tuple[Problem, ...]:
    """Write the reports of a valid ``results.json``, each whole or not at all.

    `parts` are the documents that it was merged from. Return what went wrong.
    """
    from orchestrator.fsutil import write_whole
    from orchestrator.models.reading import parse
    from orchestrator.report.schemas import ResultsDocument

    wanted = _wanted(reports)
    if not wanted:
        return ()
    parsed = parse(ResultsDocument, document)
    problems = []
    for name, path in wanted.items():
        text = _text(name, document, parsed, parts)
        if path == STDOUT:
            emit(text)
            continue
        try:
            write_whole(path, text, parents=False)
        except OSError as error:
            what = f"the --{name} report cannot be written: {error.strerror or error}"
            problems.append(Problem(what=what, where=str(path), hint=_AGAIN))
    return tuple(problems)


def _signing_key(file: Path | None) -> SigningKey | None:
    """Return the key that signs provenance; None if it stays unsigned. Raises ConfigError."""
    from orchestrator.run.inputs import read_signing_key

    return read_signing_key(
        "" if file else os.environ.get(SIGNING_KEY, ""), str(file or ""), names=(SIGNING_KEY, "")
    )


def _write_statements(
    folder: Path, document: Mapping[str, Any], key: SigningKey | None, builder: str | None
) -> tuple[Problem, ...]:
    """Write the provenance of each wheel into a directory; return what went wrong."""
    from orchestrator.fsutil import write_whole
    from orchestrator.models.reading import parse
    from orchestrator.report import serialize as documents
    from orchestrator.report.schemas import ResultsDocument
    from orchestrator.report.signed_provenance import SIGNED
    from orchestrator.report.slsa import BUILDER, statement
    from orchestrator.store import dsse
    from orchestrator.store.seals import key_id

    own = BUILDER if key is None else f"urn:wheel-orchestrator:key:{key_id(key.public)}"
    path = folder
    try:
        for each in parse(ResultsDocument, document).results:
            if each.wheel is not None:
                text = documents.dumps(statement(each, builder or own))
                path = folder / f"{each.wheel.filename}{'.json' if key is None else SIGNED}"
                write_whole(path, text if key is None else dsse.sign(text.encode(), key))
    except OSError as error:
        what = f"--provenance cannot be written: {error.strerror or error}"
        return (Problem(what=what, where=str(path), hint=_AGAIN),)
    return ()


def _wanted(reports: Mapping[str, Path | None]) -> dict[str, Path]:
    return {name: path for name, path in reports.items() if path is not None}


def _text(
    name: str,
    document: Mapping[str, Any],
    parsed: ResultsDocument,
    parts: Sequence[Mapping[str, Any]],
) -> str:
    from orchestrator.models.reading import parse
    from orchestrator.report import html_report, junit, markdown
    from orchestrator.report import serialize as documents
    from orchestrator.report.history import history
    from orchestrator.report.schemas import SCHEMA, ResultsDocument

    if name == "json":
        return documents.dumps(document)
    if name == "junit":
        return junit.render(parsed)
    render = {"html": html_report.render, "markdown": markdown.render}[name]
    if len(parts) > 1:
        past = history(parse(ResultsDocument, {"schema": SCHEMA, **each}) for each in parts)
        return render(parsed, past)
    return render(parsed)
