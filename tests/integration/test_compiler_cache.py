"""Real compilers behind the real ccache, with the direct backend."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator.provision.cache_dir import default_cache_dir
from tests.conftest import orchestrator, results
from tests.factories import write_project
from tests.servers import Answers, Loopback, running

pytestmark = pytest.mark.index


def kernel(what: str) -> str:
    """A source that nobody has compiled before: the entries are those of all builds."""
    return (
        f"int kernel(int x) {{ static int at = {time.time_ns() % 10**9}; return {what} + at; }}\n"
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project of two compilations and a matrix of two variants; nothing cached yet."""
    source = write_project(tmp_path, "heavy")
    with (source / "module.c").open("a") as file:
        file.write(f"int at{time.time_ns()};\n")
    (source / "kernel.c").write_text(kernel("x"))
    return tmp_path


def build(place: Path, *, env: dict[str, str] | None = None) -> dict[str, tuple[int, int] | None]:
    """Build both variants in order, and return what was found and what was compiled."""
    orchestrator("build", "--backend", "direct", "-j1", cwd=place, env=env, code=0)
    counts = {}
    for key, result in results(place / "dist").items():
        cache = result["compiler_cache"]
        counts[key.rpartition("-")[2]] = cache and (cache["hits"], cache["misses"])
    return counts


def test_what_one_variant_compiled_the_next_one_finds(place: Path) -> None:
    assert build(place) == {"a": (0, 2), "b": (2, 0)}
    (place / "heavy" / "kernel.c").write_text(kernel("x + 1"))
    # Which one comes first depends on how long each took before.
    assert sorted(filter(None, build(place).values())) == [(1, 1), (2, 0)]


@pytest.mark.parametrize(
    "more",
    [
        '[compiler-cache]\nuse = "off"\n',
        '[env]\nCCACHE_DIR = "/nowhere"\n',  # a launcher of its own
    ],
)
def test_it_can_be_off(place: Path, more: str) -> None:
    with (place / "matrix.toml").open("a") as file:
        file.write(f"\n{more}")
    assert build(place) == {"a": None, "b": None}


def test_machines_share_a_remote_storage_whose_password_no_log_shows(place: Path) -> None:
    with (place / "matrix.toml").open("a") as file:
        file.write('\n[compiler-cache]\nuse = "remote"\n')
    with running(Storage()) as server:
        address = server.url.replace("//", "//me:s3cret@")
        remote = {"CCACHE_REMOTE_STORAGE": f"{address}/shared"}
        first = build(place, env={**remote, **machine(place / "one")})
        second = build(place, env={**remote, **machine(place / "two")})

    assert first == {"a": (0, 2), "b": (2, 0)}
    assert second == {"a": (2, 0), "b": (2, 0)}
    written = [each for each in place.rglob("*") if each.is_file() and not each.is_symlink()]
    texts = {str(each): each.read_bytes() for each in written if each.suffix in {".log", ".json"}}
    assert texts
    assert [name for name, text in texts.items() if b"s3cret" in text] == []


def machine(folder: Path) -> dict[str, str]:
    """A machine with an empty cache, but for the toolchain, which takes long to make."""
    folder.mkdir()
    (folder / "toolchain").symlink_to(default_cache_dir(os.environ) / "toolchain")
    return {"ORCHESTRATOR_CACHE_DIR": str(folder)}


class Storage(Loopback):
    """Keeps what is PUT, as ccache's HTTP storage wants it."""

    def __init__(self) -> None:
        super().__init__(_Storage)
        self.kept: dict[str, bytes] = {}


class _Storage(Answers):
    server: Storage

    def do_GET(self) -> None:
        kept = self.server.kept
        self.answer(200 if self.path in kept else 404, kept.get(self.path, b""))

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def do_PUT(self) -> None:
        self.server.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201)
