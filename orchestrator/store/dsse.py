"""Signed statements: envelopes of DSSE v1, with Ed25519.

A signature is over the type of the payload and the payload (the pre-authentication encoding), so
that it is a signature of nothing else that the key signs.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import ConfigError
from orchestrator.models.reading import json_value
from orchestrator.store.seals import key_id

if TYPE_CHECKING:
    from orchestrator.store.seals import SigningKey, TrustedKeys

STATEMENT: Final = "application/vnd.in-toto+json"
"""The type of a payload that is an in-toto statement."""

LARGEST: Final = 16 << 20
"""Bytes of an envelope that is read."""


def sign(payload: bytes, key: SigningKey) -> str:
    """Return a signed statement as one line of JSON."""
    signature = {"keyid": key_id(key.public), "sig": _encoded(key.sign(_signed(payload)))}
    envelope = {"payloadType": STATEMENT, "payload": _encoded(payload), "signatures": [signature]}
    return f"{json.dumps(envelope)}\n"


def open_envelope(data: bytes, keys: TrustedKeys, *, where: str) -> tuple[bytes, str]:
    """Return the statement of an envelope, and the ID of the trusted key that signed it.

    The ID is empty if none did: then nobody vouches for the statement.

    Raises:
        ConfigError: it is no envelope of a statement.
        EnvironmentProblemError: what checks signatures is not installed.
    """
    envelope = json_value(data, where=where, largest=LARGEST)
    try:
        payload = _decoded(envelope["payload"])
        signatures = [_decoded(each["sig"]) for each in envelope["signatures"]]
        kind = envelope["payloadType"]
    except (LookupError, TypeError, ValueError):
        raise ConfigError.of("not an envelope of a signed statement (DSSE)", where=where) from None
    if kind != STATEMENT:
        raise ConfigError.of(f"the envelope has {kind!r}, not {STATEMENT}", where=where)
    signed = _signed(payload)
    # Whoever signs may name keys otherwise, or not at all.
    signers = (k for made in signatures for k in keys.keys if keys.has_signed(k, signed, made))
    return payload, next(signers, "")


def _signed(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %b %d %b" % (len(STATEMENT), STATEMENT.encode(), len(payload), payload)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: Any) -> bytes:
    """Return base64 in either alphabet (RFC 4648); raises ValueError."""
    if not isinstance(text, str):
        raise TypeError("no text")
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
