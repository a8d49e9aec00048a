"""A wheel's ``variant.json``: what the label in its name stands for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import BadWheelError, ConfigError
from orchestrator.models import variant_metadata
from orchestrator.models.wheel import Finding, Severity
from orchestrator.wheel import gpu_report
from orchestrator.wheel.checked_wheel import few, finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.models.variant_metadata import VariantMetadata
    from orchestrator.wheel.archive import WheelArchive
    from orchestrator.wheel.checked_wheel import CheckedWheel


_ARCHITECTURE = re.compile(r"(?P<number>\d+)[af]?_(?:real|(?P<virtual>virtual))")
"""A value of nvidia::sm_arch."""

_FEATURES = re.compile(r"[af]$")
"""What marks code that uses features of one architecture, or of its family, alone."""


def path_of(archive: WheelArchive) -> str:
    """Return where ``variant.json`` is, or would be."""
    return f"{archive.dist_info}/variant.json"


def read(archive: WheelArchive) -> VariantMetadata | None:
    """Return what a wheel says of its variant; None for a wheel whose name has no label.

    Raises:
        BadWheelError: it is missing, cannot be read, or is about another label than the name's.
    """
    label, place = archive.name.label, path_of(archive)
    if not label:
        return None
    if place not in archive:
        raise archive.bad(f"it is a variant ({label}) without {place}")
    text = archive.read(place)
    archive.budget.text(len(text), "variant.json")
    try:
        found = variant_metadata.loads(text, where=place)
    except ConfigError as error:
        raise archive.bad(str(error)) from None
    if [*found.variants] != [label]:
        labels = ", ".join(found.variants) or "nothing"
        raise archive.bad(f"the name says {label}, {place} describes {labels}")
    if found.flaw:
        raise archive.bad(f"{place}: {found.flaw}")
    return found


def variant_architectures(subject: CheckedWheel) -> Iterator[Finding]:
    """A variant for an architecture of NVIDIA's has code for it."""
    devices = subject.found.devices
    try:
        stated = read(subject.archive)
    except BadWheelError:
        return  # `variant_agrees` says so
    if stated is None or any(device.problem for device in devices.values()):
        return
    nvidia = stated.variants[subject.archive.name.label].get("nvidia", {})
    code = gpu_report.device_code(devices)
    there = {_FEATURES.sub("", each.arch) for each in code}
    for value in nvidia.get("sm_arch", ()):
        match = _ARCHITECTURE.fullmatch(value)
        wanted = match and f"{'compute' if match['virtual'] else 'sm'}_{match['number']}"
        if wanted and wanted not in there:
            has = few(sorted(each.arch for each in code if each.arch)) or "no code for GPUs"
            message = f"the label stands for sm_arch {value}, which needs {wanted}; it has {has}"
            yield finding("variant-arch", message)


def variant_agrees(subject: CheckedWheel) -> Iterator[Finding]:
    """The label of the name and ``variant.json`` are about the same variant."""
    archive = subject.archive
    if not archive.name.label and path_of(archive) in archive:
        message = f"it has {path_of(archive)}, and no label in its name: installers ignore that"
        yield Finding(rule="variant", message=message, severity=Severity.WARNING)
    try:
        read(archive)
    except BadWheelError as error:
        yield finding("variant", error.what)
