"""What a person sees while targets build; drawn by the real library, on terminals of any size."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text as AnsiText

from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import TargetId
from orchestrator.report import progress
from orchestrator.report.progress import (
    LiveProgress,
    PlainProgress,
    Progress,
    RunningTarget,
    RunView,
    _folded,
    drawing,
    log_end,
)
from tests import factories

A, B = TargetId("cp312-manylinux_x86_64-a"), TargetId("cp312-manylinux_x86_64-b")


def result(target: TargetId = A, status: Status = Status.OK, **changes: Any) -> BuildResult:
    failed = status in {Status.FAILED, Status.CANCELLED}
    failure = Failure(kind=FailureKind.BUILD, message="it did not build") if failed else None
    return factories.result(target, status, **{"failure": failure, "duration": 75.0, **changes})


def console(width: int = 200, height: int = 30, *, terminal: bool = False) -> Console:
    size: Any = {"width": width, "height": height}
    return Console(file=io.StringIO(), force_terminal=terminal, highlight=False, **size)


def plain_progress(total: int = 2, **options: Any) -> PlainProgress:
    return PlainProgress(console=console(), total=total, **options)


def said(where: Console | Progress) -> list[str]:
    file = (where.console if isinstance(where, Progress) else where).file
    assert isinstance(file, io.StringIO)
    return file.getvalue().splitlines()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "a.log").write_text("the end\n", encoding="utf-8")
    return tmp_path / "a.log"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Set ``clock[0]`` to say what time it is."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


# The state


def test_what_is_left_is_never_less_than_the_longest_nor_than_all_together(
    clock: list[float],
) -> None:
    found = plain_progress(expected={A: 100.0, B: 30.0})
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


def test_where_nothing_ran_before_nothing_is_foretold_and_what_does_not_run_has_no_step() -> None:
    found = plain_progress()
    found.step(B, "build")
    found.started(A)

    assert found.view().left is None
    assert [each.target_id for each in found.view().running] == [A]


def test_the_summary_counts(clock: list[float]) -> None:
    found = plain_progress(3, expected={A: 60.0, B: 60.0, TargetId("c"): 60.0})
    found.started(A)
    found.started(B)
    clock[0] = 30.0
    found.ended(result(A, Status.FAILED))
    found.resting(result(B), 1.0)

    view = found.view()
    assert view.summary == (
        "1/3 targets (1 failed, 1 waiting to be tried again), 0:30, about 1:00 left"
    )
    found.stopping()
    assert found.view().summary.endswith("; stopping")
    assert view.running == ()


# Plain


def test_a_line_when_a_target_ends_and_none_for_its_start_and_steps() -> None:
    recorded: list[BuildResult] = []
    plain = plain_progress(expected={A: 61.0}, record=recorded.append)
    plain.started(A)
    plain.step(A, "build")
    plain.ended(result())
    plain.started(B)
    plain.resting(result(B, Status.FAILED, attempts=1), 12.0)
    plain.ended(result(B, Status.UNAVAILABLE))

    assert said(plain) == [
        f"[1/2] ok  1:15  {A}",
        f"{B}: attempt 1 failed: it did not build; again in 0:12",
    ]  # what cannot be built here is said once for all such targets
    assert plain.view().ended == 2
    assert [each.target_id for each in recorded] == [A, B]


def test_a_sign_of_life(clock: list[float]) -> None:
    plain = plain_progress(9)
    plain.beat()
    for number in range(6):
        plain.started(TargetId(f"t{number}"))
    clock[0] = 100.0
    plain.step(TargetId("t0"), "build")
    clock[0] = 130.0
    plain.beat()

    assert said(plain) == [
        "0/9 targets, 0:00; running: nothing",
        (
            "0/9 targets, 2:10; running: t0 (build 0:30), t1 (start 2:10), t2 (start 2:10), "
            "t3 (start 2:10), 2 more"
        ),
    ]


@pytest.mark.parametrize("kind", [PlainProgress, LiveProgress])
def test_a_step_that_waits_is_named_with_its_target(kind: type[Progress]) -> None:
    shown = kind(console=console(terminal=kind is LiveProgress), total=1)
    shown.started(A)
    shown.step(A, "build")
    shown.waits(A, "has printed nothing for 10 min: [red]cat[/] waits")

    line = f"{A}: build has printed nothing for 10 min: [red]cat[/] waits"
    assert AnsiText.from_ansi("\n".join(said(shown))).plain.rstrip() == line


def test_signs_of_life_come_by_themselves_and_end_with_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "HEARTBEAT", 0.01)
    beaten = threading.Event()
    plain = plain_progress()
    monkeypatch.setattr(plain, "beat", beaten.set)
    with plain:
        assert beaten.wait(20)

    assert "signs of life" not in {each.name for each in threading.enumerate()}


def test_the_end_of_a_failed_target_s_log_is_one_block(log: Path) -> None:
    log.write_text("".join(f"line {number}\n\n" for number in range(50)), encoding="utf-8")
    plain = plain_progress()
    plain.ended(result(A, Status.FAILED, log=log))

    first, place, *lines = said(plain)
    assert first == f"[1/2] failed  1:15  {A}: build: it did not build"
    assert place == f"  log: {log}"
    assert lines == [f"  | line {number}" for number in range(35, 50)]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (Status.OK, None),
        (Status.CANCELLED, FailureKind.CANCELLED),
        (Status.FAILED, FailureKind.BAD_WHEEL),  # its findings say all
    ],
)
def test_a_log_that_tells_nothing_is_not_shown(
    log: Path, status: Status, kind: FailureKind | None
) -> None:
    assert log_end(factories.result(A, status, kind, log=log), width=80, grouped=False) == []
    assert log_end(result(A, Status.FAILED, log=log / "none"), width=80, grouped=False) == []


def test_quiet_tells_only_what_fails(log: Path) -> None:
    with plain_progress(quiet=True) as quiet:
        quiet.started(A)
        quiet.step(A, "build")
        quiet.resting(result(A, Status.FAILED), 1.0)
        quiet.ended(result())
        quiet.ended(result(B, Status.FAILED, log=log))

    assert said(quiet) == [
        f"[2/2] failed  1:15  {B}: build: it did not build",
        f"  log: {log}",
        "  | the end",
    ]


@pytest.mark.parametrize(
    ("kind", "count"), [(PlainProgress, "[22/25] "), (LiveProgress, "")], ids=["plain", "live"]
)
def test_what_comes_from_the_store_takes_one_line(
    kind: type[PlainProgress | LiveProgress], count: str
) -> None:
    recorded: list[BuildResult] = []
    kept = kind(console=console(), total=25, record=lambda *results: recorded.extend(results))
    many = [result(TargetId(f"cp312-manylinux_x86_64-{n}")) for n in range(21)]
    kept.restored([*many[:20], result(B, Status.FAILED), many[20]])
    assert said(kept) == [
        "[21/25] 21 targets came from the store",
        f"{count}failed  1:15  {B}: build: it did not build",
    ]
    assert kept.view().counts[Status.OK] == 21
    assert len(recorded) == 22

    none = kind(console=console(), total=20)
    none.restored([])
    assert said(none) == []


def test_what_threads_say_does_not_mix(tmp_path: Path) -> None:
    plain = plain_progress(8)
    threads = []
    for number in range(8):
        log = tmp_path / f"{number}.log"
        log.write_text(f"of {number}\n" * 10, encoding="utf-8")
        why = Failure(kind=FailureKind.BUILD, message=f"error {number}")
        ended = result(TargetId(f"t{number}"), Status.FAILED, log=log, failure=why)
        threads.append(threading.Thread(target=plain.ended, args=(ended,)))
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    lines = said(plain)
    assert len(lines) == 8 * 12
    for start in range(0, len(lines), 12):
        name = lines[start][-1]
        assert lines[start + 2 : start + 12] == [f"  | of {name}"] * 10


def test_a_failure_that_many_targets_have_shows_few_logs(log: Path) -> None:
    plain = plain_progress(9)
    for number in range(5):
        plain.ended(result(TargetId(f"t{number}"), Status.FAILED, log=log))

    lines = said(plain)
    assert lines.count("  | the end") == progress.SAME_FAILURE
    assert lines.count(f"  log: {log}") == 5


# Live


def view(count: int, expected: float | None = None) -> RunView:
    running = tuple(
        RunningTarget(
            target_id=TargetId(f"cp312-manylinux_x86_64-cu126-torch2.{number}"),
            since=0.0,
            step="before-build",
            step_since=3000.0,
            expected=expected,
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
    lines = where.render_lines(drawing(view(count), width=width, height=height))

    assert all(sum(len(part.text) for part in line) <= width for line in lines)
    assert len(lines) <= max(height - 1, 1)


def test_a_table_that_does_not_fit_says_how_many_more_there_are() -> None:
    where = console(80, 10)
    where.print(drawing(view(200), width=80, height=10))

    lines = said(where)
    assert lines[0].startswith("12/854 targets (3 ok, 3 failed, ")
    assert lines[-1] == "... and 194 more"


def test_a_wide_table_has_step_times_and_estimates_and_a_narrow_one_does_without() -> None:
    wide, narrow = console(100), console(60)
    wide.print(drawing(view(1, 4000.0), width=100, height=30))
    narrow.print(drawing(view(1, 4000.0), width=60, height=30))

    assert re.search(r"torch2\.0 +before-build +1:01:01 +5:39 +11:01", said(wide)[-1])
    assert re.search(r"before-build +1:01:01 +5:39", said(narrow)[-1])
    assert "in step" not in said(narrow)[1]


def test_live_draws_in_place_and_leaves_nothing_behind(log: Path) -> None:
    log.write_text("\x1b[2Jthe end\n", encoding="utf-8")
    with LiveProgress(console=console(80, 24, terminal=True), total=2, expected={A: 10.0}) as live:
        live.started(A)
        live.step(A, "build")
        live.resting(result(A, Status.FAILED, attempts=1), 3.0)
        live.started(A)
        live.started(B)
        live.stopping()
        live.ended(result())
        live.ended(result(B, Status.FAILED, log=log))

    text = "\n".join(said(live))
    assert "\x1b[2J" not in text, "the screen is never cleared"
    assert "\x1b[?25h" in text, "the cursor is back"
    shown = AnsiText.from_ansi(text).plain
    assert f"{A}: attempt 1 failed: it did not build; again in 0:03" in shown
    assert f"ok  1:15  {A}" in shown
    assert "  | the end" in shown


def test_no_colour_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    where = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    with LiveProgress(console=where, total=2) as live:
        live.started(A)
        live.ended(result(A, Status.FAILED))

    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", "\n".join(said(live)))


def test_a_line_of_a_log_that_begins_far_to_the_right_is_shown() -> None:
    lines = _folded(f"{' ' * 200}^^^^ {'x' * 300}", 80)
    assert "^^^^" in lines[0]
    assert max(map(len, lines)) <= 80
