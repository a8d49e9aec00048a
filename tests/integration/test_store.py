"""Nothing is built twice: on this host, with the direct backend, and a real S3 server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Said, orchestrator, results
from tests.factories import project_file

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
MACHINE = os.uname().machine
IDS = [f"{TAG}-manylinux_{MACHINE}-{kind}" for kind in "ab"]

BACKEND = project_file("store/backend.py")

MODULE = project_file("store/module.c")

PYPROJECT = project_file("store/pyproject.toml")

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

HOOK = project_file("store/sitecustomize.py")


class Machine:
    """A checkout with a cache of its own."""

    def __init__(self, root: Path, matrix: str = MATRIX) -> None:
        self.root = root
        self.log = root / "built"
        self.slow = root / "slow"
        (root / "tiny").mkdir(parents=True)
        backend = BACKEND.format(built=self.log, slow=self.slow, tag=TAG)
        (root / "tiny" / "backend.py").write_text(backend)
        (root / "tiny" / "tiny.c").write_text(MODULE)
        (root / "tiny" / "pyproject.toml").write_text(PYPROJECT)
        (root / "matrix.toml").write_text(matrix)
        self.date()
        self.env = {"ORCHESTRATOR_STORE_DIR": str(root / "store")}

    def date(self) -> None:
        """Give the source a date, as a checkout has one: a build may write it into the wheel."""
        for path in (self.root / "tiny").iterdir():
            os.utime(path, (1_700_000_000, 1_700_000_000))

    def build(self, *options: str, **env: str) -> Said:
        return orchestrator(
            *("build", "--backend", "direct", *options), cwd=self.root, env={**self.env, **env}
        )

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "orchestrator", "build", "--backend", "direct"]
        return subprocess.Popen(
            argv,
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **self.env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

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


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


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
    assert [path.name[:10] for path in (tmp_path / "dist").glob("*.whl")] == ["tiny-1.0+a"]
    machine.built()
    machine.slow.unlink()

    said = machine.build()

    assert said.code == 0, said.all
    assert machine.built() == {"1.0+b"}
    assert machine.cached() == {IDS[0]: True, IDS[1]: False}
    assert not is_alive(compiler)
    assert not partial.exists()
    assert list((tmp_path / ".orchestrator" / "runs").iterdir()) == []
    assert len(list((tmp_path / "dist").glob("*.whl"))) == 2


def test_a_warm_run_starts_no_program_and_a_lost_wheel_comes_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.build().code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "dist").glob("*.whl")}
    logs = [(tmp_path / ".orchestrator" / "logs" / f"{each}.log") for each in IDS]
    assert machine.build().code == 0  # the files were too young to be trusted, perhaps
    machine.built()
    said = [path.read_text() for path in logs]
    assert all("== build" in each for each in said)
    for path in (*(tmp_path / "dist").glob("*.whl"), *logs):
        path.unlink()

    warm = subprocess.run(
        [sys.executable, "-c", HOOK, "build", "--backend", "direct"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **machine.env},
        capture_output=True,
        text=True,
        check=False,
    )

    assert warm.returncode == 0, warm.stderr
    assert machine.built() == set()
    assert machine.cached() == dict.fromkeys(IDS, True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "dist").glob("*.whl")} == before
    assert [path.read_text() for path in logs] == said


def test_a_wheel_from_the_store_meets_the_demands_of_today(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.build().code == 0
    machine.built()
    (tmp_path / "matrix.toml").write_text(f'{MATRIX}\n[verify]\nsize-budget = "1 kB"\n')

    said = machine.build()

    assert said.code == 5, said.all
    assert "size-budget" in said.all
    assert machine.built() == set()
    (tmp_path / "matrix.toml").write_text(f'{MATRIX}\n[verify]\nsize-budget = "1 MB"\n')
    assert machine.build().code == 0
    assert machine.built() == set()
    assert machine.cached() == dict.fromkeys(IDS, True)


def test_damage_in_the_store_costs_a_build_and_never_gives_a_wrong_wheel(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.build().code == 0
    machine.built()
    sha256 = results(tmp_path / "dist")[IDS[0]]["wheel"]["sha256"]
    blob = tmp_path / "store" / "blobs" / sha256[:2] / sha256
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.unlink()
    blob.write_bytes(data)

    said = machine.build()

    assert said.code == 0, said.all
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
        said = orchestrator("explain", IDS[0], "--why-rebuild", cwd=tmp_path, env=machine.env)
        assert said.code == 0, said.all
        return said.stdout

    assert "no earlier result" in why()
    assert machine.build("--select", IDS[0]).code == 0
    unchanged = why()
    assert "nothing changed since its last result; it would come from the store" in unchanged
    (tmp_path / "tiny" / "tiny.c").write_text(MODULE + "/* more */\n")
    (tmp_path / "tiny" / "new.h").write_text("")
    (tmp_path / "matrix.toml").write_text(MATRIX + '\n[env]\nLEVEL = "2"\n')

    lines = [line.split() for line in why().splitlines()]

    names = [" ".join(line[:2]) for line in lines[2:] if line]
    assert "it would be built" in why()
    assert {"source new.h", "source tiny.c", "env LEVEL"} <= set(names)
    assert not [name for name in names if "backend.py" in name or "TINY" in name]


# A store that machines share


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A real server that speaks S3, on loopback."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes seconds

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAVERYSECRET", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-the-test"}


def shared(endpoint: str, bucket: str, more: str = "") -> str:
    options = f'options = {{ endpoint = "{endpoint}", region = "us-east-1" }}'
    return f'{MATRIX}\n[store]\nremote = "s3://{bucket}/wheels"\n{options}\n{more}'


def bucket_of(endpoint: str, name: str) -> Any:
    """Another client of the server than ours."""
    import boto3  # type: ignore[import-untyped]  # noqa: PLC0415

    service = boto3.resource(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="y",  # noqa: S106 - the server takes any
    )
    return service.Bucket(name)


def make_bucket(endpoint: str, name: str) -> None:
    bucket_of(endpoint, name).create()


def one_source(*machines: Machine) -> None:
    """Give all machines the first one's source: one key."""
    text = (machines[0].root / "tiny" / "backend.py").read_text()
    for each in machines[1:]:
        (each.root / "tiny" / "backend.py").write_text(text)
        each.date()
        each.log = machines[0].log


