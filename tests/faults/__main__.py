# ruff: noqa: T201 - a script that prints what it has counted
"""Let each file operation of a command fail once: with EIO, with ENOSPC, and by a kill around it.

    python -m tests.faults                              # all of them, some minutes
    python -m tests.faults --stride=7 --only=index      # every seventh operation of one command

After each fault the same command runs again without one. What must hold is said in `Check`. It
prints how many operations, faults and runs there were, and what did not hold; exit 1 if anything.

Of the files of one copied package (a build copies pip into its environment) the first, the middle
and the last of each kind of operation fail. A kill after an operation is the same as one before the
next, unless that writes half of its bytes. A scenario's beginning may be that of another one. All
of these are counted, as alike.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.faults.scenarios import (
    SCENARIOS,
    Scenario,
    half_written,
    holds_nothing,
    is_stray,
    names,
    outcome,
)

Report = Callable[[dict[str, Any]], None]

KINDS = {"EIO": 1, "ENOSPC": 2, "kill before": 3, "kill after": 4}
SAYS = {"EIO": "Input/output error", "ENOSPC": "No space left on device"}
OPS = "open write copy link symlink rename unlink rmdir mkdir fsync truncate lock chmod times close"
NO_SPACE = {"close", "lock", "unlink", "rmdir", "chmod", "times"}
"""Operations that a full disk does not stop."""
HALF = {"write", "copy"}
"""Operations of which a full disk and a kill leave half."""
LONGEST = 120
"""Seconds of a run: one that takes longer waits for a lock that nobody gives back."""

_COPIED = re.compile(r"(.*/site-packages/[^/]+)/.+")
_PRIVATE = "/.orchestrator/runs/"
"""A build's own directory, which no other run reads."""
_HEAD = struct.Struct(f"lliii{len(OPS.split())}i16s4096s4096s")
_SPACE = 16384


@dataclass(frozen=True, slots=True)
class Fired:
    """What the library has counted, and the operation that failed."""

    number: int
    fired: bool
    counts: tuple[int, ...]
    op: str
    path: str
    other: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation of a run without faults."""

    number: int
    op: str
    path: str

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in KINDS if kind != "ENOSPC" or self.op not in NO_SPACE]


def tasks(operations: list[Operation]) -> list[tuple[int, str]]:
    """Return (number of an operation, kind of fault) of all faults that are not alike."""
    alike: dict[tuple[str, str], list[Operation]] = {}
    for each in operations:
        copied = _COPIED.fullmatch(each.path)
        alike.setdefault((each.op, copied[1] if copied else str(each.number)), []).append(each)
    chosen = {
        each.number for some in alike.values() for each in (some[0], some[len(some) // 2], some[-1])
    }
    following = {each.number - 1: each for each in operations}
    return [
        (each.number, kind)
        for each in operations
        if each.number in chosen
        for kind in each.kinds
        if kind != "kill after"
        or each.number not in following
        or following[each.number].op in HALF
        or following[each.number].number not in chosen
    ]


@dataclass(slots=True)
class Ended:
    """How a run ended, and what it has said."""

    code: int
    said: str
    library: Fired


@dataclass(slots=True)
class Place:
    """A directory where one run after the other happens."""

    base: Path
    root: Path = field(init=False)
    state: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root, self.state = self.base / "root", self.base / "state"

    def reset(self, pristine: Path) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        subprocess.run(["cp", "-a", pristine, self.root], check=True, env=_plain())

    def run(
        self,
        *arguments: str,
        target: int = 0,
        kind: int = 0,
        stdout: Path | None = None,
        modules: Path | None = None,
        trace: Path | None = None,
    ) -> Ended:
        """Run the command line in a fork of this process, which has imported it already.

        Args:
            arguments: of the command line.
            target: the number of the operation that fails; 0 for none.
            kind: the fault's number.
            stdout: gets what the command prints as data.
            modules: gets the names of what was imported.
            trace: gets a line for each operation.
        """
        self.state.write_bytes(b"\0" * _SPACE)
        said = self.base / "said"
        process = os.fork()
        if process == 0:
            with said.open("wb") as text, (stdout or said).open("ab") as data:
                if trace is not None:
                    trace.touch()
                    os.environ["FAULTS_TRACE"] = str(trace)
                _become(self, arguments, (data.fileno(), text.fileno()), (target, kind), modules)
        code = _wait(process)
        values = _HEAD.unpack_from(self.state.read_bytes())
        number, _, _, fired, _, *counts = values[:-3]
        op, path, other = (each.split(b"\0")[0].decode() for each in values[-3:])
        library = Fired(number, bool(fired), tuple(counts), op, path, other)
        return Ended(code, said.read_text(errors="replace"), library)

    def must(self, *arguments: str, stdout: Path | None = None) -> None:
        ended = self.run(*arguments, stdout=stdout)
        assert ended.code == 0, ended.said


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def _become(
    place: Place,
    arguments: tuple[str, ...],
    streams: tuple[int, int],
    fault: tuple[int, int],
    modules: Path | None,
) -> None:
    code = 71
    try:
        os.setsid()
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        os.chdir(place.root)
        os.environ.pop("GITHUB_ACTIONS", None)
        os.environ |= {
            "COLUMNS": "1000",  # each message in one line
            "ORCHESTRATOR_STORE_DIR": str(place.root / "store"),
            "FAULTS_ROOT": str(place.root),
            "FAULTS_STATE": str(place.state),
        }
        sys.argv = ["orchestrator", *arguments]
        with place.state.open("r+b") as stream:
            stream.write(
                struct.pack("llii", 0, fault[0], fault[1], 0) + struct.pack("i", os.getpid())
            )
        from orchestrator.cli import run  # noqa: PLC0415 - in the fork only

        ctypes.CDLL(None).faults_arm()
        code = run()
        sys.stdout.flush()
        sys.stderr.flush()
        if modules is not None:
            modules.write_text(json.dumps(sorted(sys.modules)))
    finally:
        os._exit(code)


def _wait(process: int) -> int:
    """Return a process's exit code, or minus the signal that ended it, or -1000 after `LONGEST`."""
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -1000


