"""auditwheel, as the tests ask it: without this machine's libraries."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import auditwheel.policy  # type: ignore[import-untyped]
from auditwheel.architecture import Architecture  # type: ignore[import-untyped]
from auditwheel.libc import Libc as AuditwheelLibc  # type: ignore[import-untyped]
from auditwheel.wheel_abi import analyze_wheel_abi  # type: ignore[import-untyped]

from orchestrator.models.platforms import Arch, Libc
from orchestrator.wheel import Policies


class Verdict(NamedTuple):
    """auditwheel's tags, by symbol versions, by libraries, and by everything but libraries."""

    symbols: str
    libraries: str
    overall: str


def load_policies() -> Policies:
    folder = Path(auditwheel.policy.__file__).parent
    return Policies.from_json(
        (folder / "manylinux-policy.json").read_text(encoding="utf-8"),
        (folder / "musllinux-policy.json").read_text(encoding="utf-8"),
    )


def audited(path: Path, libc: Libc, arch: Arch) -> Verdict:
    found = analyze_wheel_abi(
        AuditwheelLibc.MUSL if libc is Libc.MUSLLINUX else AuditwheelLibc.GLIBC,
        Architecture(arch.value),
        path,
        frozenset(),
        disable_isa_ext_check=False,
        allow_graft=True,
        args_ldpaths="",
    )
    return Verdict(found.sym_policy.name, found.ref_policy.name, found.overall_policy.name)
