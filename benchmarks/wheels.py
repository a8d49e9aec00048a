# ruff: noqa: PLC0415 - each process imports what it measures, before its clock runs
"""How fast wheels are inspected and retagged, against auditwheel, wheel, and two lower bounds.

    python benchmarks/wheels.py CACHE [REQUIREMENT...]

Wheels are fetched with pip into CACHE, once. Every measurement is a process of its own, which
imports first and measures then; the file has been read before, so that it comes from memory.
All sides run in the same run, in turns; the first table says how many times faster one is, and
whether the goals are met, the second has every measurement. Both are ready for docs/benchmarks.md.

The lower bounds know nothing of wheels and check nothing. To detect, they find the ELF files by
their first four bytes and inflate each of them once up to the end of its dynamic section; to retag,
they copy all compressed members as they are, and write WHEEL, RECORD and the directory anew. One
inflates with zlib, as everything does that has only Python; the other with what we use (isal, where
it is installed), which is about twice as hard to come near to. They run in one thread, we in
several: "in CPU" compares the processor time of all of them.

Needs auditwheel and wheel (the `bench` dependency group).
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib.metadata
import importlib.util
import io
import json
import os
import platform
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from orchestrator.wheel import Policies

REQUIREMENTS = (
    "numpy",
    "scipy",
    "pyarrow",
    "torch==2.13.0+cpu",
    "torch",
    "nvidia-cublas-cu12==12.8.4.1",
)
OURS = ("detect", "retag", "both")
BOUND = ("zlib-detect", "zlib-both", "same-detect", "same-both", "bound-retag")
THEIRS = ("show", "tags")
MIB = 1 << 20

FASTER = 20
"""Times that ours is to be faster than show + tags, on wheels of LARGE bytes or more."""
LARGE = 30_000_000
NEAR = 1.3
"""Times a bound that ours is to take at most."""
LEAST = 128 * MIB
"""Bytes of memory that ours is to take at most."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One measurement: seconds, seconds of processor time, and bytes."""

    wall: float
    cpu: float
    memory: int
    disk: int


# What is measured. Each function imports what it needs and returns what is to be timed.


def _policies() -> Policies:
    import auditwheel.policy  # type: ignore[import-untyped]

    from orchestrator.wheel import Policies

    folder = Path(auditwheel.policy.__file__).parent
    return Policies.from_json(
        (folder / "manylinux-policy.json").read_text(encoding="utf-8"),
        (folder / "musllinux-policy.json").read_text(encoding="utf-8"),
    )


def detect(wheel: Path, _: Path) -> Callable[[], object]:
    """Inspect: tag, reasons, SHA-256 of the file."""
    from orchestrator.wheel import report
    from orchestrator.wheel.inflate import fastest

    fastest()
    policies = _policies()
    return lambda: report(wheel, policies)


def retag(wheel: Path, out: Path) -> Callable[[], object]:
    """Write a copy with another build tag."""
    from orchestrator.wheel import retag as write
    from orchestrator.wheel.inflate import fastest

    fastest()
    return lambda: write(wheel, dest_dir=out, build_tag="7")


def both(wheel: Path, out: Path) -> Callable[[], object]:
    """Inspect, then write the copy."""
    steps = (detect(wheel, out), retag(wheel, out))
    return lambda: [step() for step in steps]


def zlib_detect(wheel: Path, _: Path) -> Callable[[], object]:
    """Inflate every ELF member once, with zlib."""
    return lambda: inflate_elves(wheel, zlib)


def zlib_both(wheel: Path, out: Path) -> Callable[[], object]:
    """Inflate every ELF member once with zlib, and copy the rest raw."""
    return lambda: inflate_and_copy(wheel, zlib, out)


def same_detect(wheel: Path, _: Path) -> Callable[[], object]:
    """Inflate every ELF member once, with the library that we use."""
    from orchestrator.wheel.inflate import fastest

    engine = fastest()
    return lambda: inflate_elves(wheel, engine)


def same_both(wheel: Path, out: Path) -> Callable[[], object]:
    """Inflate every ELF member once with the library that we use, and copy the rest raw."""
    from orchestrator.wheel.inflate import fastest

    engine = fastest()
    return lambda: inflate_and_copy(wheel, engine, out)


