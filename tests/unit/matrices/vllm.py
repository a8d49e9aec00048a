"""vLLM's release wheels: two architectures by CUDA 13.0, CUDA 12.9 and CPU, six in all.

Source: ``.buildkite/scripts/annotate-release.sh`` of vllm-project/vllm, which lists the wheels of
a release by name, in the version where the wheel without a suffix is the CUDA 13.0 one (the
default had moved from 12.9 by April 2026). The names are `FILENAMES` below; ``device`` is our axis
for what the names only imply. Nothing is excluded.

Not reconstructed: ``.buildkite/release-pipeline.yaml``, which builds them, could be read in
versions of CUDA 12.1's time only, and the stored copy of annotate-release.sh does not name its
commit (the last one before the default moved is 16b3d06eb38ee70d5bbe31867e498e4dfc98d5cc). vLLM's
ROCm, XPU and macOS wheels go their own ways and are left out: hence "vLLM-like".

``setup.py`` adds the suffix where CUDA is not ``VLLM_MAIN_CUDA_VERSION``: +cu129, or .cu129 after
the +g<sha> of a commit (``generate-nightly-index.py``, commit
3c7461c1859eb8f069678af5f2648a3245a66a87, quotes both forms). The manylinux tag of the names was
typed by hand once; ``detect-manylinux-tag.py`` now asks auditwheel.
"""

from __future__ import annotations

from tests.unit.matrices.ground import Cell, cell

CELLS = 6
DEFAULT_CUDA = "13.0"
FILENAMES = {
    ("cuda", "13.0", "x86_64"): "vllm-{}-cp38-abi3-manylinux_2_35_x86_64.whl",
    ("cuda", "13.0", "aarch64"): "vllm-{}-cp38-abi3-manylinux_2_35_aarch64.whl",
    ("cuda", "12.9", "x86_64"): "vllm-{}+cu129-cp38-abi3-manylinux_2_31_x86_64.whl",
    ("cuda", "12.9", "aarch64"): "vllm-{}+cu129-cp38-abi3-manylinux_2_31_aarch64.whl",
    ("cpu", "", "x86_64"): "vllm-{}+cpu-cp38-abi3-manylinux_2_35_x86_64.whl",
    ("cpu", "", "aarch64"): "vllm-{}+cpu-cp38-abi3-manylinux_2_35_aarch64.whl",
}
"""(device, cuda, arch) -> file name, with the version left out. A CPU wheel has no CUDA."""


def expected() -> frozenset[Cell]:
    """The cells that are built; those of the CPU have no ``cuda``."""
    return frozenset(
        cell(python="abi3-cp38", arch=arch, device=device, **({"cuda": cuda} if cuda else {}))
        for device, cuda, arch in FILENAMES
    )


def local_version(target: Cell, sha: str = "") -> str:
    """What follows the plus sign: ``sha`` (given for nightlies only), then the suffix."""
    of = dict(target)
    suffix = "cpu" if of["device"] == "cpu" else "cu" + of["cuda"].replace(".", "")
    parts = [f"g{sha}"] if sha else []
    if of.get("cuda") != DEFAULT_CUDA:
        parts.append(suffix)
    return ".".join(parts)
