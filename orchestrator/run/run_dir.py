"""The directories of a run: where builds happen, and what a killed run has left there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.run.finish import PARTIAL
from orchestrator.run.worker import RunDirectories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.run.inputs import Options

RUN_VARIABLE = "ORCHESTRATOR_RUN"
"""Names the run's directory to every program of a run, so that the next run can end what a killed
one left behind."""

LABEL = "orchestrator.run"
"""Container label whose value is the run's ID."""


def make_places(options: Options, run: Path) -> RunDirectories:
    """Make the directories that a run writes to.

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
    with _locked(runs):
        run = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{threading.get_ident():x}"
        run.mkdir()
        lock = (run / "lock").open("w", encoding="utf-8")
        fcntl.flock(lock, fcntl.LOCK_EX)
    with lock:
        try:
            yield run
        finally:
            shutil.rmtree(run, ignore_errors=True)


def stale_runs(runs: Path) -> tuple[str, ...]:
    """Remove the directories of runs that were killed, and return their names."""
    names = []
    if not runs.is_dir():
        return ()
    with _locked(runs):
        for run in runs.iterdir():
            with contextlib.suppress(OSError), (run / "lock").open("a", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # First what would go on writing there: compilers that nobody waits for.
                process.kill_left(RUN_VARIABLE, str(run))
                shutil.rmtree(run, ignore_errors=True)
                names.append(run.name)
    return tuple(names)


def remove_partial(output: Path) -> None:
    """Remove wheels that were being written when their process was killed."""
    for path in output.glob(f".*{PARTIAL}"):
        pid = path.name.removesuffix(PARTIAL).rpartition(".")[2]
        if pid.isdigit() and not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)


@contextmanager
def lines(private: Path, public: Path) -> Iterator[Callable[[str], object]]:
    """Write lines to a file that gets its public name once there is one."""
    with private.open("w", encoding="utf-8") as stream:

        def write(line: str) -> None:
            stream.write(f"{line}\n")
            stream.flush()
            shutil.copyfile(private, public)

        yield write


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a directory, so that a run is never seen without its own lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
