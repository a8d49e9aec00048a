"""``orchestrator build``."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import completion
from orchestrator.cli.help import examples
from orchestrator.cli.options import FILE, build_options, plan_options
from orchestrator.cli.output import MATRIX, STDOUT, WORK_DIR, print_text, stderr
from orchestrator.cli.report import check_reports, write_reports
from orchestrator.errors import ConfigError, ExitCode, Problem
from orchestrator.models.target import BackendName, TargetId
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.builders.base import StoppedBuild
    from orchestrator.cli.workspace import Workspace
    from orchestrator.host.process import Cancel
    from orchestrator.models.result import BuildResult, SdistFacts
    from orchestrator.models.target import Plan
    from orchestrator.provision.host import Host
    from orchestrator.report.progress import LiveProgress, PlainProgress
    from orchestrator.report.results import ResultsWriter
    from orchestrator.run.inputs import Inputs, Options, RunObservers
    from orchestrator.run.reproduce import RebuildReport, RebuildRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHooks:
    """What `rebuild` adds to a run; nothing by default.

    Attributes:
        again: what is compared with what.
        stopped: told where the build failed.
        hushed: whether somebody types in the terminal just now.
        compared: takes how the wheel compares with the previous one.
        conclude: says at the end how it compares, given what results.json has of this run.
    """

    again: RebuildRequest | None = None
    stopped: Callable[[StoppedBuild, Cancel], object] | None = None
    hushed: Callable[[], bool] | None = None
    compared: Callable[[RebuildReport], object] | None = None
    conclude: Callable[[Mapping[str, Any]], object] = lambda _document: None


@click.command(
    "build",
    epilog=examples(
        "build",
        "build --select 'cp312-*' -j 2 --html report.html",
        "build --backend direct --fail-fast",
        "build --plan plan.json --job 07",
    ),
)
@plan_options
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    help="Targets at a time.  [default: what CPUs and memory allow]",
)
@build_options
@click.option(
    "--no-cache", is_flag=True, help="Build every target; the results replace those in the store."
)
@click.option(
    "--fail-fast/--keep-going",
    default=False,
    help="Stop at the first failure, or build the rest.  [default: keep going]",
)
@click.option(
    "--allow-unavailable",
    is_flag=True,
    help="Exit with 0 if all that is missing are targets that this machine cannot build.",
)
@click.option(
    "--plan",
    "planned",
    type=FILE,
    metavar="FILE",
    help="Build one --job of a plan that `plan --save` wrote; source and matrix must be the same.",
)
@click.option("--job", metavar="ID", shell_complete=completion.jobs, help="Job of --plan.")
@click.option(
    "--stop-after",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Stop unfinished targets after MINUTES, before the CI system stops the job.",
)
def command(
    matrix: Path | None,
    channel: str,
    select: Sequence[str],
    part: str | None,
    *,
    planned: Path | None,
    job: str | None,
    stop_after: float | None,
    **options: Any,
) -> int:
    """Build all targets of the matrix, or a part of them."""
    # Here and not later: planning may take a while, and pull images.
    deadline = None if stop_after is None else time.monotonic() + 60 * stop_after
    from orchestrator.cli.workspace import open_workspace, print_notes, select_with_versions

    sdist = not select and (part is None or part.startswith("1/"))
    if planned is not None and job is not None:
        _refuse_with_plan(channel=channel, select=select, shard=part)
        own = (options["output_dir"], options["work_dir"])
        workspace, plan, sdist = _select_by_plan(matrix, planned, job, written=own)
    elif planned is not None or job is not None:
        raise ConfigError.of("--plan and --job belong together", where="--plan")
    else:
        workspace = open_workspace(matrix, channel, fetch=True)
        workspace, plan = select_with_versions(workspace, select, part, pull=True)
        if not options["quiet"]:  # of --plan, they were printed where it was made
            print_notes(plan)
    sdist = sdist and bool(workspace.sdist)
    return run_build(workspace, plan, deadline=deadline, sdist=sdist, **options)


def _select_by_plan(
    matrix: Path | None, path: Path, job_id: str, *, written: Iterable[Path | None]
) -> tuple[Workspace, Plan, bool]:
    """Return the targets of one job of a plan that another machine made, if they are the same here.

    Also whether the job makes the sdist.
    The plan and the directories that this run writes to may lie inside the source.
    """
    from orchestrator.ci.artefact import differences, job_of
    from orchestrator.cli.workspace import (
        only,
        open_workspace,
        read,
        require_versions,
        resolve_versions,
    )
    from orchestrator.report.schemas import read_plan

    where = str(path)
    data = read(path, hint="`orchestrator plan --save FILE` writes one")
    document = read_plan(data, where=where)
    job = job_of(document, job_id, where=where)
    workspace = open_workspace(matrix, document.channel, fetch=True)
    beside = (path, *workspace.written, *filter(None, written))
    workspace = replace(workspace, beside=tuple(each.absolute() for each in beside))
    unknown = sorted({*job.targets} - {*workspace.plan.ids})
    if unknown:
        whats = (
            f"{target_id} is in the plan, but not in {workspace.named}" for target_id in unknown
        )
        raise ConfigError(*(Problem(what=what, where=where) for what in whats))
    workspace = resolve_versions(workspace, list(map(TargetId, job.targets)), pull=True)
    plan = only(workspace.plan, (t for t in workspace.plan.everything if t.id in job.targets))
    require_versions(workspace, plan.undetermined)
    problems = differences(document, workspace.requests(plan), where=where)
    if problems:
        raise ConfigError(*problems)
    return workspace, plan, job.sdist


def _refuse_with_plan(**options: object) -> None:
    for name, value in options.items():
        if value:
            what = "--plan already says which targets to build, and of which channel"
            raise ConfigError.of(what, where=f"--{name}", hint="leave it out")


def run_build(
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
    locked: bool = False,
    allow_unavailable: bool = False,
    deadline: float | None = None,
    sdist: bool = False,
    hooks: RunHooks = RunHooks(),
    **reports: Path | None,
) -> int:
    """Build a plan, show how it goes and how it ended, and return the exit code."""
    from orchestrator.host.inherited import stop_as_ctrl_c_does
    from orchestrator.report.results import earlier_seconds
    from orchestrator.run.inputs import Options

    stop_as_ctrl_c_does()
    own = (path.absolute() for path in reports.values() if path is not None and path != STDOUT)
    workspace = replace(workspace, beside=(*workspace.beside, *own))
    output = (output_dir or workspace.root / "dist").absolute()
    check_reports(reports)
    lock = workspace.lock_for(plan) if locked else None
    options = Options(
        jobs=jobs,
        backend=None if backend == "auto" else BackendName(backend),
        fail_fast=fail_fast,
        allow_unavailable=allow_unavailable or workspace.settings.run.allow_unavailable,
        output=output,
        work=(work_dir or workspace.root / WORK_DIR).absolute(),
        cache=not no_cache,
        read_only=read_only_store,
        seconds=earlier_seconds(output),
        again=hooks.again,
        deadline=deadline,
    )
    console = stderr()
    _preflight(console, options)
    given = {"quiet": quiet, "sdist": sdist}
    inputs = replace(workspace.inputs(plan), lock=lock)
    return _run(workspace, plan, inputs, options, reports, console, hooks=hooks, **given)


def _run(
    workspace: Workspace,
    plan: Plan,
    inputs: Inputs,
    options: Options,
    reports: Mapping[str, Path | None],
    console: Console,
    *,
    quiet: bool,
    sdist: bool,
    hooks: RunHooks,
) -> int:
    from orchestrator.models.result import Status
    from orchestrator.report import summary
    from orchestrator.report.results import ResultsWriter, describe_run
    from orchestrator.report.summary import sdist_lines
    from orchestrator.run.inputs import open_host
    from orchestrator.run.session import run_session

    recorder = ResultsWriter(
        plan.targets,
        describe_run(plan.channel, options.jobs),
        output=options.output,
        work=options.work,
    )
    progress = _progress(console, plan, options.seconds, recorder, quiet=quiet, hooks=hooks)
    observers = _observers(console, plan, progress, quiet=quiet, hooks=hooks)
    host = open_host(os.environ, observers.say)
    try:
        with recorder, progress:
            results = run_session(inputs, options, observers, host)
        whole = not any(e.status is Status.CANCELLED for e in results)
        made = _sdist(inputs, options, observers, host, results) if sdist and whole else None
        if made is not None:
            recorder.made_sdist(made)
        _print_end(console, results, plan, options.output, again=_shell(workspace), quiet=quiet)
        for line in () if made is None or (quiet and made.failure is None) else sdist_lines(made):
            print_text(console, line)
        hooks.conclude(recorder.document)
    finally:
        # Also of a run that ended with an exception: its results are worth a report.
        complete = _write_reports(console, recorder, reports, options.output, quiet=quiet)
    code = summary.exit_code(
        results, fail_fast=options.fail_fast, allow_unavailable=options.allow_unavailable
    )
    if not code and made is not None and made.failure is not None:
        return ExitCode.TARGET_FAILED
    return code if code or complete else ExitCode.ENVIRONMENT


def _observers(
    console: Console,
    plan: Plan,
    progress: PlainProgress | LiveProgress,
    *,
    quiet: bool,
    hooks: RunHooks,
) -> RunObservers:
    """Return who is told of a run, and what is printed of it."""
    from orchestrator.report.summary import choice_lines
    from orchestrator.run.inputs import RunObservers

    def say(what: str) -> None:
        if not quiet:
            print_text(console, what, "dim")

    def announce(choices: Mapping[TargetId, Choice]) -> None:
        for line in () if quiet else choice_lines(choices, plan.targets, width=console.width):
            console.print(line)

    return RunObservers(
        listener=progress,
        say=say,
        announce=announce,
        restored=progress.restored,
        stopped=hooks.stopped,
        compared=hooks.compared,
    )


def _sdist(
    inputs: Inputs,
    options: Options,
    observers: RunObservers,
    host: Host,
    results: Sequence[BuildResult],
) -> SdistFacts:
    from orchestrator.run.make_sdist import SdistMaker

    maker = SdistMaker(
        inputs=inputs, options=options, observers=observers, host=host, results=results
    )
    return maker.make()


def _progress(
    console: Console,
    plan: Plan,
    seconds: Mapping[TargetId, float],
    recorder: ResultsWriter,
    *,
    quiet: bool,
    hooks: RunHooks,
) -> PlainProgress | LiveProgress:
    """Return what shows the progress of targets: a live table, or lines."""
    from orchestrator.ci.commands import in_actions
    from orchestrator.report.progress import LiveProgress, PlainProgress

    targets = {target.id: target for target in plan.targets}
    expected: Mapping[TargetId, float] = {}
    if any(target_id in seconds for target_id in targets):
        from orchestrator.run.dispatch import estimates

        expected = estimates(targets, seconds)
    what: dict[str, Any] = {
        "console": console,
        "total": len(targets),
        "expected": expected,
        "record": recorder.ended,
    }
    if hooks.hushed is not None:  # a live table would write over what is typed
        return PlainProgress(**what, quiet=quiet, hushed=hooks.hushed)
    if console.is_terminal and not console.is_dumb_terminal and not quiet:
        return LiveProgress(**what)
    return PlainProgress(**what, grouped=in_actions(os.environ), quiet=quiet)


def _shell(workspace: Workspace) -> Sequence[str]:
    """Return the command that opens a shell where a target fails, with ``{}`` for the target."""
    from orchestrator.report.layout import near

    words = ["orchestrator", "rebuild", "{}", "--shell"]
    matrix = near(workspace.matrix)
    words += [] if matrix == str(MATRIX) else ["--matrix", matrix]
    return words + (["--channel", workspace.plan.channel] if workspace.plan.channel else [])


def _print_end(
    console: Console,
    results: Sequence[BuildResult],
    plan: Plan,
    output: Path,
    *,
    again: Sequence[str],
    quiet: bool,
) -> None:
    """Show how a run ended: every wheel, every problem with what mends it, and where it all is."""
    from orchestrator.report import summary
    from orchestrator.report.layout import near

    width = console.width
    if not quiet:
        console.print()
        console.print(summary.results_table(results, width=width))
        console.print(summary.untested(results, width=width))
    console.print(summary.problems(results, width=width, again=again))
    wheels = sum(target.library is None for target in plan.targets)
    good = sum(result.wheel is not None for result in results)
    have = "has its" if 1 in {good, wheels} else "have their"
    end = f"{good} of {count_of(wheels, 'target')} {have} wheel in {near(output)}"
    print_text(console, end)


def _write_reports(
    console: Console,
    recorder: ResultsWriter,
    reports: Mapping[str, Path | None],
    output: Path,
    *,
    quiet: bool,
) -> bool:
    """Write the reports that the user wants, say where or why not, and return success."""
    from orchestrator.report.layout import command, near, wrapped
    from orchestrator.report.results import NAME

    problems = []
    if recorder.problem is not None:
        what = f"{NAME} cannot be written: {recorder.problem.strerror or recorder.problem}"
        hint = "free some space, then run the same command again: finished targets are in the store"
        where = recorder.problem.filename or NAME
        problems.append(Problem(what=what, where=str(where), hint=hint))
    document = recorder.document
    if document["results"]:
        problems += write_reports(reports, document)
    for problem in problems:
        print_text(console, f"error: {problem}", "bold red")
    written = [path for path in reports.values() if path is not None and path != STDOUT]
    width, first = console.width, "report: "
    lines = [line for each in written for line in wrapped(near(each), width, first=first)]
    if not written:
        words = ("orchestrator", "report", near(output), "--html", "report.html")
        lines = list(command(words, width, first=first))
    for line in lines if document["results"] and not quiet else ():
        console.print(line)
    return not problems


def _preflight(console: Console, options: Options) -> None:
    """Fail before the first minute is spent on a machine that cannot end a build."""
    from orchestrator.doctor import machine
    from orchestrator.provision.cache_dir import default_cache_dir

    cache = default_cache_dir(os.environ)
    places = machine.RunPaths(work=options.work, output=options.output, cache=cache)
    for check in machine.preflight(places=places, environ=os.environ, jobs=options.jobs or 1):
        print_text(console, f"{check.name}: {check.detail}: {check.fix}", "yellow")
