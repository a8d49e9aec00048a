"""The gallery: the matrices of real projects, with what they plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.config.load import load
from orchestrator.host.program_tables import builder_facts, builtin_table
from orchestrator.plan.plan import make_plan
from orchestrator.plan.version import VersionContext
from orchestrator.report.plans import coverage, summary
from orchestrator.report.text import markdown_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = """# Gallery

Matrices of real projects, as their own workflows, scripts or generators say it. Tests compare
each plan cell by cell with lists made from those files. The files are in `examples/matrices`.
Windows and macOS are values of an axis `os` there: they count, but cannot be built here.

To look at one on your machine, put it as `matrix.toml` beside a `pyproject.toml`, or name the
project in it (`[project] source = "flash-attn==2.8.3"`), and run `orchestrator plan`.
"""


def page(folder: Path) -> str:
    """Return the page of all matrices in a folder."""
    lines = [HEAD]
    for path in sorted(folder.glob("*.toml")):
        lines += _matrix(path.stem, path.read_text("utf-8"))
    return "\n".join(lines).rstrip("\n") + "\n"


def _matrix(name: str, text: str) -> Iterator[str]:
    facts = builder_facts()
    settings = load(text.encode(), facts=facts)
    plan = make_plan(
        settings, facts=facts, outside=VersionContext(version="1.0.0"), table=builtin_table()
    )
    said, _, matrix = _without_schema(text).partition("\n\n")
    yield f"## {name}"
    yield ""
    yield from (line.lstrip("# ") for line in said.splitlines())
    yield ""
    total, *rules = summary(plan)
    yield f"**{total}.**"
    yield ""
    rows, legend = coverage(plan)
    yield from markdown_table(rows)
    yield ""
    yield legend.replace("  ", " · ")
    yield ""
    yield from (f"- {_rule(each)}" for each in rules)
    yield ""
    yield f'```toml title="{name}.toml"'
    yield matrix.strip("\n")
    yield "```"
    yield ""


def _without_schema(text: str) -> str:
    """Leave out the line that names the schema for editors."""
    return text.split("\n", 1)[1] if text.startswith("#:schema") else text


def _rule(line: str) -> str:
    rule, _, rest = line.strip().partition(": ")
    return f"`{rule}`: {rest}"
