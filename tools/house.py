"""Print the shape of the package: rooms, imports, functions, names, and one target's way.

    python tools/house.py [DIRECTORY_OF_A_CHECKOUT]

The way is what a reader of one build opens: the files of cli/, run/ and builders/, in the order in
which a real build of one target calls from one file into another for the first time. A call leads
back when the reader had opened the file before; returning from a call does not count. It runs with
the Python that has the package's dependencies.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import groupby
from pathlib import Path

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


def print_rooms(package: Path) -> None:
    """Print lines per room, the largest first."""
    lines = Counter[str]()
    for path in package.rglob("*.py"):
        lines[room(path.relative_to(package).with_suffix("").as_posix().replace("/", "."))] += len(
            path.read_text("utf-8").splitlines()
        )
    total = lines.total()
    print(f"lines of Python: {total}")
    for name, count in lines.most_common():
        print(f"  {name:12} {count:6} {count / total:6.1%}")


def print_imports(trees: dict[str, ast.Module]) -> None:
    """Print how many import lines lead from one room to another."""
    pairs = Counter[tuple[str, str]]()
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestrator"):
                for alias in node.names:
                    target = f"{node.module}.{alias.name}".removeprefix("orchestrator.")
                    if room(target) != room(module):
                        pairs[room(module), room(target)] += 1
    print(f"imports between rooms: {pairs.total()} over {len(pairs)} pairs of rooms")
    for (here, there), count in pairs.most_common(12):
        print(f"  {here} -> {there}: {count}")


def print_functions(trees: dict[str, ast.Module]) -> None:
    """Print how long functions are."""
    lengths = [
        (int(node.end_lineno or 0) - node.lineno + 1, f"{module}.{node.name}")
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    sizes = [length for length, _ in lengths]
    median, p90 = statistics.median(sizes), statistics.quantiles(sizes, n=10)[-1]
    longest = ", ".join(f"{name} {length}" for length, name in sorted(lengths)[:-4:-1])
    print(f"functions: {len(sizes)}, median {median:.0f}, p90 {p90:.0f} lines; longest: {longest}")


def print_names(trees: dict[str, ast.Module]) -> None:
    """Print public classes and modules whose name is used more than once."""
    classes, files = Counter[str](), Counter[str]()
    for module, tree in trees.items():
        files[module.rpartition(".")[2]] += 1
        classes.update(
            node.name
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        )
    for what, names in (("public classes", classes), ("module names", files)):
        twice = sorted(name for name, count in names.items() if count > 1)
        print(f"{what} used twice: {len(twice)} {' '.join(twice)}")


def print_way(package: Path) -> None:
    """Build one target for real, and print which files its reader opens, and how often again."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in PROJECT.items():
            filled = text.replace("{minor}", str(sys.version_info.minor))
            Path(folder, name).write_text(filled, "utf-8")
        argv = [sys.executable, "-c", TRACE, str(package), ",".join(TRACED)]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"the build failed:\n{done.stderr}")
    way = [file for file, _ in groupby(done.stdout.split())]
    visits = Counter(way)
    again = {file: count - 1 for file, count in visits.most_common() if count > 1}
    print(f"one target's way: {len(way)} steps through {len(visits)} files")
    print("  returned to: " + (", ".join(f"{file} {n}x" for file, n in again.items()) or "none"))


def main() -> None:
    """Print all of it."""
    checkout = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]
    package = checkout.resolve() / "orchestrator"
    trees = read(package)
    print_rooms(package)
    print_imports(trees)
    print_functions(trees)
    print_names(trees)
    print_way(package)


if __name__ == "__main__":
    main()
