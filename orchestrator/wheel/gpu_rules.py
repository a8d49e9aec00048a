"""Rules of `verify` on code for GPUs: labels, architectures, and what makes wheels large.

Each rule is a function from a wheel to findings, as in `orchestrator.wheel.rules`.
"""

from __future__ import annotations

import re
import zlib
from itertools import chain, islice
from typing import TYPE_CHECKING
from zipfile import ZIP_STORED

from orchestrator.models.external_libraries import PRESETS, allowed
from orchestrator.models.wheel import Compression, DeviceKind, Finding, Severity
from orchestrator.wheel import gpu_report
from orchestrator.wheel.checked_wheel import few, finding
from orchestrator.wheel.device_code import arch_order
from orchestrator.wheel.recompress import estimate
from orchestrator.wheel.torch_abi import uses_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.wheel.checked_wheel import CheckedWheel

_CUDA_LABEL = re.compile(r"(?<![a-z0-9])cu(?:da)?(\d\d)\d{0,2}(?!\d)")
_ROCM_LABEL = re.compile(r"(?<![a-z0-9])rocm(\d)")
_CPU_LABEL = re.compile(r"(?<![a-z0-9])cpu(?![a-z0-9])")

_CUDA = (*PRESETS["cuda"], "libc10_cuda.so*", "libtorch_cuda*.so*")
_ROCM = (*PRESETS["rocm"], "libc10_hip.so*", "libtorch_hip*.so*")
_NVIDIA = frozenset({DeviceKind.SASS, DeviceKind.PTX})
_NEWEST_STATIC = 13
"""A static runtime of this major version may be newer: see `gpu`."""

_WORTH = 1 << 20
_WORTH_COMPRESSING = 8 << 20
_WORTH_RECOMPRESSING, _MUCH_SMALLER = 16 << 20, 0.75
_SMALLEST = (
    f"nvcc --compress-mode=size (CUDA 12.8 and newer; needs driver {gpu_report.DRIVER_FOR_ZSTD})"
)
_SAMPLE = 1 << 20
_MOST_STORED = 10
_GAIN = 0.9


class _Found:
    """What a wheel has for GPUs, and which file shows it."""

    def __init__(self, subject: CheckedWheel) -> None:
        needed = [(lib, elf.name) for elf in subject.found.elves for lib in elf.info.needed]
        subject.archive.budget.spend(len(needed) * (len(_CUDA) + len(_ROCM)), 0, "libraries")
        self.cuda = {f"{name} needs {lib}": None for lib, name in needed if allowed(lib, _CUDA)}
        self.rocm = {f"{name} needs {lib}": None for lib, name in needed if allowed(lib, _ROCM)}
        self.code = ""  # planned-cuda tells of libraries
        for name, device in subject.found.devices.items():
            for each in device.runtimes:
                where = f"{name} needs {each.name} {each.major}{' (static)' * each.static}"
                (self.rocm if each.name == "amdhip64" else self.cuda).setdefault(where)
            for entry in device.entries:
                if entry.kind in _NVIDIA:
                    self.code = self.code or f"{name} has code for {entry.arch}"
                    self.cuda.setdefault(f"{name} has code for {entry.arch}")
                elif entry.kind is DeviceKind.AMDGPU:
                    self.rocm.setdefault(f"{name} has code for {entry.arch}")

    def one(self, which: str) -> str:
        """Return the first sign of CUDA or ROCm; empty if there is none."""
        return next(iter(self.cuda if which == "CUDA" else self.rocm), "")


def cuda_label(subject: CheckedWheel) -> Iterator[Finding]:
    """What the local version says about the device (``+cu130``, ``+cpu``) is in the files."""
    label = subject.archive.name.version.local or ""
    found = _Found(subject)
    if _CPU_LABEL.search(label) and (sign := found.one("CUDA") or found.one("ROCm")):
        yield finding("cuda-label", f"the label says {label}, but {sign}")
    for what, pattern, other in (("CUDA", _CUDA_LABEL, "ROCm"), ("ROCm", _ROCM_LABEL, "CUDA")):
        if not (match := pattern.search(label)):
            continue
        if found.one(what):
            yield from _majors(subject, what, int(match[1]), f"the label says {label}")
        elif sign := found.one(other):
            yield finding("cuda-label", f"the label says {label}, but {sign}, and nothing {what}")
        elif subject.found.elves:
            yield _nothing(subject, f"the label says {label}, but no file has anything of {what}")
    want = subject.expected
    if want and want.cuda is False and not _CPU_LABEL.search(label) and found.code:
        yield finding("cuda-label", f"planned without CUDA, but {found.code}")
    if want and want.cuda_version and not _CUDA_LABEL.search(label):
        major = int(want.cuda_version.partition(".")[0])
        yield from _majors(subject, "CUDA", major, f"planned for CUDA {want.cuda_version}")


