"""The tables of examples/versions/README.md, row by row: inputs -> version, build tag, wheel."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from orchestrator.config.load import load
from orchestrator.config.sources import parse
from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builder_facts, builtin_table
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Plan, VersionAnswer, VersionQuestion
from orchestrator.plan.matrix import outside_sources
from orchestrator.plan.plan import make_plan
from orchestrator.plan.version import VersionContext
from orchestrator.wheel import retag
from tests.conftest import REPOSITORY
from tests.wheelmaker import WheelSpec

FACTS = builder_facts()
EXAMPLES = REPOSITORY / "examples" / "versions"
IMAGE = "nvcr.io/nvidia/tritonserver:26.04-py3-min"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table."""

    example: str
    inputs: tuple[tuple[str, str], ...]
    target: str
    version: str
    build_tag: str
    wheel: str


def rows() -> Iterator[Row]:
    example = ""
    for line in (EXAMPLES / "README.md").read_text("utf-8").splitlines():
        if heading := re.match(r"## \[.*\]\((.*)/matrix\.toml\)", line):
            example = heading[1]
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("| ") or cells[0] == "inputs":
            continue
        inputs = re.findall(r"`([^`=]*)=([^`]*)`", cells[0])
        target, version, build_tag, wheel = (cell.strip("`") for cell in cells[1:])
        yield Row(
            example=example,
            inputs=tuple(inputs),
            target=target,
            version=version,
            build_tag=build_tag,
            wheel=wheel,
        )


ROWS = tuple(rows())


def planned(row: Row) -> Plan:
    """Plan an example; a source that the row does not name says nothing."""
    settings = load((EXAMPLES / row.example / "matrix.toml").read_bytes(), facts=FACTS)
    given = dict(row.inputs)
    channel = given.pop("--channel", "")
    declared = outside_sources(settings, channel)
    assert given.keys() <= set(declared), "the row names a source that the matrix does not have"
    answers = {}
    for source in declared:
        question = VersionQuestion(source=source)
        if parse(source).kind.in_container:
            question = VersionQuestion(source=source, image=IMAGE, arch=Arch.X86_64)
        answers[question] = VersionAnswer(
            source=source, value=given.get(source, ""), note="not set"
        )
    outside = VersionContext(project="demo", answers=answers)
    table = builtin_table()
    return make_plan(settings, facts=FACTS, outside=outside, channel=channel, table=table)


def test_every_example_has_rows() -> None:
    assert {row.example for row in ROWS} == {each.parent.name for each in EXAMPLES.glob("*/*.toml")}
    assert len(ROWS) > 20


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.example}: {row.version}")
def test_a_row_of_a_table(row: Row, tmp_path: Path) -> None:
    if row.version.startswith("error: "):
        with pytest.raises(ConfigError, match=re.escape(row.version.removeprefix("error: "))):
            planned(row)
        return
    (target,) = (each for each in planned(row).targets if each.id == row.target)

    assert (target.version, target.build_tag) == (row.version, row.build_tag)
    # The build makes what it always made; this is what we make of it.
    name, python, abi, platform = re.fullmatch(r"(.*?)-.*-(.*)-(.*)-(.*)\.whl", row.wheel).groups()  # type: ignore[union-attr]
    built = WheelSpec(name=name, version="0", python=python, abi=abi, platform=platform)
    wheel = retag(
        built.write(tmp_path),
        dest_dir=tmp_path / "dist",
        version=target.version,
        build_tag=target.build_tag,
        pins=target.pins,
    )
    assert wheel.name == row.wheel
    assert parse_wheel_filename(wheel.name)[1] == Version(row.version)
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"{name}-{row.version}.dist-info/METADATA").decode()
    assert f"\nVersion: {row.version}\n" in text
    assert all(f"\nRequires-Dist: {pin}\n" in text for pin in target.pins)


def told(example: str, inputs: Mapping[str, str]) -> dict[str, dict[str, str]]:
    row = Row(
        example=example,
        inputs=tuple(inputs.items()),
        target="",
        version="",
        build_tag="",
        wheel="",
    )
    plan = planned(row)
    return {each.id: {var.name: var.value for var in each.env} for each in plan.targets}


def test_what_the_examples_tell_their_builds() -> None:
    assert told("vllm", {"env:VLLM_VERSION": "0.11.0"})["cp312-manylinux_x86_64-cu129"] == {
        "VLLM_VERSION_OVERRIDE": "0.11.0+cu129"
    }
    domain = told("torch-domain", {"file:version.txt": "0.23.0", "env:PYPI_RELEASE": "1"})
    assert domain["cp312-manylinux_x86_64-cu126-2.8.0"] == {
        "BUILD_VERSION": "0.23.0+cu126",
        "VERSION_SUFFIX": "+cu126",
        "CU_VERSION": "cu126",
    }
    assert domain["cp312-manylinux_x86_64-cu128-2.8.0"] == {
        "BUILD_VERSION": "0.23.0",
        "CU_VERSION": "cu128",
    }, "an empty suffix is not passed"
    triton = told("triton-server", {"file:TRITON_VERSION": "2.68.0"})
    assert triton["cp312-manylinux_x86_64"] == {"VERSION": "2.68.0"}
