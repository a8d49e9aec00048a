"""Know what torch was published for: cells that can never work are excluded with that reason.

The facts are data (``torch_table.toml``), which matrix.toml extends or replaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.version import Version
from pydantic import ValidationError

from orchestrator.config.load import problem_of
from orchestrator.config.settings import TorchTable
from orchestrator.errors import ConfigError, Problem, closest
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.reading import toml_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import Compat, TorchRelease
    from orchestrator.plan.axes import Axes

Pairs = tuple[tuple[str, str], ...]

RULE = "compat.torch"
"""The rule that an exclusion by the table names."""

NONE = frozenset({"cpu", "none"})
"""Values of a ``cuda`` or ``rocm`` axis that mean: without."""

_COMPACT = re.compile(r"(?:cu|rocm)(\d+)(\d)")
_RELEASE = re.compile(r"(\d+)\.(\d+)")
_TRUE = frozenset({"1", "true", "TRUE", "True", "on"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchVerdict:
    """What the table says about a cell.

    Attributes:
        reason: why it cannot be; empty when it can.
        derived: what follows for it: ``cxx11abi``, ``gpu_archs``.
        unknown: why there is no ``gpu_archs`` although the cell has CUDA; empty if there is.
        rule: the rule's name.
    """

    reason: str = ""
    derived: Pairs = ()
    unknown: str = ""
    rule: str = RULE


FINE = TorchVerdict()


def load_table(data: bytes, *, where: str) -> TorchTable:
    """Read a file with a table ``torch``: the built-in one, or one that `compat refresh` wrote.

    Raises:
        ConfigError: it is not valid; ``where`` names the file.
    """
    try:
        return TorchTable.model_validate(toml_value(data, where=where).get("torch", {}))
    except ValidationError as error:
        problems = (problem_of(each, TorchTable) for each in error.errors())
        raise ConfigError(
            *(
                Problem(what=each.what, where=f"{where}: torch.{each.where}", hint=each.hint)
                for each in problems
            )
        ) from None


class TorchSupport:
    """The torch table, ready to judge cells."""

    def __init__(self, table: TorchTable, compat: Compat) -> None:
        """Lay the releases of ``[compat]`` over a table."""
        self._releases: dict[str, TorchRelease] = {}
        for release in (*table.releases, *compat.releases):
            for version in release.torch:
                self._releases[normal(version)] = release
        allowed = (each.partition(" ") for each in compat.allow)
        self._allow = frozenset(f"{axis} {normal(version)}" for axis, _, version in allowed)
        self._judged: dict[Pairs, TorchVerdict] = {}

    def derived(self, domain: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
        """Return the properties that rules may name, with their values."""
        return {} if "cxx11abi" in domain else {"cxx11abi": ("0", "1")}

    def problems(self, axes: Axes) -> Iterator[Problem]:
        """Return versions that the table does not know: typing errors, or the table is too old."""
        known = {
            "torch": set(self._releases),
            "cuda": set(_versions(each.cuda for each in self._releases.values())),
            "rocm": set(_versions(each.rocm for each in self._releases.values())),
        }
        for axis, versions in known.items():
            for value in axes.domain.get(axis, ()):
                version = normal(value)
                if value not in NONE and not _is_version(value):
                    yield Problem(
                        what=f"{value!r} is not a version of {axis}",
                        where=axes.place(axis, value),
                        hint=f"did you mean '{version}'?" if version in versions else "",
                    )
                    continue
                if value in NONE or version in versions or f"{axis} {version}" in self._allow:
                    continue
                yield Problem(
                    what=f"the torch table does not know {axis} {version}",
                    where=axes.place(axis, value),
                    hint=closest(
                        version,
                        versions,
                        "or say it: compat.releases adds it, "
                        f'compat.allow = ["{axis} {version}"] leaves it to you, '
                        "compat.torch = false turns the table off",
                    ),
                )

    def judge(self, pairs: Pairs) -> TorchVerdict:
        """Return what the table says about a cell's values."""
        relevant = tuple(pair for pair in pairs if pair[0] in _RELEVANT)
        found = self._judged.get(relevant)
        if found is None:
            found = self._judged[relevant] = self._judge(dict(relevant))
        return found

    def pythons(self, values: Mapping[str, str]) -> frozenset[str] | None:
        """Return the Pythons that a cell's torch was published for; None when any will do."""
        release = self._releases.get(normal(values.get("torch", "")))
        return None if release is None else frozenset(release.python)

    def _judge(self, values: Mapping[str, str]) -> TorchVerdict:
        if "torch" not in values:
            return FINE
        torch = normal(values["torch"])
        release = self._releases.get(torch)
        cuda, rocm = _device(values.get("cuda")), _device(values.get("rocm"))
        if release is None:  # allowed by name
            return TorchVerdict(unknown="the torch table does not have this torch" if cuda else "")
        abi = _abi(release, cuda, rocm, values["arch"])
        archs = _gpu_archs(release, values["arch"], cuda)
        derived: Pairs = (("cxx11abi", abi),) if "cxx11abi" not in values else ()
        derived += (("gpu_archs", archs),) if archs else ()
        reason = next(self._reasons(release, torch, cuda, abi, values), "")
        why = release.unknown or "the torch table does not have its list"
        return TorchVerdict(
            reason=reason,
            derived=derived,
            unknown="" if archs or not cuda else " ".join(why.split()),
        )

    def _reasons(
        self, release: TorchRelease, torch: str, cuda: str, abi: str, values: Mapping[str, str]
    ) -> Iterator[str]:
        arch, rocm = values["arch"], _device(values.get("rocm"))
        python = values.get("python", "")
        if values.get("libc", "").startswith("musllinux"):
            yield "torch has no musllinux wheels"
        if python and not _serves(release.python, python):
            yield f"torch {torch} has no wheel for {python}: {_listed(release.python)}"
        for name, version, published in (
            ("CUDA", cuda, release.cuda.get(arch, ())),
            ("ROCm", rocm, release.rocm.get(arch, ())),
        ):
            known = {normal(each) for each in published}
            allowed = f"{name.lower()} {version}" in self._allow
            if version and version not in known and not allowed:
                yield f"torch {torch} has no {name} {version} on {arch}: {_listed(published)}"
        if not cuda and not rocm and arch not in release.cpu:
            yield f"torch {torch} has no CPU wheel for {arch}: {_listed(release.cpu)}"
        own = values.get("cxx11abi")
        if own is not None and (own in _TRUE) != (abi == "1"):
            of = f" with CUDA {cuda}" if cuda else ""
            yield f"torch {torch}{of} has C++ ABI {abi}"


