"""A site as a value: files, variants, aliases and yanks, and how an update changes them. Pure.

``site.json`` holds exactly this value. Every page is made from it, so concurrent updates have to
agree on this one document only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

from packaging.version import Version
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from orchestrator.config import condition
from orchestrator.errors import (
    BadWheelError,
    ConfigError,
    EnvironmentProblemError,
    PublishRefusedError,
    closest,
)
from orchestrator.models.json_form import Length
from orchestrator.models.untrusted import RelativePath, SdistFilename, Size, VersionText
from orchestrator.models.variant_metadata import VariantMetadata  # noqa: TC001 - pydantic reads it
from orchestrator.models.wheel_name import WheelFilename

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SCHEMA = 1

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_RESERVED = frozenset({"index.html", "index.json", "site.json"})
"""Names of files of the site, which no directory may have."""
_SDIST = ".tar.gz"
_DIGITS = re.compile(r"(\d+)")
_STRICT = ConfigDict(extra="forbid", strict=False)

Key = tuple[tuple[tuple[int, int, str], ...], ...]


def path_ok(path: str) -> bool:
    """Whether ``path`` may name a sub-index: segments of letters, digits and ``. _ + -``."""
    parts = path.split("/")
    return all(map(_SEGMENT.fullmatch, parts)) and _RESERVED.isdisjoint(parts)


def _checked_path(path: str) -> str:
    if path and not path_ok(path):
        raise ValueError(f"{path!r} cannot be the path of an index")
    return path


def _checked_project(project: str) -> str:
    if project and RelativePath(project).count("/"):
        raise ValueError(f"{project!r} cannot be the name of a project")
    return project


def _checked_filename(name: str) -> str:
    return SdistFilename(name) if name.endswith(_SDIST) else WheelFilename(name)


def _checked_file(name: str) -> str:
    if RelativePath(name).count("/"):
        raise ValueError(f"{name!r} cannot be the name of a file")
    return name


def _checked_url(url: str) -> str:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not an http(s) URL")
    return url


# ``site.json`` lies where others may write, and names what is written and removed.
IndexPath = Annotated[str, AfterValidator(_checked_path)]
Project = Annotated[str, AfterValidator(_checked_project)]
FileName = Annotated[str, AfterValidator(_checked_file)]
Address = Annotated[str, AfterValidator(_checked_url)]
Sha256 = Annotated[str, Length(64, pattern="^[0-9a-f]{64}$")]
NoDigest = Annotated[str, Length(64, pattern="^([0-9a-f]{64})?$")]

Page = tuple[IndexPath, Project]
"""(path of an index, project): a page of the site. The project is empty for the index itself."""


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class SubIndex:
    """One sub-index.

    Attributes:
        path: its path in the site, such as ``cu126/torch2.8``; empty for the root.
        values: (axis, value) of every axis other than python, libc and arch.
    """

    path: IndexPath
    values: tuple[tuple[str, str], ...] = ()


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class File:
    """One wheel of the site, or an sdist.

    Attributes:
        filename: its name (PEP 427, PEP 625).
        project: the project's name, PEP 503 normalised.
        version: its version, canonical.
        sha256: of the file.
        size: in bytes.
        requires_python: from METADATA, or empty.
        uploaded: when it was added (PEP 700).
        metadata: SHA-256 of METADATA; empty if no file beside the wheel has it.
        url: its address if it is outside the site, else empty.
        signed: whether there is a signature ``<filename>.asc`` (PEP 503).
        provenance: whether there is a ``<filename>.provenance`` (PEP 740).
        variant: what its label stands for, if its name has one.
        yanked: why it is yanked, possibly empty (PEP 592); None if it is not.
        cells: (python, path of the variant) of every cell that it serves. An sdist is in every
            variant that has a wheel of its version, with an empty python.
    """

    filename: Annotated[str, AfterValidator(_checked_filename)]
    project: Project
    version: VersionText
    sha256: Sha256
    size: Size
    requires_python: str
    uploaded: datetime
    metadata: NoDigest
    url: Address = ""
    signed: bool = False
    provenance: bool = False
    variant: VariantMetadata | None = None
    yanked: str | None = None
    cells: tuple[tuple[str, IndexPath], ...] = ()

    @property
    def is_sdist(self) -> bool:
        """Whether it is the source and not a wheel."""
        return self.filename.endswith(_SDIST)

    @property
    def variants(self) -> frozenset[str]:
        """The paths of the variants that list it."""
        return frozenset(path for _, path in self.cells)


@checked(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Site:
    """A site.

    Attributes:
        schema: version of this document.
        url: the site's public address, or empty.
        default: expression that selects the root's variant, or empty.
        aliases: (path, expression) of other names for a variant.
        variants: the variants with files, in natural order of their values.
        files: sorted by name.
        published: (path of an index, project) of every page that was ever published; the project
            is empty for the index itself. These pages stay, if need be empty.
        removed: those that were removed since.
        gone: (project, name) of files that it had, until they are removed from the storage.
    """

    schema: int = SCHEMA
    url: str = ""
    default: str = ""
    aliases: tuple[tuple[IndexPath, str], ...] = ()
    variants: tuple[SubIndex, ...] = ()
    files: tuple[File, ...] = ()
    published: tuple[Page, ...] = ()
    removed: tuple[Page, ...] = ()
    gone: tuple[tuple[Project, FileName], ...] = ()

    def listed(self, path: str) -> tuple[File, ...]:
        """Return the files of a variant."""
        return tuple(file for file in self.files if path in file.variants)


_SITE: TypeAdapter[Site] = TypeAdapter(Site)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteChange:
    """What a run of ``orchestrator index`` changes besides adding files; None: nothing.

    Attributes:
        url: the site's public address.
        default: expression that selects the root's variant; empty for none.
        aliases: (path, expression); an empty expression removes the alias.
        yank: (glob over file names, reason).
        unyank: globs over file names.
        keep: number of development versions to keep of each project and variant.
        keep_days: days to keep a development version.
        remove: pages to remove: the path of an index with all its projects, or of one project in
            it; what no other index lists goes with them.
    """

    url: str | None = None
    default: str | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    yank: tuple[tuple[str, str], ...] = ()
    unyank: tuple[str, ...] = ()
    keep: int | None = None
    keep_days: int | None = None
    remove: tuple[str, ...] = ()


def loads(data: bytes, *, where: str) -> Site:
    """Read ``site.json``.

    Raises:
        EnvironmentProblemError: it is damaged, or has another schema.
    """
    try:
        site = _SITE.validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where) from None
    if site.schema != SCHEMA:
        raise EnvironmentProblemError.of(
            f"schema {site.schema}; this program knows {SCHEMA}", where=where
        )
    known = {variant.path for variant in site.variants}
    for file in site.files:
        if unknown := {path for _, path in file.cells} - known:
            raise _damaged(f"{file.filename} is in no such variant: {min(unknown)!r}", where)
    return site


def _damaged(why: str, where: str) -> EnvironmentProblemError:
    hint = "give --output a new directory, or restore the file"
    return EnvironmentProblemError.of(f"not a site's document: {why}", where=where, hint=hint)


def dumps(site: Site) -> bytes:
    """Write ``site.json``."""
    document = _SITE.dump_python(site, mode="json")
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def page_path(page: Page) -> str:
    """Return where a page is: ``cu126/demo``; empty for the root."""
    return "/".join(filter(None, page))


def removals(site: Site, change: SiteChange) -> tuple[str, ...]:
    """Return the pages that a change removes: those it names, and the aliases that it ends."""
    ended = (name for name, text in change.aliases if not text and (name, "") in site.published)
    return (*change.remove, *ended)


def remove_pages(site: Site, paths: Sequence[str]) -> Site:
    """Return a site without some pages, and without the files that only these list.

    Raises:
        ConfigError: the site never had such a page.
    """
    for path in paths:
        name = path.strip("/")
        gone = {page for page in site.published if name and page_path(page) == name}
        gone |= {page for page in site.published if name and page[0] == name}
        if not gone and name not in map(page_path, site.removed):
            known = {page_path(page) for page in site.published} - {""}
            hint = closest(name, known) if known else ""
            raise ConfigError.of(f"the site has no page {path!r}", where="--remove", hint=hint)
        lists = {page[0] for page in gone if not page[1]}
        cells = {(page[0], page[1]) for page in gone}
        files = (
            replace(file, cells=tuple(c for c in file.cells if (c[1], file.project) not in cells))
            for file in site.files
        )
        site = replace(
            site,
            aliases=tuple(alias for alias in site.aliases if alias[0] not in lists),
            files=tuple(file for file in files if file.cells),
            published=tuple(page for page in site.published if page not in gone),
            removed=tuple(sorted({*site.removed, *gone})),
        )
    return site


def apply_change(
    site: Site,
    files: Sequence[File],
    variants: Iterable[SubIndex],
    change: SiteChange,
    *,
    now: datetime,
) -> Site:
    """Return the site with files and their variants added, and a change applied.

    Raises:
        PublishRefusedError: the site has another file of this name.
        ConfigError: an expression, alias or glob matches nothing.
    """
    for name, _ in change.aliases:
        if not path_ok(name):
            raise ConfigError.of(f"{name!r} cannot be a path", where="--alias")
    there = {file.filename: file for file in site.files}
    site = remove_pages(site, removals(site, change))
    known = {file.filename: file for file in site.files}
    known |= {file.filename: _in_place_of(there.get(file.filename), file) for file in files}
    kept = _placed(_retain(_yank(_placed(known.values()), change), change, now))
    used = {path for file in kept for path in file.variants}
    by_path = {variant.path: variant for variant in (*site.variants, *variants)}
    aliases = {**dict(site.aliases), **dict(change.aliases)}
    result = replace(
        site,
        url=site.url if change.url is None else change.url,
        default=site.default if change.default is None else change.default,
        aliases=tuple((name, text) for name, text in sorted(aliases.items()) if text),
        variants=_sort(variant for path, variant in by_path.items() if path in used),
        files=tuple(sorted(kept, key=lambda file: file.filename)),
        gone=_gone(site.gone, there.values(), kept),
    )
    # Only what is asked for now has to match: what an earlier update asked for may be gone.
    for _, text in change.aliases:
        _check_matches(result, text, "--alias")
    _check_matches(result, change.default, "--default")
    # The root goes on to list what it has listed, also when it was the only variant until now.
    before = default_variant(site)
    if before is not None and before.path in used and default_variant(result) is None:
        return replace(result, default=before.path)
    return result


def _placed(files: Iterable[File]) -> list[File]:
    """Return files of which each sdist is where the wheels of its version are, if there are any."""
    found = list(files)
    paths: dict[tuple[str, Version], set[str]] = {}
    for file in found:
        if not file.is_sdist:
            paths.setdefault((file.project, _public(file)), set()).update(file.variants)
    return [
        replace(file, cells=tuple(("", path) for path in sorted(own)))
        if file.is_sdist and (own := paths.get((file.project, _public(file))))
        else file
        for file in found
    ]


def _in_place_of(old: File | None, file: File) -> File:
    """Return a file that is added; one that is already there keeps its time and its yank."""
    if old is None:
        return file
    if old.sha256 != file.sha256:
        raise PublishRefusedError.of(
            f"is in the site with other contents (sha256 {old.sha256}, here {file.sha256})",
            where=file.filename,
            hint="lock files and caches know the old one: give the new one another version "
            "or build tag",
        )
    return replace(file, uploaded=old.uploaded, yanked=old.yanked)


def _gone(
    before: Iterable[tuple[str, str]], there: Iterable[File], kept: Iterable[File]
) -> tuple[tuple[str, str], ...]:
    """Return the files that are to be removed, also of an update that was killed before that."""
    stay = {name for file in kept for name in names_of(file)}
    found = {*before, *((file.project, name) for file in there for name in names_of(file))}
    return tuple(sorted(each for each in found if each[1] not in stay))


def names_of(file: File) -> tuple[str, ...]:
    """Return the names of a wheel, and of the document of its version's variants."""
    return (file.filename,) if file.variant is None else (file.filename, variants_name(file))


