"""``orchestrator publish``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import completion
from orchestrator.cli.help import examples
from orchestrator.cli.options import (
    channel_option,
    external_option,
    json_option,
    optional_matrix_option,
    repeatable,
    rules_option,
    size_option,
)
from orchestrator.cli.output import print_json, print_table, printable, say, stderr
from orchestrator.config.destinations import DESTINATIONS
from orchestrator.errors import ConfigError, ExitCode, NothingSelectedError, Problem
from orchestrator.host.redaction import redactor
from orchestrator.models.target import RuleLevel, VerifyPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.cli.workspace import Workspace
    from orchestrator.models.target import Target
    from orchestrator.publish.upload import UploadResult

JOBS = 4


@click.command(
    "publish",
    epilog=examples(
        "publish dist --to testpypi --dry-run",
        "publish dist --to s3://bucket/whl",
        "publish dist --to github-release --tag v1.0",
    ),
)
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="DIR_OR_WHEEL...",
    type=click.Path(path_type=Path, exists=True),
)
@repeatable(
    "--to names",
    "PLACE",
    "pypi, testpypi, the upload URL of an index, s3://bucket/prefix or github-release; by default "
    "publish.to of the matrix.",
    shell_complete=completion.places,
)
@optional_matrix_option
@channel_option
@external_option
@rules_option
@click.option("--tag", default="", metavar="TAG", help="Tag of the release on GitHub.")
@click.option("--simple-url", default="", metavar="URL", help="Simple API of the index.")
@click.option(
    "--audience",
    default="",
    metavar="NAME",
    help="Trusted publishing: the audience that the index documents.  [pypi, testpypi: known]",
)
@size_option("--max-file-size", "Maximum size of a file that the index has granted.")
@size_option("--max-project-size", "Maximum size of the project that the index has granted.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1, max=32),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Uploads at a time.",
)
@click.option("--dry-run", is_flag=True, help="Send nothing; show what would be sent.")
@click.option("--skip-refused", is_flag=True, help="If wheels are refused, send the others.")
@json_option
def command(
    *,
    paths: Sequence[Path],
    names: Sequence[str],
    matrix: Path | None,
    channel: str,
    external: tuple[str, ...],
    rules: tuple[tuple[str, RuleLevel], ...],
    tag: str,
    simple_url: str,
    audience: str,
    max_file_size: int | None,
    max_project_size: int | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Verify wheels and upload them; exit 6 if one is refused, 1 if one fails."""
    from orchestrator.cli.verify import checking_tools
    from orchestrator.cli.workspace import open_host, open_if_exists
    from orchestrator.host.inherited import stop_as_ctrl_c_does
    from orchestrator.host.process import Cancel
    from orchestrator.publish.delivery import Delivery, open_destinations, verify
    from orchestrator.publish.preflight import GrantedLimits
    from orchestrator.run.wheel_check import WheelChecker

    stop_as_ctrl_c_does()
    files = _wheel_files(paths)
    workspace = open_if_exists(matrix, channel)
    targets = {} if workspace is None else _targets(files, workspace)
    goes_to = _goes_to(files, names, targets)
    wanted = tuple(dict.fromkeys(name for to in goes_to.values() for name in to))
    unsaid = workspace is not None and workspace.sdist is None
    if unsaid and not any(map(_is_sdist, files)) and any(map(_is_pypi, wanted)):
        say(_NO_SDIST)
    cancel, host = Cancel(), open_host()
    # First: what a destination's settings lack is reported before anything is verified.
    destinations = open_destinations(
        wanted, host, cancel, tag=tag, simple_url=simple_url, audience=audience
    )
    checker = WheelChecker(
        external=external, demands=VerifyPolicy(levels=rules), tools=checking_tools(host, cancel)
    )
    delivery = Delivery(
        destinations=destinations,
        wheels=[verify(path, to, targets.get(path), checker) for path, to in goes_to.items()],
        granted=GrantedLimits(file_size=max_file_size, project_size=max_project_size),
        cancel=cancel,
        on_result=_say,
        on_note=lambda text: say(_clean(text)),
        **options,
    )
    results = delivery.run()
    if as_json:
        _print_json(results)
    _print_table(results)
    return _exit_code(results, interrupted=cancel.is_set())


