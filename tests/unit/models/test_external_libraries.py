from __future__ import annotations

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.external_libraries import PRESETS, allowed, resolve


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
