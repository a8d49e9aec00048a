"""What cibuildwheel has a shell or an engine do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.host.process import capture
from tests.unit.builders.test_cibuildwheel import TARGET, backend, evaluated, job, shell


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "demo"\nversion = "1.0"\n', encoding="utf-8"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("$HOME/x", "/house/x"),
        ("${HOME}/x", "/house/x"),
        ("/a:$PATH", "/a:/usr/bin:/bin"),
        ("$(echo one two)", "one two"),
        ("a $(echo b) c", "a b c"),
        ("$UNSET", ""),
        ("it's $HOME", "it's /house"),
        ('say "$HOME"', 'say "/house"'),
        ("two  blanks; $HOME", "two  blanks; /house"),
        ("no shell", "no shell"),
    ],
)
def test_a_shell_value_is_evaluated(project: Path, value: str, wanted: str) -> None:
    target = replace(TARGET, env=shell(VALUE=value))

    assert evaluated(target, project, {"HOME": "/house"})["VALUE"] == wanted


def test_cibuildwheel_cannot_pull(tmp_path: Path) -> None:
    one = backend(tmp_path)
    (tmp_path / "bin").mkdir()
    real = tmp_path / "bin/podman"
    real.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    real.chmod(0o755)
    host = replace(one.containers.host, env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})
    one = replace(one, containers=replace(one.containers, host=host))
    (tmp_path / "scratch").mkdir()

    env = one._environment(job(tmp_path))
    said = capture(["podman", "create", "--pull=always", "a b", "", "$(x)"], env=env)

    assert said.stdout.splitlines() == ["create", "--pull=never", "a b", "", "$(x)"]
