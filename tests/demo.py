"""A small project with a library and an extension for the stable ABI, for end-to-end tests."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import TAG
from tests.factories import write_project

FLOOR = f"0x{sys.version_info.major:02x}{sys.version_info.minor:02x}0000"


def write(place: Path, *, arch: str, tag: str = TAG, floor: str = FLOOR) -> None:
    """Write the project, and a matrix in which two libraries feed one wheel."""
    write_project(place, "fanin", arch=arch, tag=tag, floor=floor)
