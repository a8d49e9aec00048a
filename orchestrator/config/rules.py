"""The names of `verify`'s rules, each with its level when nothing is said: a stable contract.

They stand here and not with the rules themselves, because matrix.toml names them.
``docs/verify.md`` has a line on each.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.models.target import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES: Mapping[str, Level] = {
    "zip-integrity": Level.ERROR,
    "case-collision": Level.WARN,
    "dist-info-files": Level.ERROR,
    "record-missing": Level.ERROR,
    "record-extra": Level.ERROR,
    "record-hash": Level.ERROR,
    "record-size": Level.ERROR,
    "metadata-invalid": Level.ERROR,
    "twine": Level.ERROR,
    "licence-missing": Level.WARN,
    "no-licence": Level.WARN,
    "sbom": Level.ERROR,
    "name-metadata": Level.ERROR,
    "name-dist-info": Level.ERROR,
    "version-metadata": Level.ERROR,
    "version-dist-info": Level.ERROR,
    "wheel-tags": Level.ERROR,
    "wheel-build": Level.ERROR,
    "wheel-version": Level.ERROR,
    "elf-malformed": Level.ERROR,
    "elf-in-any": Level.ERROR,
    "root-is-purelib": Level.ERROR,
    "elf-machine": Level.ERROR,
    "elf-libc": Level.ERROR,
    "page-alignment": Level.WARN,
    "tag-too-low": Level.ERROR,
    "external-library": Level.ERROR,
    "library-unreachable": Level.WARN,
    "isa-level": Level.WARN,
    "absolute-rpath": Level.ERROR,
    "python-abi": Level.ERROR,
    "abi3audit": Level.ERROR,
    "size-budget": Level.ERROR,
    "required-file": Level.ERROR,
    "build-path": Level.ERROR,
    "planned-name": Level.ERROR,
    "planned-version": Level.ERROR,
    "planned-build-tag": Level.ERROR,
    "planned-python": Level.ERROR,
    "planned-platform": Level.ERROR,
    "planned-requires": Level.ERROR,
    "planned-baseline": Level.ERROR,
    "not-platform-wheel": Level.ERROR,
}
"""Rule -> its level. A rule may call a milder case a warning all the same."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]i?)?B?")
_UNITS = {None: 1, "k": 10**3, "M": 10**6, "G": 10**9, "ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse_size(text: str) -> int | None:
    """Return a size in bytes: ``400 MB``, ``1.5 GiB``, ``1000``; None when it is none."""
    # "K" is what people write for both 1000 and 1024; the letter after it tells.
    match = _SIZE.fullmatch(text.strip().replace("K", "k"))
    return int(float(match[1]) * _UNITS[match[2]]) if match else None
