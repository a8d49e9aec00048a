"""Read what a source tree says about its wheels. None of its code runs."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.requirements import requirement_name
from orchestrator.config.sources import VersionSourceKind, parse
from orchestrator.discover.abi3_floor import (
    cargo_floor,
    cibuildwheel_floor,
    meson_floor,
    scikit_floor,
    table_floor,
)
from orchestrator.discover.absent_files import absent_files
from orchestrator.discover.setup_script import SetupScript, read_setup
from orchestrator.discover.workflows import Meter, Workflow, read_workflow
from orchestrator.errors import ConfigError
from orchestrator.fsutil import walk
from orchestrator.source.declared import setup_cfg, table_of
from orchestrator.source.locate import directory_identity, read_text, read_toml
from orchestrator.source.version_sources import HostSources

if TYPE_CHECKING:
    from collections.abc import Mapping
    from configparser import RawConfigParser

    from orchestrator.discover.absent_files import AbsentFile
    from orchestrator.source.locate import SourceLocation

_BACKENDS = {
    "maturin": "maturin",
    "scikit_build_core": "scikit-build-core",
    "mesonpy": "meson-python",
    "sipbuild": "sip",
    "py_build_cmake": "py-build-cmake",
}
"""Build backends whose projects are compiled."""

_MAY_BE_PURE = frozenset(
    {"", "flit", "flit_core", "hatchling", "pdm", "poetry", "setuptools", "uv_build"}
)
"""Build backends of which more is known than what files a source has."""

_SOURCES = (*(".c", ".cc", ".cpp", ".cxx", ".cu", ".pyx", ".rs", ".f", ".f90", ".zig", ".i", ".S"),)

_BUILT = (".so", ".pyd", ".dll", ".dylib")
"""Ends of names of libraries that are compiled."""

_DEEPEST_PACKAGE = 3
"""Directories above a library that is looked for."""

_PLAIN_HOOKS = frozenset({"vcs", "version", "custom", "fancy-pypi-readme", "requirements_txt"})
"""Build hooks of hatch that compile nothing, or, the custom one, may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """What a source tree says.

    Attributes:
        name: of the project, normalised; empty if only a build can tell.
        computed: only the build backend can tell its version.
        compiles: why it is compiled; empty if nothing says so.
        requires_python: as cibuildwheel reads it.
        metadata_requires_python: what Poetry, or an sdist, says instead.
        abi3: the Python of the stable ABI that its wheels have, such as ``cp39``; or empty.
        abi3_source: what says so, or what a variable of the environment has to ask for.
        single: one wheel serves all Pythons, because its programs or libraries use none.
        torch: what says that it is compiled with torch; or empty.
        cuda: it has code for CUDA.
        cpu: it can be built without CUDA.
        variables: what its setup.py reads from the environment.
        switch: the variable without which that compiles nothing, and its value; or nothing.
        cibuildwheel: its ``[tool.cibuildwheel]``; None if there is none.
        absent: option of that table that cannot work -> the file that the source does not have.
        package: the package or module that the wheel has; empty if nothing says so.
        workflows: file name -> workflow.
        notes: what could not be read.
    """

    name: str
    computed: bool
    compiles: str
    requires_python: str
    metadata_requires_python: str
    abi3: str
    abi3_source: str
    single: bool
    torch: str
    cuda: bool
    cpu: bool
    variables: frozenset[str]
    switch: tuple[str, str] | None
    cibuildwheel: Mapping[str, Any] | None
    absent: Mapping[str, AbsentFile]
    package: str
    workflows: Mapping[str, Workflow]
    notes: tuple[str, ...]


