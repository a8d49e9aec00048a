"""`orchestrator slice`: a wheel for each GPU architecture."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from orchestrator.errors import ExitCode
from orchestrator.models import variant_metadata
from orchestrator.wheel import open_wheel, slicing, verify
from orchestrator.wheel.scan import scan
from tests.auditor import load_policies
from tests.gpumaker import PTX, device_library, entry, fatbin
from tests.unit.cli.test_wheels import Cli
from tests.wheelmaker import WheelSpec


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    return Cli(capture=capsys, asked=[])


def code(arch: int, kind: int = 2) -> bytes:
    noise = random.Random(arch)  # noqa: S311 - nothing secret
    return entry(arch, noise.randbytes(40_000), kind=kind)


FAT = device_library(
    "libcudart.so.13",
    linked=fatbin(code(80), code(86), code(90), code(90, PTX)),
    texts=b"texts after the code",
)
PLAIN = device_library(linked=b"")
GRAFTED = "demo.libs/libkernels-0123abcd.so.1"
BILL = {
    "bomFormat": "CycloneDX",
    "components": [
        {"bom-ref": GRAFTED, "hashes": [{"alg": "SHA-256", "content": "0" * 64}]},
        {"bom-ref": "demo.libs/other.so", "hashes": [{"alg": "SHA-256", "content": "1" * 64}]},
    ],
}


def made(folder: Path, version: str = "1.0+cu130", fat: bytes = FAT) -> Path:
    spec = WheelSpec(version=version)
    spec.members = {"demo/_c.so": fat, GRAFTED: fat, "demo/plain.so": PLAIN, "demo/a.txt": b"a"}
    spec.extra_info["sboms/orchestrator.cdx.json"] = json.dumps(BILL).encode()
    return spec.write(folder)


def errors(path: str) -> list[str]:
    report = verify(Path(path), load_policies(), external=["cuda"])
    return [each.message for each in report.problems if each.severity == "error"]


def archs(path: Path) -> dict[str, set[str]]:
    with open_wheel(path) as archive:
        return {
            name: {each.arch for each in device.entries}
            for name, device in scan(archive).devices.items()
        }


def test_a_wheel_for_each_architecture(cli: Cli, tmp_path: Path) -> None:
    wheel = made(tmp_path)
    _, lines, err = cli("slice", str(wheel), "--by", "gpu-arch", "--output-dir", "new")

    names = [line.rpartition("/")[2] for line in lines]
    tags = "cp312-cp312-manylinux_2_17_x86_64.whl"
    assert names == [f"demo-1.0+cu130.{arch}-{tags}" for arch in ("sm80", "sm86", "sm90")]
    for name, arch in zip(names, ("sm_80", "sm_86", "sm_90"), strict=True):
        new = tmp_path / "new" / name
        assert archs(new) == {"demo/_c.so": {arch}, GRAFTED: {arch}}
        assert new.stat().st_size < wheel.stat().st_size / 2
        assert f"{arch}: " in err
    assert "less code in 2 files" in err


def test_record_and_bills_are_right(cli: Cli, tmp_path: Path) -> None:
    name = cli("slice", str(made(tmp_path)), "--by=gpu-arch", "--group=9.0")[1][0]
    assert errors(name) == []
    with open_wheel(tmp_path / name) as archive:
        bill = json.loads(archive.read(f"{archive.dist_info}/sboms/orchestrator.cdx.json"))
        hashes = [each["hashes"][0]["content"] for each in bill["components"]]
        assert hashes == [hashlib.sha256(archive.read(GRAFTED)).hexdigest(), "1" * 64]
        assert archive.read("demo/plain.so") == PLAIN


@pytest.mark.parametrize(
    ("options", "local", "has"),
    [
        (("--group", "sm_80,sm_86"), "+sm80.sm86", {"sm_80", "sm_86"}),
        (("--group", "8.0;86", "--keep-ptx"), "+sm80.sm86.ptx", {"sm_80", "sm_86", "compute_90"}),
    ],
)
def test_groups_and_ptx(
    options: tuple[str, ...], local: str, has: set[str], cli: Cli, tmp_path: Path
) -> None:
    (name,) = cli("slice", str(made(tmp_path, "1.0")), "--by", "gpu-arch", *options)[1]
    assert f"demo-1.0{local}-cp312" in name
    assert archs(tmp_path / name) == dict.fromkeys(("demo/_c.so", GRAFTED), has)


def test_slices_as_variants(cli: Cli, tmp_path: Path) -> None:
    groups = ("--group", "80,86", "--group", "90")
    lines = cli("slice", str(made(tmp_path, "1.0")), "--by=gpu-arch", "--variants", *groups)[1]
    assert [line.rpartition("-")[2] for line in lines] == ["sm80_sm86.whl", "sm90.whl"]
    assert [errors(line) for line in lines] == [[], []]
    with open_wheel(tmp_path / lines[0]) as archive:
        found = variant_metadata.loads(archive.read(f"{archive.dist_info}/variant.json"), where="")
    assert found.variants == {"sm80_sm86": {"nvidia": {"sm_arch": ("80_real", "86_real")}}}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--group", "sm_75"), 2, "no machine code for sm_75"),
        (("--group", "turing"), 2, "'turing' is no GPU architecture"),
        (("--group", ","), 2, "a group without architectures"),
        (("--variants", "--group", "80,86,90", "--keep-ptx"), 2, "cannot be a label"),
    ],
)
def test_what_cannot_be_asked_for(
    options: tuple[str, ...], status: int, message: str, cli: Cli, tmp_path: Path
) -> None:
    code, _, err = cli("slice", str(made(tmp_path)), "--by", "gpu-arch", *options)
    assert (code, message in " ".join(err.split())) == (status, True)


@pytest.mark.parametrize(
    ("fat", "message"),
    [
        (PLAIN, "no machine code of CUDA"),
        (device_library(linked=fatbin(code(90))), "it has no other code"),
        (device_library(linked=fatbin(code(80), code(90)) + b"more"), "but 4 are left"),
    ],
)
def test_a_wheel_with_nothing_to_take_out(
    fat: bytes, message: str, cli: Cli, tmp_path: Path
) -> None:
    code, _, err = cli("slice", str(made(tmp_path, fat=fat)), "--by", "gpu-arch", "--group", "90")
    assert (code, message in " ".join(err.split())) == (5, True)


def test_architectures_that_nobody_makes_are_no_thousand_wheels(cli: Cli, tmp_path: Path) -> None:
    """A wheel of 60 kB would be a thousand copies."""
    fat = fatbin(*(entry(arch, b"") for arch in range(1, 1001)))
    wheel = made(tmp_path, fat=device_library(linked=fat))
    before = {*tmp_path.iterdir()}
    for options in ((), ("--group", "sm_80")):
        code, lines, said = cli("slice", str(wheel), "--by=gpu-arch", *options)
        assert (code, lines) == (ExitCode.BAD_WHEEL, [])
        assert " ".join(said.split()).endswith("it has code for 1000 architectures of GPUs")
    assert {*tmp_path.iterdir()} == before


@pytest.mark.parametrize("largest", [0, 200_000])
def test_more_than_fits_into_memory_stays_as_it_is(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr(slicing, "LARGEST", largest)
    wheel = str(made(tmp_path))
    code, _, said = cli("slice", wheel, "--by=gpu-arch", "--group=90")
    assert code == (ExitCode.BAD_WHEEL if largest == 0 else ExitCode.OK)
    assert "0 GiB are in memory" in " ".join(said.split())
    assert ("less code in 1 file" in said) == bool(largest)
