"""``orchestrator index``: add wheels to a site, safely beside other updates."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.parser import HeaderParser
from typing import TYPE_CHECKING
from urllib.parse import quote

from packaging.version import Version

from orchestrator.errors import BadWheelError, ConfigError, EnvironmentProblemError, SourceError
from orchestrator.fsutil import file_sha256, read_file
from orchestrator.host import web
from orchestrator.models.reading import json_value
from orchestrator.models.result import Status
from orchestrator.models.target import Digest
from orchestrator.models.wheel_name import WheelName
from orchestrator.publish.attested import subjects
from orchestrator.publish.index_site import (
    File,
    Site,
    SubIndex,
    apply_change,
    dumps,
    loads,
    page_path,
    removals,
    remove_pages,
)
from orchestrator.publish.pages import FILES, page_files, pages, publish_pages
from orchestrator.publish.variants import VariantCatalog
from orchestrator.report.results import NAME as RESULTS
from orchestrator.report.results import read
from orchestrator.source.sdist import SdistName, package_info
from orchestrator.source.unpack import is_zip
from orchestrator.wheel import open_wheel, variant
from orchestrator.wheel.archive import TEXT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from email.message import Message
    from pathlib import Path

    from orchestrator.publish.index_site import SiteChange
    from orchestrator.publish.storage import Storage
    from orchestrator.publish.variants import VariantRules
    from orchestrator.report.schemas import Result

STATE = "site.json"

BESIDE = (".metadata", ".asc", ".provenance")
"""What the names of the files beside a wheel end with."""

LONGEST_NAME = 255
"""Bytes that file systems allow in a name."""

ATTEMPTS = 20
"""How often an update starts again because another one was faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile:
    """A wheel, or an sdist, to add.

    Attributes:
        path: the file.
        name: its name.
        file: its entry in the site, without time, address and cells.
        beside: suffix -> SHA-256 of the files beside it. Each is read again when it is written:
            those of a thousand wheels may not fit into memory.
        made: its entry in ``results.json``, or None.
    """

    path: Path
    name: WheelName | SdistName
    file: File
    beside: Mapping[str, Digest]
    made: Result | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What an update changes.

    Attributes:
        before: the site as it was.
        site: the site as it is afterwards.
        pages: how many pages get another content, where that was asked.
    """

    before: Site
    site: Site
    pages: int | None = None

    @property
    def added(self) -> tuple[str, ...]:
        """The names of new files."""
        return _beyond(self.site, self.before)

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of removed files."""
        return _beyond(self.before, self.site)

    @property
    def changed(self) -> tuple[str, ...]:
        """The names of files that are yanked, no longer yanked, or in other sub-indexes."""
        was = {file.filename: (file.yanked, file.variants) for file in self.before.files}
        found = self.site.files
        pairs = ((each.filename, (each.yanked, each.variants)) for each in found)
        return tuple(name for name, now in pairs if was.get(name, now) != now)

    @property
    def opened(self) -> tuple[str, ...]:
        """The paths of new pages."""
        return tuple(map(page_path, sorted({*self.site.published} - {*self.before.published})))

    @property
    def closed(self) -> tuple[str, ...]:
        """The paths of removed pages."""
        return tuple(map(page_path, sorted({*self.before.published} - {*self.site.published})))


def _beyond(one: Site, other: Site) -> tuple[str, ...]:
    names = {file.filename for file in other.files}
    return tuple(file.filename for file in one.files if file.filename not in names)


