"""The rules of the house (CONTRIBUTING), read off the source with `ast`.

Imports inside functions count like all others: they are lazy for speed, not to go round a rule.
Imports under ``if TYPE_CHECKING`` count too: a type that a room names is one that it depends on,
and a row that only type-checks in a circle cannot be understood, or moved, on its own. What is
forbidden for its *effect* (os, subprocess, ...) has none there, so those rules leave them out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import orchestrator
from orchestrator.run.cache_key import rooms

PACKAGE = Path(orchestrator.__file__).parent

ROWS = (
    ("errors", "fsutil", "models"),
    ("config",),
    ("plan",),
    ("host",),
    ("store",),
    ("wheel",),
    ("provision",),
    ("containers",),
    ("source",),
    ("discover",),
    ("cross",),
    ("builders",),
    ("doctor",),
    ("run",),
    ("report",),
    ("ci",),
    ("publish",),
    ("cli",),
    ("nox", "__main__"),
)
"""From top to bottom. ``nox`` and ``__main__`` are doors of their own, opened by nobody inside."""

ROW = {room: number for number, rooms in enumerate(ROWS) for room in rooms}

PURE = (
    *("config", "plan"),
    *("run.scheduler", "run.resources", "ci.jobs"),
    *(
        f"discover.{name}"
        for name in (
            *("abi3_floor", "absent_files", "cells", "choose", "expressions", "image_choice"),
            *("matrix_text", "new_matrix", "setup_script", "torch_axes", "workflows"),
        )
    ),
)
IMPURE = frozenset(
    {"os", "subprocess", "time", "pathlib", "logging", "socket", "random", "tempfile"}
    | {"shutil", "io", "threading", "urllib", "http", "secrets", "platform", "getpass", "locale"}
)

READS = {"open", "read_text", "read_bytes", "getenv", "today", "now", "utcnow"}
"""Calls that look at the machine; a date is a value, today's is not."""

PROGRAMS = {
    *(
        f"builders.scripts.{name}"
        for name in (
            *("ask_environment", "attach_environment", "cibw_options"),
            *("cross_python", "cross_uname", "frontend"),
            *("import_wheel", "repair", "seed_venv"),
        )
    ),
    *("source.scripts.fetch_sdist", "source.scripts.scm_version"),
    "source.scripts.backend_version",
}
"""Files that another interpreter runs as programs. They are no part of this program: no
module may import them, and they may import nothing of ours."""

SHARED = "wheel.elf"
"""What a program may load from a file, and may name for its types: it imports nothing of ours."""

OPENS_ZIP = {
    # An sdist may be a zip file (PEP 517 predates PEP 625); it is no wheel.
    "source.unpack",
    # Run where orchestrator is not installed.
    "builders.scripts.import_wheel",
    # Run where orchestrator is not installed, and emulated: what auditwheel finds out takes long.
    "builders.scripts.repair",
}

