"""The table of architectures: it is the only place that has to know a new one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.host.program_tables import builder_facts
from orchestrator.models import platforms
from orchestrator.models.platforms import Arch
from tests.conftest import REPOSITORY

TABLE = Path(platforms.__file__)

ROW = """
    SW64 = Architecture(
        name="sw_64",
        aliases=("sunway",),
        triplet="sw64-linux-gnu",
        debian="sw64",
        oci="linux/sw64",
        qemu="shenwei",
        elf=Elf(machine=0x9916, flags=2, abi=(3, 2), code="00000000"),
        pages=1 << 13,
        letter="w",
        first_glibc="2.28",
        first_suite="sid",
        first_qemu=((9, 2), "floating point"),
    )
"""

MATRIX = """
[axes]
python = ["cp312"]
arch = ["sw_64"]

[version]
base = "1.0"

[build]
repair = "auditwheel"

[images]
manylinux_sw_64 = "localhost/sw64:1"
"""


def names() -> Iterator[str]:
    return (name for name in list(sys.modules) if name.partition(".")[0] == "orchestrator")


@pytest.fixture(scope="module")
def module() -> Iterator[Callable[[str], Any]]:
    """Import modules of this program as they are with one more row in the table."""
    before = {name: sys.modules.pop(name) for name in names()}
    head, mark, rest = TABLE.read_text("utf-8").partition("\n\nCROSSED = ")
    made = ModuleType("orchestrator.models.platforms")
    made.__file__ = str(TABLE)
    parent = import_module("orchestrator.models")
    sys.modules[made.__name__] = made
    parent.platforms = made  # type: ignore[attr-defined]
    exec(compile(head + ROW + mark + rest, TABLE, "exec"), made.__dict__)  # noqa: S102
    yield lambda name: import_module(f"orchestrator.{name}")
    for name in names():
        del sys.modules[name]
    sys.modules.update(before)


def make_plan(module: Callable[[str], Any], text: str = MATRIX) -> Any:
    facts = module("cli.workspace").builder_facts()
    settings = module("config.load").load(text.encode(), facts=facts)
    outside = module("plan.version").VersionContext()
    return module("plan.plan").make_plan(settings, outside=outside, facts=facts)


def test_a_new_architecture_is_planned(module: Callable[[str], Any]) -> None:
    plan = make_plan(module)
    (target,) = plan.targets
    assert target.id == "cp312-manylinux_sw_64"
    assert target.arch is module("models.platforms").Arch("sw_64")
    assert target.runner == ("ubuntu-24.04",)
    assert target.emulated
    assert target.compiling.alone == "", "no cross build without a proof of its Python's settings"
    assert "w manylinux_sw_64" in module("report.plans").coverage(plan)[1]
    jobs = module("ci.jobs").plan_jobs(plan, module("ci.jobs").Sizes())
    assert '"qemu":"linux/sw64"' in module("ci.pipelines").github(jobs)


def test_the_matrix_takes_its_names_only(module: Callable[[str], Any]) -> None:
    error = module("errors").ConfigError
    with pytest.raises(error, match="no image for manylinux_sw_64"):
        make_plan(module, MATRIX.partition("[images]")[0])
    with pytest.raises(error, match=r"(?s)unknown arch 'sw64'.*'sw_64'"):
        make_plan(module, MATRIX.replace('"sw_64"', '"sw64"'))
    asked = '[publish]\nto = ["pypi"]\n'
    with pytest.raises(error, match=r"pypi takes no manylinux_\*_sw_64"):
        make_plan(module, MATRIX + asked)


def test_its_programs_are_read_and_started(
    module: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulation = module("host.emulation")
    arch = emulation.host_arch("sunway")
    program = emulation.probe_program(arch)
    assert module("wheel.scan").arch_of(module("wheel.elf").parse(program)) is arch
    (tmp_path / "qemu-shenwei-static").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(emulation, "qemu_version", lambda _: "9.1")
    qemu = emulation.installed_qemu(arch)
    assert qemu == tmp_path / "qemu-shenwei-static"
    with pytest.raises(module("errors").EnvironmentProblemError, match="has no floating point"):
        emulation.check_qemu(arch, qemu)
    monkeypatch.setenv("PATH", "")
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "alien").write_text(
        f"enabled\ninterpreter /q\nflags: F\noffset 0\nmagic {program[:20].hex()}\n"
    )
    assert emulation.binfmt(arch, tmp_path).interpreter == "/q"
    (tmp_path / "alien").unlink()
    assert "--install sw64`" in emulation.binfmt(arch, tmp_path).problem.hint


def test_the_doctor_asks_for_it(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    examine, emulation = module("doctor.examine"), module("host.emulation")
    monkeypatch.setattr(emulation, "_run_probe", lambda _: None)
    monkeypatch.setattr(emulation, "BINFMT_MISC", Path("/nonexistent"))
    (check, *_) = examine._emulation(module("models.platforms").Arch("sw_64"))
    assert check.name == "emulation sw_64"
    with pytest.raises(module("errors").EnvironmentProblemError, match="vax") as raised:
        emulation.host_arch("vax")
    assert "sw_64" in raised.value.problems[0].hint


def test_wheels_for_it_are_read(module: Callable[[str], Any]) -> None:
    platforms = module("models.platforms")
    arch = platforms.Arch("sw_64")
    entry = {
        "name": "manylinux_2_28",
        "aliases": [],
        "priority": 1,
        "lib_whitelist": [],
        "blacklist": {},
        "symbol_versions": {"sw_64": {"GLIBC": ["2.28"]}},
    }
    policies = module("wheel.policy").Policies.from_json(json.dumps([entry]), "[]")
    (policy,) = policies.of(platforms.Libc.MANYLINUX, arch)
    assert policy.tag == "manylinux_2_28_sw_64"
    tag = module("wheel.policy").PlatformTag.parse(policy.tag)
    assert (tag.libc, tag.version, tag.arch) == (platforms.Libc.MANYLINUX, (2, 28), arch)
    assert module("wheel.rules")._BY_TRIPLET["sw64"] is arch


def test_engine_image_and_packages(
    module: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arch = module("models.platforms").Arch("sw_64")
    images, apt = module("containers.images"), module("provision.apt")
    asked: list[str] = []

    def capture(argv: list[str], **_: object) -> Any:
        asked.extend(argv)
        return module("host.process").Captured(returncode=0, stdout="", stderr="")

    monkeypatch.setattr(images, "capture", capture)
    images.pythons_in(images.Image("podman", "localhost/sw64:1", arch, {}))
    assert "--platform=linux/sw64" in asked
    monkeypatch.setattr(apt, "_mirror", lambda _: "http://mirror.example/debian")
    monkeypatch.setattr(apt.Archive, "update", lambda self, _: self)
    archive = apt.of_suite("sid", tmp_path, {}, arch=arch)
    assert any("sw64" in option for option in archive.options)
    (target,) = make_plan(module).targets
    cibuildwheel = module("builders.cibuildwheel")
    assert cibuildwheel._image_name(target) == "CIBW_MANYLINUX_SW_64_IMAGE"
    assert " --arch=sw_64 " in cibuildwheel.repair_command(target)
    assert module("cross.driver").zig_target(arch, "2.28") == "sw64-linux-gnu.2.28"
    assert list(module("provision.foreign_python")._suites(15, arch)) == ["sid"]


def test_commands_know_it(module: Callable[[str], Any]) -> None:
    said = CliRunner().invoke(module("cli.image").command, ["build", "--help"])
    assert "sw_64" in said.output
    asked = ["download", "DIR", "--arch", "vax"]
    assert "sw_64" in CliRunner().invoke(module("cli.toolchain").command, asked).output


def test_names_are_unique() -> None:
    for get in (
        lambda arch: arch.facts.debian,
        lambda arch: arch.facts.oci,
        lambda arch: arch.facts.triplet,
        lambda arch: arch.facts.qemu,
        lambda arch: arch.facts.letter,
        lambda arch: (arch.facts.elf.machine, arch.facts.elf.bits, arch.facts.elf.order),
    ):
        assert len(set(map(get, Arch))) == len(Arch)
    aliases = [name for arch in Arch for name in (arch, *arch.facts.aliases)]
    assert len(set(aliases)) == len(aliases)


def table() -> Iterator[str]:
    """Return the rows of the table in docs/reference/architectures.md."""
    images = builder_facts().default_images
    for arch in Arch:
        ready = [images.get(f"{libc}_{arch}", "").partition("_")[2] for libc in platforms.Libc]
        runner = f"`{arch.facts.runner}`" if arch.facts.runner else "own runners"
        if arch.facts.runs_on:
            runner += ": the kernel runs it, if the CPU still does"
        cells = (
            f"`{arch}`",
            ", ".join(ready) if all(ready) else "none: [make one](../howto/images.md)",
            "cibuildwheel" if all(ready) else "`direct`, in a container",
            runner,
            "yes" if arch.facts.pypi else "no",
        )
        yield f"| {' | '.join(cells)} |"


def test_the_documented_table_is_this_one() -> None:
    text = (REPOSITORY / "docs" / "reference" / "architectures.md").read_text("utf-8")
    documented = [line for line in text.partition("\n## ")[0].splitlines() if line[:3] == "| `"]
    assert documented == list(table())
