"""What of libtorch a file uses: its stable C ABI alone, or its C++ names.

An extension that uses nothing but the stable ABI serves every later torch. C++ names differ from
one torch to the next, and between the two ways in which libstdc++ passes strings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.models.external_libraries import PRESETS, allowed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.wheel.elf import ElfInfo

LIBTORCH = re.compile(r"_Z\w*?N[rVKRO]*(?:3c10|2at|5torch|6caffe2)[0-9A-Za-z]")
"""A mangled C++ name (Itanium ABI, 5.1.4) that a namespace of libtorch is part of."""

_STABLE = ("aoti_torch_", "torch_library_", "torch_call_dispatcher")
_OLD_STRING = re.compile(r"RKSs|Ss(?:E|$)|SsS|ISs")


def cxx_names(info: ElfInfo) -> list[str]:
    """Return the C++ names of libtorch that a file needs, sorted."""
    return sorted(each.name for each in info.undefined if LIBTORCH.match(each.name))


def torch_abi(info: ElfInfo) -> str:
    """Return what of libtorch a file uses; see `ElfFile.torch_abi`."""
    names = cxx_names(info)
    if not names:
        return "stable" if any(each.name.startswith(_STABLE) for each in info.undefined) else ""
    if any("__cxx11" in name for name in names):
        return "c++ (cxx11)"
    if any(_OLD_STRING.search(name) for name in names):
        return "c++ (pre-cxx11)"
    return "c++"


def uses_torch(info: ElfInfo) -> bool:
    """Whether a file uses libtorch, by its names or its libraries."""
    return bool(torch_abi(info)) or any(allowed(each, PRESETS["torch"]) for each in info.needed)


def of_wheel(abis: Iterable[str]) -> str:
    """Return what the files of a wheel use together: what binds them most."""
    return max(abis, key=lambda abi: (abi.startswith("c++"), len(abi)), default="")
