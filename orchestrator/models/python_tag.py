"""A Python, as cibuildwheel's identifiers and the axis ``python`` spell it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from orchestrator.errors import ConfigError

_TAG = re.compile(r"(cp|pp|gp)3(\d{1,3})(t?)(?:_(\d{1,4}))?")

_SPELLED = re.compile(r"(cpython|python|pypy|)3\.(\d{1,3})(t?)")

_KINDS = {"cp": "cpython", "pp": "pypy", "gp": "graalpy"}
_TITLES = {"cpython": "CPython", "pypy": "PyPy", "graalpy": "GraalPy"}

ABI3 = "abi3-"
"""What a value of the axis begins with that stands for the stable ABI: ``abi3-cp39``."""

ABI3_FLOOR = r"^cp3[0-9]{1,3}t?$"
"""The tags of Pythons that have the stable ABI, for schemas."""


FIRST_ABI3T = 15
"""Python 3.15 is the first with a stable ABI for Pythons without the GIL (PEP 803)."""


def stable_tag(floor: str) -> str:
    """Return the tag of a wheel for the stable ABI from a Python on: ``cp39-abi3``."""
    tag = PythonTag.parse(floor)
    return f"cp3{tag.minor}-{tag.abi}"


_GRAALPY = re.compile(r"graalpy(3\d{1,3})-graalpy(\d{1,4})_\w+")


def axis_value(interpreter: str, abi: str) -> str:
    """Return the value of the axis ``python`` whose wheels have these tags (PEP 425).

    ``cp312-cp312`` gives ``cp312``, ``cp314-cp314t`` ``cp314t``, ``cp39-abi3`` ``abi3-cp39``,
    ``cp315-abi3t`` ``abi3-cp315t``, and ``graalpy312-graalpy250_312_native`` ``gp312_250``.
    """
    if abi in {"abi3", "abi3t"}:
        return f"{ABI3}{interpreter}{abi.removeprefix('abi3')}"
    if match := _GRAALPY.fullmatch(f"{interpreter}-{abi}"):
        return f"gp{match[1]}_{match[2]}"
    return abi if abi == f"{interpreter}t" else interpreter


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PythonTag:
    """A Python 3: ``cp312``, ``cp314t``, ``pp311``, ``gp312_250``.

    Sorts CPython, without the GIL, then GraalPy and PyPy.

    Attributes:
        implementation: ``cpython``, ``pypy`` or ``graalpy``.
        free_threaded: whether it is the build without the GIL (PEP 703).
        minor: the 12 of Python 3.12.
        release: the 250 of GraalPy 25.0, a part of its ABI; empty for others.
    """

    implementation: str = "cpython"
    free_threaded: bool = False
    minor: int
    release: str = ""

    @classmethod
    @lru_cache(maxsize=1024)
    def match(cls, text: str) -> Self | None:
        """Return the tag; None for anything else."""
        match = _TAG.fullmatch(text)
        kind, minor, threads, release = match.groups("") if match else ("", "", "", "")
        if not kind or (threads and kind != "cp") or bool(release) != (kind == "gp"):
            return None
        return cls(
            implementation=_KINDS[kind],
            minor=int(minor),
            free_threaded=bool(threads),
            release=release,
        )

    @classmethod
    @lru_cache(maxsize=1024)
    def spelled(cls, text: str) -> Self | None:
        """Return the tag of a version as people write it: ``3.10``, ``3.14t``, ``pypy3.11``."""
        match = _SPELLED.fullmatch(text)
        name = "cp" if match is None or match[1] != "pypy" else "pp"
        return None if match is None else cls.match(f"{name}3{match[2]}{match[3]}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the tag.

        Raises:
            ConfigError: it is none.
        """
        tag = cls.match(text)
        if tag is None:
            raise ConfigError.of(
                f"{text!r} is not a Python tag", hint="such as cp312, cp314t, pp311 or gp312_250"
            )
        return tag

    @classmethod
    def of_version(cls, version: str) -> Self:
        """Return CPython's tag for a version: ``3.12``, ``3.12.1``."""
        return cls(minor=int(version.split(".")[1]))

    def __str__(self) -> str:
        kind = next(kind for kind, name in _KINDS.items() if name == self.implementation)
        release = f"_{self.release}" if self.release else ""
        return f"{kind}3{self.minor}{'t' * self.free_threaded}{release}"

    @property
    def title(self) -> str:
        """What the implementation is called: ``CPython``, ``PyPy``, ``GraalPy``."""
        return _TITLES[self.implementation]

    @property
    def words(self) -> str:
        """What people call it: ``CPython 3.14 (free-threaded)``."""
        return f"{self.title} {self.version}{' (free-threaded)' * self.free_threaded}"

    @property
    def interpreter(self) -> str:
        """The Python tag of its own wheels (PEP 425): ``cp314``, ``pp311``, ``graalpy312``."""
        return f"graalpy3{self.minor}" if self.release else str(self).removesuffix("t")

    @property
    def version(self) -> str:
        """``3.12``."""
        return f"3.{self.minor}"

    @property
    def soabi(self) -> str:
        """How CPython's suffix of extension modules begins: ``cpython-314t``."""
        return f"cpython-3{self.minor}{'t' * self.free_threaded}"

    @property
    def stable_abi(self) -> bool:
        """Whether it loads wheels for the stable ABI (PEP 384): CPython with the GIL."""
        return self.implementation == "cpython" and not self.free_threaded

    def serves_abi3(self, floor: str) -> bool:
        """Whether it loads wheels for the stable ABI from a Python on: ``cp39``.

        From ``cp315t`` on (PEP 803), these are for CPythons with and without the GIL.
        """
        lowest = self.parse(floor)
        gil = self.stable_abi or (self.implementation == "cpython" and lowest.free_threaded)
        return gil and self.minor >= max(lowest.minor, FIRST_ABI3T * lowest.free_threaded)

    @property
    def abi(self) -> str:
        """The ABI tag of a wheel for the stable ABI from this Python on: ``abi3``, ``abi3t``."""
        return "abi3t" if self.free_threaded else "abi3"

    @property
    def image_directory(self) -> str:
        """The name below ``/opt/python`` in an image; a pattern for all but CPython."""
        abi = str(self) if self.implementation == "cpython" else "*"
        if self.release:
            abi = f"graalpy{self.release}_*"
        return f"{self.interpreter}-{abi}"

    @property
    def uv_request(self) -> str:
        """How ``uv python install`` is asked for it."""
        return f"{self.implementation}@{self.version}{'t' * self.free_threaded}"

    @property
    def programs(self) -> tuple[str, ...]:
        """The names that its executable may have, the most specific first."""
        if self.implementation != "cpython":
            name = self.implementation
            return (f"{name}{self.version}", f"{name}3", name, f"python{self.version}")
        plain = f"python{self.version}"
        return (f"{plain}t", plain) if self.free_threaded else (plain,)
