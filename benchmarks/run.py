"""A small real matrix: cibuildwheel in a shell loop, and ours.

    python benchmarks/run.py [--kernels N] [--variants N]

One C++ project, the three native baseline images of `.ci/images` (a Python each) and some variants,
built four times in one run, from the same source with the same images and the same cibuildwheel:

- loop: ``cibuildwheel --only`` once for each target, one after the other, in a clean copy of the
  source, as a shell script does it;
- j1: ``orchestrator build -j1``, with nothing in the store and no compiler cache;
- j2: the same with ``-j2``;
- cached: the same again, with everything in the store;
- default: as somebody runs it who has set nothing, compiler cache and all, with an empty store.

Then a large matrix that is in the store as a whole: see `full_store.py`. What follows of all of it
for the goals stands at the end. Needs an engine and the images (`.ci/engine`, `.ci/images`).
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import full_store

from orchestrator.host.network import HostNetwork, base_env
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.toolchain import existing

ROOT = Path(__file__).parents[1]
IMAGES = {
    "cp39": "localhost/orchestrator-baseline:bullseye-x86_64",
    "cp311": "localhost/orchestrator-baseline:bookworm-x86_64",
    "cp313": "localhost/orchestrator-baseline:trixie-x86_64",
}
KERNEL = """\
#include <regex>
int kernel_{n}(const char *text) {{
  return std::regex_search(text, std::regex("[a-z]+{n}|[0-9]+"));
}}
"""
MODULE = """\
#include <Python.h>
static PyModuleDef demo = {PyModuleDef_HEAD_INIT, "demo", "", -1, nullptr};
PyMODINIT_FUNC PyInit_demo() { return PyModule_Create(&demo); }
"""
PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "demo"
dynamic = ["version"]
requires-python = ">=3.9"
"""
SETUP = """\
import os
from glob import glob
from setuptools import Extension, setup
setup(version=os.environ["DEMO_VERSION"],
      ext_modules=[Extension("demo", sorted(glob("*.cpp")), language="c++")])
"""
MATRIX = """\
[project]
source = "demo"
[axes]
python = [{pythons}]
arch = ["x86_64"]
variant = [{variants}]
[version]
base = "1.0"
local = "{{variant}}"
inject = {{ DEMO_VERSION = "{{version}}", VARIANT = "{{variant}}" }}
{images}
"""
FASTER = 1.6
"""How many times faster two targets at once have to be than one after the other."""

OFF = '[compiler-cache]\nuse = "off"\n'


def write(folder: Path, kernels: int, variants: list[str]) -> None:
    """Write the project and its matrix."""
    demo = folder / "demo"
    demo.mkdir()
    for n in range(kernels):
        (demo / f"kernel_{n}.cpp").write_text(KERNEL.format(n=n), encoding="utf-8")
    (demo / "module.cpp").write_text(MODULE, encoding="utf-8")
    (demo / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    (demo / "setup.py").write_text(SETUP, encoding="utf-8")
    overrides = (
        f'[[override]]\nwhen = {{ python = "{python}" }}\nimage = "{image}"\n'
        for python, image in IMAGES.items()
    )
    text = MATRIX.format(
        pythons=", ".join(f'"{each}"' for each in IMAGES),
        variants=", ".join(f'"{each}"' for each in variants),
        images="\n".join(overrides),
    )
    (folder / "matrix.toml").write_text(text + OFF, encoding="utf-8")
    (folder / "default.toml").write_text(text, encoding="utf-8")


def loop(folder: Path, variants: list[str]) -> float:
    """Build as a shell script does, with the locked cibuildwheel."""
    tools = existing(default_cache_dir(os.environ))
    if tools is None:
        raise SystemExit("no toolchain: run `orchestrator toolchain sync` first")
    network = HostNetwork.detect(os.environ)
    arguments = (*network.container_args(), "--network=host")
    env = {
        **base_env(os.environ),
        **network.child_env(),
        "PATH": f"{tools.bin}:{os.environ['PATH']}",
        "CIBW_CONTAINER_ENGINE": f"podman; create_args: {shlex.join(arguments)}",
        "CIBW_REPAIR_WHEEL_COMMAND": "",
        "CIBW_BUILD_VERBOSITY": "0",
    }
    began = time.perf_counter()
    for python, image in IMAGES.items():
        for variant in variants:
            source = folder / "copy"
            shutil.copytree(folder / "demo", source)
            own = {
                "CIBW_MANYLINUX_X86_64_IMAGE": image,
                "CIBW_ENVIRONMENT": f"DEMO_VERSION=1.0+{variant}",
            }
            only = f"--only={python}-manylinux_x86_64"
            command = [str(tools.python), "-I", "-m", "cibuildwheel", only, "--output-dir=../loop"]
            done = subprocess.run(
                command, cwd=source, env=env | own, check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise SystemExit(done.stdout + done.stderr)
            shutil.rmtree(source)
    return time.perf_counter() - began


def ours(folder: Path, output: str, *options: str, matrix: str = "matrix.toml") -> float:
    """Build with this project, with a cache of its own, and return the seconds."""
    environ = {
        **os.environ,
        "ORCHESTRATOR_CACHE_DIR": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    places = ("--output-dir", output, "--work-dir", f"work-{output}")
    command = [sys.executable, "-m", "orchestrator", "build", "--matrix", matrix, *places, *options]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True)
    took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return took


def built(folder: Path) -> int:
    """Count the wheels; names of both sides differ in the platform tag only."""
    return len(list(folder.glob("*.whl")))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kernels", type=int, default=4, help="heavy files in the project")
    parser.add_argument("--variants", type=int, default=2)
    options = parser.parse_args()
    variants = [f"v{n}" for n in range(options.variants)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "cache").mkdir()
        tools = default_cache_dir(os.environ) / "toolchain"
        (folder / "cache" / "toolchain").symlink_to(tools)
        write(folder, options.kernels, variants)
        targets = len(IMAGES) * len(variants)
        times = {
            "loop": loop(folder, variants),
            "j1": ours(folder, "j1", "-j1", "--no-cache"),
            # It does not look into the store, but fills it.
            "j2": ours(folder, "j2", "-j2", "--no-cache"),
            "cached": ours(folder, "cached", "-j2"),
            "default": ours(folder, "default", "-j2", "--no-cache", matrix="default.toml"),
        }
        counts = {name: built(folder / name) for name in times}
        if set(counts.values()) != {targets}:
            raise SystemExit(f"not {targets} wheels everywhere: {counts}")
    print(f"{targets} targets, {os.cpu_count()} cores\n\n| run | s | times faster than loop |")
    print("|---|---|---|")
    for name, took in times.items():
        print(f"| {name} | {took:.1f} | {times['loop'] / took:.2f} |")
    print()
    for name, large in full_store.measure(runs=5).items():
        full_store.report(name, large)
    allowed, ratio = times["loop"] * 1.03 + 0.5 * targets, times["loop"] / times["j2"]
    print(f"j1 within 3 % and 0.5 s a target ({allowed:.1f} s): {said(times['j1'] <= allowed)}")
    print(f"j2 at least 1.6 times faster than the loop: {said(ratio >= FASTER)}")


def said(met: bool) -> str:  # noqa: FBT001 - a verdict
    """Return a verdict as a word."""
    return "yes" if met else "no"


if __name__ == "__main__":
    main()