def scan(folder: Path) -> tuple[IndexedFile, ...]:
    """Read the wheels and sdists of a directory (not below it) and its ``results.json``, if any.

    Raises:
        ConfigError: the directory does not exist.
        BadWheelError: a file is not a wheel, or its METADATA has another version than its name.
        SourceError: an sdist is damaged.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(folder)) from None
    made_by = targets_in(folder)
    wheels = [_read(path, made_by) for path in paths if path.suffix == ".whl"]
    named = ((path, SdistName.match(path.name)) for path in paths)
    return (*wheels, *(_read_sdist(path, name) for path, name in named if name is not None))


def targets_in(folder: Path) -> dict[tuple[str, str], Result]:
    """Return (file name, SHA-256) -> the wheel's entry in a directory's ``results.json``.

    Raises:
        ConfigError: the file cannot be read.
    """
    if not (folder / RESULTS).exists():
        return {}
    return {
        (result.wheel.filename, result.wheel.sha256): result
        for result in read(folder).results
        if result.status is Status.OK and result.wheel is not None
    }


def _read(path: Path, made_by: dict[tuple[str, str], Result]) -> IndexedFile:
    with open_wheel(path) as archive:
        sha256, size = archive.digest()
        metadata = archive.read(f"{archive.dist_info}/METADATA")
        headers = archive.headers("METADATA")
        name, stands_for = archive.name, variant.read(archive)
    _check_version(path, name, str(headers.get("Version", "")).strip())
    texts = {
        ".metadata": metadata if _fits(path, ".metadata") else None,
        ".asc": _beside(path, ".asc"),
        ".provenance": _provenance(path, sha256),
    }
    beside = {suffix: _sha256(text) for suffix, text in texts.items() if text is not None}
    file = replace(_file(path, name, sha256, headers, beside), size=size, variant=stands_for)
    made = made_by.get((path.name, sha256))
    return IndexedFile(path=path, name=name, file=file, beside=beside, made=made)


def _file(
    path: Path,
    name: WheelName | SdistName,
    sha256: Digest,
    headers: Message,
    beside: Mapping[str, Digest],
) -> File:
    """Return what pages say of a file with these headers and these files beside it."""
    return File(
        filename=path.name,
        project=name.name,
        version=str(name.version),
        sha256=sha256,
        size=path.stat().st_size,
        requires_python=str(headers.get("Requires-Python", "")).strip(),
        uploaded=datetime.min.replace(tzinfo=UTC),
        metadata=beside.get(".metadata", ""),
        signed=".asc" in beside,
        provenance=".provenance" in beside,
    )


def _check_version(path: Path, name: WheelName | SdistName, version: str) -> None:
    is_wheel = isinstance(name, WheelName)
    try:
        same = Version(version) == name.version
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        same = False
    if not same:
        raise BadWheelError.of(
            f"the file name says {name.version}, {'METADATA' if is_wheel else 'PKG-INFO'} says "
            f"{version or 'nothing'}",
            where=path.name,
            hint=f"installers refuse it; {'`orchestrator retag`' if is_wheel else 'a new build'} "
            "makes the two agree",
        )


def _read_sdist(path: Path, name: SdistName) -> IndexedFile:
    """Read an sdist; its pages do not serve PKG-INFO, which may say less than a build does."""
    headers = HeaderParser().parsestr(package_info(path).decode("utf-8", "replace"))
    _check_version(path, name, str(headers.get("Version", "")).strip())
    if is_zip(path):
        raise SourceError.of("it is a zip file, and named like a tar file", where=path.name)
    sha256 = Digest(file_sha256(path))
    texts = {".asc": _beside(path, ".asc"), ".provenance": _provenance(path, sha256)}
    beside = {suffix: _sha256(text) for suffix, text in texts.items() if text is not None}
    file = _file(path, name, sha256, headers, beside)
    return IndexedFile(path=path, name=name, file=file, beside=beside, made=None)


def _fits(path: Path, suffix: str) -> bool:
    return len(os.fsencode(path.name)) + len(suffix) <= LONGEST_NAME


def _sha256(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def _beside(path: Path, suffix: str) -> bytes | None:
    if not _fits(path, suffix):
        return None
    place = path.with_name(f"{path.name}{suffix}")
    try:
        return read_file(place, limit=TEXT_LIMIT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadWheelError.of(error.strerror or str(error), where=place.name) from None


def _read_again(wheel: IndexedFile, suffix: str) -> bytes:
    """Return the contents of a file beside a wheel, which are those that were described."""
    if suffix == ".metadata":
        with open_wheel(wheel.path) as archive:
            data: bytes | None = archive.read(f"{archive.dist_info}/METADATA")
    else:
        data = _beside(wheel.path, suffix)
    if data is None or _sha256(data) != wheel.beside[suffix]:
        where = f"{wheel.path.name}{suffix}"
        raise BadWheelError.of("it changed while the index was written", where=where)
    return data


def _provenance(path: Path, sha256: str) -> bytes | None:
    """Return a PEP 740 provenance file, if its statements are about this wheel.

    The signatures are not checked: that needs a trust root.
    """
    data = _beside(path, ".provenance")
    if data is None:
        return None
    where = f"{path.name}.provenance"
    try:
        bundles = json_value(data, where=where)["attestation_bundles"]
        digests = subjects(each for bundle in bundles for each in bundle["attestations"])
    except (ConfigError, ValueError, LookupError, TypeError):
        raise BadWheelError.of("not a provenance file (PEP 740)", where=where) from None
    if digests != {sha256}:
        raise BadWheelError.of("its statements are about another file", where=where)
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteUpdate:
    """What a run of ``orchestrator index`` does to a site: it adds wheels, and changes more.

    Attributes:
        wheels: the wheels and sdists, from `scan`.
        change: what else changes.
        rules: the matrix' variants.
        base_url: where the wheels are, if not in the site.
        now: the time.
    """

    wheels: Sequence[IndexedFile]
    change: SiteChange
    rules: VariantRules
    base_url: str
    now: datetime

    def run(self, storage: Storage) -> UpdateReport:
        """Change the site, and write its pages.

        Wheels and their metadata are written first, then ``site.json``, then the pages from the
        bottom up, so that no page names a missing file; removed pages and files go last. An update
        that meets another one starts again with the other's result. The next one completes one
        that was killed.

        Raises:
            PublishRefusedError: the site has another file of this name.
            ConfigError: an option matches nothing, or two sub-indexes would have the same path.
            BadWheelError: a wheel's variant cannot be the path of a sub-index.
            EnvironmentProblemError: the storage cannot be read or written.
        """
        with storage.locked():
            for _ in range(ATTEMPTS):
                before, seen = _load(storage)
                after = self.applied_to(before)
                made = pages(after)  # fails before anything is written
                names = {file.filename for file in after.files}
                for wheel in self.wheels:
                    if wheel.path.name in names:
                        _upload(storage, wheel, hosted=not self.base_url)
                if not storage.swap(STATE, dumps(after), seen):
                    continue
                _write(storage, after, made)
                _remove(storage)
                return UpdateReport(before=before, site=after)
        raise EnvironmentProblemError.of(
            f"{ATTEMPTS} other updates were faster", where=storage.where, hint="try again"
        )

    def preview(self, storage: Storage) -> UpdateReport:
        """Return what `run` would change, and write nothing; raises as `run`."""
        before, _ = _load(storage)
        after = self.applied_to(before)
        there = ((storage.read(name), page) for name, page in pages(after).items())
        differing = sum(found is None or found[0] != page for found, page in there)
        return UpdateReport(before=before, site=after, pages=differing)

    def applied_to(self, site: Site) -> Site:
        """Return the site as it is afterwards."""
        if self.base_url and web.split_url(self.base_url).scheme not in {"http", "https"}:
            raise ConfigError.of(f"{self.base_url!r} is not an http(s) URL", where="--base-url")
        files, variants = self._describe(site)
        return publish_pages(apply_change(site, files, variants, self.change, now=self.now))

    def _describe(self, site: Site) -> tuple[list[File], list[SubIndex]]:
        catalog = VariantCatalog(self.rules, remove_pages(site, removals(site, self.change)))
        files: dict[str, File] = {}
        variants: dict[str, SubIndex] = {}
        for wheel in self.wheels:
            cells = (
                (("", SubIndex(path="", values=())),)
                if isinstance(wheel.name, SdistName)  # it goes to the wheels of its version
                else catalog.cells_of(wheel.name, wheel.made)
            )
            variants |= {variant.path: variant for _, variant in cells}
            filename = wheel.path.name
            address = f"{self.base_url.rstrip('/')}/{quote(filename, safe='')}"
            file = replace(
                wheel.file,
                uploaded=self.now,
                url=address if self.base_url else "",
                cells=tuple(dict.fromkeys((python, variant.path) for python, variant in cells)),
            )
            if files.setdefault(filename, file).sha256 != file.sha256:
                raise BadWheelError.of("two different files have this name", where=filename)
        return list(files.values()), list(variants.values())


def _load(storage: Storage) -> tuple[Site, str | None]:
    """Return the site, with the pages that it has, and the ID of its version."""
    there = storage.read(STATE)
    if there is None:
        return Site(), None
    site = loads(there[0], where=f"{storage.where}/{STATE}")
    return publish_pages(site) if site.files else site, there[1]


def _upload(storage: Storage, wheel: IndexedFile, *, hosted: bool) -> None:
    """Write a wheel, and then the files beside it."""
    name = f"{FILES}/{wheel.file.project}/{wheel.path.name}"
    if hosted:
        storage.add(name, wheel.path, wheel.file.sha256)
    for suffix, sha256 in wheel.beside.items():
        if hosted or suffix == ".provenance":
            storage.add(f"{name}{suffix}", _read_again(wheel, suffix), sha256)


def _write(storage: Storage, site: Site, made: dict[str, bytes]) -> None:
    """Write the pages, and again if another update has changed the site meanwhile."""
    for _ in range(ATTEMPTS):
        # The deepest first: a page is written before the link to it.
        for name in sorted(made, key=_write_order):
            storage.write(name, made[name])
        current, _ = _load(storage)
        if current == site:
            break
        site, made = current, pages(current)
    # Also what an update that was killed has left.
    for page in site.removed:
        for name in page_files(page):
            storage.remove(name)


def _write_order(name: str) -> tuple[bool, int, str]:
    return not name.startswith(f"{FILES}/"), -name.count("/"), name


def _remove(storage: Storage) -> None:
    """Remove the files that the site does not have any more; an update that is killed says so."""
    current, seen = _load(storage)
    for project, filename in current.gone:
        for suffix in ("", *BESIDE):
            storage.remove(f"{FILES}/{project}/{filename}{suffix}")
    if current.gone:
        # If another update was faster, it has removed them as well.
        storage.swap(STATE, dumps(replace(current, gone=())), seen)
