"""What people read of a run: which backends it takes, how it ended, and its exit code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from orchestrator.errors import ExitCode
from orchestrator.models.platforms import Arch
from orchestrator.models.result import BuildResult, Failure, FailureKind, SdistFacts, Status
from orchestrator.models.target import CompilerKind, EmulationMode
from orchestrator.models.wheel import Compression
from orchestrator.models.words import count_of
from orchestrator.report.layout import command, fitted, near, wrapped
from orchestrator.report.progress import STYLES, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.models.growth import Change, Growth
    from orchestrator.models.target import Target, TargetId
    from orchestrator.models.wheel import DeviceCode

FEW = 8
"""Targets that are named one by one; results.json names all of them."""

LISTED = 20
"""Targets from the store that the table at the end lists, beside those that were built."""

_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))

_INDENT = "  "


def size(count: int) -> str:
    """``1536`` -> ``1.5 KiB``."""
    for factor, unit in _UNITS:
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def device_code_text(code: DeviceCode) -> str:
    """Say how much code for one GPU architecture there is, and how it is compressed."""
    packed = ""
    if code.compression is not Compression.NONE:
        packed = f" ({code.compression}, {size(code.unpacked)} unpacked)"
    name = code.arch or f"{code.kind} of an unknown architecture"
    pieces = f" in {code.entries} pieces" if code.entries > 1 else ""
    repeated = f", {size(code.repeated)} of it repeated" if code.repeated else ""
    return f"{name}: {size(code.size)}{pieces}{packed}{repeated}"


def growth_lines(grown: Growth) -> Iterator[str]:
    """Say how a wheel's size changed: in all, of the files that changed most, and of GPU code."""
    if not (grown.total.by or grown.archs):
        return
    yield change_text(grown.total)
    for each in grown.files[:FEW]:
        yield f"{each.name}: {change_text(each)}"
    for each in grown.archs[:FEW]:
        new = " (new architecture)" if not each.before else ""
        gone = " (no longer there)" if not each.now else ""
        others = f" and {count_of(each.others, 'other file')}" if each.others else ""
        where = f" in {each.file}{others}" if each.file else ""
        yield f"{each.name}: {_by(each)}{where}{new or gone}"
    if (more := len(grown.archs) - FEW) > 0:
        yield f"and {count_of(more, 'other architecture')}"


def change_text(change: Change) -> str:
    """``1.0 MiB → 1.5 MiB (+512.0 KiB, +50.0 %)``."""
    if change.before is None:
        return f"{size(change.now or 0)}, new among the largest files"
    if change.now is None:
        return f"{size(change.before)} before, no longer among the largest files"
    if not change.before:
        return f"{size(change.now)}, new"
    if not change.now:
        return f"{size(change.before)} before, no longer there"
    percent = f"{100 * change.by / change.before:+.1f} %"
    return f"{size(change.before)} → {size(change.now)} ({_by(change)}, {percent})"


def _by(change: Change) -> str:
    return f"{'+' if change.by >= 0 else '-'}{size(abs(change.by))}"


def few(targets: Sequence[TargetId]) -> str:
    """Name some targets, and count the others."""
    more = len(targets) - FEW
    named = targets if more <= 0 else targets[:FEW]
    return ", ".join([*named, *([f"and {more} more"] if more > 0 else [])])


# Before the build


def choice_lines(
    choices: Mapping[TargetId, Choice], targets: Iterable[Target], *, width: int
) -> Iterator[str]:
    """Yield how many targets are built how, and why some are not built as usual."""
    known = {target.id: target for target in targets}
    ways = Counter(
        (each.how, _tested(each, known[target_id]))
        for target_id, each in choices.items()
        if each.backend is not None
    )
    lost = [each.failure for each in choices.values() if each.failure is not None]
    rows = [(f"{n:>7}", how, tested) for (how, tested), n in ways.items()]
    if rows:
        rows += [(f"{len(lost):>7}", "cannot be built here", "")] if lost else []
        for lines in fitted([("targets", "how", "tested"), *rows], width, flexible=1):
            yield from lines
        yield from _counted("cannot be built here", map(_cause, lost), width)
    causes = (_why_not(each) for each in choices.values() if each.backend is not None)
    yield from _counted("not built the preferred way", filter(None, causes), width)
    notes = ("; ".join(each.reservations) for each in choices.values())
    yield from _counted("built with less", filter(None, notes), width)


def _tested(choice: Choice, target: Target) -> str:
    """Say in a word or two how the wheel of a target will be tested."""
    compiled, steps = choice.compiled, target.steps
    if target.library is not None:
        return "-"
    if not (steps.smoke or steps.test_command):
        return "off"
    if compiled is not None and compiled.not_run:
        return "NO"
    return "import only" if compiled is not None and compiled.not_tested else "yes"


