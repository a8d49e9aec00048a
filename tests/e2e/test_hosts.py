"""Hosts that are not a developer's own: other engines, no root, a company's network, or none."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.host.network import HostNetwork, base_env
from tests import corp, engines
from tests.conftest import (
    IMAGES,
    TAG,
    Said,
    lacking,
    log_of,
    orchestrator,
    podman,
    ran,
    results,
    with_own_store,
)
from tests.engines import Rootless
from tests.factories import edit, write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]

IMAGE = f"{IMAGES}:bookworm-x86_64"
CIBUILDWHEEL = ("--backend", "cibuildwheel")


def write(place: Path, more: str = "", **changes: str) -> None:
    """Write a small project and its matrix."""
    given = {"python": "cp311", "image": IMAGE, "engine": "podman", "network": "host"}
    write_project(place, "hosts", more, **{**given, **changes})


def the_result(place: Path) -> Any:
    (result,) = results(place / "dist").values()
    return result


def checks(said: Said) -> Any:
    """What `doctor --json` says: name -> check."""
    return {each["name"]: each for each in json.loads(said.stdout)["checks"]}


@pytest.fixture(scope="module")
def archive(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image as a file, for engines that do not have it."""
    file = tmp_path_factory.mktemp("image") / "image.tar"
    saved = podman("save", "--quiet", f"--output={file}", IMAGE)
    assert saved.code == 0, saved.all
    return file


# A company's network


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[corp.Corp]:
    assert not corp.resolves(corp.HOST), "nothing but the proxy may know it"
    with corp.network(tmp_path_factory.mktemp("corp")) as running:
        yield running


def without_network_settings() -> dict[str, str]:
    """This machine's own settings must not help: an empty value counts as unset."""
    ours = ("PIP_", "UV_", "SSL_", "CURL_", "REQUESTS_", "GIT_SSL")
    return {name: "" for name in os.environ if name.startswith(ours)}


def leaks(place: Path, *texts: str) -> list[str]:
    """Where a secret stands that should stand nowhere."""
    files = [each for folder in ("dist", ".orchestrator") for each in (place / folder).rglob("*")]
    found = {str(each): each.read_bytes() for each in files if each.is_file()}
    found |= {text[:40]: text.encode() for text in texts}
    return [name for name, data in found.items() for each in corp.SECRETS if each.encode() in data]


FETCH = "env; {more} pip download -q --no-deps -d x six && uv pip install -q --target y six"
CURL = (
    "curl -vfsS -o page ${PIP_INDEX_URL}six/ && git ls-remote ${PIP_INDEX_URL%simple/}repo.git &&"
)


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_builds_reach_a_private_index_and_tell_nobody_how(
    backend: str, engine: str, company: corp.Corp, tmp_path: Path
) -> None:
    """Pip, uv, curl and git; a build that prints its environment; and every report there is."""
    direct = backend == "direct"
    fetch = FETCH.format(more=CURL if direct else "")
    write(tmp_path, f"[build]\nbefore-build = '{fetch}'\n", python=TAG if direct else "cp311")
    bare = without_network_settings()
    env = {**bare, **company.environ()}
    before = len(company.seen)

    with corp.Spy() as spy:
        said = orchestrator("build", "--backend", backend, cwd=tmp_path, env=env, code=0)

    seen = [path for path, status in company.seen[before:] if status == 200]
    assert any("setuptools" in path for path in seen), "the build's own requirement"
    assert sum("/six-" in path for path in seen) >= 2, "pip and uv"
    assert any("repo.git" in path for path in seen) is direct, "git"
    asked = [
        orchestrator(*command, cwd=tmp_path, env=env)
        for command in (
            ("plan", "--format", "json"),
            ("explain", str(the_result(tmp_path)["id"])),
            ("doctor", "--json"),
        )
    ]
    log = log_of(tmp_path, "cp*")
    assert "proxyuser:****@127.0.0.1" in log, "it did print its environment"
    assert not leaks(tmp_path, said.all, *(each.all for each in asked))
    own = ("git", "curl")  # the build itself hands them an address
    assert not [each for each in spy.found if not any(name in each for name in own)]
    wheel = next((tmp_path / "dist").glob("*.whl")).read_bytes()
    assert corp.HOST.encode() not in wheel
    without = orchestrator("plan", "--format", "json", cwd=tmp_path, env=bare)
    keys = [json.loads(each.stdout)["targets"][0]["key"] for each in (asked[0], without)]
    assert keys[0] == keys[1], "the way to the network is no part of a cache key"
    assert checks(asked[2])["package index"]["status"] == "ok", asked[2].all


def test_a_build_without_the_authority_fails(
    engine: str, company: corp.Corp, tmp_path: Path
) -> None:
    write(tmp_path)
    env = {**without_network_settings(), **company.environ("SSL_CERT_FILE")}
    said = orchestrator("build", *CIBUILDWHEEL, cwd=tmp_path, env=env, code=1)
    assert "CERTIFICATE_VERIFY_FAILED" in log_of(tmp_path, "cp*")
    assert not leaks(tmp_path, said.all)


