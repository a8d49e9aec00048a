"""Photograph the HTML report of real results: light for a desk, dark for a phone.

    python tools/screenshot.py dist/results.json docs/pictures/report.png

Needs what tests/browser needs: playwright, and the browser that .ci/browser installs.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from orchestrator.report import html_report
from orchestrator.report.schemas import read_results

HEIGHT = 820
VIEWS = ((780, "light"), (360, "dark"))
"""(CSS pixels, colour scheme) of the two photographs, side by side."""

FRAME = """<body style="margin:0;display:flex;gap:16px;background:#888">
<img src="0.png"><img src="1.png"></body>"""


def main(results: Path, picture: Path) -> None:
    """Photograph the report of `results`."""
    page = html_report.render(read_results(results.read_bytes(), where=str(results)))
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "report.html").write_text(page, encoding="utf-8")
        (folder / "both.html").write_text(FRAME, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=found)
        for number, (width, scheme) in enumerate(VIEWS):
            shoot(browser, folder / "report.html", folder / f"{number}.png", (width, scheme))
        width = sum(width for width, _ in VIEWS) + 16
        shoot(browser, folder / "both.html", picture, (width, "light"))
        browser.close()
    size = picture.stat().st_size
    targets = len(json.loads(results.read_bytes())["results"])
    print(f"{picture}: {size} bytes, of {targets} targets")


def shoot(browser: Browser, page: Path, picture: Path, view: tuple[int, str]) -> None:
    """Save what a window of a size and colour scheme shows of a page."""
    width, scheme = view
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    tab = context.new_page()
    tab.goto(page.as_uri())
    tab.screenshot(path=picture)
    context.close()


main(Path(sys.argv[1]), Path(sys.argv[2]))
