"""Who vouches for a record: this machine, by a secret of its own, or the holder of a trusted key.

A record is a file whose first line has the SHA-256 of the rest and, after a blank, its seal:

- in the local store ``here:MAC`` or ``shared:MAC`` or ``KEY-ID:MAC``, where MAC is the HMAC-SHA256,
  with this machine's secret, of where the record came from and what it says;
- in a shared store ``KEY-ID:SIGNATURE``, an Ed25519 signature of its address and what it says.

Private keys are only in the environment or a file, and in no message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchestrator import extra_hint
from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.fsutil import is_private, locked, open_beneath, replacing
from orchestrator.models.store_trust import PUBLIC_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

HERE: Final = "here"
"""Where a record came from that this machine made."""

SHARED: Final = "shared"
"""Where a record came from that nobody vouches for."""

_PRIVATE: Final = "orchestrator-private-key:"
_PUBLIC: Final = "ed25519:"
_PURPOSE: Final = b"orchestrator store record\n"
"""Signed with it, so that a signature of a record is one of nothing else."""

_SECRET_BYTES: Final = 32


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - an extra
    except ImportError:
        raise EnvironmentProblemError.of(
            "signatures need the package cryptography, which is not installed",
            hint=extra_hint("sign"),
        ) from None
    return ed25519


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; its text is what `orchestrator cache key new` wrote."""

    _key: Any = field(repr=False)

    @classmethod
    def new(cls) -> SigningKey:
        """Make a key; raises EnvironmentProblemError if cryptography is not installed."""
        return cls(_ed25519().Ed25519PrivateKey.generate())

    @classmethod
    def parse(cls, text: str, *, where: str) -> SigningKey:
        """Read a key.

        Raises:
            ConfigError: `where` has none; what it has is not repeated.
            EnvironmentProblemError: cryptography is not installed.
        """
        raw = _decoded(text.strip().removeprefix(_PRIVATE))
        if not text.strip().startswith(_PRIVATE) or len(raw) != _SECRET_BYTES:
            raise ConfigError.of(
                "this is not a private key of a store",
                where=where,
                hint="`orchestrator cache key new FILE` makes one",
            )
        return cls(_ed25519().Ed25519PrivateKey.from_private_bytes(raw))

    def secret(self) -> bytes:
        """Return what the local store's records are sealed with by whoever has the key."""
        return hashlib.sha256(_PURPOSE + self._key.private_bytes_raw()).digest()

    @property
    def text(self) -> str:
        """The key, which nobody else may see."""
        return _PRIVATE + base64.b64encode(self._key.private_bytes_raw()).decode()

    @property
    def public(self) -> str:
        """The public key, as ``store.trusted-keys`` lists it."""
        return _PUBLIC + base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, data: bytes) -> bytes:
        """Sign data that begins with its purpose (Ed25519, RFC 8032)."""
        signature: bytes = self._key.sign(data)
        return signature

    def seal(self, address: str, body: bytes) -> str:
        """Sign a record."""
        signature = self.sign(_signed(address, body))
        return f"{key_id(self.public)}:{base64.b64encode(signature).decode()}"


def key_id(public: str) -> str:
    """Return the short name of a public key."""
    return hashlib.sha256(_decoded(public.removeprefix(_PUBLIC))).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """The public keys whose holders are believed, by their IDs."""

    keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, keys: Iterable[str]) -> TrustedKeys:
        """Take public keys as ``store.trusted-keys`` lists them."""
        return cls({key_id(each): each for each in keys})

    def signer(self, seal: str, address: str, body: bytes) -> str:
        """Return the ID of the trusted key that signed a record, or `SHARED`.

        Raises:
            EnvironmentProblemError: cryptography is not installed.
        """
        name, _, text = seal.partition(":")
        signed = self.has_signed(name, _signed(address, body), _decoded(text))
        return name if signed else SHARED

    def has_signed(self, name: str, data: bytes, signature: bytes) -> bool:
        """Whether the trusted key with this ID made a signature.

        Raises:
            EnvironmentProblemError: cryptography is not installed.
        """
        public = self.keys.get(name)
        if public is None or PUBLIC_KEY.fullmatch(public) is None:
            return False
        key = _ed25519().Ed25519PublicKey.from_public_bytes(_decoded(public.removeprefix(_PUBLIC)))
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - `_ed25519` says why

        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def write_key(key: SigningKey, file: Path) -> None:
    """Write a private key to a new file that only its owner may read.

    Raises:
        ConfigError: there is a file of this name, or it cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"{key.text}\n")
    except OSError as error:
        raise ConfigError.of(f"cannot be written: {error.strerror}", where=str(file)) from None


def mac_seal(secret: bytes, origin: str, body: bytes) -> str:
    """Seal a record of the local store, which came from `origin`."""
    mac = hmac.digest(secret, f"{origin}\n".encode() + body, "sha256")
    return f"{origin}:{mac.hex()}"


def mac_origin(secret: bytes, seal: str, body: bytes) -> str:
    """Return where a record of the local store came from; empty if we did not seal it."""
    origin = seal.partition(":")[0]
    ours = hmac.compare_digest(mac_seal(secret, origin, body), seal)
    return origin if ours else ""


def machine_secret(file: Path) -> bytes:
    """Return the secret of this machine's user, made once.

    If the file cannot be written or is not ours alone, the secret is a new one for this process:
    then nothing that other processes sealed is believed, and it is verified again.
    """
    try:
        found = _own_secret(file)
        if found is None:
            file.parent.mkdir(parents=True, exist_ok=True)
            with locked(file.with_name(f"{file.name}.lock")):
                found = _own_secret(file)
                if found is None:
                    found = secrets.token_bytes(_SECRET_BYTES)
                    with replacing(file, mode=0o600) as aside:
                        aside.chmod(0o600)
                        aside.write_bytes(found)
    except OSError:
        return secrets.token_bytes(_SECRET_BYTES)
    return found


def _own_secret(file: Path) -> bytes | None:
    try:
        with open_beneath(file.parent, file.name) as stream:
            private = is_private(os.fstat(stream.fileno()))
            data = stream.read(_SECRET_BYTES + 1)
    except FileNotFoundError:
        return None
    return data if private and len(data) == _SECRET_BYTES else None


def _signed(address: str, body: bytes) -> bytes:
    return _PURPOSE + address.encode() + b"\n" + body


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
