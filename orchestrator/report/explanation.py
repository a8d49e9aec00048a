"""Everything about one target, row by row, with where it comes from."""

from __future__ import annotations

import shlex
from collections import defaultdict
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
from orchestrator.plan.torch_table import RULE
from orchestrator.provision.cross_gcc import MOUNTED
from orchestrator.report.text import environment_rows
from orchestrator.run.dispatch import Pace, describe_budget, parallel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.config.settings import RunSettings
    from orchestrator.models.target import BuildRequest, LibraryStep, Target

Row = tuple[str, str, str]
"""What, its value, and the dotted path or the words that say where it comes from."""

Origins = defaultdict[str, str]

PARALLEL_RULE = (
    "a share of that: its CPUs, or its memory by resources.memory-per-job; not in the key"
)


def explain(request: BuildRequest, *, here: Arch) -> Iterator[Row]:
    """Yield what a request says, in the order of a build on a machine of an architecture."""
    target = request.target
    origins: Origins = defaultdict(str, target.origins)
    yield "target", target.id, ""
    yield from _cells(target)
    if target.library is None:
        yield from _version(target, origins)
    yield "source", f"{request.source.name or '?'} {request.source.digest}", "project.source"
    yield "image", target.image, origins["image"]
    if target.baseline:
        yield "baseline", f"{target.libc} {target.baseline}", "axes.libc"
    native = "emulated there" if target.emulated else "native there"
    yield "runner", ", ".join(target.runner), origins["runner"] or native
    yield "backend", request.backend, "as planned; `build` says what this machine can do"
    yield from _compiling(target, origins, here)
    yield from _steps(target, origins) if target.library is None else _library(target.library)
    for name in ("cpus", "memory", "memory-per-job"):
        amount = getattr(target.resources, name.replace("-", "_"))
        if amount is not None:
            yield name, str(amount), origins[f"resources.{name}"]
    yield from _demands(target, origins)
    yield from _set(origins, ("publish to", ", ".join(target.publish), "publish.to"))
    yield "env SOURCE_DATE_EPOCH", str(request.source.epoch), "the source"
    for variable in target.env:
        shell = " (shell)" if variable.shell else ""
        table = variable.origin == RULE
        origin = "the torch table" if table else f"{variable.origin}.{variable.name}"
        yield f"env {variable.name}{shell}", variable.value, origin
    if request.backend is BackendName.CIBUILDWHEEL:
        yield "command", shlex.join(("python", *cibuildwheel.command(request, "OUTPUT"))), ""
        for name, value in sorted(cibuildwheel.options(request).items()):
            yield f"  {name}", value, "passed to cibuildwheel"
    for need in target.needs:
        yield "needs", need, "its outputs go into the source"
    yield "toolchain", request.toolchain_digest, "orchestrator/provision/toolchain.lock"
    yield "key", request.key, "SHA-256 of everything that can change the wheel"


def explain_shares(target: Target, settings: RunSettings, targets: int) -> Iterator[Row]:
    """Yield what tells the build how many programs it may run at once; no part of the key."""
    pace = Pace(machine=capacity(), jobs=None, settings=settings, fail_fast=False, seconds={})
    budget = pace.budget(targets)
    yield "here", describe_budget(budget), "this machine, [run] and -j"
    for name, value in parallel(target, budget).items():
        yield f"env {name}", value, PARALLEL_RULE


def _set(origins: Mapping[str, str], *rows: Row) -> Iterator[Row]:
    """Yield the rows that have a value; each row names a key of matrix.toml."""
    return ((what, value, origins[key]) for what, value, key in rows if value)


def _cells(target: Target) -> Iterator[Row]:
    for axis, value in target.variant:
        yield f"axis {axis}", value, f"axes.{axis}"
    for name, value in target.derived:
        yield f"derived {name}", value, "the torch table"
    if target.abi3:
        yield "stable ABI", f"{target.abi3} and later, built with {target.python}", "build.abi3"
        yield "tested on", ", ".join((target.python, *target.test_pythons)), ""
    for axis, lowest in target.stable_abi:
        yield "stable ABI", f"{axis} {lowest} and later", f"build.stable-abi.{axis}"
    for test in target.further_tests:
        yield "tested with", test.name, ""
    if len(target.covers) > 1:
        for cell in target.covers:
            yield "covers", " ".join(value for _, value in cell), ""


def _version(target: Target, origins: Origins) -> Iterator[Row]:
    yield "version", target.version, "version" + (" (release)" if target.release else "")
    yield "build tag", target.build_tag or "-", "version.build-tag"
    for part in target.parts:
        source = part.source or "no source has it"
        origin = origins[f"version.{part.name}"] or origins[f"version.parts.{part.name}"]
        yield f"  {part.name}", f"{part.value or '-'} ({source})", origin or "version"
        for answer in part.answers:
            yield f"    {answer.source}", answer.value or f"({answer.note or 'empty'})", ""
    for pin in target.pins:
        yield "pin", pin, "version.pins"


