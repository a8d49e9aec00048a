"""``orchestrator index``: add wheels to a site, safely beside other updates."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from packaging.version import InvalidVersion, Version

from orchestrator.errors import BadWheelError, ConfigError, EnvironmentProblemError
from orchestrator.models.result import Status
from orchestrator.publish.attested import subjects
from orchestrator.publish.index_site import File, Site, apply_change, dumps, loads
from orchestrator.publish.pages import FILES, pages
from orchestrator.publish.variants import VariantCatalog
from orchestrator.report.results import NAME as RESULTS
from orchestrator.report.results import read
from orchestrator.wheel import open_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.publish.index_site import SiteChange, SubIndex
    from orchestrator.publish.storage import Storage
    from orchestrator.publish.variants import VariantRules
    from orchestrator.report.schemas import Result
    from orchestrator.wheel.archive import WheelName

STATE = "site.json"

ATTEMPTS = 20
"""How often an update starts again because another one was faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedWheel:
    """A wheel to add.

    Attributes:
        path: the file.
        name: its name.
        file: its entry in the site, without time, address and cells.
        beside: suffix -> bytes of the files beside it.
        made: its entry in ``results.json``, or None.
    """

    path: Path
    name: WheelName
    file: File
    beside: Mapping[str, bytes]
    made: Result | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What an update did.

    Attributes:
        site: the site as it is now.
        added: names of new files.
        dropped: names of removed files.
    """

    site: Site
    added: tuple[str, ...]
    dropped: tuple[str, ...]


def scan(folder: Path) -> tuple[IndexedWheel, ...]:
    """Read the wheels of a directory (not of its subdirectories) and its ``results.json``, if any.

    Raises:
        ConfigError: the directory does not exist.
        BadWheelError: a file is not a wheel, or its METADATA has another version than its name.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".whl")
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(folder)) from None
    made_by = targets_in(folder)
    return tuple(_read(path, made_by) for path in paths)


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


def _read(path: Path, made_by: dict[tuple[str, str], Result]) -> IndexedWheel:
    with open_wheel(path) as archive:
        sha256, size = archive.digest()
        metadata = archive.read(f"{archive.dist_info}/METADATA")
        headers = archive.headers("METADATA")
        name = archive.name
    version = str(headers.get("Version", "")).strip()
    try:
        same = Version(version) == name.version
    except InvalidVersion:
        same = False
    if not same:
        raise BadWheelError.of(
            f"the file name says {name.version}, METADATA says {version or 'nothing'}",
            where=path.name,
            hint="installers refuse it; `orchestrator retag` makes the two agree",
        )
    beside = {
        ".metadata": metadata,
        ".asc": _beside(path, ".asc"),
        ".provenance": _provenance(path, sha256),
    }
    file = File(
        filename=path.name,
        project=name.name,
        version=str(name.version),
        sha256=sha256,
        size=size,
        requires_python=str(headers.get("Requires-Python", "")).strip(),
        uploaded=datetime.min.replace(tzinfo=UTC),
        metadata=hashlib.sha256(metadata).hexdigest(),
        signed=beside[".asc"] is not None,
        provenance=beside[".provenance"] is not None,
    )
    return IndexedWheel(
        path=path,
        name=name,
        file=file,
        beside={suffix: data for suffix, data in beside.items() if data is not None},
        made=made_by.get((path.name, sha256)),
    )


def _beside(path: Path, suffix: str) -> bytes | None:
    try:
        return path.with_name(f"{path.name}{suffix}").read_bytes()
    except FileNotFoundError:
        return None


def _provenance(path: Path, sha256: str) -> bytes | None:
    """Return a PEP 740 provenance file, if its statements are about this wheel.

    The signatures are not checked: that needs a trust root.
    """
    data = _beside(path, ".provenance")
    if data is None:
        return None
    where = f"{path.name}.provenance"
    try:
        bundles = json.loads(data)["attestation_bundles"]
        digests = subjects(each for bundle in bundles for each in bundle["attestations"])
    except (ValueError, LookupError, TypeError):
        raise BadWheelError.of("not a provenance file (PEP 740)", where=where) from None
    if digests != {sha256}:
        raise BadWheelError.of("its statements are about another file", where=where)
    return data