SPEAKERS = ("cli", "nox", "__main__", *PROGRAMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported module, as its full dotted name."""

    module: str
    line: int
    type_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One module of the package; `name` is relative to it (``run.scheduler``)."""

    name: str
    package: str
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return self.name.split(".")[0]

    def at_run_time(self) -> Iterator[Import]:
        return (each for each in self.imports if not each.type_only)


def is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def imports_of(node: ast.AST, package: str, *, type_only: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(module=alias.name, line=child.lineno, type_only=type_only)
            case ast.ImportFrom(module=module, names=names, level=level):
                parents = package.split(".")[: len(package.split(".")) - level + 1]
                origin = ".".join((*parents, *filter(None, [module]))) if level else str(module)
                # `from a import b` may mean the module a.b or a name in a: `inner` knows.
                for alias in names:
                    name = f"{origin}.{alias.name}"
                    yield Import(module=name, line=child.lineno, type_only=type_only)
            case ast.If(test=test, body=body, orelse=orelse) if is_type_checking(test):
                for each in body:
                    wrapper = ast.Module(body=[each], type_ignores=[])
                    yield from imports_of(wrapper, package, type_only=True)
                yield from imports_of(
                    ast.Module(body=orelse, type_ignores=[]), package, type_only=type_only
                )
            case _:
                yield from imports_of(child, package, type_only=type_only)


def parse(name: str, package: str, source: str) -> Module:
    tree = ast.parse(source)
    return Module(name=name, package=package, tree=tree, imports=tuple(imports_of(tree, package)))


def modules() -> Iterator[Module]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        inside = parts[:-1]
        name = ".".join(inside if parts[-1] == "__init__" else parts)
        yield parse(name, ".".join(("orchestrator", *inside)), path.read_text("utf-8"))


MODULES = {module.name: module for module in modules()}


def inner(module: Module, known: Mapping[str, Module]) -> Iterator[tuple[str, Import]]:
    """The modules of this package that `module` imports.

    That a/__init__ runs before a.b does not count: it is the same room.
    """
    for each in module.imports:
        top, _, name = each.module.partition(".")
        if top == "orchestrator":
            name = name if name in known else name.rpartition(".")[0]
            if name in known and name != module.name:
                yield name, each


def breaches_of_rows(known: Mapping[str, Module]) -> list[str]:
    return [
        f"{module.name}:{each.line} imports {name}, which is below it"
        for module in known.values()
        for name, each in inner(module, known)
        if name and module.name and ROW[name.split(".")[0]] > ROW[module.room]
    ]


def circles(known: Mapping[str, Module]) -> list[list[str]]:
    """All modules that can reach themselves through imports."""
    edges = {module.name: {name for name, _ in inner(module, known)} for module in known.values()}
    found = []
    for start in edges:
        trail = {start: [start]}
        pending = [start]
        while pending:
            here = pending.pop()
            for there in sorted(edges[here]):
                if there == start:
                    found.append([*trail[here], start])
                    pending.clear()
                    break
                if there not in trail:
                    trail[there] = [*trail[here], there]
                    pending.append(there)
    return found


def breaches_of(
    known: Mapping[str, Module], forbidden: Iterable[str], allowed: Iterable[str]
) -> list[str]:
    """Who imports one of the forbidden modules at run time without being allowed to."""
    names, exempt = frozenset(forbidden), tuple(allowed)
    return sorted(
        {
            f"{module.name}:{each.line} imports {each.module.split('.')[0]}"
            for module in known.values()
            if not within(module.name, exempt)
            for each in module.at_run_time()
            if each.module.split(".")[0] in names
        }
    )


def within(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def speech(module: Module) -> Iterator[str]:
    """Where a module prints, writes to a standard stream, or ends the process."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Name(id="print" | "exit" | "quit" | "input" as name)):
                yield f"{module.name}:{node.lineno} calls {name}()"
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr" | "exit" as name):
                yield f"{module.name}:{node.lineno} uses sys.{name}"
            case ast.Attribute(value=ast.Name(id="os"), attr="_exit" | "abort" as name):
                yield f"{module.name}:{node.lineno} uses os.{name}"
            case ast.Name(id="SystemExit"):
                yield f"{module.name}:{node.lineno} uses SystemExit"
            case ast.Call(func=ast.Attribute(attr="print", value=value)) if (
                module.name != "report.progress" or ast.unparse(value) != "self.console"
            ):
                # report/progress prints, but only to the console that cli/ gives it.
                yield f"{module.name}:{node.lineno} calls {ast.unparse(value)}.print()"
            case ast.Call(func=ast.Name(id="Console") | ast.Attribute(attr="Console")):
                yield f"{module.name}:{node.lineno} makes a Console"


def test_every_room_has_a_row() -> None:
    rooms = {module.room for module in MODULES.values()} - {""}

    assert rooms <= ROW.keys()


def test_a_room_imports_only_from_its_own_row_or_rows_above() -> None:
    assert breaches_of_rows(MODULES) == []


def test_no_module_imports_itself_through_others() -> None:
    assert circles(MODULES) == []


def test_the_package_itself_imports_nothing() -> None:
    assert list(inner(MODULES[""], MODULES)) == []


def test_only_host_process_starts_programs() -> None:
    starters = {"subprocess", "pty", "multiprocessing"}

    assert breaches_of(MODULES, starters, {"host.process", *PROGRAMS}) == []


def test_nobody_starts_programs_through_os() -> None:
    starts = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")
    found = [
        f"{module.name}:{node.lineno} uses os.{node.attr}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) == "os"
        and node.attr.startswith(starts)
    ]

    assert found == []


def test_only_wheel_opens_zip_files() -> None:
    assert breaches_of(MODULES, {"zipfile", "zipimport"}, {"wheel", *OPENS_ZIP}) == []


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_import_nothing_impure(room: str) -> None:
    pure = {name: module for name, module in MODULES.items() if within(name, [room])}

    assert pure
    assert breaches_of(pure, IMPURE, ()) == []


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_open_nothing(room: str) -> None:
    found = [
        f"{module.name}:{node.lineno}"
        for module in MODULES.values()
        if within(module.name, [room])
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in READS
    ]

    assert found == []


def test_pure_rooms_import_only_pure_rooms_at_run_time() -> None:
    pure = (*PURE, "errors", "models")
    found = [
        f"{module.name}:{each.line} imports {name}"
        for module in MODULES.values()
        if within(module.name, PURE)
        for name, each in inner(module, MODULES)
        # The package and run/__init__ hold a docstring and a version.
        if not each.type_only and not within(name, pure) and name not in {"", "run"}
    ]

    assert found == []


def test_only_cli_prints_or_exits() -> None:
    found = [
        line
        for module in MODULES.values()
        if not within(module.name, SPEAKERS)
        for line in speech(module)
    ]

    assert found == []


def test_only_cli_and_the_progress_know_consoles() -> None:
    consoles = [
        f"{module.name}:{each.line}"
        for module in MODULES.values()
        if not within(module.name, (*SPEAKERS, "report.progress"))
        for each in module.at_run_time()
        if each.module in {"rich.console.Console", "click"}
    ]

    assert consoles == []


def test_programs_are_not_imported_and_import_nothing_of_ours() -> None:
    assert MODULES.keys() >= PROGRAMS
    assert {name for name in MODULES if ".scripts." in name} == PROGRAMS
    imported = [line for each in PROGRAMS for line in inner(MODULES[each], MODULES)]
    assert {(name, line.type_only) for name, line in imported} == {(SHARED, True)}
    assert not list(inner(MODULES[SHARED], MODULES))
    importers = {
        module.name
        for module in MODULES.values()
        for name, _ in inner(module, MODULES)
        if name in PROGRAMS
    }
    assert importers == set()


def test_the_doors_are_opened_by_nobody_inside() -> None:
    importers = {
        f"{module.name} -> {name}"
        for module in MODULES.values()
        for name, _ in inner(module, MODULES)
        if within(name, ["nox", "__main__", "cli"]) and not within(module.name, SPEAKERS)
    }

    assert importers == set()


FILE_MECHANICS = frozenset(
    {"os.replace", "os.rename", "os.link", "os.fsync", "os.fdatasync", "os.copy_file_range"}
    | {"tempfile.mkstemp", "tempfile.NamedTemporaryFile", "shutil.copyfile", "shutil.rmtree"}
)
"""What `fsutil` does, once for all: locks, whole files, links, copies, removal of trees."""

OWN_MECHANICS = {
    # Wheels that pip has written aside, and whose hashes are checked: nothing is left to be done.
    "provision.toolchain: path.replace",
}


def mechanics(module: Module) -> Iterator[str]:
    """The file mechanics that a module does itself; directories may be renamed."""
    for each in module.imports:
        if each.module.split(".")[0] == "fcntl":
            yield f"{module.name}: fcntl"
    for node in ast.walk(module.tree):
        match node:
            case ast.Attribute() if ast.unparse(node) in FILE_MECHANICS:
                yield f"{module.name}: {ast.unparse(node)}"
            # Of a string it takes two arguments, of a date keywords.
            case ast.Call(
                func=ast.Attribute(attr="replace" | "hardlink_to") as called, args=[_], keywords=[]
            ):
                yield f"{module.name}: {ast.unparse(called)}"


def test_only_fsutil_locks_replaces_links_and_syncs_files() -> None:
    others = [each for each in MODULES.values() if each.name not in {"fsutil", *PROGRAMS}]
    found = {line for module in others for line in mechanics(module)}

    assert found == OWN_MECHANICS


# The walker itself: each rule must be able to fail.


def house(**sources: str) -> dict[str, Module]:
    return {
        (name := key.replace("__", ".")): parse(
            name, ".".join(("orchestrator", *name.split(".")[:-1])), source
        )
        for key, source in sources.items()
    }


@pytest.mark.parametrize(
    "source",
    [
        "import orchestrator.report.json",
        "from orchestrator.report import json",
        "from orchestrator.report.json import dumps",
        "def f():\n    from orchestrator.report import json",
        "class A:\n    def f(self):\n        if x:\n            import orchestrator.report.json",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import orchestrator.report.json",
        "try:\n    from ..report import json\nexcept ImportError:\n    pass",
    ],
)
def test_the_walker_sees_an_import_from_below(source: str) -> None:
    found = breaches_of_rows(house(run__session=source, report__json=""))

    assert len(found) == 1
    assert "run.session" in found[0]


def test_the_walker_sees_a_circle() -> None:
    known = house(
        wheel__a="import orchestrator.wheel.b",
        wheel__b="def f():\n    from orchestrator.wheel import c",
        wheel__c="from orchestrator.wheel.a import x",
    )

    assert ["wheel.a", "wheel.b", "wheel.c", "wheel.a"] in circles(known)


def test_the_walker_tells_types_from_imports_at_run_time() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pathlib import Path\n"
    known = house(
        plan=typed, version="from pathlib import Path", matrix__x=f"{typed}else:\n    import os"
    )

    assert breaches_of(known, IMPURE, ()) == ["matrix.x:5 imports os", "version:1 imports pathlib"]


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "import sys\nsys.exit(1)",
        "import sys\nsys.stderr.write('x')",
        "raise SystemExit",
        "def f(c):\n    c.console.print(1)",
        "from rich.console import Console\nc = Console()",
        "import os\nos._exit(3)",
    ],
)
def test_the_walker_hears_speech(source: str) -> None:
    (module,) = house(run__worker=source).values()

    assert len(list(speech(module))) >= 1


@pytest.mark.parametrize(
    "source",
    [
        "import fcntl",
        "def f():\n    from fcntl import flock",
        "import os\nos.fsync(1)",
        "import os\nf(os.link)",
        "import tempfile\nwith tempfile.NamedTemporaryFile() as x:\n    pass",
        "Path('a').replace(Path('b'))",
        "Path('a').hardlink_to('b')",
    ],
)
def test_the_walker_sees_file_mechanics(source: str) -> None:
    (module,) = house(run__worker=source).values()

    assert len(list(mechanics(module))) == 1


def test_the_walker_knows_other_replaces() -> None:
    source = "'a'.replace('b', 'c')\nreplace(value, a=1)\ntoday.replace(day=1)\nroot.rename(x)"
    (module,) = house(run__worker=source).values()

    assert list(mechanics(module)) == []


# What enters a cache key


INPUTS = {"errors", "fsutil", "config", "plan", "store"}
"""Rooms that builds reach and whose sources are no part of a key: a request holds what they say."""


def reached(known: Mapping[str, Module], start: str) -> set[str]:
    """All modules that a module imports when it runs, directly or through others."""
    found, pending = set[str](), [start]
    while pending:
        here = pending.pop()
        if here not in found:
            found.add(here)
            pending += [name for name, line in inner(known[here], known) if not line.type_only]
    return found


def test_every_room_that_shapes_wheels_says_so() -> None:
    declared = {path.name for path in rooms()}
    builders = [name for name in MODULES if within(name, ["builders"]) and name not in PROGRAMS]
    shaping = {
        MODULES[name].room
        for start in ("run.worker", "source.unpack", *builders)
        for name in reached(MODULES, start)
        if name
    }

    assert shaping - INPUTS == declared


def test_planning_reaches_nothing_that_a_browser_lacks() -> None:
    """The playground plans in a browser: without files, programs, sockets and locks."""
    planning = {
        name: MODULES[name]
        for start in MODULES
        if within(start, ("config", "plan"))
        for name in reached(MODULES, start)
    }

    assert {module.room for module in planning.values()} == {"errors", "models", "config", "plan"}
    # A path is a value, too; pure rooms import none, and no model opens one.
    lacks = IMPURE - {"pathlib"} | {"fcntl", "signal", "select", "grp", "pwd", "resource"}
    assert breaches_of(planning, lacks, ()) == []


def test_every_file_that_a_module_names_beside_itself_is_there() -> None:
    missing = [
        f"{module.name}:{node.lineno} {ast.unparse(node)}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.BinOp) and ast.unparse(node).startswith("Path(__file__).parent / ")
        if isinstance(node.right, ast.Constant)
        if not PACKAGE.joinpath(
            *module.name.split(".")[:-1],
            *(part.strip("' ") for part in ast.unparse(node).split("/")[1:]),
        ).exists()
    ]

    assert missing == []


READERS = {
    "models.reading": "parses JSON and TOML for all others",
    # Files of this package, of the interpreter that runs it, or of /proc
    "cli.github": "its own direct_url.json",
    "ci.caller": "its own direct_url.json",
    "containers.images": "a script of the package",
    "cross.native_gcc": "scripts of the package",
    "host.capacity": "/proc and /sys",
    "host.emulation": "/proc",
    "host.process_tree": "/proc",
    "host.program_tables": "tables of the package",
    "wheel.torch_abi": "a table of the package",
    "provision.toolchain": "the lock of the package",
    "provision.zig": "the lock of the package",
    "report.html_report": "templates of the package",
    "run.cache_key": "the package's own modules",
    # What this program has just written, or keeps in the user's cache
    "containers.image_build": "layers that it makes",
    "provision.cache_dir": "scripts of the package",
    "provision.cross_gcc": "a list in the cache",
    "provision.cuda": "programs and notes in the cache",
    "provision.environments": "what uv has just written",
    "provision.nvcc": "a profile that it has just unpacked",
    "provision.relock": "the lock that uv has just written",
    "cross.native_nvcc": "a program that it has just compiled",
    "run.result_cache": "the log that the build of this run has written",
    "run.last_result": "JSON of a value of its own",
    # Tools of the locked toolchain, whose files its lock names by hash
    "builders.direct_host": "METADATA of the locked pip",
    "containers.pinned_images": "a table of the locked cibuildwheel",
    "provision.toolchain_env": "files of the toolchain",
    "wheel.policy": "auditwheel's policies",
    # Certificates that the user has named
    "publish.storage": "certificates that the user names",
    "store.remote": "certificates that the user names",
    # Bytes that are bounded already
    "config.lines": "one quoted word of a file that was parsed",
    "source.version_sources": "at most `_MAX_FILE` bytes; numbers stay as they are written",
    "wheel.sbom": "a member, on the wheel's budget",
}
"""Modules that read a whole file, or parse JSON or TOML, without `fsutil` and `models.reading`."""


def test_names_of_wheels_are_parsed_at_one_place() -> None:
    users = [
        name
        for name, module in MODULES.items()
        if "parse_wheel_filename" in ast.unparse(module.tree)
    ]

    assert users == ["models.wheel_name"]


def test_what_others_may_have_written_is_read_at_one_place() -> None:
    parsers = {"json.loads", "json.load", "tomllib.loads", "tomllib.load"}
    found = {
        module.name
        for module in MODULES.values()
        if not within(module.name, PROGRAMS)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func) in parsers
            or (
                isinstance(node.func, ast.Attribute)
                and node.func.attr in {"read_text", "read_bytes"}
            )
        )
    }

    assert found == READERS.keys()
