"""The documentation site in a browser, from a plain web server: nothing comes from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import site as docs
from tests.servers import served

pytestmark = pytest.mark.browser

PAGES = ("", "tutorials/first-wheel/", "reference/cli/", "reference/verify/", "gallery/")
PHONE, DESK = 390, 1280


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(docs.build(tmp_path_factory.mktemp("docs"))) as server:
        yield server.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_pages(browser: Browser, address: str, width: int, scheme: Any) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked: set[str] = set()
    complaints: list[str] = []
    page.on("request", lambda request: asked.add(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url))
    for path in PAGES:
        page.goto(f"{address}/{path}", wait_until="networkidle")
        assert page.locator("h1").first.is_visible(), path
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{path} is wider than the window"
        body = page.evaluate("getComputedStyle(document.body).backgroundColor")
        light = sum(map(int, body.removeprefix("rgb(").rstrip(")").split(", ")[:3])) > 3 * 128
        assert light == (scheme == "light"), path
        for image in page.locator("article img").all():
            assert image.evaluate("each => each.naturalWidth") > 0, path
    context.close()

    assert {url for url in asked if not url.startswith((address, "data:"))} == set()
    assert complaints == []


def test_search_has_its_index_from_here(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": DESK, "height": 800})
    with page.expect_response(f"{address}/search.json") as answered:
        page.goto(address)

    assert answered.value.ok
    assert "howto/compiler-cache/" in answered.value.text()
    page.close()
