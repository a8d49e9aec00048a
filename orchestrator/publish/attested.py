"""Attestations (PEP 740) that lie beside a wheel, made by another program."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 1 << 20


def attestations(wheel: Path) -> tuple[Path, ...]:
    """Return the attestations of a wheel: ``NAME.whl.publish.attestation`` and the like."""
    ours = f"{wheel.name}."
    return tuple(
        sorted(
            each
            for each in wheel.absolute().parent.iterdir()
            if each.name.startswith(ours) and each.name.endswith(".attestation")
        )
    )


def misattested(path: Path, sha256: str) -> str:
    """Return what is wrong with an attestation; empty when it is about a wheel.

    Whether its signature is good only a verifier with a trust root can say: the index does.

    Args:
        path: the attestation.
        sha256: of the wheel.
    """
    try:
        with path.open("rb") as stream:
            document = json.loads(stream.read(LIMIT))
        statement = json.loads(base64.b64decode(document["envelope"]["statement"]))
        digests = {str(each["digest"]["sha256"]) for each in statement["subject"]}
    except (OSError, ValueError, LookupError, TypeError):
        return f"{path.name} is no attestation (PEP 740)"
    return "" if digests == {sha256} else f"{path.name} is about another file"
