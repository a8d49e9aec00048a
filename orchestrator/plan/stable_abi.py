"""Plan one wheel for several values of an axis: a stable ABI serves every later one. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.models.target import Cell, Target


def lowest_values(
    stable_abi: Mapping[str, str] | None, values: Mapping[str, str], *, where: str, cell: str
) -> dict[str, str]:
    """Return the axes of a cell that have a stable ABI, with the lowest values that it serves.

    Raises:
        ConfigError: the ABI does not serve the cell's own value.
    """
    found = {axis: value for axis, value in (stable_abi or {}).items() if axis in values}
    for axis, floor in found.items():
        if not _serves(floor, values[axis]):
            raise ConfigError.of(
                f"a wheel for {axis} {floor} and later does not serve {axis} {values[axis]} "
                f"({cell})",
                where=f"{where}.{axis}",
                hint="set it in an [[override]] for the cells that it serves",
            )
    return found


def _serves(floor: str, value: str) -> bool:
    try:
        return Version(floor) <= Version(value)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return floor == value


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
        where=f"{dict(first.origins).get('build.stable-abi', 'build.stable-abi')}.{axis}",
        hint="name the lowest value that the matrix has there; an [[override]] may say it",
    )


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
