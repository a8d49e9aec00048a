"""What a cell asks of the environment that compiles it: no miss, and no false alarm."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from packaging.specifiers import SpecifierSet

from orchestrator.host.program_tables import builtin_table
from orchestrator.models.target import LibraryStep, Target
from orchestrator.plan.expected_environment import (
    NVCC,
    PYTHON,
    TORCH_ABI,
    TORCH_CUDA,
    TORCH_ROCM,
    Question,
    compiles_cuda,
    cuda_of,
    questions,
    version_pattern,
)
from tests.factories import TARGET, plan_of


def target(axes: str, more: str = "") -> Target:
    """Return the only target of a matrix."""
    text = f'[version]\nbase = "1"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n{axes}\n{more}'
    (only,) = plan_of(text, table=builtin_table()).targets
    return only


def asked(axes: str, more: str = "") -> dict[str, Question]:
    return {each.what: each for each in questions(target(axes, more))}


def accepts(question: Question, answer: str) -> bool:
    return re.fullmatch(question.pattern, answer) is not None


@pytest.mark.parametrize(
    ("value", "right", "wrong"),
    [
        ("2.13", "2.13.0 2.13.1+cu130 2.13.0rc1 2.13.0.dev20260701", "2.1 2.130.0 12.13.0 2.12.1"),
        ("2.13.*", "2.13.0 2.13", "2.12"),
        ("2", "2.13.0 2", "12 3.2"),
        ("1.16.0", "1.16.0 1.16 1.16.0+local", "1.16.1 1.17.0 1.16.0rc1 1.16.0.post1 11.16.0"),
        ("2.0.0", "2 2.0 2.0.0", "2.0.1 20.0"),
        ("2.6.0a0", "2.6.0a0 2.6.0a0+ecf3bae40a.nv25.01", "2.6.0"),
        ("2.13.0+cu130", "2.13.0+cu130", "2.13.0 2.13.0+cpu"),
        ("126", "1.26.4 126.1", "1.27.0 12.6"),
        ("2026.01", "2026.1.3 2026.01", "2026.11"),
        ("v2.4", "2.4.1", "2.5"),
    ],
)  # fmt: skip
def test_a_version_is_read_as_pep_440_reads_it(value: str, right: str, wrong: str) -> None:
    pattern = re.compile(version_pattern(value))
    for version in right.split():
        assert pattern.fullmatch(version), version
    for version in wrong.split():
        assert not pattern.fullmatch(version), version


@pytest.mark.parametrize(
    ("axes", "more", "answer"),
    [
        ('cuda = ["cpu"]', "", False),
        ('cuda = ["none"]', "", False),
        ('device = ["cpu"]', "", False),
        ('torch = ["2.13"]\ncuda = ["cpu"]', "", False),
        ('torch = ["2.13"]\ncuda = ["cu130"]', "", True),
        ('torch = ["2.13"]\ndevice = ["cu130"]', "", True),
        ('cuda = ["13.0"]', "", None),  # its project may have CUDA loaded by name
        ('blas = ["none"]', "", None),
        ('rocm = ["7.2"]', "", None),
    ],
)
def test_whether_it_compiles_for_cuda(axes: str, more: str, *, answer: bool | None) -> None:
    assert compiles_cuda(target(axes, more)) is answer


def test_it_agrees_with_packaging() -> None:
    versions = [
        f"{release}{suffix}"
        for release in ("1", "1.0", "1.2", "1.2.0", "1.2.3", "1.20", "10.2", "1.2.3.4", "0.1.2")
        for suffix in ("", "a1", "rc2", ".post1", ".dev3", "+cpu", "+cu130")
    ]
    for value in versions:
        release = re.match(r"[\d.]+", value)
        assert release is not None
        is_series = release[0] == value and value.count(".") < 2
        meant = SpecifierSet(f"=={value}.*" if is_series else f"=={value}", prereleases=True)
        pattern = re.compile(version_pattern(value))
        for version in versions:
            assert bool(pattern.fullmatch(version)) == (version in meant), (value, version)


@pytest.mark.parametrize("value", ["cpu", "release", "cu130", "openblas", "with", "on", "abi3", ""])
def test_a_value_that_is_no_version_asks_for_none(value: str) -> None:
    assert version_pattern(value) == ""


@pytest.mark.parametrize(
    ("axes", "more", "cuda", "wanted"),
    [
        ('cuda = ["13.0"]', "", "13.0 13.0.1", "13.0"),
        ('cuda = ["13.0.1"]', "", "13.0", "13.0"),
        ('cuda = ["cu130"]', "", "13.0", "13.0"),
        ('cuda = ["130"]', "", "13.0", "13.0"),
        ('cuda = ["13"]', "", "13.0 13.2", "13"),
        ('device = ["cu126"]\ntorch = ["2.8"]', "", "12.6", "12.6"),
        # Without a torch, a project may bring the toolkit that a name such as cu132 stands for.
        ('device = ["cu132"]', "", "13.2", ""),
        ('device = ["cu132"]', '[build]\ncuda = "index"', "13.2", "13.2"),
    ],
)  # fmt: skip
def test_every_way_to_write_a_cuda_is_understood(
    axes: str, more: str, cuda: str, wanted: str
) -> None:
    found = asked(axes, more)
    assert cuda_of(target(axes, more)) == wanted
    assert (NVCC in found) == bool(wanted)
    for version in cuda.split():
        assert accepts(found[TORCH_CUDA], version), version
    assert not accepts(found[TORCH_CUDA], "none")


@pytest.mark.parametrize(
    "more",
    [
        'torch = ["2.9"]',
        '[build]\nrequires = ["torch>=2"]',
        '[build]\nbefore-build = "pip install torch"',
        '[indexes]\n"tor*" = "https://host/simple"',
    ],
)
def test_a_torch_that_the_matrix_names_is_for_the_cuda_of_its_cell(more: str) -> None:
    question = asked('cuda = ["13.0"]', f"{more}\n" if more.startswith("torch") else more)
    named = [
        each
        for each in ("12.9", "13.2", "1.3", "none", "130")
        if accepts(question[TORCH_CUDA], each)
    ]
    assert named == []


@pytest.mark.parametrize("more", ["", '[build]\nrequires = ["torchmetrics", "pytorch-triton"]'])
def test_a_torch_that_only_the_project_knows_is_for_some_cuda(more: str) -> None:
    """FlashInfer's kernels need its headers alone, of whatever torch is the newest."""
    question = asked('cuda = ["12.9"]', more)[TORCH_CUDA]
    assert accepts(question, "13.0")
    assert not accepts(question, "none")


