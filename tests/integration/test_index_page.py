"""The page people pick from in a real browser, and `coverage` of sites on loopback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from tests.conftest import REPOSITORY, orchestrator
from tests.factories import project_file
from tests.servers import browse, served
from tests.wheelmaker import WheelSpec

MATRIX = project_file("variants.toml")
LACKING = ("cp313-manylinux_aarch64-cu130-torch2.9", "cp312-manylinux_aarch64-cu130-torch2.9")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cells of a matrix but two."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "matrix.toml").write_text(MATRIX)
    for line in orchestrator("plan", "--format", "ids", cwd=folder).stdout.split():
        python, platform, *variant = line.split("-")
        if line not in LACKING:
            arch = platform.removeprefix("manylinux_")
            local = ".".join(variant)
            spec = WheelSpec(version=f"1.0+{local}", python=python, abi=python)
            spec.platform = f"manylinux_2_28_{arch}"
            spec.write(folder / "dist")
    WheelSpec(version="1.0+cu999", python="cp312", abi="cp312").write(folder / "dist")
    WheelSpec(version="0.9+cu126").write(folder / "dist")
    options = ("--default", "cuda=12.6 & torch=2.9", "--yank", "*0.9*=old")
    orchestrator("index", "dist", "--output", "site", *options, cwd=folder, code=0)
    return folder / "site"


@pytest.mark.browser
def test_the_page_gives_the_line_for_what_is_picked(
    site: Path, tmp_path: Path, chromium: str
) -> None:
    with served(site) as server:
        dom = browse(chromium, tmp_path, f"{server.url}/#cuda=13.0&python=cp312", "--dump-dom")
        asked = set(server.sent)
    lines = {
        tool: re.sub("&amp;", "&", found[1])
        for tool in ("pip", "uv", "poetry")
        if (found := re.search(rf'<pre id="{tool}">(.*?)</pre>', dom, re.DOTALL))
    }
    address = f"{server.url}/cu130/torch2.9/"
    assert lines["pip"] == f"pip install 'demo==1.0+cu130.torch2.9' --extra-index-url '{address}'"
    assert lines["uv"] == f"uv pip install 'demo==1.0+cu130.torch2.9' --index '{address}'"
    assert (
        f"poetry source add --priority=explicit demo-cu130-torch2-9 '{address}'" in lines["poetry"]
    )
    assert re.findall(r"<legend>(.*?)</legend>", dom) == [
        "Python",
        "Architecture",
        "cuda",
        "torch",
        "variant",
    ]
    assert '<main id="picker">' in dom  # it is hidden only where no script runs
    assert asked <= {"/", "/favicon.ico"}


def test_the_page_has_a_table_for_who_runs_no_script(site: Path) -> None:
    text = (site / "index.html").read_text()
    assert '<main id="picker" hidden>' in text
    assert "<code>cu130/torch2.8/</code>" in text
    assert "default-src 'none'" in text.replace("&#39;", "'")
    assert not re.search(r"(src|href)=[\"'](https?:)?//", text)


def test_coverage_says_what_is_there_and_how_to_build_the_rest(site: Path) -> None:
    with served(site) as server:
        url = f"{server.url}/{{variant}}/"
        more = ("--index", f"{server.url}/cu999/", "--index", f"{server.url}/cu126/")
        options = ("coverage", "--index", url, *more)
        said = orchestrator(*options, "--format", "json", cwd=site.parent, code=0)
        table = orchestrator(*options, cwd=site.parent)
        markdown = orchestrator(*options, "--format", "markdown", cwd=site.parent)
        nothing = orchestrator("coverage", "--index", f"{server.url}/none", cwd=site.parent)
    document = json.loads(said.stdout)
    schema = json.loads((REPOSITORY / "docs" / "coverage.schema.json").read_text())
    jsonschema.validate(document, schema)
    assert {each["id"] for each in document["lacks"]} == set(LACKING)
    assert len(document["has"]) == 14
    assert document["beyond"] == ["demo-1.0+cu999-cp312-cp312-manylinux_2_17_x86_64.whl"]
    assert document["other_versions"] == 1
    text = document["select"]
    chosen = orchestrator("plan", "--format", "ids", "--select", text, cwd=site.parent)
    assert set(chosen.stdout.split()) == set(LACKING)
    assert "the index has 14 of 16 planned wheels" in table.stdout
    assert f"orchestrator build --select '{text}'" in table.stdout
    assert f"orchestrator build --select '{text}'" in markdown.stdout
    assert "does not have demo" in nothing.stderr
    assert "the index has 0 of 16 planned wheels" in nothing.stdout
    assert "--select '*'" in nothing.stdout


def test_a_yanked_wheel_is_not_there(site: Path, tmp_path: Path) -> None:
    (tmp_path / "matrix.toml").write_text(MATRIX)
    dist = site.parent / "dist"
    yank = ("--yank", "*cp313-cp313-manylinux_2_28_x86_64*")
    orchestrator("index", dist, "--output", "site", *yank, cwd=tmp_path)
    with served(tmp_path / "site", negotiates=True) as server:
        options = ("coverage", "--index", f"{server.url}/{{variant}}/", "--format", "json")
        said = orchestrator(*options, "--select", "arch=x86_64", cwd=tmp_path)
    document = json.loads(said.stdout)
    assert len(document["yanked"]) == len(document["lacks"]) == 4
    assert document["select"] == "python=cp313 & arch=x86_64"
