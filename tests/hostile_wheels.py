"""Small wheels that cost much: each kind pairs two of its tables, which both grow with `n`."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate, islice
from pathlib import Path
from types import FrameType
from typing import Any

from tests.binarymaker import MachOSpec, PeSpec, make_macho, make_pe
from tests.gpumaker import compressed
from tests.rawzip import Entry, write
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

STRTAB, SYMTAB, HASH, GNU_HASH, STRSZ, NEEDED = 5, 6, 4, 0x6FFFFEF5, 10, 1
VERSYM, VERNEED, VERNEEDNUM = 0x6FFFFFF0, 0x6FFFFFFE, 0x6FFFFFFF
STRINGS = 1 << 12
"""Where `elf_of_symbols` has its names."""


def raw_elf(
    dynamic: Iterable[tuple[int, int]] = (),
    spaces: Mapping[int, bytes] | None = None,
    segments: Iterable[tuple[int, int, int]] = (),
) -> bytes:
    """Return an x86-64 library with these dynamic entries, bytes at offsets, and more segments.

    A segment is its type, its offset and its size. Addresses are offsets.
    """
    more = list(segments)
    body = b""
    for at, content in sorted((spaces or {}).items()):
        body = body.ljust(at, b"\0") + content
    entries = b"".join(struct.pack("<QQ", *entry) for entry in dynamic) + bytes(16)
    start = -(-max(len(body), 64 + 56 * (2 + len(more))) // 8) * 8
    loads = [(1, 0, start + len(entries)), (2, start, len(entries)), *more]
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 0, 0, 64, 56, len(loads), 0, 0, 0)
    for kind, at, size in loads:
        head += struct.pack("<IIQQQQQQ", kind, 5, at, at, at, size, size, 4)
    return (head + body[len(head) :]).ljust(start, b"\0") + entries


def wheel_of(folder: Path, **elves: bytes) -> Path:
    members = {f"demo/{name}.so": content for name, content in elves.items()}
    return WheelSpec(members=members).write(folder)


def symbol(name: int, section: int = 0) -> bytes:
    """Return a row of the symbol table: a function, undefined unless it is in a section."""
    return struct.pack("<IBBHQQ", name, 0x12, 0, section, 0, 0)


def elf_of_symbols(
    names: bytes, symbols: bytes, needed: Iterable[int] = (), needs: bytes = b""
) -> bytes:
    """Return a library with these names and symbols, which needs the libraries of these names.

    `needs` is one library's record of needed versions, the second of which all symbols have.
    """
    count = len(symbols) // 24
    table = STRINGS + len(names) // 8 * 8 + 8
    dynamic = [(NEEDED, name) for name in needed]
    dynamic += [(STRTAB, STRINGS), (STRSZ, len(names)), (SYMTAB, table), (HASH, 256)]
    spaces = {256: struct.pack("<II", 1, count), STRINGS: names, table: symbols}
    if needs:
        indices = table + len(symbols)
        dynamic += [(VERSYM, indices), (VERNEED, indices + 2 * count + 8), (VERNEEDNUM, 1)]
        spaces |= {indices: struct.pack("<H", 2) * count, indices + 2 * count + 8: needs}
    return raw_elf(dynamic, spaces)


def zip_of(folder: Path, *entries: Entry) -> Path:
    """Write entries under the name of a wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / WheelSpec().filename
    path.write_bytes(write(entries))
    return path


def deep_names(folder: Path, n: int) -> Path:
    """One file below n directories, and as many such trees as make no difference."""
    names = (b"demo-1.0.dist-info/WHEEL", b"demo-1.0.dist-info/METADATA", b"a/" * n + b"x")
    return zip_of(folder, *(Entry(name=name) for name in names))


def repeated_versions(folder: Path, n: int) -> Path:
    """n symbols of one version, which is listed n times."""
    own = [b"s%d" % number for number in range(n)]
    names = b"\0libc.so.6\0GLIBC_2.99\0" + b"\0".join(own) + b"\0"
    needs = struct.pack("<HHIII", 1, n, names.index(b"libc"), 16, 0)
    needs += struct.pack("<IHHII", 0, 0, 2, names.index(b"GLIBC"), 16) * n
    starts = accumulate((len(name) + 1 for name in own), initial=names.index(b"s0"))
    symbols = b"".join(symbol(start) for start in islice(starts, n))
    return wheel_of(folder, x=elf_of_symbols(names, symbols, [1], needs))


