"""A Python of another architecture: where it is looked for, and what is said where there is none.

The programs are made up: what is asked of apt and uv, and what is done about their failures. That
real ones import wheels is shown in tests/e2e/test_cross.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import emulation
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Digest
from orchestrator.provision.foreign_python import ForeignPythons, _suites
from orchestrator.provision.toolchain import Toolchain
from orchestrator.provision.tools import Tools
from tests.factories import host, program

AWAY = Arch.RISCV64 if emulation.host_arch() is not Arch.RISCV64 else Arch.AARCH64

QEMU = """\
echo "$@" >> {log}
case "$*" in
*--version*) echo "qemu version {version}" ;;
*) {answer} ;;
esac
"""

FAILS = """\
echo "{name} $@" >> {log}
echo "{name}: no network" >&2
exit 100
"""


class Machine:
    """A machine with made-up programs, all of which note how they were called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log = folder / "log"
        self.bin = folder / "bin"
        self.cache = folder / "cache"
        path = f"{self.bin}:{os.defpath}"
        # No QEMU of this machine's own.
        monkeypatch.setenv("PATH", str(self.bin))
        self.cancel = Cancel()
        self.pythons = ForeignPythons(
            host=host(
                self.cache,
                Toolchain(python=folder, root=folder, bin=self.bin, digest=Digest("1" * 64)),
                {"PATH": path},
            ),
            say=lambda _line: None,
            cancel=self.cancel,
        )
        for name in ("apt-get", "uv"):
            program(self.bin / name, FAILS.format(log=self.log, name=name))

    def qemu(self, version: str = "10.0.0", answer: str = "exit 132", arch: Arch = AWAY) -> None:
        text = QEMU.format(log=self.log, version=version, answer=answer)
        program(self.bin / f"qemu-{arch.facts.qemu}", text)

    def calls(self, name: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [each for each in lines if each.startswith(f"{name} ")]

    def refused(self, python: str, arch: Arch = AWAY) -> str:
        with pytest.raises(EnvironmentProblemError) as refused:
            self.pythons.provide(python, arch)
        return refused.value.what


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_without_any_qemu_no_python_is_fetched_and_it_is_asked_for_once(machine: Machine) -> None:
    said = machine.refused("cp312")
    assert said.startswith("no QEMU on PATH, and none to fetch (")
    assert "no network" in said
    asked = len(machine.calls("apt-get"))
    assert machine.calls("uv") == []
    assert machine.refused("cp313") == said
    assert len(machine.calls("apt-get")) == asked, "one attempt for all"
    assert not [e for e in (machine.cache / "foreign-pythons").iterdir() if e.is_dir()]


def test_a_run_that_asks_everything_again_asks_for_these_too(machine: Machine) -> None:
    host = machine.pythons.host
    tools = Tools(host=host, say=lambda _line: None, cancel=machine.cancel)
    counts = []
    for _ in range(2):
        for _ in range(2):
            with pytest.raises(EnvironmentProblemError):
                tools.foreign_python("cp312", AWAY)
        counts.append(len(machine.calls("apt-get")))
        tools.forget_errors()
    assert counts == [counts[0], 2 * counts[0]]


def test_uv_is_asked_once_for_what_debian_has_not(machine: Machine) -> None:
    machine.qemu()
    said = machine.refused("cp312")
    assert machine.refused("cp312") == said
    assert said == (
        f"no CPython 3.12 for {AWAY}: Debian has no CPython 3.12 for {AWAY}; "
        "uv could not fetch one: uv: no network"
    )
    (asked,) = machine.calls("uv")
    name = "riscv64gc" if AWAY is Arch.RISCV64 else AWAY
    assert asked.endswith(f" cpython-3.12-linux-{name}-gnu")
    assert machine.calls("apt-get") == [], "neither QEMU nor libraries are needed for that"


def test_a_python_without_the_gil_is_another_one(machine: Machine) -> None:
    machine.qemu()
    machine.refused("cp313t")
    (asked,) = machine.calls("uv")
    assert "cpython-3.13+freethreaded-linux-" in asked
    assert machine.calls("apt-get") == []


def test_what_both_say_is_told(machine: Machine) -> None:
    machine.qemu()
    said = machine.refused("cp313")
    assert "this machine's apt has no Debian mirror" in said
    assert "uv: no network" in said


def test_a_qemu_that_is_known_to_be_too_old_is_not_tried(machine: Machine) -> None:
    if emulation.host_arch() is Arch.LOONGARCH64:
        pytest.skip("nothing is emulated here")
    machine.qemu(version="7.2.22", arch=Arch.LOONGARCH64)
    said = machine.refused("cp313", Arch.LOONGARCH64)
    assert said.startswith("no QEMU on PATH, and none to fetch ("), "a newer one might have been"


def test_nothing_is_begun_once_a_run_is_cancelled(machine: Machine) -> None:
    machine.cancel.set()
    assert machine.refused("cp311") == "cancelled"
    assert machine.calls("apt-get") == []


@pytest.mark.parametrize(("python", "arch"), [("pp311", AWAY), ("cp313", Arch.S390X), ("x", AWAY)])
def test_what_is_never_cross_built_is_not_looked_for(
    machine: Machine, python: str, arch: Arch
) -> None:
    assert machine.refused(python, arch) == f"no {python} for {arch} is known"


@pytest.mark.parametrize(
    ("minor", "arch", "suites"),
    [
        (11, Arch.AARCH64, ["bookworm"]),
        (11, Arch.RISCV64, []),
        (12, Arch.AARCH64, []),
        (13, Arch.RISCV64, ["trixie", "forky"]),
        (13, Arch.LOONGARCH64, ["forky"]),
        (14, Arch.X86_64, ["forky"]),
    ],
)
def test_a_suite_is_asked_only_for_what_it_may_have(
    minor: int, arch: Arch, suites: list[str]
) -> None:
    assert list(_suites(minor, arch)) == suites
