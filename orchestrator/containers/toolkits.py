"""The CUDA toolkits of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT = Path(__file__).with_name("toolkits.sh")
"""Lists them; runs in the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolkit:
    """A CUDA toolkit of an image.

    Attributes:
        version: of its nvcc: ``13.0.88``.
        profile: SHA-256 of nvcc's settings; empty if its programs are not all of one version.
        nvcc: the file, with all links resolved.
    """

    version: str
    profile: str
    nvcc: str

    @classmethod
    def parse(cls, answer: str) -> Self:
        """Return the toolkit of an answer of the script: ``VERSION PROFILE PATH``."""
        version, profile, nvcc = answer.split(" ", 2)
        return cls(version=version, profile=profile.replace("-", ""), nvcc=nvcc)

    @property
    def root(self) -> str:
        """Its directory in the image."""
        return str(PurePosixPath(self.nvcc).parents[1])


def parse_toolkits(lines: Iterable[str]) -> tuple[Toolkit, ...]:
    """Return the toolkits that the script has listed."""
    found = (line.removeprefix("nvcc ") for line in lines if line.startswith("nvcc "))
    return tuple(map(Toolkit.parse, found))