def variants_name(file: File) -> str:
    """Return the name of the document on all variants of a file's version (PEP 825)."""
    return f"{file.project.replace('-', '_')}-{file.version}-variants.json"


def variants_of(site: Site) -> dict[tuple[str, str], VariantMetadata]:
    """Return (project, name of the document) -> what it says of all variants of a version.

    Raises:
        BadWheelError: two variants contradict each other.
    """
    found: dict[tuple[str, str], VariantMetadata] = {}
    for file in site.files:
        if file.variant is not None:
            key = file.project, variants_name(file)
            try:
                found[key] = found[key].joined(file.variant) if key in found else file.variant
            except ValueError as error:
                what = f"it and another variant of this version: {error}"
                raise BadWheelError.of(what, where=file.filename) from None
    return found


def _check_matches(site: Site, text: str | None, where: str) -> None:
    if text and meant(site, text, where=where) is None:
        there = ", ".join(variant.path or "(none)" for variant in site.variants) or "no variant"
        raise ConfigError.of(
            f"no variant of the site is {text!r}", where=where, hint=f"there is {there}"
        )


def meant(site: Site, text: str, *, where: str) -> SubIndex | None:
    """Return the highest variant that an expression selects; None if it selects none.

    Args:
        site: the site.
        text: a variant's path, or an expression as for ``--select``; a glob matches paths.
        where: the option, for messages.

    Raises:
        ConfigError: the text is not an expression.
    """
    for variant in site.variants:
        if variant.path == text:
            return variant
    node = condition.parse(text, where=where)
    for variant in reversed(site.variants):
        ids = (variant.path, variant.path.replace("/", "-"))
        if condition.holds(node, dict(variant.values), ids=ids):
            return variant
    return None


