"""A large matrix whose every result is in the store: how long `orchestrator build` takes.

    python benchmarks/full_store.py [--runs N]

The matrix is `examples/matrices/flash-attention-prebuild-wheels.toml`, but for three things. There
Flash-Attention 3 is one abi3 wheel for all Pythons, and some wheels are for Windows; here each
Python has its own, and all are for Linux, so that 854 cells are 854 targets. And images are those
that the toolchain pins, as no engine is asked. Nothing is built: the store is filled as a build
would fill it, through `orchestrator.run.result_cache`, with a wheel of the right name, version and
tag for each target, that `verify` found nothing in. They have one small ELF file each: what reading
and hashing real ones takes comes on top.

Each run is a process of its own:

- first: `dist/` and the work directory are empty;
- again: everything is there already.

In a run of its own that is not timed, an audit hook refuses to start any program.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from orchestrator.builders.library import LibraryBuilder
from orchestrator.cli.workspace import open_workspace
from orchestrator.containers.container import ContainerFactory
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.external_checks import ExternalChecks
from orchestrator.provision.tools import Tools
from orchestrator.run.backends import Assignment
from orchestrator.run.finish import demands_on, expected
from orchestrator.run.inputs import open_host, open_store
from orchestrator.run.planned import planned_actions
from orchestrator.run.result_cache import ResultCache
from orchestrator.run.run_dir import RunDirectories
from orchestrator.source.fingerprint import identify
from orchestrator.wheel import Policies, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.models.target import Target
    from orchestrator.models.wheel import WheelReport

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "matrices" / "flash-attention-prebuild-wheels.toml"
TARGETS = 854
GOAL = 2.0
"""Seconds."""

RULES = """
[verify]
rules = { cuda-label = "off", torch-abi = "off" }
"""
"""The wheels have no code for GPUs."""

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "flash_attn"
dynamic = ["version"]
"""
HOOK = """\
import sys
def refuse(event, arguments):
    if event in {"subprocess.Popen", "os.fork", "os.exec", "os.posix_spawn", "os.system"}:
        raise RuntimeError(f"started a program: {event} {arguments}")
sys.addaudithook(refuse)
from orchestrator.cli import main
main()
"""
MACHINES = {Arch.X86_64: 62, Arch.AARCH64: 183}
"""e_machine of the ELF header (System V gABI)."""


def _refuse(*_: object) -> NoReturn:
    raise EnvironmentProblemError.of("nothing is built here")


class Checkout:
    """A project with the matrix, and a cache of its own."""

    def __init__(self, root: Path) -> None:
        """Write it; the toolchain is the user's."""
        self.root = root
        self.matrix = root / "matrix.toml"
        self.environ = {
            **os.environ,
            "ORCHESTRATOR_CACHE_DIR": str(root / "cache"),
            "PYTHONPATH": str(ROOT),
            # As installed: what is compiled once is not compiled in every run.
            "PYTHONPYCACHEPREFIX": str(root / "pycache"),
        }
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        (root / "cache").mkdir()
        tools = default_cache_dir(os.environ) / "toolchain"
        (root / "cache" / "toolchain").symlink_to(tools)
        text, changed = re.subn(
            r"^build = \{ abi3 = .*\n|^\[images\]\n(?:\w+ = .*\n)+",
            "",
            EXAMPLE.read_text("utf-8"),
            flags=re.MULTILINE,
        )
        if changed != 2:  # noqa: PLR2004 - see above
            raise SystemExit(f"{EXAMPLE.name} is not what this benchmark knows")
        text = text.replace('"windows"', '"other"').replace("1windows", "1other")
        if "[verify]" in text:
            raise SystemExit(f"{EXAMPLE.name} has rules of its own")
        self.matrix.write_text(f'project.source = "flash"\n{text}{RULES}', encoding="utf-8")
        (root / "flash").mkdir()
        (root / "flash" / "pyproject.toml").write_text(PROJECT, encoding="utf-8")

    def build(self, *before: str) -> tuple[float, float]:
        """Run ``orchestrator build``, and return the seconds it took, and those of processors."""
        command = [sys.executable, *(before or ("-m", "orchestrator")), "build"]
        began, before_cpu = time.perf_counter(), processor()
        done = subprocess.run(
            command, cwd=self.root, env=self.environ, check=False, capture_output=True, text=True
        )
        took = time.perf_counter() - began, processor() - before_cpu
        if done.returncode or f"{TARGETS} targets came from the store" not in done.stderr:
            raise SystemExit(f"it did not come from the store:\n{done.stderr}")
        return took

    def forget(self) -> None:
        """Remove what runs left, but not the store."""
        for name in ("dist", ".orchestrator"):
            shutil.rmtree(self.root / name, ignore_errors=True)


