"""The frontend script on this host, where it makes no wheel: what it is told, and its command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestrator.builders.cibuildwheel import ATTACH_SCRIPT, FRONTEND_SCRIPT, RUN_PIP

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.toolchain_env import Toolchain


def frontend_command(
    toolchain: Toolchain,
    python: Interpreter,
    source: Path,
    scratch: Path,
    more: Mapping[str, object],
) -> list[str]:
    """Return the command that runs the frontend script for a source.

    Args:
        toolchain: its Python runs the script, with its pip.
        python: the Python below the environment of the backend.
        source: the source.
        scratch: a private directory; the question is written there.
        more: what else the script is told; see `builders/scripts/frontend.py`.
    """
    pip, file = scratch / "pip", scratch / "frontend.json"
    pip.mkdir()
    (pip / "pip").symlink_to(toolchain.site_packages / "pip")
    question = {
        "libraries": (),
        "scratch": str(scratch / "frontend"),
        "attach": str(ATTACH_SCRIPT),
        "pip": [RUN_PIP, str(pip)],
        "questions": "",
        "cuda": "",
        "source": str(source),
        "interpreter": str(python.path),
        "frontend": "build",
        "flags": (),
        **more,
    }
    file.write_text(json.dumps(question), encoding="utf-8")
    return [str(toolchain.python), "-I", str(FRONTEND_SCRIPT), str(file)]
