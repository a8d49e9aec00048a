"""a*x + y over float32 vectors, on the CPU or on a CUDA device.

>>> from array import array
>>> saxpy(2, array("f", [1, 2, 3]), array("f", [10, 20, 30]))
array('f', [12.0, 24.0, 36.0])
"""

from __future__ import annotations

from array import array
from importlib.util import find_spec
from typing import TYPE_CHECKING

from saxpy import _cpu

# Looked up rather than tried: a CUDA build whose CUDA runtime is missing must raise ImportError
# here. Falling back to the CPU in silence would hide a broken environment.
if find_spec("saxpy._cuda"):
    from saxpy import _cuda
else:
    _cuda = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from typing import Literal

    from typing_extensions import Buffer

__all__ = ["cuda_available", "cuda_version", "saxpy"]


def cuda_version() -> str | None:
    """Return the CUDA version compiled against, such as "13.0"; None in a CPU build."""
    return None if _cuda is None else _cuda.version()


def cuda_available() -> bool:
    """Return whether this is a CUDA build and a driver and a device are at hand; never raise."""
    return _cuda is not None and _cuda.available()


def saxpy(
    a: float, x: Buffer, y: Buffer, *, device: Literal["auto", "cpu", "cuda"] = "auto"
) -> array[float]:
    """Return a*x + y, computed in single precision.

    `x` and `y` are equally long, one-dimensional, contiguous buffers of native float32, such as
    `array.array("f")` or a NumPy array. "auto" is the GPU where there is one, else the CPU.

    Raises TypeError or BufferError for other objects, ValueError for unequal lengths or an
    unknown device, RuntimeError where device="cuda" cannot be had or fails.
    """
    if device not in ("auto", "cpu", "cuda"):
        msg = f"saxpy: device must be 'auto', 'cpu' or 'cuda', not {device!r}"
        raise ValueError(msg)
    if device == "cuda" and _cuda is None:
        msg = "saxpy: device='cuda' needs a CUDA build of saxpy; this is a CPU build"
        raise RuntimeError(msg)
    on_gpu = device == "cuda" or (device == "auto" and cuda_available())
    out = array("f", [0.0]) * len(memoryview(x))
    (_cuda if on_gpu else _cpu).saxpy(a, x, y, out)
    return out
