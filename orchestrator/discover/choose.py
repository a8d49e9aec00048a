"""The wheels that a new matrix asks for, and what decided each axis (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.discover.cells import (
    ARCHS,
    UNSAID,
    WheelChoice,
    as_cell,
    ended,
    identifiers_of,
    runs_of,
)
from orchestrator.errors import ConfigError
from orchestrator.models.python_tag import PythonTag, axis_value
from orchestrator.plan.cibuildwheel_selection import CibuildwheelSelection, allows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from orchestrator.discover.cells import Release, ReleasedWheel, Run, Surroundings, WheelCell
    from orchestrator.discover.project import ProjectFacts
    from orchestrator.discover.torch_axes import TorchAxes


def exact(facts: ProjectFacts, around: Surroundings) -> WheelChoice:
    """Choose just what cibuildwheel would build on Linux.

    Raises:
        ConfigError: nothing runs it, or it would build nothing.
    """
    runs = runs_of(facts, around.native)
    cells = {as_cell(each) for each in identifiers_of(runs, around.catalog, facts.requires_python)}
    if not cells:
        raise ConfigError.of(
            "cibuildwheel would build no wheel for Linux" if runs else "nothing runs cibuildwheel",
            where="--from-cibuildwheel",
            hint="leave the option out: `orchestrator init` then reads everything else",
        )
    where = ", ".join(dict.fromkeys(run.where for run in runs))
    return WheelChoice(
        cells=frozenset(cells),
        why={"python": f"what cibuildwheel {around.catalog.version} would build", "arch": where},
        notes=tuple(_unreadable(runs)),
        known=around.known,
        exact=True,
    )


def choose(
    facts: ProjectFacts, release: Release | None, torch: TorchAxes | None, around: Surroundings
) -> WheelChoice:
    """Choose wheels from cibuildwheel's options, else from the last release, else by default."""
    choice = _by_cibuildwheel(facts, release, around) or _by_release(facts, release, around)
    cells, why = choice.cells, {**choice.why}
    if torch:
        platforms = {cell[1:] for cell in cells}
        cells = frozenset(
            (python, libc, arch)
            for python in torch.pythons & around.catalog.pythons
            for libc, arch in platforms
            if allows(facts.requires_python, python)
            and (torch.named or not ended(python, around.today))
        )
        cells = frozenset(cell for cell in cells if cell[1] == "manylinux") or cells
        why["python"] = torch.why if torch.named else f"{why['python']}, by torch, too"
    if facts.single and cells:
        newest = max((cell[0] for cell in cells), key=_plain_first)
        cells = frozenset((newest, libc, arch) for _, libc, arch in cells)
        why["python"] = "its wheels serve every Python: one builds them"
    return replace(choice, cells=cells, why=why)


def _by_cibuildwheel(
    facts: ProjectFacts, release: Release | None, around: Surroundings
) -> WheelChoice | None:
    """Choose what cibuildwheel would build, without Pythons that have ended; None for nothing."""
    runs = _with_archs(runs_of(facts, around.native), release)
    requires = facts.requires_python or facts.metadata_requires_python
    cells = {as_cell(each) for each in identifiers_of(runs, around.catalog, requires)}
    if not cells:
        return None
    more = _released(facts, release, around, requires) - cells if release else set()
    where = _where(runs, release)
    if more and release and release.source not in where:
        where = f"{where}, {release.source}"
    return WheelChoice(
        cells=frozenset(cell for cell in cells | more if not _dropped(cell[0], runs, around.today)),
        why={"python": _pythons_why(requires), "arch": where},
        notes=tuple(_unreadable(runs)),
        known=around.known,
    )


def _released(
    facts: ProjectFacts, release: Release, around: Surroundings, requires: str
) -> frozenset[WheelCell]:
    """Return the last release's wheels that the project's table selects, if not its workflows."""
    selection = replace(CibuildwheelSelection.of(facts.cibuildwheel or {}), archs=("all",))
    selected = selection.identifiers(around.catalog, requires_python=requires, native="")
    return release.cells(around.catalog) & frozenset(map(as_cell, selected))


