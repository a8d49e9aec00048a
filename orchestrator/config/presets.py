"""How projects learn their version: variable -> template, by the name of the tool or project.

Data, not code. ``{DIST}`` in a variable's name is the project's name as setuptools-scm spells it
there. A variable whose template names an axis or part that the matrix does not have is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PRESETS: Mapping[str, Mapping[str, str]] = {
    # For one project only: the plain name would also change build requirements that are built
    # from their sdists in the same environment.
    "setuptools-scm": {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{DIST}": "{version}"},
    # Calls setuptools-scm without the project's name (0.5), so only the plain name reaches it.
    "hatch-vcs": {"SETUPTOOLS_SCM_PRETEND_VERSION": "{version}"},
    # Its setuptools_scm provider reads the name from pyproject.toml.
    "scikit-build-core": {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_{DIST}": "{version}"},
    "pdm": {"PDM_BUILD_SCM_VERSION": "{version}"},
    # What torch's builder scripts hand to torchvision, torchaudio and friends.
    "torch": {
        "BUILD_VERSION": "{version}",
        "VERSION_SUFFIX": "+{local}",
        "CU_VERSION": "cu{cuda|nodot}",
    },
    # Its build backend adds both to what version.txt says.
    "flashinfer": {
        "FLASHINFER_LOCAL_VERSION": "{local}",
        "FLASHINFER_DEV_RELEASE_SUFFIX": "{dev}",
    },
    "vllm": {"VLLM_VERSION_OVERRIDE": "{version}"},
    # src/python/setup.py of the server and of its in-process API.
    "triton": {"VERSION": "{version}"},
}
