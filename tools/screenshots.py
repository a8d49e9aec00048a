"""Write the pictures of docs/pictures that show pages in a browser, or those that are named.

    PYTHONPATH=. python tools/screenshots.py [docs] [index-site] [playground] [report]

Needs what tests/browser needs: playwright, and the browser that .ci/browser installs. The report is
that of three builds of the example matrix on this machine, without a container engine.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from orchestrator.publish.index_site import File, Site, SiteChange, SubIndex, apply_change
from orchestrator.publish.pages import pages
from tests import site
from tests.conftest import orchestrator
from tests.servers import browser as chromium
from tests.servers import served
from tests.transcripts import path_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
LARGEST = 200_000
"""Bytes of a picture."""
MARGIN = 12
"""CSS pixels around a part of a page."""

INDEX = "https://example.org/whl/"
INDEX_PYTHONS = ("cp311", "cp312", "cp313", "cp314t")
INDEX_VARIANTS = [
    SubIndex(
        path=f"cu{cuda.replace('.', '')}/torch{torch}", values=(("cuda", cuda), ("torch", torch))
    )
    for cuda in ("12.6", "12.8", "13.0")
    for torch in ("2.8", "2.9")
    if (cuda, torch) != ("13.0", "2.8")
]

MISSING_HEADER = """
[[override]]
when = { python = "cp312", device = "cpu" }
env = { CXXFLAGS = "-include saxpy_config.h" }
"""
RUNS = {
    "1.0.0": ("75;80", ""),
    "1.1.0": ("75;80;90", ""),
    "1.2.0": ("75;80;90;100;120", MISSING_HEADER),
}
"""Version -> the GPU architectures of its wheels, and what else its matrix has."""
SIDE_BY_SIDE = """<body style="margin:0;display:flex;gap:16px;background:#888">
<img src="desk.png"><img src="phone.png"></body>"""


def docs(browser: Browser, place: Path) -> None:
    """Photograph the first page of the documentation."""
    with served(site.build(place)) as server:
        page = opened(browser, f"{server.url}/", 1280, 800)
        save(page, "docs")


def playground(browser: Browser, place: Path) -> None:
    """Photograph the playground, when it has planned the matrix that it shows at first."""
    subprocess.run([sys.executable, ROOT / "tools/playground.py", place], check=True)
    with served(place) as server:
        page = opened(browser, f"{server.url}/", 1200, 800)
        page.locator("#explained td").first.wait_for(timeout=90_000)
        save(page, "playground")


def index_site(browser: Browser, _: Path) -> None:
    """Photograph the page of an index."""
    change = SiteChange(default="cuda=12.8 & torch=2.9", url=INDEX)
    made = apply_change(
        Site(), index_files(), INDEX_VARIANTS, change, now=dt.datetime.now(tz=dt.UTC)
    )
    files = pages(made)
    page = browser.new_page(viewport={"width": 900, "height": 820})
    page.route(f"{INDEX}**", lambda route: route.fulfill(body=files["index.html"]))
    page.goto(INDEX)
    save(page, "index-site")


def index_files() -> list[File]:
    """Return wheels of an invented project; nobody downloads them."""
    return [
        File(
            filename=f"fastkernel-2.1.0+{local}-{python.removesuffix('t')}-{python}-{platform}.whl",
            project="fastkernel",
            version=f"2.1.0+{local}",
            sha256="0" * 64,
            size=1,
            requires_python=">=3.11",
            uploaded=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
            metadata="0" * 64,
            cells=((python, variant.path),),
        )
        for variant in INDEX_VARIANTS
        for local in [variant.path.replace("/", ".")]
        for python in INDEX_PYTHONS
        for platform in ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64")
        if not (platform.endswith("aarch64") and variant.values[0][1] == "12.6")
    ]


def report(browser: Browser, place: Path) -> None:
    """Photograph the report of a run, light for a desk and dark for a phone, and its history."""
    address = build_runs(place).as_uri()
    desk = opened(browser, address, 780, 820)
    desk.screenshot(path=place / "desk.png")
    phone = opened(browser, address, 360, 820, color_scheme="dark")
    phone.screenshot(path=place / "phone.png")
    (place / "both.html").write_text(SIDE_BY_SIDE, encoding="utf-8")
    save(opened(browser, (place / "both.html").as_uri(), 780 + 16 + 360, 820), "report")
    save(opened(browser, address, 1200, 820), "history", "section[aria-labelledby=history]")


def build_runs(place: Path) -> Path:
    """Build some versions of the example project; return the report of all."""
    env = {"PATH": path_of(place / "bin", os.environ["PATH"], engines=False)}
    shutil.copytree(ROOT / "examples", place / "examples")
    matrix = (ROOT / "matrix.toml").read_text("utf-8")
    for version, (archs, rest) in RUNS.items():
        text = matrix.replace('base = "1.0.0"', f'base = "{version}"')
        text += f'\n[env]\nSAXPY_CUDA_ARCHS = "{archs}"\n{rest}'
        (place / "matrix.toml").write_text(text, encoding="utf-8")
        build = ("build", "-j2", "--select=arch=x86_64", f"--output-dir=old/{version}")
        orchestrator(*build, cwd=place, env=env, code=1 if rest else 0)
    runs = [f"old/{version}" for version in RUNS]
    orchestrator("report", *runs, "--html=report.html", cwd=place, code=0)
    return place / "report.html"


def opened(browser: Browser, address: str, width: int, height: int, **options: Any) -> Page:
    """Open a page in a window of its own."""
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    page.goto(address, wait_until="networkidle")
    return page


def save(page: Page, name: str, part: str = "") -> None:
    """Save what the window shows of a page, or a part of the page with a margin."""
    path = PICTURES / f"{name}.png"
    box = page.locator(part).bounding_box() if part else None
    if box:
        clip: Any = {each: box[each] - MARGIN for each in ("x", "y")}
        clip |= {each: box[each] + 2 * MARGIN for each in ("width", "height")}
        page.screenshot(path=path, full_page=True, clip=clip)
    else:
        page.screenshot(path=path)
    written = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {written} bytes")
    if written > LARGEST:
        raise SystemExit(f"{path.name} is larger than {LARGEST} bytes")


MAKERS = {"docs": docs, "index-site": index_site, "playground": playground, "report": report}


def main(names: list[str]) -> None:
    """Make the pictures that are named, or all."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium())
        for name in names or MAKERS:
            with tempfile.TemporaryDirectory() as place:
                MAKERS[name](browser, Path(place))


if __name__ == "__main__":
    main(sys.argv[1:])
