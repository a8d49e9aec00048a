"""Statements on wheels: SLSA v1 provenance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.models.provenance import Provenance, SourceRevision
from orchestrator.models.reading import parse
from orchestrator.models.result import BuildEnvironment, RequirementFile
from orchestrator.report import serialize as documents
from orchestrator.report.schemas import Result
from orchestrator.report.slsa import statement
from tests.factories import CONTAINER, RESULT, TARGET, WHEEL, env, request

CYTHON = RequirementFile(
    name="cython",
    version="3.3.1",
    filename="cython-3.3.1-py3-none-any.whl",
    sha256="c" * 64,
    url="https://files.example/cython-3.3.1-py3-none-any.whl",
    index="https://index.example/simple",
)
NAMELESS = replace(CYTHON, name="old", version="", filename="", sha256="", url="", index="")
REVISION = SourceRevision(
    remote="https://example.org/p.git", commit="a" * 40, tags=("v1",), changed=2, changes=("a.c",)
)


def said(**changes: Any) -> dict[str, Any]:
    made = replace(RESULT, wheel=WHEEL, request=request(TARGET), duration=61.0, **changes)
    value = documents.result(made, TARGET, root=Path("/"), run="r")
    found: dict[str, Any] = statement(parse(Result, value))
    return found


def dependencies(found: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    return listed


def test_a_statement_is_on_the_wheel_and_says_what_was_asked() -> None:
    found = said()
    digest = {"sha256": WHEEL.sha256}
    assert found["subject"] == [{"name": WHEEL.filename, "digest": digest}]
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = found["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["id"] == TARGET.id
    assert definition["externalParameters"]["target"]["python"] == TARGET.python
    assert found["predicate"]["runDetails"]["metadata"] == {}


def test_what_went_in_is_a_dependency_with_its_digest() -> None:
    environment = BuildEnvironment(python="3.12.4", files=(CYTHON, NAMELESS))
    found = said(
        environment=environment,
        container=CONTAINER,
        provenance=Provenance(revision=REVISION, invocation="https://ci/1", began=1_700_000_000),
    )
    commit, files, image, toolchain, cython, old = dependencies(found)
    assert commit["uri"] == f"git+https://example.org/p.git@{'a' * 40}"
    assert commit["digest"] == {"gitCommit": "a" * 40}
    assert commit["annotations"] == {"tags": ["v1"], "changedFiles": 2}
    assert files["digest"] == {"sha256": "0" * 64}
    assert image["uri"] == "pkg:oci/manylinux_2_28_x86_64"
    assert image["digest"] == {"sha256": "a" * 64}
    assert toolchain["name"] == "toolchain.lock"
    assert cython == {
        "uri": "pkg:pypi/cython@3.3.1",
        "digest": {"sha256": "c" * 64},
        "name": CYTHON.filename,
        "downloadLocation": CYTHON.url,
        "annotations": {"index": CYTHON.index},
    }
    assert old == {"uri": "pkg:pypi/old"}
    assert found["predicate"]["runDetails"]["metadata"] == {
        "invocationId": "https://ci/1",
        "startedOn": "2023-11-14T22:13:20Z",
        "finishedOn": "2023-11-14T22:14:21Z",
    }


def test_a_local_image_is_named_by_its_id() -> None:
    _, image, *_ = dependencies(
        said(container=replace(CONTAINER, digest="", image="localhost/mine"))
    )
    assert image == {"digest": {"sha256": "b" * 64}, "name": "localhost/mine"}


def test_a_secret_of_the_environment_is_in_no_statement() -> None:
    values = {"MY_TOKEN": "hush-hush", "DEPTH": "1"}
    secret = replace(TARGET, env=env(**values))
    made = replace(RESULT, wheel=WHEEL, request=request(secret))
    found = statement(parse(Result, documents.result(made, secret, root=Path("/"), run="r")))
    assert found["predicate"]["buildDefinition"]["internalParameters"]["environment"] == {
        "MY_TOKEN": "****",
        "DEPTH": "1",
    }
