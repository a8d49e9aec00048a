"""Order things that depend on each other."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

K = TypeVar("K", bound="str | tuple[str, ...]")


class CircularDependency(Exception, Generic[K]):  # noqa: N818 - callers turn it into a ConfigError
    """Some things depend on each other.

    Attributes:
        members: these, sorted.
    """

    def __init__(self, members: list[K]) -> None:
        super().__init__(members)
        self.members = members


def in_order(needs: Mapping[K, AbstractSet[K]], key: Callable[[K], Any] = lambda k: k) -> list[K]:
    """Return all keys so that each comes after those it needs, and else the smallest first.

    Raises:
        CircularDependency: that is not possible.
    """
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        raise CircularDependency(sorted(set(error.args[1]))) from None
    ordered: list[K] = []
    ready: list[K] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=key, reverse=True)
        ordered.append(ready.pop())
        sorter.done(ordered[-1])
    return ordered
