"""No credential in anything that is written down."""

from __future__ import annotations

import base64

import pytest

from orchestrator.host.redaction import masked, redactor, without_login

TOKEN = "glpat-0123456789abcdefghij"  # noqa: S105 - nobody's


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pa%40ss@host/simple/", "https://user:****@host/simple/"),
        ("a https://u:p@h b http://v:q@h", "a https://u:****@h b http://v:****@h"),
        (f"https://{TOKEN}@host/x", "https://****@host/x"),
        ("https://:secret@host", "https://:****@host"),
        ("ssh://git@host/x and me@example.org", "ssh://git@host/x and me@example.org"),
        ("https://host/path:1@2", "https://host/path:1@2"),
        ("https://user:****@host", "https://user:****@host"),
        ("git+https://x:abc@host/a.git@v1", "git+https://x:****@host/a.git@v1"),
        ("https://host/a?token=abc&b=1", "https://host/a?token=****&b=1"),
        ("https://b.host/k?X-Amz-Signature=0f&x=1", "https://b.host/k?X-Amz-Signature=****&x=1"),
        ("https://h/a?private_token=abc", "https://h/a?private_token=****"),
        ("https://h/a?x=1&X-Amz-Credential=a/b&y", "https://h/a?x=1&X-Amz-Credential=****&y"),
        ("https://h/a#access_token=abc&b=1", "https://h/a#access_token=****&b=1"),
        ("https://h/a?client-secret=abc", "https://h/a?client-secret=****"),
        ("https://h/a?tokens=5&signed=1#sha256=0f", "https://h/a?tokens=5&signed=1#sha256=0f"),
        ("https://host/pkg@1.0", "https://host/pkg@1.0"),
        ("nothing", "nothing"),
    ],
)
def test_passwords_in_urls_are_hidden(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_what_an_environment_holds_is_hidden_wherever_it_stands() -> None:
    header = base64.b64encode(b"user:p@ss w0rd").decode()
    redact = redactor(
        {
            "HTTPS_PROXY": "http://user:p%40ss%20w0rd@proxy:1",
            "UV_INDEX_CORP_PASSWORD": "hunter2",
            "PIP_INDEX_URL": f"https://{TOKEN}@host",
            "CIBW_ENVIRONMENT": 'A="https://u:other-secret@host"',
            "PATH": "/usr/bin",
        }
    )
    said = f"p@ss w0rd {header} p%40ss%20w0rd hunter2 {TOKEN} other-secret user /usr/bin"
    assert redact(said) == "**** **** **** **** **** **** user /usr/bin"


def test_a_password_of_three_letters_is_hidden_in_urls_only() -> None:
    redact = redactor({"HTTPS_PROXY": "http://user:abc@proxy:1"})
    assert redact("abc http://user:abc@proxy:1") == "abc http://user:****@proxy:1"


def test_credentials_that_are_shorter_than_asked_for_stay() -> None:
    redact = redactor({"A_TOKEN": "1", "B_TOKEN": "longer", "C_TOKEN": "longer-still"}, 6)
    assert redact("1 longer longer-still") == "1 **** ****"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://token@github.com/a/b", "https://github.com/a/b"),
        ("https://x:y@[::1]:8443/a?b#c", "https://[::1]:8443/a?b#c"),
        ("https://a/b@c", "https://a/b@c"),
        ("git@github.com:a/b.git", "git@github.com:a/b.git"),
        ("ssh://git@host/a", "ssh://git@host/a"),
        ("ssh://git:secret@host/a", "ssh://git@host/a"),
        ("ftp://me:secret@host/a", "ftp://me@host/a"),
        ("../other", "../other"),
        ("https://host/a?token=hush&x=1", "https://host/a?token=****&x=1"),
        ("https://u:p@host/a?private_token=hush", "https://host/a?private_token=****"),
        ("https://[broken", ""),
    ],
)
def test_an_address_is_shown_without_its_login(address: str, shown: str) -> None:
    assert without_login(address) == shown
