"""Envelopes of signed statements."""

from __future__ import annotations

import base64
import json

import pytest

from orchestrator.errors import ConfigError
from orchestrator.store.dsse import STATEMENT, open_envelope, sign
from orchestrator.store.seals import SigningKey, TrustedKeys, key_id

KEY, OTHER = SigningKey.new(), SigningKey.new()
KEYS = TrustedKeys.of([KEY.public])
PAYLOAD = b'{"a": 1}'


def opened(data: bytes, keys: TrustedKeys = KEYS) -> tuple[bytes, str]:
    return open_envelope(data, keys, where="x")


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(sign(PAYLOAD, KEY)), **fields}).encode()


def test_a_trusted_signature_is_found_among_others() -> None:
    assert opened(sign(PAYLOAD, KEY).encode()) == (PAYLOAD, key_id(KEY.public))
    signatures = [json.loads(sign(PAYLOAD, each))["signatures"][0] for each in (OTHER, KEY)]
    assert opened(changed(signatures=signatures)) == (PAYLOAD, key_id(KEY.public))


def test_what_is_signed_is_what_dsse_says() -> None:
    signature = json.loads(sign(PAYLOAD, KEY))["signatures"][0]
    encoded = f"DSSEv1 {len(STATEMENT)} {STATEMENT} {len(PAYLOAD)} ".encode() + PAYLOAD
    assert KEYS.has_signed(signature["keyid"], encoded, base64.b64decode(signature["sig"]))


def test_a_signature_needs_no_name_of_a_key() -> None:
    signature = json.loads(sign(PAYLOAD, KEY))["signatures"][0]
    unnamed = changed(signatures=[{"sig": signature["sig"]}])
    assert opened(unnamed) == (PAYLOAD, key_id(KEY.public))


def test_another_alphabet_of_base64_is_the_same() -> None:
    envelope = json.loads(sign(b"\xfb\xff" * 8, KEY))
    for item, name in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        item[name] = item[name].replace("+", "-").replace("/", "_")
    assert opened(json.dumps(envelope).encode())[1]


@pytest.mark.parametrize(
    "data",
    [
        changed(payload=base64.b64encode(b'{"a": 2}').decode()),
        changed(signatures=[]),
        sign(PAYLOAD, OTHER).encode(),
        json.dumps(
            {
                **json.loads(sign(PAYLOAD, OTHER)),
                "signatures": [{"keyid": key_id(KEY.public), "sig": "AAAA"}],
            }
        ).encode(),
    ],
)
def test_who_else_signed_or_what_was_changed_has_no_signer(data: bytes) -> None:
    assert opened(data)[1] == ""


def test_no_key_trusts_nobody() -> None:
    assert opened(sign(PAYLOAD, KEY).encode(), TrustedKeys())[1] == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"7",
        b"{}",
        changed(payload=7),
        changed(payload="not base64"),
        changed(signatures=7),
        changed(signatures=[7]),
        changed(signatures=[{"keyid": "a"}]),
        changed(signatures=[{"sig": 7}]),
        changed(payloadType="text/plain"),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^x: "):
        opened(data)
