"""Software bills of materials in a wheel: CycloneDX files in ``.dist-info/sboms`` (PEP 770).

auditwheel writes one for the libraries that it grafts if it knows their packages. It names the
wheel by version and file name, so it changes with them. If auditwheel wrote none, `grafted`
describes what the wheel alone tells.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name

from orchestrator.errors import BadWheelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.archive import WheelArchive

OURS = "orchestrator.cdx.json"
"""The file name for `grafted`."""

AUDITWHEELS = "auditwheel.cdx.json"
"""The file name that auditwheel uses."""

LIMIT = 8 << 20
"""Largest bill, in bytes: it is read as a whole, and Python needs up to 25 times as much."""

_GRAFTED = re.compile(r"(?P<stem>[^/]+?)-[0-9a-f]{8,64}(?P<rest>\.so(?:\.[\w.]+)?)")
"""auditwheel's name of a grafted library: a part of its hash before the suffix."""


def files_of(archive: WheelArchive) -> tuple[str, ...]:
    """Return the JSON members of the directory for bills; some may have another format."""
    folder = f"{archive.dist_info}/sboms/"
    names = (member.filename for member in archive.members)
    return tuple(name for name in names if name.startswith(folder) and name.endswith(".json"))


def read(archive: WheelArchive, name: str) -> dict[str, Any] | None:
    """Read a CycloneDX file; None if it is JSON of another format (such as SPDX).

    Raises:
        BadWheelError: it is not JSON, or its name promises CycloneDX and it is something else.
    """
    if (size := archive.packed(name).size) > LIMIT:
        raise archive.bad(f"{name} is larger than {LIMIT >> 20} MiB")
    archive.budget.text(size, name)
    try:
        bill = json.loads(archive.read(name))
    except (ValueError, RecursionError) as error:
        raise archive.bad(f"{name} is not JSON: {error}") from error
    if isinstance(bill, dict) and bill.get("bomFormat") == "CycloneDX":
        return bill
    if name.endswith((".cdx.json", ".cyclonedx.json")):
        raise archive.bad(f"{name} is not a CycloneDX file")
    return None


def tells_of_grafts(archive: WheelArchive) -> bool:
    """Whether a bill describes grafted libraries: auditwheel's, or ours."""
    return any(f"{archive.dist_info}/sboms/{name}" in archive for name in (OURS, AUDITWHEELS))


def version_of(bill: Mapping[str, Any], name: str) -> str | None:
    """Return the version that a bill gives its wheel; None if it describes something else."""
    purl = _purl_of(bill, name)
    return unquote(purl["version"]) if purl else None


def renamed(text: bytes, bill: Mapping[str, Any], old: WheelName, new: WheelName) -> bytes | None:
    """Return a bill's text with the wheel's new name, laid out as before; None if nothing changes.

    Raises:
        BadWheelError: it is nested too deeply, or contains text that is not Unicode.
    """
    purl = _purl_of(bill, old.name)
    if purl is None:
        return None
    after = _wheel_purl(unquote(purl["name"]), new)
    if "file_name=" not in purl["rest"]:
        after = after.partition("?")[0] + purl["rest"]
    try:
        changed = _replaced(bill, purl[0], after, str(new.version))
        return None if changed == bill else _written_like(text, changed)
    except (RecursionError, UnicodeEncodeError) as error:
        raise BadWheelError.of(f"a CycloneDX file cannot be written again: {error}") from error


def rehashed(text: bytes, contents: Mapping[str, bytes]) -> bytes | None:
    """Return a bill's text with the hashes of members that changed; None if it has none of them."""
    changed, bill = False, json.loads(text)
    components = bill.get("components")
    for component in components if isinstance(components, list) else ():
        member = component.get("bom-ref") if isinstance(component, dict) else None
        content = contents.get(member) if isinstance(member, str) else None
        hashes = component.get("hashes") if content is not None else None
        for each in hashes if isinstance(hashes, list) else ():
            if isinstance(each, dict) and each.get("alg") == "SHA-256":
                each["content"] = hashlib.sha256(content or b"").hexdigest()
                changed = True
    try:
        return _written_like(text, bill) if changed else None
    except (RecursionError, UnicodeEncodeError) as error:
        raise BadWheelError.of(f"a CycloneDX file cannot be written again: {error}") from error


