"""Read what the loader reads of a PE file: its machine, imports and exports.

Layouts are those of Microsoft's "PE Format". See `orchestrator.wheel.binary` about hostile bytes.
"""

from __future__ import annotations

import re
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.wheel.abi3 import is_python_name
from orchestrator.wheel.binary import Binary, BinaryImage, BinaryKind, MalformedBinaryError
from orchestrator.wheel.elf import INITS, ElfBytes, Symbol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.wheel.elf import ByteSource, Meter

MAGIC = b"MZ"
_HEADER_AT = 0x3C
_SIGNATURE = 0x00004550
_MACHINES = {
    0x14C: "x86",
    0x8664: "amd64",
    0xAA64: "arm64",
    0x1C0: "arm",
    0x1C4: "arm",
    0xA641: "arm64ec",
    0xA64E: "arm64x",
    0x200: "ia64",
}
_HYBRID = {"amd64": "arm64ec", "arm64": "arm64x"}
"""What a machine is, with code for another one (CHPE metadata)."""
_DLL, _WIDE = 0x2000, 0x20B
_MAGICS = {0x10B, _WIDE}
_CHPE_AT = 0xC8
_EXPORT, _IMPORT, _SECURITY, _LOAD_CONFIG, _DELAYED, _CLR = 0, 1, 4, 10, 13, 14
_DIRECTORIES = 16
_GPU = (b".nv_fat", b".nvFat", b".hip_fat", b".hipFat")
"""How the sections begin that hold code for GPUs."""

_MAX_SECTIONS = 96
_MAX_LIBRARIES = 1 << 12
_MAX_EXPORTS = 1 << 16
_MAX_IMPORTS = 1 << 16
_MAX_NAMES = 32 << 20

PYTHON_DLL = re.compile(r"python3(?P<minor>\d*)(?P<free>t?)(?P<debug>_d)?\.dll", re.IGNORECASE)
"""CPython's own libraries: ``python3.dll`` has the stable ABI, ``python312.dll`` all of it."""


def parse(
    data: bytes | ByteSource, *, meter: Meter = lambda _steps, _read, _what: None
) -> tuple[Binary, ...]:
    """Read a PE file; return nothing for another one that begins with MZ, as DOS programs do.

    Raises:
        MalformedBinaryError: it is inconsistent. Errors of `data.read` and of `meter` are passed
            on.
    """
    source = ElfBytes(data) if isinstance(data, bytes) else data
    image = BinaryImage(source, meter, 0, source.size)
    if source.size < _HEADER_AT + 4:
        return ()
    (at,) = image.unpack("I", _HEADER_AT, "header")
    if at + 4 > source.size or image.unpack("I", at, "signature") != (_SIGNATURE,):
        return ()
    return (_File(image, at).info(),)


class _Section(NamedTuple):
    name: bytes
    address: int
    size: int
    offset: int


