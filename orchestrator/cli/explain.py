"""``orchestrator explain``."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import WORK_DIR, channel_option, matrix_option, target_argument
from orchestrator.models.platforms import Arch
from orchestrator.models.target import BackendName, CompilerKind, EmulationMode
from orchestrator.plan.compilers import cuda

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from rich.table import Table

    from orchestrator.cli.workspace import Workspace
    from orchestrator.cross.toolchain_files import CrossBuild
    from orchestrator.models.target import BuildRequest, Plan, Target, VerifyPolicy
    from orchestrator.run.last_result import Comparison


@click.command("explain")
@target_argument
@matrix_option
@channel_option
@click.option(
    "--why-rebuild", "why", is_flag=True, help="Show which inputs changed since its last result."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
def command(target: str, matrix: Path, channel: str, *, why: bool, as_json: bool) -> None:
    """Show everything about one TARGET: environment, image, command, version, cache key."""
    from orchestrator.cli.workspace import find_target, open_workspace, stderr, stdout
    from orchestrator.run.planned import planned_requests

    if why and as_json:
        raise click.UsageError("--why-rebuild has no JSON")
    workspace, plan = find_target(open_workspace(matrix, channel), target, pull=False)
    if why:
        _why(workspace, plan)
        return
    requests = planned_requests(
        workspace.inputs(plan),
        skip=(workspace.root / "dist", workspace.root / WORK_DIR),
        environ=os.environ,
        say=stderr().print,
    )
    from orchestrator.config.lines import line_numbers, line_of

    lines = line_numbers(matrix.read_text(encoding="utf-8"))
    found = (*_rows(requests[-1]), *_shares(requests[-1].target, workspace))
    rows = [(*row, line_of(row[2], lines) if row[2] else None) for row in found]
    if as_json:
        click.echo(json.dumps(_document(target, rows), indent=2))
    else:
        stdout().print(_table(rows, matrix))


Row = tuple[str, str, str]
"""What, its value, and the dotted path or the words that say where it comes from."""


def _document(target: str, rows: Iterable[tuple[str, str, str, int | None]]) -> dict[str, Any]:
    """Return ``explain --json``; ``docs/explain.schema.json`` describes it."""
    from orchestrator.host.redaction import masked
    from orchestrator.report.schemas import ExplainDocument, Explained, to_json_value

    explained = tuple(
        Explained(
            what=what.strip(),
            level=(len(what) - len(what.lstrip())) // 2,
            value=masked(value),
            origin=origin,
            line=line,
        )
        for what, value, origin, line in rows
    )
    document: dict[str, Any] = to_json_value(ExplainDocument(id=target, rows=explained))
    return document


def _table(rows: Iterable[tuple[str, str, str, int | None]], matrix: Path) -> Table:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.ci.commands import in_actions
    from orchestrator.host.redaction import masked
    from orchestrator.report.text import no_commands

    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("what", "value", "origin"):
        table.add_column(column, overflow="fold")
    harmless = no_commands if in_actions(os.environ) else str
    for what, value, origin, line in rows:
        place = f"{matrix}:{line}: {origin}" if line else origin
        cells = (what, harmless(masked(value)), place)
        table.add_row(*map(Text, cells))  # "torch[extra]" is no markup
    return table


def _why(workspace: Workspace, plan: Plan) -> None:
    """Say what a build of the plan's last target would do, and why it would build it anew."""
    from rich.table import Table
    from rich.text import Text

    from orchestrator.cli.workspace import stderr, stdout
    from orchestrator.run.inputs import open_host
    from orchestrator.run.last_result import compare_with_last

    say, out = stderr().print, stdout()
    compared = compare_with_last(
        workspace.inputs(plan),
        (workspace.root / "dist", workspace.root / WORK_DIR),
        host=open_host(os.environ, say),
        warn=say,
    )
    out.print(_verdict(plan.targets[-1].id, compared), markup=False)
    if compared.changes:
        table = Table(box=None, pad_edge=False)
        for column in ("changed", "before", "now"):
            table.add_column(column, overflow="fold")
        for each in compared.changes:
            table.add_row(*map(Text, (each.what, each.before, each.now)))
        out.print(table)


def _verdict(target: str, compared: Comparison) -> str:
    """Say in one line what a build would do, and why."""
    does = "it would come from the store" if compared.stored else "it would be built"
    if compared.action is None:
        does = "only a build can say what it would be built with here (no such image, or Python)"
    if compared.last is None:
        return f"{target}: no earlier result of this matrix is known on this machine; {does}"
    if compared.record is None:
        return f"{target}: its last result has been removed from the store; {does}"
    if compared.changes:
        return f"{target}: {len(compared.changes)} inputs changed since its last result; {does}"
    return f"{target}: nothing changed since its last result; {does}"


