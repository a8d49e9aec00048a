"""What would be built now, compared with the last result of a target."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.container import ContainerFactory
from orchestrator.errors import ConfigError
from orchestrator.fsutil import read_file
from orchestrator.host.process import Cancel
from orchestrator.models.reading import LARGEST
from orchestrator.provision.tools import Tools
from orchestrator.run.cache_diff import changes, check_document, read_files
from orchestrator.run.inputs import open_store
from orchestrator.run.planned import planned_actions
from orchestrator.run.run_source import RunSource

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.models.target import Digest
    from orchestrator.provision.host import Host
    from orchestrator.run.cache_diff import InputChange
    from orchestrator.run.cache_key import Action
    from orchestrator.run.inputs import Inputs
    from orchestrator.source.fingerprint import SourceFingerprint
    from orchestrator.store.cas import Store
    from orchestrator.store.result_record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A target and its last result: its address, and what the store still has of it.

    The action is what would be built now, None where only a build can tell; `stored` is whether the
    store has that.
    """

    last: Digest | None
    record: Record | None
    action: Action | None
    changes: tuple[InputChange, ...]
    stored: bool


def compare_with_last(
    inputs: Inputs,
    written: tuple[Path, ...],
    *,
    host: Host,
    warn: Callable[[str], object],
) -> Comparison:
    """Compare the last target of the inputs with its last result; nothing is built."""
    target, cancel = inputs.targets[-1].id, Cancel()
    store = open_store(inputs.store, environ=host.environ, warn=warn)
    last = store.local.last(inputs.project).get(target)
    record = None if last is None else _comparable(store.find(last), warn)
    source = RunSource(inputs=inputs, written=written, environ=host.environ, host=lambda: host)
    identity = source.identify()
    actions = planned_actions(
        inputs,
        identity.source,
        tools=Tools(host=host, cancel=cancel, say=_ignore),
        containers=ContainerFactory(
            host=host, settings=inputs.engine, label="", log=_ignore, cancel=cancel
        ),
        wanted=None if record is None else record.backend,
    )[target]
    return Comparison(
        last=last,
        record=record,
        action=actions[0] if actions else None,
        changes=_changes(record, actions[0], identity, store) if actions and record else (),
        stored=any(store.find(action.address) is not None for action in actions),
    )


def _comparable(record: Record | None, warn: Callable[[str], object]) -> Record | None:
    if record is not None:
        try:
            check_document(record.document)
        except ConfigError as error:
            warn(f"store: record {record.address[:16]} cannot be compared: {error}")
            return None
    return record


def _changes(
    record: Record, action: Action, identity: SourceFingerprint, store: Store
) -> tuple[InputChange, ...]:
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as scratch:
        listed = record.sources and store.fetch(record.sources, Path(scratch))
        before = read_files(read_file(listed, limit=LARGEST)) if listed else None
    return changes(
        record.document,
        json.loads(json.dumps(action.document)),
        files_before=before,
        files_now=read_files(identity.manifest()),
    )


def _ignore(_: str) -> None:
    """Take a line of an engine, which is asked for nothing that takes long."""
