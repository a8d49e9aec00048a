"""The documentation site: it builds, its links lead somewhere, it loads nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests import site as docs
from tests.conftest import REPOSITORY, ran

DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return docs.build(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, docs.Page]:
    return docs.pages(site)


def test_each_link_leads_somewhere(site: Path, pages: dict[Path, docs.Page]) -> None:
    broken = []
    for path, page in pages.items():
        for address in (*page.links, *page.loads):
            if docs.is_elsewhere(address):
                continue
            file, name = docs.target(site, path, address)
            there = pages[file].names if file in pages else {""}
            if not file.is_file() or name not in {"", *there}:
                broken.append((path.relative_to(site).as_posix(), address))

    assert len(pages) > 40
    assert broken == []


def test_a_page_loads_nothing_from_elsewhere(pages: dict[Path, docs.Page]) -> None:
    loaded = {each for page in pages.values() for each in page.loads if docs.is_elsewhere(each)}

    assert loaded == set()


def test_all_pages_are_in_the_navigation() -> None:
    text = (REPOSITORY / "mkdocs.yml").read_text("utf-8")
    listed = re.findall(r"(?m)[\w/-]+\.md$", text)

    assert sorted(listed) == sorted(
        path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")
    )


def test_another_generator_could_take_over() -> None:
    """Nothing in mkdocs.yml is known to zensical alone."""
    text = (REPOSITORY / "mkdocs.yml").read_text("utf-8").replace("!ENV ", "")
    known = {
        *("site_name", "site_description", "site_url", "docs_dir", "site_dir", "strict", "theme"),
        *("nav", "plugins", "markdown_extensions", "validation"),
    }
    assert set(YAML(typ="safe").load(text)) <= known


def test_generated_pages_are_those_of_the_program(tmp_path: Path) -> None:
    ran(sys.executable, REPOSITORY / "tools/reference.py", tmp_path, cwd=REPOSITORY, code=0)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}

    assert len(made) > 10
    for name in sorted(made):
        text = (DOCS / name).read_text("utf-8")
        assert text == (tmp_path / name).read_text("utf-8"), "run python tools/reference.py"


def test_an_option_is_explained_in_one_table() -> None:
    """That of the generated page, to which the page about matrix.toml leads."""
    ours, generated = _tables("reference/matrix.md"), _tables("reference/options.md")

    assert len(generated) > 20
    twice = {name: keys & generated.get(name, set()) for name, keys in ours.items()}
    assert {name: keys for name, keys in twice.items() if keys} == {}


def _tables(page: str) -> dict[str, set[str]]:
    """Return the first column of each table of matrix.toml."""
    parts = re.split(r"(?m)^## `\[+([\w.-]+)", (DOCS / page).read_text("utf-8"))
    return {
        name: set(re.findall(r"(?m)^\| `([\w-]+)`", text))
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def test_a_broken_link_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# A\n\n[b](b.md) [c](#c)\n")
    text = (REPOSITORY / "mkdocs.yml").read_text("utf-8")
    (tmp_path / "mkdocs.yml").write_text(re.sub(r"(?ms)^nav:.*?\n\n", "", text))
    program = Path(sys.executable).parent / "zensical"
    done = subprocess.run(
        [program, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "2 issues found" in done.stdout + done.stderr


def test_pictures_are_small_and_used_with_a_text() -> None:
    """Somebody who sees no picture reads what it shows."""
    texts = {
        path: path.read_text("utf-8") for path in (*DOCS.rglob("*.md"), *REPOSITORY.glob("*.md"))
    }
    shown = {
        (path.parent / address).resolve(): text
        for path, page in texts.items()
        for text, address in re.findall(r"!\[([^]]*)\]\(([^)]*)\)", page)
    }
    pictures = set((DOCS / "pictures").iterdir())

    assert set(shown) == pictures
    assert all(len(text.split()) > 4 for text in shown.values())
    assert [each.name for each in pictures if each.stat().st_size > 200_000] == []
