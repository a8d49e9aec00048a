"""pip, uv and Poetry install from a site on loopback: by variant, with hashes, metadata first."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MACHINE, TAG, orchestrator, ran
from tests.factories import project_file
from tests.servers import Server, served
from tests.wheelmaker import WheelSpec

pytestmark = pytest.mark.index

LARGE = 3_000_000
PLATFORM = f"manylinux_2_17_{MACHINE}"
VARIANTS = ("cu126.torch2.8", "cu130.torch2.8")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment with the newest pip, uv and Poetry."""
    home = tmp_path_factory.mktemp("tools")
    ran(sys.executable, "-m", "venv", home, code=0)
    newest = ("pip", "uv", "poetry")
    ran(home / "bin" / "python", "-m", "pip", "install", "-qU", *newest, code=0)
    return home / "bin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of a project that needs another one of the same index."""
    folder = tmp_path_factory.mktemp("site")
    for local in VARIANTS:
        spec = WheelSpec(name="big_demo", version=f"1.0+{local}", python=TAG, abi=TAG)
        spec.platform = PLATFORM
        code = f"variant = {local!r}\n".encode()
        spec.members = {"big_demo.py": code, "big.bin": os.urandom(LARGE)}
        content = spec.files()
        metadata = f"{spec.dist_info}/METADATA"
        content[metadata] = content[metadata].replace(b"\n\n", b"\nRequires-Dist: small-demo\n\n")
        spec.write(folder / "dist", content)
        small = WheelSpec(name="small_demo", version=f"2.0+{local}", python="py3", abi="none")
        small.platform = PLATFORM
        small.write(folder / "dist")
    orchestrator("index", "dist", "--output", "site", cwd=folder, code=0)
    return folder / "site"


@pytest.fixture
def server(site: Path, form: str) -> Iterator[Server]:
    """A host that knows HTML only, as most static ones, or one that negotiates."""
    with served(site, negotiates=form == "json") as running:
        yield running


def run(*argv: str | Path, cwd: Path, **env: str) -> str:
    # VIRTUAL_ENV too: Poetry and uv would install into the one that runs the tests.
    ours = ("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    environ = {**clean, "HOME": str(cwd), "PIP_CONFIG_FILE": os.devnull, **env}
    return ran(*argv, cwd=cwd, env=environ, timeout=600, code=0).stdout


def variant_in(python: Path, cwd: Path) -> str:
    return run(python, "-c", "import big_demo; print(big_demo.variant)", cwd=cwd).strip()


def hashed(site: Path, local: str) -> str:
    """Return requirements with hashes, as a lock file has them."""
    lines = []
    for path in sorted(site.glob(f"files/*/*{local}*.whl")):
        name, version = path.name.split("-")[:2]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return "\n".join(lines)


def only_metadata(server: Server) -> bool:
    asked = [path for path in server.sent if path.endswith(".whl.metadata")]
    return bool(asked) and not server.wheels()


@pytest.mark.parametrize("form", ["html", "json"])
def test_pip_installs_by_variant_with_hashes_and_reads_metadata_alone(
    tools: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    pip = (tools / "python", "-m", "pip", "--isolated", "--no-cache-dir", "install", "-q")
    target = ("--target", tmp_path / "lib", "--index-url", f"{server.url}/cu126/torch2.8/")
    run(*pip, *target, "--dry-run", "big-demo", cwd=tmp_path)
    assert only_metadata(server), server.sent
    assert sum(server.sent.values()) < LARGE / 100
    (tmp_path / "locked.txt").write_text(hashed(site, VARIANTS[0]))
    run(*pip, *target, "--require-hashes", "-r", "locked.txt", cwd=tmp_path)
    assert VARIANTS[0] in (tmp_path / "lib" / "big_demo.py").read_text()
    assert {path for path in server.wheels() if VARIANTS[1] in path} == set()


@pytest.mark.parametrize("form", ["json"])
def test_uv_installs_by_variant_with_hashes_and_reads_metadata_alone(
    tools: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    uv = (tools / "uv", "--no-cache", "--no-config")
    run(*uv, "venv", "-q", "--python", sys.executable, "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    given = ("--index-url", f"{server.url}/cu130/torch2.8/", "--python", python)
    (tmp_path / "in.txt").write_text("big-demo\n")
    compiled = run(*uv, "pip", "compile", "--generate-hashes", "in.txt", *given, cwd=tmp_path)
    assert only_metadata(server), server.sent
    assert sum(server.sent.values()) < LARGE / 100
    want = re.findall(r"sha256:[0-9a-f]{64}", hashed(site, VARIANTS[1]))
    assert sorted(re.findall(r"sha256:[0-9a-f]{64}", compiled)) == sorted(want)
    (tmp_path / "locked.txt").write_text(compiled)
    install = ("pip", "install", "-q", "--require-hashes", "-r", "locked.txt")
    run(*uv, *install, *given, cwd=tmp_path)
    assert variant_in(python, tmp_path) == VARIANTS[1]


@pytest.mark.parametrize("form", ["html"])
def test_poetry_locks_and_installs_by_variant_with_hashes_and_reads_metadata_alone(
    tools: Path, site: Path, server: Server, tmp_path: Path
) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    url = f"{server.url}/cu126/torch2.8/"
    text = project_file("user/pyproject.toml")
    text = text.format(python=python, local=VARIANTS[0], url=url)
    (tmp_path / "pyproject.toml").write_text(text)
    env = {"POETRY_VIRTUALENVS_IN_PROJECT": "true", "POETRY_CACHE_DIR": str(tmp_path / "cache")}
    run(tools / "poetry", "lock", "-n", cwd=tmp_path, **env)
    assert only_metadata(server), server.sent
    assert sum(server.sent.values()) < LARGE / 100
    locked = re.findall(r"sha256:[0-9a-f]{64}", (tmp_path / "poetry.lock").read_text())
    want = re.findall(r"sha256:[0-9a-f]{64}", hashed(site, VARIANTS[0]))
    assert sorted(locked) == sorted(want)
    run(tools / "poetry", "install", "-n", "--no-root", cwd=tmp_path, **env)
    assert variant_in(tmp_path / ".venv" / "bin" / "python", tmp_path) == VARIANTS[0]
