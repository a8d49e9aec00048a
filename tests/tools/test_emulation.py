"""Emulators that are really asked: for their version, and for what they count."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.host import emulation
from orchestrator.host.emulation import (
    Execution,
    binfmt,
    examine,
    host_arch,
    installed_qemu,
    probe_program,
    qemu_version,
)
from orchestrator.models.platforms import Arch
from tests.conftest import lacking, ran
from tests.factories import program
from tests.unit.host import test_emulation
from tests.unit.host.test_emulation import AARCH64

root = test_emulation.root


@pytest.mark.parametrize("arch", [arch for arch in Arch if arch is not Arch.AARCH64])
def test_handler_takes_its_own_architecture_only(root: Path, arch: Arch) -> None:
    (root / "qemu-aarch64").write_text(AARCH64.format(flags="F"))
    status = binfmt(arch, root)
    assert not status.interpreter
    assert status.problem is not None
    assert f"no QEMU is registered for {arch}" in status.problem.what
    assert re.search("doctor --fix|--install", status.problem.hint), "what helps here"


def test_without_the_flag_that_containers_need(root: Path) -> None:
    (root / "qemu-aarch64").write_text(AARCH64.format(flags="OC"))
    status = binfmt(Arch.AARCH64, root)
    assert status.interpreter
    assert status.problem is not None
    assert "without the F flag" in status.problem.what


def test_disabled_entry_does_not_count(root: Path) -> None:
    text = AARCH64.format(flags="F").replace("enabled", "disabled")
    (root / "qemu-aarch64").write_text(text)
    assert not binfmt(Arch.AARCH64, root).interpreter


def test_not_mounted(tmp_path: Path) -> None:
    problem = binfmt(Arch.AARCH64, tmp_path / "nothing").problem
    assert problem is not None
    assert "not mounted" in problem.what
    assert "mount -t binfmt_misc" in problem.hint


def write_probe(folder: Path, arch: Arch) -> Path:
    probe = folder / f"probe-{arch}"
    probe.write_bytes(probe_program(arch))
    probe.chmod(0o755)
    return probe


def test_the_probe_counts_its_arguments_on_this_machine(tmp_path: Path) -> None:
    probe = write_probe(tmp_path, host_arch())
    ran(probe, "one", "two", code=3)
    assert probe.stat().st_size < 140


@pytest.mark.qemu
@pytest.mark.parametrize("arch", Arch)
def test_the_probe_counts_its_arguments_under_every_qemu(arch: Arch, tmp_path: Path) -> None:
    qemu = installed_qemu(arch)
    if qemu is None:
        lacking(f"needs user-mode QEMU for {arch}: run .ci/engine as root")
    ran(qemu, write_probe(tmp_path, arch), "one", "two", code=3)


def test_a_compatible_architecture_that_the_kernel_does_not_run_is_emulated(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    monkeypatch.setattr(emulation, "host_arch", lambda: Arch.X86_64)
    monkeypatch.setattr(emulation, "_run_probe", lambda _arch: 3)
    assert examine(Arch.I686, root).execution is Execution.COMPATIBLE
    monkeypatch.setattr(emulation, "_run_probe", lambda _arch: 126)
    found = examine(Arch.I686, root)
    assert found.execution is Execution.EMULATED
    assert found.problem is not None


def test_the_version_is_asked_of_the_program_itself_and_not_of_its_link(tmp_path: Path) -> None:
    script = 'case $0 in *-P) exit 1;; esac\necho "qemu-aarch64 version 7.2.22 (Debian)"'
    link = tmp_path / "aarch64-binfmt-P"
    link.symlink_to(program(tmp_path / "qemu-aarch64-static", script))
    assert qemu_version(link) == "7.2.22"
    assert qemu_version(tmp_path / "missing") == ""
