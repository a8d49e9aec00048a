"""Check this machine itself: room, memory, clock, a place to write, compilers, CUDA."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.doctor.check import Check, CheckLevel, failure, passed, warning
from orchestrator.errors import EnvironmentProblemError, Problem
from orchestrator.host import capacity
from orchestrator.host.process import capture
from orchestrator.models.target import CudaSource
from orchestrator.plan.devices import index_fault
from orchestrator.provision.cuda import host_toolkits, is_version
from orchestrator.provision.zig import HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.models.platforms import Arch

GIB = 1024**3

WANTED_DISK = 10 * GIB
"""Room for one manylinux image, a source tree and its wheels."""

NEEDED_DISK = GIB // 4
"""Less than that, and the first build fills it."""

WANTED_CACHE = GIB
WANTED_TMP = 2 * GIB
NEEDED_TMP = GIB // 16
"""Builds have a directory of their own for that in the work directory; the tools have not."""

WANTED_MEMORY = 4 * GIB
"""A C++ compiler with torch's headers takes about 3 GiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaths:
    """Where a run reads and writes.

    Attributes:
        work: where builds happen.
        output: where wheels go.
        cache: the user's cache directory.
    """

    work: Path
    output: Path
    cache: Path


def preflight(*, places: RunPaths, environ: Mapping[str, str], jobs: int) -> tuple[Check, ...]:
    """Check what can stop any build, in milliseconds; engine and images are asked afterwards.

    Returns:
        The warnings.

    Raises:
        EnvironmentProblemError: no build could succeed.
    """
    checks = (
        *disks(work=places.work, output=places.output, cache=places.cache, environ=environ),
        memory(jobs),
        clock(),
    )
    fatal = [each for each in checks if each.status is CheckLevel.FAIL]
    if fatal:
        raise EnvironmentProblemError(
            *(Problem(what=each.detail, where=each.name, hint=each.fix) for each in fatal)
        )
    return tuple(each for each in checks if each.status is CheckLevel.WARN)