def _rows(request: BuildRequest) -> Iterator[Row]:
    target = request.target
    origins = dict(target.origins)
    yield "target", target.id, ""
    yield from _cells(target)
    if target.library is None:
        yield "version", target.version, "version" + (" (release)" if target.release else "")
        yield "build tag", target.build_tag or "-", "version.build-tag"
        yield from _parts(target, origins)
    yield "source", f"{request.source.name or '?'} {request.source.digest}", "project.source"
    yield "image", target.image, origins["image"]
    if target.baseline:
        yield "baseline", f"{target.libc} {target.baseline}", "axes.libc"
    native = "emulated there" if target.emulated else "native there"
    yield "runner", ", ".join(target.runner), origins.get("runner", native)
    yield "backend", request.backend, "as planned; `build` says what this machine can do"
    yield from _compiling(target, origins)
    yield from _library(target) if target.library is not None else _steps(target, origins)
    for name in ("cpus", "memory", "memory-per-job"):
        amount = getattr(target.resources, name.replace("-", "_"))
        if amount is not None:
            yield name, str(amount), origins.get(f"resources.{name}", "")
    yield from _demands(target.demands, origins)
    if target.publish:
        yield "publish to", ", ".join(target.publish), origins.get("publish.to", "")
    yield "env SOURCE_DATE_EPOCH", str(request.source.epoch), "the source"
    for each in target.env:
        shell = " (shell)" if each.shell else ""
        yield f"env {each.name}{shell}", each.value, f"{each.origin}.{each.name}"
    if request.backend is BackendName.CIBUILDWHEEL:
        from orchestrator.builders import cibuildwheel

        yield "command", shlex.join(("python", *cibuildwheel.command(request, "OUTPUT"))), ""
        for name, value in sorted(cibuildwheel.options(request).items()):
            yield f"  {name}", value, "passed to cibuildwheel"
    for need in target.needs:
        yield "needs", need, "its outputs go into the source"
    yield "toolchain", request.toolchain_digest, "orchestrator/provision/toolchain.lock"
    yield "key", request.key, "SHA-256 of all that can change the wheel"


def _compiling(target: Target, origins: Mapping[str, str]) -> Iterator[Row]:
    own = target.compiling
    yield "emulation", f"{own.emulation}: {own.why}", origins.get("build.emulation", "")
    compiler = f"{own.compiler}, glibc {own.baseline}" if own.baseline else str(own.compiler)
    yield "compiler", compiler, origins.get("build.compiler", "")
    if target.library is None:
        yield from _derived(target, origins.get("build.emulation", ""))


def _derived(target: Target, origin: str) -> Iterator[Row]:
    """What compilers are called, and what build systems are told, where that is not the image's."""
    from orchestrator.cross import toolchain_files
    from orchestrator.cross.driver import zig_target
    from orchestrator.host.emulation import Execution, host_arch, how
    from orchestrator.provision.cross_gcc import MOUNTED

    own, here, arch = target.compiling, host_arch(), target.arch
    foreign = how(here, arch) is Execution.EMULATED
    zig = own.compiler is CompilerKind.ZIG
    compiled = (
        f"zig cc -target {zig_target(arch, own.baseline)}" if zig else "the image's gcc, native"
    )
    if foreign and own.emulation is EmulationMode.ACCELERATED:
        names = f"cc, gcc, c++, g++, {arch.facts.triplet}-gcc, {arch.facts.triplet}-g++"
        yield "  PATH", f"{MOUNTED.parent / 'bin'} comes first: {names}", compiled
        yield "  CMake, Meson", "are told nothing: they run there, and find these names", ""
        if arch is Arch.AARCH64 and (version := cuda(dict(target.variant))):
            yield "  nvcc", f"a native one, if it is of the very build of the {version} there", ""
    elif zig and (not foreign or own.emulation is EmulationMode.CROSS):
        for name, value in toolchain_files.compilers(arch).items():
            yield f"  {name}", value, compiled
        if foreign and arch.facts.cross:
            settings = toolchain_files.CrossBuild(arch=arch, here=here, own=Path("SCRATCH"))
            yield from _crossing(settings, origin)


