"""CUDA toolkits: this host's own, and what the package index has of them.

From CUDA 13.0 on, wheels of the index hold a whole compiler. They are unpacked into one directory,
which is a toolkit then, without the large libraries (cuBLAS and others): torch requires these, and
the build finds them in its environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.fsutil import copy_tree, write_whole
from orchestrator.host import process
from orchestrator.host.emulation import host_arch
from orchestrator.host.json_file import load_json
from orchestrator.host.transient_errors import may_pass
from orchestrator.models.platforms import Arch
from orchestrator.plan.devices import index_fault
from orchestrator.provision.cache_dir import CUDA, NVCC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.provision.cache_dir import CacheEntry
    from orchestrator.provision.host import Host

HOMES = ("CUDA_HOME", "CUDA_PATH")
"""Variables that name this host's toolkit."""

USUAL = ("/usr/local/cuda-{minor}", "/usr/local/cuda")
"""Where this host may have a toolkit if no variable names one."""

PROGRAMS = ("bin/cudafe++", "bin/fatbinary", "bin/nvlink", "bin/ptxas", "nvvm/bin/cicc")
"""What nvcc starts, in a toolkit."""

PROFILE = "nvcc.profile"

CROSSES_FROM = Arch.X86_64
"""The architecture whose nvcc also compiles for another one."""

_SAME = ("nvidia-cuda-nvcc", "nvidia-cuda-crt", "nvidia-nvvm")
"""Wheels that have one version for all."""

_BESIDE = "cuda-toolkit[cccl,cudart,culibos,profiler]=={minor}.*"
"""NVIDIA's list of what belongs to a CUDA; torch requires the same."""

_DAY = 24 * 3600.0
"""Seconds for which it is remembered which version is the newest one."""

_NVCC = re.compile(rb"cuda_(\d+\.\d+)\.")

_TIMEOUT, _FETCH_TIMEOUT = 120.0, 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostToolkit:
    """A toolkit of this host.

    Attributes:
        root: its directory, without links.
        version: of its nvcc: ``13.0.88``.
        build: what each of its programs says that it was built from.
    """

    root: Path
    version: str
    build: str


def ask_nvcc(root: Path) -> HostToolkit | None:
    """Ask the nvcc of a toolkit which one it is; None if it does not say."""
    nvcc = root / "bin/nvcc"
    if not nvcc.is_file():
        return None
    said = process.capture([str(nvcc), "--version"], timeout=_TIMEOUT)
    version = re.search(r", V(\d+\.\d+\.\d+)$", said.stdout, re.MULTILINE)
    build = re.search(r"^Build (\w+_\S+)$", said.stdout, re.MULTILINE)
    return HostToolkit(root=root, version=version[1], build=build[1]) if version and build else None


def host_toolkits(environ: Mapping[str, str], minor: str = "") -> tuple[HostToolkit, ...]:
    """Return this host's own toolkits, of those that are whole; the preferred ones first.

    Args:
        environ: may name a toolkit, or have one on PATH.
        minor: a version of CUDA, whose usual directories are looked into as well.
    """
    roots = dict.fromkeys(root.resolve() for root in _roots(environ, minor))
    found = filter(None, map(ask_nvcc, roots))
    return tuple(toolkit for toolkit in found if not missing_part(toolkit))


def _roots(environ: Mapping[str, str], minor: str) -> Iterator[Path]:
    yield from (Path(environ[name]) for name in HOMES if environ.get(name))
    yield from (Path(place.format(minor=minor)) for place in USUAL)
    on_path = shutil.which("nvcc", path=environ.get("PATH", ""))
    if on_path:
        yield Path(on_path).resolve().parents[1]


def toolkit_digests(environ: Mapping[str, str], minor: str, cache_dir: Path) -> tuple[str, ...]:
    """Return digests of the nvccs of this host that are of a CUDA; starts nothing."""
    programs = dict.fromkeys((root / "bin/nvcc").resolve() for root in _roots(environ, minor))
    found = (_read_nvcc(file, cache_dir) for file in programs if file.is_file())
    return tuple(digest for digest, version in found if is_version(version, minor))


@cache  # each version of CUDA asks about the same few programs
def _read_nvcc(program: Path, cache_dir: Path) -> tuple[str, str]:
    """Return the digest of a nvcc, and the version of CUDA that it is of; empty if it has none.

    It has tens of megabytes, so the answer is remembered as long as the file does not change.
    """
    try:
        with program.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as data:
            seen = os.fstat(stream.fileno())
            sign = f"{program} {seen.st_dev} {seen.st_ino} {seen.st_size} {seen.st_ctime_ns}"
            memory = cache_dir / "nvccs" / hashlib.sha256(sign.encode()).hexdigest()
            with suppress(ConfigError, ValueError):
                digest, version = load_json(list[str], memory)
                return digest, version
            match = _NVCC.search(data)
            answer = hashlib.sha256(data).hexdigest(), match[1].decode() if match else ""
            with suppress(OSError):
                write_whole(memory, json.dumps(answer), durable=False)
            return answer
    except ValueError:  # it is empty
        return "", ""


def missing_part(toolkit: HostToolkit) -> str:
    """Return what a toolkit is missing; its packages may be of two versions."""
    root = toolkit.root
    missing = [each for each in (*PROGRAMS, f"bin/{PROFILE}") if not (root / each).is_file()]
    if missing:
        return ", ".join(missing)
    same = toolkit.build.encode() in (root / "nvvm/bin/cicc").read_bytes()
    return "" if same else "a cicc of the same build"


