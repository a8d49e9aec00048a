"""Hide credentials in everything that is written.

URLs of proxies and indexes have them (``https://user:password@host``, RFC 3986 section 3.2.1).
Programs that fail often print such a URL, and some print the header that is made of it.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.models.json_form import HIDDEN
from orchestrator.models.secret_names import is_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_USERINFO = re.compile(r"(?<=://)([^\s/@:'\"]*):([^\s/@'\"]+)@")
_TOKEN = re.compile(r"(?<=://)([^\s/@:'\"]+)@")

_QUERY = re.compile(
    r"(?i)([?&#][\w-]*(?:token|password|passwd|secret|api_?key|sig|signature|credential)=)"
    r"[^&\s'\"<>]+"
)

_SHORTEST = 4
"""Characters of a password that is hidden wherever it stands: a shorter one is in many words."""

_SHORTEST_TOKEN = 16
"""Characters of a user name that must be a token; ``git`` in ``ssh://git@host`` is not one."""


def masked(text: str) -> str:
    """Return a text that is about to be shown, with the credentials of every URL in it hidden."""
    if "://" not in text:
        return text
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    if "@" not in text:
        return text
    text = _USERINFO.sub(rf"\1:{HIDDEN}@", text)
    return _TOKEN.sub(
        lambda found: found[0] if len(found[1]) < _SHORTEST_TOKEN else f"{HIDDEN}@", text
    )


def without_login(address: str) -> str:
    """Return an address that is about to be recorded, without user and password.

    The user of an SSH address stays: it is a part of the place, and no secret.
    """
    try:
        parts = urlsplit(address)
        login, at, place = parts.netloc.rpartition("@")
        user = "" if parts.scheme in {"http", "https"} else login.partition(":")[0] + at
        return masked(parts._replace(netloc=user + place).geturl() if at else address)
    except ValueError:  # of an address that is none
        return ""


def redactor(env: Mapping[str, str], shortest: int = _SHORTEST) -> Callable[[str], str]:
    """Return a function that hides the credentials of an environment in texts, and those of URLs.

    Credentials with fewer characters than the shortest stay.
    """
    secrets: set[str] = set()
    for name, value in env.items():
        if is_secret(name):
            secrets.add(value)
        if "://" not in value or "@" not in value:
            continue
        for user, password in _USERINFO.findall(value):
            plain = f"{unquote(user)}:{unquote(password)}"
            # RFC 7617: what `curl -v` prints of the header
            secrets |= {password, unquote(password), base64.b64encode(plain.encode()).decode()}
        secrets |= {each for each in _TOKEN.findall(value) if len(each) >= _SHORTEST_TOKEN}
    known = sorted((each for each in secrets if len(each) >= shortest), key=len, reverse=True)

    def redact(text: str) -> str:
        for secret in known:
            text = text.replace(secret, HIDDEN)
        return masked(text)

    return redact
