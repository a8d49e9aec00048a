"""The rules behind platform tags: PEP 600 (manylinux) and PEP 656 (musllinux).

The data is auditwheel's, in its JSON format, and is passed in as text: it belongs to the locked
toolchain, not to this program.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.platforms import LEGACY_MANYLINUX, Arch, Libc
from orchestrator.wheel import abi3

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NAME = re.compile(r"(manylinux|musllinux)_(\d+)_(\d+)")
_TAG = re.compile(r"(?:(manylinux|musllinux)_(\d+)_(\d+)|(manylinux1|manylinux20\d\d)|linux)_(.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One platform tag's rules.

    Attributes:
        tag: the platform tag, ``manylinux_2_17_x86_64``.
        aliases: its other names, ``manylinux2014_x86_64``.
        version: the libc version that it promises.
        symbol_versions: allowed versions by prefix: ``GLIBC`` -> ``2.2.5``, ``2.3``, ...
        whitelist: libraries that every such machine has.
        blacklist: whitelisted library -> symbols that a wheel may not use.
    """

    tag: str
    aliases: tuple[str, ...]
    version: tuple[int, int]
    symbol_versions: Mapping[str, frozenset[str]]
    whitelist: frozenset[str]
    blacklist: Mapping[str, frozenset[str]]

    def allows_version(self, symbol_version: str) -> bool:
        """Whether a wheel may need this version (``GLIBC_2.17``); unknown prefixes are allowed."""
        prefix, _, version = symbol_version.partition("_")
        allowed = self.symbol_versions.get(prefix)
        return allowed is None or version in allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformTag:
    """A parsed Linux platform tag.

    Attributes:
        libc: manylinux or musllinux; None for a plain ``linux_*``.
        version: the libc version, None for a plain ``linux_*``.
        arch: its last part, as written.
    """

    libc: Libc | None
    version: tuple[int, int] | None
    arch: str

    @classmethod
    def parse(cls, tag: str) -> PlatformTag | None:
        """Parse a platform tag; None if it is not Linux (``any``, ``win32``)."""
        match = _TAG.fullmatch(tag)
        if match is None:
            return None
        libc, major, minor, legacy, arch = match.groups()
        if legacy is not None:
            return cls(libc=Libc.MANYLINUX, version=LEGACY_MANYLINUX.get(legacy), arch=arch)
        if libc is None:
            return cls(libc=None, version=None, arch=arch)
        return cls(libc=Libc(libc), version=(int(major), int(minor)), arch=arch)


class Policies:
    """All policies, by C library and architecture, and the names of CPython's stable ABI."""

    def __init__(
        self, policies: Mapping[tuple[Libc, Arch], Iterable[Policy]], stable_abi: str = ""
    ) -> None:
        """Take the policies in any order, and abi3info's list, if there is one."""
        self._stable_abi = stable_abi
        self._policies = {
            key: tuple(sorted(some, key=attrgetter("version"))) for key, some in policies.items()
        }

    @classmethod
    def from_json(cls, manylinux: str, musllinux: str, stable_abi: str = "") -> Policies:
        """Read auditwheel's ``manylinux-policy.json`` and ``musllinux-policy.json``.

        Args:
            manylinux: text of the first.
            musllinux: text of the second.
            stable_abi: text of abi3info's ``_internal.py``; without it no wheel is checked for the
                stable ABI.

        Raises:
            EnvironmentProblemError: a text is not what auditwheel ships.
        """
        found: dict[tuple[Libc, Arch], list[Policy]] = {}
        for libc, text in ((Libc.MANYLINUX, manylinux), (Libc.MUSLLINUX, musllinux)):
            try:
                for arch, policy in _read(libc, json.loads(text)):
                    found.setdefault((libc, arch), []).append(policy)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EnvironmentProblemError.of(
                    f"auditwheel's {libc} policies cannot be read: {error!r}",
                    hint="the toolchain is broken: `orchestrator toolchain sync` repairs it",
                ) from error
        return cls(found, stable_abi)

    @property
    def stable_abi(self) -> Mapping[str, int] | None:
        """See `abi3.read`; None without that list."""
        return abi3.read(self._stable_abi) if self._stable_abi else None

    def of(self, libc: Libc, arch: Arch) -> tuple[Policy, ...]:
        """Return the policies of a platform, the oldest libc first; empty if there are none.

        For musllinux only the newest counts: an ELF file does not tell which musl it needs (musl
        has no symbol versions), and auditwheel assumes the same on a machine without musl.
        """
        policies = self._policies.get((libc, arch), ())
        return policies[-1:] if libc is Libc.MUSLLINUX else policies

    def lowest_tags(self, arch: Arch) -> tuple[str, ...]:
        """Return the tags, and their other names, that promise least of each C library."""
        lowest = [policy for libc in Libc for policy in self._policies.get((libc, arch), ())[:1]]
        return tuple(tag for policy in lowest for tag in (policy.tag, *policy.aliases))


def _read(libc: Libc, content: Any) -> Iterable[tuple[Arch, Policy]]:
    arches = {arch.value: arch for arch in Arch}
    for entry in content:
        match = _NAME.fullmatch(entry["name"])
        if match is None:
            continue  # "linux": a tag without rules
        for name, versions in entry["symbol_versions"].items():
            arch = arches.get(name)
            if arch is None:
                continue
            whitelist = frozenset(entry["lib_whitelist"])
            if libc is Libc.MUSLLINUX:
                # musl's soname. The list has "libc.so", which musl's loader also takes for itself.
                whitelist |= {f"libc.musl-{arch.facts.musl}.so.1"}
            yield (
                arch,
                Policy(
                    tag=f"{entry['name']}_{arch}",
                    aliases=tuple(f"{alias}_{arch}" for alias in entry["aliases"]),
                    version=(int(match[2]), int(match[3])),
                    symbol_versions=_frozen(versions),
                    whitelist=whitelist,
                    blacklist=_frozen(entry["blacklist"]),
                ),
            )


def _frozen(sets: Mapping[str, Iterable[str]]) -> Mapping[str, frozenset[str]]:
    return MappingProxyType({key: frozenset(values) for key, values in sets.items()})
