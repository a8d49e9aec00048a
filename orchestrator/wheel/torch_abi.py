"""What of libtorch a file uses: its stable C ABI alone, or its C++ names.

An extension that uses nothing but the stable ABI serves every later torch. C++ names differ from
one torch to the next, and between the two ways in which libstdc++ passes strings. The stable ABI
grows with each torch: ``torch_shims.json`` says since which one a function is in it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.models.external_libraries import PRESETS, allowed, soname

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.wheel.binary import Binary
    from orchestrator.wheel.elf import ElfInfo, Symbol

_HEADERS = (
    r"5torch(?:6stable|10headeronly)"
    r"|3c10(?:4Half|8BFloat16|\d+Float[48]_|7complexI|10ScalarType|10DeviceType|6Layout"
    r"|12MemoryFormat|\d+qu?int\d)"
)
"""What headers alone define: no library has it, and an argument of such a type binds nobody."""

LIBTORCH = re.compile(rf"_Z\w*?N[rVKRO]*(?!{_HEADERS})(?:3c10|2at|5torch|6caffe2)[0-9A-Za-z]")
"""A mangled C++ name (Itanium ABI, 5.1.4) that a namespace of libtorch is part of."""

_SHIM = ("aoti_torch_", "aoti_record_", "torch_library_")
"""What names of the stable ABI begin with, also of a torch that the table does not know yet."""

FIRST = Version("2.9")
"""The first torch that promises a stable ABI."""

_PYTHON = re.compile(r"THP[A-Z]\w*")
"""A C name of libtorch_python, which no torch promises to keep."""

_WORDS = ("3c10", "2at", "5torch", "6caffe2", "THP", "aoti_", "torch_")
"""One of them is in each name of libtorch."""

_OLD_STRING = re.compile(r"RKSs|Ss(?:E|$)|SsS|ISs")


@cache
def shims() -> Mapping[str, str]:
    """Return function of the stable ABI -> the first torch that has it; 2.9 for older ones.

    ``tools/torch_shims.py`` writes the table.
    """
    text = (files("orchestrator.wheel") / "torch_shims.json").read_text("utf-8")
    return {name: torch for torch, names in json.loads(text).items() for name in names}


def newest_known() -> str:
    """Return the newest torch whose stable ABI is known."""
    return max(shims().values(), key=Version)


def unstable_names(info: ElfInfo | Binary) -> list[str]:
    """Return the names of libtorch outside its stable ABI that a file needs, sorted."""
    names = (each.name for each in _candidates(info))
    return sorted(name for name in names if LIBTORCH.match(name) or _PYTHON.fullmatch(name))


def stable_names(info: ElfInfo | Binary) -> dict[str, str]:
    """Return name of the stable ABI that a file cannot do without -> the first torch that has it.

    Of a name that no known torch has it is empty.
    """
    names = sorted(each.name for each in _candidates(info) if not each.weak)
    may_be = (name for name in names if name.startswith(("aoti_", "torch_")))
    found = {name: shims().get(name, "") for name in may_be}
    return {name: torch for name, torch in found.items() if torch or name.startswith(_SHIM)}


def _candidates(info: ElfInfo | Binary) -> Sequence[Symbol]:
    """Return what may be of libtorch; most files have thousands of names, and none of these."""
    names = "\0".join([each.name for each in info.undefined])
    return info.undefined if any(word in names for word in _WORDS) else ()


def torch_abi(info: ElfInfo | Binary) -> str:
    """Return what of libtorch a file uses; see `ElfFile.torch_abi`."""
    if not _candidates(info):
        return ""
    names = unstable_names(info)
    if not names:
        return "stable" if stable_names(info) else ""
    if any("__cxx11" in name for name in names):
        return "c++ (cxx11)"
    if any(_OLD_STRING.search(name) for name in names):
        return "c++ (pre-cxx11)"
    return "c++"


def torch_from(infos: Iterable[ElfInfo]) -> str:
    """Return the first torch that has all of the stable ABI that files use; see `WheelFacts`."""
    every = list(infos)
    found = {torch for info in every for torch in stable_names(info).values()}
    if "" in found or any(map(unstable_names, every)):
        return ""
    return max(found, key=Version, default="")


def uses_torch(info: ElfInfo | Binary) -> bool:
    """Whether a file uses libtorch, by its names or its libraries."""
    by_name = bool(torch_abi(info))
    return by_name or any(allowed(soname(each), PRESETS["torch"]) for each in info.needed)


_STRINGS = frozenset({"c++ (cxx11)", "c++ (pre-cxx11)"})


def of_wheel(abis: Iterable[str]) -> str:
    """Return what the files of a wheel use together: what binds them most."""
    found = set(abis)
    if found >= _STRINGS:
        return "c++ (cxx11, pre-cxx11)"
    return max(found, key=lambda abi: (abi.startswith("c++"), len(abi)), default="")
