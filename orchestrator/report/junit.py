"""JUnit XML, as Jenkins' xunit plugin and Maven Surefire describe it: one test case a target."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from orchestrator.models.result import FailureKind, Status
from orchestrator.report.summary import sdist_lines
from orchestrator.report.text import visible
from orchestrator.report.view import ResultsView, natural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.models.result import SdistFacts
    from orchestrator.report.schemas import Result, ResultsDocument

_MACHINE = {
    FailureKind.BUG,
    FailureKind.DISK,
    FailureKind.ENGINE,
    FailureKind.IMAGE,
    FailureKind.MISSING,
}
"""Errors in JUnit's sense: it is unknown whether the wheel can be built."""


def render(document: ResultsDocument) -> str:
    """Return the report: a test suite a platform, with the end of each failed target's log.

    A target that this machine cannot build, or that was never started, is a skipped test.
    """
    view = ResultsView(document=document)
    project = ", ".join(view.projects) or "wheels"
    suites: dict[str, list[Result]] = {}
    for each in document.results:
        suites.setdefault(_platform(each), []).append(each)
    root = Element("testsuites", _totals(project, document.results, document.sdist))
    for platform in sorted(suites, key=natural):
        root.append(_suite(f"{project} {platform}", platform, suites[platform]))
    if document.sdist is not None:
        root.append(_sdist(f"{project} sdist", document.sdist))
    indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{tostring(root, encoding="unicode")}\n'


def _platform(result: Result) -> str:
    """Return the group of a result. No full stops: viewers split package names there."""
    if result.target is None:
        return "unknown"
    return f"{result.target.libc}_{result.target.arch}".replace(".", "_")


def _suite(name: str, platform: str, results: Sequence[Result]) -> Element:
    skipped = sum(each.status in {Status.UNAVAILABLE, Status.CANCELLED} for each in results)
    suite = Element("testsuite", _totals(name, results) | {"skipped": str(skipped)})
    starts = [each.started for each in results if each.started is not None]
    if starts:
        when = datetime.fromtimestamp(min(starts), UTC)
        suite.set("timestamp", when.strftime("%Y-%m-%dT%H:%M:%S"))
    for each in results:
        suite.append(_case(platform, each))
    return suite


def _sdist(name: str, sdist: SdistFacts) -> Element:
    suite = Element("testsuite", _totals(name, (), sdist) | {"skipped": "0"})
    case = SubElement(
        suite, "testcase", {"classname": "sdist", "name": sdist.filename or "sdist", "time": "0"}
    )
    if sdist.failure is not None:
        found = SubElement(case, "failure", message=visible(sdist.failure.message))
        found.set("type", sdist.failure.kind.value)
        found.text = visible("\n".join(sdist_lines(sdist)))
    return suite


def _totals(
    name: str, results: Sequence[Result], sdist: SdistFacts | None = None
) -> dict[str, str]:
    failed = [each for each in results if each.status is Status.FAILED]
    errors = sum(_by_machine(each) for each in failed)
    sdists = [] if sdist is None else [sdist]
    without = sum(each.failure is not None for each in sdists)
    return {
        "name": visible(name),
        "tests": str(len(results) + len(sdists)),
        "failures": str(len(failed) - errors + without),
        "errors": str(errors),
        "time": f"{sum(each.duration for each in results):.3f}",
    }


def _by_machine(result: Result) -> bool:
    return result.failure is not None and result.failure.kind in _MACHINE


def _case(platform: str, result: Result) -> Element:
    name, time = visible(result.target_id), f"{result.duration:.3f}"
    case = Element("testcase", {"classname": visible(platform), "name": name, "time": time})
    failure = result.failure
    message = result.status.value if failure is None else failure.message
    if result.status is Status.FAILED:
        kind = "error" if _by_machine(result) else "failure"
        found = SubElement(case, kind, message=visible(message))
        found.set("type", failure.kind.value if failure is not None else result.status.value)
        found.text = visible("\n".join(_why(result)))
    elif result.status is not Status.OK:
        SubElement(case, "skipped", message=visible(message))
    if result.log_end is not None:
        lines = ["[...]" if n is None else text for n, text in result.log_end.lines]
        SubElement(case, "system-out").text = visible("\n".join(lines))
    return case


def _why(result: Result) -> list[str]:
    failure = result.failure
    if failure is None:
        return []
    more = {"step": failure.step, "hint": failure.hint, "log": result.log}
    return [failure.message, *(f"{name}: {value}" for name, value in more.items() if value)]