def _plain_first(python: str) -> tuple[bool, PythonTag]:
    tag = PythonTag.parse(python)
    return tag.stable_abi, tag


def _pythons_why(requires: str) -> str:
    limit = f"requires-python {requires}, " if requires else ""
    return f"{limit}known to cibuildwheel, and supported"


def _where(runs: tuple[Run, ...], release: Release | None) -> str:
    if any(run.where != "[tool.cibuildwheel]" for run in runs):
        return ", ".join(dict.fromkeys(run.where for run in runs))
    if _declared(runs) != {"auto"}:
        return "[tool.cibuildwheel]"
    return release.source if release and release.wheels else UNSAID


def _declared(runs: tuple[Run, ...]) -> set[str]:
    return {arch for run in runs for arch in run.selection.archs}


def _with_archs(runs: tuple[Run, ...], release: Release | None) -> tuple[Run, ...]:
    """Without a workflow, ``auto`` says nothing: the last release does, or nobody."""
    if any(run.where != "[tool.cibuildwheel]" for run in runs) or _declared(runs) != {"auto"}:
        return runs
    archs = tuple(sorted({each.arch for each in release.wheels})) if release else ()
    return tuple(
        replace(run, selection=replace(run.selection, archs=archs or ARCHS)) for run in runs
    )


def _dropped(python: str, runs: tuple[Run, ...], today: date) -> bool:
    named = any(run.only.startswith(f"{python}-") or run.selection.names(python) for run in runs)
    return ended(python, today) and not named


def _unreadable(runs: tuple[Run, ...]) -> Iterator[str]:
    for where in dict.fromkeys(run.where for run in runs if run.unreadable):
        names = sorted({name for run in runs if run.where == where for name in run.unreadable})
        yield f"{where}: only a run on GitHub knows {', '.join(names)}; left out"


def _by_release(facts: ProjectFacts, release: Release | None, around: Surroundings) -> WheelChoice:
    """Choose the platforms of the last release, and all Pythons that are supported."""
    requires = facts.requires_python or facts.metadata_requires_python
    released = release.wheels if release else ()
    platforms = {(each.libc, each.arch) for each in released}
    notes: list[str] = []
    why = {"python": _pythons_why(requires), "arch": release.source if release else ""}
    if not platforms:
        platforms = {("manylinux", arch) for arch in ARCHS}
        why["arch"] = UNSAID
        notes.append("arch and libc: nothing says which wheels are wanted")
    pythons = _pythons(requires, around)
    if facts.abi3 or (release and released and not release.free_threaded):
        pythons = {tag for tag in pythons if not tag.endswith("t")}
        notes.append("free-threaded Pythons: nothing says that the project supports them")
    pythons |= _others(released, requires, around)
    return WheelChoice(
        cells=frozenset(
            (python, libc, arch)
            for python in pythons
            for libc, arch in platforms
            if (python, libc, arch) in around.known
        ),
        why=why,
        notes=tuple(notes),
        known=around.known,
    )


def _pythons(requires: str, around: Surroundings) -> set[str]:
    """Return the CPythons that the project allows; those that have ended only if no other does."""
    catalog = around.catalog
    allowed = {tag for tag in catalog.pythons - catalog.groups.keys() if allows(requires, tag)}
    return {tag for tag in allowed if not ended(tag, around.today)} or allowed


def _others(released: Iterable[ReleasedWheel], requires: str, around: Surroundings) -> set[str]:
    """Return the Pythons other than CPython that the last release has wheels for."""
    catalog = around.catalog
    return {
        python
        for python in {axis_value(each.interpreter, each.abi) for each in released}
        if python.startswith(("pp", "gp"))
        and python in catalog.pythons
        and not catalog.groups.get(python, "").endswith("-eol")
        and allows(requires, python)
    }
