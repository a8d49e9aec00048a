"""A real engine: what it says about itself, and a container that is cleaned up."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.containers.engine import EngineName, choose, remove_containers
from orchestrator.containers.images import Image, check_image, check_pullable
from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.host.emulation import Execution, binfmt, host_arch, how, probe_program
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import capture
from orchestrator.models.platforms import Arch
from tests.conftest import IMAGES, lacking, ran
from tests.servers import Answers, Loopback, running
from tests.unit.builders.test_cibuildwheel import backend, job

pytestmark = pytest.mark.engine

NETWORK = HostNetwork.detect(os.environ)
ENV = base_env(os.environ) | NETWORK.child_env()
IMAGE = f"{IMAGES}:bookworm-{host_arch()}"


@pytest.fixture(scope="module")
def engine() -> EngineName:
    try:
        chosen = choose("auto", env=ENV)
    except EnvironmentProblemError:
        lacking("needs podman or docker: run .ci/engine as root")
        raise
    assert chosen.version
    return chosen.name


def test_image_runs_with_the_network_options(engine: EngineName) -> None:
    log: list[str] = []
    args = ("--network=host", *NETWORK.container_args())
    result = check_image(Image(engine, IMAGE, host_arch(), ENV), args, timeout=120, log=log.append)
    assert result.id, log


def test_image_of_another_architecture(engine: EngineName) -> None:
    other = Arch.S390X
    with pytest.raises(EnvironmentProblemError) as refused:
        check_image(Image(engine, IMAGE, other, ENV), timeout=60, log=lambda _: None)
    assert refused.value.kind is ErrorKind.WRONG_ARCH


def test_architecture_without_emulation(engine: EngineName, tmp_path: Path) -> None:
    # podman 4 does not tell the variant of an image, so armv7l cannot be asked for here.
    foreign = [arch for arch in Arch if how(host_arch(), arch) is Execution.EMULATED]
    foreign = [arch for arch in foreign if arch is not Arch.ARMV7L]
    arch = next((arch for arch in foreign if not binfmt(arch).interpreter), None)
    if arch is None:
        pytest.skip("all architectures are registered here")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "true").write_bytes(probe_program(arch)[:52])
    (tmp_path / "bin" / "true").chmod(0o755)
    root = tmp_path / "root.tar"
    with tarfile.open(root, "w") as archive:
        archive.add(tmp_path / "bin", "bin")
    name = f"localhost/orchestrator-test-{uuid.uuid4()}:1"
    machine = arch.facts.oci.split("/")[1]
    made = capture([engine, "import", f"--arch={machine}", str(root), name], env=ENV)
    if not made.ok:
        pytest.skip(f"{engine} cannot import for a platform: {made.last_line}")
    try:
        with pytest.raises(EnvironmentProblemError) as refused:
            check_image(Image(engine, name, arch, ENV), timeout=60, log=lambda _: None)
    finally:
        capture([engine, "rmi", "--force", name], env=ENV)
    assert refused.value.kind is ErrorKind.NOT_EXECUTABLE, refused.value


def test_option_that_the_engine_refuses(engine: EngineName) -> None:
    args = ("--volume=/no/such/directory:/x:ro",)
    with pytest.raises(EnvironmentProblemError, match="/no/such/directory") as refused:
        check_image(Image(engine, IMAGE, host_arch(), ENV), args, timeout=60, log=lambda _: None)
    assert refused.value.kind is ErrorKind.CANNOT_RUN


def test_containers_with_the_label_are_removed(engine: EngineName) -> None:
    label = f"orchestrator.test={uuid.uuid4()}"
    create = [engine, "create", "--network=none", f"--label={label}", IMAGE, "/bin/sleep", "600"]
    first, second = (capture(create, env=ENV).stdout.strip() for _ in range(2))
    assert capture([engine, "start", first], env=ENV).ok
    assert set(remove_containers(engine, label, env=ENV)) == {first, second}
    assert remove_containers(engine, label, env=ENV) == ()


def tiny_image(
    folder: Path, engine: EngineName, name: str, machine: str, variant: str = ""
) -> None:
    """Import an image with nothing in it but this machine's /bin/true."""
    (folder / "bin").mkdir()
    cc = ["g++", "-static", "-x", "c++", "-", "-o", str(folder / "bin/true")]
    subprocess.run(cc, input=b"int main() {}", check=True)
    with tarfile.open(folder / "root.tar", "w") as archive:
        archive.add(folder / "bin", "bin")
    more = [f"--variant={variant}"] if variant else []
    made = capture(
        [engine, "import", f"--arch={machine}", *more, str(folder / "root.tar"), name], env=ENV
    )
    if not made.ok:
        lacking(f"{engine} cannot import for a platform: {made.last_line}")


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry (OCI distribution specification, pull only) with one image.

    Attributes:
        env: the environment of an engine's client for which it is the mirror of registry.example.
        image: the image's name there.
        down: stops it.
    """

    env: dict[str, str]
    image: str
    down: contextlib.ExitStack


@pytest.fixture
def registry(engine: EngineName, tmp_path: Path) -> Iterator[Registry]:
    name, layout = f"orchestrator-test/{uuid.uuid4()}", tmp_path / "oci"
    local = f"localhost/{name}:1"
    tiny_image(tmp_path, engine, local, "amd64")
    saved = capture([engine, "save", "--format=oci-dir", f"--output={layout}", local], env=ENV)
    capture([engine, "rmi", local], env=ENV)
    assert saved.ok, saved
    (manifest,) = json.loads((layout / "index.json").read_text())["manifests"]

    class Handler(Answers):
        def do_GET(self) -> None:
            kind, _, reference = self.path.removeprefix(f"/v2/{name}/").partition("/")
            if self.path == "/v2/":
                self.answer(200, b"{}", Content_Type="application/json")
            elif kind in {"manifests", "blobs"}:
                digest = reference if ":" in reference else manifest["digest"]
                body = (layout / "blobs" / digest.replace(":", "/")).read_bytes()
                media = manifest["mediaType"] if kind == "manifests" else "application/octet-stream"
                self.answer(200, body, Content_Type=media, Docker_Content_Digest=digest)
            else:
                self.answer(404)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running(Loopback(Handler)))
        conf = tmp_path / "registries.conf"
        conf.write_text(
            '[[registry]]\nprefix = "registry.example"\ninsecure = true\n'
            f'location = "127.0.0.1:{server.server_port}"\n'
        )
        env = {**ENV, "CONTAINERS_REGISTRIES_CONF": str(conf)}
        image = f"registry.example/{name}:1"
        try:
            yield Registry(env=env, image=image, down=stack.pop_all())
        finally:
            capture([engine, "rmi", "--force", image], env=ENV)


def test_an_image_of_a_registry_is_recorded_by_its_digest(
    engine: EngineName, registry: Registry
) -> None:
    """Through a mirror that only the engine's own configuration knows."""
    log: list[str] = []

    def check(image: str, **more: Any) -> Any:
        return check_image(
            Image(engine, image, Arch.X86_64, registry.env), timeout=60, log=log.append, **more
        )

    if host_arch() is not Arch.X86_64:
        pytest.skip("the image is for x86_64")
    tagged = registry.image
    name = tagged.removesuffix(":1")
    with registry.down:
        with pytest.raises(EnvironmentProblemError) as refused:
            check(registry.image, pull="never")
        assert refused.value.kind is ErrorKind.NOT_FOUND
        check_pullable(Image(engine, registry.image, Arch.X86_64, registry.env))
        found = check(registry.image)
        assert found.digest.startswith(f"{name}@sha256:")
        check(registry.image, pull="always")
    with pytest.raises(EnvironmentProblemError):
        check_pullable(Image(engine, registry.image, Arch.X86_64, registry.env))
    # What is here needs no registry, nor by its digest, nor by its ID.
    check(registry.image)
    check(found.digest, pull="never")
    check(found.id, pull="never")
    with pytest.raises(EnvironmentProblemError) as refused:
        check(registry.image, pull="always")
    assert refused.value.kind is ErrorKind.UNREACHABLE
    assert refused.value.transient


PULLS = """\
import sys
from cibuildwheel.oci_container import OCIContainer, OCIContainerEngineConfig, OCIPlatform
container = OCIContainer(
    image=sys.argv[1],
    oci_platform=OCIPlatform.ARMV7,
    engine=OCIContainerEngineConfig(name="podman"),
)
container.__enter__()
"""


def test_cibuildwheel_pulls_no_local_image_of_armv7l(engine: EngineName, tmp_path: Path) -> None:
    """It asks podman for the variant, which podman 4 does not tell, and would then pull."""
    name = f"localhost/orchestrator-test-{uuid.uuid4()}:1"
    (tmp_path / "scratch").mkdir()
    tiny_image(tmp_path, engine, name, "arm", "v7")
    ours = backend(tmp_path)._environment(job(tmp_path))["PATH"].partition(":")[0]
    env = {**ENV, "PATH": f"{ours}:{os.environ['PATH']}"}
    try:
        said = ran(sys.executable, "-c", PULLS, name, env=env)
    finally:
        capture([engine, "rmi", "--force", name], env=ENV)
    assert said.code != 0, "it has nothing that could run"
    assert "Trying to pull" not in said.stderr
