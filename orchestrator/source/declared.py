"""What a project declares without running anything: name, Pythons, and where its version stands.

Build backends read a version from a file, a module or git, as ``pyproject.toml``, ``setup.cfg`` or
``setup.py`` tell them. This finds the same place, as `version.base` would name it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.config.sources import parse
from orchestrator.errors import ConfigError
from orchestrator.models.reading import ini_tables, python_tree, toml_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from configparser import RawConfigParser

_HATCH_PATTERN = r"""(?i)^(__version__|VERSION)(?: ?\: ?str)? *= *(['"])v?(?P<version>.+?)\2"""
"""The default of hatchling's source ``regex``, and pdm's ``file``."""

_SCM = frozenset({"setuptools-scm", "setuptools_scm", "vcs-versioning"})
_REQUIRED_NAME = re.compile(r"[A-Za-z0-9._-]+")
_MESON_VERSION = re.compile(r"\bproject\s*\([^()]*?\bversion\s*:\s*'([^'@]+)'", re.DOTALL)
_MESON_LINE = r"version\s*:\s*'([^']+)'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a source says about its project.

    Attributes:
        name: as it is written; empty if only a build can tell.
        requires_python: the specifier of Pythons (PEP 440); empty for all.
        version: where its version stands, as `version.base` names a source; empty if it is static,
            or if only the build backend can tell.
        preset: how its build learns a version from git.
        table: its ``[tool.cibuildwheel]``.
    """

    name: str = ""
    requires_python: str = ""
    version: str = ""
    preset: str = ""
    table: Mapping[str, Any] = field(default_factory=dict, hash=False)


def declared(read: Callable[[str], str], tree: Mapping[str, Any]) -> Declared:
    """Return what a project declares.

    Args:
        read: returns the text of a file of the source; empty if there is none.
        tree: pyproject.toml.
    """
    project, tool = table_of(tree, "project"), table_of(tree, "tool")
    dynamic = project.get("dynamic")
    is_open = not project or (isinstance(dynamic, list) and "version" in dynamic)
    project_files = _Project(read=read, tree=tree, tool=tool, legacy=_Legacy.of(read))
    version = _usable(project_files.version()) if is_open else ""
    return Declared(
        name=_text(project, "name") or project_files.name(),
        requires_python=_text(project, "requires-python") or project_files.legacy.requires_python,
        version=version,
        preset=project_files.preset if version == "scm" else "",
        table=table_of(tool, "cibuildwheel"),
    )


def _usable(source: str) -> str:
    """Return a source; nothing where a project names what no source may be."""
    try:
        parse(source)
    except ValueError:
        return ""
    return source


def setup_cfg(text: str) -> RawConfigParser:
    """Return what a setup.cfg says; nothing if it is none that can be read here."""
    try:
        return ini_tables(text, where="setup.cfg")
    except ConfigError:
        return ini_tables("", where="setup.cfg")


def table_of(tree: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return a table in tables; an empty one if there is something else."""
    found: Any = tree
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _text(table: Mapping[str, Any], name: str) -> str:
    found = table.get(name)
    return found if isinstance(found, str) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Project:
    """The files of a project that say where its version stands."""

    read: Callable[[str], str]
    tree: Mapping[str, Any]
    tool: Mapping[str, Any]
    legacy: _Legacy

    @property
    def backend(self) -> str:
        """The package of the build backend; setuptools where none is named (PEP 517)."""
        named = _text(table_of(self.tree, "build-system"), "build-backend")
        return named.partition(":")[0].partition(".")[0] or "setuptools"

    @property
    def preset(self) -> str:
        known = {"hatchling": "hatch-vcs", "pdm": "pdm"}
        return known.get(self.backend, "setuptools-scm")

    def name(self) -> str:
        """The name outside of ``[project]``."""
        if self.backend == "maturin":
            cargo = _toml(self.read(self._cargo()))
            return _text(table_of(cargo, "package"), "name")
        return _text(table_of(self.tool, "poetry"), "name") or self.legacy.name

    def version(self) -> str:
        """Return the source of the version that the build backend reads; empty if none is known."""
        ways = {
            "hatchling": self._hatch,
            "flit_core": self._flit,
            "pdm": self._pdm,
            "scikit_build_core": self._scikit_build,
            "maturin": self._maturin,
            "mesonpy": self._meson,
            "poetry": self._poetry,
        }
        return ways.get(self.backend, self._setuptools)()

    def _setuptools(self) -> str:
        """Also of backends that stand before setuptools, of whatever name."""
        own = table_of(self.tool, "setuptools", "dynamic", "version")
        files = own.get("file")
        first = files[0] if isinstance(files, list) and files else files
        if attr := _text(own, "attr"):
            return f"attr:{attr}"
        if isinstance(first, str):
            return f"file:{first}"
        if self.legacy.version:
            return self.legacy.version
        tables = ("setuptools_scm", "setuptools-scm")
        by_scm = any(name in self.tool for name in tables) or self.legacy.uses_scm
        return "scm" if by_scm or self._simple_scm() else ""

    def _simple_scm(self) -> bool:
        """Whether it asks setuptools-scm without a table (``setuptools-scm[simple]``)."""
        lines = table_of(self.tree, "build-system").get("requires")
        wanted = [str(line) for line in lines] if isinstance(lines, list) else []
        names = {found[0] for line in wanted if (found := _REQUIRED_NAME.match(line))}
        return bool(names & _SCM) and bool(table_of(self.tree, "project"))

    def _hatch(self) -> str:
        own = table_of(self.tool, "hatch", "version")
        kind, path = _text(own, "source") or "regex", _text(own, "path")
        if kind == "vcs":
            return "scm"
        if kind == "env":
            return f"env:{_text(own, 'variable')}" if _text(own, "variable") else ""
        if kind != "regex" or not path:
            return ""
        pattern = own.get("pattern")
        return _by_pattern(path, pattern if isinstance(pattern, str) else _HATCH_PATTERN)

    def _flit(self) -> str:
        name = _text(table_of(self.tool, "flit", "module"), "name")
        name = name or _text(table_of(self.tool, "flit", "metadata"), "module")
        name = name or _text(table_of(self.tree, "project"), "name").replace("-", "_")
        return f"attr:{name}.__version__" if name else ""

    def _pdm(self) -> str:
        own = table_of(self.tool, "pdm", "version")
        if _text(own, "source") == "scm":
            return "scm"
        path = _text(own, "path") if _text(own, "source") == "file" else ""
        pattern = r"""^__version__\s*=\s*['"](.+?)['"]\s*(?:#.*)?$"""
        return _by_pattern(path, pattern) if path else ""

    def _scikit_build(self) -> str:
        own = table_of(self.tool, "scikit-build", "metadata", "version")
        provider, path = _text(own, "provider"), _text(own, "input")
        if provider.endswith(".setuptools_scm"):
            return "scm"
        if not provider.endswith(".regex") or not path:
            return ""
        default = r"""(?i)^(__version__|VERSION)(?: ?\: ?str)? *= *([\'"])v?(?P<value>.+?)\2"""
        return _by_pattern(path, _text(own, "regex") or default)

    def _cargo(self) -> str:
        return _text(table_of(self.tool, "maturin"), "manifest-path") or "Cargo.toml"

    def _maturin(self) -> str:
        file = self._cargo()
        found = table_of(_toml(self.read(file)), "package").get("version")
        if isinstance(found, dict):  # version.workspace = true
            folders = file.split("/")[:-1]
            places = ("/".join((*folders[:n], "Cargo.toml")) for n in range(len(folders), -1, -1))
            inherited = ("workspace", "package")
            holds = (p for p in places if table_of(_toml(self.read(p)), *inherited).get("version"))
            return next((f"file:{place}#workspace.package.version" for place in holds), "")
        return f"file:{file}#package.version" if isinstance(found, str) else ""

    def _meson(self) -> str:
        text = self.read("meson.build")
        found, first = _MESON_VERSION.search(text), re.search(_MESON_LINE, text)
        if found is None or first is None or found[1] != first[1]:
            return ""
        return f"file:meson.build#{_MESON_LINE}"

    def _poetry(self) -> str:
        is_static = _text(table_of(self.tool, "poetry"), "version")
        return "file:pyproject.toml#tool.poetry.version" if is_static else ""


def _by_pattern(path: str, pattern: str) -> str:
    """Return the source of what a pattern finds in a file; hatchling's has ``(?P<version>…)``."""
    return f"file:{path}#{pattern}"


def _toml(text: str) -> dict[str, Any]:
    try:
        return toml_value(text, where="")
    except ConfigError:  # whoever builds it says so
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Legacy:
    """What ``setup.cfg`` and ``setup.py`` say without being run."""

    name: str = ""
    requires_python: str = ""
    version: str = ""
    uses_scm: bool = False

    @classmethod
    def of(cls, read: Callable[[str], str]) -> _Legacy:
        own = setup_cfg(read("setup.cfg"))
        called = dict(_setup_arguments(read("setup.py")))
        written, version = (
            called.get("version"),
            _named(own.get("metadata", "version", fallback="")),
        )
        if not version and isinstance(written, ast.Constant | ast.Name):
            version = _in_setup(written)
        return cls(
            name=_folded(read, called.get("name")) or own.get("metadata", "name", fallback=""),
            requires_python=own.get("options", "python_requires", fallback="")
            or _folded(read, called.get("python_requires")),
            version=version,
            uses_scm="use_scm_version" in called,
        )


def _named(version: str) -> str:
    """Return the source that setup.cfg's ``version`` names (setuptools, declarative config)."""
    kind, _, argument = version.partition(":")
    if kind.strip() in {"attr", "file"} and argument.strip():
        return f"{kind.strip()}:{argument.strip()}"
    return f"const:{version.strip()}" if version.strip() else ""


def _in_setup(written: ast.Constant | ast.Name) -> str:
    """Return the source of a version that ``setup()`` gets as a text, or by a name of setup.py."""
    if isinstance(written, ast.Name):
        return f"attr:setup.{written.id}"
    return f"const:{written.value}" if isinstance(written.value, str) else ""


def _folded(read: Callable[[str], str], value: ast.expr | None) -> str:
    """Return a text that setup.py puts together from texts and names of its own; else nothing."""
    texts: list[str] = []
    pending = [value]
    while pending and len(texts) + len(pending) <= _MOST_PARTS:
        each = pending.pop()
        if isinstance(each, ast.Constant):
            texts.append(each.value if isinstance(each.value, str) else "")
        elif isinstance(each, ast.Name):
            texts.append(attribute(read, "setup", each.id))
        elif isinstance(each, ast.FormattedValue):
            pending.append(each.value)
        elif isinstance(each, ast.JoinedStr):
            pending += reversed(each.values)
        elif isinstance(each, ast.BinOp) and isinstance(each.op, ast.Add):
            pending += [each.right, each.left]
        else:
            return ""
    return "" if pending or not all(texts) else "".join(texts)


_MOST_PARTS = 16
"""Texts and names that one text is put together from."""


def _setup_arguments(text: str) -> Iterator[tuple[str, ast.expr]]:
    """Yield the keyword arguments of ``setup()`` in a setup.py, also those of ``setup(**NAME)``."""
    module = _module_of(text)
    named = {
        name: value for node in module.body for names, value in [_assigned(node)] for name in names
    }
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            function = node.func
            name = function.attr if isinstance(function, ast.Attribute) else function
            if name == "setup" or (isinstance(name, ast.Name) and name.id == "setup"):
                for each in node.keywords:
                    yield from [(each.arg, each.value)] if each.arg else _items(named, each.value)


def _items(
    named: dict[str, ast.expr | None], value: ast.expr | None
) -> Iterator[tuple[str, ast.expr]]:
    """Yield what a dictionary holds: a literal one, a ``dict()``, or, once, one with a name."""
    if isinstance(value, ast.Name):
        found = named.pop(value.id, None)
        value = None if isinstance(found, ast.Name) else found
    if isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield key.value, item
    elif isinstance(value, ast.Call) and getattr(value.func, "id", "") == "dict":
        yield from ((each.arg, each.value) for each in value.keywords if each.arg)


@lru_cache(maxsize=2)
def _module_of(text: str) -> ast.Module:
    """Return a module's syntax tree; an empty one if it is none that this Python understands."""
    return python_tree(text) or ast.Module(body=[], type_ignores=[])


def attribute(read: Callable[[str], str], module: str, name: str, *, follow: int = 5) -> str:
    """Return the text or the numbers that a module assigns to a name; empty if it computes them.

    What it imports from another module of the project is looked up there, `follow` times.
    """
    for file in _module_files(module):
        body = _module_of(read(file)).body
        if value := _literal(body, name):
            return value
        package = module if file.endswith("/__init__.py") else module.rpartition(".")[0]
        for source, original in _imported(body, name, package):
            if follow:
                return attribute(read, source, original, follow=follow - 1)
    return ""


def _module_files(dotted: str) -> Iterator[str]:
    """Yield the files that a module may be, in the layouts that build backends know."""
    path = dotted.replace(".", "/")
    for folder in ("", "src/", "lib/", "python/"):
        yield from (f"{folder}{path}/__init__.py", f"{folder}{path}.py")


def _imported(body: Iterable[ast.stmt], name: str, package: str) -> Iterator[tuple[str, str]]:
    """Yield the module of the project that a name comes from, and its name there."""
    for node in body:
        if isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(filter(None, (above, node.module)))
            names = (each.name for each in node.names if name == (each.asname or each.name))
            yield from ((source, original) for original in names if source)


def _literal(body: Iterable[ast.stmt], name: str) -> str:
    values = [value for node in body for names, value in [_assigned(node)] if name in names]
    try:
        said = ast.literal_eval(values[-1]) if values and values[-1] is not None else ""
        if isinstance(said, tuple | list):
            return ".".join(map(str, said))
    # Also of a number that has too many digits for Python to write them.
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ""
    return said if isinstance(said, str) else ""


def _assigned(node: ast.stmt) -> tuple[set[str], ast.expr | None]:
    """Return the names that a statement assigns to, and the value."""
    if isinstance(node, ast.Assign):
        return {each.id for each in node.targets if isinstance(each, ast.Name)}, node.value
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}, node.value
    return set(), None
