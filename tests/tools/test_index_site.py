"""What `orchestrator index` writes: pages, names, yanks, nightlies, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from orchestrator.publish.index_site import File, Site, SubIndex, natural
from orchestrator.publish.pages import pages, python_title
from orchestrator.publish.variants import path_of_local
from tests import reports
from tests.conftest import Said, orchestrator, started
from tests.factories import project_file
from tests.wheelmaker import WheelSpec

MATRIX = project_file("variants.toml")


def wheel(folder: Path, version: str = "1.0+cu126.torch2.8", **spec: Any) -> Path:
    return WheelSpec(**{"version": version, **spec}).write(folder)


def index(*arguments: str | Path, cwd: Path, code: int = 0) -> Said:
    return orchestrator("index", *arguments, cwd=cwd, code=code)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def page(site: Path, path: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((site / path / "index.json").read_text())
    return document


def contents(site: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}


def names(site: Path, path: str) -> list[str]:
    return [each["filename"] for each in page(site, path)["files"]]


class Anchors(HTMLParser):
    """(attributes, text) of every anchor, and every tag there is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.found.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.found and not self.found[-1][1]:
            self.found[-1] = (self.found[-1][0], data)


def test_each_variant_of_the_plan_has_an_index_and_the_default_is_the_root(tmp_path: Path) -> None:
    (tmp_path / "matrix.toml").write_text(MATRIX)
    for local in ("cu126.torch2.8", "cu130.torch2.8", "cu130.torch2.9"):
        wheel(tmp_path / "dist", f"1.0+{local}")
    options = ("--default", "cuda=12.6", "--alias", "latest-cuda=cuda>=13", "--alias", "old=torch")
    said = index("dist", "--output", "site", *options, cwd=tmp_path)
    assert said.stdout.splitlines() == [
        "cu126/torch2.8: 1 file",
        "cu130/torch2.8: 1 file",
        "cu130/torch2.9: 1 file",
    ]
    site = tmp_path / "site"
    (name,) = names(site, "cu130/torch2.9/demo")
    assert names(site, "latest-cuda/demo") == [name]
    assert names(site, "demo") == names(site, "cu126/torch2.8/demo") != [name]
    assert page(site, "") == {"meta": {"api-version": "1.3"}, "projects": [{"name": "demo"}]}
    assert not (site / "cu126" / "index.html").exists()

    # Said once, it holds; a newer variant takes the alias over, and nothing else is written anew.
    before = (site / "cu130/torch2.8/demo/index.json").stat().st_mtime_ns
    wheel(tmp_path / "more", "1.0+cu130.torch2.9", python="cp313", abi="cp313")
    index("more", "--output", "site", cwd=tmp_path)
    assert len(names(site, "latest-cuda/demo")) == 2
    assert (site / "cu130/torch2.8/demo/index.json").stat().st_mtime_ns == before


def test_html_and_json_say_the_same_as_the_peps_want_it(tmp_path: Path) -> None:
    spec = WheelSpec(name="De_mo", version="1.0+cu126")
    files = spec.files()
    files[f"{spec.dist_info}/METADATA"] = (
        b"Metadata-Version: 2.1\nName: De_mo\nVersion: 1.0+cu126\nRequires-Python: >=3.9,<4\n\n"
    )
    path = spec.write(tmp_path / "dist", files)
    path.with_name(f"{path.name}.asc").write_text("signature")
    index("dist", "--output", "site", "--yank", "*=it's <broken>", cwd=tmp_path)
    site = tmp_path / "site"
    (entry,) = page(site, "cu126/de-mo")["files"]
    ((attributes, text),) = Anchors((site / "cu126/de-mo/index.html").read_text()).found
    address, _, fragment = str(attributes["href"]).partition("#")
    assert "1.0%2Bcu126" in address
    assert entry["url"] == address
    assert fragment == f"sha256={entry['hashes']['sha256']}"
    assert text == entry["filename"] == path.name
    assert attributes["data-requires-python"] == entry["requires-python"] == ">=3.9,<4"
    assert attributes["data-yanked"] == entry["yanked"] == "it's <broken>"
    metadata = f"sha256={entry['core-metadata']['sha256']}"
    assert attributes["data-core-metadata"] == attributes["data-dist-info-metadata"] == metadata
    assert attributes["data-gpg-sig"] == "true"
    assert entry["gpg-sig"] is True
    assert entry["size"] == path.stat().st_size
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["upload-time"])
    assert page(site, "cu126/de-mo")["versions"] == ["1.0+cu126"]
    file = site / "files" / "de-mo" / path.name
    assert file.read_bytes() == path.read_bytes()
    beside = file.with_name(f"{file.name}.metadata")
    assert beside.read_bytes() == files[f"{spec.dist_info}/METADATA"]
    assert file.with_name(f"{file.name}.asc").is_file()


