"""Print the shape of the package: rooms, imports, functions, names, and one target's way.

    python tools/house.py [COMMIT]

Beside each number stands that of an earlier commit, by default the one before the rooms were made.

The way is what a reader of one build opens: the files of cli/, run/ and builders/, in the order in
which a real build of one target calls from one file into another for the first time. A call leads
back when the reader had opened the file before; returning from a call does not count. It runs with
the Python that has the package's dependencies.
"""

from __future__ import annotations

import ast
import io
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from itertools import groupby
from pathlib import Path

BEFORE = "500c8f4"
"""The last commit before the rooms were made."""

SCREEN = 40
"""Lines that a function may have."""

TWICE = 2
"""Times that a reader may come back to a file."""

TRACED = ("cli", "run", "builders")
"""Rooms that a target passes on its way; what they call (hosts, stores, wheels) is a library."""

TRACE = """
import atexit, sys, threading
package, rooms, entered = sys.argv[1], sys.argv[2].split(","), {}
def file_of(frame):
    name = frame.f_code.co_filename
    return name[len(package) + 1:] if name.startswith(package) else ""
def note(frame, event, _):
    file = file_of(frame)
    if event == "call" and file.split("/")[0] in rooms and "<" not in frame.f_code.co_name:
        caller = frame.f_back
        while caller is not None and not file_of(caller):
            caller = caller.f_back
        if caller is None or file_of(caller) != file:
            entered.setdefault((file, frame.f_code.co_qualname), None)
sys.setprofile(note)
threading.setprofile(note)
sys.path.insert(0, package.rpartition("/")[0])
sys.argv = ["orchestrator", "build", "-q", "--no-cache", "--backend=direct"]
from orchestrator.cli import run
code = run()
sys.setprofile(None)
print("\\n".join(file for file, _ in entered))
sys.exit(code)
"""

PROJECT = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
    'build-backend = "setuptools.build_meta"\n[project]\nname = "tiny"\nversion = "1.0"\n',
    "setup.py": "from setuptools import Extension, setup\n"
    'setup(ext_modules=[Extension("tiny", ["tiny.c"])])\n',
    "tiny.c": "#include <Python.h>\nstatic struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "
    '"tiny"};\nPyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }\n',
    "matrix.toml": '[project]\nsource = "."\n[axes]\npython = ["cp3{minor}"]\narch = ["x86_64"]\n',
}


def room(module: str) -> str:
    """Return the room of a module's dotted name; its own name for a module of the top."""
    return module.split(".", maxsplit=1)[0]


def read(package: Path) -> dict[str, ast.Module]:
    """Return the syntax tree of each module by its name below the package."""
    return {
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__"): (
            ast.parse(path.read_text("utf-8"))
        )
        for path in sorted(package.rglob("*.py"))
    }


def count_lines(package: Path) -> dict[str, float]:
    """Return the lines of each room, and of the tests beside the package."""
    rooms = Counter[str]()
    for path in package.rglob("*.py"):
        name = room(path.relative_to(package).with_suffix("").as_posix().replace("/", "."))
        rooms[name] += _lines(path)
    tests = sum(map(_lines, (package.parent / "tests").rglob("*.py")))
    found = {f"  {name}": count for name, count in rooms.most_common()}
    return {"lines of tests": tests, "lines of Python": rooms.total(), **found}


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def count_imports(trees: dict[str, ast.Module]) -> dict[str, float]:
    """Return how many import lines lead from one room to another."""
    pairs = Counter[tuple[str, str]]()
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestrator"):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}".removeprefix("orchestrator.")
                    if room(target) != room(module):
                        pairs[room(module), room(target)] += 1
    return {"imports between rooms": pairs.total(), "pairs of rooms with imports": len(pairs)}


def lengths(trees: dict[str, ast.Module]) -> dict[str, int]:
    """Return how many lines each function has."""
    return {
        f"{module}.{node.name}:{node.lineno}": int(node.end_lineno or 0) - node.lineno + 1
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def measure_functions(trees: dict[str, ast.Module]) -> dict[str, float]:
    """Return how many functions there are, and how long they are."""
    sizes = list(lengths(trees).values())
    return {
        "functions": len(sizes),
        "  median lines": statistics.median(sizes),
        "  90 % have at most": statistics.quantiles(sizes, n=10)[-1],
        "  over 40 lines": sum(size > SCREEN for size in sizes),
        "  longest": max(sizes),
    }


def names_twice(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    """Return public classes and modules whose name is used more than once."""
    classes, files = Counter[str](), Counter[str]()
    for module, tree in trees.items():
        files[module.rpartition(".")[2]] += 1
        classes.update(
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        )
    return {
        f"{what} used twice": sorted(name for name, count in names.items() if count > 1)
        for what, names in (("public classes", classes), ("module names", files))
    }


def way(package: Path) -> list[str]:
    """Build one target for real; return the files that its reader opens, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in PROJECT.items():
            filled = text.replace("{minor}", str(sys.version_info.minor))
            Path(folder, name).write_text(filled, "utf-8")
        argv = [sys.executable, "-c", TRACE, str(package), ",".join(TRACED)]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the build failed:\n{done.stderr}")
    return [file for file, _ in groupby(done.stdout.split())]


def returns(steps: list[str]) -> dict[str, int]:
    """Return how often a way leads back to each file, the most often first."""
    return {file: count - 1 for file, count in Counter(steps).most_common() if count > 1}


def measure_way(steps: list[str]) -> dict[str, float]:
    """Return how long a way is."""
    again = returns(steps)
    return {
        "steps of one target's way": len(steps),
        "  files": len(set(steps)),
        "  returns": sum(again.values()),
        "  returns to one file": max(again.values()),
        "  files returned to more than twice": sum(count > TWICE for count in again.values()),
    }


def measure(package: Path) -> tuple[dict[str, float], list[str]]:
    """Return the numbers of a package, and lines about what they count."""
    trees, steps = read(package), way(package)
    twice = names_twice(trees)
    numbers = {
        **measure_way(steps),
        **measure_functions(trees),
        **{what: len(names) for what, names in twice.items()},
        **count_imports(trees),
        **count_lines(package),
    }
    longest = sorted(lengths(trees).items(), key=lambda pair: -pair[1])[:5]
    notes = [
        f"longest: {', '.join(f'{name} {size}' for name, size in longest)}",
        *(f"{what}: {' '.join(names)}" for what, names in twice.items() if names),
        f"returned to: {', '.join(f'{file} {n}x' for file, n in returns(steps).items())}",
    ]
    return numbers, notes


def main() -> None:
    """Print the numbers, and those of an earlier commit."""
    here, commit = Path(__file__).parents[1], (sys.argv[1:] or [BEFORE])[0]
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(here), "archive", commit, "orchestrator", "tests"]
        packed = subprocess.run(git, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(folder, filter="data")
        before, _ = measure(Path(folder, "orchestrator"))
    now, notes = measure(here / "orchestrator")
    print(f"{'':36}{commit[:7]:>8}{'now':>8}")
    for name in dict.fromkeys((*now, *before)):
        old, new = (f"{each[name]:.0f}" if name in each else "-" for each in (before, now))
        print(f"{name:36}{old:>8}{new:>8}")
    print(*notes, sep="\n")


if __name__ == "__main__":
    main()
