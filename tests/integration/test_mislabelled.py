"""What was asked is what compiles, on this host: a difference is told before a compiler starts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import results
from tests.mislabelled import CASES, RIGHT, STARTED, Case, build, log_of
from tests.packages import Indexes, indexes

pytestmark = pytest.mark.index

TAG = f"cp3{sys.version_info.minor}"


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Indexes]:
    with indexes(tmp_path / "indexes") as made:
        yield made


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_wheel_is_not_compiled_in_another_environment_than_its_cell_s(
    stock: Indexes, tmp_path: Path, case: Case
) -> None:
    said = build(tmp_path, stock, case, TAG, "--backend", "direct")

    assert said.code == 1, said.all
    (result,) = results(tmp_path / "dist").values()
    assert result["failure"]["kind"] == "environment", said.all
    assert result["failure"]["message"] == case.message.replace("OWN", stock.url("own"))
    assert result["failure"]["hint"]
    assert result["environment"]["python"].startswith("3.")
    assert STARTED not in log_of(tmp_path)


def test_what_compiled_is_in_the_results_and_in_the_log(stock: Indexes, tmp_path: Path) -> None:
    said = build(tmp_path, stock, RIGHT, TAG, "--backend", "direct")

    assert said.code == 0, said.all
    assert STARTED in log_of(tmp_path), "otherwise the other tests prove nothing"
    (result,) = results(tmp_path / "dist").values()
    found = result["environment"]
    assert found["packages"]["torch"] == "2.13.0+cu130"
    expected = {"version": "2.13.0+cu130", "cuda": "13.0", "hip": "none", "cxx11abi": "1"}
    assert found["torch"] == expected
    assert found["nvcc"]["sh nvcc.sh"] == "13.0.88"
    assert "torch 2.13.0+cu130 (CUDA 13.0, ROCm none, C++ ABI 1)" in log_of(tmp_path)
