"""RMS norm as a torch operator: `torch.ops.rmsnorm.rms_norm`, on the CPU and on CUDA devices."""

from __future__ import annotations

import torch

from rmsnorm._C import cuda_version, torch_version  # importing it registers the operator

__all__ = ["compiled_with", "rms_norm"]


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    """Return ``x / sqrt(mean(x ** 2) + eps) * weight``, the mean taken over the last dimension."""
    return torch.ops.rmsnorm.rms_norm.default(x, weight, eps)


def compiled_with() -> dict[str, str | None]:
    """Return the versions of torch and CUDA that compiled this wheel; CUDA is None without."""
    major, minor = cuda_version // 1000, cuda_version % 1000 // 10
    return {"torch": torch_version, "cuda": f"{major}.{minor}" if cuda_version else None}


@torch.library.register_fake("rmsnorm::rms_norm")
def _fake(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:  # noqa: ARG001
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output) -> None:  # noqa: ANN001, ARG001 - torch calls them so
    x, weight, ctx.eps = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad):  # noqa: ANN001, ANN202
    x, weight = ctx.saved_tensors
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + ctx.eps)
    scaled = grad * weight
    grad_x = scale * (scaled - x * scale.square() * (scaled * x).mean(-1, keepdim=True))
    grad_weight = (grad * x * scale).reshape(-1, weight.numel()).sum(0)
    return grad_x, grad_weight, None


torch.library.register_autograd("rmsnorm::rms_norm", _backward, setup_context=_setup_context)