def _nothing(subject: CheckedWheel, message: str) -> Finding:
    """Return the finding for no sign at all.

    An extension of torch was compiled for the CPU alone. Other files may use CUDA through Python,
    or load it by themselves, as those that import `dlsym` may.
    """
    torch = any(uses_torch(elf.info) for elf in subject.found.elves)
    loads = any(each.name == "dlsym" for elf in subject.found.elves for each in elf.info.undefined)
    severity = Severity.ERROR if torch and not loads else Severity.WARNING
    cure = ": did the build find a compiler and torch for it? (FORCE_CUDA=1 where no GPU is)"
    return Finding(rule="cuda-label", message=message + cure, severity=severity)


def _majors(subject: CheckedWheel, what: str, major: int, says: str) -> Iterator[Finding]:
    """One of the runtimes that files need has this major version.

    Where files load the runtime itself, other libraries do not count: not all of them have its
    version.
    """
    every = [
        (each, name)
        for name, device in subject.found.devices.items()
        for each in device.runtimes
        if (each.name == "amdhip64") == (what == "ROCm")
    ]
    every = [pair for pair in every if pair[0].name in {"cudart", "amdhip64"}] or every
    fits = any(
        each.major == major or (each.static and major > each.major == _NEWEST_STATIC)
        for each, _ in every
    )
    if every and not fits:
        each, name = every[0]
        static = " (static)" if each.static else ""
        message = f"{says}, but {name} needs {each.name} {each.major}{static}"
        yield finding("cuda-label", f"{message}: build with the toolkit of the label, or rename it")


def gpu_arch(subject: CheckedWheel) -> Iterator[Finding]:
    """There is code for the architectures that the build was asked for, and for no others."""
    for name, device in subject.found.devices.items():
        if device.problem:
            message = f"the code for GPUs in {name} cannot be read whole: {device.problem}"
            yield _warning("gpu-arch", message)
    want = subject.expected
    code = gpu_report.device_code(subject.found.devices)
    sizes: dict[str, int] = {}
    for each in code:
        if each.arch:
            arch = each.arch.partition(":")[0]
            sizes[arch] = sizes.get(arch, 0) + each.size
    if want is None or not want.gpu_archs.names or not sizes:
        return
    asks = " and ".join(want.gpu_archs.variables)
    has = sorted(sizes, key=arch_order)
    # sm_90a serves a GPU of architecture 9.0 as sm_90 does.
    served = {*sizes, *(arch.rstrip("af") for arch in sizes if not arch.startswith("gfx"))}
    asked = {arch for arch in want.gpu_archs.names if _vendor(arch) in set(map(_vendor, sizes))}
    if missing := sorted(asked - served, key=arch_order):
        message = f"{asks} asks for {', '.join(missing)}, the wheel has code for {', '.join(has)}"
        cure = ": the project overrides the list, or its build does not read it"
        severity = Severity.ERROR if want.gpu_archs.by_user else Severity.WARNING
        yield Finding(rule="gpu-arch", message=message + cure, severity=severity)
    plain = {arch.rstrip("af") for arch in asked if not arch.startswith("gfx")} | asked
    more = [arch for arch in has if arch not in plain and arch.rstrip("af") not in plain]
    if asked and want.gpu_archs.by_user and more:
        shown = ", ".join(f"{arch} ({_mib(sizes[arch])})" for arch in more)
        yield _warning("gpu-arch", f"{asks} does not ask for {shown}, which make the wheel larger")


