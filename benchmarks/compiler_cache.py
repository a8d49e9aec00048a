"""What the compiler cache saves: one C++ project, four Pythons, with and without.

    python benchmarks/compiler_cache.py [--kernels N]

The project is heavy C++ that does not include Python.h, and one small module that does. It is built
with the `direct` backend for every Python of this host among cp310 to cp313, one target at a time,
by setuptools and by CMake (scikit-build-core), each without the cache and with an empty one. The
toolchain and the package index are the same for both sides. "compiler" is the processor's time in
the compilers, which scripts of their names in front of them add up; "all" is the clock's, for
whole targets, with their build environments and checks.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.provision.cache_dir import default_cache_dir

ROOT = Path(__file__).parents[1]
GOAL = 2.5
PYTHONS = ("cp310", "cp311", "cp312", "cp313")
KERNEL = """\
#include <algorithm>
#include <map>
#include <regex>
#include <string>
int kernel_{n}(const char *text) {{
  std::map<std::string, int> seen;
  std::regex words("[a-z]+{n}|[0-9]+");
  for (std::cregex_iterator i(text, text + 99, words), end; i != end; ++i) ++seen[i->str()];
  return static_cast<int>(seen.size());
}}
"""
MODULE = """\
#include <Python.h>
int kernel_0(const char *);
static PyObject *run(PyObject *, PyObject *args) {
  const char *text;
  return PyArg_ParseTuple(args, "s", &text) ? PyLong_FromLong(kernel_0(text)) : nullptr;
}
static PyMethodDef methods[] = {{"run", run, METH_VARARGS, ""}, {}};
static PyModuleDef heavy = {PyModuleDef_HEAD_INIT, "heavy", "", -1, methods};
PyMODINIT_FUNC PyInit_heavy() { return PyModule_Create(&heavy); }
"""
PROJECT = """\
[build-system]
requires = [{requires}]
build-backend = "{backend}"
[project]
name = "heavy"
version = "1.0"
"""
SETUP = """\
from glob import glob
from setuptools import Extension, setup
setup(ext_modules=[Extension("heavy", sorted(glob("*.cpp")), language="c++")])
"""
CMAKE = """\
cmake_minimum_required(VERSION 3.20)
project(heavy CXX)
find_package(Python REQUIRED COMPONENTS Development.Module)
file(GLOB kernels kernel_*.cpp)
add_library(kernels OBJECT ${kernels})
set_target_properties(kernels PROPERTIES POSITION_INDEPENDENT_CODE ON)
Python_add_library(heavy MODULE WITH_SOABI module.cpp $<TARGET_OBJECTS:kernels>)
install(TARGETS heavy DESTINATION .)
"""
COMPILER = """\
#!/bin/bash
{program} "$@"
code=$?
times >>{log}
exit $code
"""
MATRIX = """\
[project]
source = "heavy"
[axes]
python = [{pythons}]
arch = ["{machine}"]
[compiler-cache]
use = "{use}"
"""


def write(folder: Path, system: str, kernels: int) -> None:
    """Write the project with one build system."""
    folder.mkdir(parents=True)
    for n in range(kernels):
        (folder / f"kernel_{n}.cpp").write_text(KERNEL.format(n=n), encoding="utf-8")
    (folder / "module.cpp").write_text(MODULE, encoding="utf-8")
    if system == "setuptools":
        requires, backend = '"setuptools"', "setuptools.build_meta"
        (folder / "setup.py").write_text(SETUP, encoding="utf-8")
    else:
        requires, backend = '"scikit-build-core", "cmake", "ninja"', "scikit_build_core.build"
        (folder / "CMakeLists.txt").write_text(CMAKE, encoding="utf-8")
    project = PROJECT.format(requires=requires, backend=backend)
    (folder / "pyproject.toml").write_text(project, encoding="utf-8")


def watched(folder: Path) -> None:
    """Make a directory of compilers that note how much of the processor each call took."""
    folder.mkdir()
    for name in ("cc", "c++", "gcc", "g++"):
        program = shutil.which(name)
        if program is None:
            raise SystemExit(f"needs {name}")
        script = COMPILER.format(program=program, log=folder / "log")
        (folder / name).write_text(script, encoding="utf-8")
        (folder / name).chmod(0o755)


def compiler_seconds(folder: Path) -> float:
    """Return what was noted, and forget it."""
    text = (folder / "log").read_text(encoding="utf-8")
    (folder / "log").unlink()
    children = " ".join(text.splitlines()[1::2]).split()  # bash's own times are the other lines
    pairs = (each.removesuffix("s").split("m") for each in children)
    return sum(60 * int(minutes) + float(rest) for minutes, rest in pairs)


def build(folder: Path, use: str, cache: Path, compilers: Path) -> list[dict[str, object]]:
    """Build all Pythons that this host has, and return their results."""
    matrix = MATRIX.format(
        pythons=", ".join(f'"{each}"' for each in PYTHONS), machine=os.uname().machine, use=use
    )
    (folder / "matrix.toml").write_text(matrix, encoding="utf-8")
    command = (sys.executable, "-m", "orchestrator", "build", "--backend", "direct")
    options = ("--no-cache", "--jobs", "1", "--output-dir", use, "--work-dir", f"work-{use}")
    environ = {**os.environ, "ORCHESTRATOR_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    environ["PATH"] = f"{compilers}:{environ['PATH']}"
    subprocess.run((*command, *options), cwd=folder, env=environ, check=False, capture_output=True)
    text = (folder / use / "results.json").read_text(encoding="utf-8")
    found = json.loads(text)["results"]
    for each in found:
        if each["status"] == "failed":
            print(f"{use}: {each['id']}: {each['failure']}", file=sys.stderr)
    return [each for each in found if each["status"] == "ok"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kernels", type=int, default=6, help="heavy files in the project")
    kernels: int = parser.parse_args().kernels
    heads = ("build system", "Pythons", "compiler s", "with", "times", "all s", "with", "times")
    print(f"| {' | '.join(heads)} |")
    print("|---|---|---|---|---|---|---|---|")
    for system in ("setuptools", "cmake"):
        sides, compiled = [], []
        with tempfile.TemporaryDirectory() as scratch:
            cache, compilers = Path(scratch, "cache"), Path(scratch, "bin")
            cache.mkdir()
            (cache / "toolchain").symlink_to(default_cache_dir(os.environ) / "toolchain")
            write(Path(scratch, "heavy"), system, kernels)
            watched(compilers)
            for use in ("off", "local"):
                sides.append(build(Path(scratch), use, cache, compilers))
                compiled.append(compiler_seconds(compilers))
        built = [[each["id"] for each in side] for side in sides]
        if built[0] != built[1] or not built[0]:
            raise SystemExit(f"{system}: not the same targets: {built}")
        whole = [sum(float(str(each["duration"])) for each in side) for side in sides]
        columns = [system, str(len(built[0]))]
        for without, with_it in (compiled, whole):
            columns += [f"{without:.1f}", f"{with_it:.1f}", f"{without / with_it:.2f}"]
        print(f"| {' | '.join(columns)} |", flush=True)
        print(f"  at least {GOAL} times less in the compilers: {yes(compiled)}", flush=True)


def yes(compiled: list[float]) -> str:
    """Say whether the goal is met."""
    return "yes" if compiled[0] >= GOAL * compiled[1] else "no"


if __name__ == "__main__":
    main()
