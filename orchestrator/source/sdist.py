"""Make a project's sdist from a staged tree, and check it (PEP 517, 625, 721).

This runs code of the project on this host, in its own isolated environment.
"""

from __future__ import annotations

import gzip
import os
import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.metadata import Metadata, parse_email
from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.errors import SourceError, clipped
from orchestrator.fsutil import read_beneath, replacing
from orchestrator.host import process
from orchestrator.host.process import PLAIN_UMASK
from orchestrator.source.declared import table_of
from orchestrator.source.locate import read_toml
from orchestrator.source.unpack import has_sparse, is_zip, read_top, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.provision.host import Host

SDIST = ".tar.gz"
"""What the name of an sdist ends with."""

LOG = "sdist.log"
"""The file, beside the directory that an sdist is made in, with what its making prints."""

TIMEOUT = 3600.0
"""Seconds that a build backend has for an sdist."""

FEW = 5
"""Files that a message names."""

_LARGEST = 1 << 20
"""Bytes of the largest PKG-INFO."""

_FILE = re.compile(r"([a-z0-9](?:[a-z0-9_]*[a-z0-9])?)-([^-]+)\.tar\.gz")

_CURES = {
    "setuptools": "`include {}` in MANIFEST.in",
    "hatchling": 'include = ["{}"] in [tool.hatch.build.targets.sdist]',
    "scikit_build_core": 'sdist.include = ["{}"] in [tool.scikit-build]',
    "maturin": 'include = [{{ path = "{}", format = "sdist" }}] in [tool.maturin]',
    "pdm": 'source-includes = ["{}"] in [tool.pdm.build]',
    "poetry": 'include = [{{ path = "{}", format = "sdist" }}] in [tool.poetry]',
    "flit_core": 'include = ["{}"] in [tool.flit.sdist]',
    "mesonpy": "`git add {}`, without export-ignore in .gitattributes",
}
"""Package of a build backend -> how it is told to put a file into an sdist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SdistName:
    """The parts of an sdist's file name (PEP 625); it has no platform.

    Attributes:
        name: of the project, normalised (PEP 503).
        version: of the release.
    """

    name: str
    version: Version
    platforms: tuple[str, ...] = ("any",)

    @classmethod
    def match(cls, filename: str) -> SdistName | None:
        """Return the parts; None if it is not named like a modern sdist."""
        match = _FILE.fullmatch(filename)
        try:
            return match and cls(name=canonicalize_name(match[1]), version=Version(match[2]))
        except ValueError:  # InvalidVersion, or more digits than Python makes a number of
            return None


def build_sdist(  # noqa: PLR0913 - keyword-only
    tree: Path,
    output: Path,
    *,
    argv: Sequence[str],
    env: Mapping[str, str],
    epoch: int,
    log: Callable[[str], object],
    cancel: Cancel,
) -> Path:
    """Build an sdist; everything in it has the same time, and no owner.

    Args:
        tree: the source; the backend may change it.
        output: the directory that gets the sdist.
        argv: what runs the backend.
        env: the environment of the build.
        epoch: SOURCE_DATE_EPOCH.
        log: gets what is printed.
        cancel: stops it.

    Raises:
        SourceError: the backend makes none.
    """
    lines = process.Tail()
    end = process.run(
        argv,
        env={"SOURCE_DATE_EPOCH": str(epoch), **env},
        cwd=tree,
        log=log,
        on_line=lines,
        timeout=TIMEOUT,
        cancel=cancel,
        umask=PLAIN_UMASK,
    )
    made = sorted(output.glob("*")) if output.is_dir() else []
    if end.returncode or len(made) != 1 or not made[0].name.endswith(".tar.gz"):
        names = ", ".join(each.name for each in made)
        why = (
            last_words(lines.text)
            if end.returncode
            else f"expected one .tar.gz, got: {names or 'nothing'}"
        )
        raise SourceError.of(
            f"the build backend makes no sdist: {clipped(why)}",
            where="project.sdist",
            hint=f"{output.parent / LOG} has its messages",
        )
    _level(made[0], epoch)
    return made[0]


def last_words(printed: str) -> str:
    """Return the line that says best why a build backend failed: its error, else its last one."""
    said = [line for line in printed.splitlines() if line and not line.startswith("exit ")]
    errors = [line for line in said if line.startswith("error: ")]
    return (errors or said or ["it says nothing"])[-1]


def _level(path: Path, epoch: int) -> None:
    """Write an archive again in which only names, contents and executable bits count."""
    try:
        with (
            replacing(path) as aside,
            tarfile.open(path) as old,
            aside.open("wb") as raw,
            gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member in sorted(old.getmembers(), key=lambda each: each.name):
                member.mtime, member.pax_headers = epoch, {}
                member.uid = member.gid = 0
                member.uname = member.gname = ""
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
                new.addfile(member, old.extractfile(member) if member.isfile() else None)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise SourceError.of(f"cannot be read: {error}", where=path.name) from None


def give_repository(tree: Path, host: Host) -> None:
    """Make a tree a repository of git with one commit: backends ask it which files there are."""
    who = {
        f"GIT_{a}_{b}": "orchestrator" for a in ("AUTHOR", "COMMITTER") for b in ("NAME", "EMAIL")
    }
    plain = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    for words in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "source"]):
        said = process.capture(["git", *words], env={**host.env, **who, **plain}, cwd=tree)
        said.check("git cannot make a repository for the sdist")


def sdist_problems(path: Path, *, filename: str = "", version: str = "") -> tuple[str, ...]:
    """Return what is wrong with an sdist: its name, its members, PKG-INFO, its licence files.

    Args:
        path: the file.
        filename: its name, if the file has another one still.
        version: that it must have; empty for any.
    """
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        scratch = Path(folder) / "tree"
        try:
            top = unpack(path, scratch)
            info = package_info(path)
        except SourceError as error:
            return (error.what,)
        if is_zip(path):
            return ("it is a zip file, and named like a tar file",)
        try:
            last = read_beneath(scratch, "PKG-INFO", limit=_LARGEST)
        except OSError:
            last = b""
        if info != last:
            return ("it has several PKG-INFO",)
        sparse = ("it has sparse members: PyPI refuses them",) if has_sparse(path) else ()
        return (*sparse, *_problems(filename or path.name, top, scratch, info, version))


def _problems(filename: str, top: str, tree: Path, info: bytes, version: str) -> Iterator[str]:
    name = SdistName.match(filename)
    if name is None:
        yield f"{filename} is not named as PEP 625 says: normalised_name-version.tar.gz"
    elif top != filename.removesuffix(SDIST):
        yield f"its directory is {top}, and not the name of the file"
    raw, _ = parse_email(info)
    if raw.get("metadata_version") in {"1.0", "1.1", "1.2", "2.1", "2.2", "2.3"}:
        raw.pop("license_files", None)  # older setuptools name them all the same
    try:
        found = Metadata.from_raw(raw)
    except ExceptionGroup as group:
        yield from (f"PKG-INFO: {error}" for error in group.exceptions)
        return
    except ValueError as error:  # more digits than Python makes a number of
        yield f"PKG-INFO: {error}"
        return
    if name is not None and (canonicalize_name(found.name), found.version) != (
        name.name,
        name.version,
    ):
        yield f"PKG-INFO says {found.name} {found.version}, and not what the file's name says"
    if version and found.version != Version(version):
        yield f"it has the version {found.version}, and the wheels have {version}"
    if not any(_is_file(tree / each) for each in ("pyproject.toml", "setup.py")):
        yield "it has neither pyproject.toml nor setup.py"
    lacking = [each for each in found.license_files or () if not _is_file(tree / each)]
    if lacking:
        yield f"PKG-INFO names licence files that it lacks: {', '.join(lacking[:FEW])}"


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 - Path's raises for a name that is too long


def package_info(path: Path) -> bytes:
    """Return PKG-INFO of an sdist; empty if it has none. Raises SourceError."""
    return read_top(path, ("PKG-INFO",), limit=_LARGEST).get("PKG-INFO", b"")


def cure(tree: Path, files: Iterable[str]) -> str:
    """Return how a project's build backend is told to put files into the sdist."""
    backend = str(
        table_of(read_toml(tree, "pyproject.toml"), "build-system").get("build-backend", "")
    )
    package = re.split(r"[.:]", backend)[0] or "setuptools"
    first = next(iter(files), "FILE")
    return _CURES.get(package, "name {} in the sdist's settings of the build backend").format(first)