def processor() -> float:
    """Return the processor seconds of all programs that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fill(checkout: Checkout) -> int:
    """Put a result of every target into the store, and return how many bytes the wheels have."""
    host = open_host(checkout.environ, print)
    workspace = open_workspace(checkout.matrix)
    inputs = workspace.inputs(workspace.plan)
    environ: Mapping[str, str] = checkout.environ
    identity = identify(
        inputs.origin,
        fetch=Path,
        skip=(checkout.root / "cache", checkout.matrix),
        cache_dir=host.cache_dir,
        environ=environ,
    )
    cancel = Cancel()
    actions = planned_actions(
        inputs,
        identity.source,
        tools=Tools(host=host, cancel=cancel, say=print),
        containers=ContainerFactory(
            host=host, settings=inputs.engine, label="", log=print, cancel=cancel
        ),
        wanted=None,
    )
    scratch = checkout.root / "scratch"
    scratch.mkdir()
    places = RunDirectories(output=scratch, run=scratch, logs=scratch, rejected=scratch)
    policies = Policies.from_json(*host.toolchain.policy_texts())
    checker = ExternalChecks(toolchain=host.toolchain, env=host.env, cancel=cancel)
    cache = ResultCache(
        store=open_store(inputs.store, environ=environ, warn=print),
        places=places,
        identity=identity,
        project=inputs.project,
        policies=lambda: policies,
        check=checker,
        step=lambda *_: None,
        cancel=cancel,
    )
    library = compiled(scratch)
    log = scratch / "log"
    log.write_text("== build\nnothing was built\n" * 40, encoding="utf-8")
    size = 0
    for target in inputs.targets:
        wheel = write_wheel(scratch, target, library)
        demands = demands_on(wheel, target)
        report = checked(wheel, target, policies, name=identity.source.name)
        action, *_ = actions[target.id]
        filled = Assignment(
            request=action.request,
            backend=LibraryBuilder(host=host, containers=None),
            reason="filled",
            action=action,
        )
        cache.store_wheel(*(filled, wheel, report), demands=demands, said=(), log=log, seconds=1.0)
        size += report.size
    shutil.rmtree(scratch)
    return size


def checked(wheel: Path, target: Target, policies: Policies, *, name: str) -> WheelReport:
    """Return the report on a target's wheel, in which nothing may be found."""
    report = verify(
        wheel,
        policies,
        external=target.steps.external,
        expected=expected(target, name),
        demands=demands_on(wheel, target),
    )
    if report.problems:
        raise SystemExit(f"{wheel.name}: {report.problems}")
    return report


def compiled(scratch: Path) -> bytes:
    """Return a small extension module."""
    source, module = scratch / "kernel.c", scratch / "kernel.so"
    source.write_text("int PyInit_kernel(void) { return 0; }\n", encoding="utf-8")
    compiler = shutil.which("cc") or "cc"
    large_pages = "-Wl,-z,max-page-size=65536"  # as aarch64 has them
    command = [compiler, "-shared", "-fPIC", "-nostdlib", large_pages]
    subprocess.run([*command, source, "-o", module], check=True)
    return module.read_bytes()


def write_wheel(folder: Path, target: Target, library: bytes) -> Path:
    """Write the wheel that a build of the target would make."""
    python = target.python
    tag = f"{python.rstrip('t')}-{python}-manylinux_2_17_{target.arch}"
    abi = python.removeprefix("cp")
    machine = MACHINES[target.arch].to_bytes(2, "little")
    info = f"flash_attn-{target.version}.dist-info"
    pins = "".join(f"Requires-Dist: {each}\n" for each in target.pins)
    build = f"Build: {target.build_tag}\n" if target.build_tag else ""
    members = {
        f"flash_attn/kernel.cpython-{abi}-{target.arch}-linux-gnu.so": (
            library[:18] + machine + library[20:]
        ),
        f"{info}/licenses/LICENSE": b"BSD\n",
        f"{info}/METADATA": (
            f"Metadata-Version: 2.4\nName: flash_attn\nVersion: {target.version}\n"
            f"License-File: LICENSE\n{pins}"
        ).encode(),
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: benchmark\nRoot-Is-Purelib: false\nTag: {tag}\n{build}"
        ).encode(),
    }
    rows = [f"{info}/RECORD,,\n"]
    for name, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}\n")
    numbered = f"-{target.build_tag}" if target.build_tag else ""
    wheel = folder / f"flash_attn-{target.version}{numbered}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (*members.items(), (f"{info}/RECORD", "".join(rows).encode())):
            archive.writestr(name, data)
    return wheel


def measure(runs: int) -> dict[str, list[tuple[float, float]]]:
    """Fill a store and build from it, and return the seconds of the runs, and of processors."""
    with tempfile.TemporaryDirectory() as scratch:
        checkout = Checkout(Path(scratch))
        size = fill(checkout)
        print(f"{TARGETS} targets, wheels of {size / 1e6:.1f} MB", flush=True)
        checkout.build()  # looks at the source, and remembers what it is, as the first build does
        checkout.forget()
        checkout.build("-c", HOOK)
        found = json.loads((checkout.root / "dist" / "results.json").read_text("utf-8"))
        wheels = len(list((checkout.root / "dist").glob("*.whl")))
        if {len(found["results"]), wheels} != {TARGETS}:
            raise SystemExit(f"{len(found['results'])} results and {wheels} wheels")
        times: dict[str, list[tuple[float, float]]] = {"first": [], "again": []}
        for _ in range(runs):
            checkout.forget()
            for each in times.values():
                each.append(checkout.build())
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    for name, times in measure(options.runs).items():
        report(name, times)


def report(name: str, times: list[tuple[float, float]]) -> None:
    """Print a line on some runs, goal included."""
    took, used = zip(*times, strict=True)
    median, best = statistics.median(took), min(took)
    print(f"{name}: median {median:.2f} s, best {best:.2f} s, of the processor {min(used):.2f} s")
    print(f"  under {GOAL} s: {'yes' if median < GOAL else 'no'}")


if __name__ == "__main__":
    main()