def bound_retag(wheel: Path, out: Path) -> Callable[[], object]:
    """Copy raw."""
    return lambda: copy_raw(wheel, out)


def inflate_and_copy(wheel: Path, engine: ModuleType, out: Path) -> None:
    """Inflate every ELF member once, and copy the rest raw."""
    inflate_elves(wheel, engine)
    copy_raw(wheel, out)


def inflate_elves(wheel: Path, engine: ModuleType) -> None:
    """Find the ELF members, and inflate each up to the end of its dynamic section."""
    with zipfile.ZipFile(wheel) as archive, wheel.open("rb", buffering=0) as file:
        for entry in archive.infolist():
            header = os.pread(file.fileno(), 30, entry.header_offset)
            at = entry.header_offset + 30 + sum(struct.unpack_from("<HH", header, 26))
            end = at + entry.compress_size
            stored = entry.compress_type == zipfile.ZIP_STORED
            first = os.pread(file.fileno(), min(128, entry.compress_size), at)
            if not stored:
                first = engine.decompressobj(-15).decompress(first, 4)
            if not first.startswith(b"\x7fELF"):
                continue
            inflater = engine.decompressobj(-15)
            done, wanted = 0, 1
            while at < end and done < wanted:
                data = os.pread(file.fileno(), min(1 << 18, end - at), at)
                at += len(data)
                while data and done < wanted:
                    piece = data if stored else inflater.decompress(data, 1 << 20)
                    wanted = wanted if done else end_of_dynamic(piece)
                    done += len(piece)
                    data = b"" if stored else inflater.unconsumed_tail


def end_of_dynamic(head: bytes) -> int:
    """Return where the dynamic section of an ELF file ends; 0 where it has none."""
    order, wide = "<" if head[5] == 1 else ">", head[4] == 2  # noqa: PLR2004 - ELFCLASS64
    (table,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)
    size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
    for at in range(table, table + size * count, size):
        row = struct.unpack_from(order + ("IIQQQQ" if wide else "I4xIIII"), head, at)
        if row[0] == 2:  # noqa: PLR2004 - PT_DYNAMIC
            return int((row[2] if wide else row[1]) + row[-1])
    return 0


def copy_raw(wheel: Path, out: Path) -> None:
    """Copy all members as they are but WHEEL and RECORD, to where the copy survives a crash."""
    out.mkdir()
    with (
        zipfile.ZipFile(wheel) as old,
        wheel.open("rb", buffering=0) as source,
        (out / wheel.name).open("w+b") as file,
    ):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
            entries = sorted(old.infolist(), key=lambda entry: entry.header_offset)
            ends = [*(entry.header_offset for entry in entries[1:]), old.start_dir]
            anew = [e for e in entries if e.filename.endswith((".dist-info/WHEEL", "/RECORD"))]
            begin = 0
            shift = 0
            for entry, end in zip(entries, ends, strict=True):
                offset = entry.header_offset
                if entry in anew:
                    copy_range(source.fileno(), file.fileno(), begin, offset)
                    begin, shift = end, shift + end - offset
                else:
                    entry.header_offset = offset - shift
                    new.filelist.append(entry)
            texts = {entry.filename: old.read(entry.filename) for entry in anew}
            copy_range(source.fileno(), file.fileno(), begin, old.start_dir)
            new.start_dir = file.seek(0, os.SEEK_END)
            for name, text in texts.items():
                new.writestr(name, text)
        file.flush()
        os.fsync(file.fileno())


def copy_range(source: int, target: int, begin: int, end: int) -> None:
    """Append bytes of one file to another, in the kernel."""
    while begin < end:
        begin += os.copy_file_range(source, target, end - begin, begin)


def show(wheel: Path, _: Path) -> Callable[[], object]:
    """``auditwheel show --json``."""
    from auditwheel.main import main  # type: ignore[import-untyped]
    from auditwheel.wheel_abi import analyze_wheel_abi  # type: ignore[import-untyped]

    assert analyze_wheel_abi  # noqa: S101 - imported before the clock runs
    sys.argv = ["auditwheel", "show", "--json", str(wheel)]
    run: Callable[[], object] = main
    return run