_LAYOUT = re.compile(rb"\{\r?\n(?P<indent>[ \t]+)")


def _written_like(text: bytes, bill: Mapping[str, Any]) -> bytes:
    """Return a bill in the layout of another."""
    layout = _LAYOUT.match(text)
    indent = layout["indent"].decode() if layout else None
    tight = indent is None and b'": ' not in text
    written = json.dumps(
        bill,
        indent=indent,
        separators=(",", ":") if tight else None,
        ensure_ascii=text.isascii(),
    )
    return written.encode() + text[len(text.rstrip()) :]


def grafted(name: WheelName, libraries: Mapping[str, bytes]) -> bytes:
    """Return a bill of the libraries that a repair grafted into a wheel.

    It has what the wheel tells: the library's name without the repair's mark, and the hash of the
    copy. Its package and version are no longer known. Libraries are member -> SHA-256.
    """
    purl = _wheel_purl(name.name, name)
    components = [
        {
            "type": "library",
            "bom-ref": member,
            "name": original_name(PurePosixPath(member).name),
            "hashes": [{"alg": "SHA-256", "content": digest.hex()}],
            "evidence": {"occurrences": [{"location": member}]},
        }
        for member, digest in sorted(libraries.items())
    ]
    subject = {
        "type": "library",
        "bom-ref": purl,
        "name": name.name,
        "version": str(name.version),
        "purl": purl,
    }
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": subject},
        "components": components,
        "dependencies": [
            {"ref": purl, "dependsOn": sorted(libraries)},
            *({"ref": member} for member in sorted(libraries)),
        ],
    }
    return (json.dumps(bill, indent=1) + "\n").encode()


def original_name(library: str) -> str:
    """Return a library's name before it was grafted: ``libz-0b1c2d3e.so.1`` -> ``libz.so.1``."""
    # A library that was grafted twice has two marks.
    while match := _GRAFTED.fullmatch(library):
        library = match["stem"] + match["rest"]
    return library


def libraries_of(archive: WheelArchive) -> dict[str, bytes]:
    """Return the libraries that were grafted into a wheel (``<name>.libs/``) -> SHA-256."""
    found = {}
    for member in archive.members:
        top, _, rest = member.filename.partition("/")
        if top.endswith(".libs") and ".so" in PurePosixPath(rest).name:
            hasher = hashlib.sha256()
            for chunk in archive.chunks(member.filename):
                hasher.update(chunk)
            found[member.filename] = hasher.digest()
    return found


_PURL = re.compile(r"pkg:pypi/(?P<name>[^@?#]+)@(?P<version>[^?#]+)(?P<rest>(?:\?[^#]*)?)")


def _purl_of(bill: Mapping[str, Any], project: str) -> re.Match[str] | None:
    """Return the package URL of what a bill describes, if that is a wheel of the project."""
    metadata = bill.get("metadata")
    component = metadata.get("component") if isinstance(metadata, dict) else None
    purl = component.get("purl") if isinstance(component, dict) else None
    match = _PURL.fullmatch(purl) if isinstance(purl, str) else None
    is_own = match is not None and canonicalize_name(unquote(match["name"])) == project
    return match if is_own else None


def _wheel_purl(project: str, name: WheelName) -> str:
    """Return the package URL of a wheel, in auditwheel's form."""
    project, version = quote(project, safe=""), quote(str(name.version), safe="")
    return f"pkg:pypi/{project}@{version}?file_name={quote(str(name), safe='')}"


def _replaced(node: Any, before: str, after: str, version: str) -> Any:
    """Replace a package URL wherever it occurs, and the version beside it."""
    if isinstance(node, list):
        return [_replaced(each, before, after, version) for each in node]
    if isinstance(node, dict):
        new = {key: _replaced(value, before, after, version) for key, value in node.items()}
        return new | {"version": version} if node.get("purl") == before else new
    return after if node == before else node
