"""Publishing to servers on loopback: a package index, S3, and fakes of what cannot be had here."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import obstore
import pytest
from obstore.store import S3Store

from orchestrator.cli import run
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.publish import upload
from orchestrator.report.schemas import json_schema
from tests import publishing
from tests.conftest import Said, started
from tests.corp import certify
from tests.factories import project_file
from tests.publishing import GitHub, Line, Warehouse
from tests.servers import running
from tests.stores import asked
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

pytestmark = pytest.mark.index  # the locked toolchain comes from there

LARGE = 12_000_000
PATIENCE = 60.0
PASSWORD = "correct-horse-battery"  # noqa: S105 - of a server on loopback
S3 = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "secret-of-s3", "AWS_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cache = default_cache_dir(os.environ)
    names = [each for each in os.environ if each.startswith(("TWINE_", "AWS_", "GITHUB_", "GH_"))]
    names += ["ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "NETRC"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(cache))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(upload, "PAUSES", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.chdir(tmp_path)


def wheel(folder: Path, version: str, size: int = 1000, **changes: Any) -> Path:
    spec = WheelSpec(name="demo", version=version, python="py3", abi="none", platform="any")
    spec.purelib = "true"
    spec.members = {"demo.py": b"", "demo.bin": os.urandom(size)}
    for name, value in changes.items():
        setattr(spec, name, value)
    return spec.write(folder)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published(Said):
    """How `publish --json` ended and what it said."""

    @property
    def outcomes(self) -> dict[str, str]:
        """Return version -> what became of it."""
        document = json.loads(self.stdout)
        jsonschema.validate(document, json_schema("publish"))
        found = {each["wheel"].split("-")[1]: each["outcome"] for each in document["results"]}
        assert len(found) == len(document["results"])
        return found

    def hides(self, *secrets: str) -> None:
        for secret in secrets:
            for each in (secret, base64.b64encode(f"__token__:{secret}".encode()).decode()):
                assert each not in self.all


# What twine says of the wheel is tested elsewhere, and takes a second.
QUICK = ("--rule", "twine=off", "--json")


@pytest.fixture
def publish(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str | Path, code: int | None = None) -> Published:
        capsys.readouterr()
        found = run(["publish", *map(str, arguments), *QUICK])
        said = capsys.readouterr()
        assert code is None or found == code, said.err
        return Published(code=found, stdout=said.out, stderr=said.err)

    return call


def killed(line: Any, number: signal.Signals, *arguments: str | Path) -> Published:
    """Publish in a process of its own, and send it a signal while a large wheel is on its way."""
    child = started("publish", *arguments, *QUICK, cwd=Path.cwd())
    arrived = line.stalled.wait(PATIENCE)
    child.send_signal(number)
    out, err = child.communicate(timeout=PATIENCE)
    assert arrived, f"{out}\n{err}"
    return Published(code=child.returncode, stdout=out, stderr=err)


# A real index


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    folder = tmp_path / "packages"
    folder.mkdir()
    return folder


@pytest.fixture
def line(packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """Pypiserver, at the end of a line that may stall or break."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    argv = [sys.executable, "-m", "pypiserver", "run", "-p", str(port), "-i", "127.0.0.1"]
    # It answers with waitress, if that is installed; with what Python brings it would keep the
    # beginning of an upload that was cut off as if it were all of it.
    argv += ["-P", ".", "-a", ".", "--disable-fallback", str(packages)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        _answers(f"http://127.0.0.1:{port}/simple/")
        monkeypatch.setenv("TWINE_USERNAME", "me")
        monkeypatch.setenv("TWINE_PASSWORD", PASSWORD)
        with running(Line(port)) as found:
            yield found
        server.terminate()


def _answers(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - loopback
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def test_a_killed_upload_is_started_again_and_sends_what_is_missing(
    publish: Any, packages: Path, line: Line, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    wheels = [wheel(dist, "1.0"), wheel(dist, "1.1", LARGE), wheel(dist, "1.2")]
    line.stall_after = LARGE // 4
    killed(line, signal.SIGKILL, dist, "--to", line.url, "-j1")
    assert {each.name for each in packages.glob("*.whl")} == {wheels[0].name}
    line.stall_after = None

    said = publish(dist, "--to", line.url, code=0)
    assert said.outcomes == {"1.0": "already there", "1.1": "uploaded", "1.2": "uploaded"}
    assert {each.name: digest(each) for each in packages.glob("*.whl")} == {
        each.name: digest(each) for each in wheels
    }
    assert line.sent == {wheels[0].name: 1, wheels[1].name: 2, wheels[2].name: 1}
    again = publish(dist, "--to", line.url, code=0)
    assert set(again.outcomes.values()) == {"already there"}
    assert line.sent.total() == 4, "nothing is sent twice"
    said.hides(PASSWORD)


def test_another_file_of_the_same_name_is_refused_and_hides_no_good_one(
    publish: Any, packages: Path, line: Line, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    there = wheel(dist, "1.0")
    shutil.copy(there, packages)
    old, new = digest(there), digest(wheel(dist, "1.0"))
    wheel(dist, "1.1")

    said = publish(dist, "--to", line.url, code=6)
    assert said.outcomes == {"1.0": "refused", "1.1": "not sent"}
    assert f"its SHA-256 is {old}, ours {new}" in " ".join(said.stderr.split())
    assert line.sent.total() == 0
    others = publish(dist, "--to", line.url, "--skip-refused", code=6)
    assert others.outcomes == {"1.0": "refused", "1.1": "uploaded"}
    assert digest(packages / there.name) == old


def test_a_connection_that_breaks_is_tried_again(
    publish: Any, packages: Path, line: Line, tmp_path: Path
) -> None:
    path = wheel(tmp_path, "1.0", LARGE)
    line.break_after = LARGE // 4

    said = publish(path, "--to", line.url, code=0)
    assert json.loads(said.stdout)["results"][0]["attempts"] == 2
    assert digest(packages / path.name) == digest(path)


# A bucket


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Line, S3Store]]:
    for method, path in (("POST", "moto-api/reset"), ("PUT", "bucket")):
        asked(f"{s3}/{path}", method)
    with running(Line(int(s3.rpartition(":")[2]))) as line:
        for name, value in {**S3, "AWS_ENDPOINT_URL": line.url}.items():
            monkeypatch.setenv(name, value)
        yield line, S3Store("bucket", prefix="whl", client_options={"allow_http": True})


def held(store: S3Store) -> dict[str, bytes]:
    names = [each["path"] for page in obstore.list(store) for each in page]
    return {name: bytes(obstore.get(store, name).bytes()) for name in names}


def test_a_bucket_gets_what_a_killed_run_has_not_brought(
    publish: Any, bucket: tuple[Line, S3Store], tmp_path: Path
) -> None:
    line, store = bucket
    dist = tmp_path / "dist"
    wheels = [wheel(dist, "1.0+cu126"), wheel(dist, "1.1", LARGE)]
    line.stall_after = 1_000_000
    killed(line, signal.SIGKILL, dist, "--to", "s3://bucket/whl", "-j1")
    line.stall_after = None
    names = set(held(store))
    assert wheels[0].name in names
    assert wheels[1].name not in names

    said = publish(dist, "--to", "s3://bucket/whl", code=0)
    assert said.outcomes == {"1.0+cu126": "already there", "1.1": "uploaded"}
    found = held(store)
    ends = ("", ".metadata", ".sha256")
    assert set(found) == {f"{each.name}{end}" for each in wheels for end in ends}
    for each in wheels:
        assert found[each.name] == each.read_bytes()
        assert found[f"{each.name}.sha256"].decode() == f"{digest(each)}  {each.name}\n"
        assert b"Name: demo\n" in found[f"{each.name}.metadata"]
    old = digest(wheels[1])
    wheel(dist, "1.1")
    other = publish(dist, "--to", "s3://bucket/whl", code=6)
    assert f"its SHA-256 is {old}" in " ".join(other.stderr.split())
    said.hides(S3["AWS_SECRET_ACCESS_KEY"])


def test_two_publishers_of_different_files_cannot_overwrite_each_other(
    bucket: tuple[Line, S3Store], tmp_path: Path
) -> None:
    paths = [wheel(tmp_path / name, "1.0", LARGE) for name in ("one", "two")]
    runs = [
        started("publish", *QUICK, "--to", "s3://bucket/whl", each, cwd=tmp_path) for each in paths
    ]
    for each in runs:
        each.communicate(timeout=PATIENCE)
    codes = [each.returncode for each in runs]

    assert sorted(codes) == [0, 6]
    winner = paths[codes.index(0)]
    found = held(bucket[1])
    assert found[winner.name] == winner.read_bytes()
    assert found[f"{winner.name}.sha256"].decode().startswith(digest(winner))


def test_a_name_that_was_claimed_and_never_filled_is_said(
    publish: Any, bucket: tuple[Line, S3Store], tmp_path: Path
) -> None:
    path = wheel(tmp_path, "1.0")
    obstore.put(bucket[1], f"{path.name}.sha256", b"0" * 64 + b"  x\n")

    said = publish(path, "--to", "s3://bucket/whl", code=6)
    assert f"remove {path.name}.sha256" in said.stderr
    unowned = publish(path, "--to", "s3://nowhere/whl", code=1)
    assert "the bucket answers" in unowned.stderr


def test_the_matrix_says_where_a_wheel_goes_and_what_it_may_need(
    publish: Any, bucket: tuple[Line, S3Store], tmp_path: Path
) -> None:
    (tmp_path / "matrix.toml").write_text(project_file("publish.toml"))
    dist = tmp_path / "dist"
    native = {"libc.so.6": {"GLIBC_2.2.5": ("puts",)}}
    elf = make_elf(ElfSpec(needed=("libcuda.so.1",), versions=native, defined=("PyInit_demo",)))
    paths = []
    for python in ("cp312", "cp313"):
        spec = WheelSpec(python=python, abi=python, platform="manylinux_2_5_x86_64")
        spec.members = {f"demo.{python.replace('cp', 'cpython-')}-x86_64-linux-gnu.so": elf}
        paths.append(spec.write(dist))

    said = publish(dist, code=0)
    (result,) = json.loads(said.stdout)["results"]
    assert result["target"] == "cp312-manylinux_x86_64"
    assert paths[1].name not in held(bucket[1])
    (tmp_path / "matrix.toml").unlink()
    assert "external-library" in publish(dist, "--to", "s3://bucket/other").stderr


# A release; what answers is a fake of the API


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    with running(GitHub()) as server:
        for name, value in {
            "GITHUB_API_URL": server.url,
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_TOKEN": publishing.GITHUB_TOKEN,
            "GITHUB_REF_TYPE": "tag",
            "GITHUB_REF_NAME": "v1/x",
            "GITHUB_SHA": "0" * 40,
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def test_a_release_gets_what_a_killed_run_has_not_brought(
    publish: Any, github: GitHub, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    wheels = [wheel(dist, "1.0+cu126"), wheel(dist, "1.1", LARGE)]
    github.stall_after = 1_000_000
    killed(github, signal.SIGKILL, dist, "--to", "github-release", "-j1")
    github.stall_after = None
    assert github.names() == {wheels[0].name: "uploaded", wheels[1].name: "starter"}

    said = publish(dist, "--to", "github-release", code=0)
    assert said.outcomes == {"1.0+cu126": "already there", "1.1": "uploaded"}
    assert github.names() == {each.name: "uploaded" for each in wheels}
    (release,) = github.releases.values()
    assert (release["tag_name"], release["target_commitish"]) == ("v1/x", "0" * 40)
    said.hides(publishing.GITHUB_TOKEN)


def test_a_draft_is_found_and_assets_without_a_digest_are_compared(
    publish: Any, github: GitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    github.digests = False
    upload_url = f"{github.url}/uploads/9/assets{{?name,label}}"
    draft = {"id": 9, "draft": True, "tag_name": "v2", "upload_url": upload_url}
    github.releases[9] = draft
    path = wheel(tmp_path, "1.0")
    options = ("--to", "github-release", "--tag", "v2")
    assert publish(path, *options).outcomes == {"1.0": "uploaded"}
    assert publish(path, *options).outcomes == {"1.0": "already there"}
    assert github.releases == {9: draft}
    old = digest(path)
    assert old in publish(wheel(tmp_path, "1.0"), *options).stderr
    monkeypatch.setenv("GITHUB_TOKEN", "wrong-0123456789")
    said = publish(path, *options, code=1)
    assert "HTTP 401 Bad credentials" in " ".join(said.stderr.split())
    said.hides("wrong-0123456789")


def test_an_interrupted_run_ends_though_the_network_stalls_and_says_what_it_has_not_sent(
    packages: Path, line: Line, github: GitHub, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    wheel(dist, "1.0", LARGE)
    wheel(dist, "1.1", LARGE)
    line.stall_after = github.stall_after = LARGE // 4
    github.stalled = line.stalled  # either will do

    said = killed(line, signal.SIGINT, dist, "--to", line.url, "--to", "github-release", "-j3")

    assert said.code == 130, said.stderr
    assert {each["outcome"] for each in json.loads(said.stdout)["results"]} == {"not sent"}
    assert list(packages.glob("*.whl")) == []
    assert "Traceback" not in said.stderr


# Trusted publishing and attestations; what answers is a fake of Warehouse


@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warehouse]:
    """An index over TLS, whose authority only SSL_CERT_FILE names, as testpypi of .pypirc."""
    authority, own = certify(tmp_path, "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    with running(Warehouse(context)) as server:
        pypirc = (
            f"[distutils]\nindex-servers = testpypi\n[testpypi]\nrepository = {server.url}/legacy/"
        )
        (tmp_path / ".pypirc").write_text(pypirc)
        for name, value in {
            "SSL_CERT_FILE": str(authority),
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{server.url}/identity?x=1",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": publishing.ASKED_WITH,
        }.items():
            monkeypatch.setenv(name, value)
        yield server


def attest(path: Path, sha256: str) -> Path:
    statement = {"subject": [{"name": path.name, "digest": {"sha256": sha256}}]}
    envelope = {"statement": base64.b64encode(json.dumps(statement).encode()).decode()}
    beside = path.with_name(f"{path.name}.publish.attestation")
    beside.write_text(json.dumps({"version": 1, "envelope": envelope}))
    return beside


def test_an_identity_becomes_a_token_and_attestations_go_along(
    publish: Any, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dist = tmp_path / "dist"
    path, failing = wheel(dist, "1.0"), wheel(dist, "1.1")
    attest(path, digest(path))
    warehouse.failing = 7  # twine itself tries five times

    said = publish(dist, "--to", "testpypi", "-j1", code=0)
    assert said.outcomes == {"1.0": "uploaded", "1.1": "uploaded"}
    assert [form["sha256_digest"] for form in warehouse.forms] == [
        [digest(path)],
        [digest(failing)],
    ]
    first, second = warehouse.forms
    assert json.loads(first["attestations"][0])[0]["version"] == 1
    assert "attestations" not in second
    assert first["metadata_version"] == ["2.1"]
    assert len(first["blake2_256_digest"][0]) == 64
    assert warehouse.asked.count("/_/oidc/mint-token") == 1, "one token for all"
    said.hides(publishing.MINTED, publishing.IDENTITY, publishing.ASKED_WITH)
    assert "takes no attestations" not in said.stderr
    attest(failing, digest(path))
    monkeypatch.setenv("TWINE_PASSWORD", PASSWORD)
    other = publish(dist, "--to", "testpypi").stderr
    assert "is about another file" in other
    assert "takes no attestations, or not with a password" in other


def test_a_bucket_is_reached_with_the_authorities_of_this_host(
    publish: Any, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**S3, "AWS_ENDPOINT_URL": warehouse.url}.items():
        monkeypatch.setenv(name, value)
    path = wheel(tmp_path, "1.0")

    said = publish(path, "--to", "s3://bucket/whl", "--dry-run")

    assert said.outcomes == {"1.0": "would be uploaded"}
    assert f"/bucket/whl/{path.name}" in warehouse.asked


@pytest.mark.parametrize("asked", ["sts.amazonaws.com", "pypi", "-h", "testpypi"])
def test_no_index_says_for_whom_its_tokens_are_made(
    publish: Any, warehouse: Warehouse, tmp_path: Path, asked: str
) -> None:
    warehouse.audience = asked
    url = f"{warehouse.url}/legacy/"
    path = wheel(tmp_path, "1.0")
    said = publish(path, "--to", url, code=1)
    assert "/_/oidc/audience" not in warehouse.asked, "it is not even asked"
    assert "/identity" not in warehouse.asked
    for other in ("pypi", "testpypi"):
        said = publish(path, "--to", url, "--audience", other)
        assert said.code == 2
        assert f"if it is {other}, say --to {other}" in said.stderr
    assert publish(path, "--to", "testpypi", "--audience", "x").code == 2
    assert "/identity" not in warehouse.asked, "no token is made"
    assert warehouse.files == {}


def test_the_user_says_for_whom_another_index_has_tokens(
    publish: Any, warehouse: Warehouse, tmp_path: Path
) -> None:
    warehouse.audience = "example"
    path = wheel(tmp_path, "1.0")
    said = publish(path, "--to", f"{warehouse.url}/legacy/", "--audience", "example", code=0)
    assert set(warehouse.files) == {path.name}
    said.hides(publishing.MINTED, publishing.identity_for("example"), publishing.ASKED_WITH)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_token_goes_where_the_index_redirects_to(
    publish: Any, warehouse: Warehouse, tmp_path: Path, status: int
) -> None:
    warehouse.moved = (status, "/elsewhere")
    said = publish(wheel(tmp_path, "1.0"), "--to", "testpypi", code=1)
    assert f"trusted publishing: HTTP {status}" in said.stderr
    assert "/elsewhere" not in warehouse.asked
    said.hides(publishing.MINTED, publishing.IDENTITY)


def test_an_index_that_gives_no_token_says_why(
    publish: Any, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = wheel(tmp_path, "1.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "other-token-0123456789")
    said = publish(path, "--to", "testpypi", code=1)
    assert "no token of the CI system" in said.stderr
    said.hides("other-token-0123456789")
    assert warehouse.files == {}


def test_what_the_public_index_would_refuse_is_said_at_once(
    publish: Any, warehouse: Warehouse, tmp_path: Path
) -> None:
    dist = tmp_path / "dist"
    wheel(dist, "1.0")
    wheel(dist, "1.1+cu126")
    wheel(dist, "1.2", 2_000_000)
    bad = wheel(dist, "1.3")
    bad.write_bytes(bad.read_bytes()[:-5])

    said = publish(dist, "--to", "testpypi", "--max-file-size", "1MB", code=6)
    assert said.outcomes == {
        "1.0": "not sent",
        **dict.fromkeys(("1.1+cu126", "1.2", "1.3"), "refused"),
    }
    assert "testpypi takes no local versions such as 1.1+cu126" in said.stderr
    assert "takes no file over" in said.stderr
    assert "verify: unreadable" in said.stderr
    assert warehouse.files == {}
    dry = publish(dist, "--to", "testpypi", "--dry-run", code=6)
    assert dry.outcomes["1.0"] == "would be uploaded"
    assert warehouse.files == {}
    assert "/_/oidc/mint-token" not in warehouse.asked
