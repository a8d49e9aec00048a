"""The history that several results.json tell, and what the HTML page makes of it."""

from __future__ import annotations

import re
from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.models.reading import parse
from orchestrator.models.target import TargetId
from orchestrator.report import html_report, markdown
from orchestrator.report import serialize as documents
from orchestrator.report.history import history
from orchestrator.report.schemas import ResultsDocument
from tests import reports
from tests.unit.report.test_reports import hostile, seen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.report.history import History

DAY = 86400.0


def past(*found: dict[str, Any]) -> History:
    return history(map(seen, found))


def page(*found: dict[str, Any]) -> str:
    merged = parse(ResultsDocument, documents.merged(found))
    return html_report.render(merged, past(*found))


def job(name: str, *ids: str, day: int = 0, version: str = "1.0.0", **changes: Any) -> Any:
    """The results.json of a job."""
    began = reports.BEGAN + day * DAY
    facts = reports.facts("cp312", "manylinux", "x86_64") | {"version": version}
    wheel = reports.wheel("demo-1-py3-none-any.whl") | {"version": version}
    common: dict[str, Any] = {
        "run": name,
        "started": began,
        "target": facts,
        "wheel": wheel,
    } | changes
    results = (reports.result(each, **common) for each in ids)
    return reports.document(*results, runs=(reports.run(name, began),))


def test_results_of_a_target_are_in_the_order_of_their_start() -> None:
    for given in permutations(map(reports.nightly, range(3))):
        found = past(*given)
        assert [sorted(run.versions) for run in found.runs] == [["1.0.0"], ["1.1.0"], ["1.2.0"]]
        assert len(found.targets) == 24
        for results in found.targets.values():
            assert [each.began for each in results] == sorted(each.began for each in results)
            assert len(results) == 3


def test_jobs_of_a_run_are_one_run() -> None:
    found = past(
        *(job(f"a{n}", f"t{n}") for n in range(3)),
        *(job(f"b{n}", f"t{n}", day=1, version="1.1.0+cu126") for n in range(3)),
    )

    assert [sorted(run.results) for run in found.runs] == [["t0", "t1", "t2"]] * 2
    assert len(found.targets) == 3


def test_jobs_that_share_a_target_or_have_other_versions_are_several_runs() -> None:
    assert len(past(job("a", "t1"), job("b", "t2", "t1", day=1)).runs) == 2
    assert len(past(job("a", "t1"), job("b", "t2", day=1, version="1.1")).runs) == 2
    assert len(past(job("a", "t1"), job("b", "t2", day=1, version="1.0.0+cu126")).runs) == 1


def test_what_a_later_document_still_has_is_counted_once() -> None:
    """A dist/results.json keeps the results of targets that a run does not build."""
    old = job("a", "t1", "t2")
    new = job("b", "t2", day=1)
    merged = documents.merged([old, new])

    found = past(old, merged | {"schema": 1})

    assert list(found.targets) == ["t2"]
    assert [sorted(run.results) for run in found.runs] == [["t1", "t2"]] * 2


def test_a_result_from_the_store_took_no_time() -> None:
    found = past(job("a", "t"), job("b", "t", day=1, cached=True, started=None))

    first, second = found.targets[TargetId("t")]
    assert (first.seconds, second.seconds) == (90.0, None)
    assert second.began == reports.BEGAN + DAY, "when its run was started"


def test_the_line_of_times_leaves_out_what_failed() -> None:
    found = past(job("a", "t"), job("b", "t", day=1, status="failed"), job("c", "t", day=2))

    results = found.targets[TargetId("t")]
    assert [each.seconds for each in results] == [90.0] * 3, "the table has them all"
    assert [each.whole_seconds for each in results] == [90.0, None, 90.0]


def test_documents_that_do_not_say_when_are_read() -> None:
    old = reports.document(reports.result("t"), reports.result("u", "failed"))
    del old["runs"]
    found = past(old, job("b", "t", day=1))

    assert [each.began for each in found.targets[TargetId("t")]] == [0.0, reports.BEGAN + DAY]
    assert "<td" in page(old, job("b", "t", day=1))


def test_a_run_is_compared_by_the_wheels_that_both_have() -> None:
    small = reports.wheel("demo-1-py3-none-any.whl") | {"size": 1000}
    large = small | {"size": 1100}
    text = page(job("a", "t", wheel=small), job("b", "t", "u", day=1, wheel=large))

    assert text.count("+10 %") == 3, "of the run, of the target, and in its details"


def test_the_page_shows_each_run_and_each_target() -> None:
    text = page(*map(reports.nightly, range(6)))
    section = text[text.index('<h2 id="history">') : text.index('<h2 id="targets">')]

    assert section.count("<tr") == 2 + 6 + 24
    assert "1.0.0+cu124 → … → 1.5.0+cu124" in section
    assert "manylinux_2_28_x86_64 → manylinux_2_29_x86_64" in section
    assert "✓✓✓✓✓✓" in section
    assert '<a href="#history">' in text