def _goes_to(
    files: Iterable[Path], names: Sequence[str], targets: Mapping[Path, Target]
) -> dict[Path, tuple[str, ...]]:
    """Return where each file goes: where the user says, or else where its target does.

    An sdist has no target, and goes where any of the wheels goes.
    """
    planned = {path: tuple(target.publish) for path, target in targets.items()}
    every = tuple(name for to in planned.values() for name in to)
    goes_to = {
        path: tuple(dict.fromkeys(names or (every if _is_sdist(path) else planned.get(path, ()))))
        for path in files
    }
    if not any(goes_to.values()):
        raise NothingSelectedError.of(
            "no wheel has a destination", hint="say --to, or set [publish] to in matrix.toml"
        )
    return goes_to


def _wheel_files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the wheels; one that is named twice counts once, and no two may have one name."""
    files: dict[str, Path] = {}
    problems = []
    for path in paths:
        found = [*path.glob("*.whl"), *path.glob("*.tar.gz")] if path.is_dir() else [path]
        for wheel in sorted(found):
            first = files.setdefault(wheel.name, wheel)
            if first.resolve() != wheel.resolve():
                problems.append(Problem(what=f"{first} has the same name", where=str(wheel)))
    if problems:
        raise ConfigError(*problems)
    if not files:
        places = ", ".join(map(str, paths))
        raise NothingSelectedError.of("there is no wheel and no sdist", where=places)
    return tuple(files.values())


_NO_SDIST = (
    "note: the release gets no sdist, from which others build it: project.sdist = true lets "
    "`build` make one, and project.sdist = false says that there is none"
)


def _is_pypi(destination: str) -> bool:
    known = DESTINATIONS.get(destination)
    return known is not None and known.is_pypi


def _is_sdist(path: Path) -> bool:
    return path.name.endswith(".tar.gz")


def _targets(files: Iterable[Path], workspace: Workspace) -> dict[Path, Target]:
    """Find the target of each wheel."""
    from orchestrator.publish.delivery import target_of

    targets, project = workspace.plan.targets, workspace.origin.name
    return {path: target for path in files if (target := target_of(path, targets, project))}


def _clean(line: str) -> str:
    return printable(redactor(os.environ)(line))


def _say(result: UploadResult) -> None:
    say(_clean(f"{result.wheel.filename} -> {result.place}: {result.outcome}"))
    for reason in result.reasons:
        say(_clean(f"  {reason}"))


def _print_json(results: Iterable[UploadResult]) -> None:
    from orchestrator.report.schemas import PublishDocument, Published

    published = tuple(
        Published(
            wheel=each.wheel.filename,
            sha256=each.wheel.sha256,
            size=each.wheel.size,
            target=each.wheel.target_id,
            destination=each.place,
            outcome=each.outcome,
            reasons=tuple(map(_clean, each.reasons)),
            attempts=each.attempts,
        )
        for each in results
    )
    print_json(PublishDocument(results=published))


def _print_table(results: Iterable[UploadResult]) -> None:
    from orchestrator.report.summary import size

    rows = (
        (each.wheel.filename, each.place, size(each.wheel.size), str(each.outcome))
        for each in results
    )
    cells = (tuple(map(_clean, row)) for row in rows)
    print_table(stderr(), cells, "wheel", "destination", "size", "outcome")


def _exit_code(results: Sequence[UploadResult], *, interrupted: bool) -> ExitCode:
    from orchestrator.models.result import UploadOutcome

    unsent = [each.reasons for each in results if each.outcome is UploadOutcome.NOT_SENT]
    for why in dict.fromkeys(reason for reasons in unsent for reason in reasons):
        say(f"not sent: {why}")
    outcomes = {each.outcome for each in results}
    if interrupted:
        say("interrupted")
        return ExitCode.INTERRUPTED
    if UploadOutcome.FAILED in outcomes:
        return ExitCode.TARGET_FAILED
    return ExitCode.PUBLISH_REFUSED if UploadOutcome.REFUSED in outcomes else ExitCode.OK
