from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from orchestrator.errors import Problem
from orchestrator.host import doctor, emulation, engine
from orchestrator.host.doctor import GIB, Level, examine
from orchestrator.host.emulation import Emulation, Execution, host_arch
from orchestrator.host.engine import EngineName, EngineStatus
from orchestrator.host.network import HostNetwork
from orchestrator.models import Arch


def test_whole_examination_of_this_machine(tmp_path: Path) -> None:
    checks = examine(
        arches=[host_arch(), host_arch()],
        pythons=["cp399", "cp399"],
        work_dir=tmp_path / "not" / "yet",
        cache_dir=tmp_path / "cache",
        environ=os.environ,
    )
    assert [check.name for check in checks] == [
        "docker",
        "podman",
        f"emulation {host_arch()}",
        "python cp399",
        "C compiler",
        "C++ compiler",
        "toolchain",
        "CA bundle",
        "disk: work",
        "disk: cache",
        "disk: tmp",
        "memory",
        "CPUs",
    ]
    assert not list(tmp_path.iterdir())
    assert all(check.fix for check in checks if check.status is not Level.OK)


@pytest.mark.parametrize(
    ("usable", "status"), [((), Level.FAIL), ((EngineName.PODMAN,), Level.WARN)]
)
def test_one_engine_is_enough(
    monkeypatch: pytest.MonkeyPatch, usable: tuple[EngineName, ...], status: Level
) -> None:
    def probe(name: EngineName, *, env: object) -> EngineStatus:
        if name in usable:
            return EngineStatus(name=name, version="5", usable=True, rootless=True)
        return EngineStatus(name=name, problem=Problem(what="is not here", hint="do"))

    monkeypatch.setattr(engine, "probe", probe)
    docker, podman = doctor._engines({}, "auto")
    assert (docker.status, docker.fix) == (status, "do")
    assert podman.detail == ("5, rootless" if usable else "is not here")


def test_emulation(monkeypatch: pytest.MonkeyPatch) -> None:
    emulated = Emulation(
        arch=Arch.ARMV7L,
        execution=Execution.EMULATED,
        interpreter="/q",
        flags="PF",
        version="7.2",
        warnings=(Problem(what="may fail", hint="tmpfs"),),
    )
    broken = Emulation(
        arch=Arch.S390X,
        execution=Execution.EMULATED,
        problem=Problem(what="none", hint="mount"),
    )
    states = {Arch.ARMV7L: emulated, Arch.S390X: broken}
    monkeypatch.setattr(emulation, "examine", states.__getitem__)
    checks = list(doctor._emulations([Arch.ARMV7L, Arch.S390X]))
    assert [(check.status, check.detail, check.fix) for check in checks] == [
        (Level.OK, "QEMU 7.2: /q (flags PF)", ""),
        (Level.WARN, "may fail", "tmpfs"),
        (Level.FAIL, "none", "mount"),
    ]


def test_memory(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(f"MemTotal: {8 * 2**20} kB\nMemAvailable: {5 * 2**20} kB\n")
    assert doctor._memory(meminfo).status is Level.OK
    meminfo.write_text(f"MemTotal: {8 * 2**20} kB\nMemAvailable: {2**20} kB\n")
    check = doctor._memory(meminfo)
    assert (check.status, check.detail) == (Level.WARN, "1.0 GiB of 8.0 GiB available")
    assert doctor._memory(tmp_path / "none").status is Level.WARN


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": GIB // 8})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    checks = list(doctor._disks(tmp_path, tmp_path, {"TMPDIR": str(tmp_path)}))
    assert [check.status for check in checks] == [Level.FAIL] * 3
    assert "TMPDIR" in checks[2].fix


def test_no_compiler(tmp_path: Path) -> None:
    checks = list(doctor._compilers({"PATH": str(tmp_path)}))
    assert [check.status for check in checks] == [Level.WARN] * 2


def test_no_bundle() -> None:
    assert doctor._ca_bundle(HostNetwork()).status is Level.WARN
    assert doctor._ca_bundle(HostNetwork(ca_bundle=Path("/x"))).status is Level.OK


def test_the_engine_that_is_asked_for_is_the_one_that_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def probe(name: EngineName, *, env: object) -> EngineStatus:
        del env
        if name is EngineName.PODMAN:
            return EngineStatus(name=name, version="4", usable=True)
        return EngineStatus(name=name, problem=Problem(what="no daemon"))

    monkeypatch.setattr(engine, "probe", probe)

    assert [each.status for each in doctor._engines({}, "docker")] == [Level.FAIL]
    assert [each.status for each in doctor._engines({}, "auto")] == [Level.WARN, Level.OK]
