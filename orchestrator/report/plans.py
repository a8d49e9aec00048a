"""A plan for people: tables, Markdown, and the coverage grid, variants by Python."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.host.redaction import masked
from orchestrator.models.platforms import Arch, Libc
from orchestrator.report.text import (
    aligned,
    environment_rows,
    escape,
    markdown_table,
    no_command,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.target import Exclusion, Plan, Target

LISTED = 2000
"""Targets that Markdown lists: a job summary of GitHub Actions holds 1 MiB."""

NONE = "·"
"""No wheel here."""

FEW = 12
"""Values of an axis that are listed for excluded cells."""


def table(plan: Plan) -> str:
    """Return the plan as text: targets, coverage, and what is excluded by which rule."""
    rows = _table(plan.targets)
    width = len(rows[0]) - len(_HEADER)
    unknown = [(e.id, "not known yet", e.questions[0].image, "") for e in plan.undetermined]
    rows += [(*row, *[""] * width) for row in unknown]
    return _lines((*aligned(rows), "", *_grid(plan), *summary(plan)))


def _lines(lines: Iterable[str]) -> str:
    """Join lines so that no text of the matrix ends a line or is a workflow command."""
    return "\n".join(no_command(one_line(line)) for line in lines)


_HEADER: tuple[str, ...] = ("target", "version", "image", "runner")


def _row(target: Target) -> tuple[str, ...]:
    runner = ", ".join(target.runner) + (" (QEMU)" if target.emulated else "")
    return target.id, target.version or "-", target.image, runner


def _table(targets: Sequence[Target]) -> list[tuple[str, ...]]:
    """Return the rows of targets below a header, with columns for what any of them sets."""
    rows = [_HEADER, *map(_row, targets)]
    for name, values in (
        ("environment", [_environment(each) for each in targets]),
        ("publish to", [", ".join(each.publish) for each in targets]),
    ):
        if any(values):
            rest = "nowhere" if name == "publish to" else ""
            column = [name, *(value or rest for value in values)]
            rows = [(*row, value) for row, value in zip(rows, column, strict=True)]
    return rows


def _environment(target: Target) -> str:
    rows = environment_rows(target.steps.environment)
    return masked("; ".join(f"{what} {value}" for what, value, _ in rows))


def _grid(plan: Plan) -> Iterator[str]:
    rows, legend = coverage(plan)
    if (len(rows) - 1) * (len(rows[0]) - 1) > 1:
        yield from (*aligned(rows), legend, "")


def coverage(plan: Plan) -> tuple[list[tuple[str, ...]], str]:
    """Return which variants a plan has for which Pythons; every cell that a wheel covers counts.

    The first row has the Pythons, all others begin with their variant. Each letter stands for a
    platform; the text that comes with the rows says for which.
    """
    wheels = (each for each in plan.everything if each.python)
    cells = [cell for each in wheels for cell in each.covers]
    pythons = dict.fromkeys(cell[0][1] for cell in cells)
    letters = platform_letters(list(dict.fromkeys((cell[1][1], cell[2][1]) for cell in cells)))
    marks: dict[str, dict[str, set[str]]] = {}
    for cell in cells:
        variant = " ".join(value for _, value in cell[3:]) or "all"
        there = marks.setdefault(variant, {}).setdefault(cell[0][1], set())
        there.add(letters[cell[1][1], cell[2][1]])
    rows = [
        (variant, *(_entry(letters, found.get(each, ())) for each in pythons))
        for variant, found in marks.items()
    ]
    legend = "  ".join(f"{letter} {libc}_{arch}" for (libc, arch), letter in letters.items())
    return [("variant", *pythons), *rows], legend


def platform_letters(platforms: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return a letter for each platform, with numbers if several have the same letter."""
    plain = {
        each: letter.upper() if each[0].startswith(Libc.MUSLLINUX) else letter
        for each in platforms
        for letter in [Arch(each[1]).facts.letter]
    }
    if len(set(plain.values())) == len(plain):
        return plain
    return {each: f"{letter}{number}" for number, (each, letter) in enumerate(plain.items(), 1)}


def _entry(letters: Mapping[tuple[str, str], str], there: Collection[str]) -> str:
    return "".join(letter for letter in letters.values() if letter in there) or NONE


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


def excluded(plan: Plan) -> str:
    """Return the exclusions by rule, with the values of the excluded cells."""
    groups: dict[tuple[str, str], list[Exclusion]] = {}
    for each in plan.exclusions:
        groups.setdefault((each.rule, each.reason), []).append(each)
    lines = [f"{len(plan.exclusions)} cells excluded"]
    for (rule, reason), found in groups.items():
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
    rows, legend = coverage(plan)
    shown = plan.targets[:LISTED]
    more = len(plan.targets) - len(shown)
    lines = ["### Coverage", "", *markdown_table(rows), "", legend, ""]
    lines += [f"{'- ' * line.startswith(' ')}{escape(line.strip())}" for line in summary(plan)]
    lines += ["", f"<details><summary>{len(plan.targets)} targets</summary>", ""]
    lines += markdown_table(_table(shown))
    lines += ["", f"and {more} more: `plan --format ids` has them all"] if more else []
    lines += ["", "</details>"]
    return _lines(lines)
