"""What PyPI refuses of a wheel, as far as the wheel itself tells: its program's own rules.

The program is pypi/warehouse; each function names the file that it follows. Rules on platform tags,
versions and sizes are `orchestrator.config.destinations`.
"""

from __future__ import annotations

import re
from email.utils import parseaddr
from importlib import import_module
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zipfile import ZIP_STORED

from packaging.metadata import Metadata, RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from orchestrator.errors import BadWheelError, ConfigError
from orchestrator.models.reading import ini_tables
from orchestrator.models.words import count_of
from orchestrator.wheel.archive import (
    EXTRA_UNICODE_PATH,
    EXTRA_ZIP64,
    FLAG_DESCRIPTOR,
    LOCAL_HEADER,
    extra_fields,
    open_wheel,
)
from orchestrator.wheel.checked_wheel import few, parsed_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from zipfile import ZipInfo

    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.archive import WheelArchive

METADATA_VERSIONS = frozenset({"1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5"})
SUMMARY, LABEL, LONGEST_ADDRESS = 512, 32, 254
"""Characters of the field ``Summary``, of a label of ``Project-URL``, of an e-mail address."""

LONGEST_NAME = 255 - len(".metadata")
"""Bytes of a file name: METADATA is kept beside the file (PEP 658)."""

_RATIO, _SMALL = 50, 64 << 20
"""A zip file of more than so many bytes may not unpack to so many times its size."""

_HEAD, _WIDE = 4, 8
_ZIP64_SIZES = frozenset({0, 8, 16, 24, 28})
"""Bytes of an extra field's head, of one size in a zip64 field, and of all that it may have."""

_LARGEST = 5 << 20
"""Bytes of a source file that is looked into."""

_ENCRYPTED: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    ("PyArmor", (b"__pyarmor__(__name__, __file__,",)),
    *(("PyArmor", (b"__pyarmor_%s__" % word,)) for word in (b"enter", b"exit", b"assert", b"bcc")),
    ("SourceDefender", (b"---BEGIN PYE FILE---", b"---END PYE FILE---")),
)

NORMALISE = "`orchestrator retag --normalise` writes one that is taken"
_COMMAND = re.compile(r"[\w.-]+")
_WORDS = r"[^@\s.,:;<>()\[\]\"\\]+"
_LABEL = r"[^\W_](?:(?:[^\W_]|-)*[^\W_])?"
_ADDRESS = re.compile(rf"{_WORDS}(?:\.{_WORDS})*@(?:{_LABEL}\.)+([^\W_][\w-]*)")
_NO_DOMAINS = frozenset({"arpa", "invalid", "local", "localhost", "onion", "test"})
_LICENCES_SINCE = Version("2.4")


def index_refusals(path: Path) -> tuple[str, ...]:
    """Return why PyPI would refuse a wheel that `verify` finds nothing wrong with.

    Raises:
        BadWheelError: it is not a wheel that can be read.
    """
    with open_wheel(path) as archive:
        rules = (_names, _zip, _local_headers, _sources, _metadata, _entry_points)
        return tuple(chain.from_iterable(rule(archive) for rule in rules))


def normalised_name(name: WheelName) -> str:
    """Return a project's name as file names have it (PEP 427, PEP 503)."""
    return name.name.replace("-", "_")


def _names(archive: WheelArchive) -> Iterator[str]:
    """warehouse/forklift/legacy.py: the project's name, and where WHEEL and METADATA are."""
    name = archive.name
    if (length := len(archive.path.name.encode())) > LONGEST_NAME:
        yield f"the file name has {length} bytes, not {LONGEST_NAME} or fewer"
    if name.label:
        yield f"a variant ({name.label}), and it takes none: the format is a draft (PEP 825)"
    if (wanted := normalised_name(name)) != name.distribution:
        yield f"the file name begins with {name.distribution}, not {wanted}: {NORMALISE}"
    if (wanted := f"{name.distribution}-{name.version_text}.dist-info") != archive.dist_info:
        yield f"the dist-info directory is {archive.dist_info}, not {wanted}: {NORMALISE}"