def test_time_and_yank_of_a_file_survive_updates(tmp_path: Path) -> None:
    wheel(tmp_path / "dist")
    index("dist", "--output", "site", "--yank", "demo-*=bad", cwd=tmp_path)
    (first,) = page(tmp_path / "site", "demo")["files"]
    index("dist", "--output", "site", cwd=tmp_path)
    (second,) = page(tmp_path / "site", "demo")["files"]
    assert first == second
    index("--output", "site", "--unyank", "demo-*", cwd=tmp_path)
    (third,) = page(tmp_path / "site", "demo")["files"]
    assert third == {**first, "yanked": False}


def test_another_file_of_the_same_name_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    wheel(tmp_path / "dist")
    index("dist", "--output", "site", cwd=tmp_path)
    there = contents(tmp_path / "site")
    wheel(tmp_path / "other", members={"x.py": b"1"})
    said = index("other", "--output", "site", cwd=tmp_path, code=6)
    assert "is in the site with other contents" in said.stderr
    assert contents(tmp_path / "site") == there


def test_nightlies_go_and_releases_stay(tmp_path: Path) -> None:
    for version in ("0.9", "1.0rc1", "1.0.dev1", "1.0.dev2", "1.0.dev10"):
        wheel(tmp_path / "dist", f"{version}+cu126")
    index("dist", "--output", "site", "--keep", "2", cwd=tmp_path)
    site = tmp_path / "site"
    left = [f"{version}+cu126" for version in ("0.9", "1.0.dev2", "1.0.dev10", "1.0rc1")]
    assert page(site, "cu126/demo")["versions"] == left
    index("--output", "site", "--keep-days", "1", cwd=tmp_path)
    assert len(names(site, "demo")) == 4
    index("--output", "site", "--keep", "0", cwd=tmp_path)
    assert page(site, "demo")["versions"] == ["0.9+cu126", "1.0rc1+cu126"]
    files = {path.name for path in (site / "files" / "demo").iterdir() if path.suffix == ".whl"}
    assert files == set(names(site, "demo"))


def test_updates_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    versions = [f"1.{number}+cu126" for number in range(4)]
    for version in versions:
        wheel(tmp_path / version, version)
    runs = [started("index", "--output", "site", version, cwd=tmp_path) for version in versions]
    said = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0] * len(runs), said
    assert page(tmp_path / "site", "cu126/demo")["versions"] == versions
    assert not list((tmp_path / "site").rglob("*.partial"))


def test_wheels_elsewhere_are_linked_and_not_copied(tmp_path: Path) -> None:
    path = wheel(tmp_path / "dist")
    base = "https://example.org/releases/download/v1.0/"
    index("dist", "--output", "site", "--base-url", base, cwd=tmp_path)
    (entry,) = page(tmp_path / "site", "demo")["files"]
    assert entry["url"] == base + path.name.replace("+", "%2B")
    assert "core-metadata" not in entry  # it would have to be there as well
    assert not (tmp_path / "site" / "files").exists()


def provenance(sha256: str) -> str:
    statement = {"subject": [{"name": "x", "digest": {"sha256": sha256}}]}
    encoded = base64.b64encode(json.dumps(statement).encode()).decode()
    attestation = {"version": 1, "envelope": {"statement": encoded, "signature": ""}}
    bundle = {"publisher": {"kind": "GitHub"}, "attestations": [attestation]}
    return json.dumps({"version": 1, "attestation_bundles": [bundle]})


def test_provenance_beside_a_wheel_is_published_if_it_is_about_it(tmp_path: Path) -> None:
    path = wheel(tmp_path / "dist")
    beside = path.with_name(f"{path.name}.provenance")
    beside.write_text(provenance("0" * 64))
    assert "about another file" in index("dist", "--output", "site", cwd=tmp_path, code=5).stderr
    index_of = tmp_path / "site" / "site.json"
    assert not index_of.exists()
    beside.write_text("{")
    assert "not a provenance file" in index("dist", "--output", "site", cwd=tmp_path, code=5).stderr
    beside.write_text(provenance(digest(path)))
    index("dist", "--output", "site", cwd=tmp_path)
    (entry,) = page(tmp_path / "site", "demo")["files"]
    assert entry["provenance"].endswith(".whl.provenance")
    assert (tmp_path / "site/demo" / entry["provenance"].replace("%2B", "+")).is_file()


