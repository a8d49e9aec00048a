"""Nothing is wrong with the environments that the projects of examples/matrices really build in."""

from __future__ import annotations

import re

import pytest

from orchestrator.models.target import Target
from orchestrator.plan.expected_environment import (
    NVCC,
    TORCH_ABI,
    TORCH_CUDA,
    cuda_of,
    questions,
)
from tests.unit.matrices.test_examples import plan, wheels

OLD_ABI = {"2.5": ("11.8", "12.1", "12.4"), "2.6": ("11.8", "12.4")}
"""The torch builds with the old C++ ABI."""


def truth(target: Target) -> dict[str, str]:
    """Return what the build of a cell has, as the projects' workflows install it."""
    axes, found = dict(target.variant), {}
    toolkit = cuda_of(target)
    index = dict(target.steps.environment.indexes).get("torch", "")
    cuda = re.search(r"/cu(\d+)(\d)$", index)
    if cuda:
        found[TORCH_CUDA] = f"{cuda[1]}.{cuda[2]}"
    elif "/cpu" in index:
        found[TORCH_CUDA] = "none"
    elif toolkit:
        found[TORCH_CUDA] = "13.0"  # the newest torch of the package index
    if toolkit:
        found[NVCC] = f"{toolkit}.85"
    if torch := axes.get("torch"):
        release = torch if torch.count(".") > 1 else f"{torch}.1"
        found["torch"] = f"{release}+cu{toolkit.replace('.', '')}"
        old = OLD_ABI.get(".".join(torch.split(".")[:2]), ())
        found[TORCH_ABI] = str(int(found[TORCH_CUDA] not in old))
    return {"python": target.python, **found}


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("flash-attention", {"python", "torch", TORCH_CUDA, NVCC, TORCH_ABI}),
        ("flash-attention-prebuild-wheels", {"python", "torch", TORCH_CUDA, NVCC, TORCH_ABI}),
        ("flashinfer-torch", {"python", "torch", TORCH_CUDA, NVCC, TORCH_ABI}),
        ("flashinfer", {"python", TORCH_CUDA, NVCC}),
        ("vllm", {"python", TORCH_CUDA, NVCC}),
        ("bitsandbytes", {"python"}),
        ("architectures", {"python"}),
    ],
)
def test_real_cells_raise_no_alarm_but_those_that_are_mislabelled(
    name: str, asked: set[str]
) -> None:
    seen, wrong = set(), []
    for target in wheels(plan(name)):
        facts = truth(target)
        for question in questions(target):
            seen |= {question.what} & facts.keys()
            answer = facts.get(question.what)
            if answer is not None and not re.fullmatch(question.pattern, answer):
                wrong.append((target.id, question.what))
    assert seen == asked
    # Toolkit 12.9.1 takes torch 2.6 for CUDA 12.6, whose C++ ABI is the new one: FALSE is not true.
    false = [("cxx11abiFALSE" in name, "torch2.6" in name, what) for name, what in wrong]
    mislabelled = 4 if name == "flash-attention" else 0
    assert false == [(True, True, TORCH_ABI)] * mislabelled
