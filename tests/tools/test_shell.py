"""The shell that cibuildwheel's commands run in, and how a container's processor time is read."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

import orchestrator.builders
from orchestrator.builders import shell
from orchestrator.host.process import capture
from tests.conftest import ran

SCRIPT = Path(orchestrator.builders.__file__).parent / "scripts" / "shell.sh"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script, as it is but for where it writes."""
    path = tmp_path / "shell.sh"
    text = SCRIPT.read_text()
    assert "/opt/orchestrator-shell/times" in text
    (tmp_path / "shell").mkdir()
    path.write_text(text.replace("/opt/orchestrator-shell", str(tmp_path / "shell")))
    return path


def sent(script: Path, commands: str) -> str:
    """Send commands to a bash as cibuildwheel does: through its standard input."""
    environ = {"PATH": "/usr/bin:/bin", "BASH_ENV": str(script), "KEPT": "here"}
    (script.parent / "commands").write_text(commands)
    with (script.parent / "commands").open("rb") as stdin:
        said = ran("/bin/bash", env=environ, stdin=stdin, code=0)
    return said.stdout + said.stderr


SHOW = (
    f"{sys.executable} -c 'import os, sys;"
    'print(sys.argv[1:], [os.environ.get(x) for x in ("A", "B", "KEPT", "BASH_ENV")])\''
)


@pytest.mark.parametrize(
    ("assignments", "seen"),
    [
        ("", "[None, None, 'here', None]"),
        ("A=1 'B=x y'", "['1', 'x y', 'here', None]"),
        ("A='$(touch pwned)' 'B=\"'", "['$(touch pwned)', '\"', 'here', None]"),
        ("A='a=b' B='one\ntwo'", "['a=b', 'one\\ntwo', 'here', None]"),
        ("A=1 'BASH_FUNC_f%%=() { :; }' B=2", "['1', '2', 'here', None]"),
        ("A=1 UID=7 B=2", "['1', '2', 'here', None]"),
        ("A=1 LC_ALL=xx_YY.none B=2", "['1', '2', 'here', None]"),
        ("A=1 -u KEPT", "['1', None, None, None]"),
    ],
)
def test_a_command_gets_the_environment_it_would_get_of_env(
    script: Path, assignments: str, seen: str
) -> None:
    said = sent(script, f"(\n cd /\n env {assignments} {SHOW} 'x y' z=1\n printf '%04d' $?\n)\n")

    assert said == f"['x y', 'z=1'] {seen}\n0000"


def test_what_it_exports_stays_with_the_command_and_its_exit_code_goes_on(script: Path) -> None:
    commands = "env A=1 sh -c 'exit 3'\necho $? [${A-}]\nenv A=1 nothing-of-that-name\necho $?\n"
    said = sent(script, commands).splitlines()

    assert said[0] == "3 []"
    assert "127" in said
    assert any("nothing-of-that-name: not found" in line for line in said)


def test_no_value_stands_in_a_list_of_processes(script: Path) -> None:
    arguments = "tr '\\0' ' ' </proc/$$/cmdline; tr '\\0' ' ' </proc/$PPID/cmdline"
    said = sent(script, f'env "SECRET=hunter2" sh -c "$(cat <<\'X\'\n{arguments}\nX\n)"\n')

    assert "sh -c" in said
    assert "hunter2" not in said


def test_files_are_listed_as_cibuildwheels_own_python_would(script: Path, tmp_path: Path) -> None:
    names = ("b-1.0+cu126-cp39-cp39-linux_aarch64.whl", "a-1!2.0-cp39-abi3-linux_aarch64.whl")
    for folder, extra in (("plain", ""), ("odd", "c d.whl"), ("none", "")):
        (tmp_path / folder).mkdir()
        for name in (*names, extra) if folder != "none" else ():
            (tmp_path / folder / (name or "no-wheel.txt")).touch()
    python = "/opt/python/cp39-cp39/bin/python"

    def asked(folder: str) -> str:
        pattern = f"{tmp_path}/{folder}/*.whl"
        text = f"import sys, json, glob; json.dump(glob.glob({pattern!r}), sys.stdout)"
        return sent(script, f"(\n env {python} -c {shlex.quote(text)}\n printf '%04d' $?\n)\n")

    listed, _, code = asked("plain").rpartition("]")
    assert code == "0000"
    assert sorted(json.loads(f"{listed}]")) == sorted(f"{tmp_path}/plain/{name}" for name in names)
    assert asked("none") == "[]0000"
    assert python in asked("odd"), "no such Python here, and it was to be asked"
    assert "nothing" in sent(script, f"env {python} -c 'print(1)' || echo nothing\n")


def test_the_time_of_all_that_ran_is_told_when_it_ends(script: Path, tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    sent(script, f"( env A=1 {sys.executable} -c '{burn}' )\n( true )\n")

    spent = shell.spent(tmp_path)
    assert spent is not None
    assert 0.3 <= spent < 30
    assert shell.spent(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ("printf 'usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n'", 2.5),
        ("echo 2500000000", 2.5),
        ("printf nonsense", None),
        ("true", None),
        ("false", None),  # the container has gone
    ],
)
def test_what_the_kernel_counts_for_a_container(script: str, seconds: float | None) -> None:
    done = capture(["sh", "-c", script], env={"PATH": "/usr/bin:/bin"})

    assert shell.counted(done) == seconds
