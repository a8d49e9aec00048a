"""What the files of a wheel have for GPUs, as reports say it."""

from __future__ import annotations

from heapq import nsmallest
from itertools import chain
from typing import TYPE_CHECKING

from orchestrator.models.growth import bytes_by_arch
from orchestrator.models.wheel import LARGEST_FILES, Compression, FileSize, GpuFile
from orchestrator.wheel.device_code import grouped, highest_ptx

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Mapping

    from orchestrator.models.wheel import DeviceCode
    from orchestrator.wheel.gpu import DeviceFile, Runtime

_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""Major version of CUDA -> the oldest driver on Linux ("CUDA Compatibility" of NVIDIA)."""

DRIVER_FOR_ZSTD = "550.54.14"
"""The oldest driver that unpacks zstd (nvcc's ``--compress-mode=size``; CUDA 13's default)."""


def gpu_files(devices: Mapping[str, DeviceFile]) -> tuple[GpuFile, ...]:
    """Return what each file has."""
    return tuple(
        GpuFile(
            file=name,
            code=grouped(device.entries),
            runtimes=_named(device.runtimes),
            static_libraries=device.static,
            unused=device.unused,
            ptx=highest_ptx(device.entries),
            problem=device.problem,
        )
        for name, device in devices.items()
    )


def largest_files(
    members: Iterable[zipfile.ZipInfo], devices: Mapping[str, DeviceFile]
) -> tuple[FileSize, ...]:
    """Return how large the largest members are, and the code for GPUs in them."""
    largest = nsmallest(LARGEST_FILES, members, lambda each: (-each.compress_size, each.filename))
    return tuple(
        FileSize(
            file=each.filename,
            size=each.compress_size,
            code=tuple(bytes_by_arch(grouped(devices[each.filename].entries)).items())
            if each.filename in devices
            else (),
        )
        for each in largest
    )


def device_code(devices: Mapping[str, DeviceFile]) -> tuple[DeviceCode, ...]:
    """Return the code in all files; what two files have both counts as repeated."""
    return grouped(chain.from_iterable(device.entries for device in devices.values()))


def runtimes(devices: Mapping[str, DeviceFile]) -> tuple[str, ...]:
    """Return the libraries of runtimes that the files need."""
    return _named(chain.from_iterable(device.runtimes for device in devices.values()))


def _named(found: Iterable[Runtime]) -> tuple[str, ...]:
    return tuple(
        f"{each.name} {each.major}{' static' if each.static else ''}" for each in sorted(set(found))
    )


def driver(devices: Mapping[str, DeviceFile]) -> str:
    """Return the oldest driver that loads what is for NVIDIA; empty if that is unknown.

    Where a wheel has files for several majors of CUDA, it is enough to load one of them.
    """
    floors: dict[int, str] = {}
    for device in devices.values():
        zstd = any(each.compression is Compression.ZSTD for each in device.entries)
        for each in device.runtimes:
            if each.name == "cudart" and each.major in _DRIVERS:
                least = max(_DRIVERS[each.major], DRIVER_FOR_ZSTD if zstd else "")
                floors[each.major] = max(least, floors.get(each.major, ""))
    return min(floors.values(), default="")
