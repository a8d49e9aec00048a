"""Graft what a wheel needs from outside, with the locked auditwheel, where the libraries are.

Run by the Python of the build: in a container that of the target, whatever its version, with the
toolchain's auditwheel (pure Python) and patchelf (one static program) mounted beside this file.
Where no Python there is new enough for that auditwheel, the image's own does it, if it is one that
knows patterns in --exclude: the image's digest locks it as well.

auditwheel takes long where it is emulated, and most wheels need nothing from outside: whether one
names only libraries and versions of symbols that one of its policies allows is looked up first.
Not on x86, where nobody emulates much and auditwheel also looks at instruction sets. The reader of
ELF files is the one of `wheel/`, mounted as well.

It says one line that begins with ``orchestrator: repair:``, which the backends show. Exit 0: a
wheel is in the destination; 3: a tool is missing or too old; 4: auditwheel refused; 5: it failed.
"""

from __future__ import annotations

import argparse
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
"""What auditwheel asks for; older ones break libraries."""

NEEDED_AUDITWHEEL = (6, 2)
"""The first that knows patterns in --exclude; to older ones they exclude nothing."""

START = (
    "import sys; sys.path.append(sys.argv.pop(1)); sys.argv[0] = 'auditwheel'; "
    "from auditwheel.main import main; sys.exit(main())"
)
"""Runs without site-packages (-S): an auditwheel of the image's own must not come first."""

NO_ELF = "does not look like a platform wheel"
REFUSED = "cannot repair"
"""What auditwheel says; that all ELF files are for another machine it says in other words."""


class Trouble(Exception):  # noqa: N818 - says why and with which exit code
    """Why there is no repaired wheel."""

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
    parser.add_argument("wheel", type=Path)
    parser.add_argument("dest_dir", type=Path)
    options = parser.parse_args()
    try:
        check_patchelf(options.patchelf)
        elf = load(options.elf_reader)
        policy = allowing(options.wheel, options.arch, elf, Path(options.site_packages))
        if policy:
            take(options, policy)
            return 0
        code, lines = audit(auditwheel(options.site_packages), options)
        conclude(code, lines, options)
    except Trouble as trouble:
        say(str(trouble))
        return trouble.code
    return 0


def say(text: str) -> None:
    """Say what the backends look for."""
    sys.stdout.write("orchestrator: repair: %s\n" % text)  # noqa: UP031 - old Pythons run this
    sys.stdout.flush()


def check_patchelf(path: str) -> None:
    """Check that patchelf runs here, and is what auditwheel needs."""
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


class Unclear(Exception):  # noqa: N818 - auditwheel finds out
    """A file is not as simple as that."""


def load(reader: Path) -> ModuleType:
    """Import the reader of ELF files, which imports nothing but the standard library."""
    sys.path.append(str(reader.parent))
    return importlib.import_module(reader.stem)


def allowing(wheel: Path, arch: str, elf: ModuleType, site_packages: Path) -> str:
    """Return the oldest policy that allows all that a wheel needs; empty where that is unclear."""
    if arch in X86:
        return ""
    try:
        machines, libraries, versions = needs(wheel, elf)
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


def take(options: argparse.Namespace, policy: str) -> None:
    """Let the wheel be as it is, under the name that says where it may be installed."""
    sys.stdout.write("nothing to graft: all that it needs is in %s\n" % policy)  # noqa: UP031
    options.dest_dir.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"-linux_\w+\.whl$", "-" + policy + ".whl", options.wheel.name)
    shutil.copy2(str(options.wheel), str(options.dest_dir / name))


def needs(wheel: Path, elf: ModuleType) -> tuple[set[Machine], set[str], set[str]]:
    """Return machines, libraries and versions of symbols of all ELF files in a wheel."""
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


def machine_of(info: ElfInfo) -> Machine:
    """Return what tells the programs of an architecture from others."""
    return info.machine, info.bits, info.little_endian


def version(text: str) -> tuple[int, ...]:
    """Return the numbers of a dotted version."""
    return tuple(map(int, text.split(".")))


def needed_python(site_packages: Path) -> tuple[int, ...]:
    """Return the lowest Python that auditwheel runs on, as its metadata say."""
    metadata = next(site_packages.glob("auditwheel-*.dist-info/METADATA")).read_text("utf-8")
    match = re.search(r"^Requires-Python: >=(\d+\.\d+)", metadata, re.MULTILINE)
    return version(match.group(1)) if match else (3, 0)


def auditwheel(site_packages: str) -> list[str]:
    """Return the words that start an auditwheel: the locked one, or else the image's own."""
    needed = needed_python(Path(site_packages))
    python = suitable_python(needed)
    if python:
        return [python, "-I", "-S", "-c", START, site_packages]
    wanted = "the locked auditwheel needs Python " + ".".join(map(str, needed))
    path = shutil.which("auditwheel")
    said = " ".join(asked([path, "--version"]).split()) if path else ""
    match = re.match(r"auditwheel\s+(\d+(?:\.\d+)*)", said)
    if path is None or match is None or version(match.group(1)) < NEEDED_AUDITWHEEL:
        own = said.split(" installed", 1)[0] or "none"
        lowest = ".".join(map(str, NEEDED_AUDITWHEEL))
        raise Trouble(
            3,
            f"{wanted}, which the image has not, and its own auditwheel ({own}) is not {lowest} or "
            "newer: install one of the two in the image",
        )
    sys.stdout.write(f"{wanted}: the image's own repairs instead: {said}\n")
    return [path]


def suitable_python(needed: tuple[int, ...]) -> str:
    """Return an interpreter that auditwheel runs on: this one, another of the image's, or none."""
    if sys.version_info[:2] >= needed and sys.implementation.name == "cpython":
        return sys.executable
    found = {}
    for path in Path("/opt/python").glob("cp3*-cp3*/bin/python"):
        match = re.match(r"cp3(\d+)-cp3\d+$", path.parent.parent.name)
        # What is called cp39 there need not be 3.9, so it is asked.
        if match and asked_version(str(path)) >= needed:
            found[int(match.group(1))] = str(path)
    return found[min(found)] if found else ""


def asked_version(python: str) -> tuple[int, ...]:
    """Return the version an interpreter says it has."""
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    said = asked([python, "-I", "-c", script])
    return version(said) if said else ()


def asked(argv: list[str]) -> str:
    """Return what a program says, or nothing where it does not run."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.decode("utf-8", "replace")


def audit(command: list[str], options: argparse.Namespace) -> tuple[int, list[str]]:
    """Run ``auditwheel repair``; return its exit code and what it said."""
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


def conclude(code: int, lines: list[str], options: argparse.Namespace) -> None:
    """Make sure that exactly the right wheel is in the destination, or say why there is none."""
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
    """Let the wheel be as it is."""
    say(why)
    options.dest_dir.mkdir(parents=True, exist_ok=True)
    shutil.copy2(str(options.wheel), str(options.dest_dir))


if __name__ == "__main__":
    sys.exit(main())
