"""One run of ``orchestrator publish``: open the destinations, check all wheels, send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.fsutil import file_sha256
from orchestrator.models.result import UploadOutcome
from orchestrator.models.target import Digest
from orchestrator.models.wheel import Severity, finding_lines
from orchestrator.models.wheel_name import WheelName
from orchestrator.publish import preflight
from orchestrator.publish.attested import attestations, check_attestation
from orchestrator.publish.buckets import BucketDestination
from orchestrator.publish.index import targets_in
from orchestrator.publish.index_coverage import matching
from orchestrator.publish.indexes import IndexDestination, not_a_destination, resolve_address
from orchestrator.publish.preflight import CandidateWheel
from orchestrator.publish.releases import ReleaseDestination, ReleaseSettings
from orchestrator.publish.upload import UploadError, UploadResult, send_all, survey
from orchestrator.report.text import one_line
from orchestrator.source.sdist import SDIST, SdistName, package_info, sdist_problems
from orchestrator.wheel.index_rules import index_refusals, metadata_refusals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.host.process import Cancel
    from orchestrator.models.target import Target
    from orchestrator.provision.host import Host
    from orchestrator.publish.preflight import GrantedLimits
    from orchestrator.publish.upload import UploadDestination
    from orchestrator.run.wheel_check import WheelChecker

_INDEXES = ("http://", "https://", "pypi", "testpypi")


def open_destinations(  # noqa: PLR0913 - mostly keywords
    names: Sequence[str], host: Host, cancel: Cancel, *, tag: str, simple_url: str, audience: str
) -> dict[str, UploadDestination]:
    """Return each destination by its name; nothing is sent or asked yet.

    Args:
        names: the values of ``--to``.
        host: this machine.
        cancel: stops what is under way.
        tag: the tag of the release on GitHub; empty for that of the workflow.
        simple_url: the simple API of the one index; empty for the usual one.
        audience: whom the one index' identity tokens are made for; empty for a known index.

    Raises:
        ConfigError: a name or a setting is wrong or missing.
    """
    indexes = [name for name in names if name.startswith(_INDEXES)]
    if len(indexes) > 1:
        password = host.environ.get("TWINE_PASSWORD", "")
        values = {"TWINE_PASSWORD": password, "--simple-url": simple_url, "--audience": audience}
        for what, value in values.items():
            if value.strip():
                raise ConfigError.of(
                    f"{what} belongs to one index, and the wheels go to several",
                    where="--to",
                    hint="publish to one index at a time",
                )
    destinations: dict[str, UploadDestination] = {}
    for name in names:
        if name == "github-release":
            settings = ReleaseSettings.detect(host.environ, tag)
            destinations[name] = ReleaseDestination(settings, host.network, cancel)
        elif name.startswith("s3://"):
            bundle = host.network.ca_bundle
            destinations[name] = BucketDestination(name, cancel, ca_bundle=bundle)
        elif name in indexes:
            address = resolve_address(name, host)
            destinations[name] = IndexDestination(
                address, host, cancel, simple_url=simple_url, audience=audience
            )
        else:
            raise not_a_destination(name)
    return destinations


def target_of(path: Path, targets: Sequence[Target], project: str) -> Target | None:
    """Return a wheel's target: by ``results.json`` beside it, else by the wheel's name.

    Args:
        path: the wheel.
        targets: the plan's.
        project: the planned project's name, normalised; empty for any.
    """
    recorded = targets_in(path.parent)
    ids = {result.target_id for (name, _), result in recorded.items() if name == path.name}
    for target in targets:
        if target.id in ids:
            return target
    name = WheelName.match(path.name)
    return None if name is None else next(iter(matching(name, targets, project)), None)


def verify(
    path: Path, to: tuple[str, ...], target: Target | None, checker: WheelChecker
) -> CandidateWheel:
    """Verify a wheel, and its attestations.

    Args:
        path: the wheel.
        to: names of the destinations.
        target: the target that made it; None if nobody knows.
        checker: checks the wheel.
    """
    if path.name.endswith(SDIST):
        return _verify_sdist(path, to, checker)
    # Not what the target must be: a plan of today may have another date in its versions.
    verdict = checker.check(path, target)
    sha256 = verdict.report.sha256 if verdict.report else Digest("")
    beside = attestations(path)
    wrong = [one_line(f"verify: {text}") for _, text in finding_lines(verdict.errors)]
    wrong += [why for each in beside if (why := check_attestation(each, sha256))]
    return CandidateWheel(
        path=path,
        name=WheelName.match(path.name),  # where it is None, `verify` says why
        sha256=sha256,
        size=_size(path),
        wrong=tuple(wrong),
        index_refusals=index_refusals(path) if verdict.report else (),
        attestations=beside,
        target_id=target.id if target else "",
        to=to,
    )


def _size(path: Path) -> int:
    """Return a file's size; 0 if it is not there, of which `verify` says that."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _verify_sdist(path: Path, to: tuple[str, ...], checker: WheelChecker) -> CandidateWheel:
    """Check an sdist, which has no target."""
    sha256, beside, refused = Digest(""), attestations(path), tuple[str, ...]()
    try:
        sha256 = Digest(file_sha256(path))
        wrong = [*sdist_problems(path)]
    except OSError as error:
        wrong = [f"unreadable: {error.strerror}"]
    if not wrong:
        _, tools = checker.tools
        said = tools(path.absolute(), checker.demands, lambda _line: None)
        wrong += [each.message for each in said if each.severity is Severity.ERROR]
        refused = tuple(metadata_refusals(package_info(path)))
    wrong += [why for each in beside if (why := check_attestation(each, sha256))]
    return CandidateWheel(
        path=path,
        name=SdistName.match(path.name),
        sha256=sha256,
        size=_size(path),
        wrong=tuple(one_line(f"verify: {text}") for text in wrong),
        index_refusals=refused,
        attestations=beside,
        to=to,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """Which wheels are sent where, and how.

    Attributes:
        destinations: from `open_destinations`.
        wheels: all wheels; each one knows where it goes.
        granted: what indexes have granted.
        jobs: uploads at a time.
        dry_run: whether nothing is sent.
        skip_refused: whether the others are sent if some are refused.
        cancel: stops the run.
        on_result: told how each wheel ended.
        on_note: told what is left out.
    """

    destinations: Mapping[str, UploadDestination]
    wheels: Sequence[CandidateWheel]
    granted: GrantedLimits
    jobs: int
    dry_run: bool
    skip_refused: bool
    cancel: Cancel
    on_result: Callable[[UploadResult], object]
    on_note: Callable[[str], object]

    def run(self) -> tuple[UploadResult, ...]:
        """Check every wheel, then send those that may go; results are in the order of both."""
        checked = [
            (place, wheel, result)
            for name, place in self.destinations.items()
            for wheel, result in self._check(name, place)
        ]
        todo = [(place, wheel) for place, wheel, result in checked if result is None]
        refused = any(each and each.outcome is UploadOutcome.REFUSED for *_, each in checked)
        if self.dry_run:
            sent = _without_sending(todo, UploadOutcome.WOULD)
        elif refused and not self.skip_refused:
            why = "others are refused; --skip-refused sends it"
            sent = _without_sending(todo, UploadOutcome.NOT_SENT, why)
        else:
            sent = send_all(todo, jobs=self.jobs, cancel=self.cancel, on_result=self.on_result)
        rest = iter(sent)
        return tuple(result or next(rest) for *_, result in checked)

    def _check(
        self, name: str, place: UploadDestination
    ) -> Iterator[tuple[CandidateWheel, UploadResult | None]]:
        """Yield each wheel with its result; None if it is to be sent."""
        wheels = [wheel for wheel in self.wheels if name in wheel.to]
        if any(wheel.attestations for wheel in wheels) and not place.attests:
            self.on_note(f"{place.name}: it takes no attestations, or not with a password")
        known = [wheel for wheel in wheels if wheel.name and wheel.sha256]
        held, unknown = preflight.DestinationFiles(), ""
        try:
            if known:
                held = survey(place, known, self.cancel)
        except UploadError as error:
            unknown = f"the destination does not say what it has: {error.what}"
        refusals = preflight.find_refusals(name, wheels, held, self.granted)
        for wheel in wheels:
            reasons = refusals.get(wheel.filename, ())
            if reasons:
                outcome = UploadOutcome.REFUSED
            elif unknown:
                outcome, reasons = UploadOutcome.FAILED, (unknown,)
            elif held.files.get(wheel.filename) == wheel.sha256:
                outcome = UploadOutcome.THERE
            else:
                yield wheel, None
                continue
            result = UploadResult(place=place.name, wheel=wheel, outcome=outcome, reasons=reasons)
            self.on_result(result)
            yield wheel, result


def _without_sending(
    todo: Sequence[tuple[UploadDestination, CandidateWheel]], outcome: UploadOutcome, *why: str
) -> tuple[UploadResult, ...]:
    return tuple(
        UploadResult(place=place.name, wheel=wheel, outcome=outcome, reasons=why)
        for place, wheel in todo
    )
