"""Publish to the release of a tag on GitHub: its assets, through the REST API."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.host import web
from orchestrator.models.reading import read_json
from orchestrator.publish.preflight import DestinationFiles, name_taken
from orchestrator.publish.upload import (
    UploadBody,
    UploadError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.host.network import HostNetwork
    from orchestrator.host.process import Cancel
    from orchestrator.publish.preflight import CandidateWheel

API = "https://api.github.com"
_VERSION = "2022-11-28"
_JSON = "application/vnd.github+json"
_PAGE = 100
_PAGES = 100
"""Pages of releases, or of assets, at most: nobody has more."""

_CREATED, _NOT_FOUND, _UNPROCESSABLE, _OK = 201, 404, 422, 200
_FORBIDDEN = {403, 429}
_UPLOADED = "uploaded"
_T = TypeVar("_T")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """Where the release is.

    Attributes:
        api: address of the API.
        repository: ``owner/name``.
        tag: the release's tag.
        commit: what a missing tag is made for; empty for the default branch.
        token: with ``contents: write``.
    """

    api: str
    repository: str
    tag: str
    commit: str
    token: str = field(repr=False)

    @classmethod
    def detect(cls, environ: Mapping[str, str], tag: str) -> ReleaseSettings:
        """Read the settings from the job's environment.

        Args:
            environ: usually `os.environ`; empty values count as unset.
            tag: as in ``--tag``; empty for the tag that the job runs for.

        Raises:
            ConfigError: settings are missing; it names all of them.
        """
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        if not tag and given.get("GITHUB_REF_TYPE") == "tag":
            tag = given.get("GITHUB_REF_NAME", "")
        repository = given.get("GITHUB_REPOSITORY", "")
        token = given.get("GITHUB_TOKEN") or given.get("GH_TOKEN", "")
        missing = [
            name
            for name, there in (
                ("--tag TAG (the job does not run for a tag)", tag),
                ("GITHUB_REPOSITORY=owner/name", _REPOSITORY.fullmatch(repository)),
                ("GITHUB_TOKEN", token),
            )
            if not there
        ]
        if missing:
            raise ConfigError.of(f"needs {', '.join(missing)}", where="github-release")
        return cls(
            api=given.get("GITHUB_API_URL", API).rstrip("/"),
            repository=repository,
            tag=tag,
            commit=given.get("GITHUB_SHA", ""),
            token=token,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    id: int
    upload_url: str
    tag_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asset:
    name: str
    url: str
    state: str
    digest: str | None = None

    @property
    def sha256(self) -> str:
        kind, _, value = (self.digest or "").partition(":")
        return value if kind == "sha256" else ""


class ReleaseDestination:
    """A release as a destination; see `upload.UploadDestination`."""

    name = "github-release"
    attests = False

    def __init__(self, settings: ReleaseSettings, network: HostNetwork, cancel: Cancel) -> None:
        """Send nothing yet."""
        self._settings = settings
        self._network = network
        self._cancel = cancel
        self._lock = threading.Lock()
        self._release: _Release | None = None

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """List the assets; one without a digest is downloaded."""
        with self._lock:
            release = self._find_release()
        if release is None:
            return DestinationFiles()
        assets = [asset for asset in self._assets(release) if asset.state == _UPLOADED]
        wanted = {wheel.filename for wheel in wheels}
        files = {asset.name: self._hash(asset) for asset in assets if asset.name in wanted}
        return DestinationFiles(files=files, count=len(assets))

    def send(self, wheel: CandidateWheel) -> None:
        """Upload the wheel; the release is made if it is missing."""
        with self._lock:
            release = self._find_release() or self._make_release()
        # An upload that was cut off leaves an asset behind that nobody can download.
        for asset in self._assets(release):
            if asset.name == wheel.filename and asset.state != _UPLOADED:
                self._ask("DELETE", asset.url)
        address = release.upload_url.partition("{")[0]
        with wheel.path.open("rb") as stream:
            body: Any = UploadBody(stream, self._cancel)
            answer = self._ask(
                "POST",
                f"{address}?{urlencode({'name': wheel.filename})}",
                kind="application/octet-stream",
                body=body,
                size=wheel.size,
            )
        if answer.status != _CREATED:
            raise self._error("the upload", answer)
        asset = _read(_Asset, answer)
        if asset.name != wheel.filename:
            raise UploadError.of(f"GitHub has renamed it to {asset.name!r}")
        if asset.sha256 and asset.sha256 != wheel.sha256:
            raise UploadError.of(name_taken(wheel, asset.sha256), kind=ErrorKind.NAME_TAKEN)

    def _find_release(self) -> _Release | None:
        """Return the release of the tag, drafts included."""
        if self._release is None:
            tag = self._settings.tag
            answer = self._ask("GET", self._url(f"releases/tags/{quote(tag)}"))
            if answer.status == _OK:
                self._release = _read(_Release, answer)
            elif answer.status == _NOT_FOUND:
                # A draft's tag does not exist yet, but the list names it.
                releases = self._pages("releases", _Release)
                self._release = next((each for each in releases if each.tag_name == tag), None)
            else:
                raise self._error("the release", answer)
        return self._release

    def _make_release(self) -> _Release:
        wanted = {"tag_name": self._settings.tag, "name": self._settings.tag}
        if self._settings.commit:
            wanted["target_commitish"] = self._settings.commit
        body = json.dumps(wanted).encode()
        answer = self._ask("POST", self._url("releases"), body=body, size=len(body))
        if answer.status == _CREATED:
            self._release = _read(_Release, answer)
        elif answer.status == _UNPROCESSABLE:  # another job was faster
            self._find_release()
        if self._release is None:
            raise self._error("making the release", answer)
        return self._release

    def _assets(self, release: _Release) -> list[_Asset]:
        return [*self._pages(f"releases/{release.id}/assets", _Asset)]

    def _hash(self, asset: _Asset) -> str:
        if asset.sha256:
            return asset.sha256
        request = self._request("GET", asset.url, accept="application/octet-stream")
        try:
            return web.sha256_of(request, self._network) or ""
        except EnvironmentProblemError as error:
            raise UploadError.of(f"GitHub: {error.what}", transient=True) from None

    def _pages(self, path: str, kind: type[_T]) -> Iterator[_T]:
        for page in range(1, _PAGES + 1):
            query = urlencode({"per_page": _PAGE, "page": page})
            answer = self._ask("GET", f"{self._url(path)}?{query}")
            if answer.status != _OK:
                raise self._error(path, answer)
            entries = _read(tuple[kind, ...], answer)  # type: ignore[valid-type]
            yield from entries
            if len(entries) < _PAGE:
                return

    def _ask(self, method: str, url: str, **request: Any) -> web.HttpResponse:
        if self._cancel.is_set():
            raise UploadError.cancelled()
        try:
            return web.ask(self._request(method, url, **request), self._network)
        except EnvironmentProblemError as error:
            raise UploadError.wrap("GitHub", error) from None

    def _request(  # noqa: PLR0913 - keyword-only
        self,
        method: str,
        url: str,
        *,
        accept: str = _JSON,
        kind: str = "application/json",
        body: Any = None,
        size: int = 0,
    ) -> web.HttpRequest:
        if not self._is_ours(url):
            what = f"GitHub's answer names another server, which gets no token: {url}"
            raise UploadError.of(what)
        headers = {"Accept": accept, "Content-Type": kind, "X-GitHub-Api-Version": _VERSION}
        return web.HttpRequest(
            url=url,
            method=method,
            headers=headers,
            authorization=f"Bearer {self._settings.token}",
            confidential=True,
            body=body,
            size=size,
        )

    def _is_ours(self, url: str) -> bool:
        """Whether an address is on the API's server, or on that of uploads beside it."""
        api, asked = web.split_url(self._settings.api), web.split_url(url)
        uploads = f"uploads.{api.netloc.removeprefix('api.')}"
        return asked.scheme == api.scheme and asked.netloc in {api.netloc, uploads}

    def _url(self, path: str) -> str:
        return f"{self._settings.api}/repos/{self._settings.repository}/{path}"

    def _error(self, what: str, answer: web.HttpResponse) -> UploadError:
        document = answer.document()
        text = f"GitHub, {what}: HTTP {answer.status} {document.get('message') or answer.reason}"
        text += "".join(f" ({each.get('code') or each.get('message')})" for each in answer.errors())
        text = text.replace(self._settings.token, "****")
        limited = answer.status in _FORBIDDEN and "rate limit" in text.lower()
        return UploadError.of(text, transient=answer.passing or limited)


def _read(kind: type[_T], answer: web.HttpResponse) -> _T:
    try:
        return read_json(kind, answer.body, where="GitHub's answer")
    except ConfigError as error:
        raise UploadError.of(str(error.problems[0]), transient=True) from None
