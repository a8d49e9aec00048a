"""Graft the libraries that a wheel needs into it, with the locked auditwheel.

The Python of the build runs this: in a container the target's, whatever its version. The
toolchain's auditwheel (pure Python) and patchelf (one static program) and the ELF reader
(`wheel/elf.py`) are mounted beside this file. If no Python there is new enough for that auditwheel,
the image's own auditwheel repairs, if it knows patterns in --exclude: the image's digest locks it.

auditwheel is slow under emulation, and most wheels need no library from outside. Such a wheel names
only libraries and symbol versions that one of auditwheel's policies allows, and that is checked
first. Not on x86: it is seldom emulated, and auditwheel looks at instruction sets as well.

With --if-needed, a wheel that needs no library from outside stays as it is: no tool runs.

The line that begins with ``orchestrator: repair:`` is the result, which the backends show. Exit 0:
a wheel is in the destination; 3: a tool is missing or too old; 4: auditwheel refused; 5: it failed.
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from orchestrator.wheel.elf import ElfInfo

    Machine = tuple[int, int, bool]

NEEDED_PATCHELF = (0, 14, 5)
"""auditwheel requires it: older ones break libraries."""

NEEDED_AUDITWHEEL = (6, 2)
"""The first that knows patterns in --exclude; older ones ignore them."""

START = (
    "import sys; sys.path.append(sys.argv.pop(1)); sys.argv[0] = 'auditwheel'; "
    "from auditwheel.main import main; sys.exit(main())"
)
"""Run with -S: without site-packages, the image's own auditwheel cannot come first."""

ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"

NO_ELF = "does not look like a platform wheel"
REFUSED = "cannot repair"
"""auditwheel's words; ELF files that are all for another machine get other ones."""


class Trouble(Exception):  # noqa: N818 - has an exit code
    """The reason why there is no repaired wheel."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def main() -> int:
    """Repair one wheel."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--site-packages", required=True)
    parser.add_argument("--patchelf", required=True)
    parser.add_argument("--elf-reader", type=Path, required=True)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--refused", choices=("fail", "keep"), required=True)
    parser.add_argument("--exclude", action="append", default=[])
    parser.add_argument("--if-needed", action="store_true")
    parser.add_argument("--call-it", default="linux")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("dest_dir", type=Path)
    options = parser.parse_args()
    try:
        elf = load(options.elf_reader)
        if options.if_needed and not find_outside(options, elf):
            copy(options, options.wheel.name)
            return 0
        check_patchelf(options.patchelf)
        policy = find_policy(options.wheel, options.arch, elf, Path(options.site_packages))
        if policy:
            sys.stdout.write("nothing to graft: all that it needs is in %s\n" % policy)  # noqa: UP031
            copy(options, re.sub(r"-linux_\w+\.whl$", "-" + policy + ".whl", options.wheel.name))
            return 0
        code, lines = run_auditwheel(auditwheel_command(options.site_packages), options)
        check_result(code, lines, options)
    except Trouble as trouble:
        if options.if_needed and options.refused == "keep":
            keep(options, "nothing is grafted: %s" % trouble)  # noqa: UP031 - old Pythons run this
            return 0
        say(str(trouble))
        return trouble.code
    return 0


def say(text: str) -> None:
    """Print the line that the backends look for."""
    sys.stdout.write("orchestrator: repair: %s\n" % text)  # noqa: UP031 - old Pythons run this
    sys.stdout.flush()


