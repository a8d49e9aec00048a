"""Targets, requests, results and wheels: plain ones, of which a test says what matters to it."""

from __future__ import annotations

import io
import tarfile
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.builders.base import BuildContext
from orchestrator.config.load import load
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import Cancel
from orchestrator.host.program_tables import builder_facts
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.result import BuildResult, ContainerInfo, Failure, FailureKind, Status
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    Digest,
    EnvVar,
    OnMismatch,
    Plan,
    Source,
    Target,
    TargetId,
    TargetSteps,
)
from orchestrator.models.wheel import WheelReport
from orchestrator.models.wheel_name import WheelFilename
from orchestrator.plan.plan import make_plan, make_request
from orchestrator.plan.version import VersionContext
from orchestrator.provision.host import Host
from orchestrator.provision.toolchain_env import Toolchain
from tests.conftest import IMAGES, MACHINE, TAG

SOURCE = Source(name="demo", version="1.0", digest=Digest("0" * 64), epoch=1_700_000_000)
TARGET = Target(
    id=TargetId("cp312-manylinux_x86_64"),
    python="cp312",
    libc=Libc.MANYLINUX,
    arch=Arch.X86_64,
    variant=(),
    version="1.0",
    build_tag="",
    on_mismatch=OnMismatch.FAIL,
    image="manylinux_2_28",
    env=(),
    steps=TargetSteps(),
    runner=(),
    emulated=False,
)
RESULT = BuildResult(
    target_id=TARGET.id,
    key="",
    status=Status.OK,
    backend=BackendName.DIRECT,
    backend_reason="r",
    wheel=None,
    rejected=None,
    log=None,
    duration=1.0,
    failure=None,
)
WHEEL = WheelReport(
    filename=WheelFilename("demo-1.0-cp312-cp312-linux_x86_64.whl"),
    sha256=Digest("0" * 64),
    size=5,
    version="1.0",
    declared_tags=(),
    observed_tag="linux_x86_64",
    aliases=(),
    reasons=(),
    external_libs=(),
    isa="",
    abi3=False,
    problems=(),
)


CONTAINER = ContainerInfo(
    engine="podman",
    version="5.4",
    rootless=False,
    cgroup="v2",
    storage="overlay",
    image="quay.io/pypa/manylinux_2_28_x86_64:2026",
    image_id=f"sha256:{'b' * 64}",
    digest=f"quay.io/pypa/manylinux_2_28_x86_64@sha256:{'a' * 64}",
)


def target(name: str = TARGET.id, **changes: Any) -> Target:
    return replace(TARGET, id=TargetId(name), **changes)


def result(
    name: str = RESULT.target_id,
    status: Status = Status.OK,
    kind: FailureKind | None = None,
    **changes: Any,
) -> BuildResult:
    failure = None if kind is None else Failure(kind=kind, message="m", hint="h", step="s")
    first = replace(RESULT, target_id=TargetId(name), status=status, failure=failure)
    return replace(first, **changes)


def request(
    what: Target = TARGET,
    backend: BackendName = BackendName.CIBUILDWHEEL,
    *,
    source: Source = SOURCE,
    **more: Any,
) -> BuildRequest:
    """Make a request; `more` is for `make_request`."""
    given = {"toolchain": Digest("1" * 64), "builder": "0", **more}
    return make_request(what, source=source, backend=backend, **given)


def env(**values: str) -> tuple[EnvVar, ...]:
    return tuple(EnvVar(name=name, value=value, origin="env") for name, value in values.items())


def host(
    cache_dir: Path,
    tools: Toolchain | None = None,
    environ: Mapping[str, str] | None = None,
    network: HostNetwork | None = None,
) -> Host:
    """Return a machine with a toolchain, perhaps one without any program."""
    none = Toolchain(python=cache_dir, root=cache_dir, bin=cache_dir, digest=Digest("0" * 64))
    environ = environ or {}
    return Host(
        toolchain=tools or none,
        network=network or HostNetwork(),
        env=base_env(environ),
        cache_dir=cache_dir,
        environ=environ,
    )


def build_context(folder: Path, **more: Any) -> BuildContext:
    """Return a build in a directory that nobody watches; `more` are fields of it."""
    plain: dict[str, Any] = {
        "request": request(),
        "source": folder,
        "scratch": folder,
        "log": lambda _line: None,
        "step": lambda _name: None,
        "cancel": Cancel(),
    }
    return BuildContext(**{**plain, **more})


FACTS = builder_facts()


def plan_of(text: str, *, version: str | None = None, **more: Any) -> Plan:
    """Plan a matrix.toml; `more` is for `make_plan`."""
    settings = load(text.encode(), facts=FACTS)
    return make_plan(settings, facts=FACTS, outside=VersionContext(version=version), **more)


PROJECTS = Path(__file__).parent / "projects"


def project_file(path: str) -> str:
    """Read a file of tests/projects."""
    return (PROJECTS / path).read_text(encoding="utf-8")


def project_files(name: str) -> dict[str, str]:
    """Read a source tree of tests/projects: path in it -> its text."""
    folder = PROJECTS / name
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files: path below the folder -> text."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def write_project(place: Path, name: str, more: str = "", **fields: object) -> Path:
    """Write a project of tests/projects, and its matrix.toml, filled in, to where that finds it.

    Args:
        place: the directory of the matrix.
        name: of the project.
        more: TOML to append to the matrix.
        fields: of the matrix beside `tag`, `machine`, `images` and `root`.

    Returns:
        The directory of the source.
    """
    files = project_files(name)
    known = {"tag": TAG, "machine": MACHINE, "images": IMAGES, "root": place}
    matrix = files.pop("matrix.toml").format(**{**known, **fields})
    write_files(place, {"matrix.toml": matrix + more})
    return write_files(place / tomllib.loads(matrix)["project"]["source"], files)


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text, which must be there, in a file."""
    text = path.read_text("utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


def program(path: Path, script: str) -> Path:
    """Write a shell script that can be run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def cases(beside: str, name: str) -> dict[str, dict[str, str]]:
    """Read a table of cases beside a test file: name of the case -> its values."""
    return tomllib.loads(Path(beside).with_name(name).read_text(encoding="utf-8"))


def make_sdist(
    folder: Path, files: dict[str, str], *, name: str = "my_thing-1.0", top: str = "my_thing-1.0"
) -> Path:
    """Write an sdist of some files, and return it."""
    path = folder / f"{name}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{top}/{member}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path
