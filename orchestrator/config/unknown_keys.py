"""Say where a key belongs that is not known where it stands: cibuildwheel's options among them."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_origin

from orchestrator.config.settings import CellSettings, Settings, models_in
from orchestrator.errors import closest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

CIBUILDWHEEL: dict[str, tuple[str, ...]] = {
    "archs": ('axes.arch = ["x86_64", "aarch64"]',),
    "audit-command": ('verify.rules = { abi3audit = "error" }',),
    "audit-requires": ('verify.rules = { abi3audit = "error" }',),
    "before-all": ('build.before-all = "make deps"',),
    "before-build": ('build.before-build = "make sources"',),
    "before-test": ('test.before = "pip install numpy"',),
    "build": ('axes.python = ["cp312", "cp313"]',),
    "build-frontend": ('build.frontend = { name = "build", args = ["-v"] }',),
    "build-verbosity": ('build.frontend = { name = "build", args = ["-v"] }',),
    "config-settings": ('build.config-settings = { "cmake.build-type" = "Release" }',),
    "container-engine": ('engine.name = "podman"', 'engine.create-args = ["-v/data:/data"]'),
    "dependency-versions": ('build.constraints = ["setuptools<81"]',),
    "enable": ('axes.python = ["cp314t", "pp311"]',),
    "environment": ('env.MAX_JOBS = "4"',),
    "environment-pass": (
        'version.parts.stamp = ["env:STAMP", "const:"]',
        'env.STAMP = "{stamp}"',
    ),
    "inherit": ('env.MAX_JOBS = "4"',),
    "overrides": ("[[override]]", 'when = { python = "cp312" }', 'test = { command = "" }'),
    "repair-wheel-command": ('build.repair = "auditwheel"',),
    "select": ("[[override]]", 'when = { python = "cp312" }', 'test = { command = "" }'),
    "skip": ("[[exclude]]", 'when = { python = "cp312" }'),
    "test-command": ('test.command = "pytest {project}/tests"',),
    "test-environment": ('test.command = "MODE=fast pytest {project}/tests"',),
    "test-extras": ('test.extras = ["test"]',),
    "test-groups": ('test.groups = ["test"]',),
    "test-requires": ('test.requires = ["pytest"]',),
    "test-skip": ("[[override]]", 'when = { python = "cp312" }', 'test = { command = "" }'),
    "test-sources": ('test.sources = ["tests"]',),
}
"""cibuildwheel's option -> how its purpose is written here: lines of TOML, perhaps below a header.

`environment` and others that are merged by name need no ``inherit``.
"""

_OTHER_SYSTEMS = frozenset(
    {"xbuild-tools", "xbuild-files", "pyodide-version", "test-runtime"}
    | {"windows", "macos", "pyodide", "android", "ios"}
)

_KNOWN = frozenset(CIBUILDWHEEL) | _OTHER_SYSTEMS | {"linux"}

_IMAGE = re.compile(r"(manylinux|musllinux)-(?:pypy-)?(.+)-image")


ENABLE_GROUPS = frozenset(
    {"all", "cpython-prerelease", "graalpy", "pypy", "pypy-eol", "pyodide-eol"}
    | {"pyodide-prerelease"}
)
"""The groups of identifiers that the locked cibuildwheel's option ``enable`` knows."""

_TYPING_ERROR = 0.8
"""How much an unknown option is like a known one (`difflib`) that it was meant to be."""


def without_unknown(table: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a ``[tool.cibuildwheel]`` without options that only another cibuildwheel knows.

    The second value has their names. A typing error of a known option stays: cibuildwheel says so.
    """
    names = [name for name in table if _is_of_another_version(name)]
    known = {name: value for name, value in table.items() if name not in names}
    linux = table.get("linux")
    if isinstance(linux, dict):
        # A container of cibuildwheel's has its own versions.
        own = [n for n in linux if n == "dependency-versions" or _is_of_another_version(n)]
        known["linux"] = _merges_known({k: v for k, v in linux.items() if k not in own})
        names += [f"linux.{name}" for name in own]
    return _merges_known(known), tuple(names)


def _merges_known(table: dict[str, Any]) -> dict[str, Any]:
    """Leave unknown options out of what a table says about merging."""
    inherit = table.get("inherit")
    if not isinstance(inherit, dict):
        return table
    kept = {name: rule for name, rule in inherit.items() if not _is_of_another_version(name)}
    return {**table, "inherit": kept}


def _is_of_another_version(option: str) -> bool:
    if option in _KNOWN or _IMAGE.fullmatch(option):
        return False
    return not get_close_matches(option, _KNOWN, n=1, cutoff=_TYPING_ERROR)


_ELSEWHERE = {
    "image": 'images.manylinux_x86_64 = "localhost/mine:1" is for a platform, and image = '
    '"localhost/mine:1" in an [[override]] for some cells',
    "runner": 'runner = "ubuntu-24.04-arm" stands in an [[override]]',
    "python": 'write axes.python = ["cp312", "cp313"]',
    "arch": 'write axes.arch = ["x86_64", "aarch64"]',
    "libc": 'write axes.libc = ["manylinux", "musllinux"]',
    "source": 'write project.source = "."',
}
"""Key -> how its purpose is written, which no table that cells have in common shows."""


def hint_for(key: str, known: Collection[str]) -> str:
    """Return where an unknown key belongs, or which of the `known` ones of its table it may be."""
    if key.replace("_", "-") in known:
        return closest(key, known)
    if hint := _ELSEWHERE.get(key) or cibuildwheel_hint(key):
        return hint
    places = sorted(_tables_with(key))
    return f"it belongs elsewhere: {' or '.join(places)}" if places else closest(key, known)


def cibuildwheel_hint(name: str) -> str:
    """Return how an option of cibuildwheel is written here; empty if it has none of that name.

    Args:
        name: ``build-frontend``, ``CIBW_BUILD_FRONTEND`` or ``CIBW_BUILD_FRONTEND_LINUX``.
    """
    option = name.lower().replace("_", "-").removeprefix("cibw-").removesuffix("-linux")
    if option in _OTHER_SYSTEMS:
        return "it is not for Linux, for which all wheels here are: remove it"
    if option == "linux":
        return "all wheels here are for Linux: write its keys without this table"
    if found := _IMAGE.fullmatch(option):
        arch = found[2].replace("-", "_")
        return f'cibuildwheel\'s {name} is written images.{found[1]}_{arch} = "localhost/mine:1"'
    first, *rest = CIBUILDWHEEL.get(option, ("",))
    text = " and ".join(rest if first.startswith("[") else (first, *rest))
    text = f"{first} with {text}" if first.startswith("[") else text
    return f"cibuildwheel's {name} is written {text}" if text else ""


def _tables_with(key: str) -> Iterator[str]:
    """Yield the dotted paths of a key in the tables of a matrix."""
    for name, field in Settings.model_fields.items():
        is_many = name not in CellSettings.model_fields and get_origin(field.annotation) is not None
        for model in () if is_many else models_in(field.annotation):
            known = {each.alias or its for its, each in model.model_fields.items()}
            if key in known:
                yield f"{field.alias or name}.{key}"
