"""Nothing is built twice: on this host, with the direct backend, and a real S3 server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import (
    MACHINE,
    REPOSITORY,
    TAG,
    Said,
    is_alive,
    orchestrator,
    ran,
    results,
    started,
)
from tests.factories import project_file, project_files, write_files
from tests.stores import asked

IDS = [f"{TAG}-manylinux_{MACHINE}-{kind}" for kind in "ab"]
ONE = ("--select", IDS[0])

MATRIX = f"""\
[project]
source = "tiny"

[axes]
python = ["{TAG}"]
arch = ["{MACHINE}"]
kind = ["a", "b"]

[version]
base = "1.0"
local = "{{kind}}"
inject = {{ TINY_VERSION = "{{version}}", TINY_KIND = "{{kind}}" }}
"""


class Machine:
    """A checkout with a cache of its own."""

    def __init__(self, root: Path, matrix: str = MATRIX) -> None:
        self.root = root
        self.log = root / "built"
        self.slow = root / "slow"
        source = write_files(root / "tiny", project_files("store"))
        backend = source / "backend.py"
        known = {"built": self.log, "slow": self.slow, "tag": TAG}
        backend.write_text(backend.read_text().format(**known))
        (root / "matrix.toml").write_text(matrix)
        self.date()
        self.env = {"ORCHESTRATOR_STORE_DIR": str(root / "store")}

    def date(self) -> None:
        """Give the source a date, as a checkout has one: a build may write it into the wheel."""
        for path in (self.root / "tiny").iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def build(self, *options: str, code: int = 0, env: Mapping[str, str] | None = None) -> Said:
        arguments = ("build", "--backend", "direct", *options)
        env = {**self.env, **(env or {})}
        return orchestrator(*arguments, cwd=self.root, env=env, code=code)

    def start(self) -> subprocess.Popen[str]:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = ("build", "--backend", "direct", "-j1")
        return started(*command, cwd=self.root, env=self.env, **quiet)

    def built(self) -> set[str]:
        """The versions that were built since the last time."""
        found = set(self.log.read_text().split()) if self.log.exists() else set()
        self.log.unlink(missing_ok=True)
        return found

    def cached(self) -> dict[str, bool]:
        return {name: each["cached"] for name, each in results(self.root / "dist").items()}


def until(what: str, path: Path) -> str:
    for _ in range(1200):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.1)
    pytest.fail(f"never happened: {what}")


def wheels(machine: Machine) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (machine.root / "dist").glob("*.whl")}


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.slow.touch()
    run = machine.start()
    compiler = int(until("the second target builds", machine.slow))
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert is_alive(compiler)
    partial = tmp_path / "dist" / f".tiny.whl.{run.pid}.partial"
    partial.write_text("half a wheel")
    assert [name[:10] for name in wheels(machine)] == ["tiny-1.0+a"]
    machine.built()
    machine.slow.unlink()

    machine.build()

    assert machine.built() == {"1.0+b"}
    assert machine.cached() == {IDS[0]: True, IDS[1]: False}
    assert not is_alive(compiler)
    assert not partial.exists()
    assert list((tmp_path / ".orchestrator" / "runs").iterdir()) == []
    assert len(wheels(machine)) == 2


def test_a_warm_run_starts_no_program_and_a_lost_wheel_comes_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.build()
    before = wheels(machine)
    logs = [(tmp_path / ".orchestrator" / "logs" / f"{each}.log") for each in IDS]
    machine.build()  # the files were too young to be trusted, perhaps
    machine.built()
    said = [path.read_text() for path in logs]
    assert all("== build" in each for each in said)
    for path in (*(tmp_path / "dist").glob("*.whl"), *logs):
        path.unlink()

    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **machine.env}
    argv = (sys.executable, "-c", project_file("store_hook.py"), "build", "--backend", "direct")
    ran(*argv, cwd=tmp_path, env=env, code=0)

    assert machine.built() == set()
    assert machine.cached() == dict.fromkeys(IDS, True)
    assert wheels(machine) == before
    assert [path.read_text() for path in logs] == said


def test_a_wheel_from_the_store_meets_the_demands_of_today(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.build()
    machine.built()
    (tmp_path / "matrix.toml").write_text(f'{MATRIX}\n[verify]\nsize-budget = "1 kB"\n')

    said = machine.build(code=5)

    assert "size-budget" in said.all
    assert machine.built() == set()
    (tmp_path / "matrix.toml").write_text(f'{MATRIX}\n[verify]\nsize-budget = "1 MB"\n')
    machine.build()
    assert machine.built() == set()
    assert machine.cached() == dict.fromkeys(IDS, True)


def test_damage_in_the_store_costs_a_build_and_never_gives_a_wrong_wheel(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.build()
    machine.built()
    sha256 = results(tmp_path / "dist")[IDS[0]]["wheel"]["sha256"]
    blob = tmp_path / "store" / "blobs" / sha256[:2] / sha256
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()
    blob.write_bytes(data)

    said = machine.build()

    assert "is damaged, and counts as missing" in said.all
    assert machine.built() == {"1.0+a"}
    assert machine.cached() == {IDS[0]: False, IDS[1]: True}


def test_two_runs_at_once_build_every_target_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    runs = [machine.start(), machine.start()]

    assert [run.wait() for run in runs] == [0, 0]

    assert sorted(machine.log.read_text().split()) == ["1.0+a", "1.0+b"]


def test_why_rebuild_names_the_file_the_variable_and_nothing_else(tmp_path: Path) -> None:
    machine = Machine(tmp_path)

    def why() -> str:
        words = ("explain", IDS[0], "--why-rebuild")
        return orchestrator(*words, cwd=tmp_path, env=machine.env, code=0).stdout

    assert "no earlier result" in why()
    machine.build(*ONE)
    assert "nothing changed since its last result; it would come from the store" in why()
    (tmp_path / "tiny" / "tiny.c").write_text("/* other */\n")
    (tmp_path / "tiny" / "new.h").write_text("")
    (tmp_path / "matrix.toml").write_text(MATRIX + '\n[env]\nLEVEL = "2"\n')

    lines = [line.split() for line in why().splitlines()]

    names = [" ".join(line[:2]) for line in lines[2:] if line]
    assert "it would be built" in why()
    assert {"source new.h", "source tiny.c", "env LEVEL"} <= set(names)
    assert not [name for name in names if "backend.py" in name or "TINY" in name]


# A store that machines share


SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAVERYSECRET", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-test"}


def shared(endpoint: str, bucket: str) -> str:
    options = f'options = {{ endpoint = "{endpoint}", region = "us-east-1" }}'
    return f'{MATRIX}\n[store]\nremote = "s3://{bucket}/wheels"\n{options}\n'


def one_source(*machines: Machine) -> None:
    """Give all machines the first one's source: one key."""
    text = (machines[0].root / "tiny" / "backend.py").read_text()
    for each in machines[1:]:
        (each.root / "tiny" / "backend.py").write_text(text)
        each.date()
        each.log = machines[0].log


