"""What is said of a run before and after it, in any number of columns."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from orchestrator.builders.backend_choice import Choice
from orchestrator.errors import Problem
from orchestrator.models.result import (
    BuildResult,
    CompileReport,
    Failure,
    FailureKind,
    Status,
)
from orchestrator.models.target import BackendName, CompilePlan, CompilerKind, EmulationMode
from orchestrator.report import summary
from orchestrator.report.progress import PlainProgress
from tests import factories

LONG = "lookup registry.example on 192.0.2.1:53: no such host; " * 4
NAMES = [
    f"cp31{n}-manylinux_{arch}-cu130-torch2.{n}{tail}"
    for n in range(4)
    for arch in ("x86_64", "loongarch64")
    for tail in ("", "-cxx11abiTRUE-and-much-more-of-it")
]
FAILURES = (
    Failure(kind=FailureKind.BUILD, message="the project did not build", step="build", hint=LONG),
    Failure(kind=FailureKind.UNAVAILABLE, message=LONG, hint="`orchestrator doctor` says why"),
    Failure(kind=FailureKind.CANCELLED, message="cancelled"),
    Failure(kind=FailureKind.OUT_OF_TIME, message="stopped before the job's limit"),
)
STATUSES = (Status.FAILED, Status.UNAVAILABLE, Status.CANCELLED, Status.CANCELLED)
AGAIN = ("orchestrator", "rebuild", "{}", "--shell", "--matrix", "elsewhere/matrix.toml")
CROSSED = CompileReport(emulation=EmulationMode.CROSS, compiler="zig", not_tested=LONG)


def results(folder: Path) -> Iterator[BuildResult]:
    wheel = replace(factories.WHEEL, size=15_700, observed_tag="manylinux_2_17_x86_64")
    for number, name in enumerate(NAMES):
        made = factories.result(name, wheel=wheel, duration=4000.0)
        if number % 2:
            yield replace(made, compiled=CROSSED)
        else:
            yield made
        failure, status = FAILURES[number % 4], STATUSES[number % 4]
        log = folder / "a-long-directory-name" / ("y" * 60) / f"{name}.log"
        yield replace(made, status=status, failure=failure, wheel=None, log=log, rejected=log)


def lines(what: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_nothing_that_is_said_of_a_run_is_wider_than_the_console(
    width: int, tmp_path: Path
) -> None:
    ended = list(results(tmp_path))
    choice = Choice(
        backend=BackendName.DIRECT,
        how="cross-compiled for aarch64 by g++-12-aarch64-linux-gnu 12.2.0-14cross1",
        why_not=(Problem(what=LONG),),
        reservations=(LONG,),
        compiled=CROSSED,
    )
    lost = Choice(backend=None, failure=FAILURES[1])
    choices = dict.fromkeys((each.target_id for each in ended), choice)
    choices |= dict.fromkeys((each.target_id for each in ended[::3]), lost)
    targets = map(factories.target, choices)
    console = Console(file=io.StringIO(), width=width)
    progress = PlainProgress(console=console, total=len(ended))
    for each in ended:
        progress.started(each.target_id)
        progress.step(each.target_id, "build")
    progress.beat()
    progress.restored(ended[:4])
    for each in ended[4:]:
        progress.resting(each, 4.0)
        progress.ended(each)
    assert isinstance(console.file, io.StringIO)
    said = {
        "before": list(summary.choice_lines(choices, targets, width=width)),
        "during": console.file.getvalue().splitlines(),
        "table": lines(summary.results_table(ended, width=width), width),
        "untested": lines(summary.untested(ended, width=width), width),
        "problems": lines(summary.problems(ended, width=width, again=AGAIN), width),
    }

    for kind, found in said.items():
        assert found, kind
        assert max(map(len, found)) <= width, kind
        assert "…" not in "".join(found), kind
    if width >= 80:
        for each in ended:
            assert any(each.target_id in line for line in said["during"]), each.target_id


def test_the_table_says_how_each_target_was_built() -> None:
    info = factories.CONTAINER
    zig = CompilePlan(compiler=CompilerKind.ZIG)
    by_zig = factories.request(factories.target(compiling=zig))
    full, fast, cross = (
        CompileReport(emulation=mode, compiler="c")
        for mode in (EmulationMode.FULL, EmulationMode.ACCELERATED, EmulationMode.CROSS)
    )
    own = factories.result("t", wheel=factories.WHEEL)
    made = {
        "host": own,
        "host, zig": replace(own, request=by_zig),
        "podman": replace(own, container=info),
        "QEMU": replace(own, container=info, compiled=full),
        "QEMU, gcc": replace(own, container=info, compiled=fast),
        "cross, gcc": replace(own, compiled=cross),
        "cross, zig": replace(own, compiled=cross, request=by_zig),
        "store": replace(own, cached=True, container=info, compiled=full),
    }

    assert [summary.built_how(each) for each in made.values()] == list(made)
    assert lines(summary.results_table([own], width=80), 80) == [
        "target  how   time  tag    size",
        "t       host  0:01  linux  5 B",
    ]


def test_of_much_that_the_store_had_nothing_is_listed() -> None:
    stored = [
        factories.result(f"t{number}", wheel=factories.WHEEL, cached=True) for number in range(854)
    ]
    built = factories.result("built", wheel=factories.WHEEL)

    assert lines(summary.results_table(stored, width=80), 80) in ([], [""])
    assert len(lines(summary.results_table([*stored, built], width=80), 80)) == 2
    assert len(lines(summary.results_table(stored[:5], width=80), 80)) == 6
