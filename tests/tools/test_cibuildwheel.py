"""What cibuildwheel has a shell or an engine do, and what we know of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.host.process import capture
from tests.conftest import REPOSITORY, ran
from tests.factories import program
from tests.unit.builders.test_cibuildwheel import TARGET, backend, evaluated, job, shell


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
def test_a_shell_value_is_evaluated(tmp_path: Path, value: str, wanted: str) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.0"\n')
    target = replace(TARGET, env=shell(VALUE=value))

    assert evaluated(target, tmp_path, {"HOME": "/house"})["VALUE"] == wanted


def test_cibuildwheel_cannot_pull(tmp_path: Path) -> None:
    one = backend(tmp_path)
    program(tmp_path / "bin/podman", 'printf "%s\\n" "$@"')
    host = replace(one.containers.host, env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"})
    one = replace(one, containers=replace(one.containers, host=host))
    (tmp_path / "scratch").mkdir()

    env = one._environment(job(tmp_path))
    said = capture(["podman", "create", "--pull=always", "a b", "", "$(x)"], env=env)

    assert said.stdout.splitlines() == ["create", "--pull=never", "a b", "", "$(x)"]


def test_the_facts_are_those_of_the_installed_cibuildwheel() -> None:
    pytest.importorskip("cibuildwheel")
    said = ran(sys.executable, REPOSITORY / "tools/cibuildwheel_facts.py", code=0).stdout

    assert (REPOSITORY / "orchestrator/plan/cibuildwheel.json").read_text("utf-8") == said
