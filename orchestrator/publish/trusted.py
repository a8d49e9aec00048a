"""Trusted publishing: exchange the CI system's identity token for a short-lived upload token.

The exchange is Warehouse's (`/_/oidc/audience`, `/_/oidc/mint-token`); the identity token comes
from the `id` of the locked toolchain, which knows the CI systems. twine's own exchange serves only
the public indexes, mints one token per file, gives a token to whichever audience an index asks for,
and follows redirects with it.
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

_WHAT = "trusted publishing"
_MARKS = ("ACTIONS_ID_TOKEN_REQUEST_URL", "GITLAB_CI", "BUILDKITE", "CIRCLECI")
_ID_VARIABLES = re.compile(
    r"GITHUB_ACTIONS|ACTIONS_ID_TOKEN_REQUEST_\w+|GITLAB_CI|\w+_ID_TOKEN|BUILDKITE\w*|CIRCLE\w*"
)
_PUBLIC_AUDIENCES = ("pypi", "testpypi")
_LIMIT = 1 << 20


def available(environ: Mapping[str, str]) -> bool:
    """Whether a CI system may give this job an identity token."""
    return any(environ.get(name) for name in _MARKS)


def mint_token(upload_url: str, host: Host, environ: Mapping[str, str], *, public: bool) -> str:
    """Return an upload token of an index; empty if the index has no trusted publishing.

    Args:
        upload_url: the index' upload address.
        host: its toolchain and network.
        environ: where the CI system says how to get an identity token.
        public: whether the index is pypi or testpypi; no other index gets a token made for these.

    Raises:
        UploadError: the index does not answer, the CI system gives no token, or the index rejects
            it.
    """
    answer, document = _ask(upload_url, "audience", host)
    audience = document.get("audience")
    if not answer.ok or not isinstance(audience, str) or not audience.strip():
        return ""
    if audience in _PUBLIC_AUDIENCES and not public:
        raise UploadError.of(
            f"{_WHAT}: the index asks for a token for {audience}; "
            f"if it is {audience}, say --to {audience}"
        )
    identity = _identity(audience, host, environ)
    answer, document = _ask(upload_url, "mint-token", host, {"token": identity})
    token = document.get("token")
    if answer.ok and isinstance(token, str) and token:
        return token
    reasons = [
        f"{error.get('code')}: {error.get('description')}"
        for error in document.get("errors") or ()
        if isinstance(error, dict)
    ]
    text = "; ".join(reasons) or f"HTTP {answer.status} {answer.reason}"
    raise UploadError.of(f"{_WHAT}: {text.replace(identity, '****')}")


def _ask(
    upload_url: str, name: str, host: Host, document: object = None
) -> tuple[web.HttpResponse, dict[str, Any]]:
    """Ask one of the addresses; a document is posted."""
    parts = urlsplit(upload_url)
    url = urlunsplit((parts.scheme, parts.netloc, f"/_/oidc/{name}", "", ""))
    request = web.HttpRequest(url=url)
    if document is not None:
        request = web.HttpRequest(
            url=url,
            method="POST",
            headers={"Content-Type": "application/json"},
            body=(body := json.dumps(document).encode()),
            size=len(body),
            confidential=True,
        )
    try:
        answer = web.ask(request, host.network, limit=_LIMIT)
    except EnvironmentProblemError as error:
        raise UploadError.wrap(_WHAT, error) from None
    if answer.passing:
        what = f"{_WHAT}: HTTP {answer.status} {answer.reason}"
        raise UploadError.of(what, transient=True)
    return answer, answer.document()


def _identity(audience: str, host: Host, environ: Mapping[str, str]) -> str:
    env = host.net_env
    env |= {name: value for name, value in environ.items() if _ID_VARIABLES.fullmatch(name)}
    # An audience that begins with a dash would be an option.
    argv = [str(host.toolchain.python), "-I", "-m", "id", "--", audience]
    output = capture(argv, env=env, timeout=60.0)
    token = output.stdout.strip()
    if output.ok and token and token != "None":  # noqa: S105 - what it prints without one
        return token
    why = "it has none for this job" if output.ok else redactor(env)(output.last_line)
    raise UploadError.of(f"{_WHAT}: no token of the CI system: {why}")
