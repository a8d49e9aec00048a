"""Unit tests start no program, open no socket and do not sleep: those that do are in tests/tools.

An audit hook cannot be removed, so it looks at whether a unit test runs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

FORBIDDEN = {
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn"),
    *("os.fork", "os.forkpty", "pty.spawn"),
    *("socket.__new__", "socket.connect", "socket.bind", "socket.getaddrinfo"),
}

CACHE = tempfile.TemporaryDirectory(prefix="orchestrator-unit-")

_offences: list[str] | None = None
"""What the running unit test did, or None while none runs."""


def _offend(offence: str) -> None:
    if _offences is not None:
        _offences.append(offence)
        pytest.fail(f"a unit test must not do this; move it to tests/tools: {offence}")


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event in FORBIDDEN:
        _offend(f"{event} {arguments[:2]}")


sys.addaudithook(_watch)


def _sleep(seconds: float) -> None:
    if seconds > 0:
        _offend(f"time.sleep({seconds})")


@pytest.fixture(autouse=True)
def unit_rules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail the test at the offending line, and at its end if something caught that failure."""
    global _offences  # noqa: PLW0603 - the hook outlives every fixture
    monkeypatch.setattr(time, "sleep", _sleep)
    # What the user's cache holds decides nothing.
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", CACHE.name)
    seen: list[str] = []
    _offences = seen
    yield
    _offences = None
    assert seen == []


@pytest.fixture
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make room for each message in one line."""
    monkeypatch.setenv("COLUMNS", "1000")
