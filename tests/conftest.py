"""What tests share: running programs, and saying honestly what this machine lacks.

A missing engine is a skip with its reason on a developer's machine, and a failure in CI.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.cross.driver import SOURCES
from orchestrator.host.network import HostNetwork
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.toolchain import Toolchain, sync
from orchestrator.wheel import Policies
from tests.auditor import load_policies
from tests.packages import Indexes, indexes
from tests.servers import browser
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
        help="real wheels to compare with other tools: the small ones, or all (730 MB)",
    )
    group.addoption("--corpus-cache", metavar="DIR", help="folder that keeps the corpus' wheels")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the engine tests: they take longest, and pytest-xdist hands out files in order."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


STORES = tempfile.TemporaryDirectory(prefix="orchestrator-stores-")
REPOSITORY = Path(__file__).parent.parent
IMAGES = "localhost/orchestrator-baseline"
"""The project's own baseline images, made by `.ci/images`."""
TAG = f"cp3{sys.version_info.minor}"
"""The Python that runs the tests is on this host for certain."""
MACHINE = os.uname().machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended and what it said.

    Attributes:
        code: its exit status.
        stdout: its standard output.
        stderr: its standard error, each error and each hint of one in one line.
        shown: its standard error as it is.
    """

    code: int
    stdout: str
    stderr: str
    shown: str = ""

    @property
    def all(self) -> str:
        return f"exit {self.code}\n{self.stdout}\n{self.stderr}"


def ran(
    *argv: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    code: int | None = None,
    timeout: float = 1500,
    stdin: IO[bytes] | None = None,
) -> Said:
    """Run a program, which has to end with that exit code if one is given."""
    how: dict[str, Any] = {"cwd": cwd, "env": env, "timeout": timeout, "stdin": stdin}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **how)
    said = Said(
        code=done.returncode,
        stdout=done.stdout,
        stderr=_unfolded(done.stderr),
        shown=done.stderr,
    )
    assert code is None or said.code == code, said.all
    return said


_FOLDED = ("error:", "note: ", "found: ", "byte-identical ", "  hint: ")
"""How the messages begin that tests look for whole."""


def _unfolded(text: str) -> str:
    """Return errors and notes as a wide terminal has them: each a line, its hint one below."""
    lines: list[str] = []
    for line in text.split("\n"):
        last = lines[-1] if lines else ""
        # The lines of a hint stand to the right of it.
        indent = "    " if last.startswith("  hint: ") else "  "
        below = last.startswith(_FOLDED)
        if below and line.startswith(indent) and not line.startswith("  hint: "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return "\n".join(lines)


def with_own_store(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables of a command line with a store of its own.

    A test that builds wants a build: one that wants the store names it.
    """
    store = {"ORCHESTRATOR_STORE_DIR": tempfile.mkdtemp(dir=STORES.name)}
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), **store, **(env or {})}


def orchestrator(
    *arguments: str | Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    code: int | None = None,
    timeout: float = 1500,
) -> Said:
    """Run the command line as a user does, in a process of its own."""
    argv = (sys.executable, "-m", "orchestrator", *arguments)
    return ran(*argv, cwd=cwd, env=with_own_store(env), code=code, timeout=timeout)


SOON = "from orchestrator.host import stall; stall.QUIET = 1.0; import orchestrator.__main__"
"""Starts the command line with less patience for programs that wait."""


def build_soon(place: Path, *options: str) -> str:
    """Build where a program is reported that waits for a second; return all lines as one."""
    argv = (sys.executable, "-c", SOON, "build", *options)
    return " ".join(ran(*argv, cwd=place, env=with_own_store(), code=0).stderr.split())


def started(
    *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None, **more: Any
) -> subprocess.Popen[str]:
    """Start the command line; `more` is for `Popen`."""
    argv = [sys.executable, "-m", "orchestrator", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen(argv, cwd=cwd, env=with_own_store(env), text=True, **pipes)


def git(root: Path, *words: str, **env: str) -> str:
    """Run git as somebody with a name and no settings; return what it prints."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    who = {f"GIT_{a}_{b}": "x" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")}
    own = {**os.environ, **who, "GIT_CONFIG_GLOBAL": "/dev/null", **env}
    return ran("git", "-C", root, *words, env=own, code=0).stdout.strip()


def is_alive(pid: int | str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"  # dead, and waited for by nobody


def results(output: Path) -> dict[str, Any]:
    """Read results.json: target ID -> result."""
    document = json.loads((output / "results.json").read_text(encoding="utf-8"))
    return {each["id"]: each for each in document["results"]}


def log_of(place: Path, target: str = "*") -> str:
    """Return the log of a target that was built in a directory; of all, one after the other."""
    logs = sorted((place / ".orchestrator/logs").glob(f"{target}.log"))
    assert logs or target == "*"
    return "".join(log.read_text("utf-8") for log in logs)


def lacking(reason: str) -> NoReturn:
    """Skip, or fail in CI."""
    if os.environ.get("CI", "").lower() in {"true", "1"}:
        pytest.fail(f"CI must have this: {reason}")
    pytest.skip(reason)


def podman(*arguments: str | Path, timeout: float = 600) -> Said:
    try:
        return ran("podman", *arguments, timeout=timeout)
    except FileNotFoundError:
        return Said(code=127, stdout="", stderr="podman is not installed")


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
def tools() -> Toolchain:
    """The locked tools."""
    return sync(default_cache_dir(os.environ), HostNetwork.detect(os.environ), environ=os.environ)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that is called in the place of compilers, compiled by this host's own."""
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        lacking("needs gcc and g++")
    made = tmp_path_factory.mktemp("driver") / "compiler"
    flags = ("-ffreestanding", "-nostdlib", "-static", "-O2", "-fno-stack-protector")
    strict = ("-fno-builtin", "-Wall", "-Wextra", "-Werror")
    ran("gcc", *flags, *strict, *SOURCES, "-o", made, code=0)
    return made


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Indexes]:
    with indexes(tmp_path / "indexes") as made:
        yield made


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3; a process has one, with all of its buckets."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes seconds

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


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