def overlapping_notes(folder: Path, n: int) -> Path:
    """n segments of notes, each a little shorter, over the same n notes."""
    start = 64 + 56 * (n + 2)
    segments = [(4, start + 12 * number, 12 * (2 * n - number)) for number in range(n)]
    return wheel_of(folder, x=raw_elf([], {start: bytes(24 * n)}, segments))


def needs_and_run_paths(folder: Path, n: int) -> Path:
    """n libraries, to be looked for in n directories."""
    paths = ":".join(f"$ORIGIN/{number}" for number in range(n))
    names = tuple(f"lib{number}.so" for number in range(n))
    return wheel_of(folder, x=make_elf(ElfSpec(needed=names, runpath=paths)))


def zeroed_hash_chain(folder: Path, n: int) -> Path:
    """A GNU hash table whose last chain does not end for 200 n symbols."""
    at = 1 << 12
    table = struct.pack("<IIIIQI", 1, 1, 1, 0, 0, 1) + bytes(800 * n)
    dynamic = [(STRTAB, 256), (STRSZ, 8), (SYMTAB, 512), (GNU_HASH, at)]
    return wheel_of(folder, x=raw_elf(dynamic, {at: table}))


def python_names_of_many_files(folder: Path, n: int) -> Path:
    """n files of 100 n names that Python's C API may have, in bytes that compress well."""
    made = elf_of_symbols(b"\0" + b"Py\0" * 100 * n, symbol(1))
    return wheel_of(folder, **{f"x{number}": made for number in range(n)})


def licence_files(folder: Path, n: int) -> Path:
    """n names of licence files, and n files beside them."""
    named = "".join(f"License-File: y{number}\n" for number in range(n))
    text = f"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\n{named}\n"
    info = {f"x{number}": b"" for number in range(n)}
    return WheelSpec(extra_info=info | {"METADATA": text.encode()}).write(folder)


def software_bills(folder: Path, n: int) -> Path:
    """n bills of materials."""
    bill = json.dumps({"bomFormat": "CycloneDX"}).encode()
    return WheelSpec(extra_info={f"sboms/{number}.json": bill for number in range(n)}).write(folder)