class _File:
    """A PE file's headers, and what they lead to."""

    def __init__(self, image: BinaryImage, at: int) -> None:
        self._image = image
        machine, sections, _, _, _, size, flags = image.unpack("HHIIIHH", at + 4, "COFF header")
        self.arch = _MACHINES.get(machine, f"machine {machine:#x}")
        self.is_library = bool(flags & _DLL)
        optional = at + 24
        image.check(optional, size, "optional header")
        (magic,) = image.unpack("H", optional, "optional header")
        if magic not in _MAGICS:
            raise MalformedBinaryError(f"optional header of kind {magic:#x}")
        self.wide = magic == _WIDE
        self.base = image.unpack(*("Q", optional + 24) if self.wide else ("I", optional + 28), "")[
            0
        ]
        major, minor = image.unpack("HH", optional + 48, "optional header")
        self.minimum = major, minor
        (self._headers,) = image.unpack("I", optional + 60, "optional header")
        first = optional + (112 if self.wide else 96)
        (number,) = image.unpack("I", first - 4, "optional header")
        number = min(number, _DIRECTORIES, max(0, size - (first - optional)) // 8)
        self._directories = list(image.rows("II", first, number, "data directories"))
        if sections > _MAX_SECTIONS:
            raise MalformedBinaryError(f"{sections} sections")
        (alignment,) = image.unpack("I", optional + 36, "optional header")
        # Windows reads whole sectors.
        mask = ~0x1FF if alignment > 0x1FF else ~0  # noqa: PLR2004
        rows = image.rows("QIIII12xI", optional + size, sections, "sections")
        self._sections = [
            _Section(row[0].to_bytes(8, "little"), row[2], row[3], row[4] & mask) for row in rows
        ]

    def directory(self, index: int) -> tuple[int, int]:
        """Return address and size of a table; zeros if there is none."""
        if index >= len(self._directories):
            return 0, 0
        address, size = self._directories[index]
        return (address, size) if address else (0, 0)

    def offset(self, address: int, what: str) -> int:
        """Return where the byte that is loaded at an address is in the file."""
        if address < self._headers:
            return address
        for section in self._sections:
            if section.address <= address < section.address + section.size:
                return section.offset + address - section.address
        raise MalformedBinaryError(f"{what}: address {address:#x} is in no section")

    def info(self) -> Binary:
        """Return what the file says; code of .NET is for every machine, and data here."""
        managed = self.directory(_CLR)[0]
        kind = BinaryKind.LIBRARY if self.is_library else BinaryKind.PROGRAM
        needed = self._named(self._imports())
        delayed = self._named(self._delayed())
        name, inits = self._exports()
        return Binary(
            system="Windows",
            arch=".NET" if managed else self._machine(),
            kind=BinaryKind.OTHER if managed else kind,
            minimum=self.minimum,
            name=name,
            needed=tuple(library for library, _ in needed),
            optional=tuple(library for library, _ in delayed),
            inits=tuple(inits),
            undefined=tuple(self._of_python((*needed, *delayed))),
            signed=bool(self.directory(_SECURITY)[1]),
            for_gpus=any(section.name.startswith(_GPU) for section in self._sections),
        )

    def _machine(self) -> str:
        address, size = self.directory(_LOAD_CONFIG)
        if not (self.wide and address and self.arch in _HYBRID):
            return self.arch
        at = self.offset(address, "load configuration")
        length = min(size, *self._image.unpack("I", at, "load configuration"))
        if length < _CHPE_AT + 8:
            return self.arch
        (hybrid,) = self._image.unpack("Q", at + _CHPE_AT, "load configuration")
        return _HYBRID[self.arch] if hybrid else self.arch

    def _imports(self) -> Iterator[tuple[int, int]]:
        """Yield the address of each library's name, and of the names imported from it."""
        address, _ = self.directory(_IMPORT)
        at = self.offset(address, "imports") if address else 0
        while address:
            names, _, _, name, bound = self._image.unpack("IIIII", at, "imports")
            if not name or not bound:
                return
            yield name, names or bound
            at += 20

    def _delayed(self) -> Iterator[tuple[int, int]]:
        """The same of libraries that are loaded at their first use."""
        address, _ = self.directory(_DELAYED)
        at = self.offset(address, "delayed imports") if address else 0
        while address:
            flags, name, _, _, names, *_ = self._image.unpack("IIIIIIII", at, "delayed imports")
            if not name:
                return
            # Old linkers wrote addresses in memory.
            base = 0 if flags & 1 else self.base & 0xFFFFFFFF
            yield name - base, names - base
            at += 32

    def _named(self, found: Iterator[tuple[int, int]]) -> tuple[tuple[str, int], ...]:
        """Return the libraries with their names: all entries are read first, then all names."""
        entries = tuple(islice(found, _MAX_LIBRARIES))
        if len(entries) == _MAX_LIBRARIES:
            raise MalformedBinaryError(f"{_MAX_LIBRARIES} libraries, or more")
        return tuple((self._text(name, "imports"), names) for name, names in entries)

    def _text(self, address: int, what: str) -> str:
        return self._image.text(self.offset(address, what), what)

    def _of_python(self, libraries: tuple[tuple[str, int], ...]) -> Iterator[Symbol]:
        """Yield the names that are imported from Python's own libraries."""
        layout, step, by_number = ("Q", 8, 1 << 63) if self.wide else ("I", 4, 1 << 31)
        for library, address in dict(libraries).items():
            if not PYTHON_DLL.fullmatch(library) or address <= 0:
                continue
            at = self.offset(address, "imported names")
            entries = (
                self._image.unpack(layout, at + step * n, "imported names")[0] for n in count()
            )
            places = tuple(islice(takewhile(bool, entries), _MAX_IMPORTS))
            for place in places:
                name = "" if place & by_number else self._text(place + 2, "imported names")
                if is_python_name(name):
                    yield Symbol(name, library, "", weak=False)

    def _exports(self) -> tuple[str, list[str]]:
        """Return the library's own name, and the functions that make it a Python extension."""
        address, size = self.directory(_EXPORT)
        if not address:
            return "", []
        at = self.offset(address, "exports")
        fields = self._image.unpack("IIIIIIIIII", at, "exports")
        name, number, names = fields[3], fields[6], fields[8]
        if number > _MAX_EXPORTS:
            raise MalformedBinaryError(f"{number} exported names")
        own = self._text(name, "exports") if name else ""
        if not number:
            return own, []
        table = self._image.rows("I", self.offset(names, "exports"), number, "exports")
        places = {place for (place,) in table}
        # The names follow one another: most need not be looked at.
        self._image.check(at, size, "exports")
        text = self._image.load(at, min(size, _MAX_NAMES), "exports")
        return own, [
            self._text(address + at, "exports") for at in self._inits(text, address, places)
        ]

    def _inits(self, text: bytes, address: int, places: set[int]) -> Iterator[int]:
        """Yield where names begin like a function that makes a module."""
        for prefix in INITS:
            at = text.find(prefix)
            while at >= 0:
                self._image.spend(1, 0, "exports")
                if address + at in places:
                    yield at
                at = text.find(prefix, at + 1)
