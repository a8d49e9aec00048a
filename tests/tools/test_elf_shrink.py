"""Slices of real ELF files, which are loaded and run."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.wheel import elf
from orchestrator.wheel.device_code import MalformedCodeError
from orchestrator.wheel.elf_shrink import CannotShrinkError
from orchestrator.wheel.gpu_slice import Slice, slice_file
from tests.gpumaker import PTX, entry, fatbin

SOURCE = r"""
#include <stdio.h>
#include <string.h>
#define EMBED(section, name) asm(".section " section ",\"a\",@progbits\n.balign 8\n" \
    ".globl " #name "\n.hidden " #name "\n" #name ": .incbin \"" #name ".bin\"\n" \
    ".balign 8\n.previous"); \
    extern "C" const char name[];
EMBED(".nv_fatbin", first)
EMBED(".nv_fatbin", second)
EMBED(".nv_fatbin", unnamed)
EMBED(".nv_fatbin", last)
EMBED("__nv_relfatbin", relocatable)

struct wrapper { int magic, version; const char *data; const void *more; };
static struct wrapper wrappers[] __attribute__((used, section(".nvFatBinSegment"))) = {
    {0x466243b1, 1, first, 0}, {0x466243b1, 1, second, 0}, {0x466243b1, 1, last, 0},
    {0x466243b1, 2, relocatable, 0}};
static int counter = 1;
static int zeros[30000];
extern "C" const char *container(int number) {
    if (number == 9) return unnamed;  // by code alone: nothing that a file lists points there
    return wrappers[number].data;
}
extern "C" int alive(int number) {
    try {
        if (number) throw number;
    } catch (int caught) {
        return caught + counter++ + zeros[number];
    }
    return 0;
}
int main() {
    const int numbers[] = {0, 1, 2, 3, 9};
    for (int number : numbers) {
        const char *data = container(number);
        size_t size; memcpy(&size, data + 8, 8);
        fwrite(data, 1, size + 16, stdout);
    }
    return alive(41) != 42;
}
"""

LOAD = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.container.restype = ctypes.c_void_p
for number in (0, 1, 2, 3, 9):
    at = library.container(number)
    size = int.from_bytes(ctypes.string_at(at + 8, 8), "little")
    sys.stdout.buffer.write(ctypes.string_at(at, size + 16))
sys.exit(library.alive(41) != 42)
"""

NAMES = ("first", "second", "last", "relocatable", "unnamed")


def noise(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(size)  # noqa: S311 - nothing secret


CODE = {
    name: [
        entry(80, noise(number, 150_000)),
        entry(90, noise(number + 50, 9_001)),
        entry(90, noise(number + 99, 300), kind=PTX),
    ]
    for number, name in enumerate(NAMES)
}
FORMS = {
    "library": ("-shared", "-fPIC"),
    "packed": ("-shared", "-fPIC", "-Wl,-z,pack-relative-relocs"),
    "large pages": ("-shared", "-fPIC", "-Wl,-z,max-page-size=0x200000"),
    "one segment": ("-shared", "-fPIC", "-Wl,-z,noseparate-code"),
    "stripped": ("-shared", "-fPIC", "-s"),
    "program": ("-pie", "-fPIE"),
    "fixed": ("-no-pie", "-fno-pie"),
    "static": ("-static", "-no-pie", "-fno-pie"),
}


@pytest.fixture(scope="module", params=FORMS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a library or program with fat binaries."""
    return compiled(tmp_path_factory.mktemp("elf"), request.param)


def compiled(folder: Path, form: str) -> Path:
    for name, entries in CODE.items():
        (folder / f"{name}.bin").write_bytes(fatbin(*entries))
    (folder / "a.cpp").write_text(SOURCE, encoding="utf-8")
    gcc = ["g++", "-O1", *FORMS[form], "a.cpp", "-o", "a.out"]
    subprocess.run(gcc, cwd=folder, check=True)
    return folder / "a.out"


def free(steps: int, read: int, what: str) -> None:
    """Count nothing."""


def run(file: Path) -> bytes:
    """Return the containers that a file finds in itself."""
    shown = described(file)
    is_program = "INTERP" in shown or "DYNAMIC " not in shown
    command = [str(file)] if is_program else [sys.executable, "-c", LOAD, str(file)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def described(file: Path) -> str:
    shown = subprocess.run(
        ["readelf", "-lSW", str(file)], check=True, capture_output=True, text=True
    )
    assert not shown.stderr
    return shown.stdout


@pytest.mark.parametrize("ptx", [False, True])
def test_a_slice_loads_and_finds_its_code(built: Path, tmp_path: Path, *, ptx: bool) -> None:
    assert run(built) == b"".join(fatbin(*CODE[name]) for name in NAMES)

    data = built.read_bytes()
    new = slice_file(data, Slice(frozenset({90}), ptx), free)
    file = tmp_path / "a.out"
    file.write_bytes(new)
    file.chmod(0o755)

    last = 3 if ptx else 2
    assert run(file) == b"".join(fatbin(*CODE[name][1:last]) for name in NAMES)
    # Whole pages are gone, not filled with zeros; code that no word points to keeps its place.
    assert len(new) <= len(data) - 2 * 150_000
    assert " 0x200000\n" not in described(file)
    described(file)
    info = elf.parse(new)
    assert info.needed == elf.parse(data).needed
    assert slice_file(new, Slice(frozenset({90}), ptx), free)[:4] == b"\x7fELF"


def test_damaged_files_are_errors_or_files(tmp_path: Path) -> None:
    data = compiled(tmp_path, "stripped").read_bytes()
    chance = random.Random(7)  # noqa: S311 - nothing secret
    headers = [*range(64 + 56 * 12), *range(int.from_bytes(data[40:48], "little"), len(data))]
    for _ in range(100):
        copy = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            place = chance.choice(headers) if chance.random() < 0.8 else chance.randrange(len(copy))
            copy[place] = chance.choice((0, 0xFF, chance.randrange(256)))
        try:
            slice_file(bytes(copy), Slice(frozenset({90}), ptx=False), free)
        except (CannotShrinkError, MalformedCodeError):
            continue
