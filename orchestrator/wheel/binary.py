"""What a Mach-O or PE file says to its loader, and the bytes that it is read from.

The bytes are not trusted: every offset, size and count is checked before use, and each loop and
each table is metered (see `orchestrator.wheel.elf`).
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.wheel.elf import ByteSource, Meter, Symbol

_BLOCK = 1 << 14
_LONGEST_NAME = 1 << 12
_MAX_TABLES = 96 << 20
_STEP_BYTES = 16


class BinaryKind(StrEnum):
    """What loads a file: a program, a library or module, or nothing (an object, debug symbols)."""

    PROGRAM = "program"
    LIBRARY = "library"
    OTHER = "other"


class Binary(NamedTuple):
    """A PE file, or a Mach-O file for one architecture.

    Attributes:
        system: ``macOS``, ``Windows``, or another one of Apple's.
        arch: as platform tags write it (``arm64``, ``x86_64``, ``amd64``), ``x86`` for ``win32``.
        kind: what loads it.
        minimum: the oldest version of the system, or of Windows' subsystem; None if it is not said.
        name: its install name, or the name in a DLL's table of exports; may be empty.
        needed: the libraries that it needs, in order.
        optional: the libraries that it can start without: weak ones, or loaded at their first use.
        rpath: where the loader looks for them.
        inits: names of the functions that make it a Python extension (``PyInit_*``).
        undefined: the names of Python's C API that it needs.
        signed: whether it has a signature; nothing is said about whether that is valid.
        for_gpus: whether it has sections for code of GPUs, which are not read.
    """

    system: str
    arch: str
    kind: BinaryKind
    minimum: tuple[int, int] | None = None
    name: str = ""
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    inits: tuple[str, ...] = ()
    undefined: tuple[Symbol, ...] = ()
    signed: bool = False
    for_gpus: bool = False

    @property
    def loaded(self) -> bool:
        """Whether anything loads it."""
        return self.kind is not BinaryKind.OTHER


class MalformedBinaryError(ValueError):
    """The bytes start as a Mach-O or PE file but cannot be read as one."""


class BinaryImage:
    """A part of a file; no read can leave it.

    Attributes:
        order: of the bytes: ``<`` or ``>``.
    """

    def __init__(self, source: ByteSource, meter: Meter, start: int, size: int) -> None:
        """Begin with nothing read."""
        self.size = size
        self.spend = meter
        self.order = "<"
        self._source, self._start = source, start
        self._left = _MAX_TABLES
        self._block: tuple[int, bytes | bytearray] = (0, b"")

    def check(self, offset: int, size: int, what: str) -> None:
        """Refuse a table that is not inside."""
        if offset < 0 or size < 0 or offset + size > self.size:
            end = self.size
            raise MalformedBinaryError(f"{what}: {size} bytes at {offset}, but it ends at {end}")

    def load(self, offset: int, size: int, what: str) -> bytes:
        """Return the bytes of a table."""
        self.check(offset, size, what)
        self._left -= size
        if self._left < 0:
            raise MalformedBinaryError(f"{what}: more than {_MAX_TABLES} bytes of tables")
        self.spend(1 + size // _STEP_BYTES, size, what)
        return bytes(self._source.read(self._start + offset, size))

    def _near(self, offset: int, size: int, what: str) -> tuple[int, bytes | bytearray]:
        """Return where the bytes are in a block, and the block: records are close together."""
        start, block = self._block
        if offset < start or offset + size > start + len(block):
            start, length = offset, min(max(_BLOCK, size), self.size - offset)
            block = self._source.read(self._start + start, length)
            self.spend(0, length, what)
            self._block = start, block
        self.spend(1, 0, what)
        return offset - start, block

    def unpack(self, layout: str, offset: int, what: str) -> tuple[int, ...]:
        """Return the few integers at `offset`."""
        size = struct.calcsize("=" + layout)
        self.check(offset, size, what)
        at, block = self._near(offset, size, what)
        return struct.unpack_from(self.order + layout, block, at)

    def rows(self, layout: str, offset: int, count: int, what: str) -> Iterator[tuple[int, ...]]:
        """Iterate over `count` records at `offset`."""
        self.spend(count, 0, what)
        table = self.load(offset, count * struct.calcsize("=" + layout), what)
        return struct.iter_unpack(self.order + layout, table)

    def text(self, offset: int, what: str) -> str:
        """Return the text that ends with a NUL."""
        self.check(offset, 1, what)
        at, block = self._near(offset, min(_LONGEST_NAME, self.size - offset), what)
        stop = block.find(b"\0", at, at + _LONGEST_NAME)
        if stop < 0:
            raise MalformedBinaryError(f"{what}: no end of the name at {offset}")
        self.spend((stop - at) // _STEP_BYTES, 0, what)
        return decoded(block[at:stop])


def decoded(name: bytes | bytearray) -> str:
    """Return a name as text, whatever bytes it has."""
    return name.decode("utf-8", "backslashreplace")
