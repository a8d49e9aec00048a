"""A new matrix for a project: facts in, text out (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.discover.cells import runs_of
from orchestrator.discover.choose import choose, exact
from orchestrator.discover.image_choice import images_of
from orchestrator.discover.matrix_text import matrix_text
from orchestrator.discover.torch_axes import cuda_of_workflows, torch_axes
from orchestrator.errors import ConfigError
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.discover.cells import Release, Run, Surroundings
    from orchestrator.discover.project import ProjectFacts
    from orchestrator.discover.torch_axes import TorchAxes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMatrix:
    """A matrix.toml, and what is to be said about it.

    Attributes:
        text: the file.
        found: what decided it.
        notes: what nothing decided.
    """

    text: str
    found: tuple[str, ...]
    notes: tuple[str, ...]


def new_matrix(
    facts: ProjectFacts,
    release: Release | None,
    around: Surroundings,
    *,
    source: str = "",
    only_cibuildwheel: bool = False,
) -> NewMatrix:
    """Write a matrix.toml.

    Args:
        facts: what the project says.
        release: its last release on an index; None if no index was asked.
        around: what it depends on beside the project.
        source: what ``project.source`` names; empty for the directory of matrix.toml.
        only_cibuildwheel: ask for just what cibuildwheel builds.

    Raises:
        ConfigError: no wheel can be built: for instance ``requires-python`` allows no Python.
    """
    torch = torch_axes(facts, around.table) if facts.torch and not only_cibuildwheel else None
    choice = exact(facts, around) if only_cibuildwheel else choose(facts, release, torch, around)
    if not choice.cells:
        raise ConfigError.of(
            f"no Python that cibuildwheel {around.catalog.version} builds is allowed",
            where="requires-python",
            hint=f"the project says {facts.requires_python or facts.metadata_requires_python}",
        )
    runs = runs_of(facts, around.native)
    images = images_of(facts, runs, choice, around.catalog)
    text = matrix_text(facts, choice, images, torch, source=source)
    notes = (*facts.notes, *choice.notes, *images.notes, *_open(facts, release, torch))
    return NewMatrix(text=text, found=tuple(_found(facts, release, runs)), notes=notes)


def _found(facts: ProjectFacts, release: Release | None, runs: tuple[Run, ...]) -> Iterator[str]:
    if facts.compiles:
        yield facts.compiles
    if facts.torch:
        yield f"{facts.torch} compiles with torch{' and CUDA' if facts.cuda else ''}"
    if facts.abi3:
        yield f"wheels for the stable ABI: {facts.abi3_source}"
    if facts.cibuildwheel is not None:
        yield "[tool.cibuildwheel], which its builds obey"
    yield from dict.fromkeys(run.where for run in runs if run.where in facts.workflows)
    if release and release.wheels:
        yield f"{count_of(len(release.files), 'wheel')} of {release.version} on {release.index}"


def _open(facts: ProjectFacts, release: Release | None, torch: TorchAxes | None) -> Iterator[str]:
    """Yield what a person has to decide."""
    if release and release.wheels and not facts.compiles and facts.cibuildwheel is None:
        yield (
            f"the wheels of {release.version} are for platforms, but nothing in the source says "
            "what compiles: their builds may have changed it before, as build.before-build can"
        )
    if release and release.abi3 and not facts.abi3:
        yield (
            f"the wheels of {release.version} are for the stable ABI ({release.abi3}), but nothing "
            'in the source says how: `abi3 = "…"` in [build], once a build makes such wheels'
        )
    elif facts.abi3_source and not facts.abi3:
        yield f"the stable ABI: {facts.abi3_source}; with it in [env], set abi3 in [build]"
    for name, versions in cuda_of_workflows(facts) if not facts.torch else ():
        yield f"CUDA {versions} of {name}: an axis cuda, once [env] says how the build learns it"
    if torch:
        yield from torch.notes
        yield "[test]: which command tests a wheel"
        if torch.cuda and not torch.on_index:
            yield "nvcc: the package index has it from CUDA 13.0 on; name an image that has it"
