"""Find in a build's output what it lacks: a development file, or files that a test names.

The compiler's messages stand hundreds of lines before the last one. The last that is known counts:
configure steps try headers and packages that a project can do without.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.builders.system_packages import system_packages
from orchestrator.containers.container import PROJECT
from orchestrator.models.platforms import Libc
from orchestrator.models.result import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.models.result import BuildEnvironment, Failure
    from orchestrator.models.target import Target

    _Answer = tuple[BuildEnvironment, Failure | None]

_LACKS = {
    "header": re.compile(
        r"fatal error: '?([\w./+-]+\.h(?:pp|h|xx)?)'?(?:: No such file| file not found)"
        r"|fatal error: '?([\w/+-]+)'?: No such file or directory"
    ),
    "library": re.compile(
        r"cannot find -l:?([\w.+-]+)"
        r"|unable to find (?:dynamic system )?library '?(?:-l)?(\w[\w.+-]*)"
        r"|\blib([\w.+-]+)\.so[\w.]*: cannot open shared object file"
    ),
    "program": re.compile(
        r"\b([\w.]+[-_]config)(?: \w+)?:? (?:command )?not found|not find ([\w.]+[-_]config)\b"
    ),
    "package": re.compile(
        r"""Dependency "([\w.+-]+)" not found|No package '([\w.+-]+)' found"""
        r"""|Package '?([\w.+-]+)'?(?:, required by '[^']*',)? (?:was )?not found in"""
        r"""|Package '([\w.+-]+)', required by '[^']*', not found"""
        r"""|Could NOT find (\w+)\b"""
        r"""|Could not find a package configuration file provided by "(\w+)\""""
        r"""|Unable to load dependency (\w+)|make sure the (lib\w+) and \w+ development packages"""
    ),
}
"""How compilers, linkers and build systems say that something of the distribution is missing."""

_NO_TEST_FILES = re.compile(
    r"file or directory not found: (\S+)|can't open file '([^']+)'"
    r"|Start directory is not importable: '([^']+)'|No rule to make target '([^']+)'"
    r"|\bcannot open '?([^\s']+)'?: No such file|: ([^\s:']+): No such file or directory$"
    r"|\bcan't cd to (\S+)"
)
"""How test runners, interpreters, make and shells say that there is no file of that name."""

_LONGEST = 2048
"""Characters of a line in which something is looked for."""


_TAIL = 60
"""Number of a step's last lines that are kept."""


class Clues:
    """Hears what a target's programs print, and keeps what says why a step fails.

    Attributes:
        tail: the last lines of the current step.
        found: kind -> the name that was missing last.
        no_file: the file that a program did not find first.
        answer: reads what a line says of the environment that compiles, and how that is wrong.
        environment: what is in that environment; None before it was asked.
        differs: how it is not what the cell asks for.
        listeners: who else gets every line.
    """

    __slots__ = ("answer", "differs", "environment", "found", "listeners", "no_file", "tail")

    def __init__(self) -> None:
        self.answer: Callable[[str], _Answer | None] = lambda _line: None
        self.environment: BuildEnvironment | None = None
        self.differs: Failure | None = None
        self.listeners: list[Callable[[str], object]] = []
        self.begin_step()

    def begin_step(self) -> None:
        """Forget what the step before has printed."""
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.found: dict[str, str] = {}
        self.no_file = ""

    @property
    def last_line(self) -> str:
        """The last line of the step; empty without any."""
        return self.tail[-1] if self.tail else ""

    @property
    def lacks(self) -> tuple[str, str] | None:
        """Kind and name of what was missing; what compilers say counts before what they are told.

        What is known counts first: a missing package may leave out the directories of all headers.
        One that nobody knows may be one that the project can do without.
        """
        found = [(kind, self.found[kind]) for kind in _LACKS if kind in self.found]
        known = (pair for pair in found if any(each.has(*pair) for each in system_packages()))
        return next(known, next((pair for pair in found if pair[0] != "package"), None))

    def hear(self, line: str) -> None:
        """Take a line."""
        self.tail.append(line)
        if answer := self.answer(line):
            self.environment, self.differs = answer
        if any(word in line for word in _WORDS):
            self._search(line)
        for listener in self.listeners:
            listener(line)

    def _search(self, line: str) -> None:
        text = line[:_LONGEST]
        if (lacking := _lacking(text)) is not None:
            self.found.update([lacking])
        if not self.no_file and (found := _NO_TEST_FILES.search(text)):
            self.no_file = next(filter(None, found.groups()), "")


_WORDS = (
    *("not found", "o such file", "annot ", "an't ", "nable to", "ould ", "o package", "o rule"),
    *("make sure", "is not importable"),
)
"""One of them stands in each line that is known."""


def _lacking(text: str) -> tuple[str, str] | None:
    for kind, pattern in _LACKS.items():
        if found := pattern.search(text):
            return kind, next(filter(None, found.groups()), "")
    return None


def with_clue(
    failure: Failure, clues: Clues, target: Target, *, source: Path, in_container: bool
) -> Failure:
    """Return a failure with the hint that fits what the build of a source printed."""
    if failure.kind is FailureKind.TEST and clues.no_file:
        name = clues.no_file.removeprefix(f"{source}/").removeprefix(f"{PROJECT}/")
        return replace(failure, hint=_no_test_files(name))
    compiles = failure.kind in {FailureKind.BUILD, FailureKind.SETUP}
    if compiles and clues.lacks is not None:
        return replace(failure, hint=_missing(*clues.lacks, target, in_container=in_container))
    return failure


def _no_test_files(name: str) -> str:
    return (
        f"the test's command names {name}, which the source does not have (an sdist may leave its "
        "tests out): set test.command to one that needs no file of the source, such as "
        '"python -c \'import NAME\'", or build from a checkout; test.command = "" tests nothing'
    )


_REQUIRED = {
    **dict.fromkeys(("numpy", "pybind11", "nanobind", "torch"), ""),
    **dict.fromkeys(("ATen", "c10"), "torch"),
}
_REQUIRED |= {name: project or name for name, project in _REQUIRED.items()}
"""Directory of headers -> the distribution of the package index that has it."""


def _missing(kind: str, name: str, target: Target, *, in_container: bool) -> str:
    found = next((each for each in system_packages() if each.has(kind, name)), None)
    if required := next((each for each in _REQUIRED if name.startswith(f"{each}/")), ""):
        project = _REQUIRED[required]
        return f'the header {name} is missing, which {project} has: build.requires = ["{project}"]'
    if found is None:
        if kind == "header":
            return (
                f"the header {name} is missing: install the distribution's package that has it in "
                f"build.before-all; `apt-file search {name}` and `dnf provides '*/{name}'` name it"
            )
        return f"the {kind} {name} is missing: install what has it in build.before-all"
    what = (
        f"the {kind} {name} is missing; {found.apt} (apt), {found.dnf} (dnf, yum) or "
        f"{found.apk} (apk) has it"
    )
    if not in_container:
        return f"{what}: install it on this host"
    command = f"dnf install -y {found.dnf} || yum install -y {found.dnf}"
    if target.libc is Libc.MUSLLINUX:
        command = f"apk add {found.apk}"
    return f'{what}: build.before-all = "{command}", or an image that has it'
