"""What this machine can and cannot build, and the command that mends what is wrong."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.host import emulation, engine, interpreters, toolchain
from orchestrator.host.interpreters import Interpreter
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.host.process import capture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.errors import Problem
    from orchestrator.models import Arch

GIB = 1024**3

WANTED_DISK = 10 * GIB
"""Room for one manylinux image, a source tree and its wheels."""

NEEDED_DISK = 1 * GIB
WANTED_TMP = 2 * GIB
NEEDED_TMP = GIB // 4
WANTED_MEMORY = 4 * GIB
"""A C++ compiler with torch's headers takes about 3 GiB."""


class Level(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what (``podman``, ``emulation aarch64``, ``python cp312``).
        status: ok, warn (works, or may not be needed) or fail (something asked for cannot work).
        detail: what was found.
        fix: what to do about it; empty when there is nothing to do.
    """

    name: str
    status: Level
    detail: str
    fix: str = ""


def examine(  # noqa: PLR0913 - what is asked for, all keywords
    *,
    arches: Sequence[Arch],
    pythons: Sequence[str],
    work_dir: Path,
    cache_dir: Path,
    environ: Mapping[str, str],
    preference: engine.Preference = "auto",
) -> tuple[Check, ...]:
    """Look at everything builds need; takes seconds and changes nothing.

    Args:
        arches: architectures that are to be built.
        pythons: Python tags that are to be built (``cp312``).
        work_dir: where builds happen.
        cache_dir: the user's cache directory.
        environ: usually `os.environ`.
        preference: the engine the matrix asks for.
    """
    network = HostNetwork.detect(environ)
    env = base_env(environ) | network.child_env()
    return (
        *_engines(env, preference),
        *_emulations(arches),
        *_interpreters(pythons, environ, cache_dir),
        *_compilers(env),
        _toolchain(cache_dir),
        _ca_bundle(network),
        *_disks(work_dir, cache_dir, environ),
        _memory(),
        _cpus(),
    )


def _engines(env: Mapping[str, str], preference: engine.Preference) -> Iterator[Check]:
    """One check an engine; only without any usable one, or the wanted one, is that a failure."""
    names = [name for name in engine.EngineName if preference in {"auto", name}]
    statuses = [engine.probe(name, env=env) for name in names]
    missing = Level.WARN if any(status.usable for status in statuses) else Level.FAIL
    for status in statuses:
        if status.problem is None:
            rootless = ", rootless" if status.rootless else ""
            yield Check(name=status.name, status=Level.OK, detail=f"{status.version}{rootless}")
        else:
            yield _from_problem(status.name, missing, status.problem)


def _emulations(arches: Sequence[Arch]) -> Iterator[Check]:
    for arch in dict.fromkeys(arches):
        name = f"emulation {arch}"
        found = emulation.examine(arch)
        if found.problem is not None:
            yield _from_problem(name, Level.FAIL, found.problem)
        else:
            yield Check(name=name, status=Level.OK, detail=found.detail)
        for each in found.warnings:
            yield _from_problem(name, Level.WARN, each)


def _interpreters(
    pythons: Sequence[str], environ: Mapping[str, str], cache_dir: Path
) -> Iterator[Check]:
    """Only the direct backend needs them: whatever lacks is a warning."""
    for python in dict.fromkeys(pythons):
        name = f"python {python}"
        found = interpreters.find(python, environ=environ, cache_dir=cache_dir)
        if not isinstance(found, Interpreter):
            yield _from_problem(name, Level.WARN, found)
            continue
        lacks = [
            *([] if found.has_headers else ["headers (fetched when needed)"]),
            *([] if found.has_venv else ["venv or ensurepip"]),
        ]
        detail = f"{found.version} at {found.path}"
        fix = f"`apt-get install python{found.tag.version}-dev python{found.tag.version}-venv`"
        yield Check(
            name=name,
            status=Level.WARN if lacks else Level.OK,
            detail=f"{detail}, without {' and '.join(lacks)}" if lacks else detail,
            fix=fix if lacks else "",
        )


def _compilers(env: Mapping[str, str]) -> Iterator[Check]:
    """Containers bring their own; only builds on the host need these."""
    for name, programs in (("C compiler", ("cc", "gcc")), ("C++ compiler", ("c++", "g++"))):
        answers = (capture([program, "--version"], env=env) for program in programs)
        found = next((answer for answer in answers if answer.ok), None)
        if found is None:
            yield Check(
                name=name,
                status=Level.WARN,
                detail=f"neither {' nor '.join(programs)} works",
                fix="`apt-get install g++`, or build in containers",
            )
        else:
            first = found.stdout.strip().partition("\n")[0]
            yield Check(name=name, status=Level.OK, detail=first)


def _toolchain(cache_dir: Path) -> Check:
    found = toolchain.existing(cache_dir)
    if found is not None:
        return Check(name="toolchain", status=Level.OK, detail=str(found.root))
    return Check(
        name="toolchain",
        status=Level.WARN,
        detail="not made yet (the first build does it)",
        fix="nothing: the next build makes it",
    )


def _ca_bundle(network: HostNetwork) -> Check:
    if network.ca_bundle is not None:
        return Check(name="CA bundle", status=Level.OK, detail=str(network.ca_bundle))
    return Check(
        name="CA bundle",
        status=Level.WARN,
        detail="none found: only the certificate authorities that tools bring along are trusted",
        fix="`apt-get install ca-certificates`, or set SSL_CERT_FILE",
    )


def _disks(work_dir: Path, cache_dir: Path, environ: Mapping[str, str]) -> Iterator[Check]:
    tmp = Path(environ.get("TMPDIR") or "/tmp")  # noqa: S108 - asked about, not written to
    for name, folder, wanted, needed, variable in (
        ("disk: work", work_dir, WANTED_DISK, NEEDED_DISK, ""),
        ("disk: cache", cache_dir, NEEDED_DISK, NEEDED_DISK // 4, "ORCHESTRATOR_CACHE_DIR"),
        ("disk: tmp", tmp, WANTED_TMP, NEEDED_TMP, "TMPDIR"),
    ):
        place = _existing_parent(folder)
        try:
            free = shutil.disk_usage(place).free
        except OSError as error:
            yield Check(name=name, status=Level.FAIL, detail=f"{place}: {error.strerror}")
            continue
        status = Level.FAIL if free < needed else Level.WARN if free < wanted else Level.OK
        writable = os.access(place, os.W_OK)
        fix = f"make room, or set {variable} to another disk" if variable else "make room"
        yield Check(
            name=name,
            status=status if writable else Level.FAIL,
            detail=f"{_gib(free)} free in {folder}" if writable else f"{place} cannot be written",
            fix="" if status is Level.OK and writable else fix,
        )


def _memory(meminfo: Path = Path("/proc/meminfo")) -> Check:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
        sizes = dict(_meminfo(lines))
        total, available = sizes["MemTotal"], sizes["MemAvailable"]
    except (OSError, KeyError, ValueError):
        return Check(name="memory", status=Level.WARN, detail="unknown")
    enough = available >= WANTED_MEMORY
    return Check(
        name="memory",
        status=Level.OK if enough else Level.WARN,
        detail=f"{_gib(available)} of {_gib(total)} available",
        fix="" if enough else "build fewer targets at once (-j) and set MAX_JOBS low",
    )


def _meminfo(lines: Iterable[str]) -> Iterator[tuple[str, int]]:
    for line in lines:
        name, _, rest = line.partition(":")
        yield name, int(rest.split()[0]) * 1024


def _cpus() -> Check:
    return Check(
        name="CPUs", status=Level.OK, detail=f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}"
    )


def _from_problem(name: str, status: Level, problem: Problem) -> Check:
    return Check(name=name, status=status, detail=problem.what, fix=problem.hint)


def _existing_parent(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
