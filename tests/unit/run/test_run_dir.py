"""The directories of a run."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.run.run_dir import lines, make_directories

LEFT = f".a.0123abcd.{2**22 + 1}.partial"
"""A name whose process is none: the kernel gives no such number."""


def test_what_a_killed_run_was_writing_is_removed_wherever_it_wrote(tmp_path: Path) -> None:
    options: Any = SimpleNamespace(output=tmp_path / "dist", work=tmp_path / "work")
    folders = ("dist", "work", "work/logs", "work/rejected/target")
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / LEFT).touch()
    make_directories(options, tmp_path / "run")
    assert list(tmp_path.rglob("*.partial")) == []


def test_an_error_of_the_disk_names_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "log"
    full = Path("/dev/full")
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *a, **k: opened(full if path == place else path, *a, **k)
    )
    with (
        pytest.raises(OSError, match=os.strerror(28)) as error,
        lines(place, tmp_path / "public") as write,
    ):
        write("a line")
    assert error.value.filename == str(place)
