"""Commands of ``[tool.cibuildwheel]`` that name files which the source does not have (pure).

An sdist often leaves out its tests, and what prepares the machines of its CI.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.plan.cibuildwheel_selection import PLATFORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_PLACEHOLDER = re.compile(r"\{(?:project|package)\}/([\w./+-]+)(?![\w./+*?$({\[-])")
_SCRIPT = re.compile(
    r"(?<![\w./$}~:+\\-])(?!/)((?:\./|\.\w[\w-]*/|\w[\w.-]*/)[\w./+-]*\.(?:sh|bash|py|txt))"
    r"(?![\w/$*-])"
)
"""A script, or a list of requirements, in a directory of the source."""

_FETCHES = re.compile(r"\b(?:cd|pushd|git|curl|wget|tar|unzip|cp|mv|mkdir)\b")
"""What moves elsewhere, or brings files: relative names may then be of other files."""

IN_SOURCE = ("before-all", "before-build")
"""Options whose commands run in the source."""

FRONTEND = "build-frontend"
REQUIRES = "test-requires"
REPAIR = "repair-wheel-command"
TEST = "test-command"
BEFORE_TEST = "before-test"
SOURCES = "test-sources"
_ALONE = (*IN_SOURCE, FRONTEND, REPAIR, REQUIRES)
_NEEDED_BY_TESTS = (TEST, BEFORE_TEST, SOURCES, *IN_SOURCE)
"""Commands before the build also make what tests need: libraries, users, servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentFile:
    """A file that the source does not have, and the option that names it."""

    name: str
    option: str


def absent_files(table: Mapping[str, Any], has: Callable[[str], bool]) -> dict[str, AbsentFile]:
    """Return the options whose commands cannot work, each with a file that is not there.

    Args:
        table: ``[tool.cibuildwheel]``.
        has: whether the source has a file or directory.
    """
    inner = table.get(PLATFORM)
    options = {**table, **(inner if isinstance(inner, dict) else {})}
    absent = {
        option: AbsentFile(name=name, option=option)
        for option in dict.fromkeys((*_ALONE, *_NEEDED_BY_TESTS))
        for name in [
            next((file for file in _files(option, options.get(option)) if not has(file)), "")
        ]
        if name
    }
    found = {option: absent[option] for option in _ALONE if option in absent}
    needed = next((absent[option] for option in _NEEDED_BY_TESTS if option in absent), None)
    if needed is None or not options.get(TEST):
        return found
    around = {option: absent[option] for option in (BEFORE_TEST, SOURCES) if option in absent}
    return {**found, TEST: needed, **around}


def _files(option: str, value: object) -> Iterator[str]:
    if option == FRONTEND and isinstance(value, dict):
        value = value.get("args")
    words = [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
    command = value if isinstance(value, str) else " && ".join(words)
    if option == SOURCES:
        yield from words or command.split()
        return
    for match in _PLACEHOLDER.finditer(command):
        yield match[1].rstrip("/.")
    if option in _ALONE and not _FETCHES.search(command):
        for match in _SCRIPT.finditer(command):
            yield match[1].removeprefix("./")
