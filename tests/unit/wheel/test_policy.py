from __future__ import annotations

import json

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.wheel import Policies
from orchestrator.wheel.policy import PlatformTag


def test_policies_come_best_first(policies: Policies) -> None:
    names = [policy.tag for policy in policies.of(Libc.MANYLINUX, Arch.X86_64)]
    assert names[:3] == ["manylinux_2_5_x86_64", "manylinux_2_12_x86_64", "manylinux_2_17_x86_64"]
    versions = [policy.version for policy in policies.of(Libc.MANYLINUX, Arch.X86_64)]
    assert versions == sorted(versions)


def test_every_architecture_has_policies(policies: Policies) -> None:
    for arch in Arch:
        for libc in Libc:
            assert policies.of(libc, arch), (libc, arch)
    assert policies.of(Libc.MANYLINUX, Arch.LOONGARCH64)[0].tag == "manylinux_2_36_loongarch64"


def test_musl(policies: Policies) -> None:
    (policy,) = policies.of(Libc.MUSLLINUX, Arch.ARMV7L)
    assert policy.tag == "musllinux_1_2_armv7l"
    assert {"libc.musl-armv7.so.1", "libc.so", "libz.so.1"} <= policy.whitelist


def test_versions(policies: Policies) -> None:
    policy = policies.of(Libc.MANYLINUX, Arch.X86_64)[2]
    assert (policy.tag, policy.aliases) == ("manylinux_2_17_x86_64", ("manylinux2014_x86_64",))
    assert policy.allows_version("GLIBC_2.17")
    assert not policy.allows_version("GLIBC_2.18")
    assert not policy.allows_version("GLIBC_PRIVATE")
    assert policy.allows_version("OPENSSL_3.0.0")


@pytest.mark.parametrize("text", ["", "{}", "[{}]", '[{"name": "manylinux_2_5"}]', "[1]"])
def test_broken_policies(text: str) -> None:
    if text == "{}":
        assert Policies.from_json(text, "[]").of(Libc.MANYLINUX, Arch.X86_64) == ()
        return
    with pytest.raises(EnvironmentProblemError, match="manylinux policies"):
        Policies.from_json(text, "[]")


def test_unknown_architectures_are_skipped() -> None:
    entry = {"name": "manylinux_2_5", "aliases": [], "priority": 1, "lib_whitelist": []}
    entry |= {"blacklist": {}, "symbol_versions": {"vax": {}}}
    policies = Policies.from_json(json.dumps([entry]), "[]")
    assert not any(policies.of(Libc.MANYLINUX, arch) for arch in Arch)


@pytest.mark.parametrize(
    ("tag", "libc", "version", "arch"),
    [
        ("manylinux_2_28_x86_64", Libc.MANYLINUX, (2, 28), "x86_64"),
        ("manylinux1_i686", Libc.MANYLINUX, (2, 5), "i686"),
        ("manylinux2014_aarch64", Libc.MANYLINUX, (2, 17), "aarch64"),
        ("musllinux_1_2_armv7l", Libc.MUSLLINUX, (1, 2), "armv7l"),
        ("linux_loongarch64", None, None, "loongarch64"),
    ],
)
def test_platform_tags(
    tag: str, libc: Libc | None, version: tuple[int, int] | None, arch: str
) -> None:
    assert PlatformTag.parse(tag) == PlatformTag(libc=libc, version=version, arch=arch)


@pytest.mark.parametrize("tag", ["any", "win32", "macosx_11_0_arm64", "manylinux"])
def test_other_platform_tags(tag: str) -> None:
    assert PlatformTag.parse(tag) is None
