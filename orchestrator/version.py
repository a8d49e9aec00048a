"""One version, composed once: base x variant -> PEP 440 version and PEP 427 build tag. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from orchestrator.config import template
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

# PEP 427: a build number "must start with a digit"; a dash would end it in a file name.
_BUILD_TAG = re.compile(r"[0-9][A-Za-z0-9_.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A composed version and its parts, as templates may name them.

    Attributes:
        version: canonical PEP 440 version, local part included.
        base: the public version.
        local: the local part, canonical, without ``+``; may be empty.
        build_tag: PEP 427 build tag; may be empty.
    """

    version: str
    base: str
    local: str
    build_tag: str

    def values(self) -> dict[str, str]:
        """The parts under the names templates use."""
        return {
            "version": self.version,
            "base": self.base,
            "local": self.local,
            "build_tag": self.build_tag,
        }


def compose(
    *, base: str | None, local: str | None, build_tag: str | None, values: Mapping[str, str]
) -> Composed:
    """Compose the version of one cell.

    Args:
        base: the public version, or None when neither the source nor the file says one.
        local: template of the local part; None for none.
        build_tag: template of the build tag; None for none.
        values: the cell's axis values.

    Raises:
        ConfigError: the outcome could never be a wheel's version or build tag.
    """
    if base is None:
        raise ConfigError.of(
            "the project's version is dynamic, so nothing says what its wheels must carry",
            where="version.base",
            hint='set version.base, for instance base = "1.2.3"',
        )
    public = _version(base, where="version.base")
    rendered = template.render(local, values) if local else ""
    if rendered and public.local:
        raise ConfigError.of(
            f"{base!r} has a local part already, and version.local adds {rendered!r}",
            where="version.base",
            hint="keep the base public",
        )
    full = _version(f"{base}+{rendered}" if rendered else base, where="version.local")
    tag = template.render(build_tag, values) if build_tag else ""
    if tag and not _BUILD_TAG.fullmatch(tag):
        raise ConfigError.of(
            f"{tag!r} is no build tag",
            where="version.build-tag",
            hint="PEP 427: it starts with a digit and has no dash",
        )
    return Composed(version=str(full), base=full.public, local=full.local or "", build_tag=tag)


def _version(text: str, *, where: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise ConfigError.of(
            f"{text!r} is no PEP 440 version",
            where=where,
            hint="a local part is letters and digits, separated by dots",
        ) from None
