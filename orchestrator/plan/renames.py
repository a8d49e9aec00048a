"""Find axes that change nothing but the names of wheels: their builds get the same inputs. Pure.

What a build gets counts if the matrix says it: its environment, commands, image, variables,
libraries, tests. A version, a local version and a build tag are names, also where a variable or a
setting tells them to the build.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from orchestrator.config.settings import Axis
from orchestrator.errors import Problem
from orchestrator.plan.devices import WITHOUT
from orchestrator.plan.expected_environment import cuda_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.target import EnvVar, Target, TargetId, TargetSteps
    from orchestrator.plan.layers import MatrixGrid


Told: TypeAlias = "tuple[tuple[EnvVar, ...], TargetSteps]"
"""Variables and steps: what a build is told."""


def inputs_key(named: Told, placed: Told) -> Hashable:
    """Return what is equal for equal inputs, with names in place of the target's own.

    Args:
        named: variables and steps in which all names are the same for all targets.
        placed: those in which only the whole version is: a base version or a local part may stand
            in an address, or choose what a command does.
    """
    (variables, steps), (places, placed_steps) = named, placed
    found = {each.name: each.value for each in places}
    settings = zip(steps.config_settings, placed_steps.config_settings, strict=True)
    return (
        tuple((e.name, _chosen(e.value, found.get(e.name)), e.shell) for e in variables),
        tuple((key, _chosen(value, own)) for (key, value), (_, own) in settings),
        replace(
            steps,
            before_all=placed_steps.before_all,
            before_build=placed_steps.before_build,
            repair=placed_steps.repair,
            environment=placed_steps.environment,
            config_settings=(),
            smoke=True,
            timeout=None,
            timeouts=(),
        ),
    )


_MEANT = ("libc", "torch", "cuda", "rocm", "cxx11abi")
"""Axes that need no other use in the matrix than their name."""


def idle_axis_notes(targets: Sequence[Target], axes: Iterable[str]) -> Iterator[str]:
    """Yield axes that nothing uses, and whose names are nearly those of axes with a meaning."""
    import difflib  # noqa: PLC0415 - as in `closest`

    for axis in sorted(set(axes) - {*_MEANT, "python", "arch"}):
        meant = difflib.get_close_matches(axis, _MEANT, n=1)
        if meant and any(len({dict(cell).get(axis) for cell in e.covers}) > 1 for e in targets):
            yield (
                f"axes.{axis} is used by nothing, so all of its values share one wheel: is "
                f"axes.{meant[0]} meant?"
            )


def _chosen(named: str, placed: str | None) -> str:
    """Return a text with names in place of the target's own, unless it is a path or an address."""
    return placed if placed is not None and "/" in placed else named


_Pair: TypeAlias = "tuple[int, Target, Target]"
"""Two targets with the same inputs, and the number of axes in which they differ."""


def rename_problems(
    targets: Iterable[Target],
    libraries: Iterable[Target],
    *,
    grid: MatrixGrid,
    fixed: Callable[[Target], Hashable],
    inputs: Callable[[Target], Hashable],
) -> Iterator[Problem]:
    """Return the axes that only rename, unless they say ``label-only``.

    Args:
        targets: all wheels.
        libraries: the libraries that they need, each after those it needs itself.
        grid: the axes of the wheels.
        fixed: returns what the build of a wheel is told by texts without names: this tells most
            cells apart, and takes less time than `inputs`.
        inputs: returns what is equal for wheels whose builds are told the same; see `inputs_key`.
    """
    needed: dict[TargetId, Hashable] = {}
    for library in libraries:
        needed[library.id] = _library(library, needed)
    found: dict[str, list[_Pair]] = {}
    alike = _same([targets], lambda each: (_rough(each, needed), fixed(each)))
    for first, *others in _same(alike, inputs):
        for other in others:
            axes = _differing(dict(first.variant), dict(other.variant))
            for axis in axes:
                found.setdefault(axis, []).append((len(axes), first, other))
    return (_problem(axis, pairs, grid) for axis, pairs in found.items())