def test_two_machines_at_once_share_and_lose_nothing(tmp_path: Path, s3: str) -> None:
    asked(f"{s3}/both", "PUT")
    machines = [Machine(tmp_path / name, shared(s3, "both")) for name in ("1", "2", "third")]
    one_source(*machines)
    for each in machines:
        each.env |= SECRETS
    third = machines.pop()
    runs = [each.start() for each in machines for _ in range(2)]

    assert [run.wait() for run in runs] == [0] * 4
    machines[0].built()

    third.build()
    assert third.cached() == dict.fromkeys(IDS, True)
    assert machines[0].built() == set()


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_store_that_is_only_read_gets_nothing(tmp_path: Path, s3: str, how: str) -> None:
    asked(f"{s3}/read-{how}", "PUT")
    machine = Machine(tmp_path, shared(s3, f"read-{how}"))
    options = ["--read-only-store"] if how == "option" else []
    env = {"ORCHESTRATOR_STORE_READ_ONLY": "1"} if how == "environment" else {}

    machine.build(*options, *ONE, env=SECRETS | env)

    assert b"<Key>" not in asked(f"{s3}/read-{how}")


@pytest.mark.parametrize("fault", ["down", "no-such-bucket"])
def test_a_shared_store_that_does_not_work_fails_no_build(
    tmp_path: Path, s3: str, fault: str
) -> None:
    endpoint = "http://127.0.0.1:9" if fault == "down" else s3
    machine = Machine(tmp_path, shared(endpoint, "nowhere"))

    said = machine.build(env=SECRETS)

    assert said.stderr.count("the shared store is not used any more in this run") == 1, said.all
    assert not [secret for secret in SECRETS.values() if secret in said.all]
    machine.build(env=SECRETS)
    assert machine.cached() == dict.fromkeys(IDS, True)


def test_no_cache_builds_and_mends(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.build(*ONE)
    machine.built()

    machine.build("--no-cache", *ONE)

    assert machine.built() == {"1.0+a"}
    assert machine.cached() == {IDS[0]: False}
    machine.build(*ONE)
    assert machine.built() == set()
