"""What preparing an environment once saves: torch targets, prepared once, and with pip in each.

    python benchmarks/environments.py [--targets N] [--torch REQUIREMENT] [--wheels DIRECTORY]

The targets differ in a variable only; each imports torch in its setup.py and compiles one small
module. One side has torch in `build.requires`; the other installs it with pip in before-build, as
without the key, with a download cache that all of its targets share. Both start with nothing but
the toolchain, on this host, one target at a time. "seconds" is the clock's until the first
compiler starts, of the first target and the longest of the others; "import" is how much of that
setup.py takes to import torch, which is the project's own and grows with what else the machine
does; "disk" is the most that cache
and work directory take, in multiples of the packages of one environment; "fetched" is what comes
through a proxy, which counts. With ``--torch torch==2.13.0+cpu --wheels DIRECTORY`` torch is small,
and comes from that directory, through a server that counts, too.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import os
import select
import shutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.provision.cache_dir import default_cache_dir

ROOT = Path(__file__).parents[1]
GOAL_SECONDS, GOAL_DISK = 3.0, 1.2
TAG = f"cp3{sys.version_info.minor}"
SETUP = """\
import os, time
before = time.monotonic()
import torch
with open(os.path.join(os.environ["STARTED"], os.environ["TARGET"] + ".import"), "w") as file:
    file.write(str(time.monotonic() - before))
from setuptools import Extension, setup
print(torch.__version__)
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
"""
MODULE = """\
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "tiny"};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&m); }
"""
COMPILER = """\
#!/bin/sh
test -e "$STARTED/$TARGET" || date +%s.%N >"$STARTED/$TARGET"
exec {gcc} "$@"
"""
MATRIX = """\
[project]
source = "source"
[axes]
python = ["{tag}"]
arch = ["{machine}"]
n = [{numbers}]
[version]
base = "1.0"
local = "n{{n}}"
on-mismatch = "rewrite"
[env]
STARTED = "{started}"
TARGET = "{{n}}"
[compiler-cache]
use = "off"
[build]
isolation = false
{how}
"""


class Counter(socketserver.ThreadingTCPServer):
    """A proxy for https that counts the bytes it hands back."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.fetched = 0
        self.lock = threading.Lock()

    def count(self, size: int) -> None:
        """Add what was handed back."""
        with self.lock:
            self.fetched += size


class Tunnel(socketserver.StreamRequestHandler):
    """One CONNECT of a client."""

    server: Counter

    def handle(self) -> None:
        """Hand on what both ends say."""
        words = self.rfile.readline().split()
        if not words:  # a connection that the client has no use for
            return
        host, _, port = words[1].decode().rpartition(":")
        while self.rfile.readline().strip():
            pass
        with socket.create_connection((host, int(port))) as there:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {self.connection: there, there: self.connection}
            while True:
                ready, _, _ = select.select(list(ends), [], [])
                for end in ready:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end].sendall(data)
                    if end is there:
                        self.server.count(len(data))


