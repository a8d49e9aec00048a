"""A real engine: what it says about itself, and a container that is cleaned up."""

from __future__ import annotations

import os
import tarfile
import uuid
from typing import TYPE_CHECKING

import pytest

from orchestrator.host.emulation import Execution, _elf_header, binfmt, host_arch, how
from orchestrator.host.engine import (
    OCI_PLATFORMS,
    EngineName,
    ImageFault,
    check_image,
    choose,
    remove_containers,
)
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import capture
from orchestrator.models import Arch
from tests.conftest import lacking

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine

NETWORK = HostNetwork.detect(os.environ)
ENV = base_env(os.environ) | NETWORK.child_env()
IMAGE = f"localhost/orchestrator-baseline:bookworm-{host_arch()}"


@pytest.fixture(scope="module")
def engine() -> EngineName:
    choice = choose("auto", env=ENV)
    if choice.chosen is None:
        lacking("needs podman or docker: run .ci/engine as root")
    assert choice.chosen is not None
    assert choice.chosen.version
    return choice.chosen.name


def test_image_runs_with_the_network_options(engine: EngineName) -> None:
    log: list[str] = []
    args = ("--network=host", *NETWORK.container_args())
    result = check_image(engine, IMAGE, host_arch(), args, env=ENV, timeout=120, log=log.append)
    assert result.ok, (result.problem, log)
    assert result.id


def test_image_of_another_architecture(engine: EngineName) -> None:
    other = Arch.S390X
    result = check_image(engine, IMAGE, other, env=ENV, timeout=60, log=lambda _: None)
    assert result.fault is ImageFault.WRONG_ARCH


def test_architecture_without_emulation(engine: EngineName, tmp_path: Path) -> None:
    # podman 4 does not tell the variant of an image, so armv7l cannot be asked for here.
    foreign = [arch for arch in Arch if how(host_arch(), arch) is Execution.EMULATED]
    foreign = [arch for arch in foreign if arch is not Arch.ARMV7L]
    arch = next((arch for arch in foreign if not binfmt(arch).registered), None)
    if arch is None:
        pytest.skip("all architectures are registered here")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "true").write_bytes(_elf_header(arch))
    (tmp_path / "bin" / "true").chmod(0o755)
    root = tmp_path / "root.tar"
    with tarfile.open(root, "w") as archive:
        archive.add(tmp_path / "bin", "bin")
    name = f"localhost/orchestrator-test-{uuid.uuid4()}:1"
    machine = OCI_PLATFORMS[arch].split("/")[1]
    made = capture([engine, "import", f"--arch={machine}", str(root), name], env=ENV)
    if not made.ok:
        pytest.skip(f"{engine} cannot import for a platform: {made.last_line}")
    try:
        result = check_image(engine, name, arch, env=ENV, timeout=60, log=lambda _: None)
    finally:
        capture([engine, "rmi", "--force", name], env=ENV)
    assert result.fault is ImageFault.NO_BINFMT, result.problem


def test_option_that_the_engine_refuses(engine: EngineName) -> None:
    args = ("--volume=/no/such/directory:/x:ro",)
    result = check_image(engine, IMAGE, host_arch(), args, env=ENV, timeout=60, log=lambda _: None)
    assert result.fault is ImageFault.CANNOT_RUN
    assert "/no/such/directory" in str(result.problem)


def test_containers_with_the_label_are_removed(engine: EngineName) -> None:
    label = f"orchestrator.test={uuid.uuid4()}"
    create = [engine, "create", "--network=none", f"--label={label}", IMAGE, "/bin/sleep", "600"]
    first, second = (capture(create, env=ENV).stdout.strip() for _ in range(2))
    assert capture([engine, "start", first], env=ENV).ok
    assert set(remove_containers(engine, label, env=ENV)) == {first, second}
    assert remove_containers(engine, label, env=ENV) == ()
