"""Trusted publishing: an identity token of the CI system for a short-lived one of the index.

The exchange is Warehouse's (`/_/oidc/audience`, `/_/oidc/mint-token`); the identity token comes
from the `id` of the locked toolchain, which knows the CI systems.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import web
from orchestrator.host.process import capture
from orchestrator.host.redaction import redactor
from orchestrator.publish.upload import UploadError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.provision.host import Host

_MARKS = ("ACTIONS_ID_TOKEN_REQUEST_URL", "GITLAB_CI", "BUILDKITE", "CIRCLECI")
_TAKEN = re.compile(
    r"GITHUB_ACTIONS|ACTIONS_ID_TOKEN_REQUEST_\w+|GITLAB_CI|\w+_ID_TOKEN|BUILDKITE\w*|CIRCLE\w*"
)
"""What `id` reads."""

KNOWN = ("pypi", "testpypi")
"""Audiences of the public indexes: a token for one of them is shown to no other index."""

_OK, _MORE = 200, 300
_SMALL = 1 << 20


def available(environ: Mapping[str, str]) -> bool:
    """Whether a CI system may give this job an identity token."""
    return any(environ.get(name) for name in _MARKS)


def exchanged(upload_url: str, host: Host, environ: Mapping[str, str], *, public: bool) -> str:
    """Return a token that the index takes for uploads; empty where it does not know how.

    Args:
        upload_url: the index' upload address.
        host: its toolchain and network.
        environ: where the CI system says how to get a token.
        public: whether the index is one of `KNOWN`.

    Raises:
        UploadError: the index does not answer; the CI system gives no token, or the index does not
            take it.
    """
    audience = _audience(upload_url, host, public=public)
    if not audience:
        return ""
    identity = _identity(audience, host, environ)
    request = web.HttpRequest(
        url=_beside(upload_url, "mint-token"),
        method="POST",
        headers={"Content-Type": "application/json"},
        body=(body := json.dumps({"token": identity}).encode()),
        size=len(body),
        confidential=True,
    )
    answer = _asked(request, host)
    said = _document(answer)
    token = said.get("token")
    if answer.status < _MORE and isinstance(token, str) and token:
        return token
    if answer.passing:
        what = f"trusted publishing: HTTP {answer.status} {answer.reason}"
        raise UploadError.of(what, transient=True)
    reasons = [
        f"{each.get('code')}: {each.get('description')}"
        for each in said.get("errors") or ()
        if isinstance(each, dict)
    ]
    text = "; ".join(reasons) or f"HTTP {answer.status} {answer.reason}"
    raise UploadError.of(f"trusted publishing: {text.replace(identity, '****')}")


def _audience(upload_url: str, host: Host, *, public: bool) -> str:
    answer = _asked(web.HttpRequest(url=_beside(upload_url, "audience")), host)
    if answer.passing:
        what = f"trusted publishing: HTTP {answer.status} {answer.reason}"
        raise UploadError.of(what, transient=True)
    audience = _document(answer).get("audience")
    if answer.status != _OK or not isinstance(audience, str) or not audience.strip():
        return ""
    if audience in KNOWN and not public:
        raise UploadError.of(
            f"trusted publishing: the index asks for a token for {audience}; "
            f"if it is {audience}, say --to {audience}"
        )
    return audience


def _identity(audience: str, host: Host, environ: Mapping[str, str]) -> str:
    env = host.net_env
    env |= {name: value for name, value in environ.items() if _TAKEN.fullmatch(name)}
    # An audience that begins with a dash would be an option.
    argv = [str(host.toolchain.python), "-I", "-m", "id", "--", audience]
    said = capture(argv, env=env, timeout=60.0)
    token = said.stdout.strip()
    if said.ok and token and token != "None":  # noqa: S105 - what it prints without one
        return token
    why = redactor(env)(said.last_line) if not said.ok else "it has none for this job"
    raise UploadError.of(f"trusted publishing: no token of the CI system: {why}")


def _beside(upload_url: str, name: str) -> str:
    parts = urlsplit(upload_url)
    return urlunsplit((parts.scheme, parts.netloc, f"/_/oidc/{name}", "", ""))


def _asked(request: web.HttpRequest, host: Host) -> web.HttpResponse:
    try:
        return web.ask(request, host.network, limit=_SMALL)
    except EnvironmentProblemError as error:
        what = f"trusted publishing: {error.what}"
        raise UploadError.of(what, transient=error.transient) from None


def _document(answer: web.HttpResponse) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