def read_project(root: Path, origin: SourceLocation) -> ProjectFacts:
    """Read a source tree; ``origin`` is where it comes from.

    Raises:
        SourceError: it has no build backend, or a file of it cannot be read.
    """
    identity = directory_identity(root)
    declared, version = identity.declared, identity.version or origin.version
    tree = read_toml(root, "pyproject.toml")
    tool, requires = table_of(tree, "tool"), _requires(tree)
    text = read_text(root, "setup.py", errors="replace")
    setup = read_setup(text) or SetupScript(compiles="setup.py") if text else SetupScript()
    config = setup_cfg(read_text(root, "setup.cfg", errors="replace"))
    abi3, abi3_source = _stable_abi(root, tree, setup, config)
    workflows, notes = _workflows(root)
    name = identity.name or origin.name
    torch = "setup.py" if setup.torch else "[build-system]" if "torch" in requires else ""
    return ProjectFacts(
        name=name,
        computed=not (version or _stands_there(root, declared.version)),
        compiles=_compiles(root, tree, setup),
        requires_python=declared.requires_python,
        metadata_requires_python=_metadata_requires_python(root, tool),
        abi3=abi3,
        abi3_source=abi3_source,
        single=_single(tool),
        torch=torch,
        cuda=setup.cuda or (bool(torch) and not setup.torch),
        cpu=setup.cpu or not setup.cuda or "FORCE_CUDA" in setup.variables,
        variables=setup.variables,
        switch=setup.switch,
        cibuildwheel=tool.get("cibuildwheel") if "cibuildwheel" in tool else None,
        absent=absent_files(
            table_of(tool, "cibuildwheel"), lambda file: os.path.lexists(root / file)
        ),
        package=_package(root, name),
        workflows=workflows,
        notes=notes,
    )


def built_library(root: Path) -> str:
    """Return a library that a source tree has ready, in a package of it; empty without any."""
    found: list[Path] = []
    for folder, folders, files in walk(root):
        above = Path(folder).relative_to(root)
        deeper = len(above.parts) < _DEEPEST_PACKAGE
        folders[:] = (each for each in folders if deeper and not each.startswith((".", "build")))
        if above.parts:
            found += (above / each for each in files if each.endswith(_BUILT) and each[0] != ".")
    return str(min(found, key=lambda each: (len(each.parts), each), default=""))


def _package(root: Path, name: str) -> str:
    """Return the package or module of the project's own name."""
    module = name.replace("-", "_")
    places = (
        f"{folder}{module}{end}" for folder in ("", "src/") for end in ("/__init__.py", ".py")
    )
    return module if any((root / each).is_file() for each in places) else ""


def _requires(tree: Mapping[str, Any]) -> frozenset[str]:
    listed = table_of(tree, "build-system").get("requires")
    texts = listed if isinstance(listed, list) else []
    return frozenset(requirement_name(str(each)) for each in texts)


def _compiles(root: Path, tree: Mapping[str, Any], setup: SetupScript) -> str:
    """Return what says that something is compiled."""
    backend = str(table_of(tree, "build-system").get("build-backend", ""))
    module = backend.partition(".")[0].partition(":")[0]
    if module in _BACKENDS:
        return f"the build backend is {_BACKENDS[module]}"
    if setup.compiles:
        return f"setup.py has {setup.compiles}"
    tool = table_of(tree, "tool")
    setuptools = table_of(tool, "setuptools")
    if setuptools.get("ext-modules") or "setuptools-rust" in tool:
        return "[tool.setuptools] has ext-modules"
    poetry, pdm = table_of(tool, "poetry"), table_of(table_of(tool, "pdm"), "build")
    if poetry.get("build"):
        return "[tool.poetry] has a build script"
    if pdm.get("run-setuptools") or pdm.get("is-purelib") is False:
        return "[tool.pdm.build] runs setuptools"
    return _unknown(root, backend) or _hatch_hook(root, table_of(table_of(tool, "hatch"), "build"))


def _unknown(root: Path, backend: str) -> str:
    module = backend.partition(".")[0].partition(":")[0]
    file = "" if module in _MAY_BE_PURE else _compiled_file(root)
    return f"the build backend is {backend}, and the source has {file}" if file else ""


def _compiled_file(root: Path) -> str:
    """Return a file that only a compiler understands; empty without any."""
    for place, folders, names in walk(root):
        folders[:] = sorted(each for each in folders if each not in _BESIDE)
        for name in sorted(names):
            if name.endswith(_SOURCES):
                return os.path.relpath(os.path.join(place, name), root)  # noqa: PTH118 - a text
    return ""


_BESIDE = frozenset({".git", "doc", "docs", "examples", "test", "tests"})
"""Directories whose files say nothing about the wheel."""