def _why_not(choice: Choice) -> str:
    return "; ".join(dict.fromkeys(each.cause or each.what for each in choice.why_not))


def _cause(failure: Failure) -> str:
    return failure.cause or failure.message


def _counted(what: str, causes: Iterable[str], width: int) -> Iterator[str]:
    """Yield each cause once, with the number of targets that have it."""
    for cause, number in Counter(causes).items():
        yield from wrapped(f"{count_of(number, 'target')} {what}: {cause}", width, rest=_INDENT)


# At the end


def results_table(results: Sequence[BuildResult], *, width: int) -> RenderableType:
    """Return the table at the end of a run: how each target was built, and what came of it.

    Targets that were never begun are not in it: `problems` says why.
    """
    begun = [each for each in results if each.wheel is not None or each.status is Status.FAILED]
    if sum(_is_stored(each) for each in begun) > LISTED:
        begun = [each for each in begun if not _is_stored(each)]
    if not begun:
        return Group()
    rows = fitted([("target", "how", "time", "tag", "size"), *map(_row, begun)], width)
    styles = ("dim", *("" if e.failure is None else STYLES[e.status] for e in begun))
    return Group(
        *(
            Text(line, style=style, no_wrap=True)
            for lines, style in zip(rows, styles, strict=True)
            for line in lines
        )
    )


def _is_stored(result: BuildResult) -> bool:
    return result.cached and result.failure is None


def _row(result: BuildResult) -> tuple[str, ...]:
    wheel, failure = result.wheel, result.failure
    outcome = "library" if wheel is None else _tag(wheel.observed_tag)
    if failure is not None:
        outcome = f"FAILED: {failure.step or failure.kind}"
    return (
        result.target_id,
        built_how(result),
        duration(result.duration),
        outcome,
        "" if wheel is None else size(wheel.size),
    )


def _tag(tag: str) -> str:
    """Return a platform tag without the architecture, which is in the target's ID."""
    return next((tag.removesuffix(f"_{a}") for a in Arch if tag.endswith(f"_{a}")), tag)


def built_how(result: BuildResult) -> str:
    """Say in a word or two what built a target."""
    done, request = result.compiled, result.request
    if result.cached:
        return "store"
    if result.backend is None:
        return "-"
    compiling = None if request is None else request.target.compiling
    by_zig = compiling is not None and compiling.compiler is CompilerKind.ZIG
    if done is None:
        place = "host" if result.container is None else result.container.engine
        return f"{place}, zig" if by_zig else place
    compiler = "zig" if by_zig else "gcc"
    words = {
        EmulationMode.CROSS: f"cross, {compiler}",
        EmulationMode.ACCELERATED: f"QEMU, {compiler}",
        EmulationMode.FULL: "QEMU",
    }
    return words[done.emulation]


def untested(results: Sequence[BuildResult], *, width: int) -> RenderableType:
    """Return what was emulated more than planned or was not tested: each reason once."""
    notes: dict[tuple[str, str], list[TargetId]] = {}
    for each in results:
        for note in _notes(each):
            notes.setdefault(note, []).append(each.target_id)
    lines = [
        line
        for (what, why), ids in notes.items()
        for line in (
            *wrapped(f"{what} ({count_of(len(ids), 'target')}): {why}", width, rest=_INDENT),
            *wrapped(few(ids), width, first=_INDENT),
        )
    ]
    style = STYLES[Status.UNAVAILABLE]
    return Group(*(Text(line, style=style) for line in (["", *lines] if lines else [])))


def _notes(result: BuildResult) -> Iterator[tuple[str, str]]:
    """Say what was emulated more than planned or was not tested, with the reason."""
    done = result.compiled
    planned = None if result.request is None else result.request.target.compiling.emulation
    if done is None:
        return
    if done.emulation is not planned:
        yield "all of it under QEMU", done.why
    elif planned is EmulationMode.ACCELERATED and done.why:
        yield "a part of it under QEMU", done.why
    if result.failure is None and done.not_run:
        yield "NOT IMPORTED, nor tested", done.not_run
    elif result.failure is None and done.not_tested:
        yield "imported, NOT TESTED", done.not_tested