def _compiling(target: Target, origins: Origins, here: Arch) -> Iterator[Row]:
    own = target.compiling
    yield "emulation", f"{own.emulation}: {own.why}", origins["build.emulation"]
    compiler = f"{own.compiler}, glibc {own.baseline}" if own.baseline else str(own.compiler)
    yield "compiler", compiler, origins["build.compiler"]
    if target.library is None:
        yield from _build_systems(target, origins["build.emulation"], here)


def _build_systems(target: Target, origin: str, here: Arch) -> Iterator[Row]:
    """Yield the names of compilers, and what build systems are told, if not those of the image."""
    own, arch = target.compiling, target.arch
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
            yield "  nvcc", f"a native one, if its build is identical to the {version} there", ""
    elif zig and (not foreign or own.emulation is EmulationMode.CROSS):
        for name, value in toolchain_files.compilers(arch).items():
            yield f"  {name}", value, compiled
        if foreign and arch.facts.cross:
            yield from _cross(
                toolchain_files.CrossBuild(arch=arch, here=here, own=Path("SCRATCH")), origin
            )


def _cross(build: toolchain_files.CrossBuild, origin: str) -> Iterator[Row]:
    """Yield what build systems are told of another machine."""
    for name, value in build.variables().items():
        yield f"  {name}", value or "(empty)", origin
    for path, text in (
        (build.toolchain_file, build.cmake()),
        (build.cross_file, build.meson()),
    ):
        for line in text.splitlines():
            yield f"  {path.name}", line, origin
    for name, value in build.hooks("(as derived)", "(as derived)").items():
        yield f"  {name}", value, "only for the hook that builds"


def _library(library: LibraryStep) -> Iterator[Row]:
    yield "library command", library.command, f"library.{library.name}.command"
    yield "outputs", ", ".join(library.outputs), f"library.{library.name}.outputs"


def _steps(target: Target, origins: Origins) -> Iterator[Row]:
    steps = target.steps
    for what, value, key in environment_rows(steps.environment):
        yield what, value, origins[key]
    yield from _cuda(target, origins)
    checked = ", ".join(f"{each.axis} {each.value}: {each.what}" for each in questions(target))
    yield "checked", checked, "in the environment that compiles, before it does"
    for what, command, key in (
        ("before-all", steps.before_all, "build.before-all"),
        ("before-build", steps.before_build, "build.before-build"),
        ("repair", steps.repair, "build.repair"),
        ("test", steps.test_command, "test.command"),
    ):
        yield what, "as the project says" if command is None else command, origins[key]
    yield from _set(
        origins,
        ("test before", steps.test_before or "", "test.before"),
        ("test requires", ", ".join(steps.test_requires), "test.requires"),
        ("test extras", ", ".join(steps.test_extras), "test.extras"),
        ("test groups", ", ".join(steps.test_groups), "test.groups"),
        ("test sources", ", ".join(steps.test_sources), "test.sources"),
        ("smoke test", "" if steps.smoke else "none", "test.smoke"),
    )
    for name, value in steps.config_settings:
        yield f"config {name}", value, f"{origins['build.config-settings']}.{name}"
    if steps.timeout is not None:
        yield "timeout", f"{steps.timeout} s", origins["build.timeout"]
    for name, seconds in steps.timeouts:
        yield f"timeout {name}", f"{seconds} s", f"{origins['build.timeouts']}.{name}"
    refused = steps.repair_refused if steps.repair == "auditwheel" else ""
    normalise = "order, times and modes of all members" if steps.normalise else ""
    yield from _set(
        origins,
        ("external", ", ".join(steps.external), "build.external"),
        ("repair refused", refused, "build.repair-refused"),
        ("normalise", normalise, "build.normalise"),
    )


def _cuda(target: Target, origins: Origins) -> Iterator[Row]:
    """Yield where the CUDA toolkit comes from; `build` says what this machine has."""
    version, source = cuda_of(target), target.steps.environment.cuda
    places = {
        CudaSource.IMAGE: f"image {target.image}",
        CudaSource.HOST: "this host",
        CudaSource.INDEX: "the package index",
    }
    anywhere = f"the first that has it: {', '.join(places.values())}"
    if version:
        where = anywhere if source is None else places[source]
        yield "cuda", f"{version} from {where}", origins["build.cuda"]


def _demands(target: Target, origins: Origins) -> Iterator[Row]:
    demands = target.demands
    for rule, level in demands.levels:
        yield f"rule {rule}", level, f"{origins['verify.rules']}.{rule}"
    budget = "" if demands.size_budget is None else f"{demands.size_budget} bytes"
    yield from _set(
        origins,
        ("size budget", budget, "verify.size-budget"),
        ("required", ", ".join(demands.required), "verify.required"),
        ("build paths", ", ".join(demands.build_paths), "verify.build-paths"),
    )
