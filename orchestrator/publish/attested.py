"""Attestations and provenance files (PEP 740) beside a wheel, made by another program."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.host.json_file import load_json
from orchestrator.models.reading import json_value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LIMIT = 1 << 20


def attestations(wheel: Path) -> tuple[Path, ...]:
    """Return the attestations of a wheel: ``NAME.whl.publish.attestation`` and the like."""
    prefix = f"{wheel.name}."
    return tuple(
        sorted(
            path
            for path in wheel.absolute().parent.iterdir()
            if path.name.startswith(prefix) and path.name.endswith(".attestation")
        )
    )


def check_attestation(path: Path, sha256: str) -> str:
    """Return what is wrong with an attestation of a wheel with this hash; empty if nothing is.

    The signature is not checked: that needs a trust root, and the index does it.
    """
    try:
        digests = subjects([load_json(dict[str, Any], path)])
    except (ConfigError, ValueError, LookupError, TypeError):
        return f"{path.name} is not an attestation (PEP 740)"
    return "" if digests == {sha256} else f"{path.name} is about another file"


def subjects(documents: Iterable[Any]) -> set[str]:
    """Return the SHA-256 of every file that attestations are about.

    Raises:
        ConfigError, ValueError, LookupError, TypeError: one is not an attestation.
    """
    statements = (
        json_value(base64.b64decode(each["envelope"]["statement"]), where="its statement")
        for each in documents
    )
    return {str(one["digest"]["sha256"]) for each in statements for one in each["subject"]}
