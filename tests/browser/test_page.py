"""The HTML report in a real browser: what it shows, how it is used, and that nothing in it runs."""

from __future__ import annotations

import shlex
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import sync_playwright

from orchestrator.models.reading import parse
from orchestrator.plan.selection import select
from orchestrator.report import html_report, serialize
from orchestrator.report.history import history
from orchestrator.report.schemas import ResultsDocument
from tests import factories, reports
from tests.unit.report.test_reports import hostile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    Open = Callable[..., Page]

pytestmark = pytest.mark.browser

PHONE = 360
DESK = 1200


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Open the report of some results; whatever the browser complains about fails the test."""
    complaints: list[str] = []
    contexts = []

    def show(
        *documents: dict[str, Any], width: int = DESK, scheme: Any = "light", after: str = ""
    ) -> Page:
        file = tmp_path / "report.html"
        past = history(parse(ResultsDocument, each) for each in documents)
        merged = parse(ResultsDocument, serialize.merged(documents))
        file.write_text(html_report.render(merged, past), encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: None if request.url.startswith("file:") else complaints.append("asked"),
        )
        page.goto(file.as_uri() + after)
        return page

    yield show
    for each in contexts:
        each.close()
    assert complaints == []


def shown(page: Page, selector: str) -> int:
    return sum(each.is_visible() for each in page.locator(selector).all())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_everybody_can_read_it(show: Open, scheme: str, width: int) -> None:
    """Contrast, headings, tables, names of links and regions: what axe-core checks."""
    page = show(*map(reports.nightly, range(4)), width=width, scheme=scheme, after="#filter=cp313")
    for each in page.locator("details").all():
        each.evaluate("each => { each.open = true }")

    found = Axe().run(page).response["violations"]

    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


@pytest.mark.parametrize("after", ["", "#filter=cp"])
@pytest.mark.parametrize("document", [reports.large(), hostile()], ids=["854 targets", "hostile"])
def test_a_phone_scrolls_only_down(show: Open, document: dict[str, Any], after: str) -> None:
    earlier = deepcopy(document)
    for each in earlier["results"]:
        each["started"] = 1.0
    page = show(document, earlier, width=PHONE, after=after)
    assert page.locator("#history").is_visible()
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")

    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
    grid = page.locator(".wide").first.bounding_box()
    assert grid is not None
    assert grid["x"] + grid["width"] <= PHONE


def test_the_grid_counts_what_the_results_count(show: Open) -> None:
    document = reports.large()
    page = show(document)

    for status in ("ok", "failed", "unavailable", "cancelled"):
        count = sum(each["status"] == status for each in document["results"])
        assert page.locator(f".grid td a.{status}").count() == count
        assert page.locator(f".counts .{status}").get_attribute("data-count") == str(count)


def test_the_timeline_has_a_bar_for_all_that_ran(show: Open) -> None:
    document = reports.large(100)
    page = show(document)
    ran = sum(each["started"] is not None for each in document["results"])

    assert page.locator("svg.bar").count() == ran
    box = page.locator("svg.bar").first.bounding_box()
    assert box is not None
    assert box["width"] > 1


def test_the_filter_leaves_what_was_asked_for(show: Open) -> None:
    document = reports.large(120)
    page = show(document)
    wanted = sum("cp313t" in e["id"] and e["status"] == "ok" for e in document["results"])

    page.get_by_label("Filter").fill("CP313T ok")

    assert page.locator(".list tbody tr:not(.out)").count() == wanted
    assert page.locator("#shown").inner_text() == f"{wanted} of 120 targets"
    assert shown(page, ".grid tbody tr") == 2
    page.get_by_label("Filter").fill("")
    assert page.locator(".out").count() == 0


def test_a_link_leads_to_what_is_shown(show: Open) -> None:
    page = show(reports.large(120))
    assert not page.get_by_role("link", name="link to this view").is_visible()
    page.get_by_label("Filter").fill("CP313T x86_64 ok")
    rows = page.locator(".list tbody tr[data-target]:not(.out)")
    wanted = rows.count()
    link = page.get_by_role("link", name="link to this view").get_attribute("href")
    assert page.url.endswith(f"report.html{link}"), "the address bar has it too"

    again = show(reports.large(120), after=link)

    assert wanted > 1
    assert again.locator(".list tbody tr[data-target]:not(.out)").count() == wanted
    assert again.get_by_label("Filter").input_value() == "CP313T x86_64 ok"
    again.get_by_label("Filter").fill("")
    assert again.url.endswith("report.html")


def test_the_command_of_a_view_builds_what_is_shown(show: Open) -> None:
    page = show(reports.large(120), after="#filter=cp313t%20ok%20aarch64")
    rows = page.locator(".list tbody tr[data-target]:not(.out)")
    shown_ids = [each.get_attribute("data-target") for each in rows.all()]
    page.locator("#filter").get_by_role("button", name="copy").click()
    page.locator("#filter").get_by_role("button", name="copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")

    program, command, option, expression = shlex.split(copied)
    assert (program, command, option) == ("orchestrator", "build", "--select")
    assert expression.split(" | ") == shown_ids
    planned = [factories.target(each["id"], covers=((),)) for each in reports.large(120)["results"]]
    assert [each.id for each in select(planned, [expression])] == shown_ids


def test_the_command_of_a_target_is_copied_or_at_least_selected(show: Open) -> None:
    page = show(reports.large(24))
    place = page.locator("details").first
    place.get_by_role("button", name="copy").click()
    place.get_by_role("button", name="copied").wait_for()
    wanted = page.evaluate("navigator.clipboard.readText()")
    assert wanted.startswith("orchestrator rebuild cp")

    page.context.clear_permissions()
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(Error()) }")
    place.get_by_role("button", name="copied").click()
    place.get_by_role("button", name="selected").wait_for()
    assert page.evaluate("getSelection().toString()") == wanted


def test_the_keyboard_leads_from_a_cell_to_why_it_failed(show: Open) -> None:
    page = show(reports.large(60))
    cell = page.locator(".grid td a.failed").last
    place = page.locator(str(cell.get_attribute("href")))

    cell.focus()
    page.keyboard.press("Enter")

    place.wait_for(state="visible")
    assert place.get_by_text("the project did not build").is_visible()


def test_nothing_in_it_runs(show: Open) -> None:
    page = show(hostile())

    assert page.title() != "owned"
    assert page.locator("img").count() == 0
    assert page.locator(".list tbody tr").count() == 3


def test_it_says_all_without_scripts(browser: Browser, show: Open, tmp_path: Path) -> None:
    show(reports.large(24))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())

    assert page.locator(".list tbody tr").count() == 24
    assert not page.locator("#filter").is_visible()
    context.close()
