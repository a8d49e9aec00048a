# ruff: noqa: T201, S311 - a script that prints what it has counted; no number is a secret
"""Fuzz the readers of what others write.

    python -m tests.fuzz --seconds=60                     # each kind for a minute, at rate
    python -m tests.fuzz elf texts --runs=100000          # some kinds
    python -m tests.fuzz record --coverage=CORPUS         # guided by coverage; needs atheris

The kinds are those of `TARGETS` in targets.py; the mutations of mutate.py keep a document one.
CORPUS is a folder for what atheris finds, with one folder a kind. A finding is any exception but
the one that the reader promises, and more than ten seconds; with atheris also more than 600 MB.
Each becomes a test. It prints executions and findings of each kind; exit 1 if there is any.
"""

from __future__ import annotations

import argparse
import base64
import random
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, seeds

LONGEST = 10.0
LARGEST = 1 << 16
LIMITS = ("-timeout=10", "-rss_limit_mb=600", f"-max_len={LARGEST}")
KEPT = 2000


class TooSlowError(Exception):
    """An execution takes more than three times `LONGEST`."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise TooSlowError


def fuzz(kind: str, *, seconds: float, runs: int, seed: int) -> int:
    """Fuzz at rate, without coverage: mutations of mutations; return how many findings."""
    rng = random.Random(seed)
    target, corpus = TARGETS[kind](), [each for each in seeds(kind) if len(each) <= LARGEST]
    first, done = len(corpus), 0
    found: set[str] = set()
    until = time.monotonic() + seconds
    while done < runs and time.monotonic() < until:
        data = mutate(rng.choice(corpus), rng, corpus)[:LARGEST]
        begun = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 3 * LONGEST)
        try:
            target(data)
        except Exception as error:  # noqa: BLE001 - a finding
            place = traceback.extract_tb(error.__traceback__)[-1]
            found.add(
                _report(
                    kind, f"{type(error).__name__} at {place.filename}:{place.lineno}", data, found
                )
            )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        took = time.monotonic() - begun
        if took > LONGEST:
            found.add(_report(kind, f"{took:.0f} seconds", data, found))
        done += 1
        if rng.random() < 0.1:
            at = len(corpus) if len(corpus) < KEPT else rng.randrange(first, KEPT)
            corpus[at : at + 1] = [data]
    print(f"{kind}: {done} executions, {len(found)} findings, {first} seeds", flush=True)
    return len(found)


def _report(kind: str, what: str, data: bytes, found: set[str]) -> str:
    if what not in found:
        print(f"{kind}: {what}\n  {base64.b64encode(data[:3000]).decode()}", flush=True)
        traceback.print_exc(limit=-4)
    return what


def guided(kind: str, corpus: Path, arguments: list[str]) -> None:
    """Fuzz with atheris, whose mutations take turns with ours; it ends the process."""
    atheris = import_module("atheris")
    # What is imported before, as the seeds' modules do, is not instrumented.
    with atheris.instrument_imports(include=["orchestrator", "zipfile", "tarfile", "tomllib"]):
        target = TARGETS[kind]()
    folder = corpus / kind
    folder.mkdir(parents=True, exist_ok=True)
    known = [each for each in seeds(kind) if len(each) <= LARGEST]
    for number, seed in enumerate(known):
        (folder / f"seed-{number}").write_bytes(seed)

    def change(data: bytes, largest: int, seed: int) -> bytes:
        if seed % 3 == 0:
            return bytes(atheris.Mutate(data, largest))
        return mutate(data, random.Random(seed), known)[:largest]

    argv = [sys.argv[0], str(folder), *LIMITS, *arguments]
    atheris.Setup(argv, target, custom_mutator=change)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", choices=[[], *TARGETS])
    parser.add_argument("--seconds", type=float, default=1e9, help="of each kind")
    parser.add_argument("--runs", type=int, default=1 << 60, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--coverage", type=Path, metavar="CORPUS")
    given, more = parser.parse_known_args()
    if given.coverage is not None:
        guided(given.kinds[0], given.coverage, [f"-runs={given.runs}", *more])
    signal.signal(signal.SIGALRM, _stop)
    found = 0
    for kind in given.kinds or TARGETS:
        found += fuzz(kind, seconds=given.seconds, runs=given.runs, seed=given.seed)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
