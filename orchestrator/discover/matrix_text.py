"""Write a matrix.toml, each line with what decided it (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.discover.abi3_floor import LOWEST
from orchestrator.discover.absent_files import (
    BEFORE_TEST,
    FRONTEND,
    IN_SOURCE,
    REPAIR,
    REQUIRES,
    SOURCES,
    TEST,
)
from orchestrator.discover.cells import UNSAID
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.plan.cover import conditions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.discover.absent_files import AbsentFile
    from orchestrator.discover.cells import WheelCell, WheelChoice
    from orchestrator.discover.image_choice import Images
    from orchestrator.discover.project import ProjectFacts
    from orchestrator.discover.torch_axes import TorchAxes

WIDTH = 100
BACKEND = "only the project's build backend can tell"
SWITCH = "setup.py compiles nothing without it"


@dataclass(frozen=True, slots=True)
class _Page:
    """The lines so far; a comment stands behind its line, or above it if that gets too long."""

    lines: list[str] = field(default_factory=list)

    def table(self, head: str) -> None:
        self.lines.extend(["", head])

    def put(self, line: str, comment: str = "") -> None:
        comment = f"# {_one_line(comment)}" if comment else ""
        if comment and len(line) + len(comment) + 2 > WIDTH:
            self.lines.extend([comment, line])
        else:
            self.lines.append(f"{line}  {comment}".rstrip())


def matrix_text(
    facts: ProjectFacts,
    choice: WheelChoice,
    images: Images,
    torch: TorchAxes | None,
    source: str = "",
) -> str:
    """Return a matrix.toml.

    Args:
        facts: what the project says.
        choice: its wheels.
        images: their images, other than the default ones.
        torch: the axes of a torch extension; None for anything else.
        source: what ``project.source`` names; empty for the directory of matrix.toml.
    """
    name = _one_line(facts.name) or "this project"
    page = _Page([f"# Written by `orchestrator init` for {name}."])
    if source:
        page.table("[project]")
        page.put(f"source = {quoted(source)}")
    cells, floor = _with_abi3(choice, _floor(facts, choice))
    _axes(page, cells, choice, facts, torch)
    if torch:
        _torch_tables(page, facts, torch)
    elif facts.computed:
        page.table("[version]")
        page.put('base = "backend"', BACKEND)
    if not torch:
        _absent(page, facts)
        if facts.switch:
            page.table("[env]")
            page.put(f"{facts.switch[0]} = {quoted(facts.switch[1])}", SWITCH)
    _abi3_override(page, choice, floor, facts)
    _images(page, images, choice)
    _excludes(page, cells, choice, images)
    if torch:
        _torch_excludes(page, torch)
    return "\n".join(page.lines) + "\n"


def quoted(text: str) -> str:
    """Return a text as a basic string of TOML."""
    escaped = "".join(
        f"\\{each}" if each in '"\\' else each if each.isprintable() else f"\\U{ord(each):08x}"
        for each in text
    )
    return f'"{escaped}"'


def _array(values: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, values))}]"


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _floor(facts: ProjectFacts, choice: WheelChoice) -> str:
    """Return the Python of the stable ABI, if a Python of the matrix has it."""
    loading = [python for python in choice.pythons if PythonTag.parse(python).stable_abi]
    if facts.abi3 == LOWEST:
        return loading[0] if loading else ""
    floor = facts.abi3
    return floor if floor and any(PythonTag.parse(p).serves_abi3(floor) for p in loading) else ""


def _with_abi3(choice: WheelChoice, floor: str) -> tuple[frozenset[WheelCell], str]:
    """Let one value stand for all CPythons, if all load its wheel; else return the floor."""
    loading = [python for python in choice.pythons if PythonTag.parse(python).stable_abi]
    simple = floor and all(PythonTag.parse(each).serves_abi3(floor) for each in loading)
    if not simple or choice.exact:
        return choice.cells, floor
    return frozenset(
        (f"{ABI3}{floor}" if python in loading else python, libc, arch)
        for python, libc, arch in choice.cells
    ), ""


def _axes(
    page: _Page,
    cells: frozenset[WheelCell],
    choice: WheelChoice,
    facts: ProjectFacts,
    torch: TorchAxes | None,
) -> None:
    pythons, libcs, archs = _values(cells)
    page.table("[axes]")
    abi3 = any(each.startswith(ABI3) for each in pythons)
    stable = f"one wheel serves all later Pythons: {facts.abi3_source}" if abi3 else ""
    page.put(f"python = {_array(pythons)}", stable or choice.why.get("python", ""))
    page.put(f"arch = {_array(archs)}", choice.why.get("arch", ""))
    if libcs != ["manylinux"]:
        page.put(f"libc = {_array(libcs)}", choice.why.get("arch", ""))
    if torch:
        page.put(
            f'torch = {{ values = {_array(torch.torch)}, label = "torch{{torch}}" }}', torch.why
        )
        if torch.cuda:
            page.put(f"cuda = {_array(torch.cuda)}", torch.why)


def _values(cells: Iterable[WheelCell]) -> tuple[list[str], list[str], list[str]]:
    pythons, libcs, archs = ({cell[number] for cell in cells} for number in range(3))
    return (
        sorted(pythons, key=lambda tag: (not tag.startswith(ABI3), PythonTag.parse(_plain(tag)))),
        sorted(libcs),
        [arch.value for arch in Arch if arch in archs],
    )


def _plain(tag: str) -> str:
    return tag.removeprefix(ABI3)


def _torch_tables(page: _Page, facts: ProjectFacts, torch: TorchAxes) -> None:
    page.table("[version]")
    if facts.computed:
        page.put('base = "backend"', BACKEND)
    local = "{cuda}.torch{torch}" if torch.cuda else "torch{torch}"
    page.put(f"local = {quoted(local)}", "1.0.0+cu130.torch2.13: what a wheel was built for")
    page.put('on-mismatch = "rewrite"', "if its version stands in a file")
    page.put('pins.torch = "=={torch}.*"', "no wheel is installed with another torch")
    page.table("[build]")
    page.put('requires = ["torch=={torch}.*", "ninja"]', f"{facts.torch} needs them to compile")
    if torch.cuda and torch.on_index:
        page.put('cuda = "index"', 'nvcc comes from the package index, or "image", or "host"')
    external = ["torch", "cuda"] if torch.cuda else ["torch"]
    page.put(f"external = {_array(external)}", "these libraries come with torch's own wheels")
    page.table("[indexes]")
    index = "https://download.pytorch.org/whl/" + ("{cuda}" if torch.cuda else "cpu")
    page.put(f"torch = {quoted(index)}", "torch's builds for each CUDA")
    if "FORCE_CUDA" in facts.variables and len(torch.cuda) > 1 and "cpu" in torch.cuda:
        page.table("[env]")
        page.put('FORCE_CUDA = "0"', f"{facts.torch} reads it")
        page.table("[[override]]")
        page.put('when = "!cuda=cpu"')
        page.put('env = { FORCE_CUDA = "1" }')


def _abi3_override(page: _Page, choice: WheelChoice, floor: str, facts: ProjectFacts) -> None:
    serving = [
        each for each in choice.pythons if floor and PythonTag.parse(each).serves_abi3(floor)
    ]
    if serving:
        page.table("[[override]]")
        page.put(f"when = {{ python = {_array(serving)} }}", facts.abi3_source)
        page.put(f"build = {{ abi3 = {quoted(floor)} }}", "one wheel serves all of them")


def _images(page: _Page, images: Images, choice: WheelChoice) -> None:
    if images.named:
        page.table("[images]")
    for name, (image, why) in sorted(images.named.items()):
        page.put(f"{name} = {quoted(image)}", why)
    for image, some in images.special.items():
        others = [_named(cell) for cell in product(*_values(choice.cells)) if cell not in some]
        page.table("[[override]]")
        when = " | ".join(conditions([[_named(cell)] for cell in some], others))
        page.put(f"when = {quoted(when)}", "an override of [tool.cibuildwheel]")
        page.put(f"image = {quoted(image)}")


def _excludes(
    page: _Page, cells: frozenset[WheelCell], choice: WheelChoice, images: Images
) -> None:
    pythons, libcs, archs = _values(cells)
    every = (cell for cell in product(pythons, libcs, archs) if cell not in cells)
    # Planning itself leaves out a PyPy or GraalPy that was never made, unless an image may have it.
    holes = [
        each
        for each in every
        if each[0].startswith("cp") or each in choice.known or "_".join(each[1:]) in images.named
    ]
    why = choice.why.get("arch", "")
    reason = "unknown to cibuildwheel" if why in {"", UNSAID} else f"not in {why}"
    for when in conditions([[_named(cell)] for cell in holes], sorted(map(_named, cells))):
        page.table("[[exclude]]")
        page.put(f"when = {quoted(when)}")
        page.put(f"reason = {quoted(reason)}")


def _torch_excludes(page: _Page, torch: TorchAxes) -> None:
    for rule in torch.excludes:
        page.table("[[exclude]]")
        pairs = [f"{axis} = {quoted(value)}" for axis, value in rule.items()]
        page.put(f"when = {{ {', '.join(pairs)} }}", torch.why)
        page.put("optional = true", "torch was published for none of these, perhaps")


def _absent(page: _Page, facts: ProjectFacts) -> None:
    """Replace commands of the project that cannot work: they name files that are not there."""
    instead = {
        **dict.fromkeys(IN_SOURCE, 'KEY = ""'),
        FRONTEND: f"frontend = {quoted(_frontend(facts))}",
        REPAIR: 'repair = "auditwheel"',
    }
    steps = [each for each in instead if each in facts.absent]
    if steps:
        page.table("[build]")
    for step in steps:
        page.put(instead[step].replace("KEY", step), _not_there(facts.absent[step]))
    if facts.absent.keys() & {TEST, REQUIRES}:
        page.table("[test]")
    for option, line in _WITHOUT.items():
        if option in facts.absent:
            page.put(line, _not_there(facts.absent[option]))
    if TEST in facts.absent:
        file = facts.absent[TEST]
        # What the project requires for its test is installed, too, and may need that machine.
        imports = facts.package and file.option != "before-all"
        command = f'python -c "import {facts.package}"' if imports else ""
        page.put(f"command = {quoted(command)}", _not_there(file))


_WITHOUT = {REQUIRES: "requires = []", SOURCES: "sources = []", BEFORE_TEST: 'before = ""'}
"""What goes without an option of a test."""


def _frontend(facts: ProjectFacts) -> str:
    """Return the name of the frontend that the project chooses."""
    own = (facts.cibuildwheel or {}).get(FRONTEND, "")
    return str(own.get("name", "build") if isinstance(own, dict) else own).partition(";")[0].strip()


def _not_there(file: AbsentFile) -> str:
    return (
        f"{file.option} of [tool.cibuildwheel] names {file.name}, which this source does not have"
    )


def _named(cell: WheelCell) -> tuple[tuple[str, str], ...]:
    python, libc, arch = cell
    return ("python", python), ("libc", libc), ("arch", arch)
