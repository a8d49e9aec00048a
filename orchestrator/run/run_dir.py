"""The directories of a run: where builds happen, and what a killed run has left there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import (
    copy_file,
    locked,
    named,
    remove_dead_names,
    remove_partial,
    remove_tree,
)
from orchestrator.host import process_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.models.target import TargetId
    from orchestrator.run.inputs import Options

RUN_VARIABLE = "ORCHESTRATOR_RUN"
"""Names the run's directory to every program of a run, so that the next run can end what a killed
one left behind."""

LABEL = "orchestrator.run"
"""Container label whose value is the run's ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDirectories:
    """Directories of a run: finished wheels, its private one, logs, and wheels kept aside."""

    output: Path
    run: Path
    logs: Path
    rejected: Path

    def log(self, target_id: TargetId) -> Path:
        """Return where users find a target's log."""
        return self.logs / f"{target_id}.log"

    def private_log(self, target_id: TargetId) -> Path:
        """Return where this run writes a target's log: another run of the target has its own."""
        return self.run / "logs" / f"{target_id}.log"

    def scratch(self, target_id: TargetId) -> Path:
        """Return the private directory of a target's build."""
        return self.run / "targets" / target_id

    def restored(self, target_id: TargetId) -> Path:
        """Return where what a shared store has of a target is put at first."""
        return self.run / f"restored/{target_id}"

    def outputs(self, target_id: TargetId) -> Path:
        """Return where the outputs of a library are."""
        return self.run / "outputs" / target_id


def make_directories(options: Options, run: Path) -> RunDirectories:
    """Make the directories that a run writes to, without what killed runs were writing there.

    Raises:
        EnvironmentProblemError: one cannot be written.
    """
    places = RunDirectories(
        output=options.output,
        run=run,
        logs=options.work / "logs",
        rejected=options.work / "rejected",
    )
    # A directory that is there may still be read-only, or its disk full: better known now than
    # when the first wheel is finished.
    for folder in (places.output, places.logs, places.rejected):
        _make_writable(folder)
        remove_partial(folder, deep=folder == places.rejected)
    remove_partial(options.work)
    with contextlib.suppress(OSError):
        (options.work / ".gitignore").write_text("*\n", encoding="utf-8")
    return places


def _make_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x" * 4096)
    except OSError as error:
        raise EnvironmentProblemError.of(
            f"cannot be written: {error.strerror}",
            where=str(folder),
            hint="free some space, or choose another --output-dir or --work-dir",
        ) from None


def runs_directory(work: Path, cache_dir: Path) -> Path:
    """Return where builds happen: below ``work``, unless that has characters commands stumble over.

    cibuildwheel puts paths into shell commands unquoted, and ``#!`` lines cannot hold a blank.
    """
    if _PLAIN.fullmatch(str(work)):
        return work / "runs"
    return cache_dir / "runs" / hashlib.sha256(os.fsencode(work)).hexdigest()[:16]


_PLAIN = re.compile(r"[A-Za-z0-9._+/@%-]+")


@contextmanager
def run_directory(runs: Path) -> Iterator[Path]:
    """Make a directory for one run below ``runs``, and remove it afterwards.

    A run holds a lock on its directory; the kernel releases it when the process dies.
    """
    _make_writable(runs)
    with contextlib.ExitStack() as stack:
        with locked(runs):  # so that the run is never seen without its own lock
            run = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{threading.get_ident():x}"
            run.mkdir()
            stack.enter_context(locked(run / "lock"))
        stack.callback(remove_tree, run, ignore_errors=True)
        yield run


def stale_runs(runs: Path) -> tuple[str, ...]:
    """Remove the directories of runs that were killed, and return their names."""
    names = []
    if not runs.is_dir():
        return ()
    with locked(runs):
        for run in runs.iterdir():
            with contextlib.suppress(OSError), locked(run / "lock", wait=False):
                # First what would go on writing there: compilers that nobody waits for.
                process_tree.kill_left(RUN_VARIABLE, str(run))
                remove_tree(run, ignore_errors=True)
                names.append(run.name)
    remove_dead_names()
    return tuple(names)


@contextmanager
def lines(private: Path, public: Path) -> Iterator[Callable[[str], object]]:
    """Write lines to a file that gets its public name once there is one."""
    with named(private):
        stream = private.open("w", encoding="utf-8")

    def write(line: str) -> None:
        with named(private):
            stream.write(f"{line}\n")
            stream.flush()
        copy_file(private, public)

    try:
        yield write
    finally:
        with named(private):
            stream.close()
