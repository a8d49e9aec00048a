"""Programs cannot print the credentials that they were given."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.host.process import capture, run


def test_programs_cannot_print_the_credentials_they_were_given(tmp_path: Path) -> None:
    env = {"PIP_INDEX_URL": "https://user:hunter2@host/simple"}
    script = "import os, sys; print(os.environ, file=sys.stderr); print('it is hunter2')"
    lines: list[str] = []
    argv = [sys.executable, "-I", "-c", script]
    run(argv, env=env, cwd=tmp_path, log=lines.append)
    said = capture(argv, env=env)
    assert len(lines) == 2
    assert "hunter2" not in "".join(lines) + said.stderr
