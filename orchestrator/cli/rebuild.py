"""``orchestrator rebuild``."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.build import build_options, run_build
from orchestrator.cli.options import channel_option, matrix_option, target_argument
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from orchestrator.builders.base import StoppedBuild
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import BackendName, Plan, Target, TargetId
    from orchestrator.report.schemas import Request, Result
    from orchestrator.run.reproduce import (
        PreviousWheel,
        RebuildReport,
        RebuildRequest,
        RecordedWheel,
    )


@click.command("rebuild")
@target_argument
@matrix_option
@channel_option
@click.option(
    "--from",
    "origin",
    type=click.Path(path_type=Path),
    metavar="RESULTS",
    help="Build what this results.json, or the one in this directory, says was built.",
)
@click.option(
    "--shell", is_flag=True, help="Open a shell where the build failed, before it is removed."
)
@build_options
def command(  # noqa: PLR0913 - one for each option
    target: str,
    matrix: Path,
    channel: str,
    origin: Path | None,
    *,
    shell: bool,
    output_dir: Path | None,
    backend: str,
    **options: Any,
) -> int:
    """Build one TARGET, with the libraries it needs, whatever the store has.

    Says in the end whether the wheel is the same as before, byte for byte, or what differs.
    """
    from orchestrator.cli.workspace import find_target, open_workspace

    if shell:
        _check_terminal()
    # First, so that a wrong file is an error before an image is pulled for the plan.
    there = None if origin is None else _read(origin)
    workspace, plan = find_target(open_workspace(matrix, channel), target, pull=True)
    output = output_dir or workspace.root / "dist"
    if there is None:
        again = _as_before(plan.targets[-1].id, output)
        before = None
    else:
        plan, again, before = _as_recorded(plan, there)
        if backend == "auto":
            backend = _backend(before) or backend
    once_more = _OnceMore(again=again, before=before, wants_shell=shell)
    return run_build(
        workspace,
        plan,
        jobs=1,
        fail_fast=False,
        no_cache=True,
        once_more=once_more,
        output_dir=output,
        backend=backend,
        **options,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _There:
    """A results.json of another run."""

    file: Path
    results: Mapping[TargetId, Result]


def _read(origin: Path) -> _There:
    from orchestrator.report import from_results
    from orchestrator.report.results import NAME

    file = origin / NAME if origin.is_dir() else origin
    return _There(file=file, results=from_results.read(file))


def _as_before(target_id: TargetId, output: Path) -> RebuildRequest:
    """Compare with the wheel that is in the output directory, or else with that of the store."""
    from orchestrator.report import from_results
    from orchestrator.report.results import NAME
    from orchestrator.run.reproduce import RebuildRequest

    try:
        result = from_results.read(output / NAME).get(target_id)
    except ConfigError:  # there is none yet, or not one of ours: it is only compared with
        result = None
    claim = None if result is None else _claim(result, output / NAME)
    return RebuildRequest(target_id=target_id, claim=claim)


def _claim(result: Result, file: Path) -> RecordedWheel | None:
    from orchestrator.run.reproduce import RecordedWheel

    if result.wheel is None:
        return None
    return RecordedWheel(facts=result.wheel, origin=str(file), folder=file.absolute().parent)


def _as_recorded(plan: Plan, there: _There) -> tuple[Plan, RebuildRequest, Result]:
    """Return the plan as a results.json has it; say what is taken from it and what is not."""
    from orchestrator.cli.workspace import stderr
    from orchestrator.report import from_results
    from orchestrator.run.reproduce import RebuildRequest

    target: Target = plan.targets[-1]
    where = str(there.file)
    request = from_results.request_of(there.results, target.id, where=where)
    found = from_results.as_recorded(plan.targets, there.results, where=where)
    console = stderr()
    for line in found.taken:
        console.print(f"from {where}: {line}", style="dim", markup=False, highlight=False)
    for line in (*found.notes, *_other_tools(request)):
        console.print(f"warning: {line}", style="yellow", markup=False, highlight=False)
    result = there.results[target.id]
    again = RebuildRequest(
        target_id=target.id,
        claim=_claim(result, there.file),
        strict=True,
        digest=request.source.digest,
        epoch=request.source.epoch,
    )
    return replace(plan, targets=found.targets), again, result


def _other_tools(request: Request) -> list[str]:
    """Say where the tools are not those of the other run: the same bytes cannot be promised."""
    from orchestrator.provision import toolchain
    from orchestrator.run.cache_key import builder

    pairs = (
        ("orchestrator", request.builder, builder()),
        ("the toolchain", request.toolchain, toolchain.lock_digest()),
    )
    return [
        f"{what} differs: recorded {theirs}, current {ours}"
        for what, theirs, ours in pairs
        if theirs != ours
    ]


def _backend(before: Result) -> BackendName | None:
    from orchestrator.report import from_results

    return from_results.backend_of(before)


@dataclass(slots=True, kw_only=True)
class _OnceMore:
    """What `rebuild` adds to a run.

    Attributes:
        again: what is compared with what.
        before: what results.json says of the other run; None without ``--from``.
        wants_shell: whether a shell is opened where the build fails.
    """

    again: RebuildRequest
    before: Result | None
    wants_shell: bool
    _rebuilt: RebuildReport | None = None
    _opened: bool = False
    _is_open: threading.Event = field(default_factory=threading.Event)

    @property
    def stopped(self) -> Callable[[StoppedBuild, Cancel], object] | None:
        return self._open if self.wants_shell else None

    @property
    def hushed(self) -> Callable[[], bool] | None:
        return self._is_open.is_set if self.wants_shell else None

    def compared(self, rebuilt: RebuildReport) -> None:
        self._rebuilt = rebuilt

    def conclude(self, console: Console, document: Mapping[str, Any]) -> None:
        now = next((r for r in document["results"] if r["id"] == self.again.target_id), None)
        failed = now is not None and now["failure"] is not None
        if self.wants_shell and failed and not self._opened:
            _say(console, "no shell: there was nothing to open one in (docs/rebuild.md)")
        if self._rebuilt is None or now is None:
            return
        for line in _comparison(self._rebuilt):
            _say(console, line)
        earlier = self._rebuilt.earlier
        if earlier is None and self.again.strict:
            _say(console, "nothing to compare with: that run made no wheel of it")
        if self.before is not None and self._rebuilt.differences != ():
            self._explain(console, self.before, now)

    @staticmethod
    def _explain(console: Console, before: Result, now: Mapping[str, Any]) -> None:
        from orchestrator.report import from_results

        found = from_results.differing(before, now)
        for each in found:
            _say(console, f"  {each.what}: {each.before} -> {each.now}")
        if not found:
            _say(console, "  nothing that results.json records differs: the build itself varies")

    def _open(self, stop: StoppedBuild, cancel: Cancel) -> None:
        """Give the terminal to a shell until that ends."""
        from orchestrator.cli.workspace import stderr
        from orchestrator.host import process

        console = stderr()
        self._opened = True
        self._is_open.set()
        try:
            for line in _introduction(stop):
                _say(console, line)
            process.interactive(stop.argv, env=stop.env, cwd=stop.cwd, cancel=cancel)
        finally:
            self._is_open.clear()


def _introduction(stop: StoppedBuild) -> Sequence[str]:
    from orchestrator.host.redaction import masked

    step = f"step {stop.failure.step!r} failed" if stop.failure.step else "the build failed"
    again = (f"  again:  {masked(stop.again)}",) if stop.again else ()
    return (
        f"\n{step}: {stop.failure.message}",
        *again,
        f"  where:  {stop.place}",
        "  end the shell to go on; then all of this is removed\n",
    )


def _comparison(rebuilt: RebuildReport) -> Sequence[str]:
    """Say how a wheel compares with the one before."""
    from orchestrator.cli.verify import difference_lines

    earlier: PreviousWheel | None = rebuilt.earlier
    if earlier is None:
        return ()
    claim, wheel = earlier.claim, rebuilt.wheel
    if rebuilt.differences == ():
        return (
            f"byte-identical to the previous wheel (sha256 {wheel.sha256}), as in {claim.origin}",
        )
    first = (
        f"not the same as the previous wheel of {claim.origin}: "
        f"sha256 {claim.facts.sha256} there, {wheel.sha256} now"
    )
    if rebuilt.differences is None:
        return (first, "  the previous wheel itself is not here any more, so it is not known where")
    return (first, *(f"  {line}" for line in difference_lines(rebuilt.differences)))


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