def is_version(version: str, wanted: str) -> bool:
    """Whether a version of nvcc is a wanted one, which may be shorter: ``13.0``, ``13``."""
    return f"{version}.".startswith(f"{wanted}.")


def wheel_requirements(version: str) -> tuple[str, ...]:
    """Return the requirements that make a toolkit with a version of nvcc: ``13.0.88``."""
    minor = version.rpartition(".")[0]
    return (*(f"{name}=={version}" for name in _SAME), _BESIDE.format(minor=minor))


def complete(root: Path) -> None:
    """Make a toolkit of unpacked wheels.

    They have libraries by the names that programs load, and not those that linkers look for.
    """
    for library in sorted((root / "lib").glob("*.so.*")):
        link = library.with_name(f"{library.name.partition('.so.')[0]}.so")
        if not link.exists():
            link.symlink_to(library.name)
    (root / "lib64").symlink_to("lib")
    for program in (root / "bin/nvcc", *(root / each for each in PROGRAMS)):
        program.chmod(0o755)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaIndex:
    """What the package index has of CUDA."""

    host: Host

    def newest(self, wanted: str) -> str:
        """Return the newest version of nvcc of a CUDA (``13.0``, ``13``); asked once a day.

        Raises:
            EnvironmentProblemError: it has none, or cannot be asked.
        """
        known = NVCC.place(self.host.cache_dir) / f"newest-{wanted}"
        if known.is_file() and time.time() - known.stat().st_mtime < _DAY:
            return known.read_text("utf-8")
        with TemporaryDirectory(prefix="orchestrator-") as scratch:
            asked = Path(scratch, "requirements.in")
            asked.write_text(f"{_SAME[0]}=={wanted}.*\n", "utf-8")
            options = ("--quiet", "--no-deps", "--no-header", "--no-annotate", str(asked))
            try:
                said = self._uv("compile", *options, wanted=wanted, scratch=Path(scratch))
            except EnvironmentProblemError:
                if known.is_file():
                    return known.read_text("utf-8")
                raise
        version = said.strip().rpartition("==")[2]
        known.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known, version, durable=False)
        return version

    def toolkit(self, version: str, arch: Arch, say: Callable[[str], object]) -> CacheEntry:
        """Return a toolkit of an architecture; fetch it if it is not in the cache yet.

        Raises:
            EnvironmentProblemError: the index does not have all of it.
        """

        def make(made: Path) -> None:
            say(f"fetching CUDA's nvcc {version} for {arch}, some 250 MB (once, into the cache)")
            unpacked = made.parent / "unpacked"
            options = (f"--target={unpacked}", f"--python-platform={arch}-manylinux_2_28")
            lines = wheel_requirements(version)
            self._uv("install", *options, *lines, wanted=version, scratch=made.parent)
            (root,) = unpacked.glob("nvidia/cu*")
            complete(root)
            for part in root.iterdir():
                part.rename(made / part.name)

        return CUDA.provide(self.host.cache_dir, f"{version}-{arch}", make, say=say)

    def cross_toolkit(self, version: str, arch: Arch, say: Callable[[str], object]) -> CacheEntry:
        """Return a toolkit with programs for this host, and libraries of another architecture.

        Raises:
            EnvironmentProblemError: this host's nvcc cannot, or the index does not have all of it.
        """
        here = host_arch()
        if here is not CROSSES_FROM:
            raise EnvironmentProblemError.of(f"nvcc on {here} compiles for no other architecture")
        own, foreign = (self.toolkit(version, each, say) for each in (here, arch))

        def make(made: Path) -> None:
            for root, parts in ((own, ("bin", "nvvm", "include")), (foreign, ("lib",))):
                for part in parts:
                    copy_tree(root.folder / part, made / part)
            (made / "lib64").symlink_to("lib")

        return CUDA.provide(self.host.cache_dir, f"{version}-{arch}-on-{here}", make, say=say)

    def programs(self, version: str, scratch: Path) -> Path:
        """Fetch the programs of a toolkit of this host's architecture; return its root."""
        unpacked = scratch / "unpacked"
        pins = (f"{name}=={version}" for name in (_SAME[0], _SAME[2]))
        options = ("--no-deps", f"--target={unpacked}")
        self._uv("install", *options, *pins, wanted=version, scratch=scratch)
        for nvcc in unpacked.glob("nvidia/*/bin/nvcc"):
            return nvcc.parents[1]
        raise EnvironmentProblemError.of(f"no wheel of {version} has an nvcc")

    def _uv(self, command: str, *arguments: str, wanted: str, scratch: Path) -> str:
        """Run ``uv pip``; return what it prints."""
        if fault := index_fault(wanted):
            raise EnvironmentProblemError.of(fault)
        host = self.host
        where = ["--no-index"] if host.wheels is not None else []
        python = f"--python={host.toolchain.python}"
        said = process.capture(
            [
                *(str(host.toolchain.bin / "uv"), "pip", command, "--only-binary=:all:", python),
                *where,
                *arguments,
            ],
            env=host.uv_env(scratch / "uv"),
            timeout=_FETCH_TIMEOUT,
        )
        if said.ok:
            return said.stdout
        why = said.last_line.removeprefix("cause: ")
        raise EnvironmentProblemError.of(
            f"nvcc {wanted} cannot be fetched: {why}",
            transient=may_pass(said.stderr.splitlines()),
        )
