"""What package indexes refuse, as far as a plan can know it. Data; compare it with its source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from orchestrator.models.platforms import Arch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One place wheels are published to.

    Attributes:
        platforms: regular expression of the platform tags it takes.
        local_versions: whether it takes local versions (PEP 440 tells public indexes not to).
        epochs: whether a file keeps its name where the version has an epoch.
        file_size: bytes of the largest file.
        project_size: bytes of all files of a project, or of a release; None for no limit.
        files: how many files at most; None for no limit.
        granted: whether more than these sizes is granted to who asks for it.
        is_pypi: whether it runs PyPI's program, which reads the wheels.
        source: where the facts come from.
        updated: when they were last compared with it.
    """

    platforms: str
    local_versions: bool
    epochs: bool
    file_size: int
    project_size: int | None
    files: int | None
    granted: bool
    is_pypi: bool
    source: str
    updated: date


_PYPI = Destination(
    platforms="|".join(
        (
            r"any|win32|win_(amd64|arm64|ia64)|pyemscripten_\d+_\d+_wasm32",
            r"macosx_(10_\d+|(1[1-5]|26)_0)_(ppc(64)?|i386|x86_64|arm64|intel|fat(3|64)?|universal2?)",
            r"ios_\d+_\d+_(arm64|x86_64)_iphone(os|simulator)",
            r"android_\d+_(armeabi_v7a|arm64_v8a|x86|x86_64)",
            r"linux_(armv6l|armv7l)|manylinux(2014|_\d+_\d+)_ppc64",
            *(rf"(many|musl)linux_\d+_\d+_{each}" for each in Arch if each.facts.pypi),
            *(f"{legacy}_{each}" for each in Arch for legacy in each.facts.legacy),
        )
    ),
    local_versions=False,
    epochs=True,
    file_size=100 << 20,
    project_size=10 << 30,
    files=None,
    granted=True,
    is_pypi=True,
    source="pypi/warehouse, warehouse/forklift/legacy.py",
    updated=date(2026, 11, 21),
)

GITHUB_RELEASE = "github-release"

_GITHUB = Destination(
    platforms=r".*",
    local_versions=True,
    epochs=False,
    file_size=(2 << 30) - 1,
    project_size=None,
    files=1000,
    granted=False,
    is_pypi=False,
    source="github/docs, content/repositories/releasing-projects-on-github/about-releases.md",
    updated=date(2026, 11, 21),
)

DESTINATIONS: Mapping[str, Destination] = {
    "pypi": _PYPI,
    "testpypi": _PYPI,
    GITHUB_RELEASE: _GITHUB,
}
"""The destinations whose rules are known; TestPyPI runs the same program as PyPI."""

OTHERS = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
"""Destinations that take everything a plan can hold, as far as is known."""


def refusals(name: str, *, tag: str, version: str) -> Iterator[str]:
    """Return why a destination would refuse a wheel of a platform tag and a version (PEP 440)."""
    known = DESTINATIONS.get(name)
    if known is None:
        return
    if re.fullmatch(known.platforms, tag) is None:
        # Whatever the libc's version is, the architecture decides.
        shown = re.sub(r"_\d+_\d+_", "_*_", tag)
        yield f"{name} takes no {shown} wheels ({known.source}, {known.updated})"
    if "+" in version and not known.local_versions:
        yield f"{name} takes no local versions such as {version} (PEP 440)"
    if "!" in version and not known.epochs:
        yield f"{name} would change the name of a file with an epoch such as {version}"
