"""What the package index calls this program, and its extras, wherever something has to be told."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import DISTRIBUTION, extra_hint
from orchestrator.errors import EnvironmentProblemError
from orchestrator.publish.storage import open_storage
from orchestrator.store.remote import RemoteStore
from orchestrator.store.result_record import RemoteError
from orchestrator.store.seals import SigningKey, TrustedKeys
from tests.conftest import REPOSITORY
from tests.unit.test_documents import PAGES, SOURCES
from tests.unit.test_project import PYPROJECT

EXTRAS = set(PYPROJECT["project"]["optional-dependencies"])
OTHER_PROJECT = re.compile(
    r"(?m)(?:\binstall\b[^\n`]*|uvx |pipx run |--from |--spec |dependencies = [^\n]*)"
    r"(?<=[ \"'\[=])[\"']?orchestrator(?:\[| @|==|[\"'`]|$)"
)
"""A line that would install what is called `orchestrator` on the index."""


def test_it_has_one_name_and_a_command_of_each() -> None:
    scripts = PYPROJECT["project"]["scripts"]

    assert PYPROJECT["project"]["name"] == DISTRIBUTION
    assert scripts.keys() == {"orchestrator", DISTRIBUTION}
    assert len(set(scripts.values())) == 1


@pytest.mark.parametrize(
    "line",
    ["pip install orchestrator[x]", "uvx orchestrator", 'dependencies = ["orchestrator @ f"]'],
)
def test_a_line_with_the_other_name_is_found(line: str) -> None:
    assert OTHER_PROJECT.search(line)
    assert not OTHER_PROJECT.search(line.replace("orchestrator", DISTRIBUTION))


def test_nothing_says_to_install_another_project() -> None:
    found = [
        (path.name, match[0])
        for path in (*PAGES, *SOURCES)
        if path != Path(__file__)
        for match in OTHER_PROJECT.finditer(path.read_text("utf-8", errors="replace"))
    ]

    assert found == []


def test_extras_are_named_where_they_are_needed_and_exist() -> None:
    code = "\n".join(path.read_text("utf-8") for path in SOURCES if path.suffix == ".py")
    hinted = set(re.findall(r"""extra_hint\(["']([a-z]+)["']\)""", code))
    told = "\n".join(path.read_text("utf-8") for path in PAGES)
    named = set(re.findall(rf"{DISTRIBUTION}\[([a-z,]+)\]", told))
    listed = re.findall(
        r"(?m)^\| `([a-z]+)` \|", (REPOSITORY / "docs/howto/install.md").read_text()
    )
    action = (REPOSITORY / ".github/actions/orchestrator/action.yml").read_text("utf-8")

    assert hinted == EXTRAS - {"fast"}, "what is only faster works without it"
    assert {each for names in named for each in names.split(",")} == EXTRAS
    assert set(listed) == EXTRAS
    assert f"[{','.join(sorted(EXTRAS))}]" in action


KEY = "ed25519:" + "A" * 43 + "="

MISSING: dict[str, tuple[str, str, Callable[[], object]]] = {
    "store": ("obstore", "remote", lambda: RemoteStore("s3://b/p", options={}, environ={})),
    "bucket": ("obstore", "remote", lambda: open_storage("s3://b/p")),
    "a new key": ("cryptography", "sign", SigningKey.new),
    "a trusted key": (
        "cryptography",
        "sign",
        lambda: TrustedKeys({"id": KEY}).signer("id:AAAA", "address", b""),
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_missing_extra_is_named_with_the_command_that_brings_it(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, extra, use = MISSING[case]
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises((RemoteError, EnvironmentProblemError)) as raised:
        use()

    assert module in str(raised.value)
    assert extra_hint(extra) in str(raised.value)
    assert extra_hint(extra) == f'pip install "wheel-orchestrator[{extra}]"'