def test_what_one_machine_has_built_another_takes(tmp_path: Path, s3: str) -> None:
    make_bucket(s3, "one")
    first, second = (Machine(tmp_path / n, shared(s3, "one")) for n in ("first", "second"))
    one_source(first, second)
    assert (said := first.build(**SECRETS)).code == 0, said.all
    first.built()

    said = second.build(**SECRETS)

    assert said.code == 0, said.all
    assert first.built() == set()
    assert second.cached() == dict.fromkeys(IDS, True)
    wheels = [
        {p.name: p.read_bytes() for p in (m.root / "dist").glob("*.whl")} for m in (first, second)
    ]
    assert wheels[0] == wheels[1]


def test_two_machines_at_once_share_and_lose_nothing(tmp_path: Path, s3: str) -> None:
    make_bucket(s3, "both")
    machines = [Machine(tmp_path / name, shared(s3, "both")) for name in ("first", "second")]
    one_source(*machines)
    for each in machines:
        each.env |= SECRETS
    runs = [each.start() for each in machines for _ in range(2)]

    assert [run.wait() for run in runs] == [0] * 4
    machines[0].built()

    third = Machine(tmp_path / "third", shared(s3, "both"))
    one_source(machines[0], third)
    assert third.build(**SECRETS).code == 0
    assert third.cached() == dict.fromkeys(IDS, True)
    assert machines[0].built() == set()


def test_wrong_bytes_of_the_shared_store_are_a_miss(tmp_path: Path, s3: str) -> None:
    make_bucket(s3, "wrong")
    first, second = (Machine(tmp_path / n, shared(s3, "wrong")) for n in ("first", "second"))
    one_source(first, second)
    assert first.build(**SECRETS).code == 0
    sha256 = results(first.root / "dist")[IDS[0]]["wheel"]["sha256"]
    blob = bucket_of(s3, "wrong").Object(f"wheels/blobs/{sha256[:2]}/{sha256}")
    blob.put(Body=b"not that wheel")
    first.built()

    said = second.build(**SECRETS)

    assert said.code == 0, said.all
    assert "of the shared store is damaged" in said.all
    assert first.built() == {"1.0+a"}
    assert second.cached() == {IDS[0]: False, IDS[1]: True}


@pytest.mark.parametrize("how", ["option", "environment", "matrix"])
def test_a_store_that_is_only_read_gets_nothing(tmp_path: Path, s3: str, how: str) -> None:
    bucket = f"read-{how}"
    make_bucket(s3, bucket)
    matrix = shared(s3, bucket, "read-only = true\n" if how == "matrix" else "")
    first, second = (Machine(tmp_path / name, matrix) for name in ("first", "second"))
    one_source(first, second)
    options = ["--read-only-store"] if how == "option" else []
    env = {"ORCHESTRATOR_STORE_READ_ONLY": "1"} if how == "environment" else {}
    select = ["--select", IDS[0]]
    assert first.build(*options, *select, **SECRETS, **env).code == 0
    first.built()

    assert second.build(*options, *select, **SECRETS, **env).code == 0

    assert first.built() == {"1.0+a"}


@pytest.mark.parametrize("fault", ["down", "no-such-bucket"])
def test_a_shared_store_that_does_not_work_fails_no_build(
    tmp_path: Path, s3: str, fault: str
) -> None:
    endpoint = "http://127.0.0.1:9" if fault == "down" else s3
    machine = Machine(tmp_path, shared(endpoint, "nowhere"))

    said = machine.build(**SECRETS)

    assert said.code == 0, said.all
    assert said.stderr.count("the shared store is not used any more in this run") == 1, said.all
    assert not [secret for secret in SECRETS.values() if secret in said.all]
    assert machine.build(**SECRETS).code == 0
    assert machine.cached() == dict.fromkeys(IDS, True)


def test_no_cache_builds_and_mends(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    select = ["--select", IDS[0]]
    assert machine.build(*select).code == 0
    machine.built()

    assert machine.build("--no-cache", *select).code == 0

    assert machine.built() == {"1.0+a"}
    assert (
        json.loads((tmp_path / "dist" / "results.json").read_text())["results"][0]["cached"]
        is False
    )
    assert machine.build(*select).code == 0
    assert machine.built() == set()
