from __future__ import annotations

import hashlib
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.containers import image_build
from orchestrator.containers.image_build import ImageRecipe
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Digest
from orchestrator.provision.toolchain import Toolchain

RECIPE = ImageRecipe(
    suite="forky", arch=Arch.ARMV7L, tag="localhost/mine:1", mirror="https://mirror.example/debian/"
)
RELEASE = "Suite: testing\nDate: Fri, 30 Oct 2026 08:08:01 UTC\nArchitectures: all amd64 armhf\n"


def maker(tmp_path: Path, recipe: ImageRecipe = RECIPE) -> image_build._Maker:
    tools = Toolchain(
        python=Path("/nowhere/python"),
        root=Path("/nowhere"),
        bin=Path("/nowhere"),
        digest=Digest("0" * 64),
    )
    return image_build._Maker(recipe, tmp_path, tools, dict(os.environ), lambda _line: None)


def test_a_recipe_is_what_decides_about_the_image() -> None:
    assert RECIPE.digest == replace(RECIPE, tag="other", mirror="https://other.example/").digest
    others = [
        replace(RECIPE, suite="trixie"),
        replace(RECIPE, arch=Arch.I686),
        replace(RECIPE, pythons=("cp314",)),
        replace(RECIPE, packages=("cmake",)),
    ]
    assert len({RECIPE.digest, *(each.digest for each in others)}) == 5


def test_the_file_is_the_same_for_the_same_file_system_and_engines_can_read_it(
    tmp_path: Path,
) -> None:
    layer = tmp_path / "layer.tar"
    layer.write_bytes(b"layer" * 1000)
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    made = maker(tmp_path)
    made._epoch = 1_793_347_681
    config = made._config(digest, {"libc": "glibc-2.43"})
    text = json.dumps(config, sort_keys=True).encode()
    for name in ("one.tar", "two.tar"):
        image_build._write_archive(tmp_path / name, RECIPE.tag, text, layer, digest)

    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        (entry,) = json.load(manifest)
        stored = archive.extractfile(entry["Config"])
        assert stored is not None
        assert hashlib.sha256(stored.read()).hexdigest() == entry["Config"].removesuffix(".json")
        assert entry["RepoTags"] == ["localhost/mine:1"]
        assert archive.getmember(entry["Layers"][0]).size == 5000
    assert (config["os"], config["architecture"], config["variant"]) == ("linux", "arm", "v7")
    assert config["created"] == "2026-10-30T08:08:01Z"
    assert config["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{digest}"]}


def archive_says(monkeypatch: pytest.MonkeyPatch, release: str | None) -> None:
    def capture(argv: list[str], **_: object) -> process.Captured:
        if release is not None:
            Path(argv[-1]).write_text(release)
        return process.Captured(returncode=0, stdout="", stderr="E: 404  Not Found")

    monkeypatch.setattr(process, "capture", capture)


def test_times_come_from_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_says(monkeypatch, RELEASE)
    assert maker(tmp_path)._release_date().isoformat() == "2026-10-30T08:08:01+00:00"


def test_a_suite_without_the_architecture_says_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive_says(monkeypatch, RELEASE)
    with pytest.raises(EnvironmentProblemError, match="forky has no riscv64") as caught:
        maker(tmp_path, replace(RECIPE, arch=Arch.RISCV64))._release_date()
    assert "all amd64 armhf" in caught.value.problems[0].hint


def test_an_unknown_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive_says(monkeypatch, None)
    with pytest.raises(EnvironmentProblemError, match="cannot be read") as caught:
        maker(tmp_path)._release_date()
    assert "--mirror" in caught.value.problems[0].hint


def test_the_lock_says_which_programs_an_image_gets() -> None:
    assert image_build._locked("auditwheel").startswith("auditwheel==6.")
    assert image_build._locked("nobody-has-this") == "nobody-has-this"


def test_only_root_can_make_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EnvironmentProblemError, match="takes root"):
        image_build._check_machine(Arch.X86_64 if os.uname().machine == "x86_64" else Arch.AARCH64)
