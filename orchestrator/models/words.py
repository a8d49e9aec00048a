"""Words that depend on a number."""

from __future__ import annotations

import re


def count_of(number: int, noun: str) -> str:
    """``1, "target"`` -> ``1 target``; ``2, "library"`` -> ``2 libraries``."""
    return f"{number} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a regular noun."""
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return noun + ("es" if re.search(r"(s|x|ch|sh)$", noun) else "s")
