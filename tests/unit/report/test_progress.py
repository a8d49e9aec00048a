"""What a person sees while targets build; drawn by the real library, on terminals of any size."""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text as AnsiText

from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import TargetId
from orchestrator.report import progress
from orchestrator.report.progress import (
    LiveProgress,
    PlainProgress,
    ProgressTracker,
    RunningTarget,
    RunView,
    drawing,
    log_end,
)
from orchestrator.report.text import plain
from tests import factories

A, B = TargetId("cp312-manylinux_x86_64-a"), TargetId("cp312-manylinux_x86_64-b")


def result(
    target: TargetId = A,
    status: Status = Status.OK,
    *,
    log: Path | None = None,
    kind: FailureKind = FailureKind.BUILD,
    attempts: int = 1,
) -> BuildResult:
    failed = status in {Status.FAILED, Status.CANCELLED}
    failure = Failure(kind=kind, message="it did not build") if failed else None
    return factories.result(
        target, status, failure=failure, log=log, duration=75.0, attempts=attempts
    )


def console(width: int = 200, height: int = 30, *, terminal: bool = False) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=terminal,
        color_system="standard" if terminal else None,
        highlight=False,
    )


def said(where: Console) -> str:
    assert isinstance(where.file, io.StringIO)
    return where.file.getvalue()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Set ``clock[0]`` to say what time it is."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


# Books


def books(expected: Mapping[TargetId, float] | None = None, total: int = 2) -> ProgressTracker:
    return ProgressTracker(total, expected or {})


def test_what_is_left_is_never_less_than_the_longest_nor_than_all_together(
    clock: list[float],
) -> None:
    found = books({A: 100.0, B: 30.0})
    assert found.view().left == 130.0  # one at a time, as far as anybody knows
    found.started(A)
    found.started(B)
    assert found.view().left == 100.0
    clock[0] = 90.0
    assert found.view().left == 10.0
    clock[0] = 500.0
    assert found.view().left == 0.0
    found.ended(result(A))
    found.ended(result(B))
    assert found.view().left is None


def test_where_nothing_ran_before_nothing_is_foretold() -> None:
    found = books()
    found.started(A)

    assert found.view().left is None


def test_the_summary_counts(clock: list[float]) -> None:
    found = books({A: 60.0, B: 60.0, TargetId("c"): 60.0}, total=3)
    found.started(A)
    found.started(B)
    clock[0] = 30.0
    found.ended(result(A, Status.FAILED))
    found.resting(B)

    view = found.view()
    assert view.summary == (
        "1/3 targets (1 failed, 1 waiting to be tried again), 0:30, about 1:00 left"
    )
    found.stopping()
    assert found.view().summary.endswith("; stopping")
    assert view.running == ()


def test_a_step_of_what_does_not_run_is_ignored() -> None:
    found = books()
    found.step(A, "build")

    assert found.view().running == ()


# Plain


def test_a_line_when_a_target_starts_and_when_it_ends_and_none_for_steps() -> None:
    where = console()
    plain = PlainProgress(where, books({A: 61.0}))
    plain.started(A)
    plain.step(A, "build")
    plain.ended(result())
    plain.started(B)
    plain.resting(result(B, Status.FAILED, attempts=1), 12.0)
    plain.ended(result(B, Status.UNAVAILABLE))

    assert said(where).splitlines() == [
        f"{A}: started (about 1:01)",
        f"{A}: [1/2] ok (1:15)",
        f"{B}: started",
        f"{B}: attempt 1 failed: it did not build; again in 0:12",
        f"{B}: [2/2] unavailable (1:15)",
    ]


def test_a_sign_of_life(clock: list[float]) -> None:
    where = console()
    found = ProgressTracker(9, {})
    plain = PlainProgress(where, found)
    plain.beat()
    for number in range(6):
        found.started(TargetId(f"t{number}"))
    clock[0] = 100.0
    found.step(TargetId("t0"), "build")
    clock[0] = 130.0
    plain.beat()

    assert said(where).splitlines() == [
        "0/9 targets, 0:00; running: nothing",
        (
            "0/9 targets, 2:10; running: t0 (build 0:30), t1 (start 2:10), t2 (start 2:10), "
            "t3 (start 2:10), 2 more"
        ),
    ]


