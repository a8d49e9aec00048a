"""`compat refresh` against a simple index on loopback, in HTML (PEP 503) and JSON (PEP 691)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Said, orchestrator
from tests.factories import project_file
from tests.servers import JSON, Answers, Loopback, running

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


class Page(Answers):
    """One project page; `form` says how."""

    def __init__(self, form: str, *arguments: Any) -> None:
        self.form = form
        super().__init__(*arguments)

    def do_GET(self) -> None:
        names = [*FILES, *OTHERS]
        if self.path != "/simple/torch/":
            self.answer(404)
        elif self.form == "html":
            links = (f'<a href="../../files/{quote(name)}#sha256=0">{name}</a>' for name in names)
            page = f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>"
            self.answer(200, page.encode(), Content_Type="text/html")
        else:
            page = json.dumps({"files": [{"filename": name} for name in names]})
            page = page if self.form == "json" else "{]"
            self.answer(200, page.encode(), Content_Type=JSON)


@pytest.fixture(params=["json", "html"])
def index(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(Loopback(partial(Page, request.param))) as server:
        yield f"{server.url}/simple"


def refresh(index: str, folder: Path, code: int = 0) -> Said:
    options = ("--index", index, "--output", "torch.toml")
    return orchestrator("compat", "refresh", *options, cwd=folder, code=code)


def test_a_table_from_an_index_decides_what_is_planned(index: str, tmp_path: Path) -> None:
    said = refresh(index, tmp_path)
    for text in (
        "torch 2.99 is new; check its abi and gpu-archs",
        'torch 2.8 python: ["cp39"',
        "torch 2.98 is left out: the names of its files do not say which CUDA they need",
    ):
        assert text in said.stderr
    (tmp_path / "matrix.toml").write_text(project_file("refresh.toml"))

    planned = orchestrator("plan", "--format", "ids", cwd=tmp_path, code=0)

    assert planned.stdout.split() == [
        "cp312-manylinux_x86_64-12.6-2.8",
        "cp312-manylinux_x86_64-12.9-2.8",
        "cp312-manylinux_x86_64-14.0-2.99",
        "cp312-manylinux_aarch64-12.9-2.8",
    ]
    again = refresh(index, tmp_path)
    assert [line for line in again.stderr.splitlines() if "left out" not in line] == []


@pytest.mark.parametrize("index", ["html"], indirect=True)
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
    options = ("--index", url.format(index=index))
    said = orchestrator("compat", "refresh", *options, cwd=tmp_path, code=code)
    assert message in said.stderr
    assert said.stdout == ""


@pytest.mark.parametrize("index", ["broken"], indirect=True)
def test_a_page_that_is_none_leaves_the_old_table_alone(index: str, tmp_path: Path) -> None:
    (tmp_path / "torch.toml").write_text("[torch]\n")
    said = refresh(index, tmp_path, code=4)
    assert "not a PEP 691 page" in said.stderr
    assert (tmp_path / "torch.toml").read_text() == "[torch]\n"
