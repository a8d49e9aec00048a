"""Change what a wheel says about itself: file name, WHEEL, METADATA's version, RECORD, SBOMs.

Every place that names a tag, build tag or version is changed in one step, so that they always
agree; all other members keep their compressed bytes.

Signatures of RECORD (``RECORD.jws``, ``RECORD.p7s``) become invalid, and only the signer can make
new ones: a changed copy leaves them out.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from orchestrator.errors import BadWheelError, ConfigError
from orchestrator.models.wheel_name import WheelName
from orchestrator.wheel import elf, record, sbom
from orchestrator.wheel.archive import open_wheel
from orchestrator.wheel.requires import pinned
from orchestrator.wheel.variant import path_of as variant_path
from orchestrator.wheel.zipcopy import CopyEdits, write_copy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from packaging.version import Version

    from orchestrator.models.variant_metadata import VariantMetadata
    from orchestrator.wheel.archive import WheelArchive

_BUILD_TAG = re.compile(r"\d[A-Za-z0-9_.]*")
_PLATFORM_TAG = re.compile(r"[a-z0-9_]+")


def retag(  # noqa: PLR0913 - keyword-only
    path: Path,
    *,
    dest_dir: Path,
    platform_tags: Sequence[str] | None = None,
    version: Version | str | None = None,
    build_tag: str | None = None,
    pins: Sequence[str] = (),
    variant: VariantMetadata | None = None,
    contents: Mapping[str, bytes] | None = None,
    epoch: int | None = None,
    add_sbom: bool = False,
    normal_names: bool = False,
) -> Path:
    """Write a copy of a wheel under another platform tag, version, build tag or variant label.

    The same wheel and arguments give the same bytes.

    Args:
        path: the wheel; it does not change, unless the copy replaces it.
        dest_dir: directory of the copy, which is written atomically.
        platform_tags: new platform tags; None keeps them. Python and ABI tags always stay.
        version: new version, spelled like this everywhere; None keeps it.
        build_tag: new build tag; None keeps it, an empty one removes it.
        pins: requirements (PEP 508) to apply to the wheel's own; see `requires.pinned`.
        variant: what its new label, the only one, stands for; None keeps it.
        contents: members with new content, of those outside of dist-info.
        epoch: normalise order, times (to this one, seconds since 1970) and modes of all members.
        add_sbom: add a CycloneDX file on grafted libraries (PEP 770) if the wheel has none.
        normal_names: spell the project's name and the version in their normal forms (PEP 503, PEP
            440) in the names of the file and its directories, as PyPI asks.

    Returns:
        The copy.

    Raises:
        BadWheelError: the file is not a wheel that can be read.
        ConfigError: a tag is not a valid tag.
        EnvironmentProblemError: the copy cannot be written.
    """
    _check_tags(platform_tags, build_tag)
    with open_wheel(path) as archive:
        label = archive.name.label if variant is None else "".join(variant.variants)
        name = _new_name(archive.name, platform_tags, version, build_tag, label)
        if normal_names:
            name = replace(
                name,
                distribution=name.name.replace("-", "_"),
                version_text=_escaped(name.version),
            )
        target = dest_dir / str(name)
        moved = version is not None or normal_names
        stem = (name.distribution if normal_names else "", name.version_text) if moved else None
        names = _renames(archive, stem)
        added = {} if variant is None else _variant(archive, names, variant)
        added |= _new_bill(archive, name, names) if add_sbom else {}
        edits = _edits(archive, name, version, pins, names, added, contents or {})
        if epoch is not None:
            edits = _normalised(archive, edits, epoch)
        if record.path_of(archive) in edits.contents:
            edits = replace(edits, dropped=record.signatures_of(archive))
        write_copy(archive, edits, target)
    return target


def _check_tags(platform_tags: Sequence[str] | None, build_tag: str | None) -> None:
    if platform_tags is not None:
        bad = [tag for tag in platform_tags if not _PLATFORM_TAG.fullmatch(tag)]
        if bad or not platform_tags or isinstance(platform_tags, str):
            raise ConfigError.of(
                f"not platform tags: {bad or platform_tags!r}",
                hint="write them like manylinux_2_28_x86_64",
            )
    if build_tag and not _BUILD_TAG.fullmatch(build_tag):
        raise ConfigError.of(
            f"not a build tag: {build_tag!r}",
            hint="it starts with a digit and has letters, digits, '_' and '.' only (PEP 427)",
        )


def _new_name(
    old: WheelName,
    platform_tags: Sequence[str] | None,
    version: Version | str | None,
    build_tag: str | None,
    label: str,
) -> WheelName:
    platforms = set(platform_tags or old.platforms)
    new = replace(
        old,
        version_text=_escaped(version) if version is not None else old.version_text,
        build=old.build if build_tag is None else build_tag,
        label=label,
        # Unchanged tags keep their order.
        platform=old.platform
        if platforms == set(old.platform.split("."))
        else ".".join(sorted(platforms)),
    )
    # Parsed again to update the other fields, and to check that installers accept the name.
    return WheelName.parse(str(new))


def _escaped(version: Version | str) -> str:
    """Return a version as in file and directory names (PEP 427, PEP 440 normal form)."""
    return str(version).replace("-", "_")


def _edits(  # noqa: PLR0913, PLR0917 - mostly optional
    archive: WheelArchive,
    name: WheelName,
    version: Version | str | None,
    pins: Sequence[str],
    names: Mapping[str, str],
    added: Mapping[str, bytes],
    replaced: Mapping[str, bytes],
) -> CopyEdits:
    info = archive.dist_info
    texts = {f"{info}/WHEEL": _wheel_file(archive, name)}
    if version is not None or pins:
        texts[f"{info}/METADATA"] = _metadata(archive, version, pins)
    # A member whose content stays the same is copied.
    contents = {member: text for member, text in texts.items() if text != archive.read(member)}
    contents |= {**replaced, **_bills(archive, name, replaced)}
    if contents or names or added:
        contents[record.path_of(archive)] = _record(archive, names, contents, added)
    return CopyEdits(names=names, contents=contents, added=added)


def _bills(
    archive: WheelArchive, name: WheelName, replaced: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Return the new contents of CycloneDX files that name the wheel, or members that change."""
    changed = {}
    for member in sbom.files_of(archive):
        try:
            bill = sbom.read(archive, member) or {}
            text = archive.read(member)
            new = sbom.renamed(text, bill, archive.name, name)
            if replaced and bill:
                new = sbom.rehashed(new or text, replaced) or new
        except BadWheelError:
            continue  # `verify` reports it
        if new is not None:
            changed[member] = new
    return changed


