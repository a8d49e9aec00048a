from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.doctor import network
from orchestrator.doctor.check import CheckLevel
from orchestrator.host.network import HostNetwork


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_proxies_are_asked_and_shown_without_their_password(listener: int) -> None:
    environ = {
        "HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{listener}",
        "http_proxy": "127.0.0.1:9",
        "NO_PROXY": "localhost",
        "ALL_PROXY": "http://host:port",
    }
    http, https, both = network.proxies(HostNetwork.detect(environ))
    assert (https.status, https.detail) == (CheckLevel.OK, f"http://user:****@127.0.0.1:{listener}")
    assert (http.status, both.status) == (CheckLevel.WARN, CheckLevel.WARN)
    assert "does not answer" in http.detail


def test_no_bundle() -> None:
    assert network.certificates(HostNetwork()).status is CheckLevel.WARN
    assert network.certificates(HostNetwork(ca_bundle=Path("/x"))).status is CheckLevel.OK


def test_no_index_is_no_worry() -> None:
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "https://u:hunter2@host/x"}
    check = network.index(Path("/none"), env)
    assert check.status is CheckLevel.OK
    assert "hunter2" not in check.detail


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: SSLError(CERTIFICATE_VERIFY_FAILED)", "SSL_CERT_FILE"),
        ("ERROR: ProxyError('Cannot connect', 407 x)", "HTTPS_PROXY"),
        ("ERROR: HTTP error 401 while getting x", "credentials"),
        ("ERROR: https://u:hunter2@h: no", "check the network"),
        ("No module named pip", "the toolchain brings one"),
    ],
)
def test_why_the_index_does_not_answer(tmp_path: Path, said: str, hint: str) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "{said}" >&2\nexit 1\n')
    python.chmod(0o755)
    check = network.index(python, {"PATH": "/usr/bin:/bin", "PIP_INDEX_URL": "https://u:hunter2@h"})
    assert check.status is CheckLevel.WARN
    assert hint in check.fix
    assert "hunter2" not in check.detail
