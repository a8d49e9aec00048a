from __future__ import annotations

import json

import pytest

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.models.platforms import Arch, Libc
from orchestrator.wheel import Policies
from orchestrator.wheel.external import PRESETS, allowed, resolve
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


def test_presets_and_patterns() -> None:
    patterns = resolve(["torch", "libmine.so*", "cuda", "libmine.so*"])
    assert patterns == (*PRESETS["torch"], "libmine.so*", *PRESETS["cuda"])
    assert resolve(patterns) == patterns


OUTSIDE = {
    "cuda torch": [
        *("libcudart.so.12", "libcuda.so.1", "libtorch_cpu.so", "libc10_cuda.so"),
        *("libcublasLt.so.12", "libnvrtc-builtins.so.12.4", "libcudnn_ops.so.9", "libnccl.so.2"),
        *("libnvJitLink.so.13", "libcufft.so.11", "libnvidia-ml.so.1", "libcusparseLt.so.0"),
        "libnvshmem_host.so.3",
    ],
    "rocm": [
        *("libamdhip64.so.6", "libhsa-runtime64.so.1", "libMIOpen.so.1", "librocblas.so.4"),
        *("libhipblaslt.so.0", "libroctx64.so.4", "librccl.so.1"),
    ],
}


@pytest.mark.parametrize(
    ("presets", "soname"), [(name, each) for name, those in OUTSIDE.items() for each in those]
)
def test_what_wheels_leave_outside(presets: str, soname: str) -> None:
    assert allowed(soname, resolve(presets.split()))


@pytest.mark.parametrize(
    "soname", ["libgomp.so.1", "libopenblas.so.0", "libcrypto.so.3", "libc.so.6"]
)
def test_presets_allow_nothing_else(soname: str) -> None:
    assert not allowed(soname, resolve(["cuda", "torch", "rocm"]))


@pytest.mark.parametrize(
    ("word", "hint"), [("cudaa", "did you mean 'cuda'"), ("zlib", ""), ("", "")]
)
def test_unknown_presets(word: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="neither a preset") as caught:
        resolve([word])
    assert caught.value.problems[0].hint.startswith(hint)