def _new_bill(archive: WheelArchive, name: WheelName, names: Mapping[str, str]) -> dict[str, bytes]:
    if sbom.tells_of_grafts(archive) or not (libraries := sbom.libraries_of(archive)):
        return {}
    return {f"{_new_info(archive, names)}/sboms/{sbom.OURS}": sbom.grafted(name, libraries)}


def _variant(
    archive: WheelArchive, names: Mapping[str, str], variant: VariantMetadata
) -> dict[str, bytes]:
    if archive.name.label or variant_path(archive) in archive:
        raise archive.bad("it is a variant already", hint="make variants from the plain wheel")
    return {f"{_new_info(archive, names)}/variant.json": variant.dumps()}


def _new_info(archive: WheelArchive, names: Mapping[str, str]) -> str:
    """Return the name that the dist-info directory gets."""
    old = record.path_of(archive)
    return names.get(old, old).removesuffix("/RECORD")


def _normalised(archive: WheelArchive, edits: CopyEdits, epoch: int) -> CopyEdits:
    """Return edits that also sort RECORD's lines."""
    place = record.path_of(archive)
    text = edits.contents.get(place) or record.content(archive)
    rows = record.parse(archive, text)
    mine = edits.names.get(place, place)
    ordered = sorted(rows, key=lambda row: (row.path == mine, row.path))
    newline = "\r\n" if text.endswith(b"\r\n") else "\n"
    new = "".join(row.text.rstrip("\r\n") + newline for row in ordered).encode()
    contents = edits.contents if new == text else {**edits.contents, place: new}
    return replace(edits, contents=contents, epoch=epoch)


