"""The shared store behind the local one, when it fails."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

from orchestrator.models.target import Digest
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.remote import RemoteStore
from orchestrator.store.result_record import RemoteError


class Broken:
    """Fails everybody who asks at once, each in other words."""

    def __init__(self) -> None:
        self.all = threading.Barrier(2)

    def record(self, address: Digest) -> None:
        self.all.wait()
        raise RemoteError(f"no answer about {address[:4]}")


def test_a_shared_store_that_fails_several_threads_at_once_is_named_once(tmp_path: Path) -> None:
    said: list[str] = []
    broken = cast("RemoteStore", Broken())
    store = Store(
        local=LocalStore(tmp_path / "store"), warn=said.append, open_remote=lambda: broken
    )
    threads = [threading.Thread(target=store.find, args=(Digest(letter * 64),)) for letter in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(said) == 1
    assert "the shared store is not used any more in this run: no answer about" in said[0]
