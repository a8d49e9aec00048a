"""Which GPU architectures a target's variables ask for. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.models.target import EnvVar

_TORCH = re.compile(r"(\d+)\.(\d)([af]?)(\+PTX)?")
_CMAKE = re.compile(r"(\d+[af]?)(-real|-virtual)?")
_ROCM = re.compile(r"(gfx[0-9a-f]+)(?::[\w:+-]+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedArchs:
    """Architectures that a build is asked to compile for.

    Attributes:
        names: ``sm_90a``, ``compute_120`` (PTX), ``gfx90a``; empty for any.
        variables: the variables that ask.
        by_user: whether the matrix says so, and not the table of torch's own builds.
    """

    names: frozenset[str] = frozenset()
    variables: tuple[str, ...] = ()
    by_user: bool = False


def asked_archs(env: Iterable[EnvVar], table: str) -> AskedArchs:
    """Return what variables ask for; `table` is the origin of those that nobody wrote.

    A value that is not a plain list of architectures (``native``, ``Hopper``, a shell's) asks for
    nothing that could be checked.
    """
    lists = [each for each in env if each.name in _READERS and each.value]
    written = [each for each in lists if each.origin != table]
    names: set[str] = set()
    for each in written or lists:
        read = [_READERS[each.name](word) for word in re.split(r"[;,\s]+", each.value) if word]
        if each.shell or not all(read):
            return AskedArchs()
        names.update(*read)
    variables = tuple(each.name for each in written or lists)
    return AskedArchs(names=frozenset(names), variables=variables, by_user=bool(written))


def _torch(word: str) -> set[str]:
    match = _TORCH.fullmatch(word)
    if match is None:
        return set()
    number = match[1] + match[2] + match[3]
    return {f"sm_{number}", *([f"compute_{number}"] if match[4] else [])}


def _cmake(word: str) -> set[str]:
    match = _CMAKE.fullmatch(word)
    if match is None:
        return set()
    real, virtual = f"sm_{match[1]}", f"compute_{match[1]}"
    return {"-real": {real}, "-virtual": {virtual}}.get(match[2], {real, virtual})


def _rocm(word: str) -> set[str]:
    match = _ROCM.fullmatch(word)
    return {match[1]} if match else set()


_READERS: dict[str, Callable[[str], set[str]]] = {
    "TORCH_CUDA_ARCH_LIST": _torch,
    "CUDAARCHS": _cmake,
    "PYTORCH_ROCM_ARCH": _rocm,
}
