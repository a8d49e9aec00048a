"""``orchestrator inspect``."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import external_option, json_option, wheels_argument
from orchestrator.cli.output import emit, printable, show, show_items
from orchestrator.errors import clipped
from orchestrator.models.wheel import finding_lines
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchestrator.models.wheel import Reason, WheelReport

FEW = 5
"""Symbols that are named for one reason, and reasons that are named for one tag."""


@click.command(
    "inspect",
    epilog=examples(
        "inspect dist/*.whl",
        "inspect dist/*.whl --external cuda --json",
    ),
)
@wheels_argument
@external_option
@json_option
def command(wheels: Sequence[Path], external: tuple[str, ...], *, as_json: bool) -> None:
    """Show which platform tag each WHEEL needs, and which symbol in which file requires it."""
    from orchestrator.cli.workspace import load_policies
    from orchestrator.report import serialize as documents
    from orchestrator.wheel import report

    policies = load_policies()
    reports = [(path, report(path, policies, external=external)) for path in wheels]
    if as_json:
        emit(documents.dumps(documents.inspect_document(reports)))
        return
    for path, wheel in reports:
        show(printable(path))
        show_items((f"  {name:<8}  ", clipped(text)) for name, text in _rows(wheel))


def _rows(report: WheelReport) -> Iterator[tuple[str, str]]:
    """Yield the parts of a report, each with its name."""
    yield "observed", ", ".join((report.observed_tag, *report.aliases))
    yield "declared", ", ".join(report.declared_tags)
    for step in report.steps:
        yield "not", step.tag
        yield from (("because", _because(reason)) for reason in step.reasons[:FEW])
        if (more := len(step.reasons) - FEW) > 0:
            yield "", f"and {count_of(more, 'more reason')} (--json shows all)"
        yield from (("cure", remedy) for remedy in step.remedies)
    for library, files in report.external_libs:
        yield "external", f"{library}, needed by {', '.join(files)}"
    if report.isa:
        yield "isa", report.isa
    yield from _binaries(report)
    yield from _gpu(report)
    yield from (("", f"not examined: {each}") for each in report.not_examined)
    yield from finding_lines(report.problems)


def _binaries(report: WheelReport) -> Iterator[tuple[str, str]]:
    """Yield what Mach-O and PE files are for, what the wheel brings, and what the system has."""
    from orchestrator.wheel.binary_requirements import is_the_systems
    from orchestrator.wheel.binary_tags import first_of

    parts: dict[str, list[str]] = {}
    needers: dict[str, dict[str, None]] = {}
    for each in report.binary_files:
        since = f" {each.minimum} or newer" if each.minimum and each.system != "Windows" else ""
        parts.setdefault(each.file, []).append(f"{each.arch} of {each.system}{since}")
        for library in (*each.needed, *each.optional):
            needers.setdefault(library, {})[each.file] = None
    for kind, count in Counter(map(", ".join, parts.values())).items():
        yield "files", f"{count_of(count, 'file')} for {kind}"
    by_name = {file.rpartition("/")[2].casefold(): file for file in parts}
    for library, users in needers.items():
        if file := by_name.get(library.rpartition("/")[2].casefold()):
            yield "inside", f"{file}, needed by {first_of(list(users))}"
    systems = [name.rpartition("/")[2] for name in needers if is_the_systems(name)]
    if systems:
        yield "system", ", ".join(sorted(dict.fromkeys(systems), key=str.casefold))


def _gpu(report: WheelReport) -> Iterator[tuple[str, str]]:
    """Yield what there is for GPUs: of all files, then of those with code."""
    from orchestrator.report.summary import device_code_text, size

    for code in report.device_code:
        yield "gpu", device_code_text(code)
    if report.runtimes:
        newest = f"; driver {report.driver} or newer" if report.driver else ""
        yield "runtime", ", ".join(report.runtimes) + newest
    for file in report.gpu_files:
        kinds = ", ".join(dict.fromkeys(code.arch or code.kind for code in file.code))
        static = f"; linked in: {', '.join(file.static_libraries)}" if file.static_libraries else ""
        unused = f"; {size(file.unused)} that only a linker can use" if file.unused else ""
        problem = f"; cannot be read whole: {file.problem}" if file.problem else ""
        if detail := f"{kinds}{static}{unused}{problem}":
            yield "in", f"{file.file}: {detail.removeprefix('; ')}"
    if report.torch_abi:
        later = f", for torch {report.torch_from} and later" if report.torch_from else ""
        yield "torch", report.torch_abi + later


def _because(reason: Reason) -> str:
    """Return a reason as a sentence."""
    symbols = ", ".join(reason.symbols[:FEW]) + (", ..." if len(reason.symbols) > FEW else "")
    needs = " of ".join(part for part in (reason.symbol_version, reason.library) if part)
    if not needs:
        return f"{reason.file} needs {symbols}"
    return f"{reason.file} needs {needs}" + (f" ({symbols})" if symbols else "")
