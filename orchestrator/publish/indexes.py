"""Publish to an index: twine uploads the wheels, the simple API says what is there."""

from __future__ import annotations

import netrc
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from packaging.utils import parse_sdist_filename

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.host import process, simple_index, web
from orchestrator.host.redaction import masked, redactor
from orchestrator.models.wheel_name import WheelName
from orchestrator.publish import trusted
from orchestrator.publish.preflight import DestinationFiles
from orchestrator.publish.upload import UploadError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from packaging.version import Version

    from orchestrator.provision.host import Host
    from orchestrator.publish.preflight import CandidateWheel

RENEW = 600.0
"""Seconds after which a new upload token is minted; one is valid for 900."""

SLOWEST = 100_000
"""Bytes a second; a slower upload counts as stalled, as twine has no timeout of its own."""

PATIENCE = 600.0
"""Seconds that every upload gets in addition."""

OPEN = timedelta(days=14)
"""How long PyPI takes files for a release."""

_USER = "__token__"
_WIDE = {"COLUMNS": "10000", "NO_COLOR": "1", "TERM": "dumb"}
_HTTP = re.compile(r"HTTPError: (\d{3})\b(.*?) from \S+")
_PASSING = re.compile(
    r"\b(ConnectionError|ConnectTimeout|ReadTimeout|Timeout|ProxyError|ChunkedEncodingError|"
    r"ContentDecodingError|ProtocolError|RemoteDisconnected|IncompleteRead|ConnectionResetError|"
    r"BrokenPipeError)\b"
)
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")

