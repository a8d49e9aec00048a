"""Order things that depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

K = TypeVar("K", bound="str | tuple[str, ...]")


class CircularDependency(Exception, Generic[K]):  # noqa: N818 - callers turn it into a ConfigError
    """Some things depend on each other.

    Attributes:
        members: these, without those that only wait for them; sorted.
    """

    def __init__(self, members: list[K]) -> None:
        super().__init__(members)
        self.members = members


def in_order(needs: Mapping[K, AbstractSet[K]], key: Callable[[K], Any] = lambda k: k) -> list[K]:
    """Return all keys so that each comes after those it needs, and else the smallest first.

    Raises:
        CircularDependency: that is not possible.
    """
    waiting = dict(needs)
    ordered: list[K] = []
    while waiting:
        ready = [name for name, needed in waiting.items() if not needed & waiting.keys()]
        if not ready:
            raise CircularDependency(_circle(waiting))
        first = min(ready, key=key)
        ordered.append(first)
        del waiting[first]
    return ordered


def _circle(waiting: Mapping[K, AbstractSet[K]]) -> list[K]:
    left = dict(waiting)
    while True:
        needed = {name for names in left.values() for name in names}
        outside = left.keys() - needed
        if not outside:
            return sorted(left)
        for name in outside:
            del left[name]
