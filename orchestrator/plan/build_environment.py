"""Resolve what the build of a cell finds in the environment that compiles. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from orchestrator.config import template
from orchestrator.config.requirements import (
    EXAMPLE,
    EXAMPLE_INDEX,
    index_fault,
    requirement_fault,
    requirement_name,
)
from orchestrator.errors import ConfigError, closest
from orchestrator.models.target import CudaSource, EnvironmentSpec, Frontend
from orchestrator.plan.compilers import cuda
from orchestrator.plan.devices import index_fault as cuda_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from orchestrator.config.settings import Build, CellSettings, FrontendSettings
    from orchestrator.models.target import Target

Indexes = dict[str, tuple[str, str]]
"""Distribution or glob -> (dotted path, template of the index's URL)."""


def merge_indexes(layers: Iterable[tuple[str, CellSettings]]) -> Indexes:
    """Lay ``[indexes]`` of several tables over each other by normalised name.

    The result has the order in which they are tried: names before globs, long globs before short.
    """
    found = {
        canonicalize_name(name): (f"{prefix}indexes.{name}", url)
        for prefix, part in layers
        for name, url in part.indexes.items()
    }
    return {name: found[name] for name in sorted(found, key=_precedence)}


def _precedence(name: str) -> tuple[bool, int, str]:
    is_glob = "*" in name
    return is_glob, -len(name) if is_glob else 0, name


def build_environment(
    build: Build, indexes: Indexes, names: Mapping[str, str], origin: Callable[[str], str]
) -> EnvironmentSpec:
    """Fill in everything that a cell says about its build environment.

    Args:
        build: the merged table ``[build]``.
        indexes: from `merge_indexes`.
        names: what templates may name.
        origin: returns the dotted path that set a key of ``[build]``.

    Raises:
        ConfigError: a requirement or an address is none.
    """
    return EnvironmentSpec(
        requires=_requirements(build.requires, names, origin("build.requires")),
        constraints=_requirements(
            build.constraints, names, origin("build.constraints"), are_constraints=True
        ),
        isolation=build.isolation is not False,
        frontend=_frontend(build.frontend, names, origin("build.frontend")),
        indexes=tuple(
            (name, url)
            for name, (where, text) in indexes.items()
            if (url := _index(text, names, where))
        ),
        cuda=build.cuda,
    )


def check_cuda(source: CudaSource | None, axes: Mapping[str, str], where: str) -> None:
    """Make sure that a cell's CUDA can come from where it is said to.

    Raises:
        ConfigError: the package index never has it.
    """
    version = cuda(axes) if source is CudaSource.INDEX else ""
    if version and (fault := cuda_fault(version)):
        hint = 'build.cuda = "image" or "host" for these cells (an [[override]])'
        raise ConfigError.of(fault, where=where, hint=hint)


def _requirements(
    lines: Iterable[str] | None,
    names: Mapping[str, str],
    where: str,
    *,
    are_constraints: bool = False,
) -> tuple[str, ...]:
    found = []
    for number, text in enumerate(lines or ()):
        place = f"{where}[{number}]"
        line = template.render(text, names, where=place)
        if fault := requirement_fault(line, is_constraint=are_constraints):
            raise ConfigError.of(fault, where=place, hint=EXAMPLE)
        found.append(line)
    return tuple(found)


def _frontend(
    chosen: FrontendSettings | None, names: Mapping[str, str], where: str
) -> Frontend | None:
    if chosen is None:
        return None
    args = tuple(
        template.render(text, names, where=f"{where}.args[{number}]")
        for number, text in enumerate(chosen.args)
    )
    return Frontend(name=chosen.name, args=args)


def _index(text: str, names: Mapping[str, str], where: str) -> str:
    """Fill in an address; an empty one means that no index of its own serves the distribution."""
    url = template.render(text, names, where=where)
    if url and (fault := index_fault(url)):
        raise ConfigError.of(fault, where=where, hint=EXAMPLE_INDEX)
    return url


def index_notes(targets: Iterable[Target]) -> Iterator[str]:
    """Yield indexes whose distributions are in no requirement of the matrix.

    A matrix that requires nothing leaves it to the project, whose requirements nobody knows yet.
    """
    required: set[str] = set()
    asked: dict[str, None] = {}
    for steps in (target.steps for target in targets):
        lines = (*steps.environment.requires, *steps.test_requires)
        required.update(filter(None, map(requirement_name, lines)))
        if lines or not steps.environment.isolation:
            asked |= dict.fromkeys(name for name, _ in steps.environment.indexes)
    for name in asked:
        if not any(fnmatchcase(each, name) for each in required):
            hint = f" ({closest(name, required)})" if required else ""
            yield f"indexes.{name} serves no requirement of the matrix, only what those need{hint}"