def _zip(archive: WheelArchive) -> Iterator[str]:
    """warehouse/utils/zipfiles.py, and the bomb of warehouse/forklift/legacy.py."""
    described = [each.filename for each in archive.entries if each.flag_bits & FLAG_DESCRIPTOR]
    if described:
        yield f"data descriptors in the zip file, such as after {described[0]}: {NORMALISE}"
    commented = [each.filename for each in archive.entries if each.comment]
    if commented:
        yield f"comments in the zip directory, such as on {commented[0]}: {NORMALISE}"
    odd = [each.filename for each in archive.entries if not each.filename.isprintable()]
    if odd:
        yield f"names with control characters: {few(list(map(repr, odd)))}"
    unpacked = sum(each.file_size for each in archive.entries)
    if unpacked > _SMALL and unpacked > _RATIO * archive.digest()[1]:
        yield f"it unpacks to more than {_RATIO} times its size"


def _local_headers(archive: WheelArchive) -> Iterator[str]:
    """warehouse/utils/zipfiles.py: extra fields before the members, which streams read."""
    blocks = archive.blocks()
    for entry in archive.entries:
        header = archive.local_header(entry, blocks)
        extra = header[LOCAL_HEADER.size + LOCAL_HEADER.unpack_from(header)[-2] :]
        if extra and (flaw := _flaw_of_extra(extra, entry)):
            yield f"{entry.filename!r} has {flaw}: {NORMALISE}"
            return


def _flaw_of_extra(extra: bytes, entry: ZipInfo) -> str:
    """Return what is wrong with the extra fields of a local header; empty for nothing."""
    fields = list(extra_fields(extra))
    lengths = [_HEAD + int.from_bytes(field[2:_HEAD], "little") for _, field in fields]
    if sum(lengths) != len(extra):
        return "extra fields that are cut off"
    kinds = [kind for kind, _ in fields if kind in {EXTRA_ZIP64, EXTRA_UNICODE_PATH}]
    if len(kinds) != len(set(kinds)):
        return "an extra field twice"
    sizes = next((field[_HEAD:] for kind, field in fields if kind == EXTRA_ZIP64), b"")
    stored = entry.compress_type == ZIP_STORED
    if len(sizes) not in _ZIP64_SIZES or (len(sizes) == _WIDE and not stored):
        return "a zip64 field of another size than it should have"
    packed = sizes[-_WIDE:] if len(sizes) == _WIDE else sizes[_WIDE : 2 * _WIDE]
    if packed and int.from_bytes(packed, "little") != entry.compress_size:
        return "a zip64 field that disagrees with the zip directory"
    return ""


def _sources(archive: WheelArchive) -> Iterator[str]:
    """warehouse/utils/scanner_rules: what encrypts Python code leaves these words in it."""
    for member in archive.members:
        if member.filename.lower().endswith((".py", ".pye")) and member.file_size <= _LARGEST:
            text = archive.read(member.filename)
            program = next((name for name, words in _ENCRYPTED if _says(text, words)), "")
            if program:
                yield f"{member.filename} is encrypted with {program}, which its policy forbids"
                return


def _says(text: bytes, words: tuple[bytes, ...]) -> bool:
    return all(word in text for word in words)


def _metadata(archive: WheelArchive) -> Iterator[str]:
    """warehouse/forklift/metadata.py, of what twine sends it; and the licence files."""
    content = archive.read(f"{archive.dist_info}/METADATA")
    archive.budget.text(len(content), "METADATA")
    yield from metadata_refusals(content)
    raw, _ = parse_email(content)
    for name in raw.get("license_files", ()) if _names_licences(raw) else ():
        if (place := f"{archive.dist_info}/licenses/{name}") not in archive:
            yield f"METADATA names the licence file {name}, but there is no {place}"


def _names_licences(raw: RawMetadata) -> bool:
    """Whether the field means something: older setuptools name them all the same."""
    stated = parsed_version(raw.get("metadata_version", ""))
    return stated is not None and stated >= _LICENCES_SINCE


def metadata_refusals(content: bytes) -> Iterator[str]:
    """Yield why PyPI would refuse a METADATA, or the PKG-INFO of an sdist."""
    raw, _ = parse_email(content)
    if not _names_licences(raw):
        raw.pop("license_files", None)
    try:
        found = Metadata.from_raw(raw)
    except ExceptionGroup as group:
        yield from (f"METADATA: {error}" for error in group.exceptions)
        return
    except ValueError as error:  # more digits than Python makes a number of
        yield f"METADATA: {error}"
        return
    yield from _fields(found)


