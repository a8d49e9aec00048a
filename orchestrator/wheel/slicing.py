"""Make of one wheel for many GPU architectures a wheel for each (experimental)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError
from orchestrator.models.variant_metadata import PROVIDERS, SCHEMA, VariantMetadata
from orchestrator.models.wheel import DeviceKind
from orchestrator.wheel import elf, gpu
from orchestrator.wheel.archive import open_wheel
from orchestrator.wheel.device_code import MalformedCodeError
from orchestrator.wheel.elf_shrink import CannotShrinkError
from orchestrator.wheel.gpu_slice import Slice, number_of, slice_file
from orchestrator.wheel.rewrite import retag
from orchestrator.wheel.scan import scan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.elf import Meter
    from orchestrator.wheel.gpu import DeviceFile


MOST_ARCHITECTURES = 64
"""Architectures of NVIDIA's GPUs that a wheel may have code for; there are some 30."""

LARGEST = 4 << 30
"""Bytes of the members that are sliced: all of them are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicedWheel:
    """A slice.

    Attributes:
        path: the new wheel.
        files: its members with less code -> bytes before and after.
        unchanged: members with code for GPUs that stay as they are -> why.
    """

    path: Path
    files: Mapping[str, tuple[int, int]]
    unchanged: Mapping[str, str]


def architectures(path: Path) -> tuple[int, ...]:
    """Return the NVIDIA architectures that a wheel has machine code for: the 90 of ``sm_90a``.

    Raises:
        BadWheelError: there are more than anybody makes, each of which would be a wheel.
    """
    with open_wheel(path) as archive:
        found = _numbers(scan(archive).devices.values())
        if len(found) > MOST_ARCHITECTURES:
            raise archive.bad(f"it has code for {len(found)} architectures of GPUs")
    return found


def _numbers(devices: Iterable[DeviceFile]) -> tuple[int, ...]:
    found = {
        number_of(entry)
        for device in devices
        for entry in device.entries
        if entry.kind is DeviceKind.SASS
    }
    return tuple(sorted(found - {0}))


def local_label(wanted: Slice) -> str:
    """Return what the local version of a slice ends with: ``sm80.sm86``."""
    return ".".join(f"sm{arch}" for arch in sorted(wanted.archs)) + ".ptx" * wanted.ptx


def variant_of(wanted: Slice, label: str) -> VariantMetadata:
    """Return what a slice asks of a machine, as a wheel variant with this label."""
    values = tuple(f"{arch}_real" for arch in sorted(wanted.archs))
    return VariantMetadata(
        schema=SCHEMA,
        namespaces=("nvidia",),
        providers={"nvidia": PROVIDERS["nvidia"]},
        variants={label: {"nvidia": {"sm_arch": values}}},
    )


def slice_wheel(
    path: Path,
    wanted: Slice,
    *,
    dest_dir: Path,
    version: str | None = None,
    variant: VariantMetadata | None = None,
) -> SlicedWheel:
    """Write a copy of a wheel with the code for some architectures only.

    The whole of a file is in memory while it is sliced.

    Args:
        path: the wheel.
        wanted: the architectures.
        dest_dir: directory of the copy, which is written atomically.
        version: its version; None keeps it.
        variant: what its label stands for; None: it has none.

    Raises:
        BadWheelError: there is nothing to slice.
        EnvironmentProblemError: the copy cannot be written.
    """
    with open_wheel(path) as archive:
        devices = {
            name: device
            for name, device in scan(archive).devices.items()
            if any(number_of(entry) for entry in device.entries)
        }
        contents, unchanged = _sliced(archive, devices, wanted)
        if not contents:
            reasons = "; ".join(f"{name}: {why}" for name, why in sorted(unchanged.items()))
            raise archive.bad(f"nothing can be taken out ({reasons or 'no code of CUDA'})")
        sizes = {
            name: (archive.packed(name).size, len(content)) for name, content in contents.items()
        }
    copy = retag(path, dest_dir=dest_dir, version=version, variant=variant, contents=contents)
    return SlicedWheel(path=copy, files=sizes, unchanged=unchanged)


def _sliced(
    archive: WheelArchive, devices: Mapping[str, DeviceFile], wanted: Slice
) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the new contents of members, and why others stay as they are."""
    contents: dict[str, bytes] = {}
    unchanged: dict[str, str] = {}
    room = LARGEST
    for name, device in devices.items():
        room -= archive.packed(name).size
        if device.problem or room < 0:
            unchanged[name] = device.problem or f"more than {LARGEST >> 30} GiB are in memory"
            continue
        old = b"".join(archive.chunks(name))
        try:
            new = slice_file(old, wanted, archive.budget.spend)
            count = _check(name, new, device, archive.budget.spend)
        except (MalformedCodeError, CannotShrinkError) as error:
            unchanged[name] = str(error)
            continue
        if count < len(device.entries):
            contents[name] = new
        else:
            unchanged[name] = "it has no other code"
    return contents, unchanged


def _check(name: str, new: bytes, before: DeviceFile, meter: Meter) -> int:
    """Hold a sliced file against the one before, and return how many entries it has.

    Nothing in it is new, and all of it can be read.
    """
    try:
        info = elf.parse(new, meter=meter) if elf.is_elf(new) else None
    except elf.MalformedElfError as error:
        raise CannotShrinkError(f"the slice could not be read: {error}") from error
    after = gpu.read(elf.ElfBytes(new), info, meter)
    if after is None or after.problem or not Counter(after.entries) <= Counter(before.entries):
        raise BadWheelError.of("the slice has other code than the file", where=name)
    if after.runtimes != before.runtimes:
        raise BadWheelError.of("the slice needs another runtime than the file", where=name)
    return len(after.entries)
