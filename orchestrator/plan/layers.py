"""Lay a channel over the file: axes and rules with their dotted paths, the input of `expand`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from orchestrator.config.settings import Axis, Channel, Exclude, Model, Rows, Settings
from orchestrator.errors import ConfigError, closest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from orchestrator.config.settings import Include, Matrix, Override

T = TypeVar("T")
M = TypeVar("M", bound=Model)

BUILT_IN = ("python", "libc", "arch")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixGrid:
    """Axes and rules, each with its dotted path in matrix.toml.

    Attributes:
        axes: name -> (path, axis).
        override: settings for some cells; here only for which.
        lenient: paths of rules and axes that may match no cell, as if they were optional.
        built_in: the axes of every cell; a library's do not have python.
    """

    axes: Mapping[str, tuple[str, Axis]]
    rows: tuple[tuple[str, Rows], ...] = ()
    include: tuple[tuple[str, Include], ...] = ()
    exclude: tuple[tuple[str, Exclude], ...] = ()
    override: tuple[tuple[str, Override], ...] = ()
    lenient: frozenset[str] = field(default_factory=frozenset)
    built_in: tuple[str, ...] = BUILT_IN


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMatrix:
    """matrix.toml as one channel sees it.

    Attributes:
        channel: the channel's name, empty without one.
        layers: prefix of dotted paths -> tables, the later ones win: the file's, the channel's.
    """

    settings: Settings
    channel: str
    grid: MatrixGrid
    layers: tuple[tuple[str, Matrix], ...]


def channel_matrix(settings: Settings, channel: str = "") -> ChannelMatrix:
    """Lay a channel over the file.

    A channel's axis replaces the values of the file's axis of that name; its rows replace the
    file's rows over any of the same axes; its rules come after the file's. The file's own rules
    may match nothing then: without a channel they are judged.

    Raises:
        ConfigError: the channel does not exist, or its axes contradict the file's rows.
    """
    if not channel:
        return ChannelMatrix(
            settings=settings,
            channel="",
            grid=MatrixGrid(
                axes={name: (f"axes.{name}", axis) for name, axis in settings.axes.items()},
                rows=_numbered("rows", settings.rows),
                include=_numbered("include", settings.include),
                exclude=_numbered("exclude", settings.exclude),
                override=_numbered("override", settings.override),
            ),
            layers=(("", settings),),
        )
    if channel not in settings.channel:
        known = sorted(settings.channel)
        raise ConfigError.of(
            f"unknown channel {channel!r}",
            where="--channel",
            hint=closest(channel, known) if known else "matrix.toml has no [channel.NAME] table",
        )
    return _in_channel(settings, channel, settings.channel[channel])


def _in_channel(settings: Settings, name: str, channel: Channel) -> ChannelMatrix:
    prefix = f"channel.{name}."
    base = channel_matrix(settings).grid
    rows = _numbered(f"{prefix}rows", channel.rows)
    moved = {axis for _, each in rows for axis in each.axes}
    kept = tuple((path, each) for path, each in base.rows if not moved & set(each.axes))
    _check_replaced(base.rows, channel, moved, prefix)
    axes = dict(base.axes)
    for axis, own in channel.axes.items():
        path, old = axes.get(axis, ("", Axis()))
        together = next((p for p, each in kept if axis in each.axes), None)
        if together is not None and own.values is not None:
            raise ConfigError.of(
                f"{axis!r} moves together with other axes in {together}",
                where=f"{prefix}axes.{axis}",
                hint=f"give the channel its own [[{prefix}rows]]",
            )
        changes = {each: getattr(own, each) for each in own.model_fields_set}
        axes[axis] = (f"{prefix}axes.{axis}", old.model_copy(update=changes))
    for axis in moved & axes.keys() - channel.axes.keys():
        path, old = axes[axis]
        axes[axis] = (path, old.model_copy(update={"values": None}))
    judged_without = (*base.exclude, *base.override, *base.axes.values(), *base.rows)
    return ChannelMatrix(
        settings=settings,
        channel=name,
        grid=MatrixGrid(
            axes=axes,
            rows=(*kept, *rows),
            include=(*base.include, *_numbered(f"{prefix}include", channel.include)),
            exclude=(*base.exclude, *_numbered(f"{prefix}exclude", channel.exclude)),
            override=(*base.override, *_numbered(f"{prefix}override", channel.override)),
            lenient=frozenset(path for path, _ in judged_without),
        ),
        layers=(("", settings), (prefix, channel)),
    )


def _check_replaced(
    old: Iterable[tuple[str, Rows]], channel: Channel, moved: AbstractSet[str], prefix: str
) -> None:
    """Refuse rows that replace the file's and leave one of their axes without values."""
    for path, each in old:
        own = {axis for axis, its in channel.axes.items() if its.values is not None}
        lost = [axis for axis in each.axes if axis not in moved and axis not in own]
        if lost and moved & set(each.axes):
            raise ConfigError.of(
                f"nothing gives {', '.join(lost)} values: these rows stand for {path}",
                where=f"{prefix}rows",
                hint=f"give {lost[0]} here too, or in [{prefix}axes]",
            )


