"""Values as YAML, whatever texts are in them."""

from __future__ import annotations

import json
import re
from typing import Any

_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
"""What YAML 1.2 (5.1) has only escaped, and JSON as it is."""


def flow(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is YAML too: pairs of surrogates, JSON's own escape, are not."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
