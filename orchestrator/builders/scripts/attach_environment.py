"""Add a prepared environment to this Python's own; the Python of that environment runs this.

argv: the directory with the packages, as ``pip install --target`` leaves it. Nobody writes there.
This Python finds the packages behind its own, which whoever installs something comes first with.
Its own packages of the same names are removed before. pip and uv see what is there, because the
metadata is copied; `importlib.metadata` gets the original, beside which the files are. Runs on
Python 3.8 and newer, with its site-packages as they were made.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

LINES = "import site; site.addsitedir({!r})\nimport orchestrator_environment\n"
"""`site` executes lines that begin so; it also reads the .pth files of that directory."""

FINDER = '''\
"""Find the metadata of a prepared environment beside its files, and not their copies here."""

import os
import sys

PREPARED, NAMES = {prepared!r}, {names!r}
HERE = os.path.dirname(os.path.abspath(__file__))


class Finder:
    @staticmethod
    def find_spec(*_, **__):
        return None

    @staticmethod
    def find_distributions(context=None):
        from importlib.metadata import PathDistribution
        from pathlib import Path

        if context is not None and "path" in vars(context):
            return
        name = getattr(context, "name", None)
        wanted = None if name is None else normalised(name)
        for each in NAMES:
            # Whoever installs another version removes the copy.
            here = wanted is None or normalised(each.split("-")[0]) == wanted
            if here and os.path.isdir(os.path.join(HERE, each)):
                yield PathDistribution(Path(PREPARED, each))


def normalised(name):
    return name.lower().replace("-", "_").replace(".", "_")


sys.meta_path.insert(0, Finder)
'''
"""A module that `site` imports at every start, and so imports little itself."""

SCRIPT = "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n'''\n"
"""Shell and Python at once: the kernel takes neither blanks nor long paths after ``#!``."""

HEAD = re.compile(rb"#!/bin/sh\n'''exec' .*\n(?:' )?'''\n|#!.*python.*\n")


def main() -> int:
    """Add the environment."""
    prepared = Path(sys.argv[1])
    site, programs = (Path(sysconfig.get_path(name)) for name in ("purelib", "scripts"))
    for info in sorted(prepared.glob("*.dist-info")):
        for own in site.glob("*.dist-info"):
            if name_of(own) == name_of(info):
                remove(own)
        shutil.copytree(str(info), str(site / info.name), symlinks=True)
    if (prepared / "bin").is_dir():
        for program in sorted((prepared / "bin").iterdir()):
            lend(program, programs / program.name)
    for name in ("include", "lib", "share", "etc"):
        if (prepared / name).is_dir():
            link(prepared / name, Path(sys.prefix, name))
    names = sorted(info.name for info in prepared.glob("*.dist-info"))
    finder = FINDER.format(prepared=str(prepared), names=names)
    (site / "orchestrator_environment.py").write_text(finder, "utf-8")
    (site / "orchestrator_environment.pth").write_text(LINES.format(str(prepared)), "utf-8")
    return 0


def name_of(info: Path) -> str:
    """Return the normalised name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", info.name.split("-")[0]).lower()


def remove(info: Path) -> None:
    """Remove a distribution."""
    for file in metadata.PathDistribution(info).files or ():
        forget(Path(str(file.locate())))
    shutil.rmtree(str(info), ignore_errors=True)


def forget(file: Path) -> None:
    """Remove a file, its byte code, and directories that are empty then."""
    for each in (file, *file.parent.glob(f"__pycache__/{file.stem}.*.pyc")):
        if each.is_file() or each.is_symlink():
            each.unlink()
    for folder in (file.parent / "__pycache__", file.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


def lend(program: Path, place: Path) -> None:
    """Make a program of the environment callable, by this Python if it is written in Python."""
    if place.exists() or place.is_symlink():
        place.unlink()
    content = program.read_bytes() if program.stat().st_size < 1 << 16 else b""
    head = HEAD.match(content)
    if head is None:
        place.symlink_to(program)
        return
    start = SCRIPT.format(python=shlex.quote(sys.executable)).encode()
    place.write_bytes(start + content[head.end() :])
    place.chmod(0o755)


def link(source: Path, place: Path) -> None:
    """Link what is in a directory into another one, which may have some of it."""
    place.mkdir(parents=True, exist_ok=True)
    for each in sorted(source.iterdir()):
        here = place / each.name
        if each.is_dir() and here.is_dir():
            link(each, here)
        elif not here.exists():
            here.symlink_to(each)


if __name__ == "__main__":
    sys.exit(main())
