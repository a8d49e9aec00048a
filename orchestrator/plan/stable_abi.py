"""Plan one wheel for several values of an axis: a stable ABI serves every later one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.config.settings import Build
    from orchestrator.models.target import Cell, Target


def place(origins: Mapping[str, str], axis: str) -> str:
    """Return what in the matrix says the lowest value of an axis with a stable ABI."""
    if axis == "torch" and "build.torch-stable" in origins:
        return origins["build.torch-stable"]
    return f"{origins.get('build.stable-abi', 'build.stable-abi')}.{axis}"


def floors(build: Build) -> dict[str, str]:
    """Return the axes of which a wheel uses the stable ABI, with the lowest values it is for."""
    torch = {"torch": build.torch_stable} if build.torch_stable else {}
    return {**(build.stable_abi or {}), **torch}


def lowest_values(
    build: Build, values: Mapping[str, str], origins: Mapping[str, str], *, cell: str
) -> dict[str, str]:
    """Return the axes of a cell that have a stable ABI, with the lowest values that it serves.

    A cell with an earlier value has a wheel of its own.

    Raises:
        ConfigError: nobody knows whether its value is an earlier one.
    """
    found = {}
    for axis, floor in floors(build).items():
        if axis not in values:
            continue
        serves = _serves(floor, values[axis])
        if serves is None:
            raise ConfigError.of(
                f"{axis} {values[axis]} may be earlier or later than {axis} {floor} ({cell})",
                where=place(origins, axis),
                hint="name versions, or set it in an [[override]] for the cells that it serves",
            )
        if serves:
            found[axis] = floor
    return found


def _serves(floor: str, value: str) -> bool | None:
    """Whether a value is this one or a later one; None if they cannot be compared."""
    try:
        return floor == value or Version(floor) <= Version(value)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return None


def at_lowest(target: Target) -> bool:
    """Whether a cell has the values that the wheel of its stable ABIs is built with."""
    return set(target.stable_abi) <= set(target.covers[0])


def lowest_cells(group: Sequence[Target]) -> Sequence[Target]:
    """Return the cells of a group that the group's wheel can be built as.

    Raises:
        ConfigError: there is none, so that the lowest value would never be tested.
    """
    if found := [each for each in group if at_lowest(each)]:
        return found
    first = group[0]
    axis, floor = next(pair for pair in first.stable_abi if pair not in first.covers[0])
    raise ConfigError.of(
        f"{first.id} is for {axis} {floor} and later, but no cell with {axis} {floor} builds the "
        "same",
        where=place(dict(first.origins), axis),
        hint="name the lowest value that the matrix has there; an [[override]] may say it",
    )


def idle_notes(asked: Iterable[tuple[str, str, str]], targets: Sequence[Target]) -> list[str]:
    """Return a note for each (axis, lowest value, what says it) that no target is for."""
    used = {pair for target in targets for pair in target.stable_abi}
    return [
        f"{where}: no cell has {axis} {floor} or a later one"
        for axis, floor, where in dict.fromkeys(asked)
        if (axis, floor) not in used
    ]


def with_pins(pins: tuple[str, ...], stable_abi: Cell) -> tuple[str, ...]:
    """Add the requirement of a wheel for libtorch's stable ABI, unless the matrix pins torch."""
    lowest = dict(stable_abi).get("torch")
    if lowest is None or any(_name(pin) == "torch" for pin in pins):
        return pins
    return tuple(sorted((*pins, f"torch>={lowest}")))


def _name(pin: str) -> str:
    return canonicalize_name(Requirement(pin).name)


def check_pins(targets: Iterable[Target]) -> None:
    """Refuse a pin that keeps a wheel from what it serves, or lets it be used with less.

    Raises:
        ConfigError: it does.
    """
    for target in targets:
        for axis, lowest in target.stable_abi:
            for pin in (pin for pin in target.pins if _name(pin) == axis.replace("_", "-")):
                served = {dict(cell)[axis] for cell in target.covers}
                if fault := _pin_fault(pin, lowest, served):
                    raise ConfigError.of(
                        f"{target.id} serves {axis} {lowest} and later, but {pin} {fault}",
                        where=dict(target.origins).get(f"version.pins.{axis}", "version.pins"),
                        hint=f'{axis} = ">={{{axis}}}"',
                    )


def _pin_fault(pin: str, lowest: str, served: Iterable[str]) -> str:
    allowed = Requirement(pin).specifier
    try:
        versions = sorted(map(Version, served))
        below = f"{Version(lowest).base_version}.dev0"
    except ValueError:  # labels, which no specifier is about
        return ""
    for version in versions:
        if not allowed.contains(version, prereleases=True):
            return f"does not allow {version}"
    return "allows earlier ones" if allowed.contains(below, prereleases=True) else ""


def with_lowest(cell: Cell, stable_abi: Cell) -> Cell:
    """Return a cell's values as its wheel is built."""
    lowest = dict(stable_abi)
    if not lowest:
        return cell
    return tuple((axis, lowest.get(axis, value)) for axis, value in cell)
