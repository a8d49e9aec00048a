"""What may go where, what an answer means, and how uploads go on when others fail."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.errors import ConfigError, ErrorKind, ExitCode
from orchestrator.host import simple_index, web
from orchestrator.host.network import HostNetwork
from orchestrator.host.process import Cancel
from orchestrator.host.web import HttpRequest, ask
from orchestrator.models.result import UploadOutcome
from orchestrator.models.target import Digest
from orchestrator.models.wheel_name import WheelName
from orchestrator.publish import trusted, upload
from orchestrator.publish.attested import attestations, check_attestation
from orchestrator.publish.indexes import (
    UploadAddress,
    closed_releases,
    parse_failure,
    simple_urls,
)
from orchestrator.publish.preflight import (
    CandidateWheel,
    DestinationFiles,
    GrantedLimits,
    find_refusals,
)
from orchestrator.publish.releases import ReleaseDestination, ReleaseSettings
from orchestrator.publish.trusted import audience_of
from orchestrator.publish.upload import UploadError, UploadResult, send_all, survey
from tests import factories
from tests.auditor import load_policies

pytestmark = pytest.mark.usefixtures("wide_terminal")

OURS, THEIRS = Digest("a" * 64), Digest("b" * 64)


def wheel(
    name: str = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", **facts: Any
) -> CandidateWheel:
    known = {"path": Path(name), "name": WheelName.parse(name), "sha256": OURS, "size": 1, **facts}
    return CandidateWheel(**known)


# The gate


NOTHING, USUAL = DestinationFiles(), GrantedLimits()
refused = partial(find_refusals, held=NOTHING, granted=USUAL)
LOONG = "demo-1.0-cp314-cp314-manylinux_2_38_loongarch64.whl"


@pytest.mark.parametrize(
    ("place", "name", "size", "why"),
    [
        ("pypi", "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl", 100 << 20, ""),
        ("pypi", "demo-1.0-py3-none-any.whl", 1, ""),
        ("pypi", "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 1, ""),
        ("pypi", "demo-1.0-py3-none-any.whl", (100 << 20) + 1, "takes no file over 100 MiB"),
        ("pypi", "demo-1.0+cu1-py3-none-any.whl", 1, "takes no local versions such as 1.0+cu1"),
        ("pypi", "demo-1.0-cp312-cp312-linux_x86_64.whl", 1, "takes no linux_x86_64 wheels"),
        ("testpypi", LOONG, 1, "testpypi takes no manylinux_*_loongarch64 wheels"),
        ("github-release", "demo-1.0+cu1-cp312-cp312-linux_x86_64.whl", (2 << 30) - 1, ""),
        ("github-release", "demo-1.0-py3-none-any.whl", 2 << 30, "takes no file over 2 GiB"),
        ("github-release", "demo-1!2.0-py3-none-any.whl", 1, "would change the name"),
        ("s3://bucket/whl", "demo-1!2.0+x-cp312-cp312-linux_loongarch64.whl", 5 << 30, ""),
        ("https://index.example/", "demo-1.0+x-cp312-cp312-linux_x86_64.whl", 5 << 30, ""),
    ],
)
def test_each_destination_has_rules_of_its_own(place: str, name: str, size: int, why: str) -> None:
    found = refused(place, [wheel(name, size=size)])

    assert [each for reasons in found.values() for each in reasons if why not in each] == []
    assert bool(found) is bool(why)


def test_what_was_granted_counts_and_only_where_it_is_granted() -> None:
    more = GrantedLimits(file_size=3 << 30, project_size=40 << 30)
    large = wheel(size=(2 << 30) + 1)

    held = DestinationFiles(sizes={"demo": 30 << 30})
    assert refused("pypi", [large], held=held, granted=more) == {}
    assert refused("github-release", [large], granted=more)


def test_all_that_is_wrong_is_said_and_only_of_the_wheel_it_is_wrong_with() -> None:
    bad = wheel("demo-1.0+x-cp312-cp312-linux_x86_64.whl", wrong=("verify: record: differs",))
    good = wheel("demo-1.0-cp313-cp313-manylinux_2_28_x86_64.whl")

    found = refused("pypi", [bad, good], held=DestinationFiles(files={bad.filename: THEIRS}))

    assert list(found) == [bad.filename]
    assert len(found[bad.filename]) == 4


def test_a_wheel_that_is_there_takes_no_more_room() -> None:
    there, new = wheel(size=60 << 20), wheel("demo-1.1-py3-none-any.whl", size=60 << 20)
    held = DestinationFiles(files={there.filename: OURS}, sizes={"demo": (10 << 30) - (80 << 20)})

    assert refused("pypi", [there, new], held=held) == {}
    full = DestinationFiles(files=held.files, sizes={"demo": (10 << 30) - (50 << 20)})
    (why,) = refused("pypi", [there, new], held=full)[new.filename]
    assert "takes no more than 10 GiB; --max-project-size" in why


def test_a_release_has_no_room_for_more_than_a_thousand() -> None:
    new = [wheel("demo-1.1-py3-none-any.whl"), wheel("demo-1.2-py3-none-any.whl")]

    found = refused("github-release", new, held=DestinationFiles(count=999))

    assert list(found) == [new[1].filename]
    assert "takes no more than 1000" in found[new[1].filename][0]


def test_another_file_is_refused_with_both_hashes() -> None:
    one = wheel()
    held = DestinationFiles(files={one.filename: THEIRS})
    (why,) = refused("s3://b", [one], held=held)[one.filename]
    assert THEIRS in why
    assert OURS in why
    unknown = refused("s3://b", [one], held=DestinationFiles(files={one.filename: ""}))
    assert "its SHA-256 is not known" in unknown[one.filename][0]


# Attestations


def test_an_attestation_is_of_its_wheel_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "demo-1.0-py3-none-any.whl"
    nonsense = tmp_path / f"{path.name}.publish.attestation"
    deep = base64.b64encode(b"[" * 100_000).decode()
    statements = (f'{{"envelope": {{"statement": "{text}"}}}}' for text in ("x", "e30=", deep))
    for text in ("", "[]", "[" * 100_000, *statements):
        nonsense.write_text(text)
        assert "is not an attestation" in check_attestation(nonsense, OURS)
    (tmp_path / "demo-1.0-py3-none-any.whl2.attestation").write_text("")
    assert attestations(path) == (nonsense,)


# What twine says


@pytest.mark.parametrize(
    ("lines", "transient", "text"),
    [
        (["ERROR    HTTPError: 403 Forbidden from https://i/", "  no such user"], False, "no such"),
        (["ERROR    HTTPError: 502 Bad Gateway from https://i/", "  Bad"], True, "HTTP 502"),
        (["ERROR    HTTPError: 429 Too Many Requests from https://i/"], True, "Too Many"),
        (["requests.exceptions.ConnectionError: ('Connection aborted.', x)"], True, "aborted"),
        (["requests.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] x"], False, "SSL"),
        (["ERROR    NonInteractive: Credential not found for API token."], False, "TWINE_PASS"),
        ([], False, "twine ended with 1"),
    ],
)
def test_failures_that_pass_are_told_from_those_that_stay(
    lines: Sequence[str], *, transient: bool, text: str
) -> None:
    found = parse_failure(lines, 1)

    assert found.transient is transient
    assert text in str(found)


DEVPI = "http://x:3141/me/dev/"


@pytest.mark.parametrize(
    ("upload_url", "found"),
    [
        ("https://upload.x.example/legacy/", ("https://x.example/simple/",)),
        ("https://x.example/legacy/", ("https://x.example/simple/",)),
        ("https://x.example/simple", ("https://x.example/simple",)),
        (DEVPI, (f"{DEVPI}simple/", f"{DEVPI}+simple/")),
    ],
)
def test_where_the_simple_api_is(upload_url: str, found: tuple[str, ...]) -> None:
    assert simple_urls(upload_url) == found


def test_a_secret_is_not_shown_and_goes_nowhere_in_the_open() -> None:
    address = UploadAddress(name="x", url="https://x", user="u", password="s3cret")  # noqa: S106
    assert "s3cret" not in repr(address)
    request = HttpRequest(url="http://index.example/", authorization="Bearer x", confidential=True)
    with pytest.raises(ConfigError, match="everybody on the way"):
        ask(request, HostNetwork())


# Uploads; a destination that fails as wanted, which no real one does


class Fails:
    """A destination whose next uploads end with `errors` (None is success)."""

    name = "there"
    attests = False

    def __init__(self, *errors: Exception | None, held: DestinationFiles | None = None) -> None:
        self.errors = list(errors)
        self.held = held or DestinationFiles()
        self.sent = 0

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        return self.held

    def send(self, wheel: CandidateWheel) -> None:
        self.sent += 1
        error = self.errors.pop(0) if self.errors else None
        if error:
            raise error


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PAUSES", (0.0, 0.0, 0.0, 0.0))


def sent(place: Any, *wheels: CandidateWheel) -> tuple[UploadResult, ...]:
    work = [(place, each) for each in wheels or (wheel(),)]
    return send_all(work, jobs=2, cancel=Cancel(), on_result=lambda _: None)


BUSY = UploadError.of("503", transient=True)


@pytest.mark.parametrize(
    ("errors", "outcome", "attempts"),
    [
        ([], UploadOutcome.UPLOADED, 1),
        ([BUSY, BUSY], UploadOutcome.UPLOADED, 3),
        ([BUSY] * 9, UploadOutcome.FAILED, 5),
        ([UploadError.of("403")], UploadOutcome.FAILED, 1),
        ([ConfigError.of("wrong")], UploadOutcome.FAILED, 1),
        ([UploadError.of("another", kind=ErrorKind.NAME_TAKEN)], UploadOutcome.REFUSED, 1),
        ([UploadError.cancelled()], UploadOutcome.NOT_SENT, 1),
    ],
)
def test_only_what_passes_is_tried_again(
    errors: Sequence[Exception], outcome: UploadOutcome, attempts: int
) -> None:
    (found,) = sent(Fails(*errors))

    assert (found.outcome, found.attempts) == (outcome, attempts)


@pytest.mark.parametrize(
    "error", [UploadError.of("no answer", transient=True), UploadError.of("409")]
)
def test_a_failure_after_which_the_wheel_is_there_is_none(error: Exception) -> None:
    one = wheel()
    (found,) = sent(Fails(error, held=DestinationFiles(files={one.filename: OURS})), one)
    assert (found.outcome, found.attempts) == (UploadOutcome.THERE, 1)
    (found,) = sent(Fails(error, held=DestinationFiles(files={one.filename: THEIRS})), one)
    assert found.outcome is UploadOutcome.REFUSED
    assert THEIRS in found.reasons[0]


def test_one_that_fails_hides_no_other() -> None:
    wheels = [wheel(f"demo-1.{number}-py3-none-any.whl") for number in range(9)]

    found = sent(Fails(UploadError.of("400")), *wheels)

    outcomes = sorted(each.outcome for each in found)
    assert outcomes == [UploadOutcome.FAILED, *[UploadOutcome.UPLOADED] * 8]


def test_after_an_interrupt_nothing_is_begun() -> None:
    cancel, place = Cancel(), Fails()
    cancel.set()

    (found,) = send_all([(place, wheel())], jobs=1, cancel=cancel, on_result=lambda _: None)

    assert (found.outcome, place.sent) == (UploadOutcome.NOT_SENT, 0)


def test_a_destination_that_cannot_be_asked_is_asked_again() -> None:
    class Deaf(Fails):
        def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
            self.sent += 1
            if self.sent < 3:
                raise UploadError.of("502", transient=True)
            return self.held

    place = Deaf()
    assert survey(place, [wheel()], Cancel()) is place.held
    place.sent = -9
    with pytest.raises(UploadError, match="502"):
        survey(place, [wheel()], Cancel())


# The command line


def test_a_release_needs_to_be_told_which_all_at_once() -> None:
    with pytest.raises(ConfigError, match=r"--tag TAG .*GITHUB_REPOSITORY.*GITHUB_TOKEN"):
        ReleaseSettings.detect({"GITHUB_REF_NAME": "main", "GITHUB_REF_TYPE": "branch"}, "")
    given = {"GITHUB_REPOSITORY": "o/r", "GH_TOKEN": "t0ken", "GITHUB_TOKEN": " "}
    found = ReleaseSettings.detect(given, "v1")
    assert found.token == "t0ken"  # noqa: S105
    assert "t0ken" not in repr(found)
    with pytest.raises(ConfigError):
        ReleaseSettings.detect({**given, "GITHUB_REPOSITORY": "o/r/../../x"}, "v1")


@pytest.fixture
def dist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_REPOSITORY", "GITHUB_TOKEN", "GH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWINE_PASSWORD", "pw-of-one-index")
    host = partial(factories.host, tmp_path / "cache", environ=os.environ)
    monkeypatch.setattr("orchestrator.cli.workspace.open_host", host)
    monkeypatch.setattr("orchestrator.cli.workspace.load_policies", lambda *_: load_policies())
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "demo-1.0-py3-none-any.whl").write_bytes(b"no wheel")
    return folder


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), ExitCode.NOTHING_SELECTED, "no wheel has a destination"),
        (("--to", "pipy"), ExitCode.CONFIG, "not a destination: 'pipy'"),
        (("--to", "ftp://u:p4ssword@host/"), ExitCode.CONFIG, "not a destination"),
        (("--to", "https://"), ExitCode.CONFIG, "not a destination"),
        (("--to", "https://a/", "--to", "https://b/"), ExitCode.CONFIG, "belongs to one index"),
        (("--to", "github-release"), ExitCode.CONFIG, "github-release: needs"),
        (("--to", "pypi", "--max-file-size", "much"), ExitCode.CONFIG, "--max-file-size"),
    ],
)
@pytest.mark.usefixtures("dist")
def test_what_cannot_be_meant_is_said_before_anything_is_done(
    options: tuple[str, ...], code: ExitCode, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["publish", "dist", *options]) == code
    said = capsys.readouterr().err
    assert message in said
    assert "p4ssword" not in said
    assert "pw-of-one-index" not in said


def test_two_files_of_one_name_are_an_error(dist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = dist.parent / "other"
    other.mkdir()
    (other / "demo-1.0-py3-none-any.whl").write_bytes(b"other")
    assert run(["publish", "dist", "other", "dist", "--to", "pypi"]) == ExitCode.CONFIG
    assert "has the same name" in capsys.readouterr().err
    (dist.parent / "empty").mkdir()
    assert run(["publish", "empty", "--to", "pypi"]) == ExitCode.NOTHING_SELECTED


@pytest.mark.parametrize("end", ["-py3-none-any.whl", ".tar.gz"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "nothing", "device"])
def test_what_is_no_file_is_refused(
    dist: Path, kind: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = dist / f"demo-2.0{end}"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    code = run(["publish", str(dist), "--to", "s3://bucket/x", "--dry-run"])
    said = " ".join(capsys.readouterr().err.split())
    assert code == ExitCode.PUBLISH_REFUSED, said
    assert f"{place.name} -> s3://bucket/x: refused verify: unreadable" in said


HOSTILE = "demo-1.0-py3-none-any$(touch x)\n::set-output name=a::b\x1b[2J.whl"


def test_a_hostile_name_is_refused_and_moves_no_cursor(
    dist: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    (dist / HOSTILE).write_bytes(b"x")

    code = run(["publish", str(dist / HOSTILE), "--to", "s3://bucket/x", "--dry-run", "--json"])

    said = capsys.readouterr()
    assert code == ExitCode.PUBLISH_REFUSED
    assert json.loads(said.out)["results"][0]["wheel"] == HOSTILE
    assert not [line for line in (said.out + said.err).splitlines() if line.startswith("::")]
    assert "\x1b" not in said.err


PUBLIC = {"pypi": "https://upload.pypi.org/legacy/", "testpypi": "https://test.pypi.org/legacy/"}


@pytest.mark.parametrize(
    ("name", "given", "audience"),
    [
        ("pypi", "", "pypi"),
        ("testpypi", "testpypi", "testpypi"),
        ("https://upload.pypi.org/legacy/", "", "pypi"),
        ("https://Test.PyPI.org:443/x", "", "testpypi"),
        ("https://host/legacy/", "", ""),
        ("https://host/legacy/", "host", "host"),
        ("https://pypi.org.host/x", "", ""),
        ("http://upload.pypi.org/legacy/", "", ""),
        ("https://host/legacy/", "pypi", None),
        ("https://host/legacy/", "testpypi", None),
        ("pypi", "sts.amazonaws.com", None),
        ("pypi", "testpypi", None),
    ],
)
def test_the_audience_of_a_token_is_known_before_anybody_is_asked(
    name: str, given: str, audience: str | None
) -> None:
    url = PUBLIC.get(name, name)
    if audience is None:
        with pytest.raises(ConfigError, match="--audience"):
            audience_of(name, url, given)
    else:
        assert audience_of(name, url, given) == audience


GITHUB = "https://api.github.com"
OURS_TO_ASK = [
    (GITHUB, "https://api.github.com/repos/o/r/releases/assets/1"),
    (GITHUB, "https://uploads.github.com/repos/o/r/releases/1/assets"),
    ("https://host/api/v3", "https://host/api/uploads/repos/o/r/releases/1/assets"),
    ("https://api.x.ghe.com", "https://uploads.x.ghe.com/repos"),
]
ANOTHER_S = [
    *("https://evil/repos", "https://api.github.com@evil/repos", "http://api.github.com/repos"),
    *("https://api.github.com:8443/repos", "https://uploads.github.com.evil/repos"),
    "//api.github.com/repos",
]


@pytest.mark.parametrize(("api", "url"), [*OURS_TO_ASK, *((GITHUB, each) for each in ANOTHER_S)])
def test_a_release_s_token_goes_to_github_alone(
    api: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(request: web.HttpRequest, network: HostNetwork) -> web.HttpResponse:
        asked.append(request.url)
        return web.HttpResponse(status=204, reason="", kind="", url=request.url, body=b"")

    monkeypatch.setattr(web, "ask", ask)
    settings = ReleaseSettings(api=api, repository="o/r", tag="v1", commit="", token=OURS)
    destination = ReleaseDestination(settings, HostNetwork(), Cancel())
    if (api, url) in OURS_TO_ASK:
        destination._ask("DELETE", url)
        assert asked == [url]
    else:
        with pytest.raises(UploadError, match="names another server"):
            destination._ask("DELETE", url)
        assert asked == []


def test_a_login_goes_to_no_file_that_is_less_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def sha256_of(request: web.HttpRequest, network: HostNetwork) -> str:
        sent.append(request.authorization)
        return ""

    monkeypatch.setattr(web, "sha256_of", sha256_of)
    index = "https://user:password@host/simple/"
    for url in ("https://host/x", "http://host/x", "https://host:8443/x", "https://other/x"):
        file = simple_index.IndexFile(name="x", yanked=False, url=url)
        simple_index.sha256_of(file, index, HostNetwork())
    assert [bool(each) for each in sent] == [True, False, False, False]


# What PyPI's program would refuse


ANSWERS = {
    b"no": "HTTP 422 Unprocessable",
    b"[]": "HTTP 422 Unprocessable",
    b'{"errors": 5}': "HTTP 422 Unprocessable",
    b'{"errors": {"code": "x"}}': "HTTP 422 Unprocessable",
    b'{"errors": [5, {"code": "taken"}]}': "taken",
}


@pytest.mark.parametrize(("body", "said"), ANSWERS.items())
def test_any_answer_of_a_server_is_an_error_of_it(
    body: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = web.HttpResponse(
        status=422, reason="Unprocessable", kind="x", url="https://host/", body=body
    )
    monkeypatch.setattr(trusted, "_identity", lambda *_: "identity")
    monkeypatch.setattr(web, "ask", lambda *_, **__: answer)
    host: Any = SimpleNamespace(network=HostNetwork.detect({}))
    with pytest.raises(UploadError, match=said):
        trusted.mint_token("https://host/legacy/", "pypi", host, {})
    place = ReleaseDestination(
        ReleaseSettings(api="https://host", repository="o/r", tag="v1", commit="", token="s3cret"),  # noqa: S106
        HostNetwork.detect({}),
        Cancel(),
    )
    with pytest.raises(UploadError, match=said):
        place.survey([])


def test_pypi_alone_refuses_what_pypis_program_does() -> None:
    one = wheel(index_refusals=("Summary has 513 characters",))
    for place in ("pypi", "testpypi"):
        (why,) = refused(place, [one])[one.filename]
        assert why == f"{place}: Summary has 513 characters"
    for place in ("github-release", "s3://bucket/whl", "https://index.example/"):
        assert refused(place, [one]) == {}
    there = DestinationFiles(files={one.filename: OURS})
    assert refused("pypi", [one], held=there) == {}


NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("times", "closed"),
    [
        (["2026-11-16T00:00:00Z"], False),
        (["2026-11-15T23:59:59.5Z"], True),
        (["2026-11-29T00:00:00Z", "2026-11-01T00:00:00Z"], True),
        (["2026-11-01T00:00:00"], True),
        (["", "not a time"], False),
    ],
)
def test_a_release_is_open_for_two_weeks(times: list[str], *, closed: bool) -> None:
    files = [
        simple_index.IndexFile(name=f"demo-1.0-{n}-py3-none-any.whl", yanked=False, uploaded=time)
        for n, time in enumerate(times, 1)
    ]
    other = simple_index.IndexFile(name="demo-0.9.tar.gz", yanked=False, uploaded="2020-01-01")
    held = DestinationFiles(closed=closed_releases("demo", [*files, other, other], NOW))
    found = refused("pypi", [wheel()], held=held)
    assert bool(found) is closed
    assert refused("https://index.example/", [wheel()], held=held) == {}
    (why,) = refused("pypi", [wheel("demo-0.9-py3-none-any.whl")], held=held).values()
    assert why == ("pypi takes no more files for a release of 2020-01-01: make a new version",)


@pytest.mark.parametrize(
    ("platform", "taken"),
    [
        ("macosx_10_9_x86_64", True),
        ("macosx_11_0_arm64", True),
        ("macosx_11_1_arm64", False),
        ("macosx_16_0_arm64", False),
        ("macosx_26_0_universal2", True),
        ("ios_13_0_arm64_iphoneos", True),
        ("android_21_arm64_v8a", True),
        ("pyemscripten_2026_0_wasm32", True),
        ("win_arm64", True),
        ("manylinux_2_28_ppc64", True),
        ("musllinux_1_2_ppc64", False),
        ("linux_armv7l", True),
    ],
)
def test_platforms_of_pypi(platform: str, *, taken: bool) -> None:
    found = refused("pypi", [wheel(f"demo-1.0-py3-none-{platform}.whl")])
    assert (found == {}) is taken
