"""The pages of a site: PEP 503 HTML and PEP 691 JSON for each index, and the picker page."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from packaging.version import Version

from orchestrator.errors import ConfigError
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.wheel_name import WheelName
from orchestrator.publish.index_site import (
    default_variant,
    meant,
    natural,
    page_path,
    variants_name,
    variants_of,
)
from orchestrator.wheel.policy import PlatformTag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.publish.index_site import File, Page, Site

FILES = "files"
"""Where the wheels are."""

API_VERSION = "1.3"
"""PEP 629: with sizes and versions (PEP 700), and provenance (PEP 740)."""


def indexes(site: Site) -> dict[str, tuple[File, ...]]:
    """Return the path of every index of a site -> its files; the root's path is empty.

    An index that was published once is there, even if it has no files any more.

    Raises:
        ConfigError: two indexes have the same path.
    """
    found: dict[str, str] = {variant.path: variant.path for variant in site.variants}
    default = default_variant(site)
    found.pop("", None)
    for name, text in site.aliases:
        variant = meant(site, text, where=f"alias {name}")
        if variant is not None:
            _claim(found, name, variant.path)
    listed = {path: site.listed(variant_path) for path, variant_path in found.items()}
    for path, _ in site.published:
        listed.setdefault(path, ())
    return {**listed, "": () if default is None else site.listed(default.path)}


def publish_pages(site: Site) -> Site:
    """Return a site in which every page that it has now is noted as published."""
    now = {
        (path, project)
        for path, files in indexes(site).items()
        for project in ("", *(file.project for file in files))
    }
    published = now.union(site.published)
    removed = tuple(page for page in site.removed if page not in published)
    return replace(site, published=tuple(sorted(published)), removed=removed)


def pages(site: Site) -> dict[str, bytes]:
    """Return every page of a site: name -> content.

    Raises:
        ConfigError: two pages have the same name, because a variant, an alias and a project do.
    """
    made = {
        f"{FILES}/{project}/{name}": stands_for.dumps()
        for (project, name), stands_for in variants_of(site).items()
    }
    sizes = {name: len(text) for name, text in made.items()}
    templates = _templates()
    ever: dict[str, list[str]] = {}
    for path, project in site.published:
        ever.setdefault(path, []).extend([project] if project else [])
    for path, files in indexes(site).items():
        if path.split("/")[0] == FILES:
            raise _clash(path)
        for name, page in _index(path, files, ever.get(path, ()), sizes, templates):
            # The root is both an index and the page for people.
            picker = name == "index.html"
            _claim(made, name, _picker(site, files, templates) if picker else page)
    return made


def page_files(page: Page) -> tuple[str, str]:
    """Return the names of the files that a page consists of."""
    folder = f"{path}/" if (path := page_path(page)) else ""
    return f"{folder}index.html", f"{folder}index.json"


def _claim(made: dict[str, Any], name: str, page: Any) -> None:
    if name in made:
        raise _clash(name)
    made[name] = page


def _clash(name: str) -> ConfigError:
    return ConfigError.of(
        f"two pages would be {name!r}",
        where="index",
        hint="a variant, an alias and a project cannot share a name, or be called files",
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


def _index(
    path: str,
    files: Iterable[File],
    ever: Iterable[str],
    sizes: Mapping[str, int],
    templates: Environment,
) -> Iterator[tuple[str, bytes]]:
    """Yield the pages of one index: the list of projects, and each project's files.

    A project that it has ever had keeps its page, and is listed only while it has files.
    """
    prefix = f"{path}/" if path else ""
    projects: dict[str, list[File]] = {name: [] for name in ever}
    for file in files:
        projects.setdefault(file.project, []).append(file)
    names = sorted(name for name, own in projects.items() if own)
    root = templates.get_template("root.html.j2")
    yield f"{prefix}index.html", root.render(projects=names, version=API_VERSION).encode()
    yield f"{prefix}index.json", _json(projects=[{"name": name} for name in names])
    page = templates.get_template("project.html.j2")
    up = "../" * (prefix.count("/") + 1)
    for name, some in sorted(projects.items()):
        own = sorted(some, key=lambda file: (Version(file.version), file.filename))
        entries = [*(_entry(file, up) for file in own), *_variants(own, up, sizes)]
        versions = list(dict.fromkeys(file.version for file in own))
        text = page.render(name=name, files=entries, version=API_VERSION)
        yield f"{prefix}{name}/index.html", text.encode()
        yield f"{prefix}{name}/index.json", _json(name=name, versions=versions, files=entries)


def _entry(file: File, up: str) -> dict[str, Any]:
    """Return a file as in PEP 691, 700, 714 and 740; its address is relative to the page."""
    address = f"{up}{FILES}/{quote(file.project)}/{quote(file.filename, safe='')}"
    entry: dict[str, Any] = {
        "filename": file.filename,
        "url": file.url or address,
        "hashes": {"sha256": file.sha256},
        "size": file.size,
        "upload-time": file.uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "yanked": False if file.yanked is None else file.yanked or True,
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    if not file.url:  # PEP 658: it is beside the file, whose server may not be ours
        if file.metadata:
            entry["core-metadata"] = {"sha256": file.metadata}
        entry["gpg-sig"] = file.signed
    if file.provenance:
        entry["provenance"] = f"{address}.provenance"
    return entry


def _variants(files: Iterable[File], up: str, sizes: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the documents on the variants among some files (PEP 825).

    They have no hash: unlike a wheel, one changes when its version gets another variant.
    """
    named = {variants_name(file): file for file in files if file.variant is not None}
    for name, file in named.items():
        url = f"{up}{FILES}/{quote(file.project)}/{quote(name, safe='')}"
        size = sizes[f"{FILES}/{file.project}/{name}"]
        yield {"filename": name, "url": url, "hashes": {}, "size": size, "yanked": False}


