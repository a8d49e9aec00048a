"""``orchestrator index``: wheels in, a site out; incremental, and safe beside other updates."""

from __future__ import annotations

import base64
import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from packaging.version import InvalidVersion, Version

from orchestrator.config import template
from orchestrator.errors import BadWheelError, ConfigError, EnvironmentProblemError
from orchestrator.models.result import Status
from orchestrator.plan.layers import channel_matrix
from orchestrator.publish.index_site import File, Site, changed, dumps, loads
from orchestrator.publish.pages import FILES, pages
from orchestrator.publish.variants import VariantCatalog
from orchestrator.report.results import NAME as RESULTS
from orchestrator.report.results import read
from orchestrator.wheel import open_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from pathlib import Path

    from orchestrator.config.settings import Settings
    from orchestrator.models.target import Cell, Plan
    from orchestrator.publish.index_site import SiteChange, SubIndex
    from orchestrator.publish.storage import Storage
    from orchestrator.report.schemas import Result
    from orchestrator.wheel.archive import WheelName

STATE = "site.json"

ATTEMPTS = 20
"""Updates of others that one update gives way to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedWheel:
    """One wheel of the directories.

    Attributes:
        path: the file.
        name: its name.
        sha256: of the file.
        size: in bytes.
        requires_python: as METADATA says, or empty.
        metadata: the bytes of METADATA.
        signature: the bytes of ``<file>.asc``, or None.
        provenance: the bytes of ``<file>.provenance``, or None.
        made: what ``results.json`` says of it; None where it says nothing.
    """

    path: Path
    name: WheelName
    sha256: str
    size: int
    requires_python: str
    metadata: bytes
    signature: bytes | None
    provenance: bytes | None
    made: Result | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantRules:
    """What the matrix says about variants.

    Attributes:
        plan: the plan; None where there is no matrix.
        project: the planned project's name, normalised; empty for any.
        paths: values of the user's axes -> path of their sub-index.
    """

    plan: Plan | None = None
    project: str = ""
    paths: tuple[tuple[Cell, str], ...] = ()


def variant_paths(plan: Plan, settings: Settings) -> dict[Cell, str]:
    """Return the values of the user's axes -> the path of their sub-index, made of the labels."""
    axes = channel_matrix(settings, plan.channel).grid.axes
    paths: dict[Cell, str] = {}
    for target in plan.everything:
        for cell in target.covers if target.python else ():
            if cell[3:] not in paths:
                texts = (
                    value
                    if axis not in axes or (label := axes[axis][1].label) is None
                    else template.render(label, dict(cell))
                    for axis, value in cell[3:]
                )
                paths[cell[3:]] = "/".join(filter(None, texts))
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateReport:
    """What an update did.

    Attributes:
        site: the site as it is now.
        added: names of files that were not there.
        dropped: names of files that are gone.
    """

    site: Site
    added: tuple[str, ...]
    dropped: tuple[str, ...]


def scan(folder: Path) -> tuple[IndexedWheel, ...]:
    """Read the wheels of a directory, with ``results.json`` where there is one.

    Args:
        folder: the directory; only its own files count, not those of directories in it.

    Raises:
        ConfigError: there is no such directory.
        BadWheelError: a file is no wheel, or names another project or version than its METADATA.
    """
    try:
        paths = sorted(each for each in folder.iterdir() if each.suffix == ".whl")
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(folder)) from None
    made_by = targets_in(folder)
    return tuple(_read(path, made_by) for path in paths)


def targets_in(folder: Path) -> dict[tuple[str, str], Result]:
    """Return (file name, SHA-256) -> what a directory's ``results.json`` says of this wheel.

    Raises:
        ConfigError: the file cannot be read, or is none.
    """
    if not (folder / RESULTS).exists():
        return {}
    return {
        (each.wheel.filename, each.wheel.sha256): each
        for each in read(folder).results
        if each.status is Status.OK and each.wheel is not None
    }


def _read(path: Path, made_by: dict[tuple[str, str], Result]) -> IndexedWheel:
    with open_wheel(path) as archive:
        sha256, size = archive.digest()
        metadata = archive.read(f"{archive.dist_info}/METADATA")
        headers = archive.headers("METADATA")
        name = archive.name
    version = str(headers.get("Version", "")).strip()
    if not _same_version(version, name.version):
        raise BadWheelError.of(
            f"the file name says {name.version}, METADATA says {version or 'nothing'}",
            where=path.name,
            hint="installers refuse it; `orchestrator retag` makes the two agree",
        )
    return IndexedWheel(
        path=path,
        name=name,
        sha256=sha256,
        size=size,
        requires_python=str(headers.get("Requires-Python", "")).strip(),
        metadata=metadata,
        signature=_beside(path, ".asc"),
        provenance=_provenance(path, sha256),
        made=made_by.get((path.name, sha256)),
    )


