"""Two processes' worth of waiting for one result of the store."""

from __future__ import annotations

import threading
from pathlib import Path

from orchestrator.store.local import LocalStore
from tests.unit.store.test_local import address


def test_whoever_comes_second_waits_and_is_told(tmp_path: Path) -> None:
    local = LocalStore(tmp_path / "store")
    order: list[str] = []
    waits = threading.Event()

    def waiting() -> bool:
        waits.set()
        return True

    def second() -> None:
        with LocalStore(local.root).turn(address("a"), waiting=waiting) as waited:
            order.append(f"second {waited}")

    with local.turn(address("a"), waiting=lambda: True) as waited:
        order.append(f"first {waited}")
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        order.append("first is done")
    thread.join(30)

    assert order == ["first False", "first is done", "second True"]
    assert list((local.root / "locks").iterdir()) == []
