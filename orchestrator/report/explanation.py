"""Everything about one target, row by row, with where it comes from."""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders import cibuildwheel
from orchestrator.cross import toolchain_files
from orchestrator.cross.driver import zig_target
from orchestrator.host.capacity import capacity
from orchestrator.host.emulation import Execution, how
from orchestrator.models.platforms import Arch
from orchestrator.models.target import BackendName, CompilerKind, CudaSource, EmulationMode
from orchestrator.plan.compilers import cuda
from orchestrator.plan.expected_environment import cuda_of, questions
from orchestrator.plan.stable_abi import place
from orchestrator.plan.torch_table import RULE
from orchestrator.provision.cross_gcc import MOUNTED
from orchestrator.report.text import environment_values
from orchestrator.run.dispatch import Pace, parallel
from orchestrator.run.resources import GIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.config.settings import RunSettings
    from orchestrator.models.target import BuildRequest, Exclusion, LibraryStep, Target

Value = str | int | float | bool | tuple[str, ...] | None

Origins = defaultdict[str, str]

PARALLEL_RULE = "its CPUs, or memory / resources.memory-per-job; the last get more; not in the key"

TOOL = "pyproject.toml: tool.cibuildwheel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing about a target.

    Attributes:
        what: its name; two blanks before it for each level that it lies below the one before.
        value: what it is; None for nothing, or what only a build can tell.
        origin: the dotted path or the words that say where it comes from.
        note: what people have to know about the value.
    """

    what: str
    value: Value
    origin: str = ""
    note: str = ""


def text(value: Value, note: str) -> str:
    """Return a value with its note as people read them."""
    if value is None:
        return note or "-"
    if not value and isinstance(value, str):
        return note or "(empty)"
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    else:
        shown = ", ".join(value) if isinstance(value, tuple) else str(value)
    return f"{shown} ({note})" if note else shown


def explain(request: BuildRequest, *, here: Arch) -> Iterator[tuple[str, str, str]]:
    """Yield `facts` as people read them: what, its value, and where it comes from."""
    return (
        (each.what, text(each.value, each.note), each.origin) for each in facts(request, here=here)
    )


def facts(request: BuildRequest, *, here: Arch) -> Iterator[Fact]:
    """Yield what a request says, in the order of a build on a machine of an architecture."""
    target = request.target
    origins: Origins = defaultdict(str, target.origins)
    yield Fact(what="target", value=target.id)
    yield from _cells(target)
    if target.library is None:
        yield from _version(target, origins)
    yield Fact(what="source", value=request.source.name or None, origin="project.source")
    yield Fact(what="  digest", value=request.source.digest)
    yield Fact(what="image", value=target.image, origin=origins["image"])
    if target.baseline:
        note = str(target.libc)
        yield Fact(what="baseline", value=target.baseline, origin="axes.libc", note=note)
    native = "emulated there" if target.emulated else "native there"
    yield Fact(what="runner", value=target.runner, origin=origins["runner"], note=native)
    note = "as planned: `build` says what this machine can do"
    yield Fact(what="backend", value=str(request.backend), note=note)
    yield from _compiling(target, origins, here)
    if target.library is None:
        yield from _steps(request, origins)
    else:
        yield from _library(target.library)
    for name in ("cpus", "memory", "memory-per-job"):
        amount = getattr(target.resources, name.replace("-", "_"))
        if amount is not None:
            yield Fact(what=name, value=amount, origin=origins[f"resources.{name}"])
    yield from _demands(target, origins)
    yield from _set(origins, ("publish to", target.publish, "publish.to"))
    epoch = request.source.epoch
    yield Fact(what="env SOURCE_DATE_EPOCH", value=str(epoch), origin="the source")
    for variable in target.env:
        shell = " (shell)" if variable.shell else ""
        table = variable.origin == RULE
        origin = "the torch table" if table else f"{variable.origin}.{variable.name}"
        yield Fact(what=f"env {variable.name}{shell}", value=variable.value, origin=origin)
    if request.backend is BackendName.CIBUILDWHEEL:
        yield from _command(request)
    for need in target.needs:
        yield Fact(what="needs", value=need, note="its outputs go into the source")
    lock = "orchestrator/provision/toolchain.lock"
    yield Fact(what="toolchain", value=request.toolchain_digest, origin=lock)
    what = "SHA-256 of everything that can change the wheel"
    yield Fact(what="key", value=request.key, origin=what)


def excluded(target_id: str, exclusion: Exclusion) -> Iterator[Fact]:
    """Yield what there is to say of a cell that the matrix excludes."""
    yield Fact(what="target", value=target_id)
    yield Fact(what="excluded by", value=exclusion.rule, origin=exclusion.rule)
    yield Fact(what="reason", value=exclusion.reason)
    for axis, value in exclusion.cell:
        yield Fact(what=f"axis {axis}", value=value, origin=f"axes.{axis}")


def shares(target: Target, settings: RunSettings, targets: int) -> Iterator[Fact]:
    """Yield what tells the build how many programs it may run at once; no part of the key."""
    pace = Pace(machine=capacity(), jobs=None, settings=settings, fail_fast=False, seconds={})
    budget = pace.budget(targets)
    where = "this machine, [run] and -j"
    yield Fact(what="targets at once", value=budget.slots, origin=where)
    yield Fact(what="  CPUs together", value=budget.millicpus / 1000, origin=where)
    note = f"bytes, {budget.memory / GIB:.1f} GiB"
    yield Fact(what="  memory together", value=budget.memory, origin=where, note=note)
    for name, value in parallel(target, budget).items():
        yield Fact(what=f"  env {name}", value=value, origin=PARALLEL_RULE)


def _set(origins: Mapping[str, str], *rows: tuple[str, Value, str]) -> Iterator[Fact]:
    """Yield the facts that have a value; each row names a key of matrix.toml."""
    return (Fact(what=what, value=value, origin=origins[key]) for what, value, key in rows if value)


def _cells(target: Target) -> Iterator[Fact]:
    for axis, value in target.variant:
        yield Fact(what=f"axis {axis}", value=value, origin=f"axes.{axis}")
    for name, value in target.derived:
        yield Fact(what=f"derived {name}", value=value, origin="the torch table")
    if target.abi3:
        note = f"and later, built with {target.python}"
        yield Fact(what="stable ABI", value=target.abi3, origin="build.abi3", note=note)
        yield Fact(what="tested on", value=(target.python, *target.test_pythons))
    for axis, lowest in target.stable_abi:
        origin = place(dict(target.origins), axis)
        yield Fact(what=f"stable ABI {axis}", value=lowest, origin=origin, note="and later")
    for test in target.further_tests:
        yield Fact(what="tested with", value=test.name)
    if len(target.covers) > 1:
        for cell in target.covers:
            yield Fact(what="covers", value=" ".join(value for _, value in cell))


def _version(target: Target, origins: Origins) -> Iterator[Fact]:
    note = "release" if target.release else ""
    yield Fact(what="version", value=target.version, origin="version", note=note)
    yield Fact(what="build tag", value=target.build_tag or None, origin="version.build-tag")
    for part in target.parts:
        note = part.source or "no source has it"
        origin = origins[f"version.{part.name}"] or origins[f"version.parts.{part.name}"]
        value = part.value or None
        yield Fact(what=f"  {part.name}", value=value, origin=origin or "version", note=note)
        for answer in part.answers:
            note = "" if answer.value else f"({answer.note or 'empty'})"
            yield Fact(what=f"    {answer.source}", value=answer.value or None, note=note)
    for pin in target.pins:
        yield Fact(what="pin", value=pin, origin="version.pins")


def _compiling(target: Target, origins: Origins, here: Arch) -> Iterator[Fact]:
    """Yield what compiles the target; nothing of emulation if this machine runs it natively."""
    own, foreign = target.compiling, how(here, target.arch) is Execution.EMULATED
    origin = origins["build.emulation"]
    if foreign:
        yield Fact(what="emulation", value=str(own.emulation), origin=origin, note=own.why)
    yield Fact(what="compiler", value=str(own.compiler), origin=origins["build.compiler"])
    if own.baseline:
        yield Fact(what="  glibc", value=own.baseline, origin=origins["build.baseline"])
    if target.library is None:
        yield from _build_systems(target, origin, here, foreign=foreign)


def _build_systems(target: Target, origin: str, here: Arch, *, foreign: bool) -> Iterator[Fact]:
    """Yield the names of compilers, and what build systems are told, if not those of the image."""
    own, arch = target.compiling, target.arch
    zig = own.compiler is CompilerKind.ZIG
    compiled = (
        f"zig cc -target {zig_target(arch, own.baseline)}" if zig else "the image's gcc, native"
    )
    if foreign and own.emulation is EmulationMode.ACCELERATED:
        first, triplet = str(MOUNTED.parent / "bin"), arch.facts.triplet
        names = ("cc", "gcc", "c++", "g++", f"{triplet}-gcc", f"{triplet}-g++")
        yield Fact(what="  PATH", value=first, note="comes first; CMake and Meson find it there")
        yield Fact(what="  programs there", value=names, origin=compiled)
        if arch is Arch.AARCH64 and (version := cuda(dict(target.variant))):
            note = f"if its build is identical to the {version} there"
            yield Fact(what="  nvcc", value="native", note=note)
    elif zig and (not foreign or own.emulation is EmulationMode.CROSS):
        for name, value in toolchain_files.compilers(arch).items():
            yield Fact(what=f"  {name}", value=value, origin=compiled)
        if foreign and arch.facts.cross:
            yield from _cross(
                toolchain_files.CrossBuild(arch=arch, here=here, own=Path("SCRATCH")), origin
            )


def _cross(build: toolchain_files.CrossBuild, origin: str) -> Iterator[Fact]:
    """Yield what build systems are told of another machine."""
    for name, value in build.variables().items():
        yield Fact(what=f"  {name}", value=value, origin=origin)
    for path, lines in (
        (build.toolchain_file, build.cmake()),
        (build.cross_file, build.meson()),
    ):
        for line in lines.splitlines():
            yield Fact(what=f"  {path.name}", value=line, origin=origin)
    for name, value in build.hooks("(as derived)", "(as derived)").items():
        yield Fact(what=f"  {name}", value=value, origin="only for the hook that builds")


def _library(library: LibraryStep) -> Iterator[Fact]:
    origin = f"library.{library.name}"
    yield Fact(what="library command", value=library.command, origin=f"{origin}.command")
    yield Fact(what="outputs", value=library.outputs, origin=f"{origin}.outputs")


def _steps(request: BuildRequest, origins: Origins) -> Iterator[Fact]:
    target, steps = request.target, request.target.steps
    for what, value, key in environment_values(steps.environment):
        yield Fact(what=what, value=value, origin=origins[key])
    yield from _cuda(target, origins)
    checked = tuple(f"{each.axis} {each.value}: {each.what}" for each in questions(target))
    note = "in the environment that compiles, before it does" if checked else "nothing"
    yield Fact(what="checked", value=checked or None, note=note)
    yield from _commands(request, origins)
    yield from _set(
        origins,
        ("test before", steps.test_before, "test.before"),
        ("test requires", steps.test_requires, "test.requires"),
        ("test extras", steps.test_extras, "test.extras"),
        ("test groups", steps.test_groups, "test.groups"),
        ("test sources", steps.test_sources, "test.sources"),
    )
    for key in steps.emptied:
        what = key.replace(".", " ").replace("build config-", "config ")
        yield Fact(what=what, value=None, origin=origins[key], note="empty")
    yield Fact(what="smoke test", value=steps.smoke, origin=origins["test.smoke"])
    for name, value in steps.config_settings:
        origin = f"{origins['build.config-settings']}.{name}"
        yield Fact(what=f"config {name}", value=value, origin=origin)
    if steps.timeout is not None:
        origin = origins["build.timeout"]
        yield Fact(what="timeout", value=steps.timeout, origin=origin, note="seconds")
    for name, seconds in steps.timeouts:
        origin = f"{origins['build.timeouts']}.{name}"
        yield Fact(what=f"timeout {name}", value=seconds, origin=origin, note="seconds")
    refused = str(steps.repair_refused) if steps.repair == "auditwheel" else ""
    yield from _set(
        origins,
        ("external", steps.external, "build.external"),
        ("repair refused", refused, "build.repair-refused"),
        ("normalise", steps.normalise, "build.normalise"),
    )


def _commands(request: BuildRequest, origins: Origins) -> Iterator[Fact]:
    """Yield the commands of the matrix, else whether the project has one, else the default."""
    steps, own = request.target.steps, request.source.own_options
    for what, value, option, key in (
        ("before-all", steps.before_all, "before-all", "build.before-all"),
        ("before-build", steps.before_build, "before-build", "build.before-build"),
        ("repair", steps.repair, "repair-wheel-command", "build.repair"),
        ("test", steps.test_command, "test-command", "test.command"),
    ):
        if value is None and option in own:
            note = "as the project says"
            yield Fact(what=what, value=None, origin=f"{TOOL}.{option}", note=note)
        else:
            graft = what == "repair" and value is None
            default, note = ("auditwheel", _GRAFT) if graft else ("none", "")
            origin = origins[key] or "the default"
            yield Fact(what=what, value=value or default, origin=origin, note=note)


_GRAFT = "where a library is needed that no policy promises"


def _cuda(target: Target, origins: Origins) -> Iterator[Fact]:
    """Yield where the CUDA toolkit comes from; `build` says what this machine has."""
    version, source = cuda_of(target), target.steps.environment.cuda
    if not version:
        return
    places = tuple(map(str, CudaSource)) if source is None else (str(source),)
    origin, note = origins["build.cuda"], "" if source else "the first that has it"
    yield Fact(what="cuda", value=version)
    yield Fact(what="  from", value=places, origin=origin, note=note)


def _command(request: BuildRequest) -> Iterator[Fact]:
    command = shlex.join(("python", *cibuildwheel.command(request, "OUTPUT")))
    yield Fact(what="command", value=command)
    for name, value in sorted(cibuildwheel.options(request).items()):
        yield Fact(what=f"  {name}", value=value)


def _demands(target: Target, origins: Origins) -> Iterator[Fact]:
    demands, budget = target.demands, target.demands.size_budget
    for rule, level in demands.levels:
        origin = f"{origins['verify.rules']}.{rule}"
        yield Fact(what=f"rule {rule}", value=str(level), origin=origin)
    if budget is not None:
        origin = origins["verify.size-budget"]
        yield Fact(what="size budget", value=budget, origin=origin, note="bytes")
    yield from _set(
        origins,
        ("required", demands.required, "verify.required"),
        ("build paths", demands.build_paths, "verify.build-paths"),
    )
