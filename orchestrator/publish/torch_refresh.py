"""Update the torch table from the file names of an index. Pure: names in, table out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.config.settings import TorchRelease, TorchTable
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.wheel_name import WheelName
from orchestrator.plan.torch_table import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

_LINUX = re.compile(rf"(?:many)?linux\w*?_({'|'.join(Arch)})")
_CUDA = re.compile(r"cu(\d+)(\d)")
_ROCM = re.compile(r"rocm(\d+(?:\.\d+)+)")


@dataclass(slots=True)
class _Series:
    """What the file names of one series say."""

    python: set[str] = field(default_factory=set)
    cpu: set[str] = field(default_factory=set)
    cuda: dict[str, set[str]] = field(default_factory=dict)
    rocm: dict[str, set[str]] = field(default_factory=dict)
    says_device: bool = False


def refresh(names: Iterable[str], known: TorchTable, *, updated: date, source: str) -> TorchTable:
    """Return the table according to an index' file names.

    Python tags, architectures, CUDA and ROCm versions come from the names (the local version names
    the device: ``torch-2.8.0+cu126-cp312-cp312-manylinux_2_28_x86_64.whl``). If a series has no
    local versions, the known table keeps its devices, and a new series is left out, as half an
    entry would make its other builds look unpublished. File names do not tell the C++ ABI and the
    GPU architectures: they stay, and a new series gets the ABI of the nearest known one, for a
    person to check.

    Args:
        names: file names of the project torch.
        known: the table so far; series that the index does not have stay.
        updated: the date for the table.
        source: the index' address, for the table.

    Raises:
        ConfigError: none of the files is a Linux wheel of torch.
    """
    found = _read(names)
    if not found:
        raise ConfigError.of(
            "the index has no Linux wheel of torch", where="--index", hint="name another index"
        )
    before = {series: release for release in known.releases for series in release.torch}
    releases = []
    for series in sorted(found.keys() | before.keys(), key=Version):
        if series in before:
            releases.append(_merge(series, found.get(series), before[series]))
        elif found[series].says_device:
            python = _pythons(found[series])
            fresh = TorchRelease(torch=(series,), python=python, abi=_nearest_abi(series, before))
            releases.append(_merge(series, found[series], fresh))
    return TorchTable(updated=updated, source=source, releases=tuple(releases))


def _nearest_abi(series: str, known: Mapping[str, TorchRelease]) -> str | dict[str, str]:
    """Return the ABI of the series before, or else after, a new one."""
    ordered = sorted(known, key=Version)
    earlier = [each for each in ordered if Version(each) < Version(series)]
    nearest = [*earlier[-1:], *ordered]
    return known[nearest[0]].abi if nearest else "1"


def _read(names: Iterable[str]) -> dict[str, _Series]:
    found: dict[str, _Series] = {}
    for name in names:
        wheel = WheelName.match(name)
        if wheel is None or wheel.name != "torch" or wheel.version.is_prerelease:
            continue
        for tag in wheel.tags:
            linux = _LINUX.fullmatch(tag.platform)
            if linux and PythonTag.match(tag.abi):
                of = found.setdefault(normal(wheel.version.public), _Series())
                _note(of, tag.abi, linux[1], wheel.version.local or "")
    return found


def _note(of: _Series, python: str, arch: str, local: str) -> None:
    of.python.add(python)
    cuda, rocm = _CUDA.fullmatch(local), _ROCM.fullmatch(local)
    if cuda:
        of.cuda.setdefault(arch, set()).add(f"{cuda[1]}.{cuda[2]}")
    elif rocm:
        of.rocm.setdefault(arch, set()).add(rocm[1])
    elif local == "cpu":
        of.cpu.add(arch)
    else:
        return
    of.says_device = True


def _merge(series: str, found: _Series | None, old: TorchRelease) -> TorchRelease:
    changes: dict[str, object] = {"torch": (series,)}
    if found is not None:
        changes["python"] = _pythons(found)
    if found is not None and found.says_device:
        changes["cpu"] = tuple(sorted(found.cpu))
        changes["cuda"] = _by_arch(found.cuda)
        changes["rocm"] = _by_arch(found.rocm)
    return old.model_copy(update=changes)


def _pythons(series: _Series) -> tuple[str, ...]:
    return tuple(map(str, sorted(map(PythonTag.parse, series.python))))


def _by_arch(found: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {arch: tuple(sorted(found[arch], key=Version)) for arch in sorted(found)}


def left_out(names: Iterable[str], table: TorchTable) -> tuple[str, ...]:
    """Return the series that `refresh` leaves out."""
    known = {series for each in table.releases for series in each.torch}
    return tuple(sorted(_read(names).keys() - known, key=Version))


def differences(old: TorchTable, new: TorchTable) -> Iterator[str]:
    """Yield the changes, one line for each series and fact."""
    before = {series: each for each in old.releases for series in each.torch}
    for each in new.releases:
        (series,) = each.torch
        known = before.get(series)
        if known is None:
            yield f"torch {series} is new; check its abi and gpu-archs"
            continue
        was, now = known.model_dump(), each.model_dump()
        for fact in ("python", "cpu", "cuda", "rocm"):
            if _toml(_sorted(was[fact])) != _toml(_sorted(now[fact])):
                yield f"torch {series} {fact}: {_toml(was[fact])} -> {_toml(now[fact])}"


def _sorted(value: Mapping[str, Iterable[str]] | Iterable[str]) -> object:
    if isinstance(value, Mapping):
        return {key: sorted(each) for key, each in sorted(value.items())}
    return sorted(value)


def dumps(table: TorchTable) -> str:
    """Return a table as TOML, as `compat.file` and `load_table` read it."""
    lines = ["[torch]"]
    lines += [f"updated = {table.updated.isoformat()}"] if table.updated else []
    lines += [f"source = {_toml(table.source)}"]
    for each in table.releases:
        lines += ["", "[[torch.releases]]"]
        for key, value in each.model_dump(by_alias=True).items():
            if value or key in {"torch", "python"}:
                lines.append(f"{key} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """Return a TOML value; JSON's strings are TOML's basic strings."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(k)} = {_toml(v)}' for k, v in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)
