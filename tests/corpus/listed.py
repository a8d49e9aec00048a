"""The wheels of the corpus: which there are, and how they are fetched."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from packaging.utils import parse_wheel_filename

HERE = Path(__file__).parent


class Listed(NamedTuple):
    """A row of a list.

    Attributes:
        ci: whether it is one of those that are always tried.
        why: what it is in the list for.
        pieces: pieces of code for NVIDIA's GPUs in it, in `gpu_wheels.csv`.
        given_up: files that cuobjdump gives up on, likewise.
    """

    name: str
    sha256: str
    bytes: str
    ci: str
    why: str
    pieces: str = ""
    given_up: str = ""


def listed(name: str) -> list[Listed]:
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return [Listed(**row) for row in csv.DictReader(file)]


def fetch(wheel: Listed, cache: Path, scratch: Path) -> None:
    """Have pip fetch exactly this file: it takes the one whose hash is asked for."""
    name, version, _, tags = parse_wheel_filename(wheel.name)
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{name}=={version} --hash=sha256:{wheel.sha256}\n")
    interpreter = max(tag.interpreter for tag in tags)
    abis = {tag.abi for tag in tags}
    # Which Python takes the file: for the stable ABI and for none, a recent one.
    exact = not abis & {"abi3", "none"}
    version_of_python = interpreter[2:] if exact else "312"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
    command += ["--implementation", interpreter[:2] if exact else "cp"]
    command += ["--python-version", version_of_python, "-d", str(cache)]
    for abi in sorted(abis):
        command += ["--abi", abi]
    for platform in sorted({tag.platform for tag in tags}):
        command += ["--platform", platform]
    subprocess.run([*command, "--require-hashes", "-r", str(requirements)], check=True)
