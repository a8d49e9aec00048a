"""The playground in a real browser: it plans, explains, says what is wrong, and asks nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import expect, sync_playwright

from tests.conftest import REPOSITORY, lacking
from tests.servers import served
from tests.unit.test_playground import planned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Locator, Page

    from tests.servers import Server

    Open = Callable[..., Page]

pytestmark = [pytest.mark.browser, pytest.mark.index]

PLACE = "docs/1.0/playground"
"""Where the page lies on its server: anywhere must do."""

PHONE = 360
DESK = 1400
START = 90_000
"""Milliseconds in which Python has started, on any machine."""

MATRIX = '[axes]\npython = ["cp312", "cp313"]\narch = ["x86_64"]\n'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("site")
    command = (sys.executable, REPOSITORY / "tools/playground.py", root / PLACE)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        lacking(f"needs npm and the package index: {done.stdout}{done.stderr}")
    return root


@pytest.fixture(scope="module")
def site(built: Path) -> Iterator[Server]:
    with served(built) as server:
        yield server


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    only = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[only])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visit(browser: Browser, site: Server) -> Iterator[Open]:
    """Open the page; a complaint of the browser, or a request to anybody else, fails the test."""
    complaints: list[str] = []
    contexts = []
    own = f"{site.url}/{PLACE}/"

    def visit(after: str = "") -> Page:
        context = browser.new_context(viewport={"width": DESK, "height": 900})
        contexts.append(context)
        context.on(
            "request",
            lambda sent: None if sent.url.startswith(own) else complaints.append(sent.url),
        )
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{own}{after}")
        expect(page.locator("#result")).to_have_attribute("aria-busy", "false", timeout=START)
        return page

    yield visit
    for each in contexts:
        each.close()
    assert complaints == []


@pytest.fixture(scope="module")
def opened(visit: Open) -> Page:
    return visit()


@pytest.fixture
def page(opened: Page) -> Page:
    """The page as it is at first; Python takes seconds to start, so all tests share one."""
    opened.set_viewport_size({"width": DESK, "height": 900})
    opened.get_by_label("Start from").select_option("flash-attention")
    opened.get_by_label("Start from").select_option("saxpy")
    summary(opened, "24 targets, 12 cells excluded")
    expect(opened.locator("#errors li")).to_have_count(0)
    return opened


def summary(page: Page, text: str) -> None:
    expect(page.locator("#summary")).to_have_text(text, timeout=START)


def write(page: Page, text: str) -> None:
    page.get_by_role("textbox", name="matrix.toml").fill(text)


def row(page: Page, what: str) -> Locator:
    return page.locator("#explained tr", has=page.get_by_role("rowheader", name=what, exact=True))


def test_the_page_loads_all_from_beside_itself(page: Page, site: Server) -> None:
    loaded = {path.rpartition("/")[2] for path in site.sent}

    assert {"pyodide.asm.wasm", "python_stdlib.zip", "planner.py", "examples.json"} <= loaded
    assert sum(name.endswith(".whl") for name in loaded) >= 6
    assert all(path.startswith(f"/{PLACE}/") for path in site.sent)
    assert page.locator("#status").inner_text().startswith("Planned in ")


def test_every_example_is_planned_as_without_a_browser(page: Page, built: Path) -> None:
    offered = json.loads((built / PLACE / "examples.json").read_text("utf-8"))
    assert len({each["name"] for each in offered}) == len(offered) > 10
    for each in offered:
        page.get_by_label("Start from").select_option(each["name"])
        answer = planned(each["text"], name=each["name"], version="1.0.0")
        cells = [cell for line in answer["grid"]["rows"] for cell in line["cells"]]
        expect(page.locator("#table")).to_have_text(answer["table"], timeout=START)
        expect(page.locator("#grid button")).to_have_count(len(cells))
        expect(page.locator("#grid button.out")).to_have_count(sum("why" in e for e in cells))
        expect(page.locator("#errors li")).to_have_count(0)


def test_a_cell_of_the_grid_is_explained(page: Page) -> None:
    cell = page.get_by_role("button", name="a: cp312-manylinux_aarch64-cu130")
    cell.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_label("Target", exact=True)).to_have_value("cp312-manylinux_aarch64-cu130")
    expect(row(page, "env SAXPY_CUDA")).to_contain_text("13.0", timeout=START)
    expect(row(page, "version")).to_contain_text("1.0.0+cu130")
    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("heading", name="Explain")).to_be_focused()


def test_a_target_is_chosen_by_its_id(page: Page) -> None:
    target = page.get_by_label("Target", exact=True)
    target.fill("cp313-manylinux_riscv64-cpu")
    target.press("Enter")
    expect(row(page, "version")).to_contain_text("1.0.0+cpu")

    target.fill("cp313-manylinux_riscv64-gpu")
    target.press("Enter")
    expect(page.locator("#explained")).to_contain_text("there is no target")
    expect(page.locator("#explained")).to_contain_text("cp313-manylinux_riscv64-cpu")


def test_an_excluded_cell_leads_to_its_reason_and_that_to_the_rule(page: Page) -> None:
    page.get_by_role("button", name="r: cp311 cu132 is excluded: there is no CUDA").click()

    reason = page.get_by_role("listitem").filter(has_text="there is no CUDA for this architecture")
    expect(reason).to_be_focused()
    expect(reason).to_contain_text("12 cells by exclude[0]")
    reason.get_by_role("button").click()
    assert selected(page) == "[[exclude]]"


def selected(page: Page) -> str:
    return str(
        page.get_by_role("textbox", name="matrix.toml").evaluate(
            "area => area.value.slice(area.selectionStart, area.selectionEnd)"
        )
    )


def test_a_problem_leads_to_its_line_and_goes_when_it_is_mended(page: Page) -> None:
    text = page.get_by_role("textbox", name="matrix.toml").input_value()
    write(page, text.replace('"riscv64"', '"riscv46"'))

    problem = page.get_by_label("Problems").get_by_role("listitem")
    expect(problem).to_contain_text("axes.arch[2]: unknown arch 'riscv46'")
    expect(problem).to_contain_text("hint: did you mean 'riscv64'?")
    expect(page.get_by_text("the plan from before")).to_be_visible()
    expect(page.locator("#numbers .wrong")).to_have_text("! 11")
    problem.get_by_role("button", name="line 11").click()
    assert selected(page).startswith('arch = ["x86_64"')

    write(page, text)
    expect(page.locator("#errors li")).to_have_count(0)
    expect(page.get_by_text("the plan from before")).to_be_hidden()
    expect(page.locator("#numbers .wrong")).to_have_count(0)


def test_what_is_no_toml_has_a_line_too(page: Page) -> None:
    write(page, "[axes]\npython = [\n")

    expect(page.locator("#errors")).to_contain_text("not valid TOML")
    expect(page.locator("#numbers .wrong")).to_have_count(1)


def test_the_reader_s_own_text_survives_a_look_at_an_example(page: Page) -> None:
    write(page, MATRIX)
    summary(page, "2 targets, 0 cells excluded")
    page.get_by_label("Start from").select_option("vllm")
    summary(page, "6 targets, 0 cells excluded")
    page.get_by_label("Start from").select_option(label="your own text")

    expect(page.get_by_role("textbox", name="matrix.toml")).to_have_value(MATRIX)


def test_the_reader_says_what_sources_say(page: Page) -> None:
    write(
        page, MATRIX + '[version]\nbase = "scm"\nlocal = "{nv}"\nparts.nv = ["env:NV", "const:"]\n'
    )
    page.get_by_label("scm").fill("2.5")
    page.get_by_label("env:NV").fill("26.4")

    page.get_by_text("As orchestrator plan prints it").click()
    expect(page.locator("#table")).to_contain_text("2.5+26.4")


def test_a_channel_is_chosen(page: Page) -> None:
    write(page, MATRIX + '[channel.nightly.version]\ndev = "const:7"\n')
    page.get_by_label("Channel").select_option("nightly")
    summary(page, "2 targets, 0 cells excluded, channel nightly")
    expect(page.locator("#table")).to_contain_text("1.0.0.dev7")


def test_a_link_holds_all_of_it(page: Page, visit: Open) -> None:
    text = (
        MATRIX
        + '# é <img src=x onerror="document.title=1">\n[channel.nightly.version]\ndev = "env:N"\n'
    )
    write(page, text)
    page.get_by_label("Channel").select_option("nightly")
    page.get_by_label("env:N").fill("9")
    page.get_by_label("Version", exact=True).fill("4.2")
    expect(page.locator("#table")).to_contain_text("4.2.dev9")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#shared")).to_contain_text("after the #")

    other = visit(f"#{page.url.partition('#')[2]}")

    expect(other.get_by_role("textbox", name="matrix.toml")).to_have_value(text)
    expect(other.get_by_label("Channel")).to_have_value("nightly")
    expect(other.locator("#table")).to_contain_text("4.2.dev9")
    assert other.title() == "Playground - orchestrator"


@pytest.mark.parametrize("damage", ["m=", "m=AAAA", "m=%%%", "m=q1YqSa0oUbJSKkktLgEA"])
def test_a_damaged_link_says_so(page: Page, damage: str) -> None:
    page.evaluate("hash => { location.hash = hash }", damage)

    expect(page.locator("#shared")).to_have_text("The link is damaged: it holds no matrix.")
    page.evaluate(
        "() => { location.hash = ''; document.querySelector('#shared').textContent = '' }"
    )
    summary(page, "24 targets, 12 cells excluded")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_everybody_can_read_it(page: Page, scheme: Any, width: int) -> None:
    """Contrast, headings, labels, tables and regions: what axe-core checks."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    text = page.get_by_role("textbox", name="matrix.toml").input_value()
    write(page, text + "[versoin]\n")
    expect(page.locator("#errors li")).to_have_count(1)
    page.locator("details").evaluate("each => { each.open = true }")

    found = Axe().run(page).response["violations"]

    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_a_planning_that_takes_too_long_is_stopped(page: Page) -> None:
    """The page answers meanwhile, and plans the next text."""
    values = ", ".join(f'"{number}"' for number in range(60))
    axes = "".join(f"a{number} = [{values}]\n" for number in range(4))
    write(page, MATRIX + axes)

    page.get_by_role("button", name="Stop planning").click(timeout=START)
    expect(page.locator("#status")).to_contain_text("Stopped")
    write(page, MATRIX)
    summary(page, "2 targets, 0 cells excluded")
    expect(page.get_by_role("button", name="Stop planning")).to_be_hidden()


def test_without_scripts_it_says_what_it_needs(browser: Browser, site: Server) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/{PLACE}/")

    expect(page.get_by_text("It needs JavaScript")).to_be_visible()
    context.close()
