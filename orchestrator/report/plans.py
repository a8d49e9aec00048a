"""A plan for people: tables, Markdown, and the coverage grid, variants by Python."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.host.redaction import masked
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.target import BackendName, Target
from orchestrator.models.words import count_of
from orchestrator.plan.other_systems import in_words, other_system
from orchestrator.report.text import (
    aligned,
    environment_rows,
    escape,
    markdown_table,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.target import CibuildwheelCatalog, Exclusion, Plan

LISTED = 2000
"""Targets that Markdown lists: a job summary of GitHub Actions holds 1 MiB."""

NONE = "·"
"""No wheel here."""

FEW = 12
"""Values of an axis that are listed for excluded cells."""


def table(plan: Plan, width: int | None = None, facts: CibuildwheelCatalog | None = None) -> str:
    """Return the plan as text: targets, coverage, and what is excluded by which rule.

    Targets whose rows are wider than `width` stand in groups of one image, runner and environment.
    With what cibuildwheel knows, a column says which targets it does not build.
    """
    rows = _table(plan.targets, facts)
    more = len(rows[0]) - len(_HEADER)
    unknown = [(e.id, "not known yet", e.questions[0].image, "") for e in plan.undetermined]
    rows += [(*row, *[""] * more) for row in (*unknown, *_elsewhere(plan))]
    lines = list(aligned(rows))
    if width is not None and max(map(len, lines)) > width:
        lines = list(_grouped(rows, width))
    return _lines((*lines, "", *_grid(plan, width), *_summary(plan, width)))


def _grouped(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """Yield the targets below what they have in common; each ID stands whole in its line."""
    from orchestrator.report.layout import fitted, wrapped  # noqa: PLC0415 - only if too wide

    (_, _, *names), *targets = rows
    groups: dict[tuple[str, ...], list[Sequence[str]]] = {}
    for target_id, version, *rest in targets:
        groups.setdefault(tuple(rest), []).append((target_id, version))
    for values, members in groups.items():
        pairs = zip(names, values, strict=True)
        yield from wrapped(", ".join(f"{name} {value}" for name, value in pairs if value), width)
        indent = "  "
        for lines in fitted(members, width - len(indent)):
            yield from (f"{indent}{line}" for line in lines)


def _wrapped(line: str, width: int | None, rest: str) -> list[str]:
    if width is None or len(line) <= width:
        return [line]
    from orchestrator.report.layout import wrapped  # noqa: PLC0415 - only if too wide

    indent = line[: len(line) - len(line.lstrip())]
    return list(wrapped(line, width, first=indent, rest=rest))


def _elsewhere(plan: Plan) -> list[tuple[str, ...]]:
    """Return the rows of targets that nothing here builds."""
    versions = {each.id: each.version for each in plan.elsewhere if isinstance(each, Target)}
    return [
        (each.id, versions.get(each.id) or "-", f"not built here: {other_system(each)}", "")
        for each in plan.elsewhere
    ]


def _lines(lines: Iterable[str]) -> str:
    """Join lines so that no text of the matrix ends a line."""
    return "\n".join(map(one_line, lines))


_HEADER: tuple[str, ...] = ("target", "version", "image", "runner")


def _row(target: Target) -> tuple[str, ...]:
    runner = ", ".join(target.runner) + (" (QEMU)" if target.emulated else "")
    return target.id, target.version or "-", target.image, runner


def _table(
    targets: Sequence[Target], facts: CibuildwheelCatalog | None = None
) -> list[tuple[str, ...]]:
    """Return the rows of targets below a header, with columns for what any of them sets."""
    rows = [_HEADER, *map(_row, targets)]
    for name, values in (
        ("backend", [_backend(each, facts) for each in targets]),
        ("environment", [_environment(each) for each in targets]),
        ("publish to", [", ".join(each.publish) for each in targets]),
    ):
        if any(values):
            rest = "nowhere" if name == "publish to" else ""
            column = [name, *(value or rest for value in values)]
            rows = [(*row, value) for row, value in zip(rows, column, strict=True)]
    return rows


def _backend(target: Target, facts: CibuildwheelCatalog | None) -> str:
    """Return what builds a target, if it is not cibuildwheel as usual."""
    if facts is None or target.library is not None:
        return ""
    return "" if target.build_identifier in facts.identifiers else BackendName.DIRECT


def _environment(target: Target) -> str:
    rows = environment_rows(target.steps.environment)
    return masked("; ".join(f"{what} {value}" for what, value, _ in rows))


def _grid(plan: Plan, width: int | None) -> Iterator[str]:
    rows, legend = coverage(plan)
    if (len(rows) - 1) * (len(rows[0]) - 1) > 1:
        for part in _parts(rows, width):
            yield from aligned(part)
        line = ""
        for item in legend.split("  "):
            if line and width is not None and len(f"{line}  {item}") > width:
                yield line
                line = ""
            line += f"  {item}" if line else item
        yield from (line, "")


def _parts(
    rows: Sequence[tuple[str, ...]], width: int | None
) -> Iterator[Sequence[tuple[str, ...]]]:
    """Yield a grid in parts of as many columns as fit, each with the names of its rows."""
    first, *others = (2 + max(map(len, column)) for column in zip(*rows, strict=True))
    begin = 1
    while begin < len(rows[0]):
        end, room = begin, len(rows[0]) * max(others) if width is None else width + 2 - first
        while end < len(rows[0]) and (end == begin or others[end - 1] <= room):
            room -= others[end - 1]
            end += 1
        yield [(row[0], *row[begin:end]) for row in rows]
        begin = end


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
    parts = [count_of(len(wheels), "target")]
    parts += [f"for {count_of(cells, 'cell')}"] if cells != len(wheels) else []
    parts += [count_of(libraries, "library")] if libraries else []
    parts += [f"not built here: {in_words(plan.elsewhere)}"] if plan.elsewhere else []
    parts += [f"{count_of(len(plan.exclusions), 'cell')} excluded"]
    parts += [f"channel {plan.channel}"] if plan.channel else []
    yield ", ".join(parts)
    reasons: dict[str, Counter[str]] = {}
    for each in plan.exclusions:
        reasons.setdefault(each.rule, Counter())[each.reason] += 1
    for rule, counted in reasons.items():
        reason, *others = counted
        more = f" (and {count_of(len(others), 'more reason')}: --excluded)" if others else ""
        yield f"  {rule}: {count_of(counted.total(), 'cell')}: {reason}{more}"


def _summary(plan: Plan, width: int | None) -> Iterator[str]:
    return (part for line in summary(plan) for part in _wrapped(line, width, "    "))


def excluded(plan: Plan, width: int | None = None) -> str:
    """Return the exclusions by rule, with the values of the excluded cells."""
    lines = [f"{count_of(len(plan.exclusions), 'cell')} excluded"]
    for (rule, reason), found in exclusion_groups(plan).items():
        lines += _wrapped(f"{rule}: {count_of(len(found), 'cell')}: {reason}", width, "  ")
        for axis, values in axis_values(found).items():
            lines += _wrapped(f"    {axis:<12} {_few(values)}", width, " " * 17)
    return _lines(lines)


def exclusion_groups(plan: Plan) -> dict[tuple[str, str], list[Exclusion]]:
    """Return the exclusions by rule and reason."""
    groups: dict[tuple[str, str], list[Exclusion]] = {}
    for each in plan.exclusions:
        groups.setdefault((each.rule, each.reason), []).append(each)
    return groups


def axis_values(exclusions: Iterable[Exclusion]) -> dict[str, tuple[str, ...]]:
    """Return the values that excluded cells have on each axis."""
    values: dict[str, dict[str, None]] = {}
    for each in exclusions:
        for axis, value in each.cell:
            values.setdefault(axis, {})[value] = None
    return {axis: tuple(own) for axis, own in values.items()}


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
    lines += ["", f"<details><summary>{count_of(len(plan.targets), 'target')}</summary>", ""]
    lines += markdown_table(_table(shown))
    lines += ["", f"and {more} more: `plan --format ids` has them all"] if more else []
    lines += ["", "</details>"]
    return _lines(lines)
