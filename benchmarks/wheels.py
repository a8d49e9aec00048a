# ruff: noqa: PLC0415 - each process imports what it measures, before its clock runs
"""How fast wheels are inspected and retagged, against auditwheel, wheel, and a lower bound.

    python benchmarks/wheels.py CACHE [REQUIREMENT...]

Wheels are fetched with pip into CACHE, once. Every measurement is a process of its own, which
imports first and measures then; the file has been read before, so that it comes from memory.
Both sides run in the same run, and the last table says how many times faster one is.

The lower bound knows nothing of wheels: it finds the ELF files by their first four bytes,
inflates each of them once with the same library as we do, and copies the file.

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
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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
BOUND = ("bound-detect", "bound-both")
THEIRS = ("show", "tags")
MIB = 1 << 20


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


def bound_detect(wheel: Path, _: Path) -> Callable[[], object]:
    """Inflate every ELF member once."""
    from orchestrator.wheel.inflate import fastest

    engine = fastest()

    def inflate() -> None:
        with zipfile.ZipFile(wheel) as archive, wheel.open("rb", buffering=0) as file:
            for entry in archive.infolist():
                header = os.pread(file.fileno(), 30, entry.header_offset)
                lengths = header[26] + (header[27] << 8) + header[28] + (header[29] << 8)
                at = entry.header_offset + 30 + lengths
                end = at + entry.compress_size
                stored = entry.compress_type == zipfile.ZIP_STORED
                first = os.pread(file.fileno(), min(128, entry.compress_size), at)
                if not stored:
                    first = engine.decompressobj(-15).decompress(first, 4)
                if not first.startswith(b"\x7fELF"):
                    continue
                inflater = engine.decompressobj(-15)
                while at < end:
                    data = os.pread(file.fileno(), min(1 << 18, end - at), at)
                    at += len(data)
                    while data and not stored:
                        inflater.decompress(data, 1 << 20)
                        data = inflater.unconsumed_tail

    return inflate


def bound_both(wheel: Path, out: Path) -> Callable[[], object]:
    """Inflate every ELF member once, and copy the file to where it survives a crash."""
    inflate = bound_detect(wheel, out)

    def run() -> None:
        inflate()
        out.mkdir()
        shutil.copyfile(wheel, out / wheel.name)
        with (out / wheel.name).open("rb") as file:
            os.fsync(file.fileno())

    return run


def show(wheel: Path, _: Path) -> Callable[[], object]:
    """``auditwheel show --json``."""
    from auditwheel.main import main  # type: ignore[import-untyped]
    from auditwheel.wheel_abi import analyze_wheel_abi  # type: ignore[import-untyped]

    assert analyze_wheel_abi  # noqa: S101 - imported before the clock runs
    sys.argv = ["auditwheel", "show", "--json", str(wheel)]
    return main


def tags(wheel: Path, out: Path) -> Callable[[], object]:
    """``wheel tags --build 7``, which writes beside its source: a link in a folder of its own."""
    from wheel._commands import main  # type: ignore[import-untyped]
    from wheel._commands.tags import tags as imported  # type: ignore[import-untyped]

    assert imported  # noqa: S101 - imported before the clock runs
    out.mkdir()
    (out / wheel.name).symlink_to(wheel)
    sys.argv = ["wheel", "tags", "--build", "7", str(out / wheel.name)]
    return main


ACTIONS: dict[str, Callable[[Path, Path], Callable[[], object]]] = {
    "detect": detect,
    "retag": retag,
    "both": both,
    "bound-detect": bound_detect,
    "bound-both": bound_both,
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
        return cache / json.loads(marker.read_text(encoding="utf-8"))
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
    """Iterate over the lines of the first table."""
    label = (
        f"{wheel.name.split('-')[0]} {wheel.name.split('-')[1]}, {wheel.stat().st_size >> 20} MiB"
    )
    for action, sample in found.items():
        yield (
            f"| {label} | {action} | {sample.wall:.2f} | {sample.cpu:.2f} "
            f"| {sample.memory / MIB:.0f} | {sample.disk / MIB:.0f} |"
        )
        label = ""


def ratios(wheel: Path, found: dict[str, Sample]) -> str:
    """Return the line of the second table."""
    theirs = found["show"].wall + found["tags"].wall
    ours, bound = found["both"].wall, found["bound-both"].wall
    cpu = found["both"].cpu / found["bound-both"].cpu
    return (
        f"| {wheel.name.split('-')[0]} {wheel.name.split('-')[1]} | {theirs:.1f} | {ours:.2f} "
        f"| {bound:.2f} | {theirs / ours:.0f} x | {theirs / bound:.0f} x | {ours / bound:.2f} "
        f"| {cpu:.2f} |"
    )


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
    print("| wheel | what | wall s | CPU s | peak memory MiB | temporary disk MiB |")
    print("|---|---|---|---|---|---|")
    for wheel, found in results.items():
        print(*rows(wheel, found), sep="\n")
    print("\n| wheel | show + tags s | ours s | bound s | faster | bound | ours / bound | in CPU |")
    print("|---|---|---|---|---|---|---|---|")
    for wheel, found in results.items():
        print(ratios(wheel, found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(sys.argv[1:])
