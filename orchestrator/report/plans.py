"""A plan for people and for CI systems: tables, Markdown, job matrices."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.report.coverage import coverage
from orchestrator.report.text import no_command, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.models.target import Exclusion, Plan, Target

LISTED = 2000
"""Targets that Markdown lists: a job summary of GitHub Actions holds 1 MiB."""

FEW = 12
"""Values of an axis that are listed for excluded cells."""


def table(plan: Plan) -> str:
    """Return the plan as text: targets, coverage, and what is excluded by which rule."""
    header: tuple[str, ...] = ("target", "version", "image", "runner")
    rows: list[tuple[str, ...]] = [
        (
            each.id,
            each.version or "-",
            each.image,
            _runner(each),
        )
        for each in plan.targets
    ]
    if any(each.publish for each in plan.targets):
        header = (*header, "publish to")
        rows = [
            (*row, ", ".join(each.publish) or "nowhere")
            for row, each in zip(rows, plan.targets, strict=True)
        ]
    more = ("",) * (len(header) - 3)
    rows += [(e.id, "not known yet", e.questions[0].image, *more) for e in plan.undetermined]
    return _lines((*_aligned([header, *rows]), "", *_grid(plan), *summary(plan)))


def _lines(lines: Iterable[str]) -> str:
    """Return a text of which nothing that the matrix says ends a line, or is a workflow command."""
    return "\n".join(no_command(one_line(line)) for line in lines)


def _runner(target: Target) -> str:
    return ", ".join(target.runner) + (" (QEMU)" if target.emulated else "")


def _grid(plan: Plan) -> Iterator[str]:
    grid = coverage(plan)
    if len(grid.rows) * len(grid.pythons) > 1:
        yield from _aligned([("variant", *grid.pythons), *((v, *e) for v, e in grid.rows)])
        yield grid.legend
        yield ""


def summary(plan: Plan) -> Iterator[str]:
    """Return how many targets there are, and what each rule excludes."""
    wheels = [each for each in plan.everything if each.python]
    cells = sum(len(each.covers) for each in wheels)
    libraries = len(plan.ids) - len(wheels)
    parts = [f"{len(wheels)} targets"]
    parts += [f"for {cells} cells"] if cells != len(wheels) else []
    parts += [f"{libraries} libraries"] if libraries else []
    parts += [f"{len(plan.exclusions)} cells excluded"]
    parts += [f"channel {plan.channel}"] if plan.channel else []
    yield ", ".join(parts)
    reasons: dict[str, Counter[str]] = {}
    for each in plan.exclusions:
        reasons.setdefault(each.rule, Counter())[each.reason] += 1
    for rule, counted in reasons.items():
        reason, *others = counted
        more = f" (and {len(others)} more reasons: --excluded)" if others else ""
        yield f"  {rule}: {counted.total()} cells: {reason}{more}"


def by_rule(exclusions: Iterable[Exclusion]) -> list[tuple[str, str, list[Exclusion]]]:
    """Group exclusions by rule and reason, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[Exclusion]] = {}
    for each in exclusions:
        groups.setdefault((each.rule, each.reason), []).append(each)
    return [(rule, reason, found) for (rule, reason), found in groups.items()]


def excluded(plan: Plan) -> str:
    """Return the exclusions by rule, with the values of the cells that each one removes."""
    lines = [f"{len(plan.exclusions)} cells excluded"]
    for rule, reason, found in by_rule(plan.exclusions):
        lines.append(f"{rule}: {len(found)} cells: {reason}")
        values: dict[str, dict[str, None]] = {}
        for each in found:
            for axis, value in each.cell:
                values.setdefault(axis, {})[value] = None
        lines += [f"    {axis:<12} {_few(tuple(own))}" for axis, own in values.items()]
    return _lines(lines)


def _few(values: Sequence[str]) -> str:
    more = f" ... ({len(values)} in all)" if len(values) > FEW else ""
    return " ".join(values[:FEW]) + more


def markdown(plan: Plan) -> str:
    """Return the plan for a job summary or a pull request: the grid, then every target."""
    grid = coverage(plan)
    lines = ["### Coverage", ""]
    lines += _markdown([("variant", *grid.pythons), *((v, *e) for v, e in grid.rows)])
    lines += [
        "",
        grid.legend,
        "",
        *(f"{'- ' * ln.startswith(' ')}{ln.strip()}" for ln in summary(plan)),
    ]
    lines += ["", f"<details><summary>{len(plan.targets)} targets</summary>", ""]
    header = ("target", "version", "image", "runner")
    shown = plan.targets[:LISTED]
    rows = [(each.id, each.version or "-", each.image, _runner(each)) for each in shown]
    more = len(plan.targets) - len(shown)
    end = ("", f"and {more} more: `plan --format ids` has them all") if more else ()
    lines += [*_markdown([header, *rows]), *end, "", "</details>"]
    return _lines(lines)


def _markdown(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    first, *others = (f"| {' | '.join(_cell(each) for each in row)} |" for row in rows)
    yield first
    yield f"|{'---|' * len(rows[0])}"
    yield from others


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
