"""Which of this host's CUDA toolkits count for a cache key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.provision.cuda import toolkit_digests


@pytest.mark.parametrize(
    ("text", "minor", "counts"),
    [
        (b"cuda_13.0.r13.0/compiler", "13.0", True),
        (b"--cuda_arch cuda_13.0.r13.0/compiler", "13.0", True),  # not only the first such word
        (b"cuda_13.0.r13.0/compiler", "13", True),
        (b"cuda_13.0.r13.0/compiler", "13.2", False),
        (b"cuda_130.0.r/compiler", "13", False),
        (b"a script", "13.0", False),
        (b"", "13.0", False),
    ],
)
def test_a_toolkit_counts_for_the_cuda_that_it_is_of(
    tmp_path: Path, text: bytes, minor: str, *, counts: bool
) -> None:
    nvcc = tmp_path / "bin/nvcc"
    nvcc.parent.mkdir()
    nvcc.write_bytes(text)
    found = toolkit_digests({"CUDA_HOME": str(tmp_path), "PATH": ""}, minor)
    digest = hashlib.sha256(text).hexdigest()
    assert (digest in found) is counts
