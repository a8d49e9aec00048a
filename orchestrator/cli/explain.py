"""``orchestrator explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import json_option, target_options
from orchestrator.cli.output import print_json, print_lines, print_table, say, show, stdout
from orchestrator.host.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import Plan
    from orchestrator.report.explanation import Fact
    from orchestrator.report.schemas import Explained
    from orchestrator.run.last_result import Comparison


@click.command(
    "explain",
    epilog=examples(
        "explain cp312-manylinux_x86_64-cu130", "explain cp312-manylinux_x86_64-cu130 --why-rebuild"
    ),
)
@target_options
@click.option(
    "--why-rebuild", "why", is_flag=True, help="Show which inputs changed since its last result."
)
@json_option
def command(target: str, matrix: Path | None, channel: str, *, why: bool, as_json: bool) -> None:
    """Show everything about one TARGET: environment, image, command, version, cache key.

    Of a cell that the matrix excludes, show which rule excludes it.
    """
    from orchestrator.cli.workspace import find_excluded, find_target, open_workspace
    from orchestrator.host.emulation import host_arch
    from orchestrator.report.explanation import excluded, facts, shares

    if why and as_json:
        raise click.UsageError("--why-rebuild has no JSON document: leave --json out")
    workspace = open_workspace(matrix, channel, fetch=True)
    exclusion = None if why else find_excluded(workspace, target)
    if exclusion is not None:
        rows = explained(excluded(target, exclusion), workspace.text)
    else:
        workspace, plan = find_target(workspace, target, pull=False)
        if why:
            _print_changes(workspace, plan)
            return
        request = workspace.requests(plan)[-1]
        settings, count = workspace.settings.run, len(workspace.plan.everything)
        found = (*facts(request, here=host_arch()), *shares(request.target, settings, count))
        rows = explained(found, workspace.text)
    if as_json:
        from orchestrator.report.schemas import ExplainDocument

        print_json(ExplainDocument(id=target, excluded=exclusion is not None, rows=rows))
    else:
        _print_rows(rows, workspace.named)


def explained(found: Iterable[Fact], text: str) -> tuple[Explained, ...]:
    """Return facts as the document has them: secrets masked, with the lines of matrix.toml."""
    from orchestrator.config.lines import line_numbers, line_of
    from orchestrator.report.schemas import Explained
    from orchestrator.report.text import cleaned

    lines = line_numbers(text)
    return tuple(
        Explained(
            what=fact.what.strip(),
            level=(len(fact.what) - len(fact.what.lstrip())) // 2,
            value=tuple(map(masked, fact.value))
            if isinstance(fact.value, tuple)
            else cleaned(fact.value),
            note=masked(fact.note),
            origin=fact.origin,
            line=line_of(fact.origin, lines) if fact.origin else None,
        )
        for fact in found
    )


def _print_rows(rows: Iterable[Explained], matrix: Path) -> None:
    from orchestrator.report.explanation import text
    from orchestrator.report.layout import described

    console = stdout()
    for row in rows:
        origin = f"{matrix}:{row.line}: {row.origin}" if row.line else row.origin
        name = "  " * row.level + row.what
        print_lines(console, described(name, text(row.value, row.note), origin, console.width))


def _print_changes(workspace: Workspace, plan: Plan) -> None:
    """Say what a build of the plan's last target would do, and why it would build it again."""
    from orchestrator.cli.workspace import open_host
    from orchestrator.run.last_result import compare_with_last

    compared = compare_with_last(
        workspace.inputs(plan), workspace.written, host=open_host(), warn=say
    )
    show(_verdict(plan.targets[-1].id, compared))
    if compared.changes:
        rows = ((each.what, each.before, each.now) for each in compared.changes)
        print_table(stdout(), rows, "changed", "before", "now", flexible=1)


def _verdict(target: str, compared: Comparison) -> str:
    """Say in one line what a build would do, and why."""
    does = "it would come from the store" if compared.stored else "it would be built"
    if compared.action is None:
        does = "this machine has no such image or Python, so only a build can tell its inputs"
    if compared.last is None:
        return f"{target}: no earlier result of this matrix is known on this machine; {does}"
    if compared.record is None:
        return f"{target}: its last result has been removed from the store; {does}"
    if compared.changes:
        return f"{target}: {len(compared.changes)} inputs changed since its last result; {does}"
    return f"{target}: nothing changed since its last result; {does}"
