"""What tests share: running the command line, and saying honestly what this machine lacks.

A missing engine is a skip with its reason on a developer's machine, and a failure in CI.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.wheel import Policies
from tests.auditor import load_policies
from tests.static import browser
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf

# How long an example takes says more about the machine than about the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fast", settings.get_profile("default"), max_examples=20)
settings.load_profile("default")


def examples(number: int) -> settings:
    """Run so many examples where the default profile runs 100, and fewer with fewer."""
    return settings(max_examples=max(5, number * settings().max_examples // 100))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("corpus")
    group.addoption(
        "--corpus",
        choices=("ci", "all"),
        default="ci",
        help="real wheels to compare with auditwheel: 20 small ones, or all of wheels.csv (550 MB)",
    )
    group.addoption("--corpus-cache", metavar="DIR", help="folder that keeps the corpus' wheels")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the engine tests: they take longest, and pytest-xdist hands out files in order."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


STORES = tempfile.TemporaryDirectory(prefix="orchestrator-stores-")
REPOSITORY = Path(__file__).parent.parent
IMAGES = "localhost/orchestrator-baseline"
"""The project's own baseline images, made by `.ci/images`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def all(self) -> str:
        return f"exit {self.code}\n{self.stdout}\n{self.stderr}"


def orchestrator(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 1500
) -> Said:
    """Run the command line as a user does, in a process of its own."""
    argv = [sys.executable, "-m", "orchestrator", *map(str, arguments)]
    # A test that builds wants a build: one that wants the store names it.
    store = {"ORCHESTRATOR_STORE_DIR": tempfile.mkdtemp(dir=STORES.name)}
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), **store, **(env or {})}
    done = subprocess.run(
        argv, cwd=cwd, env=environ, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Said(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def results(output: Path) -> dict[str, Any]:
    """Read results.json: target ID -> result."""
    document = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return {each["id"]: each for each in document["results"]}


def lacking(reason: str) -> None:
    """Skip, or fail in CI."""
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(f"CI must have this: {reason}")
    pytest.skip(reason)


def podman(*arguments: str, timeout: float = 600) -> Said:
    try:
        done = subprocess.run(
            ["podman", *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )
    except FileNotFoundError:
        return Said(code=127, stdout="", stderr="podman is not installed")
    return Said(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def containers(mark: Path) -> list[str]:
    """What stands of the containers whose matrix says ``--label=orchestrator.test={mark}``.

    Others may run some at the same time: other tests, or whoever else uses the machine.
    """
    found = podman("ps", "--all", "--quiet", f"--filter=label=orchestrator.test={mark}")
    assert found.code == 0, found.all
    return found.stdout.split()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium, or of a browser made of it."""
    found = browser()
    if found is None:
        lacking("needs Chromium: run .ci/browser as root")
    return str(found)


@pytest.fixture(scope="session")
def engine() -> str:
    """Podman, with the project's native images."""
    for suite in ("bullseye", "bookworm", "trixie"):
        image = f"{IMAGES}:{suite}-x86_64"
        if podman("image", "exists", image).code != 0:
            lacking(f"needs podman and the image {image}: run .ci/engine and .ci/images as root")
    return "podman"


@pytest.fixture(scope="session")
def emulated(engine: str) -> str:
    """An image of a foreign architecture that really runs."""
    image = f"{IMAGES}:bookworm-aarch64"
    if podman("run", "--rm", "--network=none", image, "/bin/true").code != 0:
        lacking(f"needs QEMU for aarch64 and the image {image}: run .ci/engine and .ci/images")
    return image


@pytest.fixture(scope="session")
def policies() -> Policies:
    return load_policies()


@pytest.fixture
def extension() -> bytes:
    """An extension that needs glibc 2.14, which is manylinux_2_17."""
    versions = {"libc.so.6": {"GLIBC_2.2.5": ("malloc", "free"), "GLIBC_2.14": ("memcpy",)}}
    return make_elf(ElfSpec(versions=versions, defined=("PyInit__ext",)))


@pytest.fixture
def spec(extension: bytes) -> WheelSpec:
    return WheelSpec(members={"demo/__init__.py": b"", EXTENSION: extension})
