"""Makes ELF files and wheels byte by byte, so that each test can spoil exactly one thing."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.models.platforms import Arch
from orchestrator.models.variant_metadata import SCHEMA
from orchestrator.wheel.record import RecordRow

# (e_machine, class, byte order, e_flags)
MACHINES = {
    Arch.X86_64: (62, 64, "<", 0),
    Arch.I686: (3, 32, "<", 0),
    Arch.AARCH64: (183, 64, "<", 0),
    Arch.ARMV7L: (40, 32, "<", 0x05000400),
    Arch.PPC64LE: (21, 64, "<", 2),
    Arch.S390X: (22, 64, ">", 0),
    Arch.RISCV64: (243, 64, "<", 5),
    Arch.LOONGARCH64: (258, 64, "<", 0x43),
}
EXTENSION = "demo/_ext.cpython-312-x86_64-linux-gnu.so"
ISA = {"x86-64-v2": 3, "x86-64-v3": 7, "x86-64-v4": 15}


@dataclass(frozen=True, kw_only=True)
class ElfSpec:
    """What an ELF file shall say.

    `versions` maps library -> version -> symbols; the libraries are also needed. `hash` is ``gnu``,
    ``sysv``, or ``short``: 4-byte words even on s390x. `stack` has the flags of PT_GNU_STACK, 0 for
    none. `more` has the content of further sections.
    """

    arch: Arch = Arch.X86_64
    machine: tuple[int, int, str, int] | None = None
    needed: tuple[str, ...] = ("libc.so.6",)
    versions: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    undefined: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    defined: tuple[str, ...] = ()
    soname: str = ""
    rpath: str = ""
    runpath: str = ""
    interpreter: str = ""
    isa: int = 0
    sections: bool = True
    hash: str = "sysv"
    stack: int = 6
    pie: bool = False
    more: Mapping[str, bytes] = field(default_factory=dict)


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def make_elf(spec: ElfSpec) -> bytes:
    """Return the bytes of a shared library."""
    return _Maker(spec).make()


class _Maker:
    def __init__(self, spec: ElfSpec) -> None:
        self.spec = spec
        self.machine, self.bits, self.order, self.flags = spec.machine or MACHINES[spec.arch]
        self.wide = self.bits == 64
        self.word = "Q" if self.wide else "I"
        self.strings = _Strings()
        self.blobs: list[tuple[str, int, bytes]] = []

    def pack(self, layout: str, *values: int) -> bytes:
        return struct.pack(self.order + layout, *values)

    def symbols(self, indices: dict[tuple[str, str], int]) -> tuple[bytes, bytes, int, int]:
        """Return .dynsym, .gnu.version, the number of symbols and of undefined ones."""
        rows = [("", 0, 0, 0)]
        for library, versions in self.spec.versions.items():
            for version, names in versions.items():
                rows += [(name, 0x12, 0, indices[library, version]) for name in names]
        rows += [(name, 0x12, 0, 0) for name in self.spec.undefined]
        rows += [(name, 0x22, 0, 0) for name in self.spec.weak]
        first_defined = len(rows)
        rows += [(name, 0x12, 1, 1) for name in self.spec.defined]
        table = indexes = b""
        for name, info, section, index in rows:
            at = self.strings.add(name) if name else 0
            if self.wide:
                table += self.pack("IBBHQQ", at, info, 0, section, 0, 0)
            else:
                table += self.pack("IIIBBH", at, 0, 0, info, 0, section)
            indexes += self.pack("H", index)
        return table, indexes, len(rows), first_defined

    def versions(self) -> tuple[bytes, dict[tuple[str, str], int]]:
        """Return .gnu.version_r, and the index of each version."""
        out = b""
        indices: dict[tuple[str, str], int] = {}
        libraries = list(self.spec.versions.items())
        for position, (library, versions) in enumerate(libraries):
            step = 0 if position == len(libraries) - 1 else 16 + 16 * len(versions)
            out += self.pack("HHIII", 1, len(versions), self.strings.add(library), 16, step)
            for number, version in enumerate(versions):
                index = indices[library, version] = len(indices) + 2
                following = 0 if number == len(versions) - 1 else 16
                at = self.strings.add(version)
                out += self.pack("IHHII", 0, 0, index, at, following)
        return out, indices

    def hash(self, count: int, first: int) -> bytes:
        if self.spec.hash == "gnu":
            defined = count - first
            out = self.pack("IIII", 1, first, 1, 0) + self.pack(self.word, 0)
            out += self.pack("I", first if defined else 0)
            return out + b"".join(self.pack("I", 2 + (i == defined - 1)) for i in range(defined))
        word = "Q" if self.machine == 22 and self.wide and self.spec.hash != "short" else "I"
        return self.pack(word * (3 + count), 1, count, *([0] * (1 + count)))

    def note(self) -> bytes:
        properties = self.pack("III", 0xC0008002, 4, self.spec.isa) + (b"\0" * 4) * self.wide
        return self.pack("III", 4, len(properties), 5) + b"GNU\0" + properties

    def make(self) -> bytes:
        spec = self.spec
        verneed, indices = self.versions()
        dynsym, versym, count, first = self.symbols(indices)
        needed = [self.strings.add(name) for name in dict.fromkeys((*spec.needed, *spec.versions))]
        texts = {
            tag: self.strings.add(text)
            for tag, text in ((14, spec.soname), (15, spec.rpath), (29, spec.runpath))
            if text
        }
        parts = {
            ".dynsym": (11, dynsym),
            ".gnu.version": (0x6FFFFFFF, versym),
            ".gnu.version_r": (0x6FFFFFFE, verneed),
            ".hash": (5, self.hash(count, first)),
        }
        if spec.isa:
            parts[".note.gnu.property"] = (7, self.note())
        if spec.interpreter:
            parts[".interp"] = (1, spec.interpreter.encode() + b"\0")
        parts[".dynstr"] = (3, self.strings.data)
        parts |= {name: (1, content) for name, content in spec.more.items()}
        parts = {name: part for name, part in parts.items() if part[1]}
        segments = 2 + bool(spec.isa) + bool(spec.interpreter) + bool(spec.stack)
        at = (64 + 56 * segments) if self.wide else (52 + 32 * segments)
        where = {}
        body = b""
        for name, (_, content) in parts.items():
            pad = -(at + len(body)) % 8
            body += b"\0" * pad
            where[name] = at + len(body)
            body += content
        body += b"\0" * (-(at + len(body)) % 8)
        where[".dynamic"] = at + len(body)
        dynamic = self.dynamic(where, needed, texts)
        parts[".dynamic"] = (6, dynamic)
        body += dynamic
        return self.finish(parts, where, body, at)

    def dynamic(self, where: dict[str, int], needed: list[int], texts: dict[int, int]) -> bytes:
        entries = [(1, at) for at in needed] + list(texts.items())
        entries += [(5, where[".dynstr"]), (10, len(self.strings.data)), (6, where[".dynsym"])]
        entries.append((0x6FFFFEF5 if self.spec.hash == "gnu" else 4, where[".hash"]))
        if ".gnu.version_r" in where:
            entries += [
                (0x6FFFFFF0, where[".gnu.version"]),
                (0x6FFFFFFE, where[".gnu.version_r"]),
                (0x6FFFFFFF, len(self.spec.versions)),
            ]
        if self.spec.pie:
            entries.append((0x6FFFFFFB, 0x08000000))
        entries.append((0, 0))
        return b"".join(self.pack(self.word * 2, *entry) for entry in entries)

    def finish(
        self, parts: dict[str, tuple[int, bytes]], where: dict[str, int], body: bytes, at: int
    ) -> bytes:
        names = _Strings()
        headers = [b"\0" * (64 if self.wide else 40)]
        order = list(parts)
        for name, (kind, content) in parts.items():
            link = order.index(".dynstr" if kind in {11, 6, 0x6FFFFFFE} else ".dynsym") + 1
            size = {11: 24 if self.wide else 16, 6: 16 if self.wide else 8}.get(kind, 0)
            info = len(self.spec.versions) if kind == 0x6FFFFFFE else 0
            values = names.add(name), kind, 2, where[name], where[name], len(content), link, info
            headers.append(self.pack("II" + self.word * 4 + "II" + self.word * 2, *values, 8, size))
        title = names.add(".shstrtab")
        table_at = at + len(body)
        values = title, 3, 0, 0, table_at, len(names.data), 0, 0
        headers.append(self.pack("II" + self.word * 4 + "II" + self.word * 2, *values, 1, 0))
        tail = names.data + b"\0" * (-(table_at + len(names.data)) % 8)
        total = at + len(body)
        shoff, shnum = (table_at + len(tail), len(headers)) if self.spec.sections else (0, 0)
        loads = [(1, 0, total, 0x1000), (2, where[".dynamic"], len(parts[".dynamic"][1]), 8)]
        if ".interp" in where:
            loads.append((3, where[".interp"], len(parts[".interp"][1]), 1))
        if ".note.gnu.property" in where:
            loads.append((4, where[".note.gnu.property"], len(parts[".note.gnu.property"][1]), 8))
        if self.spec.stack:
            loads.append((0x6474E551, 0, 0, 16))
        head = b"\x7fELF" + bytes([2 if self.wide else 1, 1 if self.order == "<" else 2, 1])
        head = head.ljust(16, b"\0")
        fields = 3, self.machine, 1, 0, 64 if self.wide else 52, shoff, self.flags
        head += self.pack("HHI" + self.word * 3 + "I", *fields)
        sizes = (64, 56, len(loads), 64) if self.wide else (52, 32, len(loads), 40)
        head += self.pack("6H", *sizes, shnum, max(shnum - 1, 0))
        for kind, offset, size, align in loads:
            flags = self.spec.stack if kind == 0x6474E551 else 5
            if self.wide:
                places = offset, offset, offset
                head += self.pack("IIQQQQQQ", kind, flags, *places, size, size, align)
            else:
                head += self.pack("8I", kind, offset, offset, offset, size, size, flags, align)
        return head + body + (tail + b"".join(headers) if self.spec.sections else b"")


@dataclass(kw_only=True)
class WheelSpec:
    """A wheel that is right, until a test changes something.

    `extra_info` has more files of dist-info, and those that replace METADATA, WHEEL or RECORD.
    """

    name: str = "demo"
    version: str = "1.0"
    build: str = ""
    python: str = "cp312"
    abi: str = "cp312"
    platform: str = "manylinux_2_17_x86_64"
    label: str = ""
    purelib: str = "false"
    members: dict[str, bytes] = field(default_factory=dict)
    extra_info: dict[str, bytes] = field(default_factory=lambda: {"licenses/LICENSE": b"free"})

    @property
    def filename(self) -> str:
        parts = (self.name, self.version, self.build, self.python, self.abi, self.platform)
        return "-".join(part for part in (*parts, self.label) if part) + ".whl"

    @property
    def dist_info(self) -> str:
        return f"{self.name}-{self.version}.dist-info"

    def files(self) -> dict[str, bytes]:
        """Return all files but RECORD."""
        tags = [
            f"Tag: {python}-{abi}-{platform}\n"
            for python in self.python.split(".")
            for abi in self.abi.split(".")
            for platform in self.platform.split(".")
        ]
        wheel = "Wheel-Version: 1.0\nGenerator: test (1)\n" + f"Root-Is-Purelib: {self.purelib}\n"
        wheel += "".join(tags) + (f"Build: {self.build}\n" if self.build else "") + "\n"
        metadata = f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n\nText.\n"
        variant = {"variant.json": make_variant(self.label)} if self.label else {}
        return {
            **self.members,
            **{f"{self.dist_info}/{name}": text for name, text in variant.items()},
            f"{self.dist_info}/METADATA": metadata.encode(),
            f"{self.dist_info}/WHEEL": wheel.encode(),
            **{f"{self.dist_info}/{name}": text for name, text in self.extra_info.items()},
        }

    def all_files(self, files: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
        """Return all files, or these, with a right RECORD unless they have one."""
        content = dict(self.files() if files is None else files)
        place = f"{self.dist_info}/RECORD"
        content.setdefault(place, make_record(content, place))
        return content

    def write(self, directory: Path, files: Mapping[str, bytes] | None = None) -> Path:
        """Write the wheel, with a right RECORD unless `files` or `extra_info` has one."""
        directory.mkdir(parents=True, exist_ok=True)
        write_zip(directory / self.filename, self.all_files(files))
        return directory / self.filename


def make_variant(*labels: str, **more: Any) -> bytes:
    """Return a variant.json: each label but ``null`` stands for a property of its own name."""
    made = {label: {"own": {"kind": [label]}} if label != "null" else {} for label in labels}
    document = {
        "$schema": SCHEMA,
        "default-priorities": {"namespace": ["own"]},
        "providers": {"own": {"requires": ["own-provider"]}},
        "variants": made,
    }
    return json.dumps({**document, **more}).encode()


def make_bill(version: str = "1.0", purl: str = "") -> bytes:
    """Return a bill of materials (CycloneDX) of a wheel that holds one library."""
    ref = purl or f"pkg:pypi/demo@{version}?file_name=x.whl"
    component = {"type": "library", "bom-ref": ref, "name": "demo", "version": version, "purl": ref}
    library = {"type": "library", "bom-ref": "lib", "name": "libx", "version": version}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.4",
        "metadata": {"component": component},
        "components": [component, library],
        "dependencies": [{"ref": ref, "dependsOn": ["lib"]}, {"ref": "lib"}],
    }
    return json.dumps(document).encode()


def make_record(files: Mapping[str, bytes], place: str) -> bytes:
    empty = RecordRow(path="", hash="", size="", text="\n")
    rows = [
        empty.replaced(name, content)
        for name, content in files.items()
        if name not in {f"{place}.jws", f"{place}.p7s"}
    ]
    rows.append(empty.replaced(place, None))
    return "".join(row.text for row in rows).encode()


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (2026, 2, 3, 4, 5, 6))
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
