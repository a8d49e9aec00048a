"""flash-attention's release matrix: 160 cells, of which 56 are built.

Source: ``.github/workflows/publish.yml`` of Dao-AILab/flash-attention, commit
c04a8080dcfa7d010f5c39ad0a523eceda695706 (2026-03-10), unchanged in the snapshot of 2026-08-15
(0251105a2fb19d2957484b7f023cd8c115286ced). The axes and the eight ``exclude`` entries below are
that file's, applied as GitHub applies them: an entry removes the combinations that hold all of
its values. Nothing had to be reconstructed.

Its ``os`` axis stands for the architecture: ubuntu-22.04 is x86_64, ubuntu-22.04-arm aarch64.

``cuda`` is the toolkit that compiles, not torch's CUDA: ``_build.yml`` of the same commit installs
the newest torch build whose CUDA is no newer than the toolkit (`torch_cuda`). So toolkit 12.9.1
with torch 2.6 compiles against the cu126 build, whose C++ ABI is 1, for both values of
``cxx11abi``: the FALSE wheels of torch 2.6 carry a label that is not true (issues 1717, 1783).
"""

from __future__ import annotations

from tests.unit.matrices.ground import Cell, product, without

BEFORE = 160
AFTER = 56
AFTER_BY_ARCH = {"x86_64": 32, "aarch64": 24}

ALL = {
    "python": ("cp310", "cp311", "cp312", "cp313"),
    "arch": ("x86_64", "aarch64"),
    "torch": ("2.6.0", "2.7.1", "2.8.0", "2.9.1", "2.10.0"),
    "cuda": ("12.9.1", "13.0.1"),
    "cxx11abi": ("FALSE", "TRUE"),
}
EXCLUDE = (
    {"torch": "2.6.0", "cuda": "13.0.1"},
    {"torch": "2.7.1", "cuda": "13.0.1"},
    {"torch": "2.8.0", "cuda": "13.0.1"},
    {"torch": "2.6.0", "arch": "aarch64"},
    {"torch": "2.7.1", "cxx11abi": "FALSE"},
    {"torch": "2.8.0", "cxx11abi": "FALSE"},
    {"torch": "2.9.1", "cxx11abi": "FALSE"},
    {"torch": "2.10.0", "cxx11abi": "FALSE"},
)
TORCH_CUDA = {
    "2.6": ("11.8", "12.4", "12.6"),
    "2.7": ("11.8", "12.6", "12.8"),
    "2.8": ("12.6", "12.8", "12.9"),
    "2.9": ("12.6", "12.8", "13.0"),
    "2.10": ("12.6", "12.8", "13.0"),
}
"""``available`` in _build.yml: the CUDA builds it chooses from."""


def candidates() -> frozenset[Cell]:
    """The cross product, before exclusions."""
    return product(**ALL)


def expected() -> frozenset[Cell]:
    """The cells that are built."""
    return without(candidates(), *EXCLUDE)


def torch_cuda(target: Cell) -> str:
    """The CUDA of the torch build that this cell compiles against."""
    of = dict(target)
    toolkit = _number(of["cuda"])
    return max((v for v in TORCH_CUDA[_minor(of["torch"])] if _number(v) <= toolkit), key=_number)


def label(target: Cell) -> str:
    """The local version that the wheel's file name gets, by its last build step."""
    of = dict(target)
    major = of["cuda"].split(".")[0]
    return f"cu{major}torch{_minor(of['torch'])}cxx11abi{of['cxx11abi']}"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
