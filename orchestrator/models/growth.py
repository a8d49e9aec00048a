"""How a wheel has grown since another one: in all, by file, and by GPU architecture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.models.wheel import LARGEST_FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchestrator.models.wheel import DeviceCode, FileSize

_VARYING = re.compile(
    r"[-.][0-9a-f]{8}(?=[.\w-]*\.so\b)"  # the hash of a library that was put into the wheel
    r"|(?<=\.so)[.\d]+$|(?<=\.cpython-)\d+t?"
    r"|(?<=-)[^/-]+(?=\.(?:dist-info|data)/)"
)
"""What differs in a file's name from one release, or one Python, to another."""


TOLD = 1000
"""What a file has to grow by, as one of so many parts of the wheel, to be named."""


class SizedWheel(Protocol):
    """What is known of a wheel; see `WheelFacts`."""

    @property
    def size(self) -> int:
        """Its bytes."""

    @property
    def device_code(self) -> tuple[DeviceCode, ...]:
        """The code for GPUs in all files."""

    @property
    def largest(self) -> tuple[FileSize, ...]:
        """Its largest files."""


class Change(NamedTuple):
    """How the size of something changed.

    Attributes:
        name: a file as the newer wheel names it, or an architecture.
        before: bytes; 0 if it did not exist; None for a file that was none of the largest.
        now: bytes; likewise.
        file: the file that has most of the change of an architecture; empty if that is unknown.
        others: files that have the rest.
    """

    name: str
    before: int | None
    now: int | None
    file: str = ""
    others: int = 0

    @property
    def by(self) -> int:
        """How many bytes it grew."""
        return (self.now or 0) - (self.before or 0)


class Growth(NamedTuple):
    """How a wheel has grown.

    Attributes:
        total: the wheel.
        files: its largest files, those that changed most first.
        archs: its code for GPUs by architecture, likewise.
    """

    total: Change
    files: tuple[Change, ...]
    archs: tuple[Change, ...]


def growth(before: SizedWheel, now: SizedWheel) -> Growth:
    """Compare the sizes of two wheels.

    Of a wheel in a document of an older version only the size is known.
    """
    total = Change("", before.size, now.size)
    if not (before.largest and now.largest):
        return Growth(total, (), ())
    old, new = _by_file(before.largest), _by_file(now.largest)
    then, today = bytes_by_arch(before.device_code), bytes_by_arch(now.device_code)
    archs = [
        _of_arch(Change(arch, then.get(arch, 0), today.get(arch, 0)), old, new)
        for arch in then | today
    ]
    least = max(before.size, now.size) // TOLD
    files = _files(old, _rest(before.largest), new, _rest(now.largest))
    return Growth(total, _sorted(each for each in files if abs(each.by) > least), _sorted(archs))


def bytes_by_arch(code: Iterable[DeviceCode]) -> dict[str, int]:
    """Return architecture -> bytes, whatever compresses them."""
    sums: dict[str, int] = {}
    for each in code:
        if each.arch:
            sums[each.arch] = sums.get(each.arch, 0) + each.size
    return sums


def _by_file(largest: Iterable[FileSize]) -> dict[str, FileSize]:
    """Return name that stays from release to release -> file; the largest one if they collide."""
    found: dict[str, FileSize] = {}
    for each in largest:
        found.setdefault(_VARYING.sub("", each.file), each)
    return found


def _rest(largest: tuple[FileSize, ...]) -> int:
    """Return the bytes that a file which is not in the list has at most."""
    return 0 if len(largest) < LARGEST_FILES else min(each.size for each in largest)


def _files(
    old: dict[str, FileSize], old_rest: int, new: dict[str, FileSize], new_rest: int
) -> Iterator[Change]:
    """Yield how files changed; one that a list has no room for may be as large as before."""
    for stem in old | new:
        if stem in old and stem in new:
            yield Change(new[stem].file, old[stem].size, new[stem].size)
        elif stem in new and new[stem].size > old_rest:
            yield Change(new[stem].file, None if old_rest else 0, new[stem].size)
        elif stem in old and old[stem].size > new_rest:
            yield Change(old[stem].file, old[stem].size, None if new_rest else 0)


def _of_arch(change: Change, old: dict[str, FileSize], new: dict[str, FileSize]) -> Change:
    """Add the files that an architecture's change is in."""
    grown = {}
    for stem in old | new:
        then, now = (
            dict(side[stem].code).get(change.name, 0) if stem in side else 0 for side in (old, new)
        )
        if (now - then) * change.by > 0:
            grown[(new.get(stem) or old[stem]).file] = abs(now - then)
    if not grown:
        return change
    return change._replace(file=max(grown, key=lambda name: grown[name]), others=len(grown) - 1)


def _sorted(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(sorted((each for each in changes if each.by), key=lambda each: -abs(each.by)))
