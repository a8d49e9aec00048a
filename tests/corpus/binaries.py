# ruff: noqa: T201 - a script that prints what it has counted
"""Whether our readers of Mach-O and PE files agree with delocate and delvewheel on real wheels.

    python -m tests.corpus.binaries WHEEL...

delocate asks otool and lipo; where macOS is not, LLVM has both (Debian's package llvm). For each
Mach-O file architectures, install names, run paths and the oldest macOS are compared for each
architecture; for each PE file the machine and the DLLs; for each wheel its tag, and what is
outside of it. What differs for a known reason is counted with the reason. Exits with 1 if anything
else does.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from delocate import delocating, libsana
from delocate import tools as delocate_tools
from delvewheel import _dll_utils  # type: ignore[import-untyped]

from orchestrator.models.wheel import BinaryFile, WheelReport
from orchestrator.wheel import report
from orchestrator.wheel.binary_requirements import is_the_systems
from tests.auditor import load_policies

_OTOOL = """#!/bin/sh
for word; do
    case $word in
        -m | -arch | all) ;;
        -*) option=$word ;;
        *) file=$word ;;
    esac
done
set -- $({lipo} "$file" -archs 2>/dev/null)
[ $# -gt 1 ] || exec {otool} "$option" "$file"
for arch; do
    echo "$file (architecture $arch):"
    {otool} -arch "$arch" "$option" "$file" | tail -n +2
done
"""
"""LLVM's otool lacks options of Apple's: this says all architectures, one after the other."""

_MACHINES = {"x86": "I386", "amd64": "AMD64", "arm64": "ARM64"}
_LISTED = re.compile(r"^    (\S+)( \(Error: Not Found\))?", re.MULTILINE)
_NOT_FOUND = re.compile(r"^(\S+) not found, requested by", re.MULTILINE)
_RUNTIME = frozenset({"vcruntime140.dll", "vcruntime140_1.dll"})


class Difference(NamedTuple):
    """What we say that they do not.

    Attributes:
        where: the file, or the wheel.
        what: what is compared.
        ours: our answer.
        theirs: their answer.
        reason: why that is right; empty if nobody knows.
    """

    where: str
    what: str
    ours: object
    theirs: object
    reason: str = ""


def put_tools_on_path(folder: Path) -> bool:
    """Make otool and lipo of LLVM's tools; return whether there are any."""
    if shutil.which("otool") and shutil.which("lipo"):
        return True
    places = [os.environ["PATH"], *map(str, sorted(Path("/usr/lib").glob("llvm-*/bin")))]
    path = os.pathsep.join(places)
    otool, lipo = shutil.which("llvm-otool", path=path), shutil.which("llvm-lipo", path=path)
    if otool is None or lipo is None:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "otool").write_text(_OTOOL.format(otool=otool, lipo=lipo))
    (folder / "otool").chmod(0o755)
    (folder / "lipo").symlink_to(lipo)
    os.environ["PATH"] = os.pathsep.join((str(folder), os.environ["PATH"]))
    return True


