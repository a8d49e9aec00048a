"""An index as a destination: twine sends wheels, the simple API says what is there."""

from __future__ import annotations

import netrc
import re
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.host import process, simple_index
from orchestrator.host.redaction import masked, redactor
from orchestrator.publish import trusted
from orchestrator.publish.preflight import DestinationFiles
from orchestrator.publish.upload import (
    UploadError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.provision.host import Host
    from orchestrator.publish.preflight import CandidateWheel

RENEW = 600.0
"""Seconds after which a token of trusted publishing is exchanged anew; it is good for 900."""

SLOWEST = 100_000
"""Bytes a second; twine waits for an answer for ever, so what is slower counts as stalled."""

PATIENCE = 600.0
"""Seconds on top."""

_USER = "__token__"
_WIDE = {"COLUMNS": "10000", "NO_COLOR": "1", "TERM": "dumb"}
_HTTP = re.compile(r"HTTPError: (\d{3})\b(.*?) from \S+")
_PASSING = re.compile(
    r"\b(ConnectionError|ConnectTimeout|ReadTimeout|Timeout|ProxyError|ChunkedEncodingError|"
    r"ContentDecodingError|ProtocolError|RemoteDisconnected|IncompleteRead|ConnectionResetError|"
    r"BrokenPipeError)\b"
)
_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed")
_PASSING_STATUS = {408, 425, 429}
_SERVER = 500

_ASK_TWINE = (
    "import sys; from twine import utils; "
    "found = utils.get_repository_from_config(utils.DEFAULT_CONFIG_FILE, sys.argv[1]); "
    "print(found['repository'])"
)
"""Twine knows the addresses of the public indexes, and what .pypirc says instead."""


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
    password: str = ""

    def __repr__(self) -> str:
        return f"Address({self.name})"


def resolved(to: str, host: Host) -> UploadAddress:
    """Return where an index takes uploads.

    Args:
        to: ``pypi``, ``testpypi``, or a URL.
        host: its toolchain.

    Raises:
        ConfigError: .pypirc cannot be read, or the URL is none.
    """
    if "://" not in to:
        argv = [str(host.toolchain.python), "-I", "-c", _ASK_TWINE, to]
        said = process.capture(argv, env=host.env)
        if not said.ok:
            raise ConfigError.of(said.last_line, where=to, hint="look at .pypirc")
        found = _parted(said.stdout.strip(), name=to)
        return UploadAddress(name=to, url=found.url, repository=to)
    return _parted(to, name="")


def _parted(url: str, *, name: str) -> UploadAddress:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError.of(
            f"not a destination: {masked(url)!r}",
            where="--to",
            hint="pypi, testpypi, https://host/path/, s3://bucket/prefix or github-release",
        )
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return UploadAddress(
        name=name or plain,
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
    """An index as a destination; see `upload.Place`."""

    def __init__(
        self,
        address: UploadAddress,
        host: Host,
        environ: Mapping[str, str],
        cancel: process.Cancel,
        *,
        simple_url: str = "",
    ) -> None:
        """Nothing is asked yet.

        Args:
            address: from `resolved`.
            host: its toolchain and network.
            environ: where credentials may be.
            cancel: stops twine.
            simple_url: where the simple API is, if it is nowhere `simple_urls` knows.
        """
        self.name = address.name
        self._address = address
        self._host = host
        self._environ = {name: value for name, value in environ.items() if value.strip()}
        self._cancel = cancel
        self._simple = (simple_url,) if simple_url else simple_urls(address.url)
        self._lock = threading.Lock()
        self._minted: tuple[float, str] | None = None

    @property
    def attests(self) -> bool:
        """Only the public indexes take attestations, and only with trusted publishing."""
        trusts = trusted.available(self._environ) and not self._given()[1]
        return bool(self._address.repository) and trusts

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """Look at the simple API; a file without a hash is downloaded."""
        projects = {each.name.name for each in wheels if each.name}
        wanted = {each.filename for each in wheels}
        files: dict[str, str] = {}
        sizes: dict[str, int] = {}
        for project in sorted(projects):
            for index in map(self._with_login, self._simple):
                found = self._listing(index, project)
                if found is None:
                    continue
                sizes[project] = sum(each.size or 0 for each in found)
                for each in found:
                    if each.name in wanted:
                        files[each.name] = self._hash(each, index)
                break
        return DestinationFiles(files=files, sizes=sizes)

    def _listing(self, index: str, project: str) -> tuple[simple_index.IndexFile, ...] | None:
        try:
            # An index may send people elsewhere for what it does not have.
            return simple_index.listing(
                index, project, self._host.network, elsewhere=False, fresh=True
            )
        except EnvironmentProblemError as error:
            hint = "; --simple-url says where its simple API is, if not there"
            what = "; ".join(f"{each.where}: {each.what}" for each in error.problems)
            raise UploadError.of(
                what + ("" if self._address.repository else hint), transient=True
            ) from None

    def _hash(self, file: simple_index.IndexFile, index: str) -> str:
        try:
            return simple_index.sha256_of(file, index, self._host.network) or ""
        except EnvironmentProblemError as error:
            what = "; ".join(f"{each.where}: {each.what}" for each in error.problems)
            raise UploadError.of(what, transient=True) from None

    def send(self, wheel: CandidateWheel) -> None:
        """Run twine."""
        login = self._login()
        env = {**self._host.net_env, **_WIDE, **login}
        if "TWINE_CERT" in self._environ:
            env["TWINE_CERT"] = self._environ["TWINE_CERT"]
        attested = wheel.attestations if self._minted and self.attests else ()
        argv = [str(self._host.toolchain.python), "-I", "-m", "twine", "upload"]
        argv += ["--non-interactive", "--disable-progress-bar"]
        argv += ["--attestations"] if attested else []
        argv += [str(each.absolute()) for each in (wheel.path, *attested)]
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
            hide = redactor(env)
            raise failure([hide(line) for line in lines], end.returncode)

    def _login(self) -> dict[str, str]:
        """Return what tells twine where to upload and as whom."""
        address = self._address
        if address.repository:
            env = {"TWINE_REPOSITORY": address.repository}
        else:
            env = {"TWINE_REPOSITORY_URL": address.url}
        user, password = self._given()
        if not password and trusted.available(self._environ) and (token := self._token()):
            user, password = _USER, token
        if not password and (found := self._netrc()):
            user, password = found
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
        home = Path(self._environ.get("HOME", "/nonexistent"))
        path = self._environ.get("NETRC") or str(home / ".netrc")
        try:
            found = netrc.netrc(path).authenticators(urlsplit(self._address.url).hostname or "")
        except (OSError, netrc.NetrcParseError):  # its text holds the line
            return None
        return (found[0], found[2]) if found and found[2] else None

    def _token(self) -> str:
        with self._lock:
            now = time.monotonic()
            if self._minted is None or now - self._minted[0] > RENEW:
                token = trusted.exchanged(
                    self._address.url,
                    self._host,
                    self._environ,
                    public=bool(self._address.repository),
                )
                if not token:
                    return ""
                self._minted = (now, token)
            return self._minted[1]

    def _with_login(self, index: str) -> str:
        """Return the address of the simple API, with the login of an index that is not public."""
        parts = urlsplit(index)
        mine = urlsplit(self._address.url)
        user, password = self._given()
        if not password:
            user, password = self._netrc() or ("", "")
        same = (parts.scheme, parts.netloc) == (mine.scheme, mine.netloc)
        if self._address.repository or not password or not same:
            return index
        login = f"{quote(user or _USER, safe='')}:{quote(password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def failure(lines: Iterable[str], returncode: int) -> UploadError:
    """Return what went wrong with an upload, from what twine says.

    Args:
        lines: its output, without credentials.
        returncode: how it ended.
    """
    texts = [line.strip() for line in lines if line.strip()]
    for number, line in enumerate(texts):
        if found := _HTTP.search(line):
            status = int(found[1])
            # What the server says of it stands on the next line.
            words = " ".join(texts[number + 1 : number + 2]) or found[2].strip()
            text = f"HTTP {status}: {words}"
            passing = status >= _SERVER or status in _PASSING_STATUS
            return UploadError.of(text, transient=passing)
    last = texts[-1] if texts else f"twine ended with {returncode}"
    if _PASSING.search(last) and not _CERTIFICATE.search(last):
        return UploadError.of(last, transient=True)
    if "Credential not found" in last or "could not determine credentials" in last:
        return UploadError.of(
            "no user and password for it: set TWINE_USERNAME and TWINE_PASSWORD, or see "
            "docs/publishing.md"
        )
    return UploadError.of(last)