_ASK_TWINE = (
    "import sys; from twine import utils; "
    "config = utils.get_repository_from_config(utils.DEFAULT_CONFIG_FILE, sys.argv[1]); "
    "print(config['repository'])"
)
"""Twine knows the addresses of the public indexes, and reads .pypirc."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadAddress:
    """Where an index takes uploads.

    Attributes:
        name: as in ``--to``, without credentials.
        url: the upload address, without credentials.
        repository: its name for twine; empty for a URL.
        user: the user name in the URL.
        password: the password in the URL.
    """

    name: str
    url: str
    repository: str = ""
    user: str = ""
    password: str = field(default="", repr=False)


def resolve_address(to: str, host: Host) -> UploadAddress:
    """Return where an index takes uploads: ``pypi``, ``testpypi``, or a URL.

    Raises:
        ConfigError: .pypirc cannot be read, or it is not an http(s) URL.
    """
    if "://" in to:
        return _parse_url(to)
    argv = [str(host.toolchain.python), "-I", "-c", _ASK_TWINE, to]
    output = process.capture(argv, env=host.env)
    if not output.ok:
        raise ConfigError.of(output.last_line, where=to, hint="look at .pypirc")
    return UploadAddress(name=to, url=_parse_url(output.stdout.strip()).url, repository=to)


def closed_releases(
    project: str, files: Iterable[simple_index.IndexFile], now: datetime
) -> dict[tuple[str, Version], str]:
    """Return the releases that PyPI takes no more files for -> the day of their first one.

    warehouse/forklift/legacy.py, MAXIMUM_AGE_FOR_NEW_UPLOADS_DAYS.
    """
    first: dict[tuple[str, Version], datetime] = {}
    for file in files:
        version = _version_of(file.name)
        if version is not None and (when := _time_of(file.uploaded)):
            key = project, version
            first[key] = min(when, first.get(key, when))
    return {key: f"{when:%Y-%m-%d}" for key, when in first.items() if now - when > OPEN}


def _version_of(filename: str) -> Version | None:
    if wheel := WheelName.match(filename):
        return wheel.version
    try:
        return parse_sdist_filename(filename)[1]
    except ValueError:
        return None


def _time_of(text: str) -> datetime | None:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def not_a_destination(to: str, where: str = "--to") -> ConfigError:
    """Return the error of an option that names no destination."""
    return ConfigError.of(
        f"not a destination: {masked(to)!r}",
        where=where,
        hint="pypi, testpypi, https://host/path/, s3://bucket/prefix or github-release",
    )


def _parse_url(url: str) -> UploadAddress:
    parts = web.split_url(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise not_a_destination(url)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return UploadAddress(
        name=plain,
        url=plain,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
    )


def simple_urls(upload_url: str) -> tuple[str, ...]:
    """Return where the simple API of an index with this upload address may be."""
    parts = urlsplit(upload_url)
    path = parts.path.rstrip("/")
    if path.endswith("/legacy"):  # Warehouse, whose uploads may have a host of their own
        netloc = parts.netloc.removeprefix("upload.")
        path = path.removesuffix("legacy")
        return (urlunsplit((parts.scheme, netloc, f"{path}simple/", "", "")),)
    if path.endswith("/simple"):
        return (upload_url,)
    base = urlunsplit((parts.scheme, parts.netloc, path, "", ""))
    return (f"{base}/simple/", f"{base}/+simple/")


class IndexDestination:
    """An index as a destination; see `upload.UploadDestination`."""

    def __init__(
        self,
        address: UploadAddress,
        host: Host,
        cancel: process.Cancel,
        *,
        simple_url: str,
        audience: str,
    ) -> None:
        """Ask and send nothing yet.

        Args:
            address: from `resolve_address`.
            host: its toolchain and network; credentials may be in its environment.
            cancel: stops twine.
            simple_url: where the simple API is; empty for where `simple_urls` looks.
            audience: whom identity tokens for this index are made for; empty for a known index.

        Raises:
            ConfigError: the audience is another index'.
        """
        self.name = address.name
        self._address = address
        self._host = host
        self._environ = {name: value for name, value in host.environ.items() if value.strip()}
        self._cancel = cancel
        self._simple = (simple_url,) if simple_url else simple_urls(address.url)
        self._audience = trusted.audience_of(address.name, address.url, audience)
        self._lock = threading.Lock()
        self._minted: tuple[float, str] | None = None

    @property
    def attests(self) -> bool:
        """Only the public indexes take attestations, and only with trusted publishing."""
        return bool(self._address.repository) and self._trusts and not self._given()[1]

    @property
    def _trusts(self) -> bool:
        """Whether this job may get an identity token for this index."""
        return bool(self._audience) and trusted.available(self._environ)

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """Read the simple API; a file without a hash is downloaded."""
        wanted = {wheel.filename for wheel in wheels}
        network = self._host.network
        files: dict[str, str] = {}
        sizes: dict[str, int] = {}
        closed: dict[tuple[str, Version], str] = {}
        for project in sorted({wheel.name.name for wheel in wheels if wheel.name}):
            index, listing = self._listing(project)
            sizes[project] = sum(file.size or 0 for file in listing)
            closed |= closed_releases(project, listing, datetime.now(UTC))
            with _index_errors():
                files |= {
                    file.name: simple_index.sha256_of(file, index, network) or ""
                    for file in listing
                    if file.name in wanted
                }
        return DestinationFiles(files=files, sizes=sizes, closed=closed)

    def _listing(self, project: str) -> tuple[str, tuple[simple_index.IndexFile, ...]]:
        """Return where the simple API is, and a project's files; none if nobody has the project."""
        hint = "" if self._address.repository else "; if its simple API is not there: --simple-url"
        with _index_errors(hint):
            for index in map(self._with_login, self._simple):
                # An index may refer people elsewhere for projects that it does not have.
                found = simple_index.listing(
                    index, project, self._host.network, elsewhere=False, fresh=True
                )
                if found is not None:
                    return index, found
        return "", ()

    def send(self, wheel: CandidateWheel) -> None:
        """Run twine."""
        env = {**self._host.net_env, **_WIDE, **self._login()}
        if "TWINE_CERT" in self._environ:
            env["TWINE_CERT"] = self._environ["TWINE_CERT"]
        attested = wheel.attestations if self._minted and self.attests else ()
        argv = [str(self._host.toolchain.python), "-I", "-m", "twine", "upload"]
        argv += ["--non-interactive", "--disable-progress-bar"]
        argv += ["--attestations"] if attested else []
        argv += [str(path.absolute()) for path in (wheel.path, *attested)]
        lines: list[str] = []
        end = process.run(
            argv,
            env=env,
            cwd=self._host.toolchain.root,
            log=lines.append,
            timeout=PATIENCE + wheel.size / SLOWEST,
            cancel=self._cancel,
        )
        if end.cancelled:
            raise UploadError.cancelled()
        if end.timed_out:
            raise UploadError.of("the index took too long", transient=True)
        if end.returncode != 0:
            raise parse_failure(map(redactor(env), lines), end.returncode)

    def _login(self) -> dict[str, str]:
        """Return the variables that tell twine where to upload and as whom."""
        address = self._address
        if address.repository:
            env = {"TWINE_REPOSITORY": address.repository}
        else:
            env = {"TWINE_REPOSITORY_URL": address.url}
        user, password = self._given()
        if not password and self._trusts:
            user, password = _USER, self._token()
        if not password:
            user, password = self._netrc() or (user, "")
        if password:
            env |= {"TWINE_USERNAME": user or _USER, "TWINE_PASSWORD": password}
        elif user:
            env["TWINE_USERNAME"] = user
        return env

    def _given(self) -> tuple[str, str]:
        """Return user and password as the URL or the environment says."""
        address = self._address
        if address.password:
            return address.user, address.password
        user = address.user or self._environ.get("TWINE_USERNAME", "")
        return user, self._environ.get("TWINE_PASSWORD", "")

    def _netrc(self) -> tuple[str, str] | None:
        """Return user and password of .netrc, which twine does not read."""
        home = Path(self._environ.get("HOME", "/nonexistent"))
        path = self._environ.get("NETRC") or str(home / ".netrc")
        try:
            login = netrc.netrc(path).authenticators(urlsplit(self._address.url).hostname or "")
        except (OSError, netrc.NetrcParseError):  # its text holds the line
            return None
        return (login[0], login[2]) if login and login[2] else None

    def _token(self) -> str:
        with self._lock:
            now = time.monotonic()
            if self._minted is None or now - self._minted[0] > RENEW:
                token = trusted.mint_token(
                    self._address.url, self._audience, self._host, self._environ
                )
                self._minted = (now, token)
            return self._minted[1]

    def _with_login(self, index: str) -> str:
        """Add the login to a simple API's address, if it is on the same server and private."""
        parts = urlsplit(index)
        mine = urlsplit(self._address.url)
        user, password = self._given()
        if not password:
            user, password = self._netrc() or ("", "")
        same_server = (parts.scheme, parts.netloc) == (mine.scheme, mine.netloc)
        if self._address.repository or not password or not same_server:
            return index
        login = f"{quote(user or _USER, safe='')}:{quote(password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


@contextmanager
def _index_errors(hint: str = "") -> Iterator[None]:
    try:
        yield
    except EnvironmentProblemError as error:
        what = "; ".join(f"{problem.where}: {problem.what}" for problem in error.problems)
        raise UploadError.of(f"{what}{hint}", transient=True) from None


def parse_failure(lines: Iterable[str], returncode: int) -> UploadError:
    """Return why an upload failed, according to twine's output without credentials."""
    texts = [line.strip() for line in lines if line.strip()]
    for number, line in enumerate(texts):
        if match := _HTTP.search(line):
            status = int(match[1])
            # The server's explanation is on the next line.
            words = " ".join(texts[number + 1 : number + 2]) or match[2].strip()
            return UploadError.of(f"HTTP {status}: {words}", transient=status in web.PASSING)
    last = texts[-1] if texts else f"twine ended with {returncode}"
    if "Credential not found" in last or "could not determine credentials" in last:
        return UploadError.of(
            "the index needs a user and password: set TWINE_USERNAME and TWINE_PASSWORD, or see "
            "docs/howto/publishing.md"
        )
    transient = bool(_PASSING.search(last) and not _CERTIFICATE.search(last))
    return UploadError.of(last, transient=transient)
