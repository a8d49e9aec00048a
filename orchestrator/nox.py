"""Nox sessions for any project with a matrix.toml: one import and one call in its noxfile.

    import orchestrator.nox

    orchestrator.nox.sessions()

That adds ``build-matrix``, which is ``orchestrator build`` with everything after ``--`` passed on,
and one ``build(<target id>)`` session per target, which is ``orchestrator rebuild <target id>``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

import orchestrator
from orchestrator.cli.output import say
from orchestrator.cli.workspace import open_workspace
from orchestrator.errors import OrchestratorError

# Seconds a run gets to remove its containers after Ctrl-C, before nox ends it.
_INTERRUPT = 90.0
_TERMINATE = 30.0


def sessions(matrix: str = "matrix.toml") -> None:
    """Register the sessions; neither runs by default, that is, without ``-s``.

    Args:
        matrix: the matrix file, relative to the noxfile.
    """

    @nox.session(name="build-matrix", python=False, default=False)
    def build_matrix(session: nox.Session) -> None:
        """Build the whole matrix; options of `orchestrator build` after --."""
        _orchestrator(session, "build", "--matrix", matrix, *session.posargs)

    params = [
        nox.param(target_id, id=target_id, tags=[python])
        for target_id, python in _targets(Path(matrix))
    ]
    if params:

        @nox.session(name="build", python=False, default=False, allow_parallel=True)
        @nox.parametrize("target", params)
        def build(session: nox.Session, target: str) -> None:
            """Build one target, exactly as planned."""
            _orchestrator(session, "rebuild", target, "--matrix", matrix, *session.posargs)


def _targets(matrix: Path) -> list[tuple[str, str]]:
    """Return ID and Python of each target; a wrong matrix must not break the other sessions."""
    try:
        plan = open_workspace(matrix).plan
    except OrchestratorError as error:
        say(f"no build(...) sessions, because of {matrix}:\n{error}")
        return []
    return [(target.id, target.python) for target in plan.everything]


def _orchestrator(session: nox.Session, *arguments: str) -> None:
    # The interpreter that runs nox is the one that could import this module.
    home = str(Path(orchestrator.__file__).parent.parent)
    path = os.pathsep.join(each for each in (home, os.environ.get("PYTHONPATH", "")) if each)
    session.run(
        sys.executable,
        "-m",
        "orchestrator",
        *arguments,
        env={"PYTHONPATH": path},
        interrupt_timeout=_INTERRUPT,
        terminate_timeout=_TERMINATE,
    )
