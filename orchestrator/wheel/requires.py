"""Pins in a wheel's requirements (core metadata, Requires-Dist)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Sequence


_FOLD = re.compile(r"[\r\n]+[ \t]*")
"""Where a long header continues on the next line (as in email)."""


def pinned(stated: Sequence[str], pins: Sequence[str]) -> list[str]:
    """Return requirements with pins applied; requirements on other projects do not change.

    A requirement on a pinned project keeps its extras and its marker and gets the pin's version
    specifier. If all of them need an extra, the pin itself is added: otherwise it would not apply
    to a plain installation.

    Args:
        stated: the wheel's requirements (PEP 508), as written.
        pins: requirements with a version specifier.
    """
    result = list(stated)
    for pin in map(Requirement, pins):
        holds = False
        for index, text in enumerate(result):
            old = parsed(text)
            if old is None or canonicalize_name(old.name) != canonicalize_name(pin.name):
                continue
            holds = holds or "extra" not in str(old.marker or "")
            if old.url or old.specifier != pin.specifier:
                result[index] = _with(old, pin)
        if not holds:
            result.append(str(pin))
    return result


def parsed(text: str) -> Requirement | None:
    """Return a requirement; None if it is older than PEP 508."""
    try:
        requirement = Requirement(_FOLD.sub(" ", text))
        # Versions are parsed late, and too many digits are a ValueError.
        hash(requirement.specifier)
    except (ValueError, RecursionError):
        return None
    return requirement


def _with(old: Requirement, pin: Requirement) -> str:
    extras = f"[{','.join(sorted(old.extras))}]" if old.extras else ""
    marker = f" ; {old.marker}" if old.marker else ""
    return f"{old.name}{extras}{pin.specifier}{marker}"