def _hatch_hook(root: Path, build: Mapping[str, Any]) -> str:
    targets = table_of(table_of(build, "targets"), "wheel")
    hooks = {**table_of(build, "hooks"), **table_of(targets, "hooks")}
    for name in sorted(hooks.keys() - _PLAIN_HOOKS):
        return f"hatch has the build hook {name}"
    if "custom" in hooks:
        path = str(table_of(hooks, "custom").get("path", "hatch_build.py"))
        if re.search("infer_tag|pure_python", read_text(root, path, errors="replace")):
            return f"{path} makes wheels for a platform"
    return ""


def _stands_there(root: Path, text: str) -> bool:
    """Whether a version stands where a project says, and is not computed by what stands there."""
    if not text:
        return False
    source = parse(text)
    if source.pattern or source.kind not in {VersionSourceKind.ATTR, VersionSourceKind.FILE}:
        return True
    found = HostSources(root=root, environ={}).answers([text])
    return all(answer.value for answer in found.values())


def _metadata_requires_python(root: Path, tool: Mapping[str, Any]) -> str:
    python = table_of(table_of(tool, "poetry"), "dependencies").get("python", "")
    caret = re.fullmatch(r"\^(\d{1,3})\.(\d+)(\.\d+)?", str(python).strip())
    if caret:  # Poetry's own spelling
        return f">={caret[1]}.{caret[2]},<{int(caret[1]) + 1}"
    headers = read_text(root, "PKG-INFO", errors="replace").partition("\n\n")[0]
    match = re.search(r"(?m)^Requires-Python: *(.+)$", headers)
    return match[1].strip() if match else str(python)


def _single(tool: Mapping[str, Any]) -> bool:
    """Whether the wheel's tag is ``py3-none``: it needs a platform, and any Python."""
    api = table_of(table_of(tool, "scikit-build"), "wheel").get("py-api")
    bindings = table_of(tool, "maturin").get("bindings")
    return str(api).endswith("py3") or bindings in {"bin", "cffi", "uniffi"}


def _stable_abi(
    root: Path, tree: Mapping[str, Any], setup: SetupScript, config: RawConfigParser
) -> tuple[str, str]:
    """Return the Python of the stable ABI, and what says so."""
    tool = table_of(tree, "tool")
    backend = str(table_of(tree, "build-system").get("build-backend", ""))
    section = dict(config["bdist_wheel"]) if config.has_section("bdist_wheel") else {}
    found = {
        "[tool.cibuildwheel]": cibuildwheel_floor(table_of(tool, "cibuildwheel")),
        "setup.py": setup.abi3,
        "setup.cfg": table_floor(section),
        "[tool.distutils.bdist_wheel]": table_floor(
            table_of(table_of(tool, "distutils"), "bdist_wheel")
        ),
    }
    if backend.startswith("maturin"):
        path = str(table_of(tool, "maturin").get("manifest-path", "Cargo.toml"))
        manifest, workspace = read_toml(root, path), read_toml(root, "Cargo.toml")
        floor = cargo_floor(manifest, workspace, table_of(tool, "maturin"))
        found[f"the features of pyo3 in {path}"] = floor
    elif backend.startswith("scikit_build_core"):
        found["wheel.py-api of [tool.scikit-build]"] = scikit_floor(table_of(tool, "scikit-build"))
    elif backend.startswith("mesonpy") and table_of(tool, "meson-python").get("limited-api"):
        meson = read_text(root, "meson.build", errors="replace")
        found["limited-api of [tool.meson-python]"] = meson_floor(meson)
    asks = "setup.py, if a variable of the environment asks for it" if setup.abi3_asks else ""
    return next(((floor, source) for source, floor in found.items() if floor), ("", asks))


def _workflows(root: Path) -> tuple[dict[str, Workflow], tuple[str, ...]]:
    folder = root / ".github" / "workflows"
    found: dict[str, Workflow] = {}
    notes: list[str] = []
    meter = Meter()
    if folder.is_symlink() or not folder.is_dir():
        return found, ()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".yml", ".yaml"}:
            name = path.relative_to(root).as_posix()
            try:
                text = read_text(root, name, errors="replace")
                found[name] = read_workflow(text, where=name, meter=meter)
            except ConfigError as error:
                notes += [each.what for each in error.problems]
    notes += [note for workflow in found.values() for note in workflow.notes]
    return found, tuple(notes)
