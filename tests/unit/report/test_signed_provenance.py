"""What somebody may demand of a wheel's provenance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.fsutil import file_sha256
from orchestrator.report.signed_provenance import (
    SIGNED,
    ProvenanceChecker,
    ProvenancePolicy,
    check,
)
from orchestrator.store import dsse
from orchestrator.store.seals import SigningKey, TrustedKeys

NAME, SHA256 = "a-1.0-py3-none-any.whl", "0" * 64
WORKFLOW = "a/b/.github/workflows/w.yml@refs/heads/main"


def made(**changes: Any) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": NAME, "digest": {"sha256": SHA256}}],
        "predicate": {
            "buildDefinition": {
                "externalParameters": {"ref": "refs/heads/main", "workflow": WORKFLOW},
                "resolvedDependencies": [
                    {"name": "toolchain.lock", "digest": {"sha256": "1" * 64}},
                    {"uri": "git+https://host/a/b.git@abc", "digest": {"gitCommit": "abc"}},
                ],
            },
            "runDetails": {"builder": {"id": "urn:me"}},
        },
        **changes,
    }


def wrong(statement: Any = None, **policy: str) -> str:
    data = json.dumps(made() if statement is None else statement).encode()
    found = check(data, ProvenancePolicy(**policy), name=NAME, sha256=SHA256)
    return "; ".join(found)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"repository": "https://host/a/b"},
        {"repository": "https://host/a/b.git"},
        {"repository": "git@host:a/b.git"},
        {"repository": "ssh://git@host/a/b/"},
        {"ref": "refs/heads/main"},
        {"workflow": WORKFLOW},
        {"workflow": "a/b/.github/workflows/w.yml@"},
        {"builder": "urn:me", "ref": "refs/heads/main"},
    ],
)
def test_what_is_as_demanded(policy: dict[str, str]) -> None:
    assert wrong(**policy) == ""


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        ({"repository": "https://host/a"}, "its repository is https://host/a/b.git, and https"),
        ({"ref": "refs/heads/mai"}, "its ref is refs/heads/main, and refs/heads/mai is demanded"),
        ({"workflow": "a/b/.github/workflows/w.yml"}, "its workflow is"),
        ({"workflow": "other@"}, "its workflow is"),
        ({"ref": "refs/heads/main.git"}, "its ref is"),
        ({"ref": "refs/heads/@"}, "its ref is"),
        ({"builder": "urn:me/"}, "its builder is"),
        ({"repository": "https://other/a/b"}, "its repository is"),
        ({"builder": "urn:you"}, "its builder is urn:me, and urn:you is demanded"),
    ],
)
def test_what_is_not_is_said(policy: dict[str, str], told: str) -> None:
    assert told in wrong(**policy)


def test_a_branch_whose_name_only_resembles_another_is_not_it() -> None:
    statement = made()
    statement["predicate"]["buildDefinition"]["externalParameters"]["ref"] = "refs/heads/main.git"
    assert "its ref is" in wrong(statement, ref="refs/heads/main")


def test_a_changed_work_tree_is_not_the_repository() -> None:
    statement = made()
    (_, source) = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    source["annotations"] = {"changedFiles": 2}
    assert wrong(statement) == ""
    assert "were not as in the commit" in wrong(statement, repository="https://host/a/b")


def test_what_nobody_stated_is_not_as_demanded() -> None:
    statement = made()
    statement["predicate"]["buildDefinition"] = {"externalParameters": {}}
    assert wrong(statement, repository="https://host/a/b") == (
        "its repository is not stated, and https://host/a/b is demanded"
    )
    assert wrong(statement) == ""


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (made(subject=[{"name": NAME, "digest": {"sha256": "1" * 64}}]), "it is about a-1.0"),
        (made(subject=[{"name": "b.whl", "digest": {"sha256": SHA256}}]), "it is about b.whl"),
        (made(subject=[]), "it is about nothing"),
        (made(predicateType="other"), "it is no SLSA provenance v1, but other"),
        (made(subject=7), "it is no SLSA"),
        (made(predicate={}), "it is no SLSA"),
        ([], "it is no SLSA"),
        (7, "it is no SLSA"),
    ],
)
def test_another_statement_is_none_on_this_wheel(statement: Any, told: str) -> None:
    assert told in wrong(statement)


def test_files(tmp_path: Path) -> None:
    wheel, key = tmp_path / NAME, SigningKey.new()
    wheel.write_bytes(b"wheel")
    checker = ProvenanceChecker(
        place=tmp_path, keys=TrustedKeys.of([key.public]), policy=ProvenancePolicy()
    )

    def told() -> str:
        return "; ".join(f"{each.rule}: {each.message}" for each in checker.check(wheel))

    assert told().endswith("cannot be read: No such file or directory")
    file = tmp_path / f"{NAME}{SIGNED}"
    subject = [{"name": NAME, "digest": {"sha256": file_sha256(wheel)}}]
    text = json.dumps(made(subject=subject)).encode()
    file.write_text(dsse.sign(text, SigningKey.new()))
    assert told().endswith("is not signed by a key that is trusted here")
    file.write_text(dsse.sign(text, key))
    assert told() == ""
    wheel.write_bytes(b"another")
    assert "it is about" in told()
    file.write_text("{")
    assert told().startswith("provenance: ")
