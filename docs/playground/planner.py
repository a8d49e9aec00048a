"""What the playground asks the planner; `worker.js` runs this in Pyodide. JSON in, JSON out."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.lines import line_numbers, line_of, with_lines
from orchestrator.config.sources import VersionSourceKind, parse
from orchestrator.errors import ConfigError, OrchestratorError, closest
from orchestrator.host.program_tables import builder_facts, builtin_table
from orchestrator.host.redaction import masked
from orchestrator.models.platforms import Arch
from orchestrator.models.target import (
    Digest,
    Source,
    UnresolvedVersion,
    VersionAnswer,
    VersionQuestion,
)
from orchestrator.plan.matrix import needs_torch_table, outside_sources, valid_settings
from orchestrator.plan.plan import make_plan, make_request, planned_backend
from orchestrator.plan.version import VersionContext
from orchestrator.report import plans
from orchestrator.report.text import shown
from orchestrator.source.locate import locate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.config.settings import Settings, TorchTable
    from orchestrator.errors import Problem
    from orchestrator.models.target import BuildRequest, Cell, Plan

FILE = "matrix.toml"
HERE = Arch.X86_64
"""The machine on which `explain` supposes that the build runs."""

FACTS = builder_facts()

KEPT_ELSEWHERE = frozenset(
    {
        *(VersionSourceKind.FILE, VersionSourceKind.ATTR),
        *(VersionSourceKind.BACKEND, VersionSourceKind.SCM),
    }
)
"""Sources that are supposed to say the project's version, unless the page says something else."""

NOT_HERE = frozenset({"source", "  digest", "env SOURCE_DATE_EPOCH", "toolchain", "key"})
"""Rows of `explain` about the source and the machine, which a browser does not have."""


@dataclass(slots=True, kw_only=True)
class Question:
    """What the page asks.

    Attributes:
        text: matrix.toml.
        channel: the channel to plan for, empty for none.
        name: the project's name.
        version: its version, empty if it is dynamic.
        pythons: its ``requires-python``.
        answers: source of a version -> what it says.
    """

    text: str
    channel: str = ""
    name: str = ""
    version: str = ""
    pythons: str = ""
    answers: Mapping[str, str] = field(default_factory=dict)


class _State:
    """The last plan, for `explain`."""

    text = ""
    plan: Plan | None = None


def plan(asked: str) -> str:
    """Plan a matrix: everything that the page shows of it, or what is wrong."""
    question = Question(**json.loads(asked))
    answer: dict[str, Any] = {"channels": [], "sources": [], "errors": []}
    _State.plan = None
    try:
        settings = _settings(question, answer)
        made = _plan(settings, question)
    except OrchestratorError as error:
        answer["errors"] = _errors(error, question.text)
    else:
        _State.text, _State.plan = question.text, made
        answer |= _shown(made, question.text)
        answer["notes"] += _unread(settings)
    return json.dumps(answer)


def _settings(question: Question, answer: dict[str, Any]) -> Settings:
    data = question.text.encode("utf-8", "replace")
    settings = valid_settings(data, facts=FACTS, channel="", table=_table)
    answer["channels"] = list(settings.channel)
    if question.channel not in settings.channel:
        question.channel = ""  # it was chosen before the text was edited
    sources = outside_sources(settings, question.channel)
    answer["sources"] = [[each, question.version if _has_version(each) else ""] for each in sources]
    given = {name: value for name, value in question.answers.items() if value}
    question.answers = {**dict(answer["sources"]), **given}
    return settings


def _has_version(text: str) -> bool:
    source = parse(text)
    return source.kind in KEPT_ELSEWHERE and not source.keys


def _table(settings: Settings) -> TorchTable | None:
    return builtin_table() if needs_torch_table(settings) else None


def _unread(settings: Settings) -> list[str]:
    file = settings.compat.file
    return [] if file is None else [f"{file} is not here: the built-in torch table is used"]


def _plan(settings: Settings, question: Question) -> Plan:
    """Plan with the answers that the page has, as `orchestrator` does with those of its sources."""
    outside = _outside(settings, question)
    table = _table(settings)
    while True:
        made = make_plan(
            settings, facts=FACTS, outside=outside, channel=question.channel, table=table
        )
        asked = {each for unknown in made.undetermined for each in unknown.questions}
        found = _answers(asked - outside.answers.keys(), question.answers)
        if not found:
            return made
        outside = replace(outside, answers={**outside.answers, **found})


def _outside(settings: Settings, question: Question) -> VersionContext:
    source = settings.project.source
    if "==" in source:  # a requirement names its project and version
        origin = locate(source, base=Path("/nowhere"))
        name, version = origin.name, origin.version
    else:
        name, version = question.name, question.version or None
    declared = outside_sources(settings, question.channel)
    asked = (VersionQuestion(source=each) for each in declared if not parse(each).kind.in_container)
    answers = _answers(asked, question.answers)
    return VersionContext(
        project=name, version=version, requires_python=question.pythons, answers=answers
    )


