"""FlashInfer's two matrices: per torch and CUDA (15 cells, 7 built), and today's (6).

Repository: flashinfer-ai/flashinfer.

`expected_by_torch` is ``.github/workflows/release_wheel.yml`` of commit
21ea1d2545f74782b91eb8c08fd503ac4c0743fc (2025-05-17, version.txt 0.2.5): three torch by five CUDA,
eight ``exclude`` entries. The label comes from ``scripts/run-ci-build-wheel.sh``, ``cp38`` from
``setup.py``, both of that commit; the image is the condition of its ``BUILDER_IMAGE``.

Not 0.1.6: the matrix that goes from 15 to 7, and the image switch (commit
382a4d780831470ee6b3f06888d531d4c9724ec1, 2025-04-04), belong to 0.2.5. 0.1.6 is the version whose
file name ``flashinfer-0.1.6+cu124torch2.4-cp38-abi3-linux_x86_64.whl`` is quoted: the matrix of
commit b1b1fb8fb36a6442067a4d6ceb64319a40d854d4 (2024-12-14, version.txt 0.1.6), which first built
one abi3 wheel per torch and CUDA, has nine cells and also seven wheels (`expected_0_1_6`); all of
them used one image, and cu124torch2.4 is one of them.

Two of the eight exclusions (torch 2.5 with CUDA 11.8 and 12.4) are no impossible cells: another
workflow, ``release_wheel_sglang.yml``, builds them. The other six are what torch never published.

``cp38`` is the tag only: the file builds with Python 3.10, as torch 2.5 and later have no cp38.

`expected_today` is the ``jit_cache`` list of ``ci/cuda-versions.json`` by the ``arch`` list of
``.github/workflows/release.yml``, commit 9a0e83b618a9ebf63c0cdfbabdb4702ac6387e90 (2026-08-21);
cp39-abi3 comes from ``flashinfer-jit-cache/build_backend.py``. Nothing is excluded there. Until
that commit the list was 12.8, 12.9 and 13.0.
"""

from __future__ import annotations

from tests.unit.matrices.ground import Cell, product, without

BEFORE_BY_TORCH = 15
AFTER_BY_TORCH = 7
BY_TORCH = {
    "python": ("abi3-cp38",),
    "arch": ("x86_64",),
    "torch": ("2.5", "2.6", "2.7"),
    "cuda": ("11.8", "12.1", "12.4", "12.6", "12.8"),
}
BUILT_ELSEWHERE = (
    {"cuda": "11.8", "torch": "2.5"},
    {"cuda": "12.4", "torch": "2.5"},
)
NEVER_PUBLISHED = (
    {"cuda": "12.6", "torch": "2.5"},
    {"cuda": "12.8", "torch": "2.5"},
    {"cuda": "12.1", "torch": "2.6"},
    {"cuda": "12.8", "torch": "2.6"},
    {"cuda": "12.1", "torch": "2.7"},
    {"cuda": "12.4", "torch": "2.7"},
)
OLD_IMAGE = "pytorch/manylinux-builder:cuda{}"
NEW_IMAGE = "pytorch/manylinux2_28-builder:cuda{}"
IMAGE = {
    ("2.5", "12.1"): OLD_IMAGE,
    ("2.6", "11.8"): OLD_IMAGE,
    ("2.6", "12.4"): OLD_IMAGE,
    ("2.6", "12.6"): NEW_IMAGE,
    ("2.7", "11.8"): NEW_IMAGE,
    ("2.7", "12.6"): NEW_IMAGE,
    ("2.7", "12.8"): NEW_IMAGE,
}
"""(torch, cuda) -> image: the new one from torch 2.6 with CUDA 12.6 on, and from torch 2.7 on."""


def candidates_by_torch() -> frozenset[Cell]:
    """The cross product of the file of 0.2.5."""
    return product(**BY_TORCH)


def expected_by_torch() -> frozenset[Cell]:
    """The cells of 0.2.5 that are built."""
    return without(candidates_by_torch(), *BUILT_ELSEWHERE, *NEVER_PUBLISHED)


def image(target: Cell) -> str:
    """The image that builds a cell of `expected_by_torch`."""
    of = dict(target)
    return IMAGE[of["torch"], of["cuda"]].format(of["cuda"])


def label(target: Cell) -> str:
    """The local version of a wheel that is built per torch and CUDA: ``cu124torch2.4``."""
    of = dict(target)
    return f"cu{of['cuda'].replace('.', '')}torch{of['torch']}"


BEFORE_0_1_6 = 9
AFTER_0_1_6 = 7


def candidates_0_1_6() -> frozenset[Cell]:
    """The cross product of the file of 0.1.6."""
    return product(
        python=("abi3-cp38",),
        arch=("x86_64",),
        torch=("2.2", "2.3", "2.4"),
        cuda=("11.8", "12.1", "12.4"),
    )


def expected_0_1_6() -> frozenset[Cell]:
    """The cells of 0.1.6 that are built."""
    return without(
        candidates_0_1_6(), {"cuda": "12.4", "torch": "2.2"}, {"cuda": "12.4", "torch": "2.3"}
    )


TODAY = 6
TODAY_ARCH_LISTS = {
    ("12.9", "x86_64"): "7.5 8.0 8.9 9.0a 10.0a 10.3a 12.0f",
    ("12.9", "aarch64"): "7.5 8.0 8.9 9.0a 10.0a 10.3a 12.0f",
    ("13.0", "x86_64"): "7.5 8.0 8.9 9.0a 10.0a 10.3a 12.0f",
    ("13.0", "aarch64"): "7.5 8.0 8.9 9.0a 10.0a 10.3a 11.0a 12.0f 12.1a",
    ("13.4", "x86_64"): "7.5 8.0 8.9 9.0a 10.0a 10.3a 10.7a 12.0f",
    ("13.4", "aarch64"): "7.5 8.0 8.9 9.0a 10.0a 10.3a 10.7a 11.0a 12.0f 12.1a",
}
"""(cuda, arch) -> FLASHINFER_CUDA_ARCH_LIST."""
TODAY_TORCH_INDEX = {"12.9": "cu129", "13.0": "cu130", "13.4": "nightly/cu134"}
TODAY_IMAGE = {
    "x86_64": "pytorch/manylinux2_28-builder:cuda{}",
    "aarch64": "pytorch/manylinuxaarch64-builder:cuda{}",
}


def expected_today() -> frozenset[Cell]:
    """The cells that are built today."""
    return product(python=("abi3-cp39",), arch=("x86_64", "aarch64"), cuda=("12.9", "13.0", "13.4"))
