"""``orchestrator publish``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.inspect_wheels import external_option, printable
from orchestrator.cli.options import channel_option
from orchestrator.errors import ConfigError, ExitCode, NothingSelectedError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.cli.verify import VerifyOptions
    from orchestrator.cli.workspace import Workspace
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Target, VerifyPolicy
    from orchestrator.provision.host import Host
    from orchestrator.publish.preflight import CandidateWheel, DestinationFiles, GrantedLimits
    from orchestrator.publish.upload import UploadDestination, UploadResult

JOBS = 4

_INDEXES = ("http://", "https://", "pypi", "testpypi")


@click.command("publish")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    metavar="DIR_OR_WHEEL...",
    type=click.Path(path_type=Path, exists=True),
)
@click.option(
    "--to",
    "places",
    multiple=True,
    metavar="PLACE",
    help="pypi, testpypi, the upload address of an index, s3://bucket/prefix or github-release; "
    "may be given more than once.  [default: publish.to of the matrix]",
)
@click.option(
    "--matrix",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The matrix file: what each wheel may need, and where it goes.  "
    "[default: matrix.toml, where there is one]",
)
@channel_option
@external_option
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME=LEVEL",
    help="Make a rule of `verify` count as error, warn or off.",
)
@click.option("--tag", default="", metavar="TAG", help="The tag of the release on GitHub.")
@click.option("--simple-url", default="", metavar="URL", help="The simple API of the one index.")
@click.option("--max-file-size", metavar="SIZE", help="What the index has granted for a file.")
@click.option("--max-project-size", metavar="SIZE", help="What it has granted for the project.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1, max=32),
    default=JOBS,
    show_default=True,
    metavar="N",
    help="Uploads at a time.",
)
@click.option("--dry-run", is_flag=True, help="Send nothing, and say what would be sent.")
@click.option("--skip-refused", is_flag=True, help="Send the others where some are refused.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON document with a schema.")
def command(  # noqa: PLR0913 - one for each option
    *,
    paths: Sequence[Path],
    places: Sequence[str],
    matrix: Path | None,
    channel: str,
    external: Sequence[str],
    rules: Sequence[str],
    tag: str,
    simple_url: str,
    max_file_size: str | None,
    max_project_size: str | None,
    jobs: int,
    dry_run: bool,
    skip_refused: bool,
    as_json: bool,
) -> int:
    """Verify wheels and upload them; exit 6 if one is refused, 1 if one fails."""
    from orchestrator.cli.verify import level_of
    from orchestrator.cli.workspace import stderr, stop_as_ctrl_c_does
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import VerifyPolicy
    from orchestrator.publish.preflight import GrantedLimits
    from orchestrator.run.inputs import open_host
    from orchestrator.wheel.external import resolve

    stop_as_ctrl_c_does()
    demands = VerifyPolicy(levels=tuple(map(level_of, rules)))
    granted = GrantedLimits(
        file_size=_size(max_file_size, "--max-file-size"),
        project_size=_size(max_project_size, "--max-project-size"),
    )
    patterns = resolve(external, where="--external")
    files = _files(paths)
    known = _Matrix.open(matrix, channel, files)
    meant = {each: tuple(dict.fromkeys(places or known.places(each))) for each in files}
    wanted = tuple(dict.fromkeys(place for each in meant.values() for place in each))
    if not wanted:
        raise NothingSelectedError.of(
            "no wheel has a destination", hint="say --to, or [publish] to in matrix.toml"
        )
    cancel = Cancel()
    host = open_host(os.environ, stderr().print)
    openers = _Openers(host=host, cancel=cancel, tag=tag, simple_url=simple_url, wanted=wanted)
    run = _Run(
        places={place: openers.open(place) for place in wanted},
        wheels=_verified(meant, known, patterns, demands, host, cancel),
        granted=granted,
        jobs=jobs,
        dry_run=dry_run,
        skip_refused=skip_refused,
        cancel=cancel,
    )
    return _report(run.results(), as_json=as_json, interrupted=cancel.is_set())


def _size(text: str | None, option: str) -> int | None:
    from orchestrator.cli.verify import size_of

    return None if text is None else size_of(text, option)


def _files(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the wheels; one that is named twice counts once, and two of one name never."""
    found: dict[str, Path] = {}
    problems = []
    for path in paths:
        inside = sorted(path.glob("*.whl")) if path.is_dir() else [path]
        for each in inside:
            first = found.setdefault(each.name, each)
            if first.resolve() != each.resolve():
                problems.append(Problem(what=f"{first} has the same name", where=str(each)))
    if problems:
        raise ConfigError(*problems)
    if not found:
        raise NothingSelectedError.of("there is no wheel", where=", ".join(map(str, paths)))
    return tuple(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matrix:
    """What the matrix says of the wheels, where there is one."""

    targets: dict[Path, Target] = field(default_factory=dict)

    @classmethod
    def open(cls, matrix: Path | None, channel: str, files: Sequence[Path]) -> _Matrix:
        """Find the target of each wheel: as ``results.json`` says, else by its name."""
        from orchestrator.cli.workspace import open_workspace

        if matrix is None and not Path("matrix.toml").is_file():
            return cls()
        workspace = open_workspace(matrix or Path("matrix.toml"), channel)
        found = {each: _target_of(each, workspace) for each in files}
        return cls(targets={each: target for each, target in found.items() if target})

    def places(self, path: Path) -> tuple[str, ...]:
        """Return where a wheel is meant to go."""
        target = self.targets.get(path)
        return () if target is None else target.publish

    def asked(self, path: Path, external: tuple[str, ...], demands: VerifyPolicy) -> VerifyOptions:
        """Return what a wheel must satisfy: what its target asks, and the options on top."""
        from dataclasses import replace

        from orchestrator.cli.verify import VerifyOptions
        from orchestrator.run.finish import demands_on

        target = self.targets.get(path)
        if target is None:
            return VerifyOptions(external=external, demands=demands, target=None)
        theirs = demands_on(path, target)
        both = replace(theirs, levels=(*theirs.levels, *demands.levels))
        # Not what is planned: a plan of today may have another date in its versions.
        return VerifyOptions(
            external=(*target.steps.external, *external), demands=both, target=None
        )


def _target_of(path: Path, workspace: Workspace) -> Target | None:
    from orchestrator.errors import BadWheelError
    from orchestrator.publish.index import targets_in
    from orchestrator.publish.index_coverage import matching
    from orchestrator.wheel.archive import WheelName

    targets = workspace.plan.targets
    there = targets_in(path.parent)
    ids = {made.target_id for (name, _), made in there.items() if name == path.name}
    built = next((each for each in targets if each.id in ids), None)
    if built is not None:
        return built
    try:
        name = WheelName.parse(path.name)
    except BadWheelError:  # `verify` says what is wrong with it
        return None
    return next(iter(matching(name, targets, workspace.origin.name)), None)


def _verified(  # noqa: PLR0913, PLR0917 - what the options say
    meant: dict[Path, tuple[str, ...]],
    known: _Matrix,
    external: tuple[str, ...],
    demands: VerifyPolicy,
    host: Host,
    cancel: Cancel,
) -> tuple[CandidateWheel, ...]:
    """Check every wheel before anything is sent."""
    from orchestrator.cli.verify import checking_tools, verdict_on
    from orchestrator.errors import BadWheelError
    from orchestrator.models.target import Digest
    from orchestrator.models.wheel import Severity
    from orchestrator.publish.attested import attestations, misattested
    from orchestrator.publish.preflight import CandidateWheel
    from orchestrator.wheel.archive import WheelName

    policies, checker = checking_tools(host, cancel)
    wheels = []
    for path, to in meant.items():
        verdict = verdict_on(path, known.asked(path, external, demands), policies, checker)
        try:
            name = WheelName.parse(path.name)
        except BadWheelError:
            name = None
        sha256 = verdict.report.sha256 if verdict.report else Digest("")
        wrong = [
            printable(f"verify: {each.rule}: {each.message}")
            for each in verdict.findings
            if each.severity is Severity.ERROR
        ]
        beside = attestations(path)
        wrong += [why for each in beside if (why := misattested(each, sha256))]
        target = known.targets.get(path)
        wheels.append(
            CandidateWheel(
                path=path,
                name=name,
                sha256=sha256,
                size=path.stat().st_size,
                wrong=tuple(wrong),
                attestations=beside,
                target_id=target.id if target else "",
                to=to,
            )
        )
    return tuple(wheels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Openers:
    """Opens destinations; all that their settings lack is known before anything is verified."""

    host: Host
    cancel: Cancel
    tag: str
    simple_url: str
    wanted: tuple[str, ...]

    def open(self, to: str) -> UploadDestination:
        """Open the destination of a ``--to``."""
        if to == "github-release":
            from orchestrator.publish.releases import ReleaseDestination, ReleaseSettings

            settings = ReleaseSettings.detect(os.environ, self.tag)
            return ReleaseDestination(settings, self.host.network, self.cancel)
        if to.startswith("s3://"):
            from orchestrator.publish.buckets import BucketDestination

            return BucketDestination(to, self.cancel, ca_bundle=self.host.network.ca_bundle)
        return self._index(to)

    def _index(self, to: str) -> UploadDestination:
        from orchestrator.host.redaction import masked
        from orchestrator.publish.indexes import IndexDestination, resolved

        if not to.startswith(_INDEXES):
            raise ConfigError.of(
                f"{masked(to)!r} is no destination",
                where="--to",
                hint="pypi, testpypi, https://host/path/, s3://bucket/prefix or github-release",
            )
        if sum(each.startswith(_INDEXES) for each in self.wanted) > 1:
            for name, value in (
                ("TWINE_PASSWORD", os.environ.get("TWINE_PASSWORD", "")),
                ("--simple-url", self.simple_url),
            ):
                if value.strip():
                    raise ConfigError.of(
                        f"{name} belongs to one index, and wheels go to several",
                        where="--to",
                        hint="one call for each of them",
                    )
        return IndexDestination(
            resolved(to, self.host),
            self.host,
            os.environ,
            self.cancel,
            simple_url=self.simple_url,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """Gate, then upload."""

    places: dict[str, UploadDestination]
    wheels: tuple[CandidateWheel, ...]
    granted: GrantedLimits
    jobs: int
    dry_run: bool
    skip_refused: bool
    cancel: Cancel

    def results(self) -> tuple[UploadResult, ...]:
        """Return what became of each wheel at each destination, in the order of both."""
        from orchestrator.models.result import UploadOutcome
        from orchestrator.publish.upload import send_all

        ends: dict[tuple[str, str], UploadResult] = {}
        todo: list[tuple[UploadDestination, CandidateWheel]] = []
        for to, place in self.places.items():
            wheels = tuple(each for each in self.wheels if to in each.to)
            for wheel, result in zip(wheels, self._gated(to, place, wheels), strict=True):
                if result is None:
                    todo.append((place, wheel))
                else:
                    ends[place.name, wheel.filename] = result
        refused = any(each.outcome is UploadOutcome.REFUSED for each in ends.values())
        if self.dry_run or (refused and not self.skip_refused):
            done = tuple(self._unsent(place, wheel, refused=refused) for place, wheel in todo)
        else:
            done = send_all(todo, jobs=self.jobs, cancel=self.cancel, on_result=_say)
        ends |= {(each.place, each.wheel.filename): each for each in done}
        order = [
            (self.places[to].name, each.filename)
            for to in self.places
            for each in self.wheels
            if to in each.to
        ]
        return tuple(ends[key] for key in order)

    def _unsent(
        self, place: UploadDestination, wheel: CandidateWheel, *, refused: bool
    ) -> UploadResult:
        from orchestrator.models.result import UploadOutcome
        from orchestrator.publish.upload import UploadResult

        if self.dry_run:
            return UploadResult(place=place.name, wheel=wheel, outcome=UploadOutcome.WOULD)
        why = ("others are refused; --skip-refused sends it",) if refused else ()
        return UploadResult(
            place=place.name, wheel=wheel, outcome=UploadOutcome.NOT_SENT, reasons=why
        )

    def _gated(
        self, to: str, place: UploadDestination, wheels: Sequence[CandidateWheel]
    ) -> list[UploadResult | None]:
        """Return the end of each wheel that is not to be sent; None for those that are."""
        from orchestrator.models.result import UploadOutcome
        from orchestrator.publish import preflight
        from orchestrator.publish.upload import (
            UploadError,
            UploadResult,
        )
        from orchestrator.publish.upload import surveyed as survey

        why = ""
        if any(each.attestations for each in wheels) and not place.attests:
            click.echo(
                f"{_clean(place.name)}: it takes no attestations, or not with a password", err=True
            )
        known = [each for each in wheels if each.name and each.sha256]
        try:
            held: DestinationFiles = (
                survey(place, known, self.cancel) if known else preflight.DestinationFiles()
            )
        except UploadError as error:
            held, why = preflight.DestinationFiles(), f"cannot be asked what it has: {error.what}"
        refusals = preflight.refused(to, wheels, held, self.granted)
        ends: list[UploadResult | None] = []
        for wheel in wheels:
            refused = refusals.get(wheel.filename, ())
            there = held.files.get(wheel.filename) == wheel.sha256
            if refused:
                end, reasons = UploadOutcome.REFUSED, refused
            elif why:
                end, reasons = UploadOutcome.FAILED, (why,)
            elif there:
                end, reasons = UploadOutcome.THERE, ()
            else:
                ends.append(None)
                continue
            result = UploadResult(place=place.name, wheel=wheel, outcome=end, reasons=reasons)
            _say(result)
            ends.append(result)
        return ends


def _say(result: UploadResult) -> None:
    head = f"{result.wheel.filename} -> {result.place}: {result.outcome}"
    for line in (head, *(f"  {each}" for each in result.reasons)):
        click.echo(_clean(line), err=True)


def _clean(line: str) -> str:
    from orchestrator.host.redaction import redactor

    return printable(redactor(os.environ)(line))


def _report(results: Sequence[UploadResult], *, as_json: bool, interrupted: bool) -> int:
    from orchestrator.models.result import UploadOutcome
    from orchestrator.report.serialize import dumps

    if as_json:
        click.echo(dumps(_document(results)), nl=False)
    _table(results)
    unsent = [each.reasons for each in results if each.outcome is UploadOutcome.NOT_SENT]
    for why in dict.fromkeys(reason for reasons in unsent for reason in reasons):
        click.echo(f"not sent: {why}", err=True)
    outcomes = {each.outcome for each in results}
    if interrupted:
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    if UploadOutcome.FAILED in outcomes:
        return ExitCode.TARGET_FAILED
    return ExitCode.PUBLISH_REFUSED if UploadOutcome.REFUSED in outcomes else ExitCode.OK


def _document(results: Sequence[UploadResult]) -> dict[str, object]:
    from orchestrator.report.schemas import PublishDocument, Published, to_json_value

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
    document: dict[str, object] = to_json_value(PublishDocument(results=published))
    return document


def _table(results: Sequence[UploadResult]) -> None:
    from rich.table import Table
    from rich.text import Text

    from orchestrator.cli.workspace import stderr
    from orchestrator.report.summary import size

    table = Table(box=None, pad_edge=False)
    for column in ("wheel", "destination", "size", "outcome"):
        table.add_column(column, no_wrap=True)
    for each in results:
        cells = (each.wheel.filename, each.place, size(each.wheel.size), str(each.outcome))
        table.add_row(*(Text(_clean(cell)) for cell in cells))
    stderr().print(table)
