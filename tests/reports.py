"""Results documents to show: as large as real ones get, and as hostile as nobody's are."""

from __future__ import annotations

from typing import Any

BEGAN = 1_790_000_000.0

HOSTILE = "</script><script>document.title='owned'</script>\"'><img src=x onerror=alert(1)>"
NASTY = f"{HOSTILE}\x1b[31mred\x1b[0m\x00\x07\u202egnp.exe ``` | <b>&amp;\ufffe"


def result(identifier: str, status: str = "ok", **changes: Any) -> dict[str, Any]:
    """One target's result as `results.json` has it."""
    made = {
        "id": identifier,
        "key": "ab" * 32,
        "status": status,
        "backend": "cibuildwheel",
        "backend_reason": "podman 5.4 runs manylinux_2_28 (native)",
        "duration": 90.0,
        "version_parts": [
            {
                "name": "base",
                "value": "1.0.0",
                "source": "file:VERSION",
                "sources": [
                    {"source": "env:DEMO_VERSION", "value": "", "note": "not set"},
                    {"source": "file:VERSION", "value": "1.0.0", "note": ""},
                ],
            }
        ],
        "wheel": wheel(wheel_name(identifier)) if status == "ok" else None,
        "rejected": None,
        "log": f".orchestrator/logs/{identifier}.log",
        "failure": None if status == "ok" else failure(),
        "log_end": log_end() if status == "failed" else None,
    }
    return made | changes


def wheel_name(identifier: str) -> str:
    """The name of a target's wheel."""
    tag = "".join(each if each.isalnum() else "_" for each in identifier)
    return f"demo-1.0.0-py3-none-{tag}.whl"


def wheel(filename: str) -> dict[str, Any]:
    return {
        "filename": filename,
        "sha256": "cd" * 32,
        "size": 5_300_000,
        "version": "1.0.0",
        "declared_tags": ["cp312-cp312-manylinux_2_28_x86_64"],
        "observed_tag": "manylinux_2_28_x86_64",
        "reasons": [
            {
                "file": "demo/_C.so",
                "library": "libc.so.6",
                "symbol_version": "GLIBC_2.28",
                "symbols": ["fcntl64"],
            }
        ],
        "external_libs": {"libcudart.so.13": ["demo/_C.so"]},
        "isa": "",
        "abi3": False,
        "problems": [],
    }


def failure(**changes: Any) -> dict[str, Any]:
    made = {
        "kind": "build",
        "step": "build",
        "message": "the project did not build",
        "hint": "the log holds the compiler's messages",
    }
    return made | changes


def log_end(lines: int = 25, error: str = "csrc/a.cu(12): error: no") -> dict[str, Any]:
    return {
        "error": 40,
        "excerpts": [
            {"line": 39, "text": ["nvcc -c csrc/a.cu", error, "1 error detected"]},
            {"line": 900, "text": [f"ninja: line {n} " + "x" * 60 for n in range(lines)]},
        ],
    }


def facts(python: str, libc: str, arch: str, **variant: str) -> dict[str, Any]:
    cell = {"python": python, "libc": libc, "arch": arch, **variant}
    return {
        "python": python,
        "arch": arch,
        "libc": libc,
        "variant": variant,
        "version": "1.0.0",
        "build_tag": "",
        "image": "manylinux_2_28",
        "runner": "ubuntu-24.04",
        "emulated": False,
        "cost": 1.0,
        "abi3": "",
        "baseline": "",
        "derived": {},
        "covers": [cell],
        "test_pythons": [],
        "needs": [],
        "library": None,
    }


def run(identifier: str = "r1", began: float = BEGAN) -> dict[str, Any]:
    return {
        "id": identifier,
        "began": began,
        "channel": "",
        "jobs": 4,
        "cpus": 8,
        "orchestrator": "0.1.0",
    }


def document(*results: dict[str, Any], runs: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"schema": 1, "runs": list(runs), "results": list(results)}


STATUSES = ("ok", "ok", "ok", "failed", "ok", "unavailable", "ok", "cancelled")


def large(count: int = 854, slots: int = 8, *, failing: bool = False) -> dict[str, Any]:
    """Targets as flash-attention's prebuilt wheels have them."""
    pythons = ("cp310", "cp311", "cp312", "cp313", "cp313t", "cp314")
    variants = [
        {"fa": fa, "torch": torch, "cuda": cuda}
        for fa in ("2.7.4", "2.8.3", "3.0.0")
        for torch in ("2.5", "2.6", "2.7", "2.8", "2.9", "2.10")
        for cuda in ("cu124", "cu126", "cu128", "cu130")
    ]
    cells = [
        (python, arch, variant)
        for variant in variants
        for arch in ("x86_64", "aarch64")
        for python in pythons
    ]
    made = []
    for number, (python, arch, variant) in enumerate(cells[:count]):
        status = "failed" if failing else STATUSES[number % len(STATUSES)]
        ran = status in {"ok", "failed"}
        label = "-".join(variant.values())
        cached = ran and number % 5 == 0
        made.append(
            result(
                f"{python}-manylinux_{arch}-{label}",
                status,
                run="r1",
                target=facts(python, "manylinux", arch, **variant),
                started=BEGAN + number // slots * 90 if ran else None,
                slot=number % slots if ran else None,
                cpu_seconds=70.0 + number % 20 if ran else None,
                steps=[{"name": "stage", "seconds": 2}, {"name": "build", "seconds": 80}],
                cached=cached and status == "ok",
                duration=88.0 if ran else 0.0,
                attempts=1,
                log_end=log_end() if status == "failed" else None,
            )
        )
    return document(*sorted(made, key=lambda each: str(each["id"])), runs=(run(),))


def nightly(number: int, count: int = 24) -> dict[str, Any]:
    """The results of one of many runs, each of them a day and a version after the last."""
    made = large(count)
    for each in made["results"]:
        each["run"] = f"r{number}"
        each["duration"] += number
        each["target"]["version"] = f"1.{number}.0+{each['target']['variant']['cuda']}"
        if each["started"] is not None:
            each["started"] += number * 86400
        if each["wheel"] is not None:
            each["wheel"]["version"] = each["target"]["version"]
            each["wheel"]["size"] += number * 530_000
            each["wheel"]["observed_tag"] = f"manylinux_2_{28 + number // 3}_x86_64"
    made["runs"] = [run(f"r{number}", BEGAN + number * 86400)]
    return made
