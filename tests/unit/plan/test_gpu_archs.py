"""Which GPU architectures a target's variables ask for."""

from __future__ import annotations

import pytest

from orchestrator.models.target import EnvVar
from orchestrator.plan.gpu_archs import AskedArchs, asked_archs

TABLE = "compat.torch"


def asked(*variables: tuple[str, str, str], evaluated: bool = False) -> AskedArchs:
    env = [EnvVar(name=n, value=v, origin=origin, shell=evaluated) for n, v, origin in variables]
    return asked_archs(env, TABLE)


@pytest.mark.parametrize(
    ("name", "value", "names"),
    [
        ("TORCH_CUDA_ARCH_LIST", "8.0;9.0a 12.0+PTX", "sm_80 sm_90a sm_120 compute_120"),
        ("TORCH_CUDA_ARCH_LIST", "10.0f,7.5", "sm_100f sm_75"),
        ("TORCH_CUDA_ARCH_LIST", "8.0;Hopper", ""),
        ("TORCH_CUDA_ARCH_LIST", "", ""),
        ("CUDAARCHS", "80-real;90a-virtual;100", "sm_80 compute_90a sm_100 compute_100"),
        ("CUDAARCHS", "native", ""),
        ("PYTORCH_ROCM_ARCH", "gfx90a;gfx942:xnack-", "gfx90a gfx942"),
        ("GPU", "8.0", ""),
    ],
)
def test_a_variable_asks_for_architectures(name: str, value: str, names: str) -> None:
    assert asked((name, value, "env")).names == frozenset(names.split())
    assert asked((name, value, "env"), evaluated=True) == AskedArchs()


def test_what_the_matrix_says_counts_before_the_table() -> None:
    table = ("TORCH_CUDA_ARCH_LIST", "8.0", TABLE)
    assert asked(table) == AskedArchs(
        names=frozenset({"sm_80"}), variables=("TORCH_CUDA_ARCH_LIST",)
    )
    assert asked(table, ("CUDAARCHS", "90-real", "override[0].env")) == AskedArchs(
        names=frozenset({"sm_90"}), variables=("CUDAARCHS",), by_user=True
    )