def overlay(tables: Sequence[tuple[str, M]], *, by_name: bool = False) -> tuple[M, dict[str, str]]:
    """Lay tables over each other: what a later one sets wins.

    Args:
        tables: dotted path and table, the strongest last.
        by_name: whether tables inside of them are merged by name, and not replaced.

    Returns:
        The outcome, and the dotted path that set each key (``parts.nv``).
    """
    values: dict[str, object] = {}
    where: dict[str, str] = {}
    for path, table in tables:
        for name in sorted(table.model_fields_set):
            value = getattr(table, name)
            key = type(table).model_fields[name].alias or name
            if by_name and isinstance(value, dict):
                where |= {f"{key}.{entry}": f"{path}.{key}.{entry}" for entry in value}
                before = values.get(name)
                values[name] = {**before, **value} if isinstance(before, dict) else value
            else:
                where[key] = f"{path}.{key}"
                values[name] = value
    return tables[0][1].model_copy(update=values), where


def of_library(name: str, file: ChannelMatrix) -> MatrixGrid:
    """Return the matrix of a library: its own axes, and the platforms of the wheels."""
    library = file.settings.library[name]
    prefix = f"library.{name}."
    own = {axis for each in library.rows for axis in each.axes} | library.axes.keys()
    axes = {key: _of_wheels(key, file.grid) for key in ("libc", "arch") if key not in own}
    axes |= {key: (f"{prefix}axes.{key}", axis) for key, axis in library.axes.items()}
    exclude = _numbered(f"{prefix}exclude", library.exclude)
    return MatrixGrid(
        axes=axes,
        rows=_numbered(f"{prefix}rows", library.rows),
        include=_numbered(f"{prefix}include", library.include),
        exclude=exclude,
        lenient=frozenset(path for path, _ in exclude) if file.channel else frozenset(),
        built_in=("libc", "arch"),
    )


def _of_wheels(axis: str, grid: MatrixGrid) -> tuple[str, Axis]:
    """Return an axis with all values that the wheels have of it, also from rows and includes."""
    path, own = grid.axes.get(axis, (f"axes.{axis}", Axis()))
    found = dict.fromkeys(own.values or ())
    for _, rows in grid.rows:
        columns = [index for index, name in enumerate(rows.axes) if name == axis]
        found |= dict.fromkeys(v for row in rows.values for i in columns for v in row[i])
    for _, include in grid.include:
        found |= dict.fromkeys(include.get(axis, ()))
    return path, Axis(values=tuple(found))


def _numbered(path: str, items: Iterable[T]) -> tuple[tuple[str, T], ...]:
    return tuple((f"{path}[{index}]", each) for index, each in enumerate(items))