@dataclass(slots=True, kw_only=True)
class Check:
    """What must hold after a fault, and after the next run.

    After the fault: the exit code is one of the scenario's, and no traceback was printed; a
    message names the reason and a file; what is under a final name is whole; what was there before
    and stays is there; exit 0 only where the outcome is right. Without a kill, nothing is left that
    has only the name of a half-written file. After the next run: exit 0, the same outcome and the
    same names of files as without any fault; a lock, or a directory that would be empty, may be
    missing.
    """

    scenario: Scenario
    place: Place
    before: dict[str, str]
    good: dict[str, str]
    names: set[str]
    empty: set[str]

    def first(self, kind: str, ended: Ended) -> Iterator[str]:
        root = self.place.root
        yield from half_written(root, self.good, self.before)
        now = outcome(self.scenario, root)
        stays = {name for name in self.before if self.good.get(name) == self.before[name]}
        yield from (f"{name} is lost" for name in sorted(stays) if name not in now)
        if kind.startswith("kill"):
            if ended.code != -signal.SIGKILL:
                yield f"ended with {ended.code} instead of by the kill"
            return
        if ended.code not in self.scenario.codes or "Traceback" in ended.said:
            yield f"exit {ended.code}"
        if ended.code == 0 and now != self.good:
            yield f"exit 0, and not what it shall be: {_differing(now, self.good)}"
        if ended.code and not self._names(kind, ended):
            yield "the message does not name what and where"
        if ended.library.op not in {"unlink", "rmdir"}:
            found = {name for name in names(root) - self.names if is_stray(name)}
            yield from (f"{name} is left" for name in sorted(found))

    def _names(self, kind: str, ended: Ended) -> bool:
        if SAYS[kind] not in ended.said:
            return False
        said = ended.said.replace("\n", "")
        parts = Path(ended.library.path).relative_to(self.place.root).parts
        return any(part in said for part in parts if not is_stray(part)) or "root" in said

    def second(self, ended: Ended) -> Iterator[str]:
        root = self.place.root
        if ended.code:
            yield f"the next run: exit {ended.code}: {ended.said}"
        now = outcome(self.scenario, root)
        if now != self.good:
            yield f"after the next run: {_differing(now, self.good)}"
        yield from half_written(root, self.good, self.good)
        there = names(root)
        shares = self.scenario.shares
        shared = {name for name in self.names | there if shares and name.startswith(shares)}
        missing = self.names - there - self.empty - shared
        left = there - self.names - {name for name in shared if is_stray(name)}
        for word, some in (("is left", left), ("is missing", missing)):
            yield from (f"after the next run {name} {word}" for name in sorted(some))


