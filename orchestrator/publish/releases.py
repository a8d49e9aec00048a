"""The release of a tag on GitHub as a destination: its assets, by the REST API."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.host import web
from orchestrator.publish.preflight import DestinationFiles, another
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
_PAGE = 100
_PAGES = 100
"""Pages of releases, or of assets, at most: nobody has more."""

_CREATED, _NOT_FOUND, _UNPROCESSABLE, _OK = 201, 404, 422, 200
_FORBIDDEN = {403, 429}
_UPLOADED = "uploaded"
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSettings:
    """Which release.

    Attributes:
        api: address of the API.
        repository: ``owner/name``.
        tag: the release's tag.
        commit: what the tag is made for, if there is none; empty for the default branch.
        token: with ``contents: write``.
    """

    api: str
    repository: str
    tag: str
    commit: str
    token: str = field(repr=False)

    @classmethod
    def detect(cls, environ: Mapping[str, str], tag: str) -> ReleaseSettings:
        """Read what the job's environment says.

        Args:
            environ: usually `os.environ`; empty values count as unset.
            tag: of ``--tag``; empty for the one that the job runs for.

        Raises:
            ConfigError: something is missing: all of it.
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
class _Asset:
    name: str
    url: str
    state: str
    sha256: str


class ReleaseDestination:
    """A release as a destination; see `upload.Place`."""

    name = "github-release"
    attests = False

    def __init__(self, settings: ReleaseSettings, network: HostNetwork, cancel: Cancel) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self._network = network
        self._cancel = cancel
        self._lock = threading.Lock()
        self._release: dict[str, Any] | None = None

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """List the assets; one without a digest is downloaded."""
        with self._lock:
            release = self._found()
        if release is None:
            return DestinationFiles()
        assets = [each for each in self._assets(release) if each.state == _UPLOADED]
        wanted = {each.filename for each in wheels}
        files = {each.name: self._hash(each) for each in assets if each.name in wanted}
        return DestinationFiles(files=files, count=len(assets))

    def send(self, wheel: CandidateWheel) -> None:
        """Make the release if there is none, and upload the wheel."""
        with self._lock:
            release = self._found() or self._made()
        # What an upload that was cut off has left behind: nobody can download it.
        for each in self._assets(release):
            if each.name == wheel.filename and each.state != _UPLOADED:
                self._ask("DELETE", each.url)
        address = str(release["upload_url"]).partition("{")[0]
        with wheel.path.open("rb") as stream:
            body: Any = UploadBody(stream, self._cancel)
            answer = self._answer(
                web.HttpRequest(
                    url=f"{address}?{urlencode({'name': wheel.filename})}",
                    method="POST",
                    headers={**self._headers(), "Content-Type": "application/octet-stream"},
                    authorization=self._authorization(),
                    confidential=True,
                    body=body,
                    size=wheel.size,
                )
            )
        said = _document(answer)
        if answer.status != _CREATED:
            raise self._failed("the upload", answer)
        there = _asset(said)
        if there.name != wheel.filename:
            raise UploadError.of(f"GitHub has called it {there.name!r}")
        if there.sha256 and there.sha256 != wheel.sha256:
            raise UploadError.of(another(wheel, there.sha256), kind=ErrorKind.NAME_TAKEN)

    def _found(self) -> dict[str, Any] | None:
        """Return the release of the tag, drafts included."""
        if self._release is None:
            answer = self._ask("GET", self._url(f"releases/tags/{quote(self._settings.tag)}"))
            if answer.status == _OK:
                self._release = _release(_document(answer))
            elif answer.status == _NOT_FOUND:
                # Drafts have no tag yet, but in the list.
                tag = self._settings.tag
                drafts = (each for each in self._pages("releases") if each.get("tag_name") == tag)
                found = next(drafts, None)
                self._release = None if found is None else _release(found)
            else:
                raise self._failed("the release", answer)
        return self._release

    def _made(self) -> dict[str, Any]:
        wanted = {"tag_name": self._settings.tag, "name": self._settings.tag}
        if self._settings.commit:
            wanted["target_commitish"] = self._settings.commit
        answer = self._ask("POST", self._url("releases"), wanted)
        if answer.status == _CREATED:
            self._release = _release(_document(answer))
        elif answer.status == _UNPROCESSABLE:  # another job was faster
            self._found()
        if self._release is None:
            raise self._failed("making the release", answer)
        return self._release

    def _assets(self, release: Mapping[str, Any]) -> list[_Asset]:
        return [_asset(each) for each in self._pages(f"releases/{int(release['id'])}/assets")]

    def _hash(self, asset: _Asset) -> str:
        if asset.sha256:
            return asset.sha256
        request = web.HttpRequest(
            url=asset.url,
            headers={**self._headers(), "Accept": "application/octet-stream"},
            authorization=self._authorization(),
            confidential=True,
        )
        try:
            return web.sha256_of(request, self._network) or ""
        except EnvironmentProblemError as error:
            raise UploadError.of(f"GitHub: {error.what}", transient=True) from None

    def _pages(self, path: str) -> Iterator[dict[str, Any]]:
        for page in range(1, _PAGES + 1):
            query = urlencode({"per_page": _PAGE, "page": page})
            answer = self._ask("GET", f"{self._url(path)}?{query}")
            if answer.status != _OK:
                raise self._failed(path, answer)
            entries = _entries(answer)
            yield from entries
            if len(entries) < _PAGE:
                return

    def _ask(self, method: str, url: str, wanted: object = None) -> web.HttpResponse:
        body = None if wanted is None else json.dumps(wanted).encode()
        return self._answer(
            web.HttpRequest(
                url=url,
                method=method,
                headers=self._headers(),
                authorization=self._authorization(),
                confidential=True,
                body=body,
                size=len(body or b""),
            )
        )

    def _answer(self, request: web.HttpRequest) -> web.HttpResponse:
        if self._cancel.is_set():
            raise UploadError.cancelled()
        try:
            return web.ask(request, self._network)
        except EnvironmentProblemError as error:
            raise UploadError.of(f"GitHub: {error.what}", transient=error.transient) from None

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "X-GitHub-Api-Version": _VERSION,
        }

    def _authorization(self) -> str:
        return f"Bearer {self._settings.token}"

    def _url(self, path: str) -> str:
        return f"{self._settings.api}/repos/{self._settings.repository}/{path}"

    def _failed(self, what: str, answer: web.HttpResponse) -> UploadError:
        said = _document(answer)
        text = f"GitHub, {what}: HTTP {answer.status} {said.get('message') or answer.reason}"
        codes = [each for each in said.get("errors") or () if isinstance(each, dict)]
        text += "".join(f" ({each.get('code') or each.get('message')})" for each in codes)
        text = text.replace(self._settings.token, "****")
        limited = answer.status in _FORBIDDEN and "rate limit" in text.lower()
        return UploadError.of(text, transient=answer.passing or limited)


def _document(answer: web.HttpResponse) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _entries(answer: web.HttpResponse) -> list[dict[str, Any]]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise UploadError.of("GitHub answers with something else than a list", transient=True)
    return [each for each in found if isinstance(each, dict)]


def _release(said: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(said.get("id"), int) or not isinstance(said.get("upload_url"), str):
        raise UploadError.of("GitHub answers with something else than a release", transient=True)
    return said


def _asset(said: Mapping[str, Any]) -> _Asset:
    digest = _DIGEST.fullmatch(str(said.get("digest") or ""))
    return _Asset(
        name=str(said.get("name", "")),
        url=str(said.get("url", "")),
        state=str(said.get("state", "")),
        sha256=digest[1] if digest else "",
    )