def _crossing(settings: CrossBuild, origin: str) -> Iterator[Row]:
    """What build systems are told of another machine."""
    for name, value in settings.variables().items():
        yield f"  {name}", value or "(empty)", origin
    for path, text in (
        (settings.toolchain_file, settings.cmake()),
        (settings.cross_file, settings.meson()),
    ):
        for line in text.splitlines():
            yield f"  {path.name}", line, origin
    for name, value in settings.hooks("(as derived)", "(as derived)").items():
        yield f"  {name}", value, "the hook that builds, alone"


def _shares(target: Target, workspace: Workspace) -> Iterator[Row]:
    """What tells the build how many programs it may run at once: no part of the key."""
    from orchestrator.host.capacity import capacity
    from orchestrator.run.dispatch import Pace, describe_budget, parallel

    pace = Pace(
        machine=capacity(), jobs=None, settings=workspace.settings.run, fail_fast=False, seconds={}
    )
    budget = pace.budget(len(workspace.plan.everything))
    yield "here", describe_budget(budget), "this machine, [run] and -j"
    for name, value in parallel(target, budget).items():
        yield f"env {name}", value, PARALLEL_RULE


PARALLEL_RULE = (
    "a share of that: its CPUs, or its memory by resources.memory-per-job; not in the key"
)


def _parts(target: Target, origins: Mapping[str, str]) -> Iterator[Row]:
    for part in target.parts:
        won = part.source or "no source has it"
        origin = origins.get(f"version.{part.name}") or origins.get(f"version.parts.{part.name}")
        yield f"  {part.name}", f"{part.value or '-'} ({won})", origin or "version"
        for answer in part.answers:
            yield f"    {answer.source}", answer.value or f"({answer.note or 'empty'})", ""
    for pin in target.pins:
        yield "pin", pin, "version.pins"


def _cells(target: Target) -> Iterator[Row]:
    for axis, value in target.variant:
        yield f"axis {axis}", value, f"axes.{axis}"
    for name, value in target.derived:
        yield f"derived {name}", value, "the torch table"
    if target.abi3:
        yield "stable ABI", f"{target.abi3} and later, built with {target.python}", "build.abi3"
        yield "tested on", ", ".join((target.python, *target.test_pythons)), ""
    if len(target.covers) > 1:
        for cell in target.covers:
            yield "covers", " ".join(value for _, value in cell), ""


def _library(target: Target) -> Iterator[Row]:
    if target.library is not None:
        where = f"library.{target.library.name}"
        yield "library command", target.library.command, f"{where}.command"
        yield "outputs", ", ".join(target.library.outputs), f"{where}.outputs"


def _steps(target: Target, origins: Mapping[str, str]) -> Iterator[Row]:
    steps = target.steps
    commands = {
        "build.before-all": steps.before_all,
        "build.before-build": steps.before_build,
        "build.repair": steps.repair,
        "test.command": steps.test_command,
    }
    for name, text in commands.items():
        own = "as the project says" if text is None else text
        yield name.replace(".command", "").removeprefix("build."), own, origins.get(name, "")
    if steps.test_requires:
        yield "test requires", ", ".join(steps.test_requires), origins.get("test.requires", "")
    if not steps.smoke:
        yield "smoke test", "none", origins.get("test.smoke", "")
    for key, value in steps.config_settings:
        yield f"config {key}", value, f"{origins.get('build.config-settings', '')}.{key}"
    if steps.timeout is not None:
        yield "timeout", f"{steps.timeout} s", origins.get("build.timeout", "")
    for name, seconds in steps.timeouts:
        yield f"timeout {name}", f"{seconds} s", f"{origins.get('build.timeouts', '')}.{name}"
    if steps.external:
        yield "external", ", ".join(steps.external), origins.get("build.external", "")
    if steps.repair == "auditwheel":
        refused = origins.get("build.repair-refused", "")
        yield "repair refused", steps.repair_refused, refused
    if steps.normalise:
        normalise = origins.get("build.normalise", "")
        yield "normalise", "order, times and modes of all members", normalise


def _demands(demands: VerifyPolicy, origins: Mapping[str, str]) -> Iterator[Row]:
    rules = origins.get("verify.rules", "")
    for rule, level in demands.levels:
        yield f"rule {rule}", level, f"{rules}.{rule}"
    if demands.size_budget is not None:
        budget = origins.get("verify.size-budget", "")
        yield "size budget", f"{demands.size_budget} bytes", budget
    if demands.required:
        yield "required", ", ".join(demands.required), origins.get("verify.required", "")
    if demands.build_paths:
        yield "build paths", ", ".join(demands.build_paths), origins.get("verify.build-paths", "")
