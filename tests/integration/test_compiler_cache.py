"""Real compilers behind the real ccache, with the direct backend."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.provision.cache_dir import default_cache_dir
from tests.conftest import orchestrator, results
from tests.factories import project_file
from tests.integration.test_direct import MACHINE, TAG

pytestmark = pytest.mark.index

SETUP = """\
from setuptools import Extension, setup
setup(name="heavy", version="1.0", ext_modules=[Extension("heavy", ["module.c", "kernel.c"])])
"""
MODULE = project_file("heavy/module.c")
MATRIX = project_file("heavy/matrix.toml")


def kernel(what: str) -> str:
    """A source that nobody has compiled before: the entries are those of all builds."""
    return (
        f"int kernel(int x) {{ static int at = {time.time_ns() % 10**9}; return {what} + at; }}\n"
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A project of two compilations and a matrix of two variants; nothing cached yet."""
    project = tmp_path / "heavy"
    project.mkdir()
    (project / "setup.py").write_text(SETUP)
    (project / "module.c").write_text(f"{MODULE}int at{time.time_ns()};\n")
    (project / "kernel.c").write_text(kernel("x"))
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "heavy"\nversion = "1.0"\n'
    )
    (tmp_path / "matrix.toml").write_text(MATRIX.format(tag=TAG, machine=MACHINE))
    return tmp_path


def build(place: Path, *, env: dict[str, str] | None = None) -> dict[str, tuple[int, int] | None]:
    """Build both variants in order, and return what was found and what was compiled."""
    command = ("build", "--backend", "direct", "-j1")
    said = orchestrator(*command, cwd=place, env=env)
    assert said.code == 0, said.all
    found = {key.rpartition("-")[2]: each for key, each in results(place / "dist").items()}
    return {
        kind: None
        if (each := found[kind]["compiler_cache"]) is None
        else (each["hits"], each["misses"])
        for kind in ("a", "b")
    }


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
    with storage() as address:
        remote = {"CCACHE_REMOTE_STORAGE": f"http://me:s3cret@{address}/shared"}
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


@contextmanager
def storage() -> Iterator[str]:
    """A web server that keeps what is PUT, as ccache's HTTP storage wants it."""
    kept: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200 if self.path in kept else 404, kept.get(self.path, b""))

        def do_PUT(self) -> None:
            kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(201)

        def do_HEAD(self) -> None:
            self.answer(200 if self.path in kept else 404)

        def answer(self, code: int, body: bytes = b"") -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
