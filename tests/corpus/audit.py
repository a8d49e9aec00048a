"""auditwheel's own analysis of wheels, as a program: it changes directory and caches by path.

Prints one JSON object a wheel: what ``auditwheel show --json`` says, with libraries looked for
in the wheel only (``--ldpaths ""``): what this machine has must not count.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from auditwheel.error import NonPlatformWheelError, WheelToolsError  # type: ignore[import-untyped]
from auditwheel.wheel_abi import analyze_wheel_abi  # type: ignore[import-untyped]
from auditwheel.wheeltools import get_wheel_architecture, get_wheel_libc  # type: ignore[import-untyped]


def audit(path: Path) -> dict[str, Any]:
    try:
        architecture = get_wheel_architecture(path.name)
    except (WheelToolsError, NonPlatformWheelError):
        architecture = None
    try:
        libc = get_wheel_libc(path.name)
    except WheelToolsError:
        libc = None
    try:
        found = analyze_wheel_abi(
            libc,
            architecture,
            path.resolve(),
            frozenset(),
            disable_isa_ext_check=False,
            allow_graft=False,
            args_ldpaths="",
        )
    except NonPlatformWheelError:
        return {"sym_tag": "any", "overall_tag": "any", "external": {}}
    return {
        "sym_tag": found.sym_policy.name,
        "overall_tag": found.overall_policy.name,
        "ref_tag": found.ref_policy.name,
        "external": {
            name: sorted(reference.libs) for name, reference in found.external_refs.items()
        },
    }


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        sys.stdout.write(json.dumps({"wheel": Path(argument).name, **audit(Path(argument))}) + "\n")
        sys.stdout.flush()