_RELEVANT = frozenset({"python", "libc", "arch", "torch", "cuda", "rocm", "cxx11abi"})


@lru_cache(maxsize=1024)
def normal(value: str) -> str:
    """``12.6.3``, ``cu126``, ``12.6`` -> ``12.6``; what has no such form stays as it is."""
    compact = _COMPACT.fullmatch(value)
    if compact:
        return f"{compact[1]}.{compact[2]}"
    release = _RELEASE.match(value)
    return f"{release[1]}.{release[2]}" if release else value


def _is_version(value: str) -> bool:
    """Whether nothing but a version (PEP 440) follows where a value begins like one."""
    if (found := _RELEASE.match(value)) is None or _COMPACT.fullmatch(value):
        return True
    try:
        Version(f"{found[1]}.{found[2]}{value[found.end() :]}".removesuffix(".*"))
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return False
    return True


def _device(value: str | None) -> str:
    return "" if value is None or value in NONE else normal(value)


def _versions(tables: Iterable[Mapping[str, Sequence[str]]]) -> Iterator[str]:
    return (normal(version) for table in tables for each in table.values() for version in each)


def _listed(values: Sequence[str]) -> str:
    return f"it has {', '.join(values)}" if values else "it has none there"


def _abi(release: TorchRelease, cuda: str, rocm: str, arch: str) -> str:
    """The table's key is a CUDA version, ``rocm 6.2``, ``cpu aarch64``, or ``*``."""
    if isinstance(release.abi, str):
        return release.abi
    device = cuda or (f"rocm {rocm}" if rocm else f"cpu {arch}")
    known = {_abi_key(key): value for key, value in release.abi.items()}
    return known.get(device, known.get("*", "1"))


def _abi_key(key: str) -> str:
    name, _, version = key.rpartition(" ")
    return f"{name} {normal(version)}" if name == "rocm" else key if name else normal(key)


def _gpu_archs(release: TorchRelease, arch: str, cuda: str) -> str:
    lists = release.gpu_archs.get(arch, {})
    return lists.get(cuda) or lists.get(cuda.split(".", maxsplit=1)[0]) or ""


def _serves(published: Sequence[str], python: str) -> bool:
    """Whether torch can be there when the wheel is used.

    A wheel for the stable ABI (``abi3-cp39``) is used on every later Python too, so it is enough
    that torch has one of those.
    """
    if not python.startswith(ABI3):
        return python in published
    tags = filter(None, map(PythonTag.match, published))
    return any(each.serves_abi3(python.removeprefix(ABI3)) for each in tags)