def test_signs_of_life_come_by_themselves_and_end_with_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    where = console()
    beaten = threading.Event()
    plain = PlainProgress(where, books())
    monkeypatch.setattr(plain, "beat", beaten.set)
    with plain:
        assert beaten.wait(20)

    assert "signs of life" not in {each.name for each in threading.enumerate()}


def test_the_end_of_a_failed_target_s_log_is_one_block(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {number}\n\n" for number in range(50)), encoding="utf-8")
    where = console()
    PlainProgress(where, books()).ended(result(A, Status.FAILED, log=log))

    first, place, *lines = said(where).splitlines()
    assert first == f"{A}: [1/2] failed  build: it did not build (1:15)"
    assert place == f"  log: {log}"
    assert lines == [f"  | line {number}" for number in range(35, 50)]


def test_github_folds_a_log_and_obeys_nothing_in_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("::set-env name=X::y\n", encoding="utf-8")
    where = console()
    PlainProgress(where, books(), grouped=True).ended(result(A, Status.FAILED, log=log))

    assert said(where).splitlines()[1:] == [
        f"::group::{A}: the log's end",
        f"  log: {log}",
        "  | ::set-env name=X::y",
        "::endgroup::",
    ]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.OK, FailureKind.BUILD),
        (Status.CANCELLED, FailureKind.CANCELLED),
        (Status.FAILED, FailureKind.BAD_WHEEL),  # its findings say all
    ],
)
def test_a_log_that_tells_nothing_is_not_shown(
    tmp_path: Path, status: Status, kind: FailureKind
) -> None:
    log = tmp_path / "a.log"
    log.write_text("compiling\n", encoding="utf-8")

    assert log_end(result(A, status, log=log, kind=kind), grouped=False) == ""
    assert log_end(result(A, Status.FAILED, log=tmp_path / "none"), grouped=False) == ""


def test_quiet_tells_only_what_fails(tmp_path: Path) -> None:
    log = tmp_path / "b.log"
    log.write_text("the end\n", encoding="utf-8")
    where = console()
    with PlainProgress(where, books(), quiet=True) as quiet:
        quiet.started(A)
        quiet.step(A, "build")
        quiet.resting(result(A, Status.FAILED), 1.0)
        quiet.ended(result())
        quiet.ended(result(B, Status.FAILED, log=log))

    assert said(where).splitlines() == [
        f"{B}: [2/2] failed  build: it did not build (1:15)",
        f"  log: {log}",
        "  | the end",
    ]


@pytest.mark.parametrize("kind", [PlainProgress, LiveProgress])
def test_much_that_comes_from_the_store_takes_one_line(
    kind: type[PlainProgress | LiveProgress],
) -> None:
    where, kept = console(), books(total=25)
    many = [result(TargetId(f"cp312-manylinux_x86_64-{n}")) for n in range(21)]
    bad = result(B, Status.FAILED)
    kind(where, kept).recalled([*many[:20], bad, many[20]])
    assert said(where).splitlines() == [
        "[21/25] 21 targets came from the store",
        *([f"{B}: [22/25] failed  build: it did not build (1:15)"] * (kind is PlainProgress)),
        *([f"{B}: failed  build: it did not build (1:15)"] * (kind is LiveProgress)),
    ]
    assert kept.view().counts[Status.OK] == 21

    few = console()
    kind(few, books(total=20)).recalled(many[:20])
    assert len(said(few).splitlines()) == 20
    assert said(few).startswith(f"{many[0].target_id}: ")


