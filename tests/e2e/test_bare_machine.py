"""The README's two commands, as they stand there, on a bare Debian: python3, pip, venv, g++.

No engine, no QEMU, no git, no Python.h, no nox. A container is the bare machine here.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from orchestrator.host.network import HostNetwork
from tests.conftest import REPOSITORY, Said, lacking, podman, results

pytestmark = [pytest.mark.engine, pytest.mark.index]

IMAGE = "localhost/orchestrator-bare:bookworm"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a fresh clone would hold, new files included."""
    if podman("image", "exists", IMAGE).code != 0:
        lacking(f"needs podman and the image {IMAGE}: run .ci/engine and .ci/bare as root")
    place = tmp_path_factory.mktemp("clone")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout
    tar = ["tar", "--create", "--null", "--files-from=-", "--ignore-failed-read"]
    with subprocess.Popen(["tar", "--extract"], cwd=place, stdin=subprocess.PIPE) as unpack:
        subprocess.run(tar, cwd=REPOSITORY, input=names, stdout=unpack.stdin, check=True)
        assert unpack.stdin is not None
        unpack.stdin.close()
    return place


def readme_command(after: str) -> str:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^# {after}.*\n(.+)$", text, re.MULTILINE)
    assert match, f"README has no command after '# {after}'"
    return match[1]


def on_the_bare_machine(command: str, clone: Path, *options: str) -> Said:
    """Run a command as a person who just logged in would; the host's CA is the machine's."""
    network = HostNetwork.detect({})
    bundle = network.ca_bundle
    trusted = [f"--volume={bundle}:/etc/ssl/certs/ca-certificates.crt:ro"] if bundle else []
    return podman(
        *("run", "--rm", "--network=host", *trusted, *options),
        *(f"--volume={clone}:/clone", "--workdir=/clone"),
        *(IMAGE, "bash", "-c", command),
        timeout=2400,
    )


def test_the_first_command_makes_wheels(clone: Path) -> None:
    said = on_the_bare_machine(readme_command("Build the example matrix"), clone)
    text = " ".join((said.stderr + said.stdout).split())
    found = results(clone / "dist")
    native = {name: r for name, r in found.items() if name.startswith("cp311-manylinux_x86_64")}
    assert {r["status"] for r in native.values()} == {"ok"}, said.all
    assert {r["backend"] for r in native.values()} == {"direct"}
    versions = {r["wheel"]["version"] for r in native.values()}
    assert versions == {"1.0.0+cpu", "1.0.0+cu130", "1.0.0+cu132"}
    for arch, glibc in {"aarch64": 17, "riscv64": 31, "loongarch64": 36}.items():
        crossed = found[f"cp311-manylinux_{arch}-cpu"]
        assert crossed["status"] == "ok", said.all
        assert crossed["compiled"]["emulation"] == "cross"
        assert crossed["wheel"]["observed_tag"] == f"manylinux_2_{glibc}_{arch}"
        log = clone / f".orchestrator/logs/cp311-manylinux_{arch}-cpu.log"
        imported = "importing saxpy._cpu" in log.read_text(encoding="utf-8")
        why = crossed["compiled"]["not_tested" if imported else "not_run"]
        assert "podman is not installed" in why
        # Debian's release with this Python has it for the first of them only; uv may reach others.
        assert imported or f"Debian has no CPython 3.11 for {arch}" in why
        words = "imported, NOT TESTED" if imported else "NOT IMPORTED, nor tested"
        assert re.search(rf"{words} \(\d+ targets?\): .*{arch}-cpu", text), said.all
    wheels = {each.name for each in (clone / "dist").glob("*.whl")}
    assert wheels == {r["wheel"]["filename"] for r in found.values() if r["status"] == "ok"}
    for version in ("cu130", "cu132"):
        cuda = found[f"cp311-manylinux_aarch64-{version}"]
        assert cuda["status"] == "ok", said.all
        assert "g++-12-aarch64-linux-gnu" in cuda["compiled"]["compiler"]
        log = clone / f".orchestrator/logs/cp311-manylinux_aarch64-{version}.log"
        assert "importing saxpy._cuda" in log.read_text(encoding="utf-8")
    missing = {name for name, r in found.items() if r["status"] != "ok"}
    assert not {name for name in missing if name.startswith("cp311")}, "this machine's own Python"
    assert said.code == 0, "the matrix allows what this machine cannot build"
    # Pythons that uv would fetch, where it can reach them
    counted = re.findall(r"(\d+) targets? cannot be built here: ", text)
    assert sum(map(int, counted)) == 2 * len(missing), said.all  # at the start, and at the end


def test_the_second_command_tests_and_says_what_it_could_not(clone: Path) -> None:
    # Tests that look at the machine; the others have nothing to find here that is not there, and
    # that it builds is what the first command shows.
    some = "tests/e2e/test_engine.py tests/unit/cli/test_cli.py"
    chosen = f"--env=PYTEST_ADDOPTS={some}"
    said = on_the_bare_machine(readme_command("Run the tests"), clone, chosen)
    assert said.code == 0, said.all
    assert re.search(r"\d+ passed", said.stdout), said.all
    assert "needs podman" in said.stdout, "skipped tests say what they need"
