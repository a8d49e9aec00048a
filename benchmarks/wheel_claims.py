"""Whether wheels hold what they claim of torch and of GPUs: a table, with the evidence.

    python benchmarks/wheel_claims.py WHEEL...

For each wheel: what its name and METADATA say, what its files have, and what the rules of `verify`
on this find. These rules need neither the toolchain nor a plan.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel import DeviceKind
from orchestrator.report.text import markdown_table
from orchestrator.wheel import Policies, open_wheel, verify

RULES = ("cuda-label", "gpu-arch", "torch-abi", "torch-stable", "compression")
POLICIES = Policies.from_json("[]", "[]")


def row(path: Path) -> tuple[str, ...]:
    """Return the row of a wheel."""
    with open_wheel(path) as archive:
        name = archive.name
        stated = archive.headers("METADATA").get_all("Requires-Dist", [])
    torch = [str(each) for each in stated if str(each).partition(";")[0].startswith("torch")]
    asks = [each for each in torch if not each[5:6].isalpha() and "extra" not in each]
    report = verify(path, POLICIES, external=["cuda", "torch", "rocm"])
    archs = [each.arch for each in report.device_code if each.kind is not DeviceKind.PTX]
    abi = report.torch_abi
    if report.torch_from:
        abi += f" from {report.torch_from}"
    found = [f"{each.rule}: {each.message}" for each in report.problems if each.rule in RULES]
    return (
        f"{name.name} {name.version}",
        ", ".join(asks) or "none",
        ", ".join((*report.runtimes, *dict.fromkeys(archs))) or "no code for GPUs",
        abi or "none",
        "; ".join(found) or "nothing",
    )


def main(paths: list[str]) -> int:
    """Print the table."""
    rows: list[tuple[str, ...]] = [
        ("wheel", "its METADATA on torch", "GPU runtime and code", "libtorch", "found")
    ]
    for path in map(Path, paths):
        try:
            rows.append(row(path))
        except BadWheelError as error:
            print(error, file=sys.stderr)
    print("\n".join(markdown_table(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