def test_what_threads_say_does_not_mix(tmp_path: Path) -> None:
    logs = {}
    for number in range(8):
        logs[number] = tmp_path / f"{number}.log"
        logs[number].write_text(f"of {number}\n" * 10, encoding="utf-8")
    where = console()
    plain = PlainProgress(where, books(total=8))
    threads = [
        threading.Thread(
            target=plain.ended,
            args=(result(TargetId(f"t{number}"), Status.FAILED, log=log),),
        )
        for number, log in logs.items()
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    lines = said(where).splitlines()
    assert len(lines) == 8 * 12
    for start in range(0, len(lines), 12):
        name = lines[start][1]
        assert lines[start + 2 : start + 12] == [f"  | of {name}"] * 10


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("a\rb\x08c\x9bd", r"b\x08c"),
        ("\x1b[2J\x1b[Hgone", "gone"),
        ("a\tb ü", "a       b ü"),
    ],
)
def test_a_log_cannot_tell_the_terminal_what_to_do(line: str, shown: str) -> None:
    assert plain(line) == shown


# Live


def view(count: int) -> RunView:
    running = tuple(
        RunningTarget(
            target_id=TargetId(f"cp312-manylinux_x86_64-cu126-torch2.{number}"),
            since=0.0,
            step="before-build",
            step_since=3000.0,
        )
        for number in range(count)
    )
    return RunView(
        now=3661.0,
        running=running,
        total=854,
        counts=dict.fromkeys(Status, 3),
        resting=2,
        left=7200.0,
        elapsed=3661.0,
        stopping=False,
    )


@pytest.mark.parametrize("width", [1, 10, 20, 40, 63, 64, 80, 200])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 24, 100])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_the_table_is_never_larger_than_the_terminal(width: int, height: int, count: int) -> None:
    """What is drawn above the screen's edge cannot be taken back, and would scroll by for ever."""
    where = console(width, height, terminal=True)
    lines = where.render_lines(drawing(view(count), {}, width=width, height=height))

    assert all(sum(len(part.text) for part in line) <= width for line in lines)
    assert len(lines) <= max(height - 1, 1)


def test_a_table_that_does_not_fit_says_how_many_more_there_are() -> None:
    where = console(80, 10)
    where.print(drawing(view(200), {}, width=80, height=10))

    lines = said(where).splitlines()
    assert lines[0].startswith("12/854 targets (3 ok, 3 failed, ")
    assert lines[-1] == "... and 194 more"


def test_a_wide_table_has_step_times_and_estimates_and_a_narrow_one_does_without() -> None:
    expected = {TargetId("cp312-manylinux_x86_64-cu126-torch2.0"): 4000.0}
    wide, narrow = console(100), console(60)
    wide.print(drawing(view(1), expected, width=100, height=30))
    narrow.print(drawing(view(1), expected, width=60, height=30))

    assert re.search(r"torch2\.0 +before-build +1:01:01 +5:39 +11:01", said(wide))
    assert re.search(r"before-build +1:01:01 +5:39", said(narrow))
    assert "in step" not in said(narrow)


def test_live_draws_in_place_and_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "b.log"
    log.write_text("\x1b[2Jthe end\n", encoding="utf-8")
    where = console(80, 24, terminal=True)
    with LiveProgress(where, books({A: 10.0})) as live:
        live.started(A)
        live.step(A, "build")
        live.resting(result(A, Status.FAILED), 3.0)
        live.started(A)
        live.started(B)
        live.stopping()
        live.ended(result())
        live.ended(result(B, Status.FAILED, log=log))

    text = said(where)
    assert "\x1b[2J" not in text, "the screen is never cleared"
    assert "\x1b[?25h" in text, "the cursor is back"
    shown = AnsiText.from_ansi(text).plain
    assert f"{A}: attempt 1 failed: it did not build; again in 0:03" in shown
    assert f"{A}: ok (1:15)" in shown
    assert "  | the end" in shown


def test_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    where = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    with LiveProgress(where, books()) as live:
        live.started(A)
        live.ended(result(A, Status.FAILED))

    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", said(where))