def _same(
    groups: Iterable[Iterable[Target]], key: Callable[[Target], Hashable]
) -> Iterator[list[Target]]:
    """Split groups by a key; what is left alone is left out."""
    for group in groups:
        parts: dict[Hashable, list[Target]] = defaultdict(list)
        for target in group:
            parts[key(target)].append(target)
        yield from (part for part in parts.values() if len(part) > 1)


def _library(target: Target, needed: Mapping[TargetId, Hashable]) -> Hashable:
    """Return what the build of a library gets."""
    return (
        target.platform,
        target.image,
        target.library,
        tuple((each.name, each.value, each.shell) for each in target.env),
        cuda_of(target),
        tuple(needed[each] for each in target.needs),
    )


def _rough(target: Target, needed: Mapping[TargetId, Hashable]) -> Hashable:
    """Return what is quickly compared, and the values of axes that are meant to rename."""
    steps, compiling = target.steps, target.compiling
    variant = dict(target.variant)
    # A toolkit for each CUDA version makes builds different. But beside a torch, that must be one
    # for it as well, and nothing gives the build another torch unless the matrix says so.
    own_toolkit = steps.environment.cuda is not None or not {"torch", "pytorch"} & variant.keys()
    return (
        target.abi3 or target.python,
        bool(target.abi3),
        target.stable_abi,
        target.platform,
        target.baseline,
        target.image,
        steps.environment,
        (compiling.emulation, compiling.compiler, compiling.baseline),
        tuple(needed[each] for each in target.needs),
        cuda_of(target) if own_toolkit else "",
        tuple(sorted((axis, value) for axis, value in target.variant if axis in target.label_only)),
    )


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the axes that both have with different values; else those that only one has."""
    both = [axis for axis in one if axis in other and one[axis] != other[axis]]
    return both or sorted(one.keys() ^ other.keys())


def _problem(axis: str, pairs: list[_Pair], grid: MatrixGrid) -> Problem:
    _, first, other = min(pairs, key=lambda pair: pair[0])
    more = f", and {len(pairs) - 1} more pairs" if len(pairs) > 1 else ""
    path, own = grid.axes.get(axis, (f"axes.{axis}", Axis()))
    rows = (path for path, rows in grid.rows if axis in rows.axes)
    values = {dict(each.variant).get(axis, "") for _, *pair in pairs for each in pair}
    return Problem(
        what=f"axis {axis!r} changes nothing but the name: {first.id} and {other.id} have the same "
        f"inputs{more}",
        where=next(rows, path),
        hint=f"use it for what the build gets, such as {_use(axis, values)}; or, if the name is "
        f"all you mean, {_meant(path, own)}",
    )


_TORCH = "https://download.pytorch.org/whl"


def _use(axis: str, values: set[str]) -> str:
    if axis == "cuda":
        without = sorted(values & WITHOUT)
        compact = all(value in WITHOUT or value.startswith("cu") for value in values)
        folder = "{cuda}" if compact else "cu{cuda|nodot}"
        text = f'indexes.torch = "{_TORCH}/{folder}"'
        if compact or not without:
            return text
        return f'{text}, and indexes.torch = "{_TORCH}/cpu" in an [[override]] for {without[0]}'
    if all(value[:1].isdigit() for value in values):
        return f'build.requires = ["{axis}=={{{axis}}}.*"]'
    return f'env.{axis.upper()} = "{{{axis}}}"'


def _meant(path: str, axis: Axis) -> str:
    """Return how to say that an axis renames."""
    if axis.values is None:
        return f"{path}.label-only = true"
    values = ", ".join(f'"{value}"' for value in axis.values)
    label = f'label = "{axis.label}", ' if axis.label is not None else ""
    when = "when = ..., " if axis.when is not None else ""
    return f"{path} = {{ values = [{values}], {label}{when}label-only = true }}"
