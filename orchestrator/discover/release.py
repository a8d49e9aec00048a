"""The last release of a project on an index."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from packaging.utils import parse_sdist_filename

from orchestrator.discover.cells import Release, ReleasedWheel
from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel.policy import PlatformTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def last_release(names: Iterable[str], *, index: str) -> Release:
    """Return the newest release that has wheels; a prerelease only if there is nothing else.

    Args:
        names: the names of the files that the index has of the project; none that is yanked.
        index: its address, for comments.
    """
    wheels = [*filter(None, map(WheelName.match, names))]
    finished = [each for each in wheels if not each.version.is_prerelease] or wheels
    newest = max((each.version for each in finished), default=None)
    own = [each for each in finished if each.version == newest]
    return Release(
        version="" if newest is None else str(newest),
        wheels=tuple(dict.fromkeys(tag for each in own for tag in _released(each))),
        pure=any("any" in each.platform.split(".") for each in own),
        files=tuple(sorted(map(str, own))),
        index=index,
    )


def newest_sdist(names: Iterable[str]) -> str:
    """Return the newest version that has an sdist; a prerelease only if there is nothing else.

    `names` are those of the files that the index has; empty for none.
    """
    versions = []
    for name in names:
        with contextlib.suppress(ValueError):  # also a number of thousands of digits
            versions.append(parse_sdist_filename(name)[1])
    finished = [each for each in versions if not each.is_prerelease] or versions
    return str(max(finished, default=""))


def _released(name: WheelName) -> Iterator[ReleasedWheel]:
    for text in name.platform.split("."):
        platform = PlatformTag.parse(text)
        if platform is not None and platform.libc is not None:
            for interpreter in name.python.split("."):
                yield ReleasedWheel(
                    interpreter=interpreter,
                    abi=name.abi,
                    libc=str(platform.libc),
                    arch=platform.arch,
                )