def test_the_matrix_that_the_user_names_decides_and_the_site_remembers_it(tmp_path: Path) -> None:
    """The labels of this matrix are not the parts of its local version."""
    matrix = MATRIX.replace('"torch{torch}" }', '"torch-{torch}" }')
    (tmp_path / "project").mkdir()
    (tmp_path / "project/matrix.toml").write_text(matrix)
    path = wheel(tmp_path / "dist")
    made = reports.wheel(path.name) | {"sha256": digest(path)}
    result = reports.result("cp312-manylinux_x86_64-cu126-torch-2.8", wheel=made)
    beside = tmp_path / "dist/results.json"
    given = ("--matrix", tmp_path / "project/matrix.toml")
    for number, (folder, options, with_results) in enumerate(
        (folder, options, with_results)
        for folder in (tmp_path, tmp_path / "project")
        for options in ((), given)
        for with_results in (False, True)
    ):
        beside.unlink(missing_ok=True)
        if with_results:
            beside.write_text(json.dumps(reports.document(result)))
        site = tmp_path / f"site{number}"
        index(tmp_path / "dist", "--output", site, *options, cwd=folder)
        found = json.loads((site / "site.json").read_text())["variants"]
        where = "cu126/torch-2.8" if options else "cu126/torch2.8"
        assert [each["path"] for each in found] == [where]
        assert names(site, f"{where}/demo") == [path.name]

        # From anywhere, with or without results.json: what is published stays where it is.
        beside.unlink(missing_ok=True)
        later = wheel(tmp_path / f"more{number}", "1.1+cu126.torch2.8")
        index(tmp_path / f"more{number}", tmp_path / "dist", "--output", site, cwd=tmp_path)
        assert names(site, f"{where}/demo") == [path.name, later.name]
        assert [each.name for each in (site / "cu126").iterdir()] == [Path(where).name]


def test_without_a_matrix_results_json_knows_the_axes(tmp_path: Path) -> None:
    results = []
    for cuda in ("12.6", "13.0"):
        local = f"cu{cuda.replace('.', '')}.torch2.8"
        path = wheel(tmp_path / "dist", f"1.0+{local}", python="cp39", abi="abi3")
        facts = reports.facts("cp39", "manylinux", "x86_64", cuda=cuda, torch="2.8")
        covers = [facts["covers"][0] | {"python": python} for python in ("cp312", "cp313")]
        results.append(
            reports.result(
                f"abi3-cp39-manylinux_x86_64-{local.replace('.', '-', 1)}",
                wheel=reports.wheel(path.name) | {"sha256": digest(path)},
                target=facts | {"covers": covers},
            )
        )
    # A site of an earlier update, which knew no more than the local version.
    index("dist", "--output", "site", cwd=tmp_path)
    before = json.loads((tmp_path / "site/site.json").read_text())["variants"]
    assert before[0]["values"] == [["variant", "cu126-torch2.8"]]

    (tmp_path / "dist/results.json").write_text(json.dumps(reports.document(*results)))
    index("dist", "--output", "site", "--default", "cuda>=13", cwd=tmp_path)

    site = json.loads((tmp_path / "site/site.json").read_text())
    assert site["variants"] == [
        {"path": "cu126/torch2.8", "values": [["cuda", "12.6"], ["torch", "2.8"]]},
        {"path": "cu130/torch2.8", "values": [["cuda", "13.0"], ["torch", "2.8"]]},
    ]
    assert names(tmp_path / "site", "demo") == names(tmp_path / "site", "cu130/torch2.8/demo")
    assert site["files"][0]["cells"] == [["cp312", "cu126/torch2.8"], ["cp313", "cu126/torch2.8"]]


