"""Which known word a wrong one was meant to be."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

MANY = 20
"""Known words that a message lists before it stops."""


def closest(word: str, known: Collection[str]) -> str:
    """Say which known word is meant, or list them all."""
    match = difflib.get_close_matches(word, known, n=1)
    if match:
        return f"did you mean '{match[0]}'?"
    first = sorted(known)[:MANY]
    more = f", ... ({len(known)} in all)" if len(known) > MANY else ""
    return f"known: {', '.join(first)}{more}"