def update(  # noqa: PLR0913 - keyword-only
    storage: Storage,
    wheels: Sequence[IndexedWheel],
    change: SiteChange,
    *,
    rules: VariantRules,
    base_url: str,
    now: datetime,
) -> UpdateReport:
    """Add wheels to a site, change it, and write its pages.

    Wheels and their metadata are written first, then ``site.json``, then the pages from the bottom
    up, so that no page names a missing file; removed files go last. An update that meets another
    one starts again with the other's result.

    Args:
        storage: where the site is.
        wheels: the wheels, from `scan`.
        change: what else changes.
        rules: the matrix' variants.
        base_url: where the wheels are, if not in the site.
        now: the time.

    Raises:
        PublishRefusedError: the site has another file of this name.
        ConfigError: an option matches nothing, or two sub-indexes would have the same path.
        BadWheelError: a wheel's variant cannot be the path of a sub-index.
        EnvironmentProblemError: the storage cannot be read or written.
    """
    if base_url and urlsplit(base_url).scheme not in {"http", "https"}:
        raise ConfigError.of(f"{base_url!r} is not an http(s) URL", where="--base-url")
    with storage.locked():
        for _ in range(ATTEMPTS):
            before, seen = _load(storage)
            files, variants = _describe(wheels, before, rules, base_url, now)
            after = apply_change(before, files, variants, change, now=now)
            made = pages(after)  # fails before anything is written
            names = {file.filename for file in after.files}
            for wheel in wheels:
                if wheel.path.name in names:
                    _upload(storage, wheel, hosted=not base_url)
            if not storage.swap(STATE, dumps(after), seen):
                continue
            _write(storage, after, made, gone=set(pages(before)) - set(made))
            _remove(storage, before)
            there = {file.filename for file in before.files}
            return UpdateReport(
                site=after,
                added=tuple(sorted(names - there)),
                dropped=tuple(sorted(there - names)),
            )
    raise EnvironmentProblemError.of(
        f"{ATTEMPTS} other updates were faster", where=storage.where, hint="try again"
    )


def _load(storage: Storage) -> tuple[Site, str | None]:
    there = storage.read(STATE)
    if there is None:
        return Site(), None
    return loads(there[0], where=f"{storage.where}/{STATE}"), there[1]


def _describe(
    wheels: Iterable[IndexedWheel], site: Site, rules: VariantRules, base_url: str, now: datetime
) -> tuple[list[File], list[SubIndex]]:
    catalog = VariantCatalog(rules, site.variants)
    files: dict[str, File] = {}
    variants: dict[str, SubIndex] = {}
    for wheel in wheels:
        cells = catalog.cells_of(wheel.name, wheel.made)
        variants |= {variant.path: variant for _, variant in cells}
        filename = wheel.path.name
        file = replace(
            wheel.file,
            uploaded=now,
            url=f"{base_url.rstrip('/')}/{quote(filename, safe='')}" if base_url else "",
            cells=tuple(dict.fromkeys((python, variant.path) for python, variant in cells)),
        )
        if files.setdefault(filename, file).sha256 != file.sha256:
            raise BadWheelError.of("two different files have this name", where=filename)
    return list(files.values()), list(variants.values())


def _upload(storage: Storage, wheel: IndexedWheel, *, hosted: bool) -> None:
    """Write a wheel, and then the files beside it."""
    name = f"{FILES}/{wheel.file.project}/{wheel.path.name}"
    if hosted:
        storage.add(name, wheel.path, wheel.file.size)
    for suffix, data in wheel.beside.items():
        if hosted or suffix == ".provenance":
            storage.add(f"{name}{suffix}", data, len(data))


def _write(storage: Storage, site: Site, made: dict[str, bytes], gone: set[str]) -> None:
    """Write the pages, and again if another update has changed the site meanwhile."""
    for _ in range(ATTEMPTS):
        # The deepest first: a page is written before the link to it.
        for name in sorted(made, key=lambda name: (-name.count("/"), name)):
            storage.write(name, made[name])
        current, _ = _load(storage)
        if current == site:
            break
        site, made = current, pages(current)
    for name in sorted(gone - set(made)):
        storage.remove(name)


def _remove(storage: Storage, before: Site) -> None:
    """Remove the files that the site had and that no update has added again."""
    current, _ = _load(storage)
    there = {file.filename for file in current.files}
    for file in before.files:
        if file.filename not in there:
            for suffix in ("", ".metadata", ".asc", ".provenance"):
                storage.remove(f"{FILES}/{file.project}/{file.filename}{suffix}")
