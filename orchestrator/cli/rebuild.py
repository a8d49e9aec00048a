"""``orchestrator rebuild``."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.build import RunHooks, run_build
from orchestrator.cli.help import examples
from orchestrator.cli.options import build_options, target_options
from orchestrator.cli.output import say
from orchestrator.errors import ConfigError, Problem
from orchestrator.host.redaction import masked
from orchestrator.models.target import BackendName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.builders.base import StoppedBuild
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Plan, TargetId
    from orchestrator.report.from_results import Recorded
    from orchestrator.report.schemas import Request, Result
    from orchestrator.run.reproduce import RebuildReport, RebuildRequest


@click.command(
    "rebuild",
    epilog=examples(
        "rebuild cp312-manylinux_x86_64-cu130",
        "rebuild cp312-manylinux_x86_64-cu130 --from results.json",
        "rebuild cp312-manylinux_x86_64-cu130 --shell",
    ),
)
@target_options
@click.option(
    "--from",
    "origin",
    type=click.Path(path_type=Path),
    metavar="RESULTS",
    help="Build what this results.json, or the one in this directory, says was built.",
)
@click.option(
    "--trust-commands",
    is_flag=True,
    help="Let this host run what --from says and the matrix does not, and show it secrets.",
)
@click.option(
    "--shell", is_flag=True, help="If the build fails, open a shell there before it is removed."
)
@build_options
def command(
    target: str,
    matrix: Path | None,
    channel: str,
    origin: Path | None,
    *,
    trust_commands: bool,
    shell: bool,
    output_dir: Path | None,
    backend: str,
    **options: Any,
) -> int:
    """Build one TARGET, with the libraries it needs, even if the store has it.

    Prints at the end whether the wheel is identical to the previous one, or what differs.
    """
    from orchestrator.cli.workspace import find_target, open_workspace
    from orchestrator.report.from_results import Recorded, backend_of

    if shell:
        _check_terminal()
    # First, so that a wrong file is an error before an image is pulled for the plan.
    recorded = None if origin is None else Recorded.read(origin)
    workspace = open_workspace(matrix, channel, fetch=True)
    workspace, plan = find_target(workspace, target, pull=True)
    output = output_dir or workspace.root / "dist"
    target_id, before = plan.targets[-1].id, None
    if recorded is None:
        again = _as_before(target_id, output)
    else:
        plan, again = _as_recorded(plan, recorded, trusted=trust_commands)
        before = recorded.results[target_id]
        built_by = backend_of(before)
        if backend == "auto" and built_by is BackendName.CIBUILDWHEEL:
            backend = built_by
        elif backend == "auto" and built_by is BackendName.DIRECT:
            say("note: that run built it without a container; --backend direct does so here")
    return run_build(
        workspace,
        plan,
        jobs=1,
        fail_fast=False,
        no_cache=True,
        hooks=_hooks(again, before, shell=_Shell() if shell else None),
        output_dir=output,
        backend=backend,
        **options,
    )


def _hooks(again: RebuildRequest, before: Result | None, *, shell: _Shell | None) -> RunHooks:
    reports: list[RebuildReport] = []

    def conclude(document: Mapping[str, Any]) -> None:
        for now in document["results"]:
            if now["id"] == again.target_id:
                if shell is not None and now["failure"] is not None and not shell.was_open:
                    say("no shell: there was nothing to open one in (docs/howto/rebuild.md)")
                for report in reports:
                    _print_comparison(report, before, now)

    return RunHooks(
        again=again,
        stopped=None if shell is None else shell.open,
        hushed=None if shell is None else shell.is_open.is_set,
        compared=reports.append,
        conclude=conclude,
    )


def _check_terminal() -> None:
    from orchestrator.host import process

    problem = process.terminal_problem()
    if problem:
        raise ConfigError.of(
            f"a shell needs a terminal: {problem}",
            where="--shell",
            hint="leave --shell out; the log says why a build failed",
        )


def _as_before(target_id: TargetId, output: Path) -> RebuildRequest:
    """Compare with the wheel in the output directory, or else with that in the store."""
    from orchestrator.report.from_results import Recorded
    from orchestrator.report.results import NAME
    from orchestrator.run.reproduce import RebuildRequest

    try:
        claim = Recorded.read(output / NAME).wheel(target_id)
    except ConfigError:  # there is none yet, or not one of ours: it is only compared with
        claim = None
    return RebuildRequest(target_id=target_id, claim=claim)


def _as_recorded(plan: Plan, recorded: Recorded, *, trusted: bool) -> tuple[Plan, RebuildRequest]:
    """Return the plan as a results.json has it; print what is taken from it and what is not."""
    from orchestrator.cli.output import print_text, stderr
    from orchestrator.host.network import HostNetwork
    from orchestrator.run.reproduce import RebuildRequest

    target_id, where = plan.targets[-1].id, recorded.file
    request = recorded.request(target_id)
    env = HostNetwork.detect(os.environ).container_client_env()
    secrets = [name for name, value in env.items() if masked(value) != value]
    found = recorded.take(plan.targets, secrets=secrets)
    console = stderr()
    for line in found.taken:
        print_text(console, f"from {where}: {line}", "dim")
    for line in (*found.notes, *_other_tools(request)):
        print_text(console, f"warning: {line}", "yellow")
    again = RebuildRequest(
        target_id=target_id,
        claim=recorded.wheel(target_id),
        strict=True,
        digest=request.source.digest,
        epoch=request.source.epoch,
        foreign={} if trusted else found.foreign,
    )
    exposed = [(target_id, what) for target_id, whats in found.exposed.items() for what in whats]
    if exposed and not trusted:
        hint = "read the file, then say --trust-commands"
        raise ConfigError(*(Problem(what=what, where=each, hint=hint) for each, what in exposed))
    return replace(plan, targets=found.targets), again


def _other_tools(request: Request) -> Iterator[str]:
    """Yield the tools that are not those of the other run: identical bytes cannot be promised."""
    from orchestrator.provision import toolchain
    from orchestrator.run.cache_key import builder

    for what, theirs, ours in (
        ("orchestrator", request.builder, builder()),
        ("the toolchain", request.toolchain, toolchain.lock_digest()),
    ):
        if theirs != ours:
            yield f"{what} differs: recorded {theirs}, current {ours}"


@dataclass(slots=True, kw_only=True)
class _Shell:
    """Gives the terminal to a shell where the build failed."""

    was_open: bool = False
    is_open: threading.Event = field(default_factory=threading.Event)

    def open(self, stop: StoppedBuild, cancel: Cancel) -> None:
        from orchestrator.host import process

        self.was_open = True
        self.is_open.set()
        try:
            step = f"step {stop.failure.step!r} failed" if stop.failure.step else "the build failed"
            say(f"\n{step}: {stop.failure.message}")
            if stop.again:
                say(f"  again:  {masked(stop.again)}", fold=False)
            say(f"  where:  {stop.place}")
            say("  exit the shell to continue; then all of this is removed\n")
            process.interactive(stop.argv, env=stop.env, cwd=stop.cwd, cancel=cancel)
        finally:
            self.is_open.clear()


def _print_comparison(report: RebuildReport, before: Result | None, now: Mapping[str, Any]) -> None:
    """Say how the wheel compares with the previous one; `before` is None without ``--from``."""
    from orchestrator.cli.verify import difference_lines
    from orchestrator.report import from_results

    sha256, earlier = report.wheel.sha256, report.earlier
    if earlier is not None and report.differences == ():
        say(f"byte-identical to the previous wheel (sha256 {sha256}), as in {earlier.claim.origin}")
        return
    if earlier is not None:
        recorded = earlier.claim.facts.sha256
        say(f"differs from the previous wheel, as in {earlier.claim.origin}:")
        say(f"  sha256: {recorded} -> {sha256}", fold=False)
        if report.differences is None:
            say("  the previous wheel is gone, so it cannot be compared")
        for line in difference_lines(report.differences or ()):
            say(f"  {line}", fold=False)
    if before is None:
        return
    if earlier is None:
        say("nothing to compare with: that run made no wheel of this target")
    changes = from_results.differing(before, now)
    for change in changes:
        say(f"  {change.what}: {change.before} -> {change.now}", fold=False)
    if not changes:
        say("  nothing that results.json records differs: the build itself varies")
