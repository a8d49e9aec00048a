"""One name for each idea: classes and modules of the package."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

import orchestrator

PACKAGE = Path(orchestrator.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")

SHARED = {
    # A command beside the room or module that it opens.
    "collect": "`orchestrator collect`, and the collecting",
    "index": "`orchestrator index`, and the index",
    "plan": "`orchestrator plan`, and the plan",
    "schema": "`orchestrator schema`, and the schema of matrix.toml",
    "toolchain": "`orchestrator toolchain`, and the toolchain",
    "verify": "`orchestrator verify`, and the verifying",
    # The same idea, in the part that a room has of it.
    "check": "looking whether something is right: the configuration, and this machine",
    "local": "on this machine: where results lie, and where targets are built",
    "network": "how this machine reaches others: what is set, and whether it works",
}
"""Module name in two rooms -> the one idea that it stands for."""


def rooms() -> dict[str, set[str]]:
    """Module -> the rooms that have one of this name."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        found[path.stem].add(path.relative_to(PACKAGE).parts[0])
    return dict(found)


def test_no_two_public_classes_share_a_name() -> None:
    classes: defaultdict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")

    assert {name: where for name, where in classes.items() if len(where) > 1} == {}


def test_no_module_shadows_the_standard_library() -> None:
    assert {*rooms()} & sys.stdlib_module_names == set()


def test_no_module_name_stands_for_two_ideas() -> None:
    twice = {name for name, where in rooms().items() if len(where) > 1}

    assert twice - {*SHARED} == set(), "rename one, or say in SHARED why it is the same idea"
    assert {*SHARED} - twice == set(), "not shared any more: take it out of SHARED"
