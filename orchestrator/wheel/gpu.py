"""Read the code for GPUs that a file holds: which architectures, how many bytes, how compressed.

CUDA: a fat binary (see `fatbin`) lies in sections of an ELF file, or is a file of its own; so are
cubins and PTX. ROCm: bundles of clang's offload bundler, as LLVM documents them ("Clang Offload
Bundler"). The bytes are not trusted.

A section is read once, in order, in pieces: so memory is bounded, and a member of a wheel is
inflated as it is read.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.models.wheel import DeviceKind
from orchestrator.wheel import elf, fatbin, offload_bundle
from orchestrator.wheel.device_code import Cursor, Entry, MalformedCodeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.wheel.elf import ByteSource, ElfInfo, Meter

_MAX_SECTIONS = 16
_PTX_HEAD = 1 << 14

_LONGEST_ARCH = 64

# Loose ELF files for a GPU: where the architecture stands in e_flags.
_EM_AMDGPU, _EM_CUDA = 224, 190
_ELF_HEADER, _WIDE = 64, 2
_CUDA_ABI_8 = 8

_HEADS = (fatbin.MAGIC, offload_bundle.PLAIN[:4], offload_bundle.COMPRESSED)
_LINKED, _RELOCATABLE, _RODATA = ".nv_fatbin", "__nv_relfatbin", ".rodata"
_CUDA = frozenset({_LINKED, _RELOCATABLE})
_SECTIONS = frozenset(name.encode() for name in (*_CUDA, ".hip_fatbin", _RODATA))

_SHARED = re.compile(
    r"lib(cudart|cublas|cublasLt|nvrtc|nvJitLink|amdhip64)(?:-[0-9a-f]+)?\.so\.(\d+)"
)
_LOADERS = frozenset({"dlopen", "dlsym"})
_STATIC_CUDART = frozenset({"dlsym", "shm_open", "shm_unlink"})
"""What the static runtime of CUDA needs of libc, and hardly anything else."""
_REGISTER = ("__cudaRegister", "__hipRegister")
_UNLOADED, _UNLOADED_PART = 1 << 16, 32
"""Bytes, or a part of a file, that may be read for its section headers if it names no runtime."""
_WRAPPERS = (b"\xb1\x43\x62\x46\x01\0\0\0", b"\xb1\x43\x62\x46\x02\0\0\0", b"FPIH\x01\0\0\0")
"""Magic and version of what is registered; it is near the end of what is loaded."""
_LAST = 1 << 18

# Texts that only the static libraries of CUDA leave in a file: names of files and of variables.
_CUDART = b"/cudart.shm."
_STATIC = {
    "cublas": b"CUBLAS_LOGINFO_DBG",
    "cublasLt": b"CUBLASLT_LOG_LEVEL",
    "cusparse": b"CUSPARSE_LOG_LEVEL",
    "cudnn": b"CUDNN_LOGLEVEL_DBG",
    "nccl": b"NCCL_DEBUG_FILE",
}
# The static runtime looks up functions of the driver: CUDA 12 began with the first of them, CUDA 13
# no longer has the second.
_SINCE_12, _BEFORE_13 = b"cuGetProcAddress_v2", b"cuLaunchCooperativeKernelMultiDevice"
_TEXTS = (_CUDART, _SINCE_12, _BEFORE_13, *_STATIC.values())


class Runtime(NamedTuple):
    """A runtime library that a file needs.

    Attributes:
        name: ``cudart``, ``cublas``, ``amdhip64``, ...
        major: its major version.
        static: whether it is a part of the file.
    """

    name: str
    major: int
    static: bool


class DeviceFile(NamedTuple):
    """What a file has for GPUs.

    Attributes:
        entries: the pieces of device code.
        runtimes: the runtime libraries it needs.
        static: CUDA's other libraries that are linked into it.
        unused: bytes of relocatable device code, which only a linker can use.
        problem: why some of it cannot be read; empty if all of it can.
        places: offset and size of its fat binaries.
    """

    entries: tuple[Entry, ...] = ()
    runtimes: tuple[Runtime, ...] = ()
    static: tuple[str, ...] = ()
    unused: int = 0
    problem: str = ""
    places: tuple[tuple[int, int], ...] = ()


def is_device_code(name: str, head: bytes) -> bool:
    """Whether a member that is not an ELF file, by its first four bytes, is device code."""
    return head[:4] in _HEADS or name.endswith(".ptx")


def read(source: ByteSource, info: ElfInfo | None, meter: Meter) -> DeviceFile | None:
    """Read the device code of a file.

    Args:
        source: the file's bytes.
        info: what `elf.parse` found; None if it is no ELF file.
        meter: see `elf.parse`.

    Returns:
        None if it has nothing to do with GPUs. Errors of `source.read` and `meter` are passed on.
    """
    if info is None or info.machine in {_EM_CUDA, _EM_AMDGPU}:
        walk = _loose if info is None else _object
        entries, _ = _walked(walk, Cursor(source, 0, source.size, meter))
        return DeviceFile(entries=entries, places=((0, source.size),)) if entries else None
    shared = frozenset(_shared(info))
    names = {each.name for each in info.undefined}
    static = names >= _STATIC_CUDART
    sure = shared or static or any(name.startswith(_REGISTER) for name in names)
    if not sure and names.isdisjoint(_LOADERS):
        return None
    unloaded = math.inf if sure else max(source.size // _UNLOADED_PART, _UNLOADED)
    try:
        sections = elf.find_sections(source, _SECTIONS, meter, unloaded=unloaded)
        if not sections and _registers(elf.end_of_loaded(source, meter, _LAST)):
            sections = elf.find_sections(source, _SECTIONS, meter)
    except elf.MalformedElfError:
        return None
    has_code = any(name != _RODATA for name, _, _ in sections)
    if not (shared or static or has_code):
        return None
    found = _of_sections(source, info, sections[:_MAX_SECTIONS], shared, meter)
    return found if has_code or found.runtimes else None


def _registers(data: bytes) -> bool:
    """Whether data has what the runtimes register: a wrapper around each fat binary."""
    return any(wrapper in data for wrapper in _WRAPPERS)


def _shared(info: ElfInfo) -> Iterator[Runtime]:
    for library in info.needed:
        if match := _SHARED.match(library):
            yield Runtime(match[1], int(match[2]), static=False)


def _of_sections(
    source: ByteSource,
    info: ElfInfo,
    sections: tuple[tuple[str, int, int], ...],
    shared: frozenset[Runtime],
    meter: Meter,
) -> DeviceFile:
    """Read the sections of an ELF file, in the order of the file."""
    names = {name for name, _, _ in sections}
    search = not any(each.name in {"cudart", "amdhip64"} for each in shared)
    entries: list[Entry] = []
    problems: list[str] = []
    texts: frozenset[bytes] = frozenset()
    unused = 0
    for name, offset, size in sections:
        cursor = Cursor(source, offset, size, meter)
        if name == _RODATA:
            texts |= cursor.texts(_TEXTS) if search else frozenset()
        elif name == _RELOCATABLE and _LINKED in names:
            unused += size
        else:
            found, problem = _walked(
                fatbin.entries if name in _CUDA else offload_bundle.bundles, cursor
            )
            entries += found
            problems += [f"{name}: {problem}"] if problem else []
    own = (info.soname or "lib").removeprefix("lib").partition(".")[0]
    return DeviceFile(
        entries=tuple(entries),
        runtimes=tuple(sorted({*shared, *_static_runtime(texts)})),
        static=tuple(name for name, text in _STATIC.items() if text in texts and name != own),
        unused=unused,
        problem="; ".join(problems),
        places=tuple((offset, size) for name, offset, size in sections if name in _CUDA),
    )


def _static_runtime(texts: frozenset[bytes]) -> Iterator[Runtime]:
    if _CUDART in texts:
        major = 11 if _SINCE_12 not in texts else 12 if _BEFORE_13 in texts else 13
        yield Runtime("cudart", major, static=True)


def _walked(
    walk: Callable[[Cursor], Iterable[Entry]], cursor: Cursor
) -> tuple[tuple[Entry, ...], str]:
    """Return the entries that can be read, and why there are no more."""
    entries: list[Entry] = []
    try:
        entries.extend(walk(cursor))
    except MalformedCodeError as error:
        return tuple(entries), str(error)
    return tuple(entries), ""


def _loose(cursor: Cursor) -> Iterator[Entry]:
    """Read a file that is a fat binary, a bundle, or PTX."""
    size = cursor.left
    head = cursor.peek(_PTX_HEAD)
    if head[:4] in _HEADS[1:]:
        yield from offload_bundle.bundles(cursor)
    elif head.startswith(fatbin.MAGIC):
        yield from fatbin.entries(cursor)
    else:
        text = head.decode("ascii", "replace")
        target = re.search(r"^\.target\s+sm_(\w+)", text, re.MULTILINE)
        version = re.search(r"^\.version\s+(\d{1,3})\.(\d{1,3})\b", text, re.MULTILINE)
        if target and version:
            yield Entry(
                kind=DeviceKind.PTX,
                arch=f"compute_{target[1]}"[:_LONGEST_ARCH],
                size=size,
                unpacked=size,
                checksum=cursor.checksum(size),
                version=(int(version[1]), int(version[2])),
            )


def _object(cursor: Cursor) -> Iterator[Entry]:
    """Read an ELF file that is code for one architecture: a cubin, or AMD's code object."""
    size = cursor.left
    head = cursor.take(min(_ELF_HEADER, size))
    wide = head[4] == _WIDE
    (flags,) = struct.unpack_from("<I", head, 48 if wide else 36)
    if struct.unpack_from("<H", head, 18) == (_EM_CUDA,):
        new = head[8] >= _CUDA_ABI_8
        number, special = (flags >> 8, flags & 0x8) if new else (flags, flags & 0x800)
        kind, arch = DeviceKind.SASS, f"sm_{number & 0xFF}{'a' if special else ''}"
    else:
        kind, arch = DeviceKind.AMDGPU, offload_bundle.code_object(flags)
    crc = cursor.checksum(cursor.left, zlib.crc32(head))
    yield Entry(kind=kind, arch=arch, size=size, unpacked=size, checksum=crc)
