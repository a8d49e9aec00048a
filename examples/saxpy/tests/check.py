"""Check the installed saxpy; the matrix runs this after each build.

    python check.py [VERSION]

VERSION is what the installed metadata must say. Without a GPU the CUDA module is still loaded,
so that its label, its compiled version and the library that it found are checked anywhere.
"""

from __future__ import annotations

import math
import re
import sys
from array import array
from importlib.metadata import distribution, version
from pathlib import Path

import saxpy

A = 1.5
SIZES = (0, 1, 7, 1000, 70_001)


def require(ok: object, what: str) -> None:
    """Exit with `what` unless `ok`; unlike assert, also under `python -O`."""
    if not ok:
        sys.exit(f"saxpy check: {what}")


def check_version(expected: str | None) -> None:
    """Check the metadata against `expected`, and its label against the compiled code."""
    installed = version("saxpy")
    if expected is not None:
        require(installed == expected, f"version is {installed}, expected {expected}")
    label = re.search(r"\+(?:.*\.)?cu(\d+)(\d)(?:\.|$)", installed)
    if label:
        compiled, labelled = saxpy.cuda_version(), ".".join(label.groups())
        require(compiled == labelled, f"{installed} was compiled for CUDA {compiled}")


def check_runtime() -> str | None:
    """Check that a CUDA build loaded the libcudart of its requirement; return that path.

    A toolkit on the host can hide that a wheel no longer finds the library by itself.
    """
    if saxpy.cuda_version() is None:
        return None
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    loaded = Path(next(line.split()[-1] for line in maps if "/libcudart.so" in line))
    wheel = distribution("nvidia-cuda-runtime")
    wanted = [Path(str(f.locate())).resolve() for f in wheel.files or () if f.name == loaded.name]
    require(loaded.resolve() in wanted, f"{loaded} is not the nvidia-cuda-runtime wheel's")
    return str(loaded)


def check_numbers(device: str) -> None:
    """Compare with pure Python in double precision, at lengths around block sizes."""
    for size in SIZES:
        x = array("f", (math.sin(i) for i in range(size)))
        y = array("f", (math.cos(i) for i in range(size)))
        result = saxpy.saxpy(A, x, y, device=device)  # type: ignore[arg-type]
        require(len(result) == size, f"{device}: {len(result)} items, expected {size}")
        for i, got in enumerate(result):
            want = A * x[i] + y[i]
            close = math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-6)
            require(close, f"{device}: item {i} of {size} is {got}, expected {want}")


def check_refusals() -> None:
    """Check that wrong arguments are errors rather than wrong numbers or crashes."""
    floats, longer = array("f", [1, 2]), array("f", [1, 2, 3])
    cases: list[tuple[type[Exception], object, object]] = [
        (TypeError, array("d", [1, 2]), floats),
        (TypeError, b"12345678", floats),
        (TypeError, [1.0, 2.0], floats),
        (ValueError, floats, longer),
        (BufferError, memoryview(longer)[::2], floats),
    ]
    for error, x, y in cases:
        try:
            saxpy.saxpy(A, x, y, device="cpu")  # type: ignore[arg-type]
        except error:
            continue
        require(ok=False, what=f"{x!r}, {y!r}: expected {error.__name__}")


def main() -> None:
    """Run all checks and print what was found."""
    check_version(sys.argv[1] if len(sys.argv) > 1 else None)
    runtime = check_runtime()
    devices = ["cpu", "auto", *(["cuda"] if saxpy.cuda_available() else [])]
    for device in devices:
        check_numbers(device)
    check_refusals()
    print(f"python          {sys.version.split()[0]}")
    print(f"version         {version('saxpy')}")
    print(f"cuda_version    {saxpy.cuda_version()}")
    print(f"libcudart       {runtime}")
    print(f"cuda_available  {saxpy.cuda_available()}")
    print(f"checked on      {', '.join(devices)}")


if __name__ == "__main__":
    main()