def _json(**document: Any) -> bytes:
    document = {"meta": {"api-version": API_VERSION}, **document}
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


# The page for people


def _picker(site: Site, listed: Iterable[File], templates: Environment) -> bytes:
    style = templates.get_template("picker.css").render()
    script = templates.get_template("picker.js").render()
    offers, default = _offers(site), default_variant(site)
    axes = _axes(offers)
    page = templates.get_template("picker.html.j2")
    return page.render(
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{_sha(style)}'; script-src '{_sha(script)}'; "
        "base-uri 'none'; form-action 'none'",
        projects=sorted({file.project for file in listed}),
        names=sorted({file.project for file in site.files}),
        rows=_rows(offers, site),
        data={
            "axes": axes,
            "offers": offers,
            "titles": {python: python_title(python) for python in axes.get("python", ())},
            "first": None if default is None else default.path,
        },
        version=API_VERSION,
    ).encode()


def _sha(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _offers(site: Site) -> list[dict[str, Any]]:
    """Return what can be picked: each cell's newest release, or else its newest nightly."""
    newest: dict[tuple[str, ...], tuple[tuple[bool, Version], dict[str, Any]]] = {}
    values = {variant.path: dict(variant.values) for variant in site.variants}
    for file in site.files:
        # A variant is chosen by an installer that knows variants, and by no other.
        if file.is_sdist or file.yanked is not None or WheelName.parse(file.filename).label:
            continue
        version = Version(file.version)
        rank = (not version.is_prerelease, version)
        common = {"project": file.project, "version": file.version}
        for libc, arch in _platforms(file.filename):
            for python, path in file.cells:
                cell = {"python": python, "arch": arch, "libc": libc, **values[path]}
                key = (file.project, path, python, libc, arch)
                if key not in newest or newest[key][0] < rank:
                    newest[key] = (rank, {**common, "path": path, "cell": cell})
    return [newest[key][1] for key in sorted(newest)]


def _platforms(filename: str) -> set[tuple[str, str]]:
    tags = [PlatformTag.parse(each) for each in WheelName.parse(filename).platforms]
    found = {(str(each.libc or "linux"), each.arch) for each in tags if each is not None}
    return found or {("any", "any")}


def _axes(offers: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Return axis -> its values; an axis with a single value everywhere is not a choice."""
    axes: dict[str, set[str]] = {}
    for offer in offers:
        for axis, value in (("project", offer["project"]), *offer["cell"].items()):
            axes.setdefault(axis, set()).add(value)
    return {
        axis: sorted(values, key=natural)
        for axis, values in axes.items()
        if len(values) > 1
        or axis in {"python", "arch"}
        or not (axis == "project" or all(axis in offer["cell"] for offer in offers))
    }


def python_title(python: str) -> str:
    """Return ``3.14t`` for cp314t, ``3.9 or newer`` for abi3-cp39, ``PyPy 3.11`` for pp311."""
    tag = PythonTag.match(python.removeprefix(ABI3))
    if tag is None:
        return "3, any" if python == "py3" else python
    newer = " or newer" if python.startswith(ABI3) else ""
    name = "" if tag.implementation == "cpython" else f"{tag.title} "
    return f"{name}{tag.version}{'t' * tag.free_threaded}{newer}"


def _rows(offers: Sequence[dict[str, Any]], site: Site) -> list[dict[str, Any]]:
    """Return the table for browsers without JavaScript: one row a project, variant and version."""
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for offer in offers:
        key = (offer["project"], offer["path"], offer["version"])
        groups.setdefault(key, []).append(offer["cell"])
    return [
        {
            "project": project,
            "version": version,
            "variant": ", ".join(
                f"{axis} {value}"
                for axis, value in cells[0].items()
                if axis not in {"python", "arch", "libc"}
            ),
            "pythons": list(
                map(python_title, sorted({cell["python"] for cell in cells}, key=natural))
            ),
            "archs": sorted({cell["arch"] for cell in cells}),
            "index": f"{site.url.rstrip('/')}/{_address(path)}" if site.url else _address(path),
        }
        for (project, path, version), cells in groups.items()
    ]


def _address(path: str) -> str:
    return f"{quote(path)}/" if path else ""
