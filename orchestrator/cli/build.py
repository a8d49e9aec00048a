"""``orchestrator build``."""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from orchestrator.cli.options import (
    WORK_DIR,
    channel_option,
    matrix_option,
    report_options,
    select_options,
)
from orchestrator.cli.report import ReportPaths
from orchestrator.errors import ConfigError, ExitCode
from orchestrator.models.target import BackendName

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from orchestrator.builders.base import StoppedBuild
    from orchestrator.cli.workspace import Workspace
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Plan, TargetId
    from orchestrator.report.results import ResultsWriter
    from orchestrator.run.inputs import Options
    from orchestrator.run.reproduce import RebuildReport, RebuildRequest


def build_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options ``build`` and ``rebuild`` share."""
    options = (
        click.option(
            "--backend",
            type=click.Choice(["auto", *(each.value for each in BackendName)]),
            default="auto",
            show_default=True,
            help="auto: cibuildwheel where an engine and the image work, else direct.",
        ),
        click.option(
            "--output-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where wheels and results.json go.  [default: dist beside the matrix file]",
        ),
        click.option(
            "--work-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help=f"Logs, rejected wheels, builds.  [default: {WORK_DIR} beside the matrix file]",
        ),
        click.option(
            "--read-only-store",
            is_flag=True,
            help="Read the shared store, and write nothing there.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Tell only what fails."),
    )
    function = report_options(function)
    for option in reversed(options):
        function = option(function)
    return function


class RebuildHooks(Protocol):
    """What `rebuild` adds to a run; see `orchestrator.cli.rebuild`."""

    @property
    def again(self) -> RebuildRequest:
        """What is compared with what."""

    @property
    def stopped(self) -> Callable[[StoppedBuild, Cancel], object] | None:
        """Told where the build failed; None where nobody wants to look."""

    @property
    def hushed(self) -> Callable[[], bool] | None:
        """Whether somebody types in the terminal just now; None where nobody ever will."""

    def compared(self, rebuilt: RebuildReport) -> None:
        """Take how the wheel compares with the one before."""

    def conclude(self, console: Console, document: Mapping[str, Any]) -> None:
        """Say at the end how it compares, given what results.json has of this run."""


@click.command("build")
@matrix_option
@channel_option
@select_options
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="Targets at once.  [default: what CPUs and memory allow]",
)
@build_options
@click.option(
    "--no-cache",
    is_flag=True,
    help="Build everything; what is built replaces what the store has.",
)
@click.option(
    "--fail-fast/--keep-going",
    default=False,
    help="Stop at the first failure, or build the rest.  [default: keep going]",
)
@click.option(
    "--plan",
    "planned",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="A plan of `plan --save`; build one --job of it, if this is the same source and matrix.",
)
@click.option("--job", metavar="ID", help="The job of --plan.")
@click.option(
    "--stop-after",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Stop what is not finished so many minutes after the start, before a CI system does.",
)
def command(  # noqa: PLR0913 - the options of the command line
    matrix: Path,
    channel: str,
    select: Sequence[str],
    part: str | None,
    *,
    planned: Path | None,
    job: str | None,
    stop_after: float | None,
    **options: Any,
) -> int:
    """Build the whole matrix, or a part of it."""
    # Here and not later: planning may take a while, and pull images.
    deadline = None if stop_after is None else time.monotonic() + 60 * stop_after
    from orchestrator.cli.workspace import open_workspace, selected_to_build

    if planned is not None and job is not None:
        from orchestrator.cli.planned import selected_by_plan

        _refuse_beside_plan(channel=channel, select=select, shard=part)
        workspace, plan = selected_by_plan(
            matrix, planned, job, ours=(options["output_dir"], options["work_dir"])
        )
    elif planned is not None or job is not None:
        raise ConfigError.of("--plan and --job belong together", where="--plan")
    else:
        workspace, plan = selected_to_build(open_workspace(matrix, channel), select, part)
    return run_build(workspace, plan, deadline=deadline, **options)


def _refuse_beside_plan(**options: object) -> None:
    for name, value in options.items():
        if value:
            what = "--plan says already which targets, of which channel"
            raise ConfigError.of(what, where=f"--{name}", hint="leave it out")


def run_build(  # noqa: PLR0913 - the options of the command line
    workspace: Workspace,
    plan: Plan,
    *,
    jobs: int | None,
    backend: str,
    output_dir: Path | None,
    work_dir: Path | None,
    fail_fast: bool,
    no_cache: bool,
    read_only_store: bool,
    quiet: bool,
    deadline: float | None = None,
    once_more: RebuildHooks | None = None,
    **reports: Path | None,
) -> int:
    """Build a plan, show how it goes and how it ended, and return the exit code."""
    from orchestrator.cli.workspace import stderr, stop_as_ctrl_c_does
    from orchestrator.run.inputs import Options

    wanted = ReportPaths(**reports)
    wanted.check()
    console = stderr()
    stop_as_ctrl_c_does()
    output = (output_dir or workspace.root / "dist").absolute()
    options = Options(
        jobs=jobs,
        backend=None if backend == "auto" else BackendName(backend),
        fail_fast=fail_fast,
        output=output,
        work=(work_dir or workspace.root / WORK_DIR).absolute(),
        cache=not no_cache,
        read_only=read_only_store,
        seconds=earlier_seconds(output),
        again=None if once_more is None else once_more.again,
        deadline=deadline,
    )
    _preflight(console, options)
    return _run(workspace, plan, options, wanted, console, quiet=quiet, once_more=once_more)


def _run(  # noqa: PLR0913 - the parts of one run
    workspace: Workspace,
    plan: Plan,
    options: Options,
    wanted: ReportPaths,
    console: Console,
    *,
    quiet: bool,
    once_more: RebuildHooks | None,
) -> int:
    from orchestrator.cli.build_output import BuildOutput
    from orchestrator.report import summary
    from orchestrator.report.listener import TargetListener
    from orchestrator.report.results import ResultsWriter
    from orchestrator.run.inputs import RunObservers, open_host
    from orchestrator.run.session import Session

    output = BuildOutput(console=console, quiet=quiet)
    host = open_host(os.environ, output.say)
    recorder = ResultsWriter(
        plan.targets, _this_run(plan, options.jobs), output=options.output, work=options.work
    )
    try:
        hushed = None if once_more is None else once_more.hushed
        with recorder, output.progress(plan, options.seconds, hushed) as progress:
            listener = TargetListener(progress, recorder)
            observers = RunObservers(
                listener=listener,
                say=output.say,
                announce=output.announce,
                restored=listener.restored,
                stopped=None if once_more is None else once_more.stopped,
                compared=None if once_more is None else once_more.compared,
            )
            results = Session(workspace.inputs(plan), options, observers, host).run()
        wheels = sum(each.library is None for each in plan.targets)
        output.conclude(results, options.output, wheels)
        if once_more is not None:
            once_more.conclude(console, recorder.document)
    finally:
        # Also of a run that ended with an exception: what it has is worth a report.
        complete = _write_reports(console, recorder, wanted)
    code = summary.exit_code(results, fail_fast=options.fail_fast)
    return code if code or complete else ExitCode.ENVIRONMENT


def _this_run(plan: Plan, jobs: int | None) -> dict[str, Any]:
    """Describe this run as results.json has it."""
    from orchestrator import __version__
    from orchestrator.report.schemas import RunFacts, to_json_value

    began = time.time()
    run = RunFacts(
        id=f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(began))}-{secrets.token_hex(4)}",
        began=began,
        channel=plan.channel,
        jobs=jobs,
        cpus=len(os.sched_getaffinity(0)),
        orchestrator=__version__,
    )
    document: dict[str, Any] = to_json_value(run)
    return document


def _write_reports(console: Console, recorder: ResultsWriter, wanted: ReportPaths) -> bool:
    """Write the reports that are wanted; say what cannot be written, and whether all could."""
    from orchestrator.errors import Problem
    from orchestrator.report.results import NAME

    problems = []
    if recorder.problem is not None:
        what = f"{NAME} cannot be written: {recorder.problem.strerror or recorder.problem}"
        hint = "free some space; the same command goes on where this one was"
        where = recorder.problem.filename or NAME
        problems.append(Problem(what=what, where=str(where), hint=hint))
    document = recorder.document
    if document["results"] and not wanted.nothing:
        problems += wanted.write(document)
    for each in problems:
        console.print(f"error: {each}", style="bold red", markup=False, highlight=False)
    return not problems


def _preflight(console: Console, options: Options) -> None:
    """Fail before the first minute is spent on a machine that cannot end a build."""
    from orchestrator.doctor import examine
    from orchestrator.provision.cache_dir import default_cache_dir

    cache = default_cache_dir(os.environ)
    places = examine.RunPaths(work=options.work, output=options.output, cache=cache)
    for each in examine.preflight(places=places, environ=os.environ, jobs=options.jobs or 1):
        said = f"{each.name}: {each.detail}: {each.fix}"
        console.print(said, style="yellow", markup=False, highlight=False)


def earlier_seconds(output: Path) -> dict[TargetId, float]:
    """Return how long targets took in earlier runs, as ``results.json`` says."""
    from orchestrator.models.result import Status
    from orchestrator.models.target import TargetId
    from orchestrator.report.results import NAME
    from orchestrator.report.schemas import SCHEMA

    try:
        found = json.loads((output / NAME).read_text(encoding="utf-8"))
        if found["schema"] != SCHEMA:
            return {}
        return {
            TargetId(each["id"]): float(each["duration"])
            for each in found["results"]
            # What came from the store took no time, and what failed may have stopped early.
            if each["status"] == Status.OK and not each.get("cached")
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # missing, or not ours: it only helps to order