def tags(wheel: Path, out: Path) -> Callable[[], object]:
    """``wheel tags --build 7``, which writes beside its source: a link in a folder of its own."""
    from wheel._commands import main
    from wheel._commands.tags import tags as imported

    assert imported  # noqa: S101 - imported before the clock runs
    out.mkdir()
    (out / wheel.name).symlink_to(wheel)
    sys.argv = ["wheel", "tags", "--build", "7", str(out / wheel.name)]
    run: Callable[[], object] = main
    return run


ACTIONS: dict[str, Callable[[Path, Path], Callable[[], object]]] = {
    "detect": detect,
    "retag": retag,
    "both": both,
    "zlib-detect": zlib_detect,
    "zlib-both": zlib_both,
    "same-detect": same_detect,
    "same-both": same_both,
    "bound-retag": bound_retag,
    "show": show,
    "tags": tags,
}


def child(action: str, wheel: Path, out: Path) -> None:
    """Run one action and print what it cost."""
    run = ACTIONS[action](wheel, out)
    said = io.StringIO()
    wall, cpu = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory}))


# The parent.


def measure(action: str, wheel: Path, folder: Path) -> Sample:
    """Run one action in a process of its own, with a folder of its own for temporary files."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        temporary = Path(scratch, "tmp")
        temporary.mkdir()
        command = [sys.executable, __file__, "--child", action, str(wheel), f"{scratch}/out"]
        with largest(temporary) as disk:
            done = subprocess.run(
                command,
                env={**os.environ, "TMPDIR": str(temporary)},
                check=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        figures = json.loads(done.stdout.splitlines()[-1])
        return Sample(**figures, disk=max(disk))


@contextlib.contextmanager
def largest(folder: Path) -> Iterator[list[int]]:
    """Collect how large a folder is, twice a second."""
    sizes = [0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            sizes.append(sum(_sizes(folder)))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        stop.set()
        thread.join()


def _sizes(folder: Path) -> Iterator[int]:
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                yield Path(root, name).lstat().st_size


def fetch(cache: Path, requirement: str) -> Path | None:
    """Return the wheel of a requirement; None when the index has none for this machine."""
    marker = cache / f"{requirement.replace('=', '-')}.json"
    if marker.exists():
        return cache / str(json.loads(marker.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
        done = subprocess.run([*command, "--only-binary=:all:", requirement], check=False)
        found = next(Path(folder).glob("*.whl"), None)
        if done.returncode or found is None:
            return None
        found.replace(cache / found.name)
        marker.write_text(json.dumps(found.name), encoding="utf-8")
        return cache / found.name


def best(samples: Sequence[Sample]) -> Sample:
    """Return the fastest of some runs, with the largest memory and disk of all."""
    return Sample(
        wall=min(sample.wall for sample in samples),
        cpu=min(sample.cpu for sample in samples),
        memory=max(sample.memory for sample in samples),
        disk=max(sample.disk for sample in samples),
    )


def benchmark(wheel: Path, cache: Path, times: int) -> dict[str, Sample]:
    """Measure everything about one wheel."""
    with wheel.open("rb") as file:
        while file.read(MIB):
            pass
    found: dict[str, list[Sample]] = {}
    # In turns: whatever else the machine does meets both sides.
    for turn in range(times):
        for action in (*OURS, *BOUND, *(THEIRS if turn == 0 else ())):
            found.setdefault(action, []).append(measure(action, wheel, cache))
    return {action: best(samples) for action, samples in found.items()}


def rows(wheel: Path, found: dict[str, Sample]) -> Iterator[str]:
    """Iterate over the lines of the second table."""
    title = f"{label(wheel)}, {wheel.stat().st_size >> 20} MiB"
    for action, sample in found.items():
        yield (
            f"| {title} | {action} | {sample.wall:.2f} | {sample.cpu:.2f} "
            f"| {sample.memory / MIB:.0f} | {sample.disk / MIB:.0f} |"
        )
        title = ""


def label(wheel: Path) -> str:
    """Return a wheel's project and version."""
    return " ".join(wheel.name.split("-")[:2])


