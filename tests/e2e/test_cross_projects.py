"""Cross builds: each build system hears of the target's machine, and what cannot be is refused.

What comes out is looked at here, byte by byte, and runs in an image of its architecture.
"""

from __future__ import annotations

import json
import os
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from orchestrator.wheel.elf import parse
from orchestrator.wheel.scan import arch_of
from tests.conftest import (
    IMAGES,
    MACHINE,
    REPOSITORY,
    TAG,
    log_of,
    orchestrator,
    podman,
    results,
)
from tests.factories import edit, project_file, project_files, write_files

pytestmark = [pytest.mark.engine, pytest.mark.index, pytest.mark.qemu]

SUITES = {"aarch64": "bookworm", "riscv64": "trixie", "loongarch64": "forky"}
"""Architecture -> the suite of its baseline image."""

PYTHONS = {"aarch64": "cp311", "riscv64": "cp313", "loongarch64": "cp314"}
"""Architecture -> the Python of that image."""

LOWEST = {"aarch64": 17, "riscv64": 31, "loongarch64": 36}
"""Architecture -> the x of its lowest tag, manylinux_2_x: there is a policy for no older glibc."""

PAGES = {"aarch64": 0x10000, "riscv64": 0x1000, "loongarch64": 0x4000}
"""Architecture -> the largest pages that its kernels are configured with by distributions."""


def write(  # noqa: PLR0913 - mostly keywords
    folder: Path,
    *arches: str,
    files: dict[str, str] | None = None,
    source: str = "project",
    python: str = "cp311",
    axes: str = "",
    build: str = 'emulation = "cross"',
    more: str = "",
) -> None:
    """Write project and matrix."""
    write_files(folder / "project", files or {})
    images = "\n".join(f'manylinux_{each} = "{IMAGES}:{SUITES[each]}-{each}"' for each in arches)
    given = {"source": source, "python": python, "axes": axes, "build": build}
    text = project_file("cross.toml").format(arch=json.dumps(arches), images=images, **given)
    (folder / "matrix.toml").write_text(text + more)


def built(folder: Path, *arches: str) -> dict[str, Path]:
    """Build; return architecture -> wheel, each looked at."""
    orchestrator("build", cwd=folder, code=0)
    found = results(folder / "dist")
    wheels = {}
    for arch in arches:
        (result,) = (each for name, each in found.items() if name.endswith(f"_{arch}"))
        assert result["compiled"]["emulation"] == "cross"
        wheels[arch] = folder / "dist" / result["wheel"]["filename"]
        check(wheels[arch], arch, result, folder)
    return wheels


def check(wheel: Path, arch: str, result: dict[str, Any], folder: Path) -> None:
    tag = re.fullmatch(rf"manylinux_2_(\d+)_{arch}", result["wheel"]["observed_tag"])
    assert tag is not None, result["wheel"]["observed_tag"]
    assert int(tag[1]) <= LOWEST[arch]
    assert wheel.name.endswith(f"{arch}.whl")
    with zipfile.ZipFile(wheel) as archive:
        modules = [each for each in archive.namelist() if ".so" in each]
        assert modules
        for each in modules:
            data = archive.read(each)
            found = parse(data)
            # Hard float among it: no tag names any other ABI of these.
            assert arch_of(found) == arch
            assert found.align >= PAGES[arch]
            assert f"-{arch}-linux-gnu.so" in each or ".abi3.so" in each, each
            assert found.rpath == found.runpath == ()
            assert not {each for each in found.needed if "stdc++" in each or "python" in each}
            # Rust's standard library looks there for debug information when it panics.
            data = data.replace(b"/usr/lib/debug/", b"")
            for path in (str(folder), sys.prefix, "/usr/lib/", "/usr/include", "x86_64"):
                assert os.fsencode(path) not in data, f"{each} has {path}"


def imported(wheel: Path, arch: str) -> str:
    """Import a wheel in the image of its architecture, as the smoke test does."""
    script = REPOSITORY / "orchestrator/builders/scripts/import_wheel.py"
    mounts = (f"--volume={script}:/try.py:ro", f"--volume={wheel}:/{wheel.name}:ro")
    image = f"{IMAGES}:{SUITES[arch]}-{arch}"
    argv = ("run", "--rm", "--network=none", *mounts, image, "python3", "-I", "/try.py")
    said = podman(*argv, f"/{wheel.name}")
    assert said.code == 0, said.all
    return said.stdout


def test_setuptools_believes_to_be_on_machines_that_this_host_has_no_python_for(
    emulated: str, tmp_path: Path
) -> None:
    arches = ("riscv64", "loongarch64")
    # Its setup.py asks everything about the machine it runs on. Their images have Pythons that this
    # host may lack; modules of the stable ABI run there too.
    build, more = 'emulation = "cross"\nabi3 = "cp311"', "[test]\nsmoke = false\n"
    write(tmp_path, *arches, files=project_files("asking"), build=build, more=more)
    wheels = built(tmp_path, *arches)
    for arch, wheel in wheels.items():
        assert "importing native" in imported(wheel, arch)


@pytest.mark.parametrize("system", ["cmake", "meson"])
def test_a_build_system_hears_of_the_machine(emulated: str, tmp_path: Path, system: str) -> None:
    write(tmp_path, "aarch64", files=project_files(system))
    (wheel,) = built(tmp_path, "aarch64").values()
    with zipfile.ZipFile(wheel) as archive:
        assert "native.cpython-311-aarch64-linux-gnu.so" in archive.namelist()
    assert "importing native" in log_of(tmp_path, "cp311-manylinux_aarch64")