def check_patchelf(path: str) -> None:
    """Check that patchelf runs here, and is new enough for auditwheel."""
    try:
        done = subprocess.run([path, "--version"], stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Trouble(3, f"patchelf does not run here: {error}") from None
    said = done.stdout.decode().strip()
    match = re.match(r"patchelf\s+(\d+(?:\.\d+)*)", said)
    if match is None or version(match.group(1)) < NEEDED_PATCHELF:
        wanted = ".".join(map(str, NEEDED_PATCHELF))
        raise Trouble(3, f"{said or 'patchelf'} found, auditwheel needs patchelf {wanted} or newer")


X86 = ("x86_64", "i686")
LOADERS = ("ld-linux", "ld64.so")
LIBPYTHON = re.compile(r"libpython3")


class Unclear(Exception):  # noqa: N818 - not an error
    """auditwheel has to look at the wheel."""


def load(reader: Path) -> ModuleType:
    """Import the reader of ELF files, which imports nothing but the standard library."""
    sys.path.append(str(reader.parent))
    return importlib.import_module(reader.stem)


def find_policy(wheel: Path, arch: str, elf: ModuleType, site_packages: Path) -> str:
    """Return the oldest policy that allows all a wheel needs; empty if auditwheel must look."""
    if arch in X86:
        return ""
    try:
        machines, libraries, versions = read_needs(wheel, elf)
        own = machine_of(elf.parse(Path(sys.executable).read_bytes(), symbols=False))
        if machines != {own}:
            return ""
        file = site_packages / "auditwheel" / "policy" / "manylinux-policy.json"
        policies = json.loads(file.read_text("utf-8"))
    except (Unclear, OSError, ValueError, zipfile.BadZipFile):
        return ""
    for policy in sorted(policies, key=lambda each: -each["priority"]):
        known = {
            prefix + "_" + number
            for prefix, numbers in policy["symbol_versions"].get(arch, {}).items()
            for number in numbers
        }
        # All policies refuse zlib's private symbols. What they refuse of the C library's raises the
        # tag, and that is detected afterwards, whatever the name says.
        allowed = set(policy["lib_whitelist"]) - {"libz.so.1"}
        if known and libraries <= allowed and versions <= known:
            return str(policy["name"]) + "_" + arch
    return ""


def read_needs(wheel: Path, elf: ModuleType) -> tuple[set[Machine], set[str], set[str]]:
    """Return machines, needed libraries and symbol versions of all ELF files in a wheel."""
    machines: set[Machine] = set()
    libraries: set[str] = set()
    versions: set[str] = set()
    with zipfile.ZipFile(str(wheel)) as archive:
        for member in archive.namelist():
            content = archive.read(member)
            if member.endswith(".dist-info/WHEEL") and b"Root-Is-Purelib: true" in content:
                raise Unclear
            if elf.is_elf(content):
                info = elf.parse(content, symbols=False)
                if "/purelib/" in member or info.rpath or info.runpath:
                    raise Unclear
                machines.add(machine_of(info))
                libraries.update(info.needed)
                for library, some in info.versions:
                    versions.update(() if library.startswith(LOADERS) else some)
    return machines, {name for name in libraries if not name.startswith(LOADERS)}, versions


def find_outside(options: argparse.Namespace, elf: ModuleType) -> set[str]:
    """Return the libraries that a wheel needs and that no policy and no pattern allows."""
    needed: set[str] = set()
    inside: set[str] = set()
    try:
        with zipfile.ZipFile(str(options.wheel)) as archive:
            for member in archive.namelist():
                with archive.open(member) as file:
                    content = file.read(4)
                    if not elf.is_elf(content):
                        continue
                    content += file.read()
                info = elf.parse(content, symbols=False)
                inside.update((member.rpartition("/")[2], info.soname))
                needed.update(info.needed)
    except (OSError, ValueError, zipfile.BadZipFile):
        return set()  # what is wrong with the wheel is for others to say
    libc = "musllinux" if any(name.startswith("libc.musl-") for name in needed) else "manylinux"
    policies = Path(options.site_packages) / "auditwheel" / "policy" / (libc + "-policy.json")
    for policy in json.loads(policies.read_text("utf-8")):
        inside.update(policy["lib_whitelist"])
    return {
        name
        for name in needed - inside
        if not name.startswith((*LOADERS, "libc.musl-"))
        and not LIBPYTHON.match(name)
        and not any(fnmatch.fnmatchcase(name, pattern) for pattern in options.exclude)
    }


def machine_of(info: ElfInfo) -> Machine:
    """Return what distinguishes the programs of architectures."""
    return info.machine, info.bits, info.little_endian


def version(text: str) -> tuple[int, ...]:
    """Return the numbers of a dotted version."""
    return tuple(map(int, text.split(".")))


def auditwheel_command(site_packages: str) -> list[str]:
    """Return the command of the locked auditwheel, or else of the image's own."""
    metadata = next(Path(site_packages).glob("auditwheel-*.dist-info/METADATA")).read_text("utf-8")
    required = re.search(r"^Requires-Python: >=(\d+\.\d+)", metadata, re.MULTILINE)
    needed = version(required.group(1)) if required else (3, 0)
    python = suitable_python(needed)
    if python:
        return [python, "-I", "-S", "-c", START, site_packages]
    wanted = "the locked auditwheel needs Python " + ".".join(map(str, needed))
    path = shutil.which("auditwheel")
    said = " ".join(output_of([path, "--version"]).split()) if path else ""
    match = re.match(r"auditwheel\s+(\d+(?:\.\d+)*)", said)
    if path is None or match is None or version(match.group(1)) < NEEDED_AUDITWHEEL:
        own = said.split(" installed", 1)[0] or "none"
        lowest = ".".join(map(str, NEEDED_AUDITWHEEL))
        raise Trouble(
            3,
            f"{wanted}, which the image does not have, and the image's own auditwheel ({own}) is "
            f"not {lowest} or newer: install one of the two in the image",
        )
    sys.stdout.write(f"{wanted}: the image's own repairs instead: {said}\n")
    return [path]


def suitable_python(needed: tuple[int, ...]) -> str:
    """Return an interpreter for auditwheel: this one, another one of the image, or nothing."""
    if sys.version_info[:2] >= needed and sys.implementation.name == "cpython":
        return sys.executable
    found = {}
    for path in Path("/opt/python").glob("cp3*-cp3*/bin/python"):
        match = re.match(r"cp3(\d+)-cp3\d+$", path.parent.parent.name)
        # The directory cp39 need not have a Python 3.9: ask it.
        said = output_of([str(path), "-I", "-c", ASK_VERSION]) if match else ""
        if match and said and version(said) >= needed:
            found[int(match.group(1))] = str(path)
    return found[min(found)] if found else ""


def output_of(argv: list[str]) -> str:
    """Return what a program prints; nothing if it does not run."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def run_auditwheel(command: list[str], options: argparse.Namespace) -> tuple[int, list[str]]:
    """Run ``auditwheel repair``; return its exit code and its lines."""
    argv = [*command, "repair", "-w", str(options.dest_dir)]
    argv += ["--exclude=" + pattern for pattern in options.exclude]
    folder = str(Path(options.patchelf).parent)
    env = dict(os.environ, PATH=folder + os.pathsep + os.environ.get("PATH", os.defpath))
    lines = []
    with subprocess.Popen(
        [*argv, str(options.wheel)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    ) as child:
        if child.stdout is not None:
            for line in child.stdout:
                sys.stdout.write(line)
                lines.append(line.strip())
    return child.returncode, [line for line in lines if line]


def check_result(code: int, lines: list[str], options: argparse.Namespace) -> None:
    """Leave exactly the right wheel in the destination, or raise why there is none."""
    made = list(options.dest_dir.glob("*.whl"))
    if code == 0:
        if not made:
            keep(options, "nothing had to be grafted")
        return
    for path in made:
        path.unlink()
    if any(NO_ELF in line for line in lines):
        keep(options, "no ELF file is in the wheel: there is nothing to graft into")
        return
    refused = [line for line in lines if REFUSED in line.lower()]
    if not refused:
        raise Trouble(5, f"auditwheel failed: {lines[-1] if lines else 'it said nothing'}")
    why = re.sub(r"^(auditwheel: error|\w+Error): ", "", refused[-1])
    if options.refused == "fail":
        raise Trouble(4, f"auditwheel refused: {why}")
    keep(options, f"auditwheel refused, the wheel stays as it was built: {why}")


def keep(options: argparse.Namespace, why: str) -> None:
    """Copy the wheel unchanged, and print why."""
    say(why)
    copy(options, options.wheel.name)


def copy(options: argparse.Namespace, name: str) -> None:
    """Copy the wheel to the destination under a name, which says a C library if that is asked."""
    options.dest_dir.mkdir(parents=True, exist_ok=True)
    name = name.replace("-linux_", "-" + options.call_it + "_")
    shutil.copy2(str(options.wheel), str(options.dest_dir / name))


if __name__ == "__main__":
    sys.exit(main())