def _fields(found: Metadata) -> Iterator[str]:
    if found.metadata_version not in METADATA_VERSIONS:
        yield f"Metadata-Version {found.metadata_version} is not one that it knows"
    if found.summary and len(found.summary) > SUMMARY:
        yield f"Summary has {count_of(len(found.summary), 'character')}, not {SUMMARY} or fewer"
    if "dynamic" in (found.dynamic or ()):
        yield "Dynamic: the field Dynamic itself cannot be dynamic"
    if found.license and found.license_expression:
        yield "License and License-Expression exclude each other"
    for field, text in (
        ("Author-Email", found.author_email),
        ("Maintainer-Email", found.maintainer_email),
    ):
        address = parseaddr(text or "")[1]
        if address and not _is_address(address):
            yield f"{field} {address!r} is not an address"
    yield from _urls(found)
    yield from _direct(found)
    yield from _classifiers(found.classifiers or ())


def _is_address(text: str) -> bool:
    """Whether email-validator, which warehouse uses, takes an address, as far as is known here."""
    match = _ADDRESS.fullmatch(text) if len(text) <= LONGEST_ADDRESS else None
    top = match[1].lower() if match else ""
    return top[-1:].isalpha() and top not in _NO_DOMAINS


def _urls(found: Metadata) -> Iterator[str]:
    for field, url in (("Home-Page", found.home_page), ("Download-URL", found.download_url)):
        if url is not None and not _is_url(url):
            yield f"{field} {url!r} is not an http(s) URL"
    for label, url in (found.project_urls or {}).items():
        if not label:
            yield "a Project-URL has no label"
        elif len(label) > LABEL:
            yield f"the label {label!r} of a Project-URL has more than {LABEL} characters"
        elif not url or not _is_url(url):
            yield f"Project-URL {label}: {url!r} is not an http(s) URL"


def _is_url(text: str) -> bool:
    """warehouse/utils/http.py: an http(s) URL by RFC 3986, once illegal characters are escaped."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    # Brackets are legal, but not here, so nothing escapes them.
    return parts.scheme in {"http", "https"} and not set("[]") & {*parts.path, *parts.query}


def _direct(found: Metadata) -> Iterator[str]:
    for one in found.requires_dist or ():
        if one.url is not None:
            yield f"Requires-Dist {one}: a direct reference; name a release of the index"
    others = {"Provides-Dist": found.provides_dist, "Obsoletes-Dist": found.obsoletes_dist}
    for field, values in others.items():
        for value in values or ():
            try:
                url = Requirement(value).url
            except InvalidRequirement:
                yield f"{field} {value!r} is invalid"
            else:
                if url is not None:
                    yield f"{field} {value}: a direct reference"


def _classifiers(stated: Iterator[str] | tuple[str, ...] | list[str]) -> Iterator[str]:
    try:
        known = import_module("trove_classifiers")
    except ImportError:
        return
    for text in stated:
        if text.startswith("Private ::"):
            yield f"the classifier {text!r} keeps it off every public index"
        elif text in known.deprecated_classifiers:
            instead = ", ".join(known.deprecated_classifiers[text]) or "none"
            yield f"the classifier {text!r} is deprecated: use {instead}"
        elif text not in known.classifiers:
            yield f"the classifier {text!r} is unknown (newer ones need a newer trove-classifiers)"


def _entry_points(archive: WheelArchive) -> Iterator[str]:
    """warehouse/utils/wheel.py: an INI file whose commands have plain names."""
    place = f"{archive.dist_info}/entry_points.txt"
    if place not in archive:
        return
    try:
        text = archive.read(place).decode()
        parser = ini_tables(text, where="entry_points.txt", strict=True, delimiters=("=",))
        groups = [
            dict(parser[each]) for each in ("console_scripts", "gui_scripts") if each in parser
        ]
    except ConfigError as error:
        yield f"entry_points.txt is not an INI file: {error.problems[0].what}"
        return
    except UnicodeError as error:
        yield f"entry_points.txt is not UTF-8: {error}"
        return
    except BadWheelError:
        return  # `verify` says so
    bad = [name for group in groups for name in group if not _COMMAND.fullmatch(name)]
    if bad:
        yield f"commands with other characters than letters, digits, '_', '.', '-': {few(bad)}"
