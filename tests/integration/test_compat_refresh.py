"""`compat refresh` against a simple index on loopback, in HTML (PEP 503) and JSON (PEP 691)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import Said, orchestrator
from tests.factories import project_file

FILES = [
    f"torch-{version}+{local}-{python}-{python}-manylinux_2_28_{arch}.whl"
    for version, local, arch in (
        ("2.8.0", "cu126", "x86_64"),
        ("2.8.0", "cu129", "x86_64"),
        ("2.8.0", "cu129", "aarch64"),
        ("2.8.0", "rocm6.4", "x86_64"),
        ("2.99.0", "cu140", "x86_64"),
        ("2.99.0", "cpu", "x86_64"),
        ("2.99.0", "cpu", "s390x"),
    )
    for python in ("cp312", "cp314t")
]
OTHERS = [
    "torch-2.8.0.tar.gz",
    "torch-2.98.0-cp312-cp312-manylinux_2_28_x86_64.whl",
    "torch-3.0.0rc1+cu140-cp312-cp312-manylinux_2_28_x86_64.whl",
    "torch-2.8.0+cu126-cp312-cp312-win_amd64.whl",
    "torchvision-9.9+cu126-cp312-cp312-manylinux_2_28_x86_64.whl",
    "nonsense.whl",
]


class Handler(BaseHTTPRequestHandler):
    """One project page; `form` says how."""

    def __init__(self, form: str, *arguments: object) -> None:
        self.form = form
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path != "/simple/torch/":
            self.send_error(404)
            return
        names = [*FILES, *OTHERS]
        if self.form == "json":
            kind = "application/vnd.pypi.simple.v1+json"
            page = json.dumps({"files": [{"filename": name} for name in names]})
        elif self.form == "html":
            kind = "text/html"
            links = (f'<a href="../../files/{quote(name)}#sha256=0">{name}</a>' for name in names)
            page = f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>"
        else:
            kind, page = "application/vnd.pypi.simple.v1+json", "{]"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture(params=["json", "html"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def index(form: str) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, form)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


def refresh(index: str, folder: Path) -> Said:
    options = ("--index", index, "--output", "torch.toml")
    return orchestrator("compat", "refresh", *options, cwd=folder)


MATRIX = project_file("refresh.toml")


def test_a_table_from_an_index_decides_what_is_planned(index: str, tmp_path: Path) -> None:
    said = refresh(index, tmp_path)
    assert said.code == 0, said.all
    assert "torch 2.99 is new; check its abi and gpu-archs" in said.stderr
    assert 'torch 2.8 python: ["cp39"' in said.stderr
    assert (
        "torch 2.98 is left out: the names of its files do not say which CUDA they need"
        in said.stderr
    )
    (tmp_path / "matrix.toml").write_text(MATRIX)

    planned = orchestrator("plan", "--format", "ids", cwd=tmp_path)

    assert planned.code == 0, planned.all
    assert planned.stdout.split() == [
        "cp312-manylinux_x86_64-12.6-2.8",
        "cp312-manylinux_x86_64-12.9-2.8",
        "cp312-manylinux_x86_64-14.0-2.99",
        "cp312-manylinux_aarch64-12.9-2.8",
    ]
    again = refresh(index, tmp_path)
    assert [line for line in again.stderr.splitlines() if "left out" not in line] == []


@pytest.mark.parametrize("form", ["html"], indirect=True)
@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("{index}/nothing", 2, "the index does not have this project"),
        ("ftp://example.org/simple", 2, "is not an http(s) URL of an index"),
        ("http://127.0.0.1:9/simple", 4, "cannot be reached"),
    ],
)
def test_what_an_index_cannot_be(
    index: str, url: str, code: int, message: str, tmp_path: Path
) -> None:
    said = orchestrator("compat", "refresh", "--index", url.format(index=index), cwd=tmp_path)
    assert said.code == code, said.all
    assert message in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize("form", ["broken"], indirect=True)
def test_a_page_that_is_none_leaves_the_old_table_alone(index: str, tmp_path: Path) -> None:
    (tmp_path / "torch.toml").write_text("[torch]\n")
    said = refresh(index, tmp_path)
    assert said.code == 4, said.all
    assert "not a PEP 691 page" in said.stderr
    assert (tmp_path / "torch.toml").read_text() == "[torch]\n"
