"""Pages of an index, and addresses: whatever stands there, it is files or one error."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.host import simple_index, web
from orchestrator.host.network import HostNetwork
from orchestrator.host.simple_index import IndexFile, links_in, listing

JSON = "application/vnd.pypi.simple.v1+json"
INDEX = "https://host/simple"


def files(monkeypatch: pytest.MonkeyPatch, body: bytes, kind: str) -> tuple[IndexFile, ...] | None:
    def answer(request: web.HttpRequest, *_: object, **__: object) -> web.HttpResponse:
        return web.HttpResponse(status=200, reason="OK", kind=kind, url=request.url, body=body)

    monkeypatch.setattr(web, "ask", answer)
    return listing(INDEX, "demo", HostNetwork.detect({}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"files":' * 50_000,
        b"[]",
        b"null",
        b'{"files": 1}',
        b'{"files": [1]}',
        b'{"files": [{"filename": "a", "hashes": []}]}',
        b'{"files": [{"filename": "a", "hashes": {"sha256": []}, "url": "http://["}]}',
    ],
    ids=lambda body: f"{body[:40]!r}",
)
def test_a_page_that_is_none_is_an_error_with_its_address(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    with pytest.raises(EnvironmentProblemError, match=r"^https://host/simple/demo/: answers with"):
        files(monkeypatch, body, JSON)


def test_a_large_number_is_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    size = "9" * 5000
    body = f'{{"files": [{{"filename": "a", "url": "a", "size": {size}}}]}}'.encode()
    assert files(monkeypatch, body, JSON) == (
        IndexFile(name="a", yanked=False, url=f"{INDEX}/demo/a"),
    )


@pytest.mark.parametrize("bad", ["http://[", "//[::1", "https://[x]/a", "http://\u2100/"])
def test_a_link_that_is_no_url_is_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bad: str
) -> None:
    page = f'<a href="{bad}">bad</a><a href="good-1.0.tar.gz">good</a>'
    found = files(monkeypatch, page.encode(), "text/html")
    assert found is not None
    assert [each.name for each in found] == ["good-1.0.tar.gz"]
    (tmp_path / "page.html").write_text(page)
    assert [each.name for each in links_in(tmp_path / "page.html")] == ["good-1.0.tar.gz"]


def test_a_declaration_that_no_parser_knows_is_an_error_or_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for text in (b"<![[a]]DOCTYPE html>", b"<![x[a]]>", b"<!-", b"<?", b"<!doctype"):
        with contextlib.suppress(EnvironmentProblemError):
            assert files(monkeypatch, text, "text/html") == ()


@pytest.mark.parametrize("url", ["http://[x", "https://[::1", "http://\u2100/"])
def test_an_address_that_is_no_url_is_an_error(url: str) -> None:
    network = HostNetwork.detect({"PIP_FIND_LINKS": url, "HTTPS_PROXY": url})
    with pytest.raises(ConfigError, match="not a URL"):
        listing(url, "demo", network)
    with pytest.raises(ConfigError, match="not a URL"):
        web.ask(web.HttpRequest(url=url), network)


def test_an_answer_that_is_no_document_is_empty() -> None:
    for body in (b"[" * 100_000, b"[]", b"\xff", json.dumps("x").encode()):
        answer = web.HttpResponse(status=200, reason="", kind=JSON, url=INDEX, body=body)
        assert answer.document() == {}


@pytest.mark.parametrize("kind", ["text/html", "application/vnd.pypi.simple.v1+json"])
def test_more_files_than_any_index_lists_are_an_error(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(simple_index, "_MOST_FILES", 2)

    def page(count: int) -> bytes:
        if kind == "text/html":
            return b"".join(b'<a href="d-%d.whl">d</a>' % number for number in range(count))
        names = [{"filename": f"d-{number}.whl", "url": "x"} for number in range(count)]
        return json.dumps({"files": names}).encode()

    assert len(files(monkeypatch, page(2), kind) or ()) == 2
    with pytest.raises(EnvironmentProblemError, match="lists more than 2 files"):
        files(monkeypatch, page(3), kind)