def disks(
    *, work: Path, output: Path, cache: Path, environ: Mapping[str, str], engine: str = ""
) -> Iterator[Check]:
    """Check that there is room, and that we may write.

    `engine` is where the engine keeps images; empty if that is not known.
    """
    tmp = Path(environ.get("TMPDIR") or "/tmp")  # noqa: S108 - asked about, not written to
    move_cache = "make room, or set ORCHESTRATOR_CACHE_DIR to another disk"
    yield _disk("disk: work", work, WANTED_DISK, NEEDED_DISK, "make room, or choose --work-dir")
    yield _disk("disk: output", output, NEEDED_DISK, GIB // 64, "make room, or choose --output-dir")
    yield _disk("disk: cache", cache, WANTED_CACHE, NEEDED_DISK, move_cache)
    yield _disk("disk: tmp", tmp, WANTED_TMP, NEEDED_TMP, "make room, or set TMPDIR")
    if engine:
        place, fix = Path(engine), "make room: the engine's `system prune` removes what is unused"
        yield _disk("disk: engine", place, WANTED_DISK, NEEDED_DISK, fix, writable=False)


def _disk(  # noqa: PLR0913 - the columns of a table
    name: str, folder: Path, wanted: int, needed: int, fix: str, *, writable: bool = True
) -> Check:
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = 0
    try:
        free = shutil.disk_usage(place).free
        if writable:
            _write_into(place)
    except OSError as error:
        if error.errno != errno.ENOSPC or free >= needed:
            return failure(name, f"{place} cannot be written: {error.strerror}", fix)
    detail = f"{_gib(free)} free in {folder}"
    if free < needed:
        return failure(name, f"not enough space, {_gib(needed)} needed: {detail}", fix)
    return warning(name, detail, fix) if free < wanted else passed(name, detail)


def _write_into(folder: Path) -> None:
    """Write a file without a name: permissions do not show a full or read-only disk."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(b"x")


def host(arch: Arch, *, equipped: bool) -> Check:
    """Say what works on a host of an architecture; `equipped`: whether the toolchain is made."""
    whole, lacking = " and ".join(HOSTS), " and ".join(arch.facts.without_wheels)
    if arch in HOSTS:
        return passed("host", f"{arch}: everything works on {whole}")
    detail = f"{arch}: this host builds for {arch}, and for others in containers under QEMU"
    detail += f"; zig, cross builds, and native compilers under QEMU need {whole}"
    if equipped or not lacking:
        return passed("host", detail)
    fix = "`apt-get install g++ cargo cmake libffi-dev libssl-dev`: pip then builds them, once"
    return warning("host", f"{detail}; the index has no wheels of {lacking} for {arch}", fix)


def home(environ: Mapping[str, str]) -> Check:
    """Check the user's home: engines without root keep everything there."""
    place = Path(environ.get("HOME") or "/nonexistent")
    try:
        _write_into(place)
    except OSError as error:
        return warning(
            "home",
            f"{place} cannot be written: {error.strerror}",
            "set ORCHESTRATOR_CACHE_DIR, and HOME or XDG_DATA_HOME for an engine without root, "
            "to directories that can be written",
        )
    return passed("home", str(place))


def memory(jobs: int, root: Path = Path("/")) -> Check:
    """Check that there is memory for `jobs` targets at once; `root` holds ``proc`` and ``sys``."""
    has = capacity.memory(root)
    if sys.maxsize in {has.total, has.available}:
        return warning("memory", "unknown", "keep -j low")
    share = min(has.available, has.limit) // jobs
    less = f", at most {_gib(has.limit)} for us" if has.limit < has.total else ""
    count = f", {_gib(share)} for each of {jobs} jobs" if jobs > 1 else ""
    detail = f"{_gib(has.available)} of {_gib(has.total)} available{less}{count}"
    if share >= WANTED_MEMORY:
        return passed("memory", detail)
    return warning("memory", detail, "build fewer targets at once (-j) and set MAX_JOBS low")


def cpus() -> Check:
    """Say how many processors we may use."""
    return passed("CPUs", f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}")


def clock(now: float | None = None, witness: Path = Path(__file__)) -> Check:
    """Check that the time is plausible: otherwise no certificate is valid and make builds nothing.

    `witness` is a file that was written in the past.
    """
    seconds = time.time() if now is None else now
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
    day = 24 * 3600
    if seconds + day < witness.stat().st_mtime:
        detail = f"{shown} is before this program was installed"
        return warning("clock", detail, "set the clock (NTP)")
    return passed("clock", shown)


def compilers(env: Mapping[str, str]) -> Iterator[Check]:
    """Check the compilers of this host; containers bring their own."""
    for name, programs in (("C compiler", ("cc", "gcc")), ("C++ compiler", ("c++", "g++"))):
        answers = (capture([program, "--version"], env=env) for program in programs)
        found = next((answer for answer in answers if answer.ok), None)
        if found is None:
            detail = f"neither {' nor '.join(programs)} works"
            yield warning(name, detail, "`apt-get install g++`, or build in containers")
        else:
            yield passed(name, found.stdout.strip().partition("\n")[0])


def cuda(wanted: str, source: CudaSource | None, environ: Mapping[str, str]) -> Check:
    """Check where a version of CUDA can come from; an image is asked when its target is built."""
    name = f"CUDA {wanted}"
    if source is CudaSource.IMAGE:
        return passed(name, "comes from the image (build.cuda)")
    own = host_toolkits(environ, wanted) if source is not CudaSource.INDEX else ()
    found = next((each for each in own if is_version(each.version, wanted)), None)
    fault = index_fault(wanted)
    if found is not None:
        return passed(name, f"nvcc {found.version} of this host, {found.root}")
    if source is CudaSource.HOST:
        fix = "install it, and name its directory by CUDA_HOME"
        return failure(name, f"this host has no nvcc {wanted}", fix)
    if not fault:
        return passed(name, "the package index has it: wheels, fetched when they are needed")
    fix = "name an image that has it, or install it here and name its directory by CUDA_HOME"
    return warning(name, f"this host has no nvcc {wanted}, and {fault}", fix)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size >> 20} MiB"
