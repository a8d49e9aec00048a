"""The module for zstd, which Python has from 3.14 on and the extra ``fast`` brings before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_MODULES = ("compression.zstd", "backports.zstd")


def zstd() -> Any | None:
    """Return the module; None if this Python has none."""
    for name in _MODULES:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None
