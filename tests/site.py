"""The documentation site, built as `nox -s docs` builds it, and its pages taken apart."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.conftest import REPOSITORY, ran

LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src"}
"""Element -> the attribute that a browser fetches by itself."""
FOLLOWED = {"canonical", "prev", "next"}
"""Values of a link's `rel` that make a browser fetch nothing."""


@dataclass(slots=True)
class Page:
    """What a page refers to.

    Attributes:
        loads: what a browser fetches.
        links: what a reader may follow.
        names: what an address may point at inside the page.
    """

    loads: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.page.names.add(given.get("id") or given.get("name") or "")
        loaded = given.get(LOADS.get(tag, ""))
        if loaded and given.get("rel") not in FOLLOWED:
            self.page.loads.append(loaded)
        if tag == "a" and given.get("href"):
            self.page.links.append(str(given["href"]))


def build(place: Path) -> Path:
    """Build the site of this repository in a directory of its own; return where it is."""
    shutil.copytree(REPOSITORY / "docs", place / "docs")
    shutil.copy(REPOSITORY / "mkdocs.yml", place)
    program = Path(sys.executable).parent / "zensical"
    ran(program, "build", "--clean", "--strict", cwd=place, code=0)
    return place / "site"


def pages(site: Path) -> dict[Path, Page]:
    """Read all pages of a site."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        reader = _Reader()
        reader.feed(path.read_text("utf-8"))
        found[path] = reader.page
    return found


def is_elsewhere(address: str) -> bool:
    """Whether an address is of another server."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in {"", "mailto"}


def target(site: Path, page: Path, address: str) -> tuple[Path, str]:
    """Return the file that an address of the site leads to, and the name inside it."""
    parts = urlsplit(address)
    path = unquote(parts.path)
    base = site if path.startswith("/") else page.parent
    file = (base / path.lstrip("/")) if path else page
    return (file / "index.html" if file.is_dir() else file).resolve(), unquote(parts.fragment)