def test_a_wheel_of_several_variants_has_none_of_their_values(tmp_path: Path) -> None:
    path = wheel(tmp_path / "dist", "1.0")
    facts = reports.facts("cp312", "manylinux", "x86_64")
    covers = [facts["covers"][0] | {"cuda": cuda} for cuda in ("12.6", "13.0")]
    made = reports.wheel(path.name) | {"sha256": digest(path)}
    facts["covers"] = covers
    result = reports.result("cp312-manylinux_x86_64", target=facts, wheel=made)
    (tmp_path / "dist/results.json").write_text(json.dumps(reports.document(result)))

    index("dist", "--output", "site", cwd=tmp_path)

    site = json.loads((tmp_path / "site/site.json").read_text())
    assert site["variants"] == [{"path": "", "values": []}]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 2, "nowhere"),
        (("dist", "--alias", "x=cuda>=99"), 2, "no variant of the site is 'cuda>=99'"),
        (("dist", "--alias", "../x=variant"), 2, "cannot be a path"),
        (("dist", "--alias", "demo=cu126-torch2.8"), 2, "two pages would be 'demo/index.html'"),
        (("dist", "--alias", "files=cu126-torch2.8"), 2, "two pages would be 'files'"),
        (("dist", "--alias", "x"), 2, "not NAME=EXPR"),
        (("dist", "--default", "nothing-*"), 2, "no variant of the site"),
        (("dist", "--yank", "nothing-*"), 2, "no file of the site"),
        (("dist", "--base-url", "javascript:alert(1)"), 2, "is not an http(s) URL"),
        (("dist", "--output", "ftp://x/y"), 2, "neither a directory nor a bucket"),
        (("broken",), 5, "not a readable zip file"),
        (("lying",), 5, "METADATA says 2.0"),
    ],
)
def test_what_is_refused_leaves_no_site(
    arguments: tuple[str, ...], code: int, message: str, tmp_path: Path
) -> None:
    wheel(tmp_path / "dist")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "demo-1.0-py3-none-any.whl").write_bytes(b"PK")
    spec = WheelSpec(version="2.0")
    spec.write(tmp_path / "lying").rename(tmp_path / "lying/demo-1.0-cp312-cp312-linux_x86_64.whl")
    said = index("--output", "site", *arguments, cwd=tmp_path, code=code)
    assert message in said.stderr
    assert not list((tmp_path / "site").rglob("*.*"))


HOSTILE = "\"'><script>alert(1)</script>\n</script><!-- ${x} {{7777*3}}\u2028"


def test_hostile_names_are_text_on_every_page() -> None:
    file = File(
        filename="demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl",
        project="demo",
        version="1.0",
        sha256="0" * 64,
        size=1,
        requires_python=HOSTILE,
        uploaded=datetime(2026, 1, 1, tzinfo=UTC),
        metadata="1" * 64,
        yanked=None,
        cells=(("cp312", "x"), (HOSTILE, "x")),
    )
    values = (("axis", HOSTILE), (HOSTILE, "value"))
    site = Site(files=(file,), variants=(SubIndex(path="x", values=values),), url=HOSTILE)
    made = pages(site)
    picker = Anchors(made["index.html"].decode())
    assert picker.tags.count("script") == 2
    assert "23331" not in made["index.html"].decode()
    listing = Anchors(made["x/demo/index.html"].decode())
    assert "script" not in listing.tags
    assert listing.found[0][0]["data-requires-python"] == HOSTILE
    data = re.search(r'id="data">(.*?)</script>', made["index.html"].decode(), re.DOTALL)
    assert data is not None
    offers = json.loads(data[1])["offers"]
    assert {each["cell"]["axis"] for each in offers} == {HOSTILE}


@pytest.mark.parametrize(
    ("local", "path"),
    [
        ("cu126.torch2.8", "cu126/torch2.8"),
        ("cu126torch2.8", "cu126torch2.8"),
        ("g1234567ab.cu129", "cu129"),
        ("nv26.4.cu132", "nv26.4/cu132"),
        ("g1234567.d20260101", ""),
        (None, ""),
    ],
)
def test_a_local_version_names_a_sub_index(local: str | None, path: str) -> None:
    assert path_of_local(local) == path


def test_values_sort_as_people_count() -> None:
    rising = ["cpu", "cu13", "cu126", "cu1210"]
    assert sorted(sorted(rising), key=natural) == rising
    titles = {"cp312": "3.12", "cp314t": "3.14t", "abi3-cp39": "3.9 or newer"}
    titles |= {"pp311": "PyPy 3.11", "py3": "3, any"}
    assert {tag: python_title(tag) for tag in titles} == titles
