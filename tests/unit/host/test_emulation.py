from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import Execution, binfmt, host_arch, how
from orchestrator.models import Arch

if TYPE_CHECKING:
    from pathlib import Path

AARCH64 = """enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: {flags}
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").touch()
    # Matched by extension, not by magic: must not disturb.
    (tmp_path / "jar").write_text("enabled\ninterpreter /usr/bin/java\nflags: \nextension .jar\n")
    return tmp_path


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", Arch.X86_64), ("AMD64", Arch.X86_64), ("arm64", Arch.AARCH64),
     ("armv8l", Arch.ARMV7L), ("i586", Arch.I686), ("loongarch64", Arch.LOONGARCH64)],
)  # fmt: skip
def test_host_arch(machine: str, arch: Arch) -> None:
    assert host_arch(machine) is arch


def test_host_arch_unknown() -> None:
    with pytest.raises(EnvironmentProblemError, match="'sparc64'"):
        host_arch("sparc64")


def test_this_host_is_known() -> None:
    assert how(host_arch(), host_arch()) is Execution.NATIVE


def test_how() -> None:
    assert how(Arch.X86_64, Arch.I686) is Execution.COMPATIBLE
    assert how(Arch.AARCH64, Arch.ARMV7L) is Execution.COMPATIBLE
    assert how(Arch.I686, Arch.X86_64) is Execution.EMULATED
    assert how(Arch.X86_64, Arch.LOONGARCH64) is Execution.EMULATED


def test_registered(root: Path) -> None:
    (root / "whatever-name").write_text(AARCH64.format(flags="POCF"))
    status = binfmt(Arch.AARCH64, root)
    assert status.registered
    assert status.problem is None
    assert status.flags == "POCF"
    assert status.interpreter.endswith("aarch64-binfmt-P")


@pytest.mark.parametrize("arch", [arch for arch in Arch if arch is not Arch.AARCH64])
def test_handler_takes_its_own_architecture_only(root: Path, arch: Arch) -> None:
    (root / "qemu-aarch64").write_text(AARCH64.format(flags="F"))
    status = binfmt(arch, root)
    assert not status.registered
    assert status.problem is not None
    assert f"no QEMU is registered for {arch}" in status.problem.what
    assert re.search("doctor --fix|--install", status.problem.hint), "what helps here"


def test_big_endian_and_32_bits(root: Path) -> None:
    s390x = "7f454c4602020100000000000000000000020016"
    mask = "ffffffffffffff00fffffffffffffffffffeffff"
    arm = "7f454c4601010100000000000000000002002800"
    (root / "s").write_text(
        f"enabled\ninterpreter /s\nflags: F\noffset 0\nmagic {s390x}\nmask {mask}"
    )
    (root / "a").write_text(f"enabled\ninterpreter /a\nflags: F\noffset 0\nmagic {arm}\n")
    assert binfmt(Arch.S390X, root).interpreter == "/s"
    assert binfmt(Arch.ARMV7L, root).interpreter == "/a"


def test_without_the_flag_that_containers_need(root: Path) -> None:
    (root / "qemu-aarch64").write_text(AARCH64.format(flags="OC"))
    status = binfmt(Arch.AARCH64, root)
    assert status.registered
    assert status.problem is not None
    assert "without the F flag" in status.problem.what


def test_disabled_entry_does_not_count(root: Path) -> None:
    text = AARCH64.format(flags="F").replace("enabled", "disabled")
    (root / "qemu-aarch64").write_text(text)
    assert not binfmt(Arch.AARCH64, root).registered


def test_switched_off(root: Path) -> None:
    (root / "status").write_text("disabled\n")
    problem = binfmt(Arch.AARCH64, root).problem
    assert problem is not None
    assert "switched off" in problem.what
    assert "echo 1" in problem.hint


def test_not_mounted(tmp_path: Path) -> None:
    problem = binfmt(Arch.AARCH64, tmp_path / "nothing").problem
    assert problem is not None
    assert "not mounted" in problem.what
    assert "mount -t binfmt_misc" in problem.hint
