"""Whose results of a shared store count, and how keys are spelled."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class StoreTrust(StrEnum):
    """Which results of a shared store are taken."""

    NONE = "none"
    SIGNED = "signed"
    ALL = "all"


PUBLIC_KEY: Final = re.compile(r"ed25519:[A-Za-z0-9+/]{43}=")
"""A public key: 32 bytes in base64 (RFC 8032, RFC 4648)."""