def test_a_cell_without_cuda_takes_no_torch_that_is_for_one() -> None:
    for value in ("cpu", "none"):
        question = asked(f'cuda = ["{value}"]')
        assert accepts(question[TORCH_CUDA], "none")
        assert not accepts(question[TORCH_CUDA], "13.0")
        assert NVCC not in question


@pytest.mark.parametrize("value", ["6.4", "6.4.2", "rocm6.4", "rocm64"])
def test_every_way_to_write_a_rocm_is_understood(value: str) -> None:
    question = asked(f'rocm = ["{value}"]')[TORCH_ROCM]
    assert accepts(question, "6.4.43482-0f2d60242")
    assert not accepts(question, "6.3.42131")
    assert not accepts(question, "none")


def test_the_python_is_its_tag() -> None:
    question = asked("")[PYTHON]
    assert question.required
    assert accepts(question, "cp312")
    assert not accepts(question, "cp312t")


FLASH_ATTENTION = """
[compat]
torch = false
"""


def test_a_toolkit_may_be_newer_than_the_cuda_of_torch_where_the_table_is_off() -> None:
    axes = 'torch = ["2.6.0"]\ncuda = ["12.9.1"]\ncxx11abi = ["FALSE"]'
    found = asked(axes, FLASH_ATTENTION)
    for version in ("12.6", "12.9", "12.4"):
        assert accepts(found[TORCH_CUDA], version), version
    for version in ("13.0", "11.8", "12.10", "none"):
        assert not accepts(found[TORCH_CUDA], version), version
    assert accepts(found[NVCC], "12.9.86")
    assert not accepts(found[NVCC], "12.8.93")
    # torch 2.6 for CUDA 12.6 has the new C++ ABI: the label is not true.
    assert accepts(found[TORCH_ABI], "0")
    assert not accepts(found[TORCH_ABI], "1")


def test_where_the_table_holds_torch_is_for_the_cuda_of_the_cell() -> None:
    found = asked('torch = ["2.8"]\ncuda = ["12.9"]')
    assert not accepts(found[TORCH_CUDA], "12.8")
    assert found["torch"].required
    assert found[NVCC].required


def test_the_abi_that_follows_from_the_table_is_asked_too() -> None:
    assert asked('torch = ["2.13"]\ncuda = ["13.0"]')[TORCH_ABI].pattern == "1"
    assert asked('torch = ["2.5"]\ncuda = ["12.4"]')[TORCH_ABI].pattern == "0"


@pytest.mark.parametrize(
    ("value", "abi"),
    [("FALSE", "0"), ("TRUE", "1"), ("0", "0"), ("1", "1"), ("off", "0"), ("cxx11abiTRUE", "1")],
)
def test_every_way_to_write_the_abi_is_understood(value: str, abi: str) -> None:
    assert asked(f'cxx11abi = ["{value}"]')[TORCH_ABI].pattern == abi


def test_an_axis_with_the_name_of_a_distribution_is_a_question_about_it() -> None:
    found = asked('six = ["1.16.0"]\nflash_attn = ["2.8"]\nbackend = ["ninja"]\npytorch = ["28"]')
    assert found.keys() == {PYTHON, "six", "flash-attn", "torch"}
    assert not found["six"].required, "the axis may be called so by chance"
    assert accepts(found["torch"], "2.8.0+cu129")


def test_a_library_asks_nothing() -> None:
    library = LibraryStep(name="a", command="x", outputs=("y",))
    assert questions(replace(TARGET, python="", library=library)) == ()