def tags_and_modules(folder: Path, n: int) -> Path:
    """n modules that no Python of some dozen tags can import."""
    tags = ".".join(f"cp{number}" for number in range(max(2, min(n, 400) // 10)))
    names = [f"demo/m{number}.cpython-35m-x86_64-linux-gnu.so" for number in range(n)]
    module = make_elf(ElfSpec(sections=False))
    return WheelSpec(python=tags, members=dict.fromkeys(names, module)).write(folder)


def chain_of_libraries(folder: Path, n: int) -> Path:
    """n modules, each of which needs the next one."""
    names = [f"m{number}" for number in range(n)]
    specs = [
        ElfSpec(needed=(f"{other}.so",), runpath="$ORIGIN", defined=(f"PyInit_{name}",))
        for name, other in zip(names, [*names[1:], "m0"], strict=True)
    ]
    return wheel_of(folder, **dict(zip(names, map(make_elf, specs), strict=True)))


def repeated_needs(folder: Path, n: int) -> Path:
    """A library with forbidden symbols, needed n times, with n symbols."""
    names = b"\0libncursesw.so.5\0libz.so.1\0_dist_code\0"
    symbols = symbol(names.index(b"_dist")) * n
    return wheel_of(folder, x=elf_of_symbols(names, symbols, [names.index(b"libz")] * n))


def empty_run_paths(folder: Path, n: int) -> Path:
    """A run path of 100 n colons."""
    return wheel_of(folder, x=make_elf(ElfSpec(runpath=":" * 100 * n)))


def symbols_of_many_files(folder: Path, n: int) -> Path:
    """n files of n undefined symbols, in bytes that compress well."""
    made = make_elf(ElfSpec(undefined=tuple(f"s{number}" for number in range(n)), sections=False))
    return wheel_of(folder, **{f"x{number}": made for number in range(n)})


def expanding_tags(folder: Path, n: int) -> Path:
    """A tag in WHEEL that stands for n ** 2 tags."""
    tag = f"{'.'.join(f'cp{i}' for i in range(n))}-{'.'.join(f'abi{i}' for i in range(n))}-any"
    text = f"Wheel-Version: 1.0\nTag: {tag}\n\n"
    return WheelSpec(extra_info={"WHEEL": text.encode()}).write(folder)


def overlapping_names(folder: Path, n: int) -> Path:
    """n symbols, whose names are the ends of one name of 8 n bytes."""
    names = b"\0" + b"x" * 8 * n + b"\0"
    symbols = b"".join(symbol(1 + number) for number in range(n))
    return wheel_of(folder, x=elf_of_symbols(names, symbols))


def scattered_version_needs(folder: Path, n: int) -> Path:
    """n libraries with versions, whose records stand in turns at two places."""
    strings, near, far = 256, 1 << 12, 1 << 15
    names = b"\0libc.so.6\0GLIBC_2.5\0"
    need = struct.pack("<HHIII", 1, 1, 1, far - near, 16)
    aux = struct.pack("<IHHII", 0, 0, 2, 11, 0)
    dynamic = [(STRTAB, strings), (STRSZ, len(names)), (VERNEED, near), (VERNEEDNUM, n)]
    return wheel_of(folder, x=raw_elf(dynamic, {strings: names, near: need * n, far: aux * n}))


def directories_of_data(folder: Path, n: int) -> Path:
    """n data directories of other projects and versions."""
    members = {f"other{number}-{number}.data/x": b"" for number in range(n)}
    return WheelSpec(members=members, extra_info={"LICENSE": b"free"}).write(folder)


def unlisted_members(folder: Path, n: int) -> Path:
    """n files that RECORD does not list, and n that do not exist."""
    rows = "".join(f"b{number},,\n" for number in range(n))
    info = {"licenses/LICENSE": b"free", "RECORD": rows.encode()}
    return WheelSpec(members={f"a{number}": b"" for number in range(n)}, extra_info=info).write(
        folder
    )


def extra_fields(folder: Path, n: int) -> Path:
    """n entries with n extra fields each."""
    extra = struct.pack("<HH", 0x9999, 0) * min(n, 16_000)
    names = [b"demo-1.0.dist-info/WHEEL", *(b"x%d" % number for number in range(n))]
    return zip_of(folder, *(Entry(name=name, extra=extra) for name in names))


def segments_of_many_files(folder: Path, n: int) -> Path:
    """n files of n segments."""
    made = raw_elf(segments=[(0, 0, 0)] * n)
    return wheel_of(folder, **{f"x{number}": made for number in range(n)})


def work(use: Callable[[], object]) -> int:
    """Return how many instructions the interpreter takes, in this thread."""
    count = 0

    def count_one(frame: FrameType, _event: str, _value: Any) -> Any:
        nonlocal count
        count += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return count_one

    before = sys.gettrace()
    sys.settrace(count_one)
    try:
        use()
    finally:
        sys.settrace(before)
    return count


def repeated_functions(folder: Path, n: int) -> Path:
    """A function that makes a module, 100 n times in the symbol table."""
    return wheel_of(folder, x=elf_of_symbols(b"\0PyInit_x\0", symbol(1, section=1) * 100 * n))


def macos_wheel(folder: Path, **files: bytes) -> Path:
    members = {f"demo/{name}.abi3.so": data for name, data in files.items()}
    return WheelSpec(members=members, abi="abi3", platform="macosx_11_0_arm64").write(folder)


def run_paths_of_many_files(folder: Path, n: int) -> Path:
    """n files, each of which needs n libraries by the run paths of all."""
    needed = tuple(f"@rpath/{number}" for number in range(n))
    files = {
        f"x{number}": make_macho(MachOSpec(needed=needed, rpath=(f"@loader_path/{number}",)))
        for number in range(n)
    }
    return macos_wheel(folder, **files)


def overlapping_exports(folder: Path, n: int) -> Path:
    """A trie of exports with 250 nodes that begin in the same 200 n bytes."""
    edges = [bytes([0, at & 0x7F | 0x80, at >> 7]) for at in range(900, 1150)]
    trie = bytes([0, 250]) + b"".join(edges)
    trie = trie.ljust(900, b"\0") + b"\1" * 200 * n + bytes(2)
    return macos_wheel(folder, x=make_macho(MachOSpec(stripped=True, trie=trie)))


def long_symbols(folder: Path, n: int) -> Path:
    """n symbols of Mach-O with one name of 100 n bytes."""
    made = make_macho(MachOSpec(undefined=("Py" + "x" * 100 * n,)))
    rows = made.index(struct.pack("<IBB", 2, 1, 0))
    row, symtab = made[rows : rows + 16], made.index(struct.pack("<II", 2, 24))
    patched = bytearray(made)
    more = len(made)
    struct.pack_into("<II", patched, symtab + 8, more, n)
    struct.pack_into("<II", patched, symtab + 24 + 24, 0, n)
    return macos_wheel(folder, x=bytes(patched) + row * n)


def windows_wheel(folder: Path, **files: bytes) -> Path:
    members = {f"demo/{name}.pyd": data for name, data in files.items()}
    return WheelSpec(members=members, abi="abi3", platform="win_amd64").write(folder)


def load_commands(folder: Path, n: int) -> Path:
    """n libraries that a Mach-O file needs, and the functions of n modules."""
    names = tuple(f"/usr/lib/{number}" for number in range(10 * n))
    inits = tuple(f"PyInit_{number}" for number in range(10 * n))
    return macos_wheel(folder, x=make_macho(MachOSpec(needed=names, defined=inits)))


def imported_dlls(folder: Path, n: int) -> Path:
    """n libraries that a PE file needs, names of Python, and the functions of modules."""
    names: dict[str, tuple[str, ...]] = {f"{number}.dll": () for number in range(10 * n)}
    names["python3.dll"] = tuple(f"PyName{number}" for number in range(10 * n))
    inits = tuple(f"PyInit_{number}" for number in range(10 * n))
    return windows_wheel(folder, x=make_pe(PeSpec(imports=names, exports=inits)))


def bundles_of_many_objects(folder: Path, n: int) -> Path:
    """n compressed bundles of AMD's code, each of which lists 1,000 objects in a few bytes."""
    name = b"hip-amdgcn-amd-amdhsa--gfx90a"
    row = struct.pack("<QQQ", 4096, 1, len(name)) + name
    plain = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", 1000) + row * 1000
    spec = WheelSpec(members={"demo/kernels.hsaco": compressed(plain) * n})
    return spec.write(folder)


def clauses_about_torch(folder: Path, n: int) -> Path:
    """A requirement of torch with 8 n clauses, each of which is compared with many versions."""
    clauses = ",".join(f"!=9.{n}.{number}" for number in range(8 * n))
    metadata = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: torch {clauses}\n"
    elf = make_elf(ElfSpec(undefined=("aoti_torch_get_data_ptr",)))
    spec = WheelSpec(members={"demo/x.so": elf})
    spec.extra_info["METADATA"] = metadata.encode()
    return spec.write(folder)


Make = Callable[[Path, int], Path]

LINEAR: tuple[Make, ...] = (
    repeated_versions,
    licence_files,
    software_bills,
    repeated_needs,
    directories_of_data,
    unlisted_members,
    zeroed_hash_chain,
    load_commands,
    imported_dlls,
)
"""What is read in time that grows with the file."""

PRODUCTS: tuple[Make, ...] = (
    overlapping_notes,
    needs_and_run_paths,
    python_names_of_many_files,
    tags_and_modules,
    chain_of_libraries,
    empty_run_paths,
    symbols_of_many_files,
    expanding_tags,
    overlapping_names,
    scattered_version_needs,
    extra_fields,
    repeated_functions,
    segments_of_many_files,
    run_paths_of_many_files,
    overlapping_exports,
    long_symbols,
    bundles_of_many_objects,
    clauses_about_torch,
)
"""What costs more than the file's size explains, and so uses the budget up."""
