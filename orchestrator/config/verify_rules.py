"""The names of `verify`'s rules, each with its level when nothing is said: a stable contract.

They stand here and not with the rules themselves, because matrix.toml names them.
``docs/reference/verify.md`` has a line on each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.models.target import RuleLevel

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: Mapping[str, RuleLevel] = {
    "zip-integrity": RuleLevel.ERROR,
    "case-collision": RuleLevel.WARN,
    "dist-info-files": RuleLevel.ERROR,
    "record-missing": RuleLevel.ERROR,
    "record-extra": RuleLevel.ERROR,
    "record-hash": RuleLevel.ERROR,
    "record-size": RuleLevel.ERROR,
    "metadata-invalid": RuleLevel.ERROR,
    "twine": RuleLevel.ERROR,
    "licence-missing": RuleLevel.WARN,
    "no-licence": RuleLevel.WARN,
    "provenance": RuleLevel.ERROR,
    "sbom": RuleLevel.ERROR,
    "name-metadata": RuleLevel.ERROR,
    "name-dist-info": RuleLevel.ERROR,
    "version-metadata": RuleLevel.ERROR,
    "version-dist-info": RuleLevel.ERROR,
    "wheel-tags": RuleLevel.ERROR,
    "wheel-build": RuleLevel.ERROR,
    "wheel-version": RuleLevel.ERROR,
    "variant": RuleLevel.ERROR,
    "variant-arch": RuleLevel.ERROR,
    "data-layout": RuleLevel.ERROR,
    "entry-points": RuleLevel.ERROR,
    "script-name": RuleLevel.ERROR,
    "elf-malformed": RuleLevel.ERROR,
    "binary-malformed": RuleLevel.ERROR,
    "elf-in-any": RuleLevel.ERROR,
    "other-system": RuleLevel.ERROR,
    "root-is-purelib": RuleLevel.ERROR,
    "elf-machine": RuleLevel.ERROR,
    "elf-libc": RuleLevel.ERROR,
    "binary-machine": RuleLevel.ERROR,
    "macos-version": RuleLevel.ERROR,
    "page-alignment": RuleLevel.WARN,
    "tag-too-low": RuleLevel.ERROR,
    "external-library": RuleLevel.ERROR,
    "library-unreachable": RuleLevel.WARN,
    "isa-level": RuleLevel.WARN,
    "absolute-rpath": RuleLevel.ERROR,
    "code-signature": RuleLevel.ERROR,
    "duplicate-library": RuleLevel.WARN,
    "debug-runtime": RuleLevel.ERROR,
    "python-abi": RuleLevel.ERROR,
    "module-init": RuleLevel.ERROR,
    "executable-stack": RuleLevel.ERROR,
    "abi3audit": RuleLevel.ERROR,
    "cuda-label": RuleLevel.ERROR,
    "gpu-arch": RuleLevel.ERROR,
    "torch-abi": RuleLevel.ERROR,
    "torch-stable": RuleLevel.ERROR,
    "compression": RuleLevel.WARN,
    "size-budget": RuleLevel.ERROR,
    "required-file": RuleLevel.ERROR,
    "build-path": RuleLevel.ERROR,
    "code-left-out": RuleLevel.WARN,
    "planned-name": RuleLevel.ERROR,
    "planned-version": RuleLevel.ERROR,
    "planned-build-tag": RuleLevel.ERROR,
    "planned-label": RuleLevel.ERROR,
    "planned-python": RuleLevel.ERROR,
    "planned-platform": RuleLevel.ERROR,
    "planned-requires": RuleLevel.ERROR,
    "planned-cuda": RuleLevel.ERROR,
    "planned-baseline": RuleLevel.ERROR,
    "not-platform-wheel": RuleLevel.ERROR,
}
"""Rule -> its level. A rule may call a milder case a warning all the same."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]i?)?B?")
_UNITS = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse_size(text: str) -> int | None:
    """Return a size in bytes: ``400 MB``, ``1.5 GiB``, ``1000``; None when it is none."""
    # "K" is what people write for both 1000 and 1024; the letter after it tells.
    match = _SIZE.fullmatch(text.strip().replace("K", "k"))
    return int(float(match[1]) * _UNITS[match[2]]) if match else None
