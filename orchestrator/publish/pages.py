"""A site's pages: PEP 503 HTML and PEP 691 JSON for every index, and the page people pick from."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from packaging.version import Version

from orchestrator.errors import ConfigError
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.publish.index_site import default_variant, meant, natural
from orchestrator.wheel.archive import WheelName
from orchestrator.wheel.policy import PlatformTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchestrator.publish.index_site import File, Site, SubIndex

FILES = "files"
"""Where the wheels are."""

API_VERSION = "1.3"
"""PEP 629: with sizes and versions (PEP 700), and provenance (PEP 740)."""


def pages(site: Site) -> dict[str, bytes]:
    """Return every page of a site: name -> content.

    Raises:
        ConfigError: two pages would have one name, because a variant, an alias and a project are
            called alike.
    """
    made: dict[str, bytes] = {}
    templates = _templates()
    default = default_variant(site)
    indexes = {each.path: each.path for each in site.variants if each.path}
    for name, text in site.aliases:
        variant = meant(site, text, where=f"alias {name}")
        if variant is not None:
            _claim(indexes, name, variant.path)
    for path, variant_path in indexes.items():
        if path.split("/")[0] == FILES:
            raise _clash(path)
        for name, page in _index(path, site.listed(variant_path), templates):
            _claim(made, name, page)
    listed = () if default is None else site.listed(default.path)
    for name, page in _index("", listed, templates):
        # The root is an index, and the page that people see first.
        _claim(made, name, _picker(site, default, templates) if name == "index.html" else page)
    return made


def _claim(made: dict[str, Any], name: str, page: Any) -> None:
    if name in made:
        raise _clash(name)
    made[name] = page


def _clash(name: str) -> ConfigError:
    return ConfigError.of(
        f"two pages would be {name!r}",
        where="index",
        hint="a variant, an alias and a project must not have one name, nor be called files",
    )


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("orchestrator.publish"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.policies["json.dumps_kwargs"] = {"sort_keys": False}  # axes are in their order
    return templates


def _index(path: str, files: Sequence[File], templates: Environment) -> Iterator[tuple[str, bytes]]:
    """Return the pages of one index: the list of projects, and each project's files."""
    prefix = f"{path}/" if path else ""
    projects: dict[str, list[File]] = {}
    for each in files:
        projects.setdefault(each.project, []).append(each)
    root = templates.get_template("root.html.j2")
    names = sorted(projects)
    yield f"{prefix}index.html", _bytes(root.render(projects=names, version=API_VERSION))
    document = {"meta": {"api-version": API_VERSION}, "projects": [{"name": n} for n in names]}
    yield f"{prefix}index.json", _json(document)
    page = templates.get_template("project.html.j2")
    up = "../" * (prefix.count("/") + 1)
    for name, own in sorted(projects.items()):
        described = [_described(each, up) for each in sorted(own, key=_order)]
        text = page.render(name=name, files=described, version=API_VERSION)
        yield f"{prefix}{name}/index.html", _bytes(text)
        yield f"{prefix}{name}/index.json", _json(_project(name, own, described))


def _order(file: File) -> tuple[Version, str]:
    return Version(file.version), file.filename


