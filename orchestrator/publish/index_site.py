"""A site as a value: its files, variants, aliases and yanks, and what may happen to them. Pure.

``site.json`` holds exactly this; every page is made from it, so two updates at the same time need
to agree on this one document only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from packaging.version import Version
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from orchestrator.config import condition
from orchestrator.errors import ConfigError, EnvironmentProblemError, PublishRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SCHEMA = 1

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_DIGITS = re.compile(r"(\d+)")
_STRICT = ConfigDict(extra="forbid", strict=False)

Key = tuple[tuple[tuple[int, int, str], ...], ...]


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SubIndex:
    """One sub-index.

    Attributes:
        path: where it is below the site, such as ``cu126/torch2.8``; empty for the root.
        values: (axis, value) of every axis other than python, libc and arch.
    """

    path: str
    values: tuple[tuple[str, str], ...] = ()


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class File:
    """One wheel of the site.

    Attributes:
        filename: its name (PEP 427).
        project: the project's name, PEP 503 normalised.
        version: its version, canonical.
        sha256: of the file.
        size: in bytes.
        requires_python: as METADATA says, or empty.
        uploaded: when it came to the site (PEP 700).
        metadata: SHA-256 of METADATA.
        url: where it is when it is not in the site, else empty.
        signed: whether a signature ``<filename>.asc`` lies beside it (PEP 503).
        provenance: whether ``<filename>.provenance`` lies beside it (PEP 740).
        yanked: why it is yanked, possibly empty (PEP 592); None when it is not.
        cells: (python, path of the variant) of every cell that it serves.
    """

    filename: str
    project: str
    version: str
    sha256: str
    size: int
    requires_python: str
    uploaded: datetime
    metadata: str
    url: str = ""
    signed: bool = False
    provenance: bool = False
    yanked: str | None = None
    cells: tuple[tuple[str, str], ...] = ()

    @property
    def variants(self) -> frozenset[str]:
        """The paths of the variants that list it."""
        return frozenset(path for _, path in self.cells)


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Site:
    """All that a site holds.

    Attributes:
        schema: version of this document.
        url: the site's public address, or empty.
        default: expression that means the variant of the root, or empty.
        aliases: (path, expression) of other names for a variant.
        variants: those that have files, in natural order of their values.
        files: by name.
    """

    schema: int = SCHEMA
    url: str = ""
    default: str = ""
    aliases: tuple[tuple[str, str], ...] = ()
    variants: tuple[SubIndex, ...] = ()
    files: tuple[File, ...] = ()

    def listed(self, path: str) -> tuple[File, ...]:
        """Return the files of a variant."""
        return tuple(each for each in self.files if path in each.variants)


_SITE: TypeAdapter[Site] = TypeAdapter(Site)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteChange:
    """What a run of ``orchestrator index`` changes beside adding files; None: as it was.

    Attributes:
        url: the site's public address.
        default: expression that means the variant of the root; empty for none.
        aliases: (path, expression); an empty expression removes the alias.
        yank: (glob over file names, reason).
        unyank: globs over file names.
        keep: development versions that stay for each project and variant.
        keep_days: days that a development version stays.
    """

    url: str | None = None
    default: str | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    yank: tuple[tuple[str, str], ...] = ()
    unyank: tuple[str, ...] = ()
    keep: int | None = None
    keep_days: int | None = None


def loads(data: bytes, *, where: str) -> Site:
    """Read ``site.json``.

    Raises:
        EnvironmentProblemError: it is none, or another version's.
    """
    try:
        site = _SITE.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise EnvironmentProblemError.of(
            f"not a site's document: {place}: {first['msg']}",
            where=where,
            hint="give --output a new directory, or restore the file",
        ) from None
    if site.schema != SCHEMA:
        raise EnvironmentProblemError.of(
            f"schema {site.schema}; this program knows {SCHEMA}", where=where
        )
    return site


def dumps(site: Site) -> bytes:
    """Write ``site.json``."""
    document = _SITE.dump_python(site, mode="json")
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def path_ok(path: str) -> bool:
    """Whether ``path`` may name a sub-index: segments of letters, digits and ``. _ + -``."""
    return all(_SEGMENT.fullmatch(each) for each in path.split("/"))


def changed(
    site: Site,
    files: Sequence[File],
    variants: Iterable[SubIndex],
    change: SiteChange,
    *,
    now: datetime,
) -> Site:
    """Return the site with files added and everything of ``change`` applied.

    Args:
        site: the site as it is.
        files: files to add; one that is there already keeps its time and its yank.
        variants: the variants of these files.
        change: what else changes.
        now: the time.

    Raises:
        PublishRefusedError: a file of this name and other contents is there.
        ConfigError: an expression, alias or glob means nothing.
    """
    known = {each.filename: each for each in site.files}
    _check_same(known, files)
    for each in files:
        old = known.get(each.filename)
        known[each.filename] = (
            each if old is None else replace(each, uploaded=old.uploaded, yanked=old.yanked)
        )
    kept = _retained(_yanked(known.values(), change), change, now)
    used = {path for each in kept for path in each.variants}
    by_path = {each.path: each for each in (*site.variants, *variants)}
    aliases = {**dict(site.aliases), **dict(change.aliases)}
    result = replace(
        site,
        url=site.url if change.url is None else change.url,
        default=site.default if change.default is None else change.default,
        aliases=tuple((name, text) for name, text in sorted(aliases.items()) if text),
        variants=_in_order(each for path, each in by_path.items() if path in used),
        files=tuple(sorted(kept, key=lambda each: each.filename)),
    )
    _check_new(result, change)
    return result


def _check_same(known: Mapping[str, File], files: Iterable[File]) -> None:
    for each in files:
        old = known.get(each.filename)
        if old is not None and old.sha256 != each.sha256:
            raise PublishRefusedError.of(
                f"is in the site with other contents (sha256 {old.sha256}, here {each.sha256})",
                where=each.filename,
                hint="lock files and caches know the old one: give the new one another version "
                "or build tag",
            )


def _check_new(site: Site, change: SiteChange) -> None:
    """Refuse what the user says now and means nothing; what was said earlier may be gone."""
    for name, text in change.aliases:
        if not path_ok(name):
            raise ConfigError.of(f"{name!r} cannot be a path", where="--alias")
        if text:
            _check_means(site, text, "--alias")
    if change.default:
        _check_means(site, change.default, "--default")


def _check_means(site: Site, text: str, where: str) -> None:
    if meant(site, text, where=where) is None:
        there = ", ".join(each.path or "(none)" for each in site.variants) or "no variant"
        raise ConfigError.of(
            f"no variant of the site is {text!r}", where=where, hint=f"there is {there}"
        )


def meant(site: Site, text: str, *, where: str) -> SubIndex | None:
    """Return the highest variant that an expression means, None when it means none.

    Args:
        site: the site.
        text: a variant's path, or an expression as for ``--select``; a glob means paths.
        where: the option, for messages.

    Raises:
        ConfigError: the text is no expression.
    """
    exact = [each for each in site.variants if each.path == text]
    if exact:
        return exact[0]
    node = condition.parse(text, where=where)
    found = [
        each
        for each in site.variants
        if condition.holds(node, dict(each.values), ids=(each.path, each.path.replace("/", "-")))
    ]
    return found[-1] if found else None


def default_variant(site: Site) -> SubIndex | None:
    """Return the variant of the root: the one said, one without a path, or the only one."""
    if site.default:
        return meant(site, site.default, where="default")
    if len(site.variants) == 1:
        return site.variants[0]
    return next((each for each in site.variants if not each.path), None)


def _yanked(files: Iterable[File], change: SiteChange) -> list[File]:
    found = list(files)
    changes: list[tuple[str, str | None, str]] = [
        *((pattern, reason, "--yank") for pattern, reason in change.yank),
        *((pattern, None, "--unyank") for pattern in change.unyank),
    ]
    for pattern, reason, option in changes:
        hit = [fnmatchcase(each.filename, pattern) for each in found]
        if not any(hit):
            raise ConfigError.of(f"no file of the site is {pattern!r}", where=option)
        pairs = zip(found, hit, strict=True)
        found = [replace(each, yanked=reason) if yes else each for each, yes in pairs]
    return found


def _retained(files: Sequence[File], change: SiteChange, now: datetime) -> list[File]:
    """Return the files that stay: releases always, nightlies while one of the limits keeps them."""
    if change.keep is None and change.keep_days is None:
        return list(files)
    versions: dict[tuple[str, str], set[Version]] = {}
    for each in files:
        for path in each.variants:
            versions.setdefault((each.project, path), set()).add(_public(each))
    newest = {
        key: set(sorted(filter(_is_nightly, found), reverse=True)[: change.keep or 0])
        for key, found in versions.items()
    }
    limit = None if change.keep_days is None else now - timedelta(days=change.keep_days)

    def stays(file: File) -> bool:
        public = _public(file)
        return (
            not public.is_devrelease
            or any(public in newest[file.project, path] for path in file.variants)
            or (limit is not None and file.uploaded >= limit)
        )

    return [each for each in files if stays(each)]


def _public(file: File) -> Version:
    return Version(Version(file.version).public)


def _is_nightly(version: Version) -> bool:
    return version.is_devrelease


def _in_order(variants: Iterable[SubIndex]) -> tuple[SubIndex, ...]:
    found = list(variants)
    axes = dict.fromkeys(axis for each in found for axis, _ in each.values)

    def key(variant: SubIndex) -> tuple[Key, str]:
        values = dict(variant.values)
        return tuple(natural(values.get(axis, "")) for axis in axes), variant.path

    return tuple(sorted(found, key=key))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``cu126`` before ``cu1210`` and ``2.9`` before ``2.10``."""
    parts = enumerate(_DIGITS.split(text))
    return tuple((1, int(part), "") if odd % 2 else (0, 0, part) for odd, part in parts)