def _same_version(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _beside(path: Path, suffix: str) -> bytes | None:
    try:
        return path.with_name(f"{path.name}{suffix}").read_bytes()
    except FileNotFoundError:
        return None


def _provenance(path: Path, sha256: str) -> bytes | None:
    """Return a PEP 740 provenance file, if its statements are about this very wheel.

    Whether the signatures are good only a verifier with a trust root can say.
    """
    data = _beside(path, ".provenance")
    if data is None:
        return None
    try:
        bundles = json.loads(data)["attestation_bundles"]
        statements = [
            json.loads(base64.b64decode(each["envelope"]["statement"]))
            for bundle in bundles
            for each in bundle["attestations"]
        ]
        digests = {one["digest"]["sha256"] for each in statements for one in each["subject"]}
    except (ValueError, LookupError, TypeError):
        raise BadWheelError.of("no provenance (PEP 740)", where=f"{path.name}.provenance") from None
    if digests != {sha256}:
        raise BadWheelError.of(
            "its statements are about another file", where=f"{path.name}.provenance"
        )
    return data


def update(  # noqa: PLR0913 - keyword-only
    storage: Storage,
    found: Sequence[IndexedWheel],
    change: SiteChange,
    *,
    knowledge: VariantRules,
    base_url: str,
    now: datetime,
) -> UpdateReport:
    """Add wheels to a site, change it, and write what follows.

    Wheels and their metadata come first, then ``site.json``, then the pages from the bottom up:
    no page ever names a file that is not there. What is gone from the pages is removed last. An
    update that meets another one begins again with what that one has left.

    Args:
        storage: where the site lies.
        found: the wheels, from `scan`.
        change: what else changes.
        knowledge: what the matrix says.
        base_url: where the wheels are, if not in the site.
        now: the time.

    Raises:
        PublishRefusedError: a file of this name and other contents is in the site.
        ConfigError: an option means nothing, or two sub-indexes would be one.
        BadWheelError: a wheel's variant cannot be the path of a sub-index.
        EnvironmentProblemError: the place cannot be read or written.
    """
    if base_url and urlsplit(base_url).scheme not in {"http", "https"}:
        raise ConfigError.of(f"{base_url!r} is no address", where="--base-url")
    with storage.locked():
        for _ in range(ATTEMPTS):
            before, seen = _load(storage)
            files, variants = _described(found, before, knowledge, base_url, now)
            after = changed(before, files, variants, change, now=now)
            made = pages(after)  # what is wrong with them is said before anything is written
            names = {each.filename for each in after.files}
            for each in found:
                if each.path.name in names:
                    _upload(storage, each, hosted=not base_url)
            if not storage.swap(STATE, dumps(after), seen):
                continue
            _write(storage, after, made, gone=set(pages(before)) - set(made))
            _remove(storage, before)
            there = {each.filename for each in before.files}
            return UpdateReport(
                site=after,
                added=tuple(sorted(names - there)),
                dropped=tuple(sorted(there - names)),
            )
    raise EnvironmentProblemError.of(
        f"{ATTEMPTS} other updates came in between", where=storage.where, hint="try again"
    )


def _load(storage: Storage) -> tuple[Site, str | None]:
    there = storage.read(STATE)
    if there is None:
        return Site(), None
    return loads(there[0], where=f"{storage.where}/{STATE}"), there[1]


def _described(
    found: Iterable[IndexedWheel], site: Site, knowledge: VariantRules, base_url: str, now: datetime
) -> tuple[list[File], list[SubIndex]]:
    paths = dict(knowledge.paths)
    known = VariantCatalog(knowledge.plan, knowledge.project, paths, site.variants)
    files: dict[str, File] = {}
    variants: dict[str, SubIndex] = {}
    for each in found:
        cells = known.of(each.name, each.made)
        variants |= {variant.path: variant for _, variant in cells}
        filename = each.path.name
        url = f"{base_url.rstrip('/')}/{quote(filename, safe='')}" if base_url else ""
        file = File(
            filename=filename,
            project=each.name.name,
            version=str(each.name.version),
            sha256=each.sha256,
            size=each.size,
            requires_python=each.requires_python,
            uploaded=now,
            metadata=hashlib.sha256(each.metadata).hexdigest(),
            url=url,
            signed=each.signature is not None,
            provenance=each.provenance is not None,
            cells=tuple(dict.fromkeys((python, variant.path) for python, variant in cells)),
        )
        if files.setdefault(filename, file).sha256 != file.sha256:
            raise BadWheelError.of("two files have this name and differ", where=filename)
    return list(files.values()), list(variants.values())


def _upload(storage: Storage, each: IndexedWheel, *, hosted: bool) -> None:
    """Bring a wheel and what lies beside it to the site; the wheel first."""
    place = f"{FILES}/{each.name.name}/{each.path.name}"
    if hosted:
        storage.add(place, each.path, each.size)
        storage.add(f"{place}.metadata", each.metadata, len(each.metadata))
        if each.signature is not None:
            storage.add(f"{place}.asc", each.signature, len(each.signature))
    if each.provenance is not None:
        storage.add(f"{place}.provenance", each.provenance, len(each.provenance))


def _write(storage: Storage, site: Site, made: dict[str, bytes], gone: set[str]) -> None:
    """Write the pages, and once more where another update has changed the site meanwhile."""
    for _ in range(ATTEMPTS):
        # Pages of projects lie deepest; who finds a link to one finds the page.
        for name in sorted(made, key=lambda name: (-name.count("/"), name)):
            storage.write(name, made[name])
        current, _ = _load(storage)
        if current == site:
            break
        site, made = current, pages(current)
    for name in sorted(gone - set(made)):
        storage.remove(name)


def _remove(storage: Storage, before: Site) -> None:
    """Remove the files that the site had and that no update has brought back."""
    current, _ = _load(storage)
    there = {each.filename for each in current.files}
    for each in before.files:
        if each.filename not in there:
            place = f"{FILES}/{each.project}/{each.filename}"
            for suffix in ("", ".metadata", ".asc", ".provenance"):
                with suppress(FileNotFoundError):
                    storage.remove(f"{place}{suffix}")
