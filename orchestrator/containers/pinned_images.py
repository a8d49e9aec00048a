"""The image references that the locked cibuildwheel pins."""

from __future__ import annotations

import configparser
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.models.platforms import Arch
    from orchestrator.provision.toolchain import Toolchain


def image_reference(image: str, arch: Arch, toolchain: Toolchain) -> str:
    """Return the reference the engine will get: an alias as the locked cibuildwheel pins it."""
    pinned = _pinned_images(toolchain.site_packages)
    if pinned.has_option(arch, image):
        return pinned.get(arch, image).split()[0]
    return image


@cache
def _pinned_images(site_packages: Path) -> configparser.ConfigParser:
    pinned = configparser.ConfigParser()
    file = site_packages / "cibuildwheel" / "resources" / "pinned_docker_images.cfg"
    pinned.read_string(file.read_text(encoding="utf-8"))
    return pinned