class Wheels(http.server.SimpleHTTPRequestHandler):
    """Serves a directory of wheels, and counts."""

    counter: Counter

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file."""
        while data := source.read(1 << 20):
            outputfile.write(data)
            self.counter.count(len(data))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass(kw_only=True)
class Disk:
    """Watches how much some directories take at most; a file with several names counts once."""

    folders: tuple[Path, ...]
    most: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        """Look again and again until it is done."""
        while not self.done.wait(2.0):
            self.most = max(self.most, used(*self.folders))


def used(*folders: Path) -> int:
    """Return the bytes that directories take together."""
    said = subprocess.run(
        ["/usr/bin/du", "-sck", *map(str, folders)], capture_output=True, text=True, check=False
    )
    return int(said.stdout.split()[-2]) * 1024


@dataclass(frozen=True, kw_only=True)
class Wait:
    """How long a target took until its first compiler.

    Attributes:
        seconds: all of it.
        importing: what setup.py took to import torch, in seconds.
    """

    seconds: float
    importing: float


def build(folder: Path, how: str, targets: int, env: dict[str, str]) -> list[Wait]:
    """Build all targets; return how long each took until its first compiler."""
    source, started = folder / "source", folder / "started"
    for each in (source, started, folder / "cache"):
        each.mkdir(parents=True)
    (folder / "cache/toolchain").symlink_to(default_cache_dir(os.environ) / "toolchain")
    (source / "setup.py").write_text(SETUP)
    (source / "tiny.c").write_text(MODULE)
    (folder / "bin").mkdir()
    (folder / "bin/gcc").write_text(COMPILER.format(gcc=shutil.which("gcc")))
    (folder / "bin/gcc").chmod(0o755)
    env = {**env, "PATH": f"{folder / 'bin'}:{env['PATH']}"}
    text = MATRIX.format(
        tag=TAG,
        machine=os.uname().machine,
        numbers=", ".join(f'"{n}"' for n in range(targets)),
        started=started,
        how=how,
    )
    (folder / "matrix.toml").write_text(text)
    command = (sys.executable, "-m", "orchestrator", "build", "--backend", "direct", "--no-cache")
    done = subprocess.run(
        (*command, "-j1"), cwd=folder, env=env, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    found = json.loads((folder / "dist/results.json").read_text("utf-8"))["results"]
    waits = []
    for each in found:
        number = each["target"]["variant"]["n"]
        seconds = float((started / number).read_text()) - each["started"]
        importing = float((started / f"{number}.import").read_text())
        waits.append(Wait(seconds=seconds, importing=importing))
    return waits


def measure(
    name: str, how: str, targets: int, wheels: Path | None
) -> tuple[list[Wait], int, int, int]:
    """Return the waits, the most disk, the packages of one environment, and the bytes fetched."""
    with tempfile.TemporaryDirectory(dir=default_cache_dir(os.environ)) as scratch:
        folder = Path(scratch, name)
        folder.mkdir()
        with Counter() as counter:
            threading.Thread(target=counter.serve_forever, daemon=True).start()
            address = f"http://127.0.0.1:{counter.server_address[1]}"
            env = {**os.environ, "PYTHONPATH": str(ROOT), "PIP_CONFIG_FILE": os.devnull}
            env |= {"HTTPS_PROXY": address, "ORCHESTRATOR_CACHE_DIR": str(folder / "cache")}
            env |= {"XDG_CACHE_HOME": str(folder / "pip"), "PIP_FIND_LINKS": ""}
            if wheels is not None:
                handler = type("Handler", (Wheels,), {"counter": counter})
                server = http.server.ThreadingHTTPServer(
                    ("127.0.0.1", 0), functools.partial(handler, directory=str(wheels))
                )
                threading.Thread(target=server.serve_forever, daemon=True).start()
                env["PIP_FIND_LINKS"] = f"http://127.0.0.1:{server.server_port}/"
            disk = Disk(folders=(folder,))
            watcher = threading.Thread(target=disk.watch)
            watcher.start()
            began = time.monotonic()
            try:
                waits = build(folder, how, targets, env)
            finally:
                disk.done.set()
                watcher.join()
            told = " ".join(f"{each.seconds:.1f} ({each.importing:.1f})" for each in waits)
            print(
                f"{name}: {time.monotonic() - began:.0f} s in all; until the compilers: {told}",
                file=sys.stderr,
            )
            sites = list((folder / "cache").glob("environments/*/site"))
            return waits, disk.most, used(*sites) if sites else 0, counter.fetched


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--torch", default="torch==2.13.0", help="its requirement")
    parser.add_argument("--wheels", type=Path, help="a directory that has it")
    chosen = parser.parse_args()
    requires = [chosen.torch, "setuptools"]
    sides = {
        "prepared once": f"requires = {json.dumps(requires)}",
        "pip in each": f"before-build = \"pip install -q '{chosen.torch}' setuptools\"",
    }
    found = {
        name: measure(name.replace(" ", "-"), how, chosen.targets, chosen.wheels)
        for name, how in sides.items()
    }
    one = found["prepared once"][2]
    print(f"{chosen.targets} targets of {chosen.torch}; one environment has {one / 1e9:.2f} GB")
    names = "side", "first s", "others s, at most", "import s", "all s", "disk GB", "environments"
    print(f"| {' | '.join(names)} | fetched GB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (waits, most, _, fetched) in found.items():
        longest = slowest(waits)
        times = (waits[0].seconds, longest.seconds, longest.importing, total(waits))
        cells = [f"{each:.1f}" for each in times]
        sizes = (f"{most / 1e9:.2f}", f"{most / one:.2f}", f"{fetched / 1e9:.3f}")
        print(f"| {name} | {' | '.join((*cells, *sizes))} |")
    once, each = found["prepared once"], found["pip in each"]
    print(f"until the first compilers: {total(each[0]) / total(once[0]):.1f} times faster")
    longest, small = slowest(once[0]), once[1] <= GOAL_DISK * one
    fast = longest.seconds <= GOAL_SECONDS
    own = longest.seconds - longest.importing
    print(f"at most {GOAL_SECONDS} s from the second target on: {'yes' if fast else 'no'}")
    print(f"of these without the import of torch: {own:.1f} s")
    print(f"at most {GOAL_DISK} times one environment on disk: {'yes' if small else 'no'}")


def total(waits: list[Wait]) -> float:
    """Return the seconds of all targets together."""
    return sum(each.seconds for each in waits)


def slowest(waits: list[Wait]) -> Wait:
    """Return the longest wait of all targets but the first."""
    none = Wait(seconds=0.0, importing=0.0)
    return max(waits[1:], key=lambda each: each.seconds, default=none)


if __name__ == "__main__":
    main()