def test_a_page_of_one_run_has_no_history() -> None:
    single = html_report.render(seen(reports.large(24)))

    assert page(job("a", "t"), job("b", "u")).count('id="history"') == 0, "jobs of one run"
    assert 'id="history"' not in single


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([1.0, 2.0], "M0 8h0L60 1"),
        ([None, 2.0, None, 1.0], "M20 1h0M60 8h0"),
        ([0.0], "M0 15h0"),
        ([None], ""),
    ],
)
def test_a_line_has_a_point_for_each_value(values: Iterable[float | None], path: str) -> None:
    assert html_report._spark(list(values)) == path


def test_hostile_histories_are_text() -> None:
    later = hostile()
    for each in later["results"]:
        each["started"] += DAY
    text = page(hostile(), later)

    assert 'id="history"' in text
    assert text.count("<script") == 1
    assert "<img" not in text


def test_fifty_runs_of_854_targets_stay_bounded() -> None:
    runs = [reports.nightly(number, 854) for number in range(50)]
    text = page(*runs)

    assert len(text.encode()) < 9_000_000
    assert len(re.findall(r'class="spark"', text)) > 854
    assert "and 39 earlier" in text


# The commands that build again


def test_each_target_has_the_command_that_builds_it_again() -> None:
    failed = reports.result("cp312-x", "failed", run="r1")
    good = reports.result("it's", run="r1")
    nightly = reports.run() | {"channel": "nightly"}
    text = html_report.render(seen(reports.document(failed, good, runs=(nightly,))))
    commands = re.findall(r'<code class="command">([^<]+)<', text)

    assert commands == [
        "orchestrator rebuild cp312-x --shell --channel nightly",
        "orchestrator rebuild &#39;it&#39;&#34;&#39;&#34;&#39;s&#39; --channel nightly",
    ]
    assert 'data-command="orchestrator build --channel nightly"' in text


def released(version: str, day: int, **code: int) -> Any:
    """The results.json of a release: one wheel, with some code for GPUs."""
    size = 5_000_000 + sum(code.values())
    held = [
        {
            "kind": "sass",
            "arch": arch,
            "compression": "none",
            "entries": 1,
            "size": count,
            "unpacked": count,
            "repeated": 0,
        }
        for arch, count in code.items()
    ]
    found = job(version, "t", day=day, version=version)
    found["results"][0]["wheel"] |= {
        "sha256": f"{day:064}",
        "size": size,
        "device_code": held,
        "largest": [{"file": "demo/_C<b>.so", "size": size, "code": code}],
    }
    return found


def test_reports_say_what_has_grown_since_the_last_release() -> None:
    given = [
        released("1.0", 0, sm_80=1 << 20),
        released("1.1", 1, sm_90=1 << 20),
        released("1.2", 2, sm_90=1 << 20, sm_120=3 << 20),
    ]
    merged = parse(ResultsDocument, documents.merged(given))
    for order in permutations(given):
        shown = html_report.render(merged, past(*order))
        assert "<dt>since 1.1</dt><dd>5.8 MiB → 8.8 MiB (+3.0 MiB, +52.0 %)</dd>" in shown
        assert "<dd>sm_120: +3.0 MiB in demo/_C&lt;b&gt;.so (new architecture)</dd>" in shown
        assert "since 1.0" not in shown
        text = markdown.render(merged, past(*order)).replace("\\", "")
        assert "1 wheel with one to compare with: 5.8 MiB → 8.8 MiB" in text
        assert "sm_120: +3.0 MiB in demo/" in text
        assert "<b>" not in text
    assert "### Sizes" not in markdown.render(merged, past(given[-1]))
    assert "### Sizes" not in markdown.render(merged)


def test_wheels_that_hardly_changed_are_counted() -> None:
    given = [released("1.0", 0, sm_80=1 << 20), released("1.1", 1, sm_80=(1 << 20) + 900)]
    text = markdown.render(parse(ResultsDocument, documents.merged(given)), past(*given))
    assert "0 changed by more than 1%." in text
    assert "| since |" not in text


def test_a_result_of_an_older_version_has_a_size_and_no_files() -> None:
    given = [released("1.0", 0, sm_80=1 << 20), released("1.1", 1, sm_80=2 << 20)]
    for key in ("largest", "device_code"):
        del given[0]["results"][0]["wheel"][key]
    text = markdown.render(parse(ResultsDocument, documents.merged(given)), past(*given))
    assert "5.8 MiB → 6.8 MiB" in text
    assert "new" not in text


def test_many_wheels_that_have_grown_fit_a_summary() -> None:
    given = [reports.nightly(0, 854), reports.nightly(9, 854)]
    for number, each in enumerate(given):
        for result in each["results"]:
            if result["wheel"]:
                result["wheel"]["sha256"] = f"{number:064}"
    merged = parse(ResultsDocument, documents.merged(given))
    assert len(markdown.render(merged, past(*given), limit=20_000).encode()) <= 20_000