def _renames(archive: WheelArchive, stem: tuple[str, str] | None) -> Mapping[str, str]:
    """Return the new names of members in the dist-info and data directories.

    These get another name (empty: the one they have) and version.
    """
    if stem is None:
        return {}
    directories: dict[str, str] = {}
    for top in {entry.filename.split("/", 1)[0] for entry in archive.entries}:
        old, dot, kind = top.rpartition(".")
        distribution = old.rpartition("-")[0]
        mine = top == archive.dist_info or canonicalize_name(distribution) == archive.name.name
        if kind in {"dist-info", "data"} and mine:
            distribution = stem[0] or distribution or archive.name.distribution
            directories[top] = f"{distribution}-{stem[1]}{dot}{kind}"
    renamed = {}
    for entry in archive.entries:
        top, slash, rest = entry.filename.partition("/")
        if slash and directories.get(top, top) != top:
            renamed[entry.filename] = f"{directories[top]}/{rest}"
    names = Counter(renamed.get(entry.filename, entry.filename) for entry in archive.entries)
    if twice := [name for name, count in names.items() if count > 1]:
        raise archive.bad(
            f"directories of several versions have a member that would become {twice[0]!r}",
            hint="build the wheel again in an empty directory",
        )
    return renamed


def _wheel_file(archive: WheelArchive, name: WheelName) -> bytes:
    """Return WHEEL for the new name."""
    text, old = archive.read(f"{archive.dist_info}/WHEEL"), archive.headers("WHEEL")
    sets = (tags.split(".") for tags in (name.python, name.abi, name.platform))
    tags = ["-".join(parts) for parts in product(*sets)]
    if set(old.get_all("Tag", ())) != set(tags):
        text = _set_header(text, "Tag", tags)
    if old.get_all("Build", []) != ([name.build] if name.build else []):
        text = _set_header(text, "Build", [name.build] if name.build else [])
    pure_root = old.get("Root-Is-Purelib", "").strip().lower() == "true"
    if pure_root and name.platforms != ("any",) and _is_platlib(archive):
        text = _set_header(text, "Root-Is-Purelib", ["false"])
    return text


def _is_platlib(archive: WheelArchive) -> bool:
    """Whether the root of a platform wheel is for platlib, by its old tag or its files."""
    if archive.name.platforms == ("any",):
        return True
    roots = (m for m in archive.members if not m.filename.partition("/")[0].endswith(".data"))
    return any(elf.is_elf(next(archive.chunks(m.filename), b"")) for m in roots)


def _metadata(archive: WheelArchive, version: Version | str | None, pins: Sequence[str]) -> bytes:
    """Return METADATA with another version and pinned requirements."""
    text, headers = archive.read(f"{archive.dist_info}/METADATA"), archive.headers("METADATA")
    if version is not None and headers.get("Version", "").strip() != str(version):
        text = _set_header(text, "Version", [str(version)])
    stated = headers.get_all("Requires-Dist", [])
    if (new := pinned(stated, pins)) != stated:
        text = _set_header(text, "Requires-Dist", new)
    return text


def _set_header(text: bytes, key: str, values: Sequence[str]) -> bytes:
    """Replace a header's values where its first line is, or append them to the headers.

    All other lines keep their bytes. Continuation lines of old values are removed.
    """
    blank = re.search(rb"^\r?\n", text, re.MULTILINE)
    end = blank.start() if blank else len(text)
    lines = text[:end].splitlines(keepends=True)
    prefix = f"{key}:".lower().encode("ascii")
    old: set[int] = set()
    for index, line in enumerate(lines):
        folded = line[:1] in {b" ", b"\t"} and index - 1 in old
        if folded or line.lower().startswith(prefix):
            old.add(index)
    at = min(old, default=len(lines))
    before, after = lines[:at], [line for i, line in enumerate(lines) if i > at and i not in old]
    newline = b"\r\n" if lines and lines[0].endswith(b"\r\n") else b"\n"
    if before and not before[-1].endswith(b"\n"):
        before[-1] += newline
    new = [f"{key}: {value}".encode() + newline for value in values]
    return b"".join((*before, *new, *after)) + text[end:]


def _record(
    archive: WheelArchive,
    names: Mapping[str, str],
    contents: Mapping[str, bytes],
    added: Mapping[str, bytes],
) -> bytes:
    """Return RECORD with the new names and hashes; other lines keep their bytes."""
    like = record.RecordRow(path="", hash="", size="", text="\n")
    lines = [like.replaced(path, content).text for path, content in sorted(added.items())]
    signatures = record.signatures_of(archive)
    for row in record.read(archive):
        path = names.get(row.path, row.path)
        content = contents.get(row.path)
        changed = content is not None or path != row.path
        if row.path not in signatures:
            lines.append(row.replaced(path, content).text if changed else row.text)
    return "".join(lines).encode("utf-8")
