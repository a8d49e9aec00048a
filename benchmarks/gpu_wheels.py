"""Whether our reader of GPU code agrees with NVIDIA's cuobjdump, on real wheels.

    python benchmarks/gpu_wheels.py WHEEL... [--cuobjdump=PATH]

For each file of each wheel it compares how many cubins and how much PTX there is for each
architecture, with what cuobjdump says. Exits with 1 where the two disagree.
cuobjdump is on the index: ``nvidia-cuda-cuobjdump``; without --cuobjdump pip fetches it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from orchestrator.models.wheel import DeviceKind
from orchestrator.wheel import open_wheel
from orchestrator.wheel.scan import scan

_LISTED = re.compile(r"^Fatbin (elf|ptx) code:\n=+\narch = (sm_\w+)$", re.MULTILINE)
_KINDS = {DeviceKind.SASS: "elf", DeviceKind.PTX: "ptx"}


def fetched(folder: Path) -> Path:
    """Return cuobjdump from the index."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, "nvidia-cuda-cuobjdump"], check=True)
    return next(folder.rglob("bin/cuobjdump"))


def theirs(cuobjdump: Path, file: Path) -> tuple[Counter[tuple[str, str]], str]:
    """Return kind and architecture of what cuobjdump finds in a file, and why it gives up on it."""
    # --list-elf leaves out the f of sm_100f.
    done = subprocess.run([str(cuobjdump), str(file)], capture_output=True, text=True, check=False)
    found = Counter((kind, arch) for kind, arch in _LISTED.findall(done.stdout))
    return found, done.stderr.strip() if done.returncode else ""


def compare(wheel: Path, cuobjdump: Path, scratch: Path) -> tuple[int, list[str]]:
    """Return how many files agree, and a line on each that does not."""
    with open_wheel(wheel) as archive:
        devices = scan(archive).devices
    lines, agree = [], 0
    with zipfile.ZipFile(wheel) as archive:
        # What has no code by our reading has none by cuobjdump's either.
        names = [each.filename for each in archive.infolist() if is_candidate(archive, each)]
        for name in names:
            entries = devices[name].entries if name in devices else ()
            ours = Counter(
                (_KINDS[each.kind], each.arch.replace("compute_", "sm_"))
                for each in entries
                if each.kind in _KINDS
            )
            file = scratch / f"file{Path(name).suffix}"
            file.write_bytes(archive.read(name))
            others, why = theirs(cuobjdump, file)
            if ours == others:
                agree += 1
            else:
                differs = f"ours {dict(ours - others)}, theirs {dict(others - ours)}"
                lines.append(f"  {name}: {differs} {why}".rstrip())
    return agree, lines


def is_candidate(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bool:
    """Whether cuobjdump may find something in a member."""
    if member.filename.endswith((".cubin", ".fatbin")):
        return True
    with archive.open(member) as file:
        return file.read(4) == b"\x7fELF"


def main() -> int:
    """Compare all wheels, and print what comes out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path, metavar="WHEEL")
    parser.add_argument("--cuobjdump", type=Path)
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cuobjdump = given.cuobjdump or fetched(scratch / "cuobjdump")
        for wheel in given.wheels:
            agree, lines = compare(wheel, cuobjdump, scratch)
            print(f"{wheel.name}: {agree} files agree, {len(lines)} do not", flush=True)
            print(*lines, sep="\n", end="\n" if lines else "")
            failed = failed or bool(lines)
    return failed


if __name__ == "__main__":
    sys.exit(main())
