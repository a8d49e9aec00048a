"""How values of axes name a version of CUDA or ROCm. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

WITHOUT = frozenset({"cpu", "none"})
"""Values of an axis ``cuda`` or ``rocm`` that mean: without."""

FIRST_ON_INDEX = 13
"""The first CUDA whose wheels have all of a compiler; earlier ones lack nvcc itself."""

_CUDA = re.compile(r"(cu(?:da)?|)-?(?:(\d\d)(\d)|(\d+)(?:\.(\d+))?(?:\.\d+)*)")
"""``13.0``, ``13.0.1``, ``cu130``, ``130``, ``cuda12.6``; ``13`` and ``cu13`` for any minor."""

_ROCM = re.compile(r"(rocm|)-?(?:(\d)(\d{1,2})|(\d+)(?:\.(\d+))?(?:\.\d+)*)")
"""``6.4``, ``6.2.4``, ``rocm7.14``, ``rocm64``; ``rocm6`` for any minor."""


@lru_cache(maxsize=1024)  # every cell asks about the same few
def cuda_version(value: str, *, plain: bool = False) -> str:
    """Return the version of CUDA that a value names (``13.0``, ``13``); empty for none.

    Only an axis that is called ``cuda`` has `plain` ones, without a ``cu``.
    """
    return _version(_CUDA, value, plain=plain)


def rocm_version(value: str, *, plain: bool = False) -> str:
    """Return the version of ROCm that a value names; see `cuda_version`."""
    return _version(_ROCM, value, plain=plain)


def index_fault(version: str) -> str:
    """Return why wheels of a version of CUDA are no toolkit; empty if they are one."""
    if int(version.partition(".")[0]) >= FIRST_ON_INDEX:
        return ""
    return f"the package index has no nvcc of CUDA {version}, only from {FIRST_ON_INDEX}.0 on"


def _version(pattern: re.Pattern[str], value: str, *, plain: bool) -> str:
    match = pattern.fullmatch(value)
    if match is None or not (match[1] or plain):
        return ""
    return ".".join(filter(None, match.groups()[1:]))