def problems(results: Sequence[BuildResult], *, width: int, again: Sequence[str]) -> RenderableType:
    """Return why targets have no wheel, each cause once, with what mends it.

    Targets that somebody cancelled are only counted.

    Args:
        results: how the targets ended.
        width: columns of the longest line.
        again: the command that opens a shell where a target fails, with ``{}`` for the target.
    """
    groups: dict[tuple[Status, FailureKind, str, str], list[BuildResult]] = {}
    for each in results:
        failure = each.failure
        if failure is not None and failure.kind is not FailureKind.CANCELLED:
            key = each.status, failure.kind, _cause(failure), failure.hint
            groups.setdefault(key, []).append(each)
    blocks = []
    # What failed comes last, where people look first.
    for (status, _, cause, hint), group in sorted(groups.items(), key=_failed):
        alike = dict.fromkeys(each.failure.message for each in group if each.failure is not None)
        why = cause if len(alike) > 1 else next(iter(alike))
        title = f"{count_of(len(group), 'target')} {_ENDED[status]}: {why}"
        blocks.append(Text(""))
        blocks += [Text(each, style=STYLES[status]) for each in wrapped(title, width, rest=_INDENT)]
        lines = _mending(group, hint, width, again)
        blocks += [Text(line, style="default") for line in lines]
    cancelled = sum(each.status is Status.CANCELLED for each in results) - sum(
        len(group) for (status, *_), group in groups.items() if status is Status.CANCELLED
    )
    if cancelled:
        text = f"\n{count_of(cancelled, 'target')} cancelled"
        blocks.append(Text(text, style=STYLES[Status.CANCELLED]))
    return Group(*blocks)


def _failed(group: tuple[tuple[Status, FailureKind, str, str], object]) -> bool:
    return group[0][0] is Status.FAILED


_ENDED = {
    Status.OK: "built",
    Status.FAILED: "failed",
    Status.UNAVAILABLE: "cannot be built here",
    Status.CANCELLED: "not finished",
}


def _mending(
    group: Sequence[BuildResult], hint: str, width: int, again: Sequence[str]
) -> Iterator[str]:
    """Yield the targets of a cause, what mends it, and where to look."""
    yield from wrapped(few([each.target_id for each in group]), width, first=_INDENT)
    if hint:
        yield from wrapped(hint, width, first="  hint: ", rest="    ")
    aside = [each.rejected for each in group if each.rejected is not None]
    for path in aside[:FEW]:
        yield from wrapped(near(path), width, first="  kept aside: ", rest="    ")
    logs = [each.log for each in group if each.log is not None]
    for path in logs[:1]:
        yield from wrapped(near(path), width, first="  log: ", rest="    ")
    if any(each.failure is not None and each.failure.kind in _SHELL for each in group):
        words = (word.replace("{}", group[0].target_id) for word in again)
        yield from command(words, width, first="  look: ")


_SHELL = frozenset(
    {
        FailureKind.SETUP,
        FailureKind.ENVIRONMENT,
        FailureKind.BUILD,
        FailureKind.REPAIR,
        FailureKind.TEST,
        FailureKind.NO_WHEEL,
        FailureKind.TIMEOUT,
        FailureKind.MEMORY,
    }
)
"""Failures that a shell in the build's place shows."""


def _by_machine(result: BuildResult) -> bool:
    """Whether the machine caused the failure, not the project."""
    machine = {FailureKind.DISK, FailureKind.MEMORY, FailureKind.ENGINE, FailureKind.IMAGE}
    return result.failure is not None and result.failure.kind in machine


def sdist_lines(sdist: SdistFacts) -> Iterator[str]:
    """Say in one line what became of the sdist; of a failure, also what mends it."""
    if sdist.failure is None:
        compared = f"a wheel built from it has the members of {sdist.compared}'s"
        none = "not compared with a wheel: this run has none"
        yield f"sdist: {sdist.filename}, {size(sdist.size)}: {compared if sdist.compared else none}"
        return
    yield f"error: sdist: {sdist.failure.message}"
    if sdist.failure.hint:
        yield f"  hint: {sdist.failure.hint}"


def exit_code(
    results: Sequence[BuildResult], *, fail_fast: bool, allow_unavailable: bool = False
) -> ExitCode:
    """Return the exit code of a run: the most serious thing that happened.

    With `fail_fast` a failure cancels the other targets; otherwise only the user does. With
    `allow_unavailable` the targets that this machine cannot build do not count beside others.
    """
    if allow_unavailable:
        able = [each for each in results if each.status is not Status.UNAVAILABLE]
        results = able or results
    statuses = {each.status for each in results}
    kinds = {each.failure.kind for each in results if each.failure is not None}
    by_failure = fail_fast and Status.FAILED in statuses
    if FailureKind.CANCELLED in kinds and not by_failure:
        return ExitCode.INTERRUPTED
    if FailureKind.BUG in kinds:
        return ExitCode.BUG
    if FailureKind.BAD_WHEEL in kinds or FailureKind.AUDIT in kinds:
        return ExitCode.BAD_WHEEL
    by_project = [
        each for each in results if each.status is Status.FAILED and not _by_machine(each)
    ]
    if by_project or FailureKind.OUT_OF_TIME in kinds:
        return ExitCode.TARGET_FAILED
    return ExitCode.OK if statuses <= {Status.OK} else ExitCode.ENVIRONMENT
