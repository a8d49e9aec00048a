"""PEP 517/660 build backend: setuptools, plus the CUDA compiler of the variant asked for.

A project cannot know its CUDA version statically, so the compiler is a *dynamic* build
requirement: the frontend asks `get_requires_for_build_wheel`, which reads SAXPY_CUDA and names
the compiler's wheels. No container image or host needs a CUDA toolkit.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Optional, Union

from saxpy_cuda import compiler_requirements, requested_cuda
from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    ConfigSettings = Optional[Mapping[str, Union[str, list[str], None]]]

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: ConfigSettings = None) -> list[str]:
    """Return what a wheel of the variant named by the environment needs to be built (PEP 517)."""
    # First, so that an unknown SAXPY_CUDA is refused before anything runs or is downloaded.
    compiler = compiler_requirements(requested_cuda(os.environ), os.environ)
    return [*build_meta.get_requires_for_build_wheel(config_settings), *compiler]


def get_requires_for_build_editable(config_settings: ConfigSettings = None) -> list[str]:
    """Return the same for an editable install (PEP 660), which compiles the same modules."""
    return get_requires_for_build_wheel(config_settings)
