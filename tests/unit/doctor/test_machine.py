from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import machine
from orchestrator.doctor.check import CheckLevel
from orchestrator.doctor.machine import GIB
from orchestrator.models.target import CudaSource
from orchestrator.provision.cuda import HostToolkit


def a_root(folder: Path, *, v2: str = "max", v1: int = 2**63 - 4096) -> Path:
    """Return a directory with the files of the kernel that tell of memory."""
    files = {
        "proc/meminfo": f"MemTotal: {8 * 2**20} kB\nMemAvailable: {5 * 2**20} kB\n",
        "proc/self/cgroup": "5:memory:/\n0::/\n",
        "sys/fs/cgroup/memory.max": f"{v2}\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{v1}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_memory(tmp_path: Path) -> None:
    root = a_root(tmp_path / "root")
    assert machine.memory(1, root).status is CheckLevel.OK
    two = machine.memory(2, root)
    assert (two.status, two.detail) == (
        CheckLevel.WARN,
        "5.0 GiB of 8.0 GiB available, 2.5 GiB for each of 2 jobs",
    )
    assert machine.memory(1, tmp_path / "none").status is CheckLevel.WARN


@pytest.mark.parametrize("limit", [{"v2": str(2 * GIB)}, {"v1": 2 * GIB}])
def test_memory_that_the_control_group_does_not_give(tmp_path: Path, limit: Any) -> None:
    check = machine.memory(1, a_root(tmp_path, **limit))
    assert check.status is CheckLevel.WARN
    assert check.detail == "5.0 GiB of 8.0 GiB available, at most 2.0 GiB for us"


@pytest.mark.parametrize(
    ("free", "status"),
    [(GIB // 1024, CheckLevel.FAIL), (GIB // 2, CheckLevel.WARN), (99 * GIB, CheckLevel.OK)],
)
def test_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: CheckLevel
) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    environ = {"TMPDIR": str(tmp_path / "tmp")}
    checks = machine.disks(
        work=tmp_path, output=tmp_path / "o", cache=tmp_path, environ=environ, engine="/"
    )
    found = {check.name: check for check in checks}
    assert found["disk: work"].status is status
    assert found["disk: engine"].status is status
    assert str(tmp_path / "tmp") in found["disk: tmp"].detail
    assert bool(found["disk: tmp"].fix) is (status is not CheckLevel.OK)


@pytest.mark.parametrize(
    ("free", "number", "said"),
    [
        (0, errno.ENOSPC, "not enough space, 16 MiB needed: 0 MiB free"),
        (99 * GIB, errno.ENOSPC, "cannot be written: No space left on device"),  # no inodes
        (0, errno.EROFS, "cannot be written: Read-only file system"),
    ],
)
def test_a_full_disk_is_said_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, number: int, said: str
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": free}))
    monkeypatch.setattr(machine, "_write_into", fail)
    checks = machine.disks(work=tmp_path, output=tmp_path, cache=tmp_path, environ={}, engine="")
    assert said in next(each.detail for each in checks if each.name == "disk: output")


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """/proc takes no files, not even root's."""
    assert machine.home({"HOME": str(tmp_path)}).status is CheckLevel.OK
    check = machine.home({"HOME": "/proc"})
    assert check.status is CheckLevel.WARN
    assert "ORCHESTRATOR_CACHE_DIR" in check.fix
    work = tmp_path.__class__("/proc/work")
    first = next(machine.disks(work=work, output=tmp_path, cache=tmp_path, environ={}))
    assert (first.status, first.name) == (CheckLevel.FAIL, "disk: work")
    assert "cannot be written" in first.detail
    assert list(tmp_path.iterdir()) == []


def test_the_clock(tmp_path: Path) -> None:
    witness = tmp_path / "installed"
    witness.touch()
    assert machine.clock(witness=witness).status is CheckLevel.OK
    assert machine.clock(time.time() - 10 * 24 * 3600, witness).status is CheckLevel.WARN
    assert "1970-01-01" in machine.clock(0, witness).detail


OWN = HostToolkit(root=Path("/opt/cuda"), version="12.6.85", build="b")


@pytest.mark.parametrize(
    ("wanted", "source", "level", "detail"),
    [
        ("12.6", None, CheckLevel.OK, "nvcc 12.6.85 of this host, /opt/cuda"),
        ("12.6", CudaSource.IMAGE, CheckLevel.OK, "comes from the image"),
        ("13.0", None, CheckLevel.OK, "the package index has it"),
        ("13.0", CudaSource.INDEX, CheckLevel.OK, "the package index has it"),
        ("13.0", CudaSource.HOST, CheckLevel.FAIL, "this host has no nvcc 13.0"),
        ("12.8", None, CheckLevel.WARN, "the package index has no nvcc of CUDA 12.8"),
    ],
)
def test_each_cuda_is_said_to_come_from_somewhere(
    monkeypatch: pytest.MonkeyPatch,
    wanted: str,
    source: CudaSource | None,
    level: CheckLevel,
    detail: str,
) -> None:
    monkeypatch.setattr(machine, "host_toolkits", lambda *_: (OWN,))
    check = machine.cuda(wanted, source, {})
    assert (check.name, check.status) == (f"CUDA {wanted}", level)
    assert detail in check.detail
    assert bool(check.fix) is (level is not CheckLevel.OK)
