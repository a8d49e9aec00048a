"""docs/howto/torch.md and examples/torch-extension plan what they say."""

from __future__ import annotations

import re

import pytest

from orchestrator.host.program_tables import builtin_table
from orchestrator.models.target import CudaSource, Plan
from orchestrator.plan.expected_environment import questions, version_pattern
from tests.conftest import REPOSITORY
from tests.factories import plan_of

PAGE = (REPOSITORY / "docs" / "howto" / "torch.md").read_text("utf-8")
(WHOLE,) = re.findall(r"(?s)\n(Where a wheel must not .*?)\n\n", PAGE)
RECIPE, *CHANGES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
EXAMPLE = REPOSITORY / "examples" / "torch-extension"

TORCHS = ("2.12", "2.13", "2.14")


def plan(text: str, channel: str = "") -> Plan:
    return plan_of(text, version="1.0.0", table=builtin_table(), channel=channel)


def changed(lines: str) -> Plan:
    """Plan the recipe with the lines of another block of the page laid over it."""
    return plan(RECIPE + re.sub(r"(?m)^\[", "[channel.other.", lines), "other")


def test_the_recipe() -> None:
    found = {str(each.id): each for each in plan(RECIPE).targets}

    assert len(found) == 24
    assert "shows 24 targets" in PAGE
    target = found["cp312-manylinux_aarch64-cu130-torch2.13"]
    assert target.version == "1.0.0+cu130.torch2.13"
    assert target.pins == ("torch==2.13.*",)
    environment = target.steps.environment
    assert environment.requires == ("torch==2.13.*", "ninja")
    assert environment.cuda is CudaSource.INDEX
    assert environment.indexes == (("torch", "https://download.pytorch.org/whl/cu130"),)
    assert target.steps.test_requires == ("torch==2.13.*", "pytest")
    assert {each.name: each.value for each in target.env}["FORCE_CUDA"] == "1"
    cpu = found["cp312-manylinux_aarch64-cpu-torch2.13"]
    assert {each.name: each.value for each in cpu.env}["FORCE_CUDA"] == "0"
    assert cpu.steps.environment.indexes == (("torch", "https://download.pytorch.org/whl/cpu"),)


def test_its_changes() -> None:
    without_isolation, archs, stable = map(changed, CHANGES)

    assert not any(each.steps.environment.isolation for each in without_isolation.targets)
    values = {(each.name, each.value) for target in archs.targets for each in target.env}
    assert ("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX") in values
    assert [each.id for each in stable.targets] == [
        f"abi3-cp310-manylinux_{arch}-{cuda}-torch2.12"
        for arch in ("x86_64", "aarch64")
        for cuda in ("cpu", "cu130")
    ]
    for target in stable.targets:
        assert {dict(cell)["torch"] for cell in target.covers} == set(TORCHS)
        assert [each.name for each in target.further_tests] == ["torch 2.13", "torch 2.14"]
        assert target.pins == ("torch>=2.12",)


def test_whole_versions() -> None:
    """An axis of whole versions compiles with one patch release, and pins to it."""
    axis, requires, pin = re.findall(r"`((?:torch|requires|pins\.torch) = .*?)`", WHOLE)
    lines = f"[channel.other]\naxes.{axis}\nversion.{pin}\nbuild.{requires}\n"

    for target in plan(RECIPE + lines, "other").targets:
        assert target.pins == ("torch==2.13.0",)
        assert target.steps.environment.requires == ("torch==2.13.0",)
        assert {each.what: each.pattern for each in questions(target)}["torch"] == (
            version_pattern("2.13.0")
        )


@pytest.mark.parametrize(
    ("file", "channel", "wheels"),
    [
        ("matrix.toml", "", 36),
        ("matrix.toml", "pypi", 18),
        ("stable.toml", "", 4),
        ("stable.toml", "pypi", 2),
    ],
)
def test_the_example(file: str, channel: str, wheels: int) -> None:
    found = plan((EXAMPLE / file).read_text("utf-8"), channel)

    assert (len(found.targets), found.exclusions) == (wheels, ())
    cells = {cell for target in found.targets for cell in target.covers}
    assert {dict(cell)["torch"] for cell in cells} == set(TORCHS)
    if channel:
        assert not any(each.steps.environment.indexes for each in found.targets)
    else:
        assert f"| {wheels} |" in (EXAMPLE / "README.md").read_text("utf-8")
