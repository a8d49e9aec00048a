"""What README, tutorials and migration pages show is run, and prints what they say.

After a change of what commands print: ``python -m tests.transcripts PAGE``, and look at the page.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.provision.toolchain import Toolchain
from tests import transcripts
from tests.conftest import REPOSITORY, ran

DOCS = REPOSITORY / "docs"
PAGES = [
    transcripts.README,
    *sorted(path for part in ("tutorials", "migration") for path in (DOCS / part).glob("*.md")),
]
HAVE = ("torch",)
"""What blocks of these pages may need; a nightly test has it."""

pytestmark = pytest.mark.index


@pytest.fixture(scope="module")
def env(tools: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables with which pip installs this program as if the index had it."""
    folder = tmp_path_factory.mktemp("wheel")
    ran(tools.bin / "uv", "build", "--quiet", "--wheel", "-o", folder, REPOSITORY, code=0)
    links = f"{folder} {os.environ.get('PIP_FIND_LINKS', '')}".strip()
    return {"PIP_FIND_LINKS": links}


def wrong(page: Path, place: Path, env: dict[str, str], *have: str) -> list[str]:
    """Run a page; return what is not as it says."""
    return [
        f"{page.name}:{each.block.line}: {each.problem}: {each.command.text}\n"
        + "\n".join(each.printed)
        for each in transcripts.run(page, place, have=have, env=env)
        if each.problem
    ]


def test_there_are_pages() -> None:
    assert len(PAGES) >= 7
    needs = {block.needs for page in PAGES for block in transcripts.blocks(page)}
    assert needs - {""} <= set(HAVE), "which test runs these blocks?"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page(page: Path, tmp_path: Path, env: dict[str, str]) -> None:
    assert any(block.kind == "console" for block in transcripts.blocks(page))
    assert wrong(page, tmp_path, env) == []


@pytest.mark.nightly
def test_a_page_with_torch(tmp_path: Path, env: dict[str, str]) -> None:
    assert wrong(DOCS / "tutorials/torch-cuda.md", tmp_path, env, *HAVE) == []


# The runner itself


PAGE = """# A page

```toml title="a/b.toml"
x = 1
```

```console
$ cat a/b.toml
x = 1
$ for i in 1 2; do
>     echo "line $i"
> done
...
line 7
```

<!-- needs magic -->
```console
$ false
```
"""


def test_the_runner(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)

    assert wrong(page, tmp_path, {}) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("x = 1\n$", "y = 1\n$", "the page shows something else"),
        ("x = 1\n$", "x = 1\nmore\n$", "the page shows something else"),
        ("x = 1\n$", "$", "the page shows something else"),
        ("$ cat a/b.toml", "$ cat a/c.toml", "exit 1"),
    ],
)
def test_the_runner_finds_what_is_wrong(old: str, new: str, problem: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace(old, new))

    (said,) = wrong(page, tmp_path, {})
    assert f"page.md:7: {problem}: cat a/" in said


def test_the_runner_writes_what_is_printed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("x = 1\n$", "?\n$"))

    transcripts.update(page, transcripts.run(page, tmp_path))

    assert page.read_text() == PAGE
