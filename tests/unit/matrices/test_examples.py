"""Every file in examples/matrices plans exactly the cells that its project builds."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from orchestrator.models.target import Plan, Target
from orchestrator.plan.torch_table import load_table
from tests.conftest import REPOSITORY
from tests.factories import plan_of
from tests.unit.matrices import bitsandbytes, flash_attention, flashinfer, prebuild_wheels, vllm
from tests.unit.matrices.ground import Cell

EXAMPLES = REPOSITORY / "examples" / "matrices"
LINES = 50


def plan(name: str) -> Plan:
    table = (REPOSITORY / "orchestrator" / "plan" / "torch_table.toml").read_bytes()
    text = (EXAMPLES / f"{name}.toml").read_text("utf-8")
    return plan_of(text, version="1.0", table=load_table(table, where="compat.toml"))


def pairs(cell: tuple[tuple[str, str], ...], *less: str) -> Cell:
    """A cell without ``libc``, which no project names, and without ``less``."""
    return frozenset(pair for pair in cell if pair[0] not in {"libc", *less})


def everywhere(planned: Plan) -> list[Target]:
    """Return the targets for all systems."""
    return [each for each in (*planned.targets, *planned.elsewhere) if isinstance(each, Target)]


def wheels(planned: Plan) -> list[Target]:
    return [target for target in everywhere(planned) if target.library is None]


def built(planned: Plan) -> frozenset[Cell]:
    return frozenset(pairs(cell) for target in wheels(planned) for cell in target.covers)


def excluded(planned: Plan) -> frozenset[Cell]:
    return frozenset(pairs(exclusion.cell) for exclusion in planned.exclusions)


def local(target: Target) -> str:
    return (*target.version.split("+"), "")[1]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    text = path.read_text()
    lines = [line for line in map(str.strip, text.splitlines()) if line and line[0] != "#"]
    assert len(lines) <= LINES
    assert all(len(line) <= 100 for line in text.splitlines())
    tomllib.loads(text)


def test_flash_attention() -> None:
    planned = plan("flash-attention")
    assert built(planned) == flash_attention.expected()
    assert excluded(planned) == flash_attention.candidates() - flash_attention.expected()
    assert len(wheels(planned)) == 56
    for target in wheels(planned):
        # PEP 440 spells local versions in lower case.
        assert local(target) == flash_attention.label(pairs(target.covers[0])).lower()


def test_flash_attention_prebuild_wheels() -> None:
    planned = plan("flash-attention-prebuild-wheels")
    assert built(planned) == prebuild_wheels.expected()
    assert excluded(planned) == prebuild_wheels.candidates() - prebuild_wheels.expected()
    assert len(wheels(planned)) == 650
    assert {
        (pairs(t.covers[0], "python"), frozenset(dict(c)["python"] for c in t.covers))
        for t in wheels(planned)
    } == prebuild_wheels.wheels()
    for target in wheels(planned):
        assert local(target) == prebuild_wheels.label(pairs(target.covers[0]))


def test_flashinfer_by_torch_with_its_image_switch() -> None:
    planned = plan("flashinfer-torch")
    assert built(planned) == flashinfer.expected_by_torch()
    assert excluded(planned) == flashinfer.candidates_by_torch() - flashinfer.expected_by_torch()
    for target in wheels(planned):
        cell = pairs(target.covers[0])
        assert target.image == flashinfer.image(cell)
        assert local(target) == flashinfer.label(cell)


def test_flashinfer_today_with_a_gpu_list_for_each_wheel() -> None:
    planned = plan("flashinfer")
    assert built(planned) == flashinfer.expected_today()
    assert planned.exclusions == ()
    for target in wheels(planned):
        cell = dict(target.covers[0])
        env = {each.name: each.value for each in target.env}
        gpus = flashinfer.TODAY_ARCH_LISTS[cell["cuda"], cell["arch"]]
        assert env["FLASHINFER_CUDA_ARCH_LIST"] == gpus
        assert target.image == flashinfer.TODAY_IMAGE[cell["arch"]].format(cell["cuda"])


def test_bitsandbytes_libraries_feed_their_wheels() -> None:
    planned = plan("bitsandbytes")
    found = {pairs(target.covers[0], "python") for target in wheels(planned)}
    assert found == bitsandbytes.expected()
    library = {
        target.id: pairs(target.covers[0]) | {("backend", target.library.name)}
        for target in everywhere(planned)
        if target.library is not None
    }
    assert frozenset(library.values()) == bitsandbytes.libraries()
    assert len(library) == 38
    assert {
        pairs(target.covers[0], "python"): frozenset(library[each] for each in target.needs)
        for target in wheels(planned)
    } == bitsandbytes.feeds()


def test_the_default_cuda_of_a_vllm_like_matrix_has_no_suffix() -> None:
    planned = plan("vllm")
    assert built(planned) == vllm.expected()
    assert planned.exclusions == ()
    for target in wheels(planned):
        assert local(target) == vllm.local_version(pairs(target.covers[0]))
