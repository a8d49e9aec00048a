"""A pause between uploads, really waited for."""

from __future__ import annotations

import threading

import pytest

from orchestrator.host.process import Cancel
from orchestrator.models.result import UploadOutcome
from orchestrator.publish import upload
from orchestrator.publish.upload import UploadError, send_all
from tests.unit.publish.test_upload import Fails, wheel


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PAUSES", (0.0, 0.0, 0.0, 0.0))


def test_a_pause_ends_with_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PAUSES", (3600.0,))
    cancel = Cancel()
    threading.Timer(0.1, cancel.set).start()

    (found,) = send_all(
        [(Fails(UploadError.of("503", transient=True)), wheel())],
        jobs=1,
        cancel=cancel,
        on_result=lambda _: None,
    )

    assert (found.outcome, found.attempts) == (UploadOutcome.NOT_SENT, 1)
