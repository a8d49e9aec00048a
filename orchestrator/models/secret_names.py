"""Which variables hold secrets, as far as their names say so."""

from __future__ import annotations

import re

_WORD = re.compile(
    r"(secret|token|password|passwd|passphrase|credential|key|auth|cookie|pat|pwd|pw|dsn)s?\d*"
)
_PART = re.compile(r"secrets?$|passw(or)?d|passphrase|credential|(api|access|private)key|tokens?$")
_DIRECTORIES = frozenset({"pwd", "oldpwd"})
_PLACES = frozenset({"file", "sock", "path", "dir"})
"""Last words of names whose value says where a secret is."""


def is_secret(name: str) -> bool:
    """Whether the name of a variable says that its value is a secret."""
    lower = name.lower()
    words = lower.split("_")
    found = any(map(_WORD.fullmatch, words)) or any(map(_PART.search, words))
    return found and lower not in _DIRECTORIES and words[-1] not in _PLACES
