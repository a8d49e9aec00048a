from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.index_router import IndexRoutes, original
from orchestrator.models.platforms import Arch, Libc
from orchestrator.provision import wheelhouse
from orchestrator.provision.environments import EnvironmentQuestion, _chosen_files, _manifest

LOCK = """\
nvidia-cublas==13.1.1.3 \\
    --hash=sha256:{a}
    # via torch
    # from http://127.0.0.1:5/1
Torch_Thing==2.13.0+cu130 \\
    --hash=sha256:{b} \\
    --hash=sha256:{a}
    # via -r requirements.in
    # from http://127.0.0.1:5/0
own @ git+https://example.org/own@abc
    # via -r requirements.in
""".format(a="a" * 64, b="b" * 64)

QUESTION = EnvironmentQuestion(
    python="cp312",
    arch=Arch.X86_64,
    libc=Libc.MANYLINUX,
    glibc="2.30",
    requires=("torch",),
    indexes=(("torch-thing", "https://own/cu130"), ("nvidia-*", "https://own/nv")),
)


def test_a_lock_says_what_comes_from_where() -> None:
    cublas, torch, own = wheelhouse.parse(LOCK)
    assert (cublas.pin, cublas.index) == ("nvidia-cublas==13.1.1.3", "http://127.0.0.1:5/1")
    assert (torch.pin, torch.index) == ("torch-thing==2.13.0+cu130", "http://127.0.0.1:5/0")
    assert own.pin == "own @ git+https://example.org/own@abc"
    assert torch.hashes == cublas.hashes | {"b" * 64}
    routes = IndexRoutes.of(QUESTION.indexes, {})
    assert [original(each.index, routes) for each in (torch, cublas)] == [
        "https://own/cu130",
        "https://own/nv",
    ]


PYLOCK = """\
lock-version = "1.0"
created-by = "uv"
[[packages]]
name = "torch-thing"
version = "2.13.0+cu130"
[[packages.wheels]]
url = "https://me:secret@own/x/torch_thing-2.13.0%2Bcu130-py3-none-any.whl"
hashes = {{ sha256 = "{a}" }}
[[packages]]
name = "old"
version = "1.0"
sdist = {{ url = "https://own/old-1.0.tar.gz", hashes = {{ sha256 = "{a}" }} }}
[[packages]]
name = "direct"
archive = {{ url = "https://own/direct-2.0-py3-none-any.whl", hashes = {{ sha256 = "{a}" }} }}
[[packages]]
name = "here"
directory = {{ path = "here" }}
[[packages]]
name = "own"
vcs = {{ type = "git", url = "https://example.org/own", commit-id = "abc" }}
""".format(a="a" * 64)


def test_the_files_of_a_lock_are_known() -> None:
    torch, old, direct = _chosen_files(PYLOCK)
    assert (torch.name, torch.version, torch.sha256) == ("torch-thing", "2.13.0+cu130", "a" * 64)
    assert torch.filename == "torch_thing-2.13.0+cu130-py3-none-any.whl"
    assert torch.url == "https://own/x/torch_thing-2.13.0%2Bcu130-py3-none-any.whl"
    assert (old.filename, direct.filename) == ("old-1.0.tar.gz", "direct-2.0-py3-none-any.whl")
    assert direct.version == ""


def test_a_lock_is_installed_from_those_indexes() -> None:
    lock = wheelhouse.parse(
        "torch-thing==2.13.0\nnumpy==2.4.0\nnvidia-nccl==1\nown @ git+https://example.org/own@abc\n"
    )
    made = tomllib.loads(_manifest(QUESTION, lock))
    assert made["project"]["dependencies"] == [
        "torch-thing==2.13.0",
        "numpy==2.4.0",
        "nvidia-nccl==1",
        "own @ git+https://example.org/own@abc",
    ]
    urls = {each["name"]: each["url"] for each in made["tool"]["uv"]["index"]}
    assert all(each["explicit"] for each in made["tool"]["uv"]["index"])
    sources = made["tool"]["uv"]["sources"]
    assert {name: urls[each["index"]] for name, each in sources.items()} == {
        "torch-thing": "https://own/cu130",
        "nvidia-nccl": "https://own/nv",
    }


@pytest.mark.parametrize(
    ("arch", "libc", "glibc", "platform"),
    [
        (Arch.X86_64, Libc.MANYLINUX, "2.17", "x86_64-manylinux_2_17"),
        (Arch.X86_64, Libc.MANYLINUX, "2.30", "x86_64-manylinux_2_28"),
        (Arch.AARCH64, Libc.MANYLINUX, "2.99", "aarch64-manylinux_2_40"),
        (Arch.RISCV64, Libc.MANYLINUX, "2.41", "riscv64-unknown-linux-gnu"),
        (Arch.X86_64, Libc.MUSLLINUX, "", "x86_64-unknown-linux-musl"),
    ],
)
def test_wheels_are_chosen_for_the_platform(
    arch: Arch, libc: Libc, glibc: str, platform: str
) -> None:
    asked = EnvironmentQuestion(
        python="cp312", arch=arch, libc=libc, glibc=glibc, requires=("torch",)
    )
    options = asked.options(Path("/python"))
    assert f"--python-platform={platform}" in options
    assert "--python-version=3.12" in options
    assert "--no-build" in options


@pytest.mark.parametrize(
    ("python", "arch", "words"), [("cp314t", Arch.X86_64, "free"), ("cp312", Arch.I686, "i686")]
)
def test_what_uv_has_no_name_for_is_said(python: str, arch: Arch, words: str) -> None:
    asked = EnvironmentQuestion(python=python, arch=arch, libc=Libc.MANYLINUX, requires=())
    with pytest.raises(EnvironmentProblemError, match=words):
        asked.options(Path("/python"))