@pytest.mark.parametrize(
    ("lacks", "sign"),
    [
        ("", ""),
        ("SSL_CERT_FILE", "CERTIFICATE_VERIFY_FAILED"),
        ("HTTPS_PROXY", "resol"),
        ("PIP_INDEX_URL", "407|403|ProxyError|Tunnel"),
    ],
)
def test_each_part_of_the_passing_on_is_needed(
    engine: str, company: corp.Corp, lacks: str, sign: str
) -> None:
    environ = {**company.environ(lacks), "HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    network = HostNetwork.detect(environ)
    client = {**base_env(os.environ), **network.child_env()}
    fetch = ["pip", "download", "-q", "--no-deps", "--retries=1", "-d", "/x", "six"]
    container = ("podman", "run", "--rm", "--network=host", *network.container_args(), IMAGE)
    said = ran(*container, *fetch, env=client)
    assert (said.code == 0) is (lacks == ""), said.all
    assert not sign or any(each in said.stderr for each in sign.split("|")), said.all


def test_a_proxy_that_the_container_cannot_reach_is_said_before_the_build(
    engine: str, company: corp.Corp, tmp_path: Path
) -> None:
    write(tmp_path, network="none")
    env = {**without_network_settings(), **company.environ()}
    doctor = orchestrator("doctor", "--json", cwd=tmp_path, env=env)
    found = checks(doctor)["image orchestrator-baseline:bookworm-x86_64 x86_64"]
    assert found["status"] == "warn", found
    assert f"127.0.0.1:{company.port}" in found["detail"]
    assert "--network=host" in found["fix"]


# No network


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    download = ("-I", "-m", "pip", "download", "-q", "--only-binary=:all:", "--no-deps")
    ran(sys.executable, *download, f"--dest={folder}", "setuptools", code=0)
    return folder


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_builds_need_no_network_once_their_inputs_are_here(
    backend: str, engine: str, wheels: Path, tmp_path: Path
) -> None:
    """In a network namespace with nothing in it, not even a loopback interface that is up."""
    write(tmp_path, network="none", python=TAG if backend == "direct" else "cp311")
    edit(tmp_path / "matrix.toml", "[test]", 'pull = "never"\n\n[test]')
    orchestrator("doctor", "--fix", cwd=tmp_path)  # the toolchain is an input, too
    if ran("unshare", "--net", "true").code != 0:
        lacking("needs root, for a network namespace")
    env = with_own_store(without_network_settings())
    env |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    command = (sys.executable, "-m", "orchestrator", "build", "--backend", backend)
    ran("unshare", "--net", *command, cwd=tmp_path, env=env, code=0)
    assert the_result(tmp_path)["status"] == "ok"


# Other engines


def test_docker_builds_the_same_wheel(engine: str, archive: Path, tmp_path: Path) -> None:
    places = [tmp_path / "docker", tmp_path / "podman"]
    more = '[resources]\ncpus = 1.5\nmemory = "1 GiB"\n'
    for place in places:
        write(place, more, engine=place.name)
    with engines.docker_daemon() as env:
        ran("docker", "load", "-q", "-i", archive, env={**os.environ, **env}, code=0)
        doctor = orchestrator("doctor", "--json", cwd=places[0], env=env)
        orchestrator("build", *CIBUILDWHEEL, cwd=places[0], env=env, code=0)
    for name in ("docker", "targets"):
        assert checks(doctor)[name]["status"] == "ok", doctor.all
    orchestrator("build", *CIBUILDWHEEL, cwd=places[1], code=0)
    ours, theirs = (the_result(place) for place in places)
    assert ours["container"]["engine"] == "docker"
    assert theirs["container"]["engine"] == "podman"
    assert "cannot limit" not in str(ours["backend_reason"])
    wheels = (next((each / "dist").glob("*.whl")) for each in places)
    orchestrator("verify", "--same", *wheels, cwd=tmp_path, code=0)


@pytest.fixture
def unprivileged(engine: str) -> Iterator[Rootless]:
    with engines.rootless_podman() as user:
        yield user


def test_podman_without_root(unprivileged: Rootless, archive: Path) -> None:
    """A user with nothing but a range of IDs; a build that gives files to other users."""
    place = unprivileged.home / "work"
    more = '[resources]\nmemory = "1 GiB"\n[build]\nrepair = "auditwheel"\n'
    more += "before-build = 'chown -R 1000:1000 . && id -u && cat /proc/self/uid_map'\n"
    write(place, more)
    ran("chown", "-R", str(engines.UID), place, code=0)
    with archive.open("rb") as stream:
        loaded = unprivileged.run("podman", "load", "-q", cwd=place, stdin=stream)
    assert loaded.code == 0, loaded.all
    # This user has none of the machine's configuration.
    env = HostNetwork.detect(os.environ).child_env()

    doctor = unprivileged.orchestrator("doctor", "--json", "--fix", cwd=place, env=env)
    said = unprivileged.orchestrator("build", *CIBUILDWHEEL, cwd=place, env=env)

    assert said.code == 0, said.all
    result = the_result(place)
    assert result["container"]["rootless"] is True
    found = checks(doctor)
    assert "rootless" in found["podman"]["detail"], doctor.all
    assert found["targets"]["status"] == "ok", doctor.all
    owners = {each.stat().st_uid for each in place.rglob("*") if not each.is_symlink()}
    assert owners == {engines.UID}, "nobody else's file is left"
    log = log_of(place, "cp311-manylinux_x86_64")
    assert str(engines.SUBORDINATE) in log, "root in there is nobody out here"
    limited = "cannot limit" in str(result["backend_reason"])
    assert limited is ("cannot limit" in found["podman"]["detail"])
