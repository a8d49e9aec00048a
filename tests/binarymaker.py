"""Makes Mach-O and PE files byte by byte, so that each test can spoil exactly one thing."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

CPUS = {
    "i386": (7, 3, False),
    "x86_64": (0x01000007, 3, True),
    "x86_64h": (0x01000007, 8, True),
    "arm64": (0x0100000C, 0, True),
    "arm64e": (0x0100000C, 0x80000002, True),
    "ppc": (18, 0, False),
}
DYLIB, BUNDLE, PROGRAM, OBJECT = 6, 8, 2, 1
WEAK, REEXPORT, LAZY, UPWARD = 0x80000018, 0x8000001F, 0x20, 0x80000023
SYSTEM = "/usr/lib/libSystem.B.dylib"


@dataclass(frozen=True, kw_only=True)
class MachOSpec:
    """What a Mach-O file for one architecture shall say.

    `minimum` is None for a file that does not say it; `old` writes it as old linkers did.
    `stripped` leaves no symbols, so that only the trie of exports has names. `trie` replaces it.
    """

    arch: str = "arm64"
    order: str = "<"
    kind: int = BUNDLE
    minimum: tuple[int, int] | None = (11, 0)
    platform: int = 1
    old: bool = False
    name: str = ""
    needed: tuple[str, ...] = (SYSTEM,)
    loads: tuple[tuple[int, str], ...] = ()
    rpath: tuple[str, ...] = ()
    defined: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    stripped: bool = False
    trie: bytes | None = None
    signed: bool = True
    more: tuple[bytes, ...] = ()


def make_macho(spec: MachOSpec) -> bytes:
    """Return the bytes of a bundle, a library or a program."""
    return _MachO(spec).make()


def make_fat(*specs: MachOSpec, wide: bool = False, order: str = ">") -> bytes:
    """Return a file with these slices."""
    slices = [make_macho(spec) for spec in specs]
    cpus = [CPUS[spec.arch][:2] for spec in specs]
    return fat(list(zip(cpus, slices, strict=True)), wide=wide, order=order)


def fat(
    parts: list[tuple[tuple[int, int], bytes]], *, wide: bool = False, order: str = ">"
) -> bytes:
    layout = "IIQQII" if wide else "IIIII"
    head = struct.pack(order + "II", 0xCAFEBABF if wide else 0xCAFEBABE, len(parts))
    at = 256
    body = b""
    for (cpu, subtype), data in parts:
        more = (12, 0) if wide else (12,)
        head += struct.pack(order + layout, cpu, subtype, at + len(body), len(data), *more)
        body += data + b"\0" * (-len(data) % 16)
    return head.ljust(at, b"\0") + body


class _MachO:
    def __init__(self, spec: MachOSpec) -> None:
        self.spec = spec
        self.cpu, self.subtype, self.wide = CPUS[spec.arch]

    def pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self.spec.order + layout, *values)

    def command(self, kind: int, body: bytes) -> bytes:
        body += b"\0" * (-len(body) % 8)
        return self.pack("II", kind, 8 + len(body)) + body

    def named(self, kind: int, name: str) -> bytes:
        start = 12 if kind == 0x8000001C else 24
        fixed = self.pack("I", start) + bytes(start - 12)
        return self.command(kind, fixed + name.encode() + b"\0")

    def version(self) -> bytes:
        if self.spec.minimum is None:
            return b""
        value = self.spec.minimum[0] << 16 | self.spec.minimum[1] << 8
        if self.spec.old:
            return self.command(0x24, self.pack("II", value, value))
        return self.command(0x32, self.pack("IIII", self.spec.platform, value, value, 0))

    def loads(self) -> bytes:
        spec = self.spec
        made = self.named(0xD, spec.name) if spec.name else b""
        made += b"".join(self.named(0xC, name) for name in spec.needed)
        made += b"".join(self.named(kind, name) for kind, name in spec.loads)
        return made + b"".join(self.named(0x8000001C, path) for path in spec.rpath)

    def symbols(self) -> tuple[bytes, bytes, int]:
        """Return nlists and names, and the number of undefined ones, which come last."""
        spec = self.spec
        strings, rows = b" \0", b""
        undefined = [*((name, 0) for name in spec.undefined), *((name, 0x40) for name in spec.weak)]
        layout = "IBBHQ" if self.wide else "IBBHI"
        for name, kind, flags in (
            *((name, 0x0F, 0) for name in spec.defined),
            *((name, 0x01, 0xFE00 | weak) for name, weak in undefined),
        ):
            rows += self.pack(layout, len(strings), kind, kind >> 1 & 1, flags, 0)
            strings += b"_" + name.encode() + b"\0"
        return rows, strings, len(undefined)

    def make(self) -> bytes:
        spec = self.spec
        rows, strings, undefined = (b"", b"", 0) if spec.stripped else self.symbols()
        trie = trie_of(spec.defined) if spec.trie is None else spec.trie
        signature = struct.pack(">III", 0xFADE0CC0, 12, 0) if spec.signed else b""
        head = 32 if self.wide else 28
        before = self.version() + self.loads() + b"".join(spec.more)
        at = head + len(before) + 24 + 80 + 16 + (16 if spec.signed else 0)
        row = 16 if self.wide else 12
        count, defined = len(rows) // row, len(rows) // row - undefined
        tables = (rows, strings, trie, signature)
        places = [at + sum(map(len, tables[:n])) for n in range(4)]
        symtab = self.pack("IIII", places[0], count, places[1], len(strings))
        dysymtab = self.pack("IIIIII", 0, 0, 0, defined, defined, undefined) + bytes(48)
        commands = before + self.command(0x2, symtab) + self.command(0xB, dysymtab)
        commands += self.command(0x80000033, self.pack("II", places[2], len(trie)))
        if spec.signed:
            commands += self.command(0x1D, self.pack("II", places[3], len(signature)))
        number = count_commands(commands, spec.order)
        magic = 0xFEEDFACF if self.wide else 0xFEEDFACE
        header = self.pack(
            "IIIIIII", magic, self.cpu, self.subtype, spec.kind, number, len(commands), 0
        )
        return header.ljust(head, b"\0") + commands + b"".join(tables)


def count_commands(commands: bytes, order: str) -> int:
    at = count = 0
    while at < len(commands):
        at += struct.unpack_from(order + "I", commands, at + 4)[0]
        count += 1
    return count


def trie_of(names: tuple[str, ...]) -> bytes:
    """Return a trie of exports whose root has an edge for each of the first names."""
    edges = [b"_" + name.encode() + b"\0" for name in names[:99]]
    size = 2 + sum(len(edge) + 2 for edge in edges)
    head, nodes = bytes([0, len(edges)]), b""
    for edge in edges:
        at = size + len(nodes)
        head += edge + bytes([at & 0x7F | 0x80, at >> 7])
        nodes += bytes([2, 0, 8, 0])
    return head + nodes


@dataclass(frozen=True, kw_only=True)
class PeSpec:
    """What a PE file shall say.

    `imports` and `delayed` map a library to the names that are imported from it. `old` writes
    delayed imports with addresses in memory. `hybrid` gives it code for Arm as well (ARM64EC,
    ARM64X). `more` has the content of further sections.
    """

    arch: str = "amd64"
    library: bool = True
    name: str = "demo.pyd"
    imports: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"KERNEL32.dll": ("x",)})
    delayed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exports: tuple[str, ...] = ()
    subsystem: tuple[int, int] = (6, 0)
    old: bool = False
    hybrid: bool = False
    managed: bool = False
    signed: bool = False
    more: Mapping[str, bytes] = field(default_factory=dict)


MACHINES = {"x86": 0x14C, "amd64": 0x8664, "arm64": 0xAA64}
_BASE, _ADDRESS, _OFFSET = 0x10000000, 0x2000, 0x600


def make_pe(spec: PeSpec) -> bytes:
    """Return the bytes of a DLL or a program, with all tables in one section."""
    return _Pe(spec).make()


class _Pe:
    def __init__(self, spec: PeSpec) -> None:
        self.spec = spec
        self.wide = spec.arch != "x86"
        self.data = b""

    def add(self, content: bytes) -> int:
        """Append to the section, and return the address."""
        self.data += b"\0" * (-len(self.data) % 8)
        at = _ADDRESS + len(self.data)
        self.data += content
        return at

    def thunks(self, names: tuple[str, ...]) -> int:
        layout, number = ("<Q", 1 << 63) if self.wide else ("<I", 1 << 31)
        places = [
            self.add(b"\0\0" + name.encode() + b"\0") if name else number | 7 for name in names
        ]
        return self.add(b"".join(struct.pack(layout, place) for place in (*places, 0)))

    def imports(self) -> tuple[int, int]:
        rows = b""
        for library, names in self.spec.imports.items():
            thunks = self.thunks(names)
            rows += struct.pack("<IIIII", thunks, 0, 0, self.add(library.encode() + b"\0"), thunks)
        return self.add(rows + bytes(20)), len(rows) + 20

    def delayed(self) -> tuple[int, int]:
        rows = b""
        base, flags = (_BASE, 0) if self.spec.old else (0, 1)
        for library, names in self.spec.delayed.items():
            thunks = base + self.thunks(names)
            name = base + self.add(library.encode() + b"\0")
            rows += struct.pack("<IIIIIIII", flags, name, 0, thunks, thunks, 0, 0, 0)
        return (self.add(rows + bytes(32)), len(rows) + 32) if rows else (0, 0)

    def exports(self) -> tuple[int, int]:
        names = sorted(self.spec.exports)
        if not names:
            return 0, 0
        count = len(names)
        start = _ADDRESS + len(self.data) + -len(self.data) % 8
        table = start + 40
        text = table + 4 * count
        places, texts = [], b""
        for name in (self.spec.name, *names):
            places.append(text + len(texts))
            texts += name.encode() + b"\0"
        fields = (0, 0, 0, places[0], 1, count, count, table, table, 0)
        rows = struct.pack(f"<{count}I", *places[1:])
        made = struct.pack("<IIIIIIIIII", *fields) + rows + texts
        return self.add(made), len(made)

    def make(self) -> bytes:
        spec = self.spec
        directories = [(0, 0)] * 16
        directories[1] = self.imports()
        directories[13] = self.delayed()
        directories[0] = self.exports()
        if spec.hybrid:
            directories[10] = (
                self.add(struct.pack("<I", 0x140).ljust(0xC8, b"\0") + b"\x01" * 120),
                320,
            )
        if spec.managed:
            directories[14] = self.add(bytes(72)), 72
        if spec.signed:
            directories[4] = 0x400, 8
        names = [(".rdata", self.data), *spec.more.items()]
        return self.headers(directories, names) + b"".join(_padded(data) for _, data in names)

    def headers(
        self, directories: list[tuple[int, int]], sections: list[tuple[str, bytes]]
    ) -> bytes:
        spec = self.spec
        optional = struct.pack("<HBBIIIII", 0x20B if self.wide else 0x10B, 14, 0, 0, 0, 0, 0, 0)
        optional += struct.pack("<Q", _BASE) if self.wide else struct.pack("<II", 0, _BASE)
        optional += struct.pack(
            "<IIHHHHHHIIIIHH",
            0x1000,
            0x200,
            6,
            0,
            0,
            0,
            *spec.subsystem,
            0,
            0x9000,
            _OFFSET,
            0,
            2,
            0,
        )
        optional += bytes(32 if self.wide else 16) + struct.pack("<II", 0, 16)
        optional += b"".join(struct.pack("<II", *row) for row in directories)
        flags = 0x2022 if spec.library else 0x22
        coff = struct.pack(
            "<HHIIIHH", MACHINES[spec.arch], len(sections), 0, 0, 0, len(optional), flags
        )
        rows, address, offset = b"", _ADDRESS, _OFFSET
        for name, data in sections:
            size = len(_padded(data))
            rows += name.encode().ljust(8, b"\0")[:8]
            rows += struct.pack("<IIII16x", len(data), address, size, offset)
            address, offset = address + 0x1000 * (1 + size // 0x1000), offset + size
        start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
        return (start + b"PE\0\0" + coff + optional + rows).ljust(_OFFSET, b"\0")


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 0x200)
