"""Libraries that another package or the driver provides."""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIBRARIES = {
    # The driver, and the nvidia-* packages.
    "cuda": """
        cuda cudart cublas cublasLt cudnn* cudss* cufft* cufile* cupti curand cusolver* cusparse*
        cutensor* nccl* npp* nvJitLink nvToolsExt nvblas nvfatbin nvidia-* nvjpeg* nvperf_*
        nvptxcompiler* nvrtc* nvshmem* nvvm
    """,
    "torch": "torch torch_* c10 c10_* shm",
    "rocm": "amd_comgr amd_smi amdhip64 hip* hsa-* hsakmt MIOpen rccl roc*",
}

PRESETS = {
    name: tuple(f"lib{library}.so*" for library in libraries.split())
    for name, libraries in _LIBRARIES.items()
}
"""Preset name -> patterns over sonames. Every pattern ends in ``*``: sonames carry versions, and
an exclude list without them grafted 890 MB of CUDA into a wheel (aiter issue 5318)."""

_WORD = re.compile(r"[^.*?\[\]]+")


def resolve(names: Sequence[str], *, where: str = "build.external") -> tuple[str, ...]:
    """Turn presets and patterns into patterns, each once, in order.

    Args:
        names: presets (``cuda``) and patterns over sonames (``libfoo.so*``).
        where: where they are configured, for the message.

    Raises:
        ConfigError: a plain word is not a preset.
    """
    patterns: dict[str, None] = {}
    for name in names:
        if name in PRESETS:
            patterns.update(dict.fromkeys(PRESETS[name]))
        elif _WORD.fullmatch(name) or not name:
            close = get_close_matches(name, PRESETS, n=1)
            known = ", ".join(PRESETS)
            raise ConfigError.of(
                f"{name!r} is neither a preset ({known}) nor a pattern like 'libfoo.so*'",
                where=where,
                hint=f"did you mean {close[0]!r}?" if close else "",
            )
        else:
            patterns[name] = None
    return tuple(patterns)


def allowed(soname: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns matches the soname."""
    return any(fnmatchcase(soname, pattern) for pattern in patterns)


_DYLIB = re.compile(r"(?P<stem>[\w+-]+?)(?P<version>(\.\d+)*)\.dylib")
_DLL = re.compile(r"(lib)?(?P<stem>[\w+-]+?)(64_(?P<version>[\d_]+))?\.dll", re.IGNORECASE)


def soname(library: str) -> str:
    """Return what a library of macOS or Windows is called on Linux, for which patterns are written.

    ``@rpath/libtorch_cpu.dylib`` is libtorch_cpu.so, ``cudart64_12.dll`` libcudart.so.12.
    """
    name = library.rpartition("/")[2]
    if match := _DYLIB.fullmatch(name):
        return f"{match['stem']}.so{match['version']}"
    if match := _DLL.fullmatch(name):
        stem = "cuda" if match["stem"].casefold() == "nvcuda" else match["stem"]
        version = f".{match['version']}" if match["version"] else ""
        return f"lib{stem}.so{version}"
    return name
