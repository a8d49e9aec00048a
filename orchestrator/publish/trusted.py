"""Trusted publishing: exchange the CI system's identity token for a short-lived upload token.

The exchange is Warehouse's (`/_/oidc/mint-token`); the identity token comes from the `id` of the
locked toolchain, which knows the CI systems. No index is asked for which audience it wants one: it
could name another service (``sts.amazonaws.com``), and use the token there. twine's own exchange
serves only the public indexes, mints one token per file, asks them for the audience, and follows
redirects with the token.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from orchestrator.errors import ConfigError, OrchestratorError
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
_AUDIENCES = {"https://upload.pypi.org": "pypi", "https://test.pypi.org": "testpypi"}
"""Server of a public index -> its audience, and its name in ``--to``."""

_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
_LIMIT = 1 << 20


def available(environ: Mapping[str, str]) -> bool:
    """Whether a CI system may give this job an identity token."""
    return any(environ.get(name) for name in _MARKS)


def audience_of(name: str, upload_url: str, given: str) -> str:
    """Return the audience that an index' identity tokens are made for; empty if nobody says.

    `name` is the index as in ``--to``, and `given` the audience that the user names for it.

    Raises:
        ConfigError: that one belongs to another index.
    """
    parts = urlsplit(upload_url)
    server = f"{parts.scheme}://{parts.netloc}".removesuffix(":443").lower()
    own = name if name in _AUDIENCES.values() else _AUDIENCES.get(server, "")
    if given and given != own and (own or given in _AUDIENCES.values()):
        what = f"{given!r} is not the audience of {name}"
        hint = "leave it out" if own else f"if it is {given}, say --to {given}"
        raise ConfigError.of(what, where="--audience", hint=hint)
    return own or given


def mint_token(upload_url: str, audience: str, host: Host, environ: Mapping[str, str]) -> str:
    """Return an upload token of an index, for an identity token with this audience.

    `environ` has what the CI system says of how to get that one.

    Raises:
        UploadError: the index does not answer, the CI system gives no token, or the index rejects
            it.
    """
    identity = _identity(audience, host, environ)
    answer = _exchange(upload_url, identity, host)
    token = answer.document().get("token")
    if answer.ok and isinstance(token, str) and _TOKEN.fullmatch(token):
        return token
    reasons = [f"{each.get('code')}: {each.get('description')}" for each in answer.errors()]
    text = "; ".join(reasons) or f"HTTP {answer.status} {answer.reason}"
    raise UploadError.of(f"{_WHAT}: {text.replace(identity, '****')}")


def _exchange(upload_url: str, identity: str, host: Host) -> web.HttpResponse:
    """Send an identity token to the server of an index' uploads; no redirect is followed."""
    server = urlsplit(upload_url)
    body = json.dumps({"token": identity}).encode()
    request = web.HttpRequest(
        url=urlunsplit((server.scheme, server.netloc, "/_/oidc/mint-token", "", "")),
        method="POST",
        headers={"Content-Type": "application/json"},
        body=body,
        size=len(body),
        confidential=True,
    )
    try:
        answer = web.ask(request, host.network, limit=_LIMIT)
    except OrchestratorError as error:
        raise UploadError.wrap(_WHAT, error) from None
    if answer.passing:
        what = f"{_WHAT}: HTTP {answer.status} {answer.reason}"
        raise UploadError.of(what, transient=True)
    return answer


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
