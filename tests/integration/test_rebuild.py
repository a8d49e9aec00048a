"""`rebuild` on this host: as planned or as recorded, compared with before, and its shell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Said, is_alive, orchestrator, results
from tests.factories import edit
from tests.integration.test_store import IDS, MATRIX, Machine
from tests.terminal import in_terminal

NORMAL = "[build]\nnormalise = true\n"
FAILING = '[build]\nbefore-build = "test -e {flag}"\n'
ID = IDS[0]

SLEEPER = "sh -c 'echo slee\"\"ping; exec sleep 600'"
"""Speaks only once it has the terminal, and so gets the Ctrl-C."""


def rebuild(machine: Machine, *options: str | Path, code: int = 0) -> Said:
    arguments = ("rebuild", ID, "--backend", "direct", *options)
    return orchestrator(*arguments, cwd=machine.root, env=machine.env, code=code)


def test_it_builds_again_and_compares(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MATRIX + NORMAL)
    first = rebuild(machine)
    assert "previous wheel" not in first.stderr, "there is none"
    before = results(tmp_path / "dist")[ID]["wheel"]["sha256"]

    second = rebuild(machine)

    assert machine.log.read_text().split() == ["1.0+a", "1.0+a"], "the store was not asked"
    assert f"byte-identical to the previous wheel (sha256 {before})" in second.stderr

    # Nobody has the file any more, but the store has it.
    shutil.rmtree(tmp_path / "dist")
    edit(tmp_path / "tiny" / "backend.py", "Generator: t", "Generator: u")
    third = rebuild(machine)
    assert f"as in the store:\n  sha256: {before} -> " in third.stderr
    assert "content: tiny-1.0+a.dist-info/WHEEL:" in third.stderr
    assert "+Generator: u" in third.stderr


@pytest.fixture(scope="module")
def ci(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where CI built, while the matrix was another one."""
    root = tmp_path_factory.mktemp("ci")
    machine = Machine(root, MATRIX + NORMAL + '[env]\nDEPTH = "1"\nMY_TOKEN = "hush-hush"\n')
    machine.build("--select", ID)
    return root


@pytest.fixture
def elsewhere(ci: Path, tmp_path: Path) -> tuple[Machine, Path]:
    """A checkout of the same source, and what CI left."""
    here = Machine(tmp_path / "here", MATRIX.replace('"1.0"', '"2.0"') + '[env]\nMY_TOKEN = "x"\n')
    shutil.rmtree(here.root / "tiny")
    shutil.copytree(ci / "tiny", here.root / "tiny")
    artefact = tmp_path / "artefact"
    artefact.mkdir()
    shutil.copy(ci / "dist" / "results.json", artefact)
    return here, artefact


def test_it_builds_what_ci_recorded(elsewhere: tuple[Machine, Path]) -> None:
    here, artefact = elsewhere
    theirs = results(artefact)[ID]

    said = rebuild(here, "--from", artefact, "--trust-commands")

    ours = results(here.root / "dist")[ID]
    assert ours["wheel"]["version"] == "1.0+a"
    assert ours["request"]["source"] == theirs["request"]["source"]
    assert {"name": "DEPTH", "value": "1", "origin": "env", "shell": False} in ours["request"][
        "env"
    ]
    assert "version: 2.0+a -> 1.0+a" in said.stderr
    assert "env DEPTH: - -> 1" in said.stderr
    assert "MY_TOKEN is secret there, and as planned here" in said.stderr
    assert f"byte-identical to the previous wheel (sha256 {theirs['wheel']['sha256']})" in (
        said.stderr
    )


def test_without_the_bytes_it_says_which_facts_differ(elsewhere: tuple[Machine, Path]) -> None:
    here, artefact = elsewhere

    def other(result: dict[str, Any]) -> None:
        result["wheel"]["sha256"] = "0" * 64
        result["request"]["toolchain"] = "f" * 64

    change(artefact, other)
    said = rebuild(here, "--from", artefact / "results.json", "--trust-commands")

    assert "warning: the toolchain differs: recorded ffff" in " ".join(said.stderr.split())
    assert f"sha256: {'0' * 64} -> " in said.stderr
    assert "is gone, so it cannot be compared" in said.stderr
    assert "\n  toolchain: ffff" in said.stderr


def change(artefact: Path, how: Any) -> None:
    file = artefact / "results.json"
    document = json.loads(file.read_text())
    for each in document["results"]:
        how(each)
    file.write_text(json.dumps(document))


