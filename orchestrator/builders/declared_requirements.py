"""What a source and its matrix say that builds and tests require, before anything is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packaging.dependency_groups import resolve_dependency_groups
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from orchestrator.config.requirements import requirement_fault
from orchestrator.errors import SourceError
from orchestrator.plan.cibuildwheel_selection import joined
from orchestrator.source.declared import table_of
from orchestrator.source.locate import read_toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.models.target import Target

LEGACY = ("setuptools >= 40.8.0",)
"""What a project requires that has no ``[build-system]`` (PEP 517)."""


def own_requires(source: Path) -> tuple[str, ...]:
    """Return ``build-system.requires`` (PEP 518); before-build may change it still."""
    try:
        system = read_toml(source, "pyproject.toml").get("build-system", {})
        return tuple(map(str, system.get("requires", LEGACY)))
    except (SourceError, AttributeError, TypeError):
        return LEGACY  # the frontend says what is wrong


def build_requires(target: Target, source: Path) -> tuple[str, ...]:
    """Return what the environment that compiles a target has from the beginning."""
    spec = target.steps.environment
    return (*(own_requires(source) if spec.isolation else ()), *spec.requires)


def test_requires(target: Target, source: Path) -> tuple[tuple[str, ...], ...]:
    """Return what the test and each further test of a target require, the wheel's own included.

    Dependencies of the wheel are known as far as ``[project]`` states them (PEP 621), with the
    target's pins. Of ``[tool.cibuildwheel]`` its overrides are not read. A line that is no
    requirement, such as an option of pip, is left out.
    """
    steps, tree = target.steps, _tree(source)
    own = table_of(table_of(tree, "tool"), "cibuildwheel")
    if not (steps.test_command or own.get("test-command")):
        return ()
    asked = steps.test_requires or _own(own, "requires", steps.emptied)
    extras = steps.test_extras or _own(own, "extras", steps.emptied)
    groups = steps.test_groups or _own(own, "groups", steps.emptied)
    wheel = [*_wheel_requires(table_of(tree, "project"), extras, target.pins)]
    grouped = _group_requires(table_of(tree, "dependency-groups"), groups)
    first = tuple(dict.fromkeys((*_usable(asked), *grouped, *wheel)))
    further = (tuple(dict.fromkeys((*_usable(t.requires), *wheel))) for t in target.further_tests)
    return (first, *further)


def undeclared(target: Target, source: Path) -> bool:
    """Whether the tested wheel may have dependencies that no file states before it is built."""
    project = table_of(_tree(source), "project")
    stated = "name" in project and "dependencies" not in project.get("dynamic", ())
    return target.steps.test_command is not None and not stated


def own_table(source: Path) -> dict[str, Any]:
    """Return ``[tool.cibuildwheel]`` of a source."""
    return table_of(table_of(_tree(source), "tool"), "cibuildwheel")


def _tree(source: Path) -> dict[str, Any]:
    try:
        return read_toml(source, "pyproject.toml")
    except SourceError:  # the frontend says what is wrong
        return {}


def _own(own: Mapping[str, Any], option: str, emptied: Iterable[str]) -> tuple[str, ...]:
    """Return a list of the project's own tests; see `OWN_LISTS`."""
    if f"test.{option}" in emptied:
        return ()
    tables = (own, table_of(own, "linux"))
    value = next((t[f"test-{option}"] for t in reversed(tables) if f"test-{option}" in t), ())
    return tuple(map(str, value)) if isinstance(value, list) else tuple(joined(value or "").split())


def _usable(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if not requirement_fault(line))


def _wheel_requires(
    project: Mapping[str, Any], extras: Iterable[str], pins: Iterable[str]
) -> Iterator[str]:
    """Yield the dependencies of a wheel with some of its extras, with those that are pinned."""
    own, optional = canonicalize_name(str(project.get("name", ""))), _optional(project)
    yield from pins
    pinned = {canonicalize_name(Requirement(pin).name) for pin in pins}
    waiting, seen = [*_lines(project.get("dependencies"))], set[str]()
    names = [*map(canonicalize_name, extras)]
    while waiting or names:
        if not waiting:
            name = names.pop()
            waiting += [] if name in seen else optional.get(name, [])
            seen.add(name)
            continue
        line = waiting.pop(0)
        try:
            requirement = Requirement(line)
        except InvalidRequirement:  # the frontend says what is wrong
            continue
        name = canonicalize_name(requirement.name)
        if name == own:
            names += map(canonicalize_name, requirement.extras)
        elif name not in pinned:
            yield line


def _optional(project: Mapping[str, Any]) -> dict[str, list[str]]:
    tables = table_of(project, "optional-dependencies")
    return {canonicalize_name(name): _lines(lines) for name, lines in tables.items()}


def _lines(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _group_requires(groups: Mapping[str, Any], names: Iterable[str]) -> Iterator[str]:
    """Yield the requirements of dependency groups (PEP 735)."""
    for name in names:
        try:
            yield from resolve_dependency_groups(groups, name)
        except (ExceptionGroup, ValueError, LookupError, TypeError):
            continue  # cibuildwheel says what is wrong
