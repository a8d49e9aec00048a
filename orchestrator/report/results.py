"""``results.json``, beside the wheels."""

from __future__ import annotations

import contextlib
import fcntl
import json
from typing import TYPE_CHECKING, Any

from orchestrator.report import json as documents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.models import BuildResult

NAME = "results.json"


def write(results: Sequence[BuildResult], *, output: Path, work: Path) -> Path:
    """Lay a run's results over those in ``results.json``; safe for runs at the same time.

    Args:
        results: the run's results; targets of earlier runs that are not in it stay.
        output: the directory of the wheels.
        work: the work directory, for the lock.
    """
    path = output / NAME
    with (work / "results.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        earlier: Any = None
        with contextlib.suppress(OSError, ValueError):
            earlier = json.loads(path.read_text(encoding="utf-8"))
        document = documents.results_document(
            results,
            earlier=earlier if isinstance(earlier, dict) else {},
            root=output.absolute().parent,
        )
        partial = path.with_name(f".{NAME}.partial")
        try:
            partial.write_text(documents.dumps(document), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path
