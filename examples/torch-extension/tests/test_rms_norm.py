"""Test the installed rmsnorm with the torch that is installed beside it; the matrix runs this."""

from __future__ import annotations

import re
from importlib.metadata import requires, version

import pytest
import rmsnorm
import torch
from packaging.requirements import Requirement
from torch.nn import functional

DEVICES = ["cpu", *(["cuda"] if rmsnorm.compiled_with()["cuda"] and torch.cuda.is_available() else [])]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def sample(*shape: int, device: str, dtype: torch.dtype = torch.float64, grad: bool = False):
    torch.manual_seed(0)
    x = torch.randn(*shape, device=device, dtype=dtype, requires_grad=grad)
    weight = torch.randn(shape[-1], device=device, dtype=dtype, requires_grad=grad)
    return x, weight


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, 5, 64), (40, 1000), (0, 8)], ids=str)
def test_values(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    x, weight = sample(*shape, device=device, dtype=dtype)
    expected = functional.rms_norm(x.double(), x.shape[-1:], weight.double(), 1e-6).to(dtype)
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(rmsnorm.rms_norm(x, weight), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_other_layouts(device: str) -> None:
    x, weight = sample(8, 6, device=device)
    expected = functional.rms_norm(x.t().contiguous(), (8,), x[:, 0].contiguous(), 1e-6)
    torch.testing.assert_close(rmsnorm.rms_norm(x.t(), x[:, 0]), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_operator(device: str) -> None:
    """torch's own test of schema, fake tensors and autograd."""
    inputs = (*sample(4, 16, device=device, grad=True), 1e-6)
    torch.library.opcheck(torch.ops.rmsnorm.rms_norm.default, inputs)
    assert torch.autograd.gradcheck(rmsnorm.rms_norm, inputs)


def test_wrong_arguments() -> None:
    x, weight = sample(4, 16, device="cpu")
    for wrong in (weight[1:], weight.float(), x):
        with pytest.raises(RuntimeError, match="weight must have"):
            rmsnorm.rms_norm(x, wrong)


def test_the_wheel_says_what_it_is() -> None:
    """Its requirement allows this torch, and its label names what compiled it."""
    torchs = [each for each in map(Requirement, requires("rmsnorm") or ()) if each.name == "torch"]
    assert torchs
    assert all(torch.__version__.partition("+")[0] in each.specifier for each in torchs)
    compiled = rmsnorm.compiled_with()
    if label := re.search(r"\+.*?\b(cpu|cu(\d+))", version("rmsnorm")):
        assert compiled["cuda"] == (f"{label[2][:-1]}.{label[2][-1]}" if label[2] else None)
    if label := re.search(r"\+.*torch(\d+\.\d+)", version("rmsnorm")):
        assert compiled["torch"].startswith(f"{label[1]}.")
        assert torch.__version__.startswith(f"{label[1]}.")
