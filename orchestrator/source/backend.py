"""Ask a project's build backend for its version (PEP 517, `prepare_metadata_for_build_wheel`).

This runs code of the project on this host, in a copy of its source and with what its build
requires. Only a matrix that says so (``backend``), and commands that build, do it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.host.process import Captured, capture
from orchestrator.source.stage import copy_source

if TYPE_CHECKING:
    from orchestrator.provision.host import Host

SCRIPT = Path(__file__).parent / "scripts" / "backend_version.py"
TIMEOUT = 900.0


def ask(root: Path, host: Host) -> Captured:
    """Return what the build backend says of a source directory."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        scratch = Path(folder)
        tree = scratch / "source"
        copy_source(root, tree)
        argv = [str(host.toolchain.python), "-I", str(SCRIPT), str(tree)]
        env = host.build_env(scratch) | {"TMPDIR": folder}
        return capture(argv, env=env, cwd=tree, timeout=TIMEOUT)
