"""``results.json``, beside the wheels."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
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
        earlier = earlier if isinstance(earlier, dict) else {}
        document = documents.results_document(
            results, earlier=earlier, root=output.absolute().parent
        )
        _move_superseded(earlier, document, output=output, aside=work / "superseded")
        partial = path.with_name(f".{NAME}.partial")
        try:
            partial.write_text(documents.dumps(document), encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _move_superseded(
    earlier: dict[str, Any], document: dict[str, Any], *, output: Path, aside: Path
) -> None:
    """Move wheels out of ``output`` that a target made earlier under another name.

    Otherwise an upload of the directory would publish the old version, or the old tag, as well.
    Only files that are still what results.json said are touched.
    """
    current = {name for name, _ in _wheels(document)}
    for name, sha256 in _wheels(earlier):
        wheel = output / name
        if name in current or not wheel.is_file():
            continue
        with wheel.open("rb") as stream:
            same = hashlib.file_digest(stream, "sha256").hexdigest() == sha256
        if same:
            aside.mkdir(parents=True, exist_ok=True)
            shutil.move(wheel, aside / name)


def _wheels(document: dict[str, Any]) -> list[tuple[str, str]]:
    if document.get("schema") != documents.SCHEMA:
        return []  # somebody else's file, or another version's
    found = (each.get("wheel") for each in document.get("results", []))
    return [(wheel["filename"], wheel["sha256"]) for wheel in found if wheel]