def _vendor(arch: str) -> str:
    return "gfx" if arch.startswith("gfx") else "sm"


def compression(subject: CheckedWheel) -> Iterator[Finding]:
    """Code for GPUs is compressed, nothing is stored that deflates, and nothing is useless."""
    devices = subject.found.devices
    yield from _uncompressed(subject)
    yield from _fast(subject)
    unused = {name: device.unused for name, device in devices.items() if device.unused >= _WORTH}
    if unused:
        message = (
            f"{_mib(sum(unused.values()))} of relocatable code that nothing can load is in "
            f"{few(sorted(unused))}: objcopy -R __nv_relfatbin FILE takes it out"
        )
        yield finding("compression", message)
    repeated = sum(each.repeated for each in gpu_report.device_code(devices))
    if repeated >= _WORTH:
        message = f"{_mib(repeated)} of code for GPUs is in the wheel twice or more (see inspect)"
        yield finding("compression", message)
    yield from _stored(subject)


def _uncompressed(subject: CheckedWheel) -> Iterator[Finding]:
    total, _, largest = _by_compression(subject, Compression.NONE)
    if total >= _WORTH_COMPRESSING:
        ratio = _estimate(subject, largest, Compression.NONE)
        about = f"about {_mib(int(total * ratio))} or less with " if ratio else ""
        message = (
            f"{_mib(total)} of machine code for GPUs is not compressed, most of it in {largest}: "
            f"{about}{_SMALLEST}, or -Xfatbin -compress-all"
        )
        yield finding("compression", message)


def _fast(subject: CheckedWheel) -> Iterator[Finding]:
    """Yield how much smaller code would be that is compressed with LZ4."""
    total, unpacked, largest = _by_compression(subject, Compression.LZ4)
    if total < _WORTH_RECOMPRESSING:
        return
    if ratio := _estimate(subject, largest, Compression.LZ4):
        smaller = int(unpacked * ratio)
        if smaller < _MUCH_SMALLER * total:
            message = (
                f"{_mib(total)} of code for GPUs is compressed with LZ4, most of it in {largest}: "
                f"about {_mib(smaller)} or less with {_SMALLEST}"
            )
            yield finding("compression", message)


def _estimate(subject: CheckedWheel, name: str, compression: Compression) -> float | None:
    return estimate(subject.archive, name, subject.found.devices[name], compression)


def _by_compression(subject: CheckedWheel, compression: Compression) -> tuple[int, int, str]:
    """Return bytes of code, the same unpacked, and the file that has most of it."""
    kinds = {DeviceKind.SASS} if compression is Compression.NONE else _NVIDIA
    sizes: dict[str, int] = {}
    unpacked = 0
    for name, device in subject.found.devices.items():
        found = [e for e in device.entries if e.kind in kinds and e.compression is compression]
        sizes[name] = sum(each.size for each in found)
        unpacked += sum(each.unpacked for each in found)
    return sum(sizes.values()), unpacked, max(sizes, key=lambda name: sizes[name], default="")


def _stored(subject: CheckedWheel) -> Iterator[Finding]:
    """Yield members that are stored in the zip file although they deflate."""
    archive, damaged = subject.archive, subject.found.unreadable
    stored = sorted(
        (
            each
            for each in archive.members
            if each.compress_type == ZIP_STORED and each.file_size >= _WORTH
        ),
        key=lambda each: -each.file_size,
    )
    for each in islice((one for one in stored if one.filename not in damaged), _MOST_STORED):
        head = next(chain(archive.chunks(each.filename), [b""]))[:_SAMPLE]
        part = len(zlib.compress(head, 6)) / max(len(head), 1)
        if part < _GAIN:
            message = (
                f"{each.filename} ({_mib(each.file_size)}) is stored; its beginning deflates to "
                f"{part:.0%}: pack the wheel again, deflated (wheel unpack, wheel pack)"
            )
            yield finding("compression", message)


def _warning(rule: str, message: str) -> Finding:
    return Finding(rule=rule, message=message, severity=Severity.WARNING)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


RULES: tuple[Callable[[CheckedWheel], Iterable[Finding]], ...] = (
    cuda_label,
    gpu_arch,
    compression,
)
"""All rules, in the order their findings are reported."""