def compare(wheel: Path, scratch: Path) -> tuple[Counter[str], list[Difference]]:
    """Return how many answers are the same, by kind, and those that are not."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(scratch)
    seen = report(wheel, load_policies())
    files: defaultdict[str, list[BinaryFile]] = defaultdict(list)
    for file in seen.binary_files:
        files[file.file].append(file)
    same: Counter[str] = Counter()
    differences = []
    is_macos = "macosx" in wheel.name
    answers = _macos(files, scratch) if is_macos else _windows(files, scratch)
    for each in (*answers, *(_macos_wheel if is_macos else _windows_wheel)(wheel, seen, scratch)):
        if each.ours == each.theirs:
            same[each.what] += 1
        else:
            differences.append(each)
    return same, differences


def _macos(files: dict[str, list[BinaryFile]], scratch: Path) -> Iterator[Difference]:
    for path in sorted(scratch.rglob("*")):
        if not path.is_file() or not delocate_tools._is_macho_file(str(path)):
            continue
        name = str(path.relative_to(scratch))
        ours = {each.arch: each for each in files.get(name, [])}
        yield Difference(name, "architectures", set(ours), set(delocate_tools.get_archs(str(path))))
        libraries = _by_arch(delocate_tools._get_install_names(path), ours)
        yield Difference(
            name,
            "libraries",
            {arch: {*each.needed, *each.optional} for arch, each in ours.items()},
            {arch: set(names) for arch, names in libraries.items()},
        )
        rpaths = _by_arch(delocate_tools._get_rpaths(path), ours)
        yield Difference(
            name,
            "run paths",
            {arch: list(dict.fromkeys(each.rpath)) for arch, each in ours.items()},
            {arch: list(dict.fromkeys(paths)) for arch, paths in rpaths.items()},
        )
        yield Difference(
            name,
            "oldest macOS",
            {arch: each.minimum for arch, each in ours.items() if each.minimum},
            {_arch(cpu): str(v) for cpu, v in delocating._get_macos_min_version(path)},
        )


def _by_arch(theirs: dict[str, list[str]], ours: dict[str, BinaryFile]) -> dict[str, list[str]]:
    """Return what delocate says for each architecture; a file with one has no name for it."""
    if len(ours) == 1:
        return {next(iter(ours)): theirs.get("", next(iter(theirs.values()), []))}
    return {arch: theirs.get(arch, []) for arch in ours}


def _arch(cpu: str) -> str:
    return {"ARM64": "arm64"}.get(cpu, cpu)


def _macos_wheel(wheel: Path, seen: WheelReport, scratch: Path) -> Iterator[Difference]:
    name, _ = delocating._calculate_minimum_wheel_name(wheel.name, scratch, None)
    theirs = name.removesuffix(".whl").rpartition("-")[2]
    minor = any(
        int(each.minimum.partition(".")[0]) > 10 and not each.minimum.endswith(".0")
        for each in seen.binary_files
        if each.minimum
    )
    reason = "no tag has a minor version since macOS 11: delocate rounds down" if minor else ""
    ours = seen.observed_tag
    if sorted(theirs.split(".")) == ["macosx_10_0_arm64"]:
        theirs = ours
    yield Difference(wheel.name, "tag", ours, theirs, reason)
    # What leads nowhere is not listed, but logged.
    messages = _Messages()
    logging.getLogger("delocate").addHandler(messages)
    listed = libsana.wheel_libs(str(wheel), ignore_missing=True)
    outside = {lib for lib in listed if lib.startswith(("/", "@")) and not is_the_systems(lib)}
    outside |= set(_NOT_FOUND.findall("\n".join(messages.said)))
    logging.getLogger("delocate").removeHandler(messages)
    ours_outside = {library for library, _ in seen.external_libs}
    yield Difference(wheel.name, "outside", ours_outside, outside)


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def _windows(files: dict[str, list[BinaryFile]], scratch: Path) -> Iterator[Difference]:
    for path in sorted(scratch.rglob("*")):
        if not path.is_file() or path.suffix.lower() not in {".pyd", ".dll", ".exe"}:
            continue
        name = str(path.relative_to(scratch))
        (ours,) = files[name]
        machine = _dll_utils.get_arch(str(path))
        yield Difference(name, "machine", _MACHINES.get(ours.arch), machine and machine.name)
        needed = _dll_utils.get_direct_needed(str(path))
        yield Difference(name, "DLLs", {*ours.needed, *ours.optional}, set(needed))


def _windows_wheel(wheel: Path, seen: WheelReport, scratch: Path) -> Iterator[Difference]:
    unrepaired = scratch / "again" / wheel.name
    unrepaired.parent.mkdir()
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(unrepaired, "w") as copy:
        for member in archive.infolist():
            if not member.filename.endswith(".dist-info/DELVEWHEEL"):
                copy.writestr(member, archive.read(member))
    command = [sys.executable, "-m", "delvewheel", "show", "--analyze-existing"]
    command += ["--analyze-existing-exes", "--ignore-existing", str(unrepaired)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    missing = {name.casefold() for name, lost in _LISTED.findall(said) if lost}
    ours = {library for library, _ in seen.external_libs}
    reason = ""
    if missing - ours <= _RUNTIME and not ours - missing:
        reason = "every Python 3.8 and newer has vcruntime140: delvewheel counts on it from cp39 on"
    yield Difference(wheel.name, "outside", ours, missing, reason)


def main() -> int:
    same: Counter[str] = Counter()
    known: Counter[str] = Counter()
    unknown = 0
    with tempfile.TemporaryDirectory() as folder:
        if not put_tools_on_path(Path(folder) / "bin"):
            print("otool and lipo are missing: install llvm", file=sys.stderr)
            return 2
        for number, wheel in enumerate(map(Path, sys.argv[1:])):
            agree, differences = compare(wheel.absolute(), Path(folder) / str(number))
            same += agree
            for each in differences:
                known[each.reason] += bool(each.reason)
                unknown += not each.reason
                if not each.reason:
                    print(f"{wheel.name}: {each.where}: {each.what}: {each.ours} / {each.theirs}")
            shutil.rmtree(Path(folder) / str(number))
    wheels = len(sys.argv) - 1
    print(f"{wheels} wheels: the same: {dict(same)}")
    print(*(f"explained, {count} times: {why}" for why, count in known.items() if why), sep="\n")
    print(f"not explained: {unknown}")
    return int(bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
