"""flash-attention-prebuild-wheels: 2,102 cells, of which 854 are valid and 650 are wheels.

Source: ``scripts/coverage_matrix.py`` of mjun0812/flash-attention-prebuild-wheels, commit
058e5835fa41fd77a2e92bb0064ddef363a1649d (2026-07-08), unchanged in the snapshot of 2026-08-22
(2614dc8481a59b6330bc3e8a07c812d50f33830d). It holds one cross product for each platform and two
support tables of torch, from which it generates 123 excludes. README.md of that snapshot prints
the valid counts: Linux x86_64 521, Linux ARM64 174, Windows 159, together 854.

Everything could be reconstructed; the tables below give these numbers as they stand. And of the
650 wheels, 649 are in the repository's list of published files (``doc/packages.md``, same
snapshot); the other one is 2.8.3 for Windows, cp313, torch 2.12, CUDA 12.6.

- 2,102 is the sum of three products (1,512 + 350 + 240), not one product: the platforms differ in
  every axis. Free-threaded 3.14 is missing from Windows' axis, not excluded there.
- 650 is no number of the repository's. Flash-Attention 3 is a cp39-abi3 wheel
  (``patches/fa3/setup_linux.py``), and ``create_matrix.py`` builds it with one Python; the 257
  valid FA3 cells are 53 wheels, and 854 - 257 + 53 = 650.
- ``create_matrix.py`` holds what is missing at the moment, not the matrix.

Its ``flash-attn-version`` of FA3 is ``fa3:`` and a commit; here it is 3.0.0, the version of that
wheel, so that the values are versions. Windows is an ``os``; its machine is x86_64.
"""

from __future__ import annotations

from tests.unit.matrices.ground import Cell, product

BEFORE = 2_102
VALID = 854
WHEELS = 650
VALID_BY_PLATFORM = {
    ("linux", "x86_64"): 521,
    ("linux", "aarch64"): 174,
    ("windows", "x86_64"): 159,
}

FA3 = "3.0.0"
PLATFORMS = (
    {
        "os": ("linux",),
        "arch": ("x86_64",),
        "flash_attn": ("2.6.3", "2.7.4", "2.8.3", FA3),
        "python": ("cp310", "cp311", "cp312", "cp313", "cp314", "cp313t", "cp314t"),
        "torch": (
            *("2.5.1", "2.6.0", "2.7.1", "2.8.0", "2.9.1"),
            *("2.10.0", "2.11.0", "2.12.1", "2.13.0"),
        ),
        "cuda": ("12.4", "12.6", "12.8", "12.9", "13.0", "13.2"),
    },
    {
        "os": ("linux",),
        "arch": ("aarch64",),
        "flash_attn": ("2.8.3", FA3),
        "python": ("cp310", "cp311", "cp312", "cp313", "cp314", "cp313t", "cp314t"),
        "torch": ("2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0"),
        "cuda": ("12.6", "12.8", "12.9", "13.0", "13.2"),
    },
    {
        "os": ("windows",),
        "arch": ("x86_64",),
        "flash_attn": ("2.8.3", FA3),
        "python": ("cp310", "cp311", "cp312", "cp313", "cp314", "cp313t"),
        "torch": ("2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0"),
        "cuda": ("12.6", "12.8", "13.0", "13.2"),
    },
)
TORCH_CUDA = {
    "2.5.1": ("11.8", "12.1", "12.4"),
    "2.6.0": ("11.8", "12.4", "12.6"),
    "2.7.1": ("11.8", "12.6", "12.8"),
    "2.8.0": ("12.6", "12.8", "12.9"),
    "2.9.1": ("12.6", "12.8", "13.0"),
    "2.10.0": ("12.6", "12.8", "13.0"),
    "2.11.0": ("12.6", "12.8", "13.0"),
    "2.12.1": ("12.6", "13.0", "13.2"),
    "2.13.0": ("12.6", "13.0", "13.2"),
}
TORCH_PYTHON = {
    "2.5.1": ("3.8", "3.13"),
    "2.6.0": ("3.9", "3.13"),
    "2.7.1": ("3.9", "3.13"),
    "2.8.0": ("3.9", "3.13"),
    "2.9.1": ("3.10", "3.14"),
    "2.10.0": ("3.10", "3.14"),
    "2.11.0": ("3.10", "3.14"),
    "2.12.1": ("3.10", "3.14"),
    "2.13.0": ("3.10", "3.14"),
}
"""torch -> its oldest and its newest Python."""
TORCH_FREE_THREADED = {
    "2.5.1": (),
    "2.6.0": ("cp313t",),
    "2.7.1": ("cp313t",),
    "2.8.0": ("cp313t",),
    "2.9.1": ("cp313t", "cp314t"),
    "2.10.0": ("cp313t", "cp314t"),
    "2.11.0": ("cp313t", "cp314t"),
    "2.12.1": ("cp314t",),
    "2.13.0": ("cp314t",),
}


def candidates() -> frozenset[Cell]:
    """The three cross products, before exclusions."""
    return frozenset().union(*(product(**platform) for platform in PLATFORMS))


def expected() -> frozenset[Cell]:
    """The valid cells."""
    return frozenset(c for c in candidates() if _valid(dict(c)))


def _valid(of: dict[str, str]) -> bool:
    python, torch = of["python"], of["torch"]
    free_threaded = python.endswith("t")
    low, high = (tuple(map(int, v.split("."))) for v in TORCH_PYTHON[torch])
    return (
        of["cuda"] in TORCH_CUDA[torch]
        and low <= (3, int(python.removeprefix("cp3").removesuffix("t"))) <= high
        and not (free_threaded and python not in TORCH_FREE_THREADED[torch])
        and not (free_threaded and of["flash_attn"] == FA3)
    )


def wheels() -> frozenset[tuple[Cell, frozenset[str]]]:
    """Each wheel: its cell without the Python, and the Pythons that it covers.

    A wheel of Flash-Attention 3 covers the Pythons of all valid cells that differ in nothing else.
    """
    covered: dict[Cell, set[str]] = {}
    singles: set[tuple[Cell, frozenset[str]]] = set()
    for valid in expected():
        of = dict(valid)
        python = of.pop("python")
        rest = frozenset(of.items())
        if of["flash_attn"] == FA3:
            covered.setdefault(rest, set()).add(python)
        else:
            singles.add((rest, frozenset({python})))
    return frozenset(singles | {(rest, frozenset(p)) for rest, p in covered.items()})


def label(target: Cell) -> str:
    """The local version of a wheel; FA3's carries the commit, of which seven digits are known."""
    of = dict(target)
    torch = ".".join(of["torch"].split(".")[:2])
    git = "gite2743ab" if of["flash_attn"] == FA3 else ""
    return f"cu{of['cuda'].replace('.', '')}torch{torch}{git}"
