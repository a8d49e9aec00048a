"""Check that this machine can download: certificates, proxies, package index."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from orchestrator.doctor.check import Check, passed, warning
from orchestrator.host.process import capture
from orchestrator.host.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestrator.host.network import HostNetwork

CONNECT_TIMEOUT = 3.0

_SIGNS = {
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed": (
        "set SSL_CERT_FILE to the bundle of the index' authority; where a certificate "
        "is not valid yet or any more, set the clock"
    ),
    r"ProxyError|Tunnel connection failed|\b407\b": (
        "check HTTPS_PROXY: address, user, password (special characters percent-encoded), and "
        "what it may fetch"
    ),
    r"\b40[13] |Unauthorized|Forbidden": "check the credentials in PIP_INDEX_URL",
}
"""What pip prints, and what to do about it."""


def certificates(network: HostNetwork) -> Check:
    """Say which certificate authorities this machine trusts."""
    if network.ca_bundle is not None:
        return passed("CA bundle", str(network.ca_bundle))
    return warning(
        "CA bundle",
        "none found: only the certificate authorities that tools bring along are trusted",
        "`apt-get install ca-certificates`, or set SSL_CERT_FILE",
    )


def proxies(network: HostNetwork) -> Iterator[Check]:
    """Check that each proxy answers; one row per address, without credentials."""
    seen: dict[str, str] = {}
    for name, value in network.proxies:
        if name.lower() != "no_proxy":
            seen.setdefault(value, name)
    for value, name in seen.items():
        try:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), CONNECT_TIMEOUT).close()
        except (OSError, ValueError) as error:
            detail = f"{masked(value)} does not answer: {error}"
            yield warning(f"proxy {name}", detail, f"correct {name}, or unset it")
        else:
            yield passed(f"proxy {name}", masked(value))


def index(python: Path, env: Mapping[str, str]) -> Check:
    """Check that the package index answers pip, which has the environment that builds get."""
    if env.get("PIP_NO_INDEX"):
        where = env.get("PIP_FIND_LINKS", "nowhere")
        detail = f"not used (PIP_NO_INDEX); wheels come from {masked(where)}"
        return passed("package index", detail)
    asked = ["-m", "pip", "index", "versions", "pip", "--retries=1", "--timeout=10"]
    said = capture([str(python), "-I", *asked], env=env, timeout=30)
    shown = masked(env.get("PIP_INDEX_URL") or "pip's own index")
    if said.ok:
        return passed("package index", f"{shown} answers")
    text = f"{said.stdout}\n{said.stderr}"
    if "No module named pip" in text:
        fix = "nothing: the toolchain brings one"
        return warning("package index", "not asked: pip is not installed yet", fix)
    found = (hint for sign, hint in _SIGNS.items() if re.search(sign, text))
    fix = next(found, "check the network, HTTPS_PROXY and PIP_INDEX_URL")
    return warning("package index", f"{shown} does not answer: {_reason(text)}", fix)


def _reason(text: str) -> str:
    """Return the line that says why: pip's last one says only that it found nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if "rror" in line and "Could not" not in line]
    return masked(next(iter([*causes, *reversed(lines), "pip printed no reason"])))[:300]
