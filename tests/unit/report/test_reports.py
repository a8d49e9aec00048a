"""Results documents: their schemas, how they merge, and what the reports make of them."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.reading import parse
from orchestrator.models.result import Failure, FailureKind, Status, StepTime
from orchestrator.models.target import (
    BackendName,
    Digest,
    EnvironmentSpec,
    EnvVar,
    Frontend,
    FrontendName,
    TargetId,
    TargetSteps,
)
from orchestrator.report import html_report, junit, markdown
from orchestrator.report import serialize as builders
from orchestrator.report.results import ResultsWriter
from orchestrator.report.schemas import (
    DOCUMENTS,
    ResultsDocument,
    json_schema,
    read_results,
    to_json_value,
)
from orchestrator.report.view import ResultsView, natural
from tests import factories, reports
from tests.conftest import REPOSITORY
from tests.unit.ci.test_commands import obeyed


def seen(document: dict[str, Any]) -> ResultsDocument:
    return parse(ResultsDocument, document)


def view(*results: dict[str, Any]) -> ResultsView:
    return ResultsView(document=seen(reports.document(*results)))


TARGET = factories.target(
    "cp312-manylinux_x86_64-cu130",
    variant=(("cuda", "cu130"),),
    version="1.0+cu130",
    env=(
        EnvVar(name="API_TOKEN", value="s3cr3t-value", origin="env"),
        EnvVar(name="INDEX", value="https://me:pw@host/simple", origin="env"),
    ),
    steps=TargetSteps(before_build="curl -H s3cr3t-value https://me:pw@host", timeout=60),
    runner=("ubuntu-24.04",),
    covers=((("python", "cp312"), ("libc", "manylinux"), ("arch", "x86_64"), ("cuda", "cu130")),),
)
REQUEST = factories.request(
    TARGET,
    BackendName.DIRECT,
    source=replace(factories.SOURCE, version=None),
    toolchain=Digest("2" * 64),
)
BUILT = factories.result(
    TARGET.id,
    Status.FAILED,
    key=REQUEST.key,
    duration=1.5,
    failure=Failure(kind=FailureKind.BUILD, message="sent s3cr3t-value", step="build"),
    started=reports.BEGAN,
    steps=(StepTime(name="stage", seconds=0.5), StepTime(name="build", seconds=1.0)),
    slot=0,
    cpu_seconds=1.25,
    attempts=1,
    request=REQUEST,
)


# Schemas


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schemas_in_docs_are_those_of_the_models(name: str) -> None:
    written = json.loads((REPOSITORY / "docs" / f"{name}.schema.json").read_text("utf-8"))

    assert written == json_schema(name), "run `python tools/reference.py`"
    jsonschema.Draft202012Validator.check_schema(written)


def strict(schema: Any) -> Any:
    """The same schema, which also refuses fields that it does not describe."""
    if isinstance(schema, dict):
        closed = {key: strict(each) for key, each in schema.items()}
        return closed | ({"additionalProperties": False} if "properties" in schema else {})
    return [strict(each) for each in schema] if isinstance(schema, list) else schema


def test_what_is_written_has_exactly_the_fields_of_the_schema(tmp_path: Path) -> None:
    log = tmp_path / "t.log"
    log.write_text("== build\na.c:1:1: error: no\n", encoding="utf-8")
    outcomes = [
        replace(BUILT, log=log, status=Status.FAILED),
        replace(BUILT, target_id=TargetId("u"), request=None, failure=None, status=Status.OK),
    ]
    made = [builders.result(each, TARGET, root=tmp_path, run="r1") for each in outcomes]
    document = builders.results_document(made, [reports.run()], earlier={})

    jsonschema.validate(json.loads(builders.dumps(document)), strict(json_schema("results")))
    assert [each["log_end"] is not None for each in made] == [True, False]


def test_results_hold_what_a_rebuild_needs(tmp_path: Path) -> None:
    made = builders.result(replace(BUILT, log=tmp_path / "logs" / "t.log"), root=tmp_path)

    assert made["log"] == "logs/t.log"
    assert made["target"]["image"] == "manylinux_2_28"
    assert made["target"]["version"] == "1.0+cu130"
    assert made["request"]["source"]["digest"] == "0" * 64
    assert made["request"]["toolchain"] == "2" * 64
    assert made["request"]["commands"]["timeout"] == 60
    assert [each["name"] for each in made["request"]["env"]] == ["API_TOKEN", "INDEX"]
    assert made["steps"] == [
        {"name": "stage", "seconds": 0.5},
        {"name": "build", "seconds": 1.0},
    ]


def test_no_secret_is_written(tmp_path: Path) -> None:
    log = tmp_path / "t.log"
    log.write_text("error: https://me:pw@host s3cr3t-value\n", encoding="utf-8")
    made = builders.dumps(builders.result(replace(BUILT, log=log), root=tmp_path))

    assert "s3cr3t" not in made
    assert ":pw@" not in made
    assert "https://me:****@host" in made


def test_results_of_an_earlier_version_are_read() -> None:
    """As orchestrator wrote them before it wrote down what was planned."""
    document = reports.document(reports.result("a"), reports.result("b", "failed"))
    del document["runs"]
    for each in document["results"]:
        del each["log_end"]

    found = read_results(json.dumps(document), where="x")

    assert [each.target for each in found.results] == [None, None]
    assert "2 results without a record of the covered cells" in html_report.render(found)
    assert junit.render(found)
    assert markdown.render(found)


def test_a_later_version_may_have_more() -> None:
    document = reports.document(reports.result("a", novelty=1))

    found = read_results(json.dumps(document | {"more": {}}), where="x")

    assert [each.target_id for each in found.results] == ["a"]
    assert builders.merged([document])["results"][0]["novelty"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x: not a JSON document"),
        ("[" * 100_000, "x: not a JSON document"),
        ("[]", "x: not a results.json of schema 1"),
        ('{"schema": 2, "results": []}', "not a results.json of schema 1 but of schema 2"),
        ('{"schema": 1}', "x: results: Field required"),
        ('{"schema": 1, "results": [{"id": 1}]}', "x: results.0.id: Input should be"),
        *(
            (json.dumps(reports.document(reports.result("a", started=never))), "started")
            for never in (float("inf"), float("nan"), -1.0, 1e300)
        ),
    ],
)
def test_what_is_no_results_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_results(text, where="x")


# Merging


@pytest.mark.parametrize("order", [1, -1])
def test_jobs_merge_as_if_one_machine_had_built_everything(order: int) -> None:
    one = reports.document(
        reports.result("a", run="r1", started=1.0),
        reports.result("b", "cancelled", run="r1"),
        reports.result("c", run="r1", started=1.0),
        runs=(reports.run("r1"), reports.run("r0")),
    )
    two = reports.document(
        reports.result("b", run="r2", started=2.0),
        reports.result("c", "failed", run="r2", started=2.0),
        runs=(reports.run("r2"),),
    )
    found = builders.merged((one, two)[::order])

    statuses = {each["id"]: each["status"] for each in found["results"]}
    assert statuses == {"a": "ok", "b": "ok", "c": "failed"}, "what was started last counts"
    assert [each["id"] for each in found["runs"]] == ["r1", "r2"], "r0 has no result"


# The recorder


def recorder(folder: Path) -> ResultsWriter:
    return ResultsWriter([TARGET], reports.run(), output=folder, work=folder)


def written(folder: Path) -> list[dict[str, Any]]:
    document = json.loads((folder / "results.json").read_text("utf-8"))
    assert [each["id"] for each in document["runs"]] == ["r1"]
    found: list[dict[str, Any]] = document["results"]
    return found


MANY = [replace(BUILT, target_id=TargetId(f"t{number}")) for number in range(1000)]


def test_a_result_is_written_when_its_target_ends(tmp_path: Path) -> None:
    with recorder(tmp_path) as own:
        own.ended(BUILT)
        assert [each["id"] for each in written(tmp_path)] == [TARGET.id]


def test_thousands_that_end_at_once_are_all_written_in_the_end(tmp_path: Path) -> None:
    with recorder(tmp_path) as own:
        for each in MANY:
            own.ended(each)

    assert len(written(tmp_path)) == len(own.document["results"]) == 1000


def test_results_that_came_from_the_store_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[object] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with recorder(tmp_path) as own:
        own.ended(*MANY)
        assert len(written(tmp_path)) == 1000

    assert len(synced) == 2, "the file and its directory"


def test_a_full_disk_loses_no_result_once_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "results.json"
    file.write_text(json.dumps(reports.document(reports.result("earlier"))))
    before = file.read_bytes()
    with recorder(tmp_path) as own:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            own.ended(BUILT)
            problem = own.problem
        assert problem is not None
        assert [each.read_bytes() for each in tmp_path.glob("*.json*")] == [before]
    assert own.problem is None
    assert len(written(tmp_path)) == 2


def test_what_never_ran_has_its_target_from_the_plan(tmp_path: Path) -> None:
    lost = replace(BUILT, request=None, status=Status.UNAVAILABLE, started=None)
    with recorder(tmp_path) as own:
        own.ended(lost)

    (found,) = own.document["results"]
    assert found["target"]["covers"] == [dict(TARGET.covers[0])]
    assert found["request"] is None


# The grid and the timeline


def test_every_covered_cell_is_in_the_grid_once() -> None:
    results = reports.large()["results"]
    grid = view(*results).grid

    assert sum(len(cell) for row in grid.rows for cell in row.cells) == len(results)
    assert len(grid.rows) == 12
    assert len(grid.columns) == 72
    assert all(sum(span for _, span in heads) == 72 for heads in grid.heads)


def test_a_stable_abi_wheel_stands_in_each_cell_that_it_covers() -> None:
    facts = reports.facts("cp312", "manylinux", "x86_64")
    cells = [{**facts["covers"][0], "python": each} for each in ("cp312", "cp313")]
    grid = view(reports.result("a", target=facts | {"covers": cells})).grid

    assert [(row.python, len(row.cells[0])) for row in grid.rows] == [("cp312", 1), ("cp313", 1)]
    assert grid.columns == ("all",)


def test_axes_that_only_some_cells_have_get_a_column_without() -> None:
    grid = view(
        reports.result("a", target=reports.facts("cp312", "manylinux", "x86_64", cuda="cu130")),
        reports.result("b", target=reports.facts("cp312", "manylinux", "x86_64", rocm="6.4")),
    ).grid

    assert grid.axes == ("cuda", "rocm")
    assert grid.columns == ("6.4", "cu130")


def test_versions_are_in_their_own_order() -> None:
    names = ["cp310", "cp39", "cp313t", "cp313", "2.10", "2.9"]

    assert sorted(names, key=natural) == ["2.9", "2.10", "cp39", "cp310", "cp313", "cp313t"]


def timed(name: str, started: float, seconds: float, **changes: Any) -> dict[str, Any]:
    return reports.result(name, started=reports.BEGAN + started, duration=seconds, **changes)


def test_bars_lie_in_their_slots() -> None:
    (chart,) = view(
        timed("a", 0, 60, slot=1, run="r1"),
        timed("b", 30, 30, slot=0, run="r1"),
        timed("c", 0, 30, slot=0, run="r2"),
    ).charts

    assert chart.seconds == 60
    assert chart.lanes == ("run 1, slot 1", "run 1, slot 2", "run 2, slot 1")
    bars = {each.result.target_id: (each.lane, each.start, each.width) for each in chart.bars}
    assert bars == {"a": (1, 0, 100), "b": (0, 50, 50), "c": (2, 0, 50)}


def test_without_slots_no_two_bars_lie_on_each_other() -> None:
    (chart,) = view(*(timed(f"t{n}", n * 10, 25) for n in range(10))).charts

    assert chart.lanes == ("slot 1", "slot 2", "slot 3")
    for lane in range(3):
        ends = 0.0
        for bar in (each for each in chart.bars if each.lane == lane):
            assert bar.start >= ends
            ends = bar.start + bar.width


def test_runs_of_different_days_have_charts_of_their_own() -> None:
    latest, first = view(timed("a", 0, 60), timed("b", 650, 60), timed("c", 90_000, 60)).charts

    assert [each.result.target_id for each in latest.bars] == ["c"]
    assert [each.result.target_id for each in first.bars] == ["a", "b"]


def test_the_load_is_the_sum_of_what_runs() -> None:
    (chart,) = view(
        timed("a", 0, 100, cpu_seconds=200.0), timed("b", 50, 50, cpu_seconds=50.0)
    ).charts

    assert chart.load == ((0.0, 2.0), (50.0, 3.0), (100.0, 0.0))
    assert chart.most == 3.0


# Pages


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def hostile() -> dict[str, Any]:
    """A document in which everything that can be any text is hostile."""
    bad = reports.NASTY

    def spoiled(value: Any, key: str = "") -> Any:
        kept = {"status", "kind", "severity", "schema", "run", "id", "backend", "arch", "libc"}
        kept |= {"filename", "sha256", "version", "build_tag"}  # which have types of their own
        if isinstance(value, dict):
            names = {"external_libs", "variant", "covers"}
            return {(bad if key in names else k): spoiled(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [spoiled(each, key) for each in value]
        return bad if isinstance(value, str) and key not in kept else value

    results = [
        spoiled(
            reports.result(
                f"{status}{bad}",
                status,
                target=reports.facts("cp312", "manylinux", "x86_64", cuda="cu130"),
                started=reports.BEGAN,
                steps=[{"name": "build", "seconds": 1}],
            )
        )
        for status in ("ok", "failed", "unavailable")
    ]
    document = reports.document(*results, runs=(spoiled(reports.run()),))
    return deepcopy(document)


def test_nothing_hostile_becomes_markup() -> None:
    text = html_report.render(seen(hostile()))
    tags = [tag for tag, _ in Page(text).tags]

    assert tags.count("script") == 1
    assert "img" not in tags
    assert "b" not in tags
    assert not {"\x00", "\x07", "\x1b", "\u202e", "\ufffe"} & set(text)
    assert not [attributes for _, attributes in Page(text).tags if "onerror" in attributes]


def test_the_page_asks_for_nothing() -> None:
    page = Page(html_report.render(seen(reports.large(40))))
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv"))

    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    links = [str(a["href"]) for _, a in page.tags if "href" in a]
    assert links
    assert all(each.startswith("#") for each in links)
    assert not [a for _, a in page.tags if "src" in a or "style" in a]


def test_every_link_of_the_page_leads_somewhere() -> None:
    page = Page(html_report.render(seen(reports.large(200))))
    places = [str(a["id"]) for _, a in page.tags if "id" in a]

    assert len(places) == len(set(places))
    assert {str(a["href"])[1:] for _, a in page.tags if "href" in a} <= set(places)


@pytest.mark.parametrize("failing", [False, True])
def test_a_page_of_854_targets_stays_small(failing: bool) -> None:  # noqa: FBT001
    document = reports.large(failing=failing)
    for each in document["results"]:
        if each["log_end"]:
            each["log_end"] = reports.log_end(lines=25, error="a.c:1:1: error: " + "x" * 300)
    text = html_report.render(seen(document))

    assert len(text.encode()) < 5_000_000
    assert text.count("<mark>") == sum(each["status"] == "failed" for each in document["results"])


def test_a_target_shows_what_its_build_found_in_its_environment() -> None:
    environment = EnvironmentSpec(
        requires=("torch==2.13.*",),
        isolation=False,
        frontend=Frontend(name=FrontendName.UV),
        indexes=(("torch", "https://host/cu130"),),
    )
    made = replace(TARGET, steps=replace(TARGET.steps, environment=environment))
    result = builders.result(replace(BUILT, request=factories.request(made)), root=Path())
    text = html_report.render(seen(builders.results_document([result], earlier={})))

    for name, value in (
        *(("requires", "torch==2.13.*"), ("isolation", "none"), ("frontend", "uv")),
        ("index torch", "https://host/cu130"),
    ):
        assert f"<dt>{name}</dt><dd>{value}</dd>" in text


def test_a_failed_target_says_why() -> None:
    document = reports.document(reports.result("a", "failed"))
    text = html_report.render(seen(document))

    assert "the project did not build" in text
    assert "<mark>csrc/a.cu(12): error: no</mark>" in text
    assert "from file:VERSION" in text
    assert "env:DEMO_VERSION: not set" in text


# JUnit


SDIST = {"filename": "demo-1.0.tar.gz", "version": "1.0", "size": 2000, "compared": "cp312-x"}
NO_SDIST = {
    "version": "1.0",
    "failure": {"kind": "build", "message": "the <b>sdist</b> lacks x.h", "hint": "add it"},
}


@pytest.mark.parametrize(
    ("sdist", "said", "failures"),
    [(SDIST, "demo-1.0.tar.gz", "0"), (NO_SDIST, "lacks x.h", "1"), (None, "", "0")],
)
def test_every_report_has_the_sdist(sdist: Any, said: str, failures: str) -> None:
    found = seen({**reports.document(reports.result("a")), "sdist": sdist})
    plain = markdown.render(found).replace("\\", "")
    texts = (html_report.render(found), plain, junit.render(found))

    for text in texts:
        assert (said in text) if said else ("sdist:" not in text)
        assert "<b>sdist" not in text
    if sdist is NO_SDIST:
        assert all("hint: add it" in text for text in texts)
    root = ET.fromstring(texts[2])  # noqa: S314 - our own
    cases = root.findall(".//testcase")
    assert (root.get("tests"), root.get("failures")) == (str(len(cases)), failures)


def test_junit_counts_what_it_lists() -> None:
    document = reports.document(
        reports.result("a", target=reports.facts("cp312", "manylinux", "x86_64")),
        reports.result("b", "failed"),
        reports.result("c", "failed", failure=reports.failure(kind="disk")),
        reports.result("d", "unavailable"),
        reports.result("e", "cancelled"),
    )
    root = ET.fromstring(junit.render(seen(document)))  # noqa: S314 - our own

    assert root.attrib["tests"] == "5"
    assert (root.attrib["failures"], root.attrib["errors"]) == ("1", "1")
    assert [each.attrib["tests"] for each in root] == ["1", "4"]
    assert len(root.findall(".//failure")) == 1
    assert len(root.findall(".//error")) == 1
    assert len(root.findall(".//skipped")) == 2
    failed = root.find(".//testcase[@name='b']")
    assert failed is not None
    assert "csrc/a.cu(12): error: no" in str(failed.findtext("system-out"))


def test_hostile_results_are_well_formed_xml() -> None:
    text = junit.render(seen(hostile()))

    root = ET.fromstring(text)  # noqa: S314 - our own
    assert len(root.findall(".//testcase")) == 3
    assert "\x1b" not in text


# Markdown


@pytest.mark.parametrize("failing", [False, True])
def test_markdown_fits_a_job_s_summary(failing: bool) -> None:  # noqa: FBT001
    document = reports.large(3000, failing=failing)
    for number, each in enumerate(document["results"]):
        each["id"] += f"-{number}-" + "x" * 200
    text = markdown.render(seen(document))

    assert len(text.encode()) <= 1_000_000
    assert text.count("<details>") == text.count("</details>")


def test_no_line_of_a_log_ends_its_fence() -> None:
    end = reports.log_end(error="````` a")
    text = markdown.render(seen(reports.document(reports.result("a", "failed", log_end=end))))

    assert text.count("``````") == 2


def test_hostile_markdown_is_text() -> None:
    text = markdown.render(seen(hostile()))
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    tags = {tag for tag, _ in Page(re.sub(r"\\.", "", outside)).tags}

    assert tags <= {"details", "summary", "code"}


def test_markdown_in_the_log_of_a_job_holds_no_workflow_command() -> None:
    trouble = "::error::no ##[error]no"
    end = {"error": None, "excerpts": [{"line": 1, "text": [trouble, f" {trouble}", "##[x]"]}]}
    failure = reports.failure(message=trouble, hint=trouble)
    found = reports.result(trouble, "failed", log_end=end, failure=failure)
    facts = reports.facts(trouble, "manylinux", "x86_64", kind=trouble)
    good = reports.result("good", target=facts, wheel=reports.wheel(reports.wheel_name("good")))

    text = markdown.render(seen(reports.document(found, good)))

    assert text.count("no") > 10
    assert obeyed(text) == []


def test_a_summary_calls_nobody() -> None:
    failure = reports.failure(message="@someone did it", hint="ask @someone")
    text = markdown.render(seen(reports.document(reports.result("a", "failed", failure=failure))))

    assert text.count("@&#8203;someone") == 2
    assert "@someone" not in text


def test_markdown_shows_what_there_is_more_of_down_the_page() -> None:
    text = markdown.render(seen(reports.large()))
    (head,) = [line for line in text.splitlines() if line.startswith("|  |")]

    assert head.count("|") == 12 + 2


# Size


def covering(cells: list[dict[str, str]], **changes: Any) -> dict[str, Any]:
    facts = reports.facts("cp312", "manylinux", "x86_64") | {"covers": cells}
    return reports.result("cp312-manylinux_x86_64", target=facts, **changes)


def cell(**values: str) -> dict[str, str]:
    return {"python": "cp312", "libc": "manylinux", "arch": "x86_64", **values}


GROWING: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "cells of as many Pythons and variants": lambda n: [
        covering([cell(python=f"cp3{i}", cuda=f"{i}") for i in range(n)])
    ],
    "cells of as many variants": lambda n: [covering([cell(cuda=f"{i}") for i in range(n)])],
    "cells of as many axes": lambda n: [covering([cell(**{f"axis{i}": "1"}) for i in range(n)])],
    "one cell again and again": lambda n: [covering([cell(cuda="1")] * n)],
    "as many results with a cell": lambda n: [
        covering([cell(python=f"cp3{i}", cuda=f"{i}")], id=f"t{i}", run=f"r{i}", started=1.0 + i)
        for i in range(n)
    ],
    "cells, and as long a step": lambda n: [
        covering(
            [cell(cuda=f"{i}") for i in range(n)],
            status="failed",
            failure=reports.failure(step="s" * n),
        )
    ],
    "cells, and as many runners": lambda n: [
        covering([cell(cuda=f"{i}") for i in range(n)])
        | {
            "target": reports.facts("cp312", "manylinux", "x86_64")
            | {"covers": [cell(cuda=f"{i}") for i in range(n)], "runner": ["linux"] * n}
        }
    ],
}


@pytest.mark.parametrize("what", GROWING)
def test_reports_grow_no_faster_than_their_results(what: str) -> None:
    sizes = []
    for count in (800, 1600, 3200):
        document = parse(ResultsDocument, reports.document(*GROWING[what](count)))
        texts = [render(document) for render in (html_report.render, junit.render)]
        sizes.append([*map(len, texts), len(markdown.render(document))])
    for smaller, larger in pairwise(sizes):
        assert all(b < 2.2 * a for a, b in zip(smaller, larger, strict=True)), sizes


def test_a_plan_says_what_a_build_finds_in_its_environment() -> None:
    environment = EnvironmentSpec(
        requires=("torch==2.13.*", "own @ https://me:pass-word@host/own.whl"),
        constraints=("setuptools<81",),
        isolation=False,
        frontend=Frontend(name=FrontendName.PIP, args=("-v",)),
        indexes=(("torch", "https://me:pass-word@host/cu130"),),
    )
    target = replace(TARGET, steps=replace(TARGET.steps, environment=environment))

    planned = to_json_value(builders.planned_target(factories.request(target)))

    assert planned["environment"] == {
        "requires": ["torch==2.13.*", "own @ https://me:****@host/own.whl"],
        "constraints": ["setuptools<81"],
        "isolation": False,
        "frontend": {"name": "pip", "args": ["-v"]},
        "indexes": {"torch": "https://me:****@host/cu130"},
        "cuda": None,
    }
