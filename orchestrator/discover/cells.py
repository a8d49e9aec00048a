"""Choose the wheels of a matrix from what is known about a project (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import ABI3_FLOOR, PythonTag, axis_value
from orchestrator.plan.cibuildwheel_selection import CibuildwheelSelection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from orchestrator.config.settings import TorchTable
    from orchestrator.discover.project import ProjectFacts
    from orchestrator.discover.workflows import Step, Workflow
    from orchestrator.models.target import CibuildwheelCatalog

ARCHS = (Arch.X86_64.value, Arch.AARCH64.value)
"""What is built where nothing says more."""

UNSAID = "nothing says which; these are usual"

_FLOOR = re.compile(ABI3_FLOOR)

_YEARS = 2016
"""Python 3.N is supported until October of this year and N (PEP 602)."""

WheelCell = tuple[str, str, str]
"""Python, C library and architecture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedWheel:
    """One tag of a wheel that an index has: ``cp312-abi3``, for one platform."""

    interpreter: str
    abi: str
    libc: str
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The wheels of a project's last release on an index.

    Attributes:
        version: of the release; empty if the index has no wheel of the project.
        wheels: those for Linux.
        pure: one of them is for any platform.
        files: the names of all of them.
        index: where they are.
    """

    version: str
    wheels: tuple[ReleasedWheel, ...]
    pure: bool
    files: tuple[str, ...]
    index: str

    @property
    def source(self) -> str:
        """What a comment says about it."""
        return f"the wheels of {self.version}"

    @property
    def free_threaded(self) -> bool:
        """Whether one of them is for a Python without the GIL."""
        return any(each.abi.endswith("t") for each in self.wheels)

    def cells(self, catalog: CibuildwheelCatalog) -> frozenset[WheelCell]:
        """Return the wheels of a release that these are, as far as cibuildwheel knows them."""
        found: set[WheelCell] = set()
        for each in self.wheels:
            python = axis_value(each.interpreter, each.abi)
            pythons = {each.abi, python} if each.abi != "none" else set()
            if "abi3" in each.abi and _FLOOR.fullmatch(each.interpreter):
                tags = map(PythonTag.parse, catalog.pythons)
                pythons = {str(tag) for tag in tags if tag.serves_abi3(each.interpreter)}
            elif each.abi.endswith("t"):
                pythons = {each.abi}
            found |= {(python, each.libc, each.arch) for python in pythons}
        known = map(as_cell, catalog.identifiers)
        return frozenset(found & set(known))

    @property
    def abi3(self) -> str:
        """The lowest Python of the stable ABI, if no wheel is for one CPython with the GIL."""
        floors = [each.interpreter for each in self.wheels if "abi3" in each.abi.split(".")]
        plain = [each for each in self.wheels if each.abi == each.interpreter != "none"]
        own = [each for each in plain if each.abi.startswith("cp")]
        tags = [tag for each in floors if (tag := PythonTag.match(each))]
        return str(min(tags)) if tags and not own else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a new matrix depends on beside the project.

    Attributes:
        catalog: what the locked cibuildwheel knows.
        table: what torch was published for.
        native: this machine's architecture.
        today: today's date, which decides which Pythons are supported.
    """

    catalog: CibuildwheelCatalog
    table: TorchTable
    native: str
    today: date

    @property
    def known(self) -> frozenset[WheelCell]:
        """All wheels that cibuildwheel knows."""
        return frozenset(map(as_cell, self.catalog.identifiers))


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelChoice:
    """What a matrix is about.

    Attributes:
        cells: the wheels.
        why: axis -> what decided its values.
        notes: what could not be decided.
        known: all wheels that cibuildwheel knows.
        exact: the cells are just those that cibuildwheel would build.
    """

    cells: frozenset[WheelCell]
    why: Mapping[str, str]
    notes: tuple[str, ...]
    known: frozenset[WheelCell]
    exact: bool = False

    @property
    def pythons(self) -> tuple[str, ...]:
        """The Pythons: CPython first, then those without the GIL, then PyPy."""
        return tuple(map(str, sorted({PythonTag.parse(cell[0]) for cell in self.cells})))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of cibuildwheel on Linux.

    Attributes:
        selection: what it selects.
        only: the one identifier that it builds; empty for all.
        native: the architecture of its machine.
        where: the file that says so.
        unreadable: variables whose values only a run on GitHub knows.
        images: ``<libc>_<arch>`` -> image.
    """

    selection: CibuildwheelSelection
    native: str
    where: str
    only: str = ""
    unreadable: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()


def ended(python: str, today: date) -> bool:
    """Whether the Python gets no security fixes any more."""
    tag = PythonTag.parse(python)
    last = (_YEARS + tag.minor, 10) if tag.minor > 8 else (2024, 10)  # noqa: PLR2004
    return tag.implementation == "cpython" and (today.year, today.month) > last


def runs_of(facts: ProjectFacts, native: str) -> tuple[Run, ...]:
    """Return every run of cibuildwheel on Linux: those of workflows, or one by hand."""
    found = [run for name, each in facts.workflows.items() for run in _runs(name, each, facts)]
    if not found and facts.cibuildwheel is not None:
        selection = CibuildwheelSelection.of(facts.cibuildwheel)
        found = [Run(selection=selection, native=native, where="[tool.cibuildwheel]")]
    return tuple(found)


def _runs(name: str, workflow: Workflow, facts: ProjectFacts) -> Iterator[Run]:
    for job in workflow.jobs:
        for step in job.steps:
            platform = _argument(step.run, "--platform") or step.variables.get("CIBW_PLATFORM")
            platform, archs = platform or "auto", _argument(step.run, "--archs")
            on_linux = any(word in job.runner for word in ("ubuntu", "linux"))
            if not _is_cibuildwheel(step) or platform not in {"auto", "linux"}:
                continue
            if not on_linux and platform != "linux":
                continue
            yield Run(
                selection=CibuildwheelSelection.of(
                    facts.cibuildwheel or {},
                    {**step.variables, **({"CIBW_ARCHS_LINUX": archs} if archs else {})},
                ),
                native=_architecture(job.runner),
                where=name,
                only=step.given.get("only", "") or _argument(step.run, "--only"),
                unreadable=tuple(each for each in step.unreadable if each in _SELECTING),
                images=tuple(_images(step.variables)),
            )


_SELECTING = frozenset({"CIBW_BUILD", "CIBW_SKIP", "CIBW_ENABLE", "CIBW_ARCHS", "CIBW_ARCHS_LINUX"})


def _is_cibuildwheel(step: Step) -> bool:
    commands = re.split(r"\n|&&|\|\||;", re.sub(r"#.*|\\\n", "", step.run))
    return step.uses.startswith("pypa/cibuildwheel") or any(
        _PROGRAM.search(each) and not _NO_RUN.search(each) for each in commands
    )


_PROGRAM = re.compile(r"(?<![\w./-])cibuildwheel(?:\[\w+\])?(?:[=~<>!@][^\s\"']*)?(?=[\s\"')]|$)")
"""The program, or its requirement, as pipx and uvx take it; and no ``cibuildwheel.yml``."""

_NO_RUN = re.compile(r"\b(?:install|echo|uv add)\b|^\s*(?:for|case)\b")


def _argument(run: str, name: str) -> str:
    words = run.replace("=", " ").split()
    return words[words.index(name) + 1] if name in words[:-1] else ""


def _architecture(runner: str) -> str:
    """``ubuntu-24.04-arm`` -> aarch64; where a label names none, x86_64."""
    words = re.split(r"[-_ ]", runner.lower())
    if any(word.startswith("arm") for word in words):
        return Arch.AARCH64
    stems = {
        each.value.rstrip("0123456789"): each.value for each in Arch if each.value not in words
    }
    named = [each.value for each in Arch if each.value in words]
    return next(iter([*named, *(stems[word] for word in words if word in stems)]), Arch.X86_64)


def _images(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in variables.items():
        parts = name.lower().removeprefix("cibw_").removesuffix("_image").partition("_")
        if name.startswith("CIBW_M") and name.endswith("_IMAGE") and value:
            yield f"{parts[0]}_{parts[2]}", value


def identifiers_of(
    runs: Iterable[Run], catalog: CibuildwheelCatalog, requires_python: str
) -> frozenset[str]:
    """Return what these runs of cibuildwheel would build."""
    found: set[str] = set()
    for run in runs:
        if run.only:
            found |= {run.only} & catalog.identifiers
        else:
            found |= run.selection.identifiers(
                catalog, requires_python=requires_python, native=run.native
            )
    return frozenset(found)


def as_cell(identifier: str) -> WheelCell:
    """``cp312-manylinux_x86_64`` -> its Python, C library and architecture."""
    python, _, platform = identifier.partition("-")
    libc, _, arch = platform.partition("_")
    return python, libc, arch