def _differing(one: dict[str, str], other: dict[str, str]) -> str:
    return ", ".join(
        sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Which faults a process tries: each `stride`-th, of these each `jobs`-th, for some seconds.

    The first `skip` have been tried before.
    """

    number: int
    jobs: int
    stride: int
    seconds: float
    skip: int


def examine(name: str, base: Path, sample: Sample, report: Report) -> None:
    """Try the faults of one scenario that are this process's share."""
    scenario, place = SCENARIOS[name], Place(base)
    shutil.rmtree(base, ignore_errors=True)
    place.root.mkdir(parents=True)
    scenario.prepare(place.root, place.must)
    pristine = base / "pristine"
    place.root.rename(pristine)
    place.reset(pristine)
    before = outcome(scenario, place.root)
    modules, trace = base / "modules", base / "trace"
    plain = place.run(*scenario.arguments, modules=modules, trace=trace)
    assert plain.code == 0, plain.said
    for module in json.loads(modules.read_text()):
        if module.startswith("orchestrator."):
            import_module(module)
    good = outcome(scenario, place.root)
    again = place.run(*scenario.arguments)
    assert again.code == 0, again.said
    check = Check(
        scenario=scenario,
        place=place,
        before=before,
        good=good,
        names=names(place.root),
        empty=holds_nothing(place.root),
    )
    lines = [line.split("\t") for line in trace.read_text().splitlines()]
    operations = [Operation(number=int(n), op=op, path=path) for n, op, path in lines]
    operations.sort(key=lambda each: each.number)
    assert len(operations) == plain.library.number
    begin = next(each.number for each in operations if scenario.since in each.path)
    private = {each.number for each in operations if _PRIVATE in each.path}
    chosen = [each for each in tasks(operations) if each[0] >= begin]
    chosen.sort(key=lambda each: each[0] in private)  # if the time ends, the rest is tried
    alike = sum(len(each.kinds) for each in operations) - len(chosen)
    report({"scenario": name, "operations": len(operations), "alike": alike, "runs": 2})
    until = time.time() + sample.seconds
    for n, kind in chosen[sample.skip :: sample.stride][sample.number :: sample.jobs]:
        if time.time() > until:
            report({"scenario": name, "runs": 0, "stopped": True})
            return
        place.reset(pristine)
        ended = place.run(*scenario.arguments, target=n, kind=KINDS[kind])
        if not ended.library.fired:
            report({"scenario": name, "runs": 1})
            continue
        wrong = list(check.first(kind, ended))
        again = place.run(*scenario.arguments)
        wrong += check.second(again)
        said = f"{ended.said}\nthe next run:\n{again.said}"
        where = ended.library.path.replace(str(place.root), "", 1)
        swallowed = ended.code == 0
        report(
            {
                "scenario": name,
                "runs": 2,
                "faults": 1,
                "kind": kind,
                "op": ended.library.op,
                "at": f"{n} {ended.library.op} {where}",
                "wrong": wrong,
                "code": ended.code,
                "said": said if wrong else "",
                "swallowed": swallowed,
            }
        )


def library(folder: Path) -> Path:
    """Compile the library."""
    made = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", made, source, "-ldl"], check=True)
    return made


def work(folder: Path, scenarios: list[str], sample: Sample) -> None:
    with (folder / f"report-{sample.number}").open("w") as stream:

        def report(entry: dict[str, Any]) -> None:
            stream.write(json.dumps(entry) + "\n")
            stream.flush()

        for name in scenarios:
            examine(name, folder / str(sample.number), sample, report)


def summarise(folder: Path, *, verbose: bool) -> bool:
    """Print what was counted and found; return whether all is well."""
    entries = [
        json.loads(line)
        for path in sorted(folder.glob("report-*"))
        for line in path.read_text().splitlines()
    ]
    wrong = [each for each in entries if each.get("wrong")]
    for each in wrong:
        print(f"{each['scenario']}: {each['kind']} at {each['at']}: exit {each['code']}")
        for line in each["wrong"]:
            print(f"  {line[:1500]}")
        print("  | " + each["said"].strip()[-1500:].replace("\n", "\n  | "))
    if verbose:
        for each in entries:
            if each.get("swallowed"):
                print(f"passed: {each['scenario']}: {each['kind']} at {each['at']}")
    for name in SCENARIOS:
        some = [each for each in entries if each["scenario"] == name]
        if not some:
            continue
        operations = max(each.get("operations", 0) for each in some)
        faults = Counter(each["kind"] for each in some if each.get("faults"))
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))
        runs = sum(each["runs"] for each in some)
        stopped = ", not all: out of time" if any(each.get("stopped") for each in some) else ""
        alike = max(each.get("alike", 0) for each in some)
        counted = f"{operations} operations, {faults.total()} faults ({kinds}), {runs} runs"
        counted += f", {alike} faults alike" if alike else ""
        print(f"{name}: {counted}{stopped}")
    faults = sum(each.get("faults", 0) for each in entries)
    runs = sum(each["runs"] for each in entries)
    print(f"in all {faults} faults, {runs} runs, {len(wrong)} findings")
    return not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=86400.0, help="of each command, at most")
    parser.add_argument("--skip", type=int, default=0, help="faults that were tried before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", action="append", choices=SCENARIOS)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    with tempfile.TemporaryDirectory(
        prefix="faults-", dir=memory if memory.is_dir() else None
    ) as made:
        folder = Path(made)
        preload = library(folder)
        environ = {**os.environ, "LD_PRELOAD": str(preload)}
        chosen = ",".join(given.only or SCENARIOS)
        stride = given.stride | 1  # odd, so that every kind has its turn
        command = [sys.executable, "-c", "from tests.faults.__main__ import worker; worker()"]
        numbers = (given.jobs, stride, given.seconds, given.skip)
        workers = [
            subprocess.Popen(
                [*command, *map(str, (folder, number, *numbers)), chosen],
                env=environ,
            )
            for number in range(given.jobs)
        ]
        codes = [each.wait() for each in workers]
        return 0 if summarise(folder, verbose=given.verbose) and not any(codes) else 1


def worker() -> None:
    folder, number, jobs, stride, seconds, skip, chosen = sys.argv[1:]
    sample = Sample(
        number=int(number),
        jobs=int(jobs),
        stride=int(stride),
        seconds=float(seconds),
        skip=int(skip),
    )
    work(Path(folder), chosen.split(","), sample)


if __name__ == "__main__":
    sys.exit(main())
