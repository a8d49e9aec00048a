"""Whether wheels hold what they claim of torch and of GPUs: a table, with the evidence.

    python benchmarks/wheel_claims.py WHEEL...
    python benchmarks/wheel_claims.py --torch WHEEL...

For each wheel: what its name and METADATA say, what its files have, and what the rules of `verify`
on this find. These rules need neither the toolchain nor a plan. With --torch, only wheels that use
libtorch: whether they use its stable ABI alone, from which torch on, and what else stands in the
way of that.
"""

from __future__ import annotations

import argparse
import re
import string
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel import DeviceKind, WheelReport
from orchestrator.report.text import markdown_table
from orchestrator.wheel import Policies, open_wheel, torch_abi, verify
from orchestrator.wheel.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterable

RULES = ("cuda-label", "gpu-arch", "torch-abi", "torch-stable", "compression")
POLICIES = Policies.from_json("[]", "[]")

HEAD = ("wheel", "its METADATA on torch", "GPU runtime and code", "libtorch", "found")
TORCH_HEAD = ("wheel", "its METADATA on torch", "libtorch", "what is not in the stable ABI")

KINDS = (
    ("operators", r"_ZN2at(4_ops|4cuda4blas|6native)"),
    ("custom classes, TorchScript", r"\w*(5torch3jit|12custom_class|10class_|14ivalue)"),
    ("Python bindings", r"THP|\w*(8pybind11|5torch5utils)|_ZN5torch6python"),
    ("autograd", r"\w*(5torch8autograd|8autograd|8GradMode|AutogradMeta)"),
    ("CUDA streams and allocators", r"\w*(3c104cuda|2at4cuda|3c103hip|2at3hip)"),
    ("distributed", r"\w*4c10d"),
    (
        "registration",
        r"\w*(5torch(7L|6d|11Cpp)|infer_schema|Dispatcher|RegisterOp|Schema|Type3get|6IValue|ListImpl)",
    ),
    ("errors", r"\w*(14torchCheckFail|23torchInternalAssertFail|3c105Error|7Warning|10warn)"),
    (
        "tensors",
        r"\w*(TensorImpl|10TensorBase|2at6Tensor|TensorMaker|TypeMeta|\dSym[IBF]|Storage|2at\d)",
    ),
)
"""What names outside the stable ABI are for; the first one that matches."""

MOST = 3
LETTERS = {*string.ascii_letters, "-", "_"}


def row(path: Path) -> tuple[str, ...]:
    """Return the row of a wheel."""
    report = checked(path)
    archs = [each.arch for each in report.device_code if each.kind is not DeviceKind.PTX]
    found = [f"{each.rule}: {each.message}" for each in report.problems if each.rule in RULES]
    return (
        *names(path),
        ", ".join((*report.runtimes, *dict.fromkeys(archs))) or "no code for GPUs",
        abi_of(report) or "none",
        "; ".join(found) or "nothing",
    )


def torch_row(path: Path) -> tuple[str, ...] | None:
    """Return the row of a wheel on libtorch; None if it does not use it."""
    with open_wheel(path) as archive:
        infos = [elf.info for elf in scan(archive).elves if torch_abi.uses_torch(elf.info)]
    if not infos:
        return None
    others = {name for info in infos for name in torch_abi.unstable_names(info)}
    return (
        *names(path),
        abi_of(checked(path)) or "needs it, and uses no name of it",
        kinds(others),
    )


def checked(path: Path) -> WheelReport:
    """Return what verify says of a wheel."""
    return verify(path, POLICIES, external=["cuda", "torch", "rocm"])


def abi_of(report: WheelReport) -> str:
    """Return what of libtorch a wheel uses."""
    return report.torch_abi + (f" from {report.torch_from}" if report.torch_from else "")


def names(path: Path) -> tuple[str, str]:
    """Return name and version of a wheel, and what its METADATA says on torch."""
    with open_wheel(path) as archive:
        name = archive.name
        stated = archive.headers("METADATA").get_all("Requires-Dist", [])
    torch = [str(each) for each in stated if str(each).startswith("torch") and "extra" not in each]
    asks = {each.partition(";")[0].strip(): None for each in torch if each[5:6] not in LETTERS}
    return f"{name.name} {name.version}", ", ".join(asks) or "none"


def kinds(found: Iterable[str]) -> str:
    """Say what names of libtorch are for, and how many there are of each kind."""
    counts: Counter[str] = Counter()
    for name in found:
        kind = next((kind for kind, pattern in KINDS if re.match(pattern, name)), "others")
        counts[kind] += 1
    most = ", ".join(kind for kind, _ in counts.most_common(MOST))
    return f"{sum(counts.values())} names: {most}" if most else ""


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    parser.add_argument("--torch", action="store_true", help="libtorch alone")
    given = parser.parse_args()
    rows: list[tuple[str, ...]] = [TORCH_HEAD if given.torch else HEAD]
    for path in given.wheels:
        try:
            if found := torch_row(path) if given.torch else row(path):
                rows.append(found)
        except BadWheelError as error:
            print(error, file=sys.stderr)
    print("\n".join(markdown_table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
