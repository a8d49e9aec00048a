"""What of pip's and uv's settings makes two hosts different: where packages come from."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.host.index_identity import describe
from orchestrator.host.network import HostNetwork


def both(environ: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Describe the index for a container, and for a program on this host."""
    network = HostNetwork.detect({"XDG_CONFIG_DIRS": "/nonexistent", **environ})
    return describe(network, in_container=True), describe(network, in_container=False)


@pytest.fixture(autouse=True)
def _no_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.host.index_config._PIP_SYSTEM", Path("/nonexistent"))
    monkeypatch.setattr("orchestrator.host.index_config._UV_SYSTEM", Path("/nonexistent"))


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"PIP_INDEX_URL": f"{PUBLIC_INDEX}/"},
        {"HTTPS_PROXY": "http://proxy:3128", "PIP_TIMEOUT": "5", "PIP_DEFAULT_TIMEOUT": "5"},
        {
            "PIP_RETRIES": "9",
            "PIP_TRUSTED_HOST": urlsplit(PUBLIC_INDEX).netloc,
            "UV_HTTP_TIMEOUT": "9",
        },
        {"PIP_CACHE_DIR": "/x", "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"},
    ],
)
def test_how_the_usual_index_is_reached_makes_no_difference(environ: dict[str, str]) -> None:
    assert both(environ) == ({}, {})


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PIP_INDEX_URL": "https://a/simple"}, {"PIP_INDEX_URL": "https://a/simple"}),
        ({"PIP_INDEX_URL": "https://me:pw@a/simple/"}, {"PIP_INDEX_URL": "https://a/simple"}),
        (
            {"PIP_EXTRA_INDEX_URL": "https://t@a/x https://b/y"},
            {"PIP_EXTRA_INDEX_URL": "https://a/x https://b/y"},
        ),
        ({"UV_INDEX": "own=https://u:p@a/x"}, {"UV_INDEX": "own=https://a/x"}),
        ({"UV_DEFAULT_INDEX": "https://a/x"}, {"UV_DEFAULT_INDEX": "https://a/x"}),
        ({"UV_INDEX_STRATEGY": "unsafe-best-match"}, {"UV_INDEX_STRATEGY": "unsafe-best-match"}),
        ({"PIP_NO_INDEX": "1"}, {"PIP_NO_INDEX": "1"}),
        ({"PIP_FIND_LINKS": "https://a/links"}, {"PIP_FIND_LINKS": "https://a/links"}),
    ],
)
def test_another_index_does(environ: dict[str, str], expected: dict[str, str]) -> None:
    assert both(environ) == (expected, expected)


def test_credentials_of_an_index_are_no_part_of_it() -> None:
    for described in both({"UV_INDEX_OWN_PASSWORD": "hunter2", "UV_INDEX": "own=https://a/x"}):
        assert "hunter2" not in str(described)


def test_a_directory_of_wheels_counts_by_what_is_in_it(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "a-1.0-py3-none-any.whl").write_text("x")
    one = both({"PIP_FIND_LINKS": str(first)})

    assert one == both({"PIP_FIND_LINKS": str(second)})
    (second / "a-1.1-py3-none-any.whl").write_text("y")
    assert one != both({"PIP_FIND_LINKS": str(second)})


def test_pip_s_own_files_count_on_this_host(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("numpy==1.26\n")
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a/simple\ntimeout = 5\n"
        f"[install]\nno_binary = numpy\nconstraint = {constraints}\n[wheel]\npre = true\n"
    )
    environ = {"PIP_CONFIG_FILE": str(file)}
    inside, here = both(environ)

    assert inside == {"PIP_INDEX_URL": "https://a/simple"}
    assert here["pip.conf install.no-binary"] == "numpy"
    assert here["pip.conf wheel.pre"] == "true"
    constraints.write_text("numpy==2\n")
    assert both(environ)[1] != here