REFUSED = {
    "helped": "",  # a program for this machine, compiled by a compiler for this machine
    "runs": "runs a program that it compiled for aarch64",
    "march": "-march=native: this machine's CPU is not the one that is built for",
    "avx": "-mavx2: is for x86",
    "links": "links a library that is not in its source: bz2",
}


@pytest.mark.parametrize(
    "names",
    [("helped", "runs"), pytest.param(("march", "avx", "links"), marks=pytest.mark.nightly)],
)
def test_what_cannot_be_built_without_emulation_is_refused_and_says_why(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    more = '[version]\nlocal = "{case}"\non-mismatch = "rewrite"\n[env]\nCASE = "{case}"\n'
    more += "[test]\nsmoke = false\n"
    write(
        tmp_path,
        "aarch64",
        files=project_files("refused"),
        axes=f"case = {json.dumps(names)}",
        more=more,
    )
    orchestrator("build", "--keep-going", cwd=tmp_path, code=1)
    found = results(tmp_path / "dist")
    for name in names:
        result, words = found[f"cp311-manylinux_aarch64-{name}"], REFUSED[name]
        assert result["status"] == ("failed" if words else "ok"), result
        if words:
            assert words in result["failure"]["message"], result["failure"]
            assert result["failure"]["hint"]


# Nightly: projects of the package index, and C++


BINDINGS = {
    "pybind11": {"header": "pybind11/pybind11.h", "macro": "PYBIND11_MODULE"},
    "nanobind": {"header": "nanobind/nanobind.h", "macro": "NB_MODULE"},
}

RAISES = """\
import native
assert native.half(4) == 4
try:
    native.half(3)
except IndexError:
    pass
else:
    raise SystemExit('no exception')
"""


def quoted(script: str) -> str:
    """Return a test command that runs a script."""
    return f"[test]\ncommand = '''python -c \"{script}\"'''\n"


@pytest.mark.nightly
@pytest.mark.parametrize("binding", BINDINGS)
def test_cmake_finds_a_binding_and_the_targets_python(
    emulated: str, tmp_path: Path, binding: str
) -> None:
    words = {"binding": binding, **BINDINGS[binding]}
    files = {name: text.format(**words) for name, text in project_files("bound").items()}
    write(tmp_path, "aarch64", files=files, more=quoted(RAISES))
    built(tmp_path, "aarch64")
    assert "== test" in log_of(tmp_path, "cp311-manylinux_aarch64")


PROJECTS = {
    "contourpy==1.2.1": """\
from contourpy import contour_generator
(line,) = contour_generator(z=[[0, 1], [2, 3]]).lines(1.5)
assert sorted(line.tolist()) == [[0, 0.75], [1, 0.25]], line
""",
    "cytoolz==1.0.0": """\
from cytoolz import frequencies, groupby
assert groupby(len, ['a', 'bc', 'd']) == dict([(1, ['a', 'd']), (2, ['bc'])])
assert frequencies('aab') == dict(a=2, b=1)
""",
    "hnswlib==0.8.0": """\
import hnswlib, numpy
index = hnswlib.Index(space='l2', dim=2)
index.init_index(max_elements=3)
index.add_items(numpy.array([[0, 0], [5, 5], [9, 9]], dtype='float32'))
assert index.knn_query(numpy.array([[5, 6]], dtype='float32'), k=1)[0].tolist() == [[1]]
""",
    "regex==2024.11.6": """\
import regex
assert regex.findall(r'[[a-z]--[aeiou]]', 'abe', flags=regex.V1) == ['b']
""",
}
"""Requirement -> what it has to answer: Meson and pybind11, Cython, pybind11, C."""

ENV = '[env]\nHNSWLIB_NO_NATIVE = "1"\n'


@pytest.mark.nightly
@pytest.mark.parametrize("arch", ["aarch64", "riscv64"])
@pytest.mark.parametrize("source", PROJECTS)
def test_a_project_of_the_index_answers_right(
    emulated: str, tmp_path: Path, source: str, arch: str
) -> None:
    python = PYTHONS[arch]
    if arch == "riscv64" and source.startswith(("contourpy", "hnswlib")):
        more = ENV  # the index has no numpy for it: the smoke test imports what there is
    else:
        more = ENV + quoted(PROJECTS[source])
    write(tmp_path, arch, source=source, python=python, more=more)
    built(tmp_path, arch)
    log = log_of(tmp_path, f"{python}-manylinux_{arch}")
    assert "\nimporting " in log
    assert ("== test" in log) == ("[test]" in more)


@pytest.mark.nightly
@pytest.mark.parametrize("source", PROJECTS)
def test_a_project_of_the_index_is_cross_compiled_for_loongarch64(
    tmp_path: Path, source: str
) -> None:
    # Of the Pythons that its image has, not every host has one: the stable ABI is imported above.
    write(tmp_path, "loongarch64", source=source, more=f"{ENV}[test]\nsmoke = false\n")
    built(tmp_path, "loongarch64")


@pytest.mark.nightly
def test_cxx_of_an_old_glibc_runs_on_this_very_machine(tmp_path: Path) -> None:
    # It runs what it has compiled: the target is this machine.
    files = project_files("old_glibc")
    test = quoted("import native; assert native.number() == '42!'")
    write(tmp_path, files=files, python=TAG, build='baseline = "2.17"', more=test)
    edit(tmp_path / "matrix.toml", "arch = []", f'arch = ["{MACHINE}"]')
    orchestrator("build", "--backend", "direct", cwd=tmp_path, code=0)
    result = results(tmp_path / "dist")[f"{TAG}-manylinux_{MACHINE}"]
    assert result["container"] is None
    assert int(result["wheel"]["observed_tag"].split("_")[2]) <= 17
    assert "said 42!" in log_of(tmp_path, f"{TAG}-manylinux_{MACHINE}")