def default_variant(site: Site) -> SubIndex | None:
    """Return the root's variant: the chosen one, the only one, or the one without a path."""
    if site.default:
        return meant(site, site.default, where="default")
    if len(site.variants) == 1:
        return site.variants[0]
    return next((variant for variant in site.variants if not variant.path), None)


def _yank(files: Iterable[File], change: SiteChange) -> list[File]:
    result = list(files)
    changes: list[tuple[str, str | None, str]] = [
        *((pattern, reason, "--yank") for pattern, reason in change.yank),
        *((pattern, None, "--unyank") for pattern in change.unyank),
    ]
    for pattern, reason, option in changes:
        hits = {file.filename for file in result if fnmatchcase(file.filename, pattern)}
        if not hits:
            raise ConfigError.of(f"no file of the site is {pattern!r}", where=option)
        result = [
            replace(file, yanked=reason) if file.filename in hits else file for file in result
        ]
    return result


def _retain(files: Sequence[File], change: SiteChange, now: datetime) -> list[File]:
    """Return the files that stay: all releases, and nightlies within one of the limits."""
    if change.keep is None and change.keep_days is None:
        return list(files)
    nightlies: dict[tuple[str, str], set[Version]] = {}
    for file in files:
        for path in file.variants if _public(file).is_devrelease else ():
            nightlies.setdefault((file.project, path), set()).add(_public(file))
    newest = {
        key: sorted(versions, reverse=True)[: change.keep or 0]
        for key, versions in nightlies.items()
    }
    limit = None if change.keep_days is None else now - timedelta(days=change.keep_days)
    return [
        file
        for file in files
        if not (public := _public(file)).is_devrelease
        or any(public in newest[file.project, path] for path in file.variants)
        or (limit is not None and file.uploaded >= limit)
    ]


def _public(file: File) -> Version:
    return Version(Version(file.version).public)


def _sort(variants: Iterable[SubIndex]) -> tuple[SubIndex, ...]:
    found = list(variants)
    axes = dict.fromkeys(axis for variant in found for axis, _ in variant.values)

    def key(variant: SubIndex) -> tuple[Key, str]:
        values = dict(variant.values)
        return tuple(natural(values.get(axis, "")) for axis in axes), variant.path

    return tuple(sorted(found, key=key))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts ``cu126`` before ``cu1210`` and ``2.9`` before ``2.10``."""
    parts = enumerate(_DIGITS.split(text))
    return tuple((1, int(part), "") if odd % 2 else (0, 0, part) for odd, part in parts)