def _answers(
    asked: Iterable[VersionQuestion], said: Mapping[str, str]
) -> dict[VersionQuestion, VersionAnswer]:
    return {
        each: VersionAnswer(source=each.source, value=said[each.source])
        for each in asked
        if said.get(each.source)
    }


def _errors(error: OrchestratorError, text: str) -> list[dict[str, Any]]:
    """Return problems as the command line prints them, each with its line if it has one."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as broken:
        lines: Mapping[str, int] = {}
        line = getattr(broken, "lineno", None)  # from Python 3.14 on
    else:
        lines, line = line_numbers(text), None
    placed = error
    if isinstance(error, ConfigError):
        placed = with_lines(error, text, file=FILE)
    return [
        {
            "text": _as_printed(problem),
            "line": line_of(original.where, lines) or line,
        }
        for original, problem in zip(error.problems, placed.problems, strict=True)
    ]


def _as_printed(problem: Problem) -> str:
    return shown(masked(f"error: {problem}"))


def _shown(made: Plan, text: str) -> dict[str, Any]:
    lines = line_numbers(text)
    groups = plans.exclusion_groups(made)
    return {
        "grid": _grid(made, {key: number for number, key in enumerate(groups)}),
        "excluded": [
            {
                "rule": rule,
                "line": line_of(rule, lines),
                "reason": reason,
                "count": len(found),
                "values": [[axis, list(own)] for axis, own in plans.axis_values(found).items()],
            }
            for (rule, reason), found in groups.items()
        ],
        "summary": next(plans.summary(made)),
        "table": plans.table(made),
        "ids": list(made.ids),
        "notes": [
            *made.notes,
            *dict.fromkeys(f"no version yet: {each.reason}" for each in made.undetermined),
        ],
    }


def _grid(made: Plan, numbers: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Return every cell with a Python: who builds it, or the number of why it is excluded."""
    cells: list[tuple[dict[str, str], Cell, dict[str, Any]]] = [
        (dict(cell), cell[3:], {"id": str(each.id)})
        for each in made.everything
        if each.python
        for cell in each.covers
    ]
    cells += [
        (dict(each.cell), each.cell[3:], {"why": numbers[each.rule, each.reason]})
        for each in made.exclusions
        if "python" in dict(each.cell)
    ]
    platforms = dict.fromkeys((axes["libc"], axes["arch"]) for axes, _, _ in cells)
    letters = plans.platform_letters(list(platforms))
    rows: dict[str, list[dict[str, Any]]] = {}
    for axes, variant, what in cells:
        place = axes["libc"], axes["arch"]
        entry = {"python": axes["python"], "letter": letters[place], **what}
        rows.setdefault(" ".join(value for _, value in variant) or "all", []).append(entry)
    names = {" ".join(axis for axis, _ in variant) for _, variant, _ in cells}
    return {
        "axes": next(iter(names)) or "variant" if len(names) == 1 else "variant",
        "pythons": list(dict.fromkeys(axes["python"] for axes, _, _ in cells)),
        "rows": [{"variant": name, "cells": found} for name, found in rows.items()],
        "legend": [[letter, f"{libc}_{arch}"] for (libc, arch), letter in letters.items()],
    }


def explain(target_id: str) -> str:
    """Explain a target of the last plan: rows as `orchestrator explain` has them."""
    try:
        rows = [
            {"what": what, "value": masked(value), "origin": origin, "line": line}
            for what, value, origin, line in _rows(target_id)
        ]
    except OrchestratorError as error:
        return json.dumps({"errors": [{"text": _as_printed(each)} for each in error.problems]})
    return json.dumps({"rows": rows})


def _rows(target_id: str) -> Iterator[tuple[str, str, str, int | None]]:
    from orchestrator.report.explanation import explain as rows_of  # noqa: PLC0415 - takes a second

    lines = line_numbers(_State.text)
    for what, value, origin in rows_of(_request(target_id), here=HERE):
        if what not in NOT_HERE:
            yield what, value, origin, line_of(origin, lines) if origin else None


def _request(target_id: str) -> BuildRequest:
    """Return the request of a target, whose key is no real one: nothing is known of the source."""
    made = _State.plan
    everything = () if made is None else made.everything
    for each in everything:
        if target_id in {each.id, *each.aliases}:
            break
    else:
        raise ConfigError.of(
            f"there is no target {target_id!r}",
            hint=closest(target_id, [each.id for each in everything]),
        )
    if isinstance(each, UnresolvedVersion):
        raise ConfigError.of(each.reason, where="version", hint="say above what the source says")
    return make_request(
        each,
        source=Source(name="", version=None, digest=Digest(""), epoch=0),
        backend=planned_backend(each, FACTS),
        toolchain=Digest(""),
        builder="",
    )
