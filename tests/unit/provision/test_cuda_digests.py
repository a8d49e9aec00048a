"""Which of this host's CUDA toolkits count for a cache key."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from orchestrator.provision.cuda import _read_nvcc, toolkit_digests


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
    found = toolkit_digests({"CUDA_HOME": str(tmp_path), "PATH": ""}, minor, tmp_path)
    digest = hashlib.sha256(text).hexdigest()
    assert (digest in found) is counts


def test_a_toolkit_that_changes_has_another_digest(tmp_path: Path) -> None:
    nvcc = tmp_path / "bin/nvcc"
    nvcc.parent.mkdir()

    def digest() -> str:
        _read_nvcc.cache_clear()  # as in another run
        return toolkit_digests({"CUDA_HOME": str(tmp_path), "PATH": ""}, "13.0", tmp_path)[0]

    nvcc.write_bytes(b"cuda_13.0.r13.0/one")
    first = digest()
    assert digest() == first, "what is remembered is the same"
    nvcc.write_bytes(b"cuda_13.0.r13.0/two")
    second = digest()
    assert second != first
    for memory in (tmp_path / "nvccs").iterdir():
        memory.write_text("damaged")
    assert digest() == second
