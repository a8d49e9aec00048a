"""The axes torch and cuda of a new matrix (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.config.settings import TorchRelease, TorchTable
    from orchestrator.discover.project import ProjectFacts

_AXES = {
    "torch": {"torch", "torchversion", "pytorch", "pytorchversion"},
    "cuda": {"cuda", "cudaversion", "cu", "cuversion"},
    "python": {"python", "pythonversion", "py", "pyversion"},
}
"""Axis -> what workflows call it."""

NEWEST = 3
"""Releases of torch that a matrix has where nothing says which."""

FIRST_ON_INDEX = (13, 0)
"""The first CUDA whose compiler is on the package index."""

_VERSION = re.compile(r"(?:cu|cp)?(\d{1,4})\.?(\d{1,4})(?:\.\d+)*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchAxes:
    """The axes of a torch extension.

    Attributes:
        torch: versions, as major.minor.
        cuda: ``cpu`` and ``cu130``; empty if the project has no code for CUDA.
        pythons: those that a workflow names, else those that torch was published for.
        named: a workflow names them.
        excludes: combinations that a workflow leaves out.
        why: what decided the versions.
        notes: what could not be taken over.
    """

    torch: tuple[str, ...]
    cuda: tuple[str, ...]
    pythons: frozenset[str]
    named: bool
    excludes: tuple[Mapping[str, str], ...]
    why: str
    notes: tuple[str, ...] = ()

    @property
    def on_index(self) -> bool:
        """Whether the package index has the compiler of every CUDA here."""
        gpus = [each for each in self.cuda if each != "cpu"]
        return all((int(each[2:-1]), int(each[-1])) >= FIRST_ON_INDEX for each in gpus)


def torch_axes(facts: ProjectFacts, table: TorchTable) -> TorchAxes:
    """Choose versions of torch and CUDA: a workflow's, or the newest ones."""
    published = {torch: each for each in table.releases for torch in each.torch}
    for name, workflow in facts.workflows.items():
        for matrix in workflow.matrices:
            axes = dict(_axes(matrix))
            wanted = list(dict.fromkeys(map(_series, axes.get("torch", ()))))
            known = tuple(each for each in wanted if each in published)
            if known:
                notes = [f"torch {each}: not in the support table" for each in wanted]
                return TorchAxes(
                    torch=known,
                    cuda=tuple(dict.fromkeys(map(_cuda, axes.get("cuda", ())))),
                    pythons=frozenset(map(_python, axes.get("python", ())))
                    or _published(published, known),
                    named="python" in axes,
                    excludes=tuple(_excludes(matrix)),
                    why=name,
                    notes=tuple(each for each in notes if each.split()[1][:-1] not in known),
                )
    newest = sorted(published, key=_numbers)[-NEWEST:]
    common = set.intersection(*(set(published[each].cuda.get("x86_64", ())) for each in newest))
    major = max((_numbers(each)[0] for each in common), default=0)
    # Drivers for a CUDA run whatever is for the same major version.
    first = min((each for each in common if _numbers(each)[0] == major), key=_numbers, default="")
    gpu = [_cuda(first)] if first and facts.cuda else []
    return TorchAxes(
        torch=tuple(newest),
        cuda=tuple((["cpu"] if facts.cpu else []) + gpu) if gpu else (),
        pythons=_published(published, newest),
        named=False,
        excludes=(),
        why="nothing says which: the newest",
    )


def cuda_of_workflows(facts: ProjectFacts) -> Iterator[tuple[str, str]]:
    """Yield each workflow with lists of CUDA versions, and the versions."""
    for name, workflow in facts.workflows.items():
        listed = [
            each for matrix in workflow.matrices for each in dict(_axes(matrix)).get("cuda", ())
        ]
        if listed:
            yield name, ", ".join(dict.fromkeys(listed))


def _published(releases: Mapping[str, TorchRelease], series: Iterable[str]) -> frozenset[str]:
    return frozenset(tag for each in series for tag in releases[each].python)


def _axes(matrix: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for key, values in matrix.items():
        axis = _axis(key)
        if axis and isinstance(values, list):
            yield axis, [str(each) for each in values]


def _axis(key: str) -> str:
    plain = re.sub(r"[-_ ]", "", key.lower())
    return next((axis for axis, names in _AXES.items() if plain in names), "")


def _excludes(matrix: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    spelled = {"torch": _series, "cuda": _cuda, "python": _python}
    rules = matrix.get("exclude")
    for rule in rules if isinstance(rules, list) else ():
        if not isinstance(rule, dict):
            continue
        other = {key: str(value) for key, value in rule.items() if not _axis(key)}
        if all("ubuntu" in value or "linux" in value for value in other.values()):
            found = {_axis(key): str(value) for key, value in rule.items() if _axis(key)}
            yield {axis: spelled[axis](value) for axis, value in found.items()}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def _series(version: str) -> str:
    match = _VERSION.match(version)
    return f"{match[1]}.{match[2]}" if match else version


def _cuda(version: str) -> str:
    """``12.9.1``, ``12.9`` or ``cu129`` -> ``cu129``; anything else is ``cpu``."""
    if re.fullmatch(r"cu\d{3,4}", version):
        return version
    match = _VERSION.fullmatch(version)
    return f"cu{match[1]}{match[2]}" if match else "cpu"


def _python(version: str) -> str:
    return f"cp{version.replace('.', '').removeprefix('cp')}"
