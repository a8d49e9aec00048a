from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.host.json_file import load_json


def test_a_document_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"a": 1}')

    assert load_json(dict[str, int], tmp_path / "file") == {"a": 1}


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "gone", "."):
        with pytest.raises(ConfigError, match=rf"^{re.escape(str(tmp_path / name))}: "):
            load_json(dict[str, Any], tmp_path / name)