def ratios(wheel: Path, found: dict[str, Sample]) -> str:
    """Return the line of the first table."""
    theirs = found["show"].wall + found["tags"].wall
    ours, easy, hard = found["both"], found["zlib-both"], found["same-both"]
    return (
        f"| {label(wheel)} | {theirs:.1f} | {ours.wall:.2f} | {theirs / ours.wall:.0f} x "
        f"| {easy.wall:.2f} | {ours.wall / easy.wall:.2f} | {ours.cpu / easy.cpu:.2f} "
        f"| {hard.wall:.2f} | {ours.wall / hard.wall:.2f} | {ours.cpu / hard.cpu:.2f} |"
    )


HEADINGS = (
    *("wheel", "show + tags s", "ours s", "faster"),
    *("zlib bound s", "ours / it", "in CPU"),
    *("same inflater's bound s", "ours / it", "in CPU"),
)


def goals(results: dict[Path, dict[str, Sample]]) -> Iterator[str]:
    """Iterate over the goals, each with whether it is met and by what."""
    large = {wheel: found for wheel, found in results.items() if wheel.stat().st_size >= LARGE}
    missed = []
    for wheel, found in large.items():
        theirs = found["show"].wall + found["tags"].wall
        # Not even the bound, with nothing but zlib, is that much faster.
        beyond = theirs < FASTER * found["zlib-both"].wall
        if theirs < FASTER * found["both"].wall and not beyond:
            missed.append(f"{label(wheel)} {theirs / found['both'].wall:.1f} times")
    yield _goal(f"at least {FASTER} times faster on every wheel of 30 MB or more", missed)
    for what, action in (("the zlib bound", "zlib-both"), ("the same inflater's", "same-both")):
        times = {w: found["both"].wall / found[action].wall for w, found in results.items()}
        missed = [f"{label(w)} {each:.2f}" for w, each in times.items() if each > NEAR]
        yield _goal(f"within {NEAR} times {what} on every wheel", missed)
    ours = [(w, found[action]) for w, found in results.items() for action in OURS]
    missed = [f"{label(w)} {s.memory / MIB:.0f} MiB" for w, s in ours if s.memory >= LEAST]
    yield _goal(f"peak memory under {LEAST // MIB} MiB on every wheel", list(dict.fromkeys(missed)))
    yield _goal("no temporary disk", [label(w) for w, sample in ours if sample.disk])


def _goal(what: str, missed: list[str]) -> str:
    return f"- {what}: {'no: ' + ', '.join(missed) if missed else 'yes'}"


def machine() -> str:
    """Say where and with what this is measured."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    inflate = "isal" if importlib.util.find_spec("isal") else "zlib"
    auditwheel = importlib.metadata.version("auditwheel")
    return (
        f"{dt.datetime.now(dt.UTC).date()}, {os.cpu_count()} x {model}, "
        f"Python {platform.python_version()}, {inflate}, auditwheel {auditwheel}"
    )


def main(arguments: Sequence[str]) -> None:
    """Fetch, measure, print."""
    parser = argparse.ArgumentParser(description="Compare wheel reading and retagging.")
    parser.add_argument("cache", type=Path, help="folder that keeps the wheels")
    parser.add_argument("requirements", nargs="*", default=REQUIREMENTS)
    parser.add_argument("--times", type=int, default=3, help="runs of our side and of the bound")
    options = parser.parse_args(arguments)
    cache = options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    results = {}
    for requirement in options.requirements:
        wheel = fetch(cache, requirement)
        if wheel is None:
            print(f"{requirement}: no wheel for this machine", file=sys.stderr)
            continue
        results[wheel] = benchmark(wheel, cache, options.times)
        print(ratios(wheel, results[wheel]), file=sys.stderr)
    print(machine(), end="\n\n")
    print(f"| {' | '.join(HEADINGS)} |", "|---" * len(HEADINGS) + "|", sep="\n")
    for wheel, found in results.items():
        print(ratios(wheel, found))
    print("", *goals(results), "", sep="\n")
    print("| wheel | what | wall s | CPU s | peak memory MiB | temporary disk MiB |")
    print("|---|---|---|---|---|---|")
    for wheel, found in results.items():
        print(*rows(wheel, found), sep="\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
