"""Write docs/pictures/index-site.png: the page of a site of the example matrix, in Chromium.

PYTHONPATH=. python tools/index_screenshot.py
"""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

from orchestrator.publish.index_site import File, Site, SiteChange, SubIndex, apply_change
from orchestrator.publish.pages import pages
from tests.servers import browse, browser, served

ROOT = Path(__file__).parents[1]
PYTHONS = ("cp311", "cp312", "cp313", "cp314t")
VARIANTS = [
    SubIndex(
        path=f"cu{cuda.replace('.', '')}/torch{torch}", values=(("cuda", cuda), ("torch", torch))
    )
    for cuda in ("12.6", "12.8", "13.0")
    for torch in ("2.8", "2.9")
    if (cuda, torch) != ("13.0", "2.8")
]


def files() -> list[File]:
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
        for variant in VARIANTS
        for local in [variant.path.replace("/", ".")]
        for python in PYTHONS
        for platform in ("manylinux_2_28_x86_64", "manylinux_2_28_aarch64")
        if not (platform.endswith("aarch64") and variant.values[0][1] == "12.6")
    ]


def main() -> None:
    """Write the picture."""
    program = browser()
    if program is None:
        raise SystemExit("needs Chromium")
    change = SiteChange(default="cuda=12.8 & torch=2.9", url="https://example.org/whl/")
    site = apply_change(Site(), files(), VARIANTS, change, now=dt.datetime.now(tz=dt.UTC))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "site"
        for name, page in pages(site).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(page)
        picture = ROOT / "docs" / "pictures" / "index-site.png"
        options = ("--window-size=900,820", f"--screenshot={picture}")
        with served(root) as server:
            browse(program, Path(folder) / "profile", f"{server.url}/", *options)


if __name__ == "__main__":
    main()