def spoil(artefact: Path, owned: Path) -> None:
    """Have the file run something wherever it may say what is run."""

    def touch(result: dict[str, Any]) -> None:
        request, name = result["request"], f"touch {owned}"
        request["commands"] |= {"before_all": name, "before_build": name, "test_command": name}
        request["env"] += [
            {"name": "X", "value": f"$({name})", "origin": "env", "shell": True},
        ]

    change(artefact, touch)


@pytest.mark.parametrize("backend", ["direct", "auto"])
def test_this_host_runs_no_command_of_the_file_unasked(
    elsewhere: tuple[Machine, Path], backend: str, tmp_path: Path
) -> None:
    here, artefact = elsewhere
    owned = tmp_path / "owned"
    (here.root / "matrix.toml").write_text(MATRIX)
    spoil(artefact, owned)
    # auto would take a container where there is an engine: there is none.
    env = {**here.env, "DOCKER_HOST": "unix:///nowhere", "CONTAINER_HOST": "unix:///nowhere"}
    arguments = ("rebuild", ID, "--backend", backend, "--from", artefact)

    said = orchestrator(*arguments, cwd=here.root, env=env)

    assert said.code != 0, said.all
    assert not owned.exists()
    if backend == "direct":
        assert said.code == 2, said.all
        for what in (f"before-all: touch {owned}", "env X=$(touch", "--trust-commands"):
            assert what in said.stderr
        assert not (here.root / "built").exists()

        rebuild(here, "--from", artefact, "--trust-commands")
        assert owned.exists()


def test_the_matrix_s_own_commands_run_as_ever(ci: Path, tmp_path: Path) -> None:
    """Only the version is another one."""
    own = NORMAL + f'before-all = "touch {tmp_path}/own"\n'
    there = Machine(tmp_path / "there", MATRIX + own)
    there.build("--select", ID)
    (tmp_path / "own").unlink()
    here = Machine(tmp_path / "here", MATRIX.replace('"1.0"', '"2.0"') + own)
    shutil.rmtree(here.root / "tiny")
    shutil.copytree(there.root / "tiny", here.root / "tiny")

    rebuild(here, "--from", there.root / "dist")

    assert (tmp_path / "own").exists()
    assert results(here.root / "dist")[ID]["wheel"]["version"] == "1.0+a"


def test_another_source_is_an_error_that_names_both(elsewhere: tuple[Machine, Path]) -> None:
    here, artefact = elsewhere
    digest = results(artefact)[ID]["request"]["source"]["digest"]
    (here.root / "tiny" / "tiny.c").write_text("/* changed */\n")

    said = rebuild(here, "--from", artefact, "--trust-commands", code=2)

    assert f"and {digest} there" in said.stderr
    assert "check out the commit" in said.stderr
    assert not (here.root / "built").exists(), "nothing was built"


def test_a_shell_opens_where_the_build_failed(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MATRIX + FAILING.format(flag=tmp_path / "flag"))
    marker, pid = tmp_path / "marker", tmp_path / "pid"
    code, shown = in_terminal(
        *("rebuild", ID, "--backend", "direct", "--shell"),
        cwd=tmp_path,
        env={**machine.env, "SHELL": "/bin/sh"},
        dialogue=[
            ("exit the shell", f"sleep 987 & echo $! > {pid}; {SLEEPER}\n"),
            ("sleeping", "\x03"),
            ("^C", f"ls > {marker}; echo $TINY_VERSION >> {marker}; echo do''ne; exit 7\n"),
            ("done", ""),
        ],
    )
    assert code == 1, shown
    assert "step 'before-build' failed: before-build failed (sh exit 1)" in shown
    assert f"again:  sh -c 'test -e {tmp_path / 'flag'}'" in shown
    assert marker.read_text().split() == ["backend.py", "pyproject.toml", "tiny.c", "1.0+a"]
    assert not list((tmp_path / ".orchestrator/runs").iterdir())
    assert not is_alive(pid.read_text().strip()), "nothing of the shell is left"
    assert not list((tmp_path / "dist").glob("*.whl"))
    assert results(tmp_path / "dist")[ID]["failure"]["step"] == "before-build"

    (tmp_path / "flag").touch()
    code, shown = in_terminal(
        *("rebuild", ID, "--backend", "direct", "--shell"),
        cwd=tmp_path,
        env=machine.env,
        dialogue=[],
    )
    assert code == 0, shown
    assert "exit the shell" not in shown, "a build that succeeds opens none"


def test_a_shell_needs_a_terminal(tmp_path: Path) -> None:
    said = rebuild(Machine(tmp_path), "--shell", code=2)

    assert "a shell needs a terminal" in said.stderr
    assert not (tmp_path / "dist").exists()
