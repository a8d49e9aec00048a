from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import emulation
from orchestrator.host.emulation import (
    Execution,
    binfmt,
    examine,
    host_arch,
    how,
    probe_program,
    processors,
    register,
)
from orchestrator.models.platforms import Arch

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


def test_emulated_programs_are_told_of_processors_of_their_own_architecture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(emulation, "host_arch", lambda: Arch.X86_64)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)

    first, second, end = processors(Arch.AARCH64).split("\n\n")

    lines = [line.split("\t: ") for line in first.splitlines() if "\t: " in line]
    assert dict(lines)["CPU implementer"] == "0x41"
    assert "asimd" in dict(lines)["Features"].split()
    assert second.startswith("processor\t: 1\n")
    assert end == ""
    assert processors(Arch.X86_64) == processors(Arch.I686) == processors(Arch.S390X) == ""


def test_how() -> None:
    assert how(Arch.X86_64, Arch.I686) is Execution.COMPATIBLE
    assert how(Arch.AARCH64, Arch.ARMV7L) is Execution.COMPATIBLE
    assert how(Arch.I686, Arch.X86_64) is Execution.EMULATED
    assert how(Arch.X86_64, Arch.LOONGARCH64) is Execution.EMULATED


def test_registered(root: Path) -> None:
    (root / "whatever-name").write_text(AARCH64.format(flags="POCF"))
    status = binfmt(Arch.AARCH64, root)
    assert (status.problem, status.flags) == (None, "POCF")
    assert status.interpreter.endswith("aarch64-binfmt-P")


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


def test_switched_off(root: Path) -> None:
    (root / "status").write_text("disabled\n")
    problem = binfmt(Arch.AARCH64, root).problem
    assert problem is not None
    assert "switched off" in problem.what
    assert "echo 1" in problem.hint


def test_this_machine_runs_itself() -> None:
    found = examine(host_arch())
    assert (found.execution, found.problem, found.warnings) == (Execution.NATIVE, None, ())
    assert found.detail == f"native on {host_arch()}"


FOREIGN = Arch.LOONGARCH64 if host_arch() is not Arch.LOONGARCH64 else Arch.AARCH64


def answers(
    monkeypatch: pytest.MonkeyPatch, root: Path, code: int | None, version: str = "10.0.2"
) -> None:
    """Let this machine have a handler for loongarch64, and its programs end with a status."""
    header = probe_program(FOREIGN)[:20].hex()
    (root / "q").write_text(
        f"enabled\ninterpreter /usr/bin/q\nflags: PF\noffset 0\nmagic {header}\n"
    )
    monkeypatch.setattr(emulation, "_run_probe", lambda _arch: code)
    monkeypatch.setattr(emulation, "qemu_version", lambda _program: version)


@pytest.mark.parametrize(
    ("code", "version", "name"),
    [(3, "10.0.2", "QEMU 10.0.2"), (None, "", "a QEMU of unknown version")],
    ids=["it runs programs", "trying is not allowed: the registration counts"],
)
def test_a_good_qemu(
    monkeypatch: pytest.MonkeyPatch, root: Path, code: int | None, version: str, name: str
) -> None:
    answers(monkeypatch, root, code, version)
    found = examine(FOREIGN, root)
    assert (found.problem, found.version, found.flags) == (None, version, "PF")
    assert found.detail == f"{name}: /usr/bin/q (flags PF)"


@pytest.mark.parametrize(
    ("code", "words"), [(4, "one argument too many"), (127, "cannot run a program")]
)
def test_a_registration_that_does_not_work(
    monkeypatch: pytest.MonkeyPatch, root: Path, code: int, words: str
) -> None:
    answers(monkeypatch, root, code)
    problem = examine(FOREIGN, root).problem
    assert problem is not None
    assert words in problem.what


@pytest.mark.parametrize(("version", "good"), [("7.2.22", False), ("8.1", True), ("10.0.2", True)])
def test_loongarch64_needs_a_qemu_with_vector_instructions(
    monkeypatch: pytest.MonkeyPatch,
    root: Path,
    version: str,
    good: bool,  # noqa: FBT001
) -> None:
    answers(monkeypatch, root, 3, version)
    if FOREIGN is not Arch.LOONGARCH64:
        pytest.skip("loongarch64 is not foreign here")
    problem = examine(FOREIGN, root).problem
    assert (problem is None) is good
    if problem is not None:
        assert f"QEMU {version} for loongarch64: has no LSX" in problem.what
        assert "QEMU 10.0 works" in problem.hint


def test_what_may_go_wrong_is_a_warning() -> None:
    fatal, warnings = emulation._known_trouble(Arch.ARMV7L, "10.0")
    assert fatal == ()
    assert ["EOVERFLOW" in each.what for each in warnings] == [True]


def test_our_own_registration_counts_before_an_older_one(root: Path) -> None:
    (root / "qemu-aarch64").write_text(AARCH64.format(flags="F"))
    ours = AARCH64.format(flags="PF").replace("/usr/libexec/qemu-binfmt/aarch64-binfmt-P", "/ours")
    (root / "orchestrator-aarch64").write_text(ours)
    assert binfmt(Arch.AARCH64, root).interpreter == "/ours"


@pytest.fixture
def as_root(monkeypatch: pytest.MonkeyPatch, root: Path) -> Path:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(emulation, "installed_qemu", lambda _arch: root / "qemu")
    monkeypatch.setattr(emulation, "qemu_version", lambda _program: "10.0")
    return root


def test_registering_writes_what_the_kernel_wants(
    monkeypatch: pytest.MonkeyPatch, as_root: Path
) -> None:
    good = emulation.Emulation(arch=Arch.S390X, execution=Execution.EMULATED)
    monkeypatch.setattr(emulation, "examine", lambda _arch, _root: good)
    register(Arch.S390X, as_root)
    # as QEMU's own qemu-binfmt-conf.sh has it
    assert (as_root / "register").read_text() == (
        r":orchestrator-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"
        r"\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff"
        rf"\xff\xfe\xff\xff:{as_root}/qemu:PF"
    )


def test_without_the_p_flag_where_it_does_harm(
    monkeypatch: pytest.MonkeyPatch, as_root: Path
) -> None:
    def look(arch: Arch, root: Path) -> emulation.Emulation:
        flags = (root / "register").read_text().rpartition(":")[2]
        found = emulation.Emulation(arch=arch, execution=Execution.EMULATED, flags=flags)
        problem = next(emulation._judge(found, 4 if "P" in flags else 3), None)
        return replace(found, problem=problem)

    monkeypatch.setattr(emulation, "examine", look)
    register(Arch.RISCV64, as_root)
    assert (as_root / "register").read_text().endswith(":F")


def test_what_is_too_old_is_not_registered(monkeypatch: pytest.MonkeyPatch, as_root: Path) -> None:
    monkeypatch.setattr(emulation, "qemu_version", lambda _program: "7.2.22")
    with pytest.raises(EnvironmentProblemError, match="LSX"):
        register(Arch.LOONGARCH64, as_root)
    assert (as_root / "register").read_text() == ""


def test_registering_needs_root_and_a_qemu(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(emulation, "installed_qemu", lambda _arch: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EnvironmentProblemError, match="only root"):
        register(Arch.S390X, root)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(EnvironmentProblemError) as missing:
        register(Arch.S390X, root)
    assert "apt-get install qemu-user-static" in missing.value.hint