def _described(file: File, up: str) -> dict[str, Any]:
    """Return a file as PEP 691, 700, 714 and 740 have it, its address relative to the page."""
    beside = f"{up}{FILES}/{quote(file.project)}/{quote(file.filename, safe='')}"
    stamp = file.uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    entry: dict[str, Any] = {
        "filename": file.filename,
        "url": file.url or beside,
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": stamp,
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if not file.url:  # PEP 658: it is at the file's own address, which is not ours
        entry["core-metadata"] = {"sha256": file.metadata}
        entry["gpg-sig"] = file.signed
    if file.provenance:
        entry["provenance"] = f"{beside}.provenance"
    return entry


def _project(name: str, files: Sequence[File], described: Sequence[Any]) -> dict[str, Any]:
    versions = sorted({each.version for each in files}, key=Version)
    return {
        "meta": {"api-version": API_VERSION},
        "name": name,
        "versions": versions,
        "files": list(described),
    }


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8")


# The page people pick from


def _picker(site: Site, default: SubIndex | None, templates: Environment) -> bytes:
    style = templates.get_template("picker.css").render()
    script = templates.get_template("picker.js").render()
    offers = _offers(site)
    listed = () if default is None else site.listed(default.path)
    axes = _axes(offers)
    text = templates.get_template("picker.html.j2").render(
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{_sha(style)}'; script-src '{_sha(script)}'; "
        "base-uri 'none'; form-action 'none'",
        projects=sorted({each.project for each in listed}),
        names=sorted({each.project for each in site.files}),
        rows=_rows(offers, site),
        data={
            "axes": axes,
            "offers": offers,
            "titles": _titles(axes),
            "first": None if default is None else default.path,
        },
        version=API_VERSION,
    )
    return _bytes(text)


def _sha(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _offers(site: Site) -> list[dict[str, Any]]:
    """Return what can be picked: the newest release of each cell, or else the newest nightly."""
    newest: dict[tuple[str, ...], tuple[tuple[bool, Version], dict[str, Any]]] = {}
    values = {each.path: dict(each.values) for each in site.variants}
    for file in site.files:
        if file.yanked is not None:
            continue
        version = Version(file.version)
        rank = (not version.is_prerelease, version)
        for libc, arch in _platforms(file.filename):
            for python, path in file.cells:
                cell = {"python": python, "arch": arch, "libc": libc, **values[path]}
                offer = {
                    "project": file.project,
                    "version": file.version,
                    "path": path,
                    "cell": cell,
                }
                key = (file.project, path, python, libc, arch)
                if key not in newest or newest[key][0] < rank:
                    newest[key] = (rank, offer)
    return [newest[each][1] for each in sorted(newest)]


def _platforms(filename: str) -> set[tuple[str, str]]:
    tags = [PlatformTag.parse(each) for each in WheelName.parse(filename).platforms]
    found = {(str(each.libc or "linux"), each.arch) for each in tags if each is not None}
    return found or {("any", "any")}


def _axes(offers: Iterable[dict[str, Any]]) -> dict[str, list[str]]:
    """Return axis -> its values; one that has a single value everywhere is no choice."""
    found: dict[str, set[str]] = {}
    every = list(offers)
    for offer in every:
        for axis, value in (("project", offer["project"]), *offer["cell"].items()):
            found.setdefault(axis, set()).add(value)
    always = {a for a in found if all(a == "project" or a in each["cell"] for each in every)}
    return {
        axis: sorted(values, key=natural)
        for axis, values in found.items()
        if len(values) > 1 or axis not in always or axis in {"python", "arch"}
    }


def _titles(axes: dict[str, list[str]]) -> dict[str, str]:
    """Return what people call the Pythons."""
    return {each: python_title(each) for each in axes.get("python", ())}


def python_title(python: str) -> str:
    """Return ``3.14t`` for cp314t, ``3.9 or newer`` for abi3-cp39, ``PyPy 3.11`` for pp311."""
    tag = PythonTag.match(python.removeprefix(ABI3))
    if tag is None:
        return "3, any" if python == "py3" else python
    newer = " or newer" if python.startswith(ABI3) else ""
    name = "PyPy " if tag.implementation == "pypy" else ""
    return f"{name}{tag.version}{'t' * tag.free_threaded}{newer}"


def _rows(offers: Sequence[dict[str, Any]], site: Site) -> list[dict[str, Any]]:
    """Return the table for who has no JavaScript: a row for each project, variant and version."""
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for each in offers:
        key = (each["project"], each["path"], each["version"])
        groups.setdefault(key, []).append(each["cell"])
    return [
        {
            "project": project,
            "version": version,
            "variant": ", ".join(
                f"{axis} {value}"
                for axis, value in cells[0].items()
                if axis not in {"python", "arch", "libc"}
            ),
            "pythons": [
                python_title(each) for each in sorted({c["python"] for c in cells}, key=natural)
            ],
            "archs": sorted({cell["arch"] for cell in cells}),
            "index": f"{site.url.rstrip('/')}/{_address(path)}" if site.url else _address(path),
        }
        for (project, path, version), cells in groups.items()
    ]


def _address(path: str) -> str:
    return f"{quote(path)}/" if path else ""
