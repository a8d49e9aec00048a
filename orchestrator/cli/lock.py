"""``orchestrator lock``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import plan_options, repeatable
from orchestrator.cli.output import say
from orchestrator.errors import EnvironmentProblemError, ExitCode
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.run.lock_requirements import LockReport


@click.command(
    "lock",
    epilog=examples("lock", "lock --upgrade-package torch", "lock --check"),
)
@plan_options
@click.option("--upgrade", is_flag=True, help="Take the newest versions, whatever is locked.")
@repeatable(
    "--upgrade-package packages", "NAME", "Take the newest version of this distribution only."
)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the lock would change.")
def command(
    matrix: Path | None,
    channel: str,
    select: Sequence[str],
    part: str | None,
    packages: Sequence[str],
    *,
    upgrade: bool,
    check: bool,
) -> int:
    """Lock what builds and tests install, to the file, beside the matrix.

    What is locked stays, as far as the matrix allows, until an option says otherwise. `orchestrator
    build --locked` installs it.
    """
    from packaging.utils import canonicalize_name

    from orchestrator.cli.workspace import open_host, open_workspace, select_with_versions
    from orchestrator.config.lock_file import write_lock
    from orchestrator.fsutil import write_whole
    from orchestrator.host.inherited import stop_as_ctrl_c_does
    from orchestrator.host.process import Cancel
    from orchestrator.models.requirement_lock import RequirementLock
    from orchestrator.provision.tools import Tools
    from orchestrator.run.lock_requirements import RequirementLocker

    stop_as_ctrl_c_does()
    workspace = open_workspace(matrix, channel, fetch=True)
    workspace, plan = select_with_versions(workspace, select, part, pull=True)
    found = workspace.find_lock()
    before = RequirementLock() if found is None else found.lock
    locker = RequirementLocker(
        inputs=workspace.inputs(plan),
        tools=Tools(host=open_host(), cancel=Cancel(), say=say),
        before=before,
        upgrade=None if upgrade else frozenset(map(canonicalize_name, packages)),
        say=say,
    )
    # Without a selection, the lock has no target that the matrix has not.
    made = locker.lock(workspace.written, only=not select and part is None)
    _tell(made)
    differs = made.lock != before
    if not check and differs:
        try:
            write_whole(workspace.lock_file, write_lock(made.lock))
        except OSError as error:
            what = error.strerror or str(error)
            raise EnvironmentProblemError.of(what, where=str(workspace.lock_file)) from None
    targets = count_of(len(made.lock.targets), "target")
    environments = count_of(len(made.lock.environments), "environment")
    state = ("would change" if check else "written") if differs else "unchanged"
    say(f"{workspace.lock_file.name}: {environments} of {targets}, {state}")
    if made.problems:
        raise EnvironmentProblemError(*made.problems)
    return ExitCode.TARGET_FAILED if check and differs else ExitCode.OK


def _tell(made: LockReport) -> None:
    """Say what a lock changes, and what no lock has."""
    for before, now in made.changes:
        old, new = before.partition("==")[2], now.partition("==")[2]
        name = (before or now).partition("==")[0]
        if old and new:
            say(f"{name} {old} -> {new}")
        else:
            say(f"+ {now}" if new else f"- {before}")
    for note in made.notes:
        say(f"note: {note}")
