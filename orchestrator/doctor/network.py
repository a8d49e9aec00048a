"""Check that this machine can download: certificates, proxies, package index."""

from __future__ import annotations

import os
import re
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from orchestrator.doctor.check import Check, passed, warning
from orchestrator.errors import OrchestratorError
from orchestrator.host import web
from orchestrator.host.index_config import pip_config
from orchestrator.host.network import CA_SETTINGS
from orchestrator.host.process import capture
from orchestrator.host.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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


def certificates(network: HostNetwork, environ: Mapping[str, str]) -> Iterator[Check]:
    """Say which certificate authorities this machine trusts, and which files are of no use."""
    bundle = network.ca_bundle
    instead = f"; {bundle} is used instead" if bundle is not None else "; no other one is found"
    for name in CA_SETTINGS:
        fault = _bundle_fault(Path(environ[name]).expanduser()) if environ.get(name) else ""
        if fault:
            detail = f"{environ[name]} {fault}{instead}"
            yield warning(name, detail, f"name a file of certificates (PEM), or unset {name}")
    folder = environ.get("SSL_CERT_DIR", "")
    if folder and not all(Path(each).is_dir() for each in folder.split(os.pathsep)):
        detail = f"{folder} is not a directory"
        yield warning("SSL_CERT_DIR", detail, "correct it, or unset SSL_CERT_DIR")
    if bundle is None:
        detail = "none found: only the certificate authorities that tools bring along are trusted"
        fix = "`apt-get install ca-certificates`, or set SSL_CERT_FILE"
        yield warning("CA bundle", detail, fix)
    elif fault := _bundle_fault(bundle):
        fix = "`apt-get install --reinstall ca-certificates`, or set SSL_CERT_FILE"
        yield warning("CA bundle", f"{bundle} {fault}", fix)
    else:
        yield passed("CA bundle", str(bundle))


def _bundle_fault(file: Path) -> str:
    """Return why a file is no bundle of certificates; empty if it is one."""
    try:
        if not file.exists():
            return "does not exist"
        if not file.is_file():
            return "is not a file"
        ssl.create_default_context(cafile=str(file))
    except ssl.SSLError:
        return "holds no certificate"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""


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
    """Check that the main index answers pip, which has the environment that builds get."""
    if env.get("PIP_NO_INDEX"):
        where = env.get("PIP_FIND_LINKS", "nowhere")
        detail = f"not used (PIP_NO_INDEX); wheels come from {masked(where)}"
        return passed("package index", detail)
    asked = ["-m", "pip", "index", "versions", "pip", "--retries=1", "--timeout=10"]
    said = capture([str(python), "-I", *asked], env=_main_index(env), timeout=30)
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


def lacks_pythons(network: HostNetwork, environ: Mapping[str, str]) -> str:
    """Return why uv can fetch no Python here; empty if it reaches the server that has them."""
    if environ.get("UV_PYTHON_DOWNLOADS") == "never" or environ.get("UV_OFFLINE"):
        return "uv may fetch none (UV_PYTHON_DOWNLOADS, UV_OFFLINE)"
    url = environ.get("UV_PYTHON_INSTALL_MIRROR") or _PYTHONS
    if not url.startswith(("http://", "https://")):
        return ""
    parts = web.split_url(url)
    server = parts.netloc.rpartition("@")[2]
    try:
        asked = urlunsplit(parts._replace(netloc=server))
        # Whatever the server answers without a password, it is reached.
        web.ask(web.HttpRequest(url=asked, method="HEAD", timeout=CONNECT_TIMEOUT), network)
    except OrchestratorError as error:
        return f"uv cannot fetch one: {server}: {error.problems[0].what}"
    return ""


_PYTHONS = "https://github.com/astral-sh/python-build-standalone/releases/download"
"""Where uv finds Pythons."""


def _main_index(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which pip asks the main index alone: another one proves nothing.

    pip adds the indexes of its files to those it is told, so it gets no file; most of what these
    say of how the index is reached is in the variables already.
    """
    said, _ = pip_config(env)
    options = {f"PIP_{n.upper().replace('-', '_')}": said[n] for n in _REACHING if n in said}
    others = {"PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"}
    own = {name: value for name, value in env.items() if name not in others}
    return options | own | {"PIP_CONFIG_FILE": os.devnull}


_REACHING = ("client-cert", "keyring-provider")


def _reason(text: str) -> str:
    """Return the line that says why: pip's last one says only that it found nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    causes = [line for line in lines if "rror" in line and "Could not" not in line]
    return masked(next(iter([*causes, *reversed(lines), "pip printed no reason"])))[:300]
