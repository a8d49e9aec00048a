"""Cells to targets to requests: precedence, provenance, images, and what is part of the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.load import load
from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builder_facts
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.target import (
    BackendName,
    BuildRequest,
    CompilePlan,
    CompilerKind,
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
    Plan,
    Source,
    Target,
    TargetId,
    TargetResources,
    TargetSteps,
    VerifyPolicy,
    VersionAnswer,
    VersionPart,
    VersionQuestion,
)
from orchestrator.plan.plan import digest, make_plan, make_request, planned_backend
from orchestrator.plan.version import VersionContext
from tests import factories
from tests.factories import plan_of

FACTS = builder_facts()
AXES = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
cuda = ["13.0"]
"""


TWO = AXES.replace('["13.0"]', '["12.4", "13.0"]')
"""Two variants; their versions must differ, or their wheels would have one name."""


def plan(text: str, *, axes: str = AXES, version: str | None = "1.0") -> Plan:
    return plan_of(axes + text, version=version)


def target(text: str = "", *, axes: str = AXES, version: str | None = "1.0") -> Target:
    """The last target."""
    return plan(text, axes=axes, version=version).targets[-1]


def env(text: str) -> dict[str, tuple[str, str]]:
    return {each.name: (each.value, each.origin) for each in target(text).env}


# A whole target


VARIABLES = ("BUILD_VERSION", "LOCAL", "BASE")


WHOLE = Target(
    id=TargetId("cp312-manylinux_x86_64-13.0"),
    python="cp312",
    libc=Libc.MANYLINUX,
    arch=Arch.X86_64,
    variant=(("cuda", "13.0"),),
    version="2.0+cu130",
    cuda_is_toolkit=True,
    build_tag="1_13",
    on_mismatch=OnMismatch.REWRITE,
    image="registry/x86_64:13.0",
    env=(
        EnvVar(name="BASE", value="2.0-1_13", origin="version.inject"),
        EnvVar(name="BUILD_VERSION", value="2.0+cu130", origin="version.inject"),
        EnvVar(name="CUDA_HOME", value="/usr/local/cuda-13.0", origin="env"),
        EnvVar(name="LOCAL", value="cu130", origin="version.inject"),
        EnvVar(name="PATH", value="/cuda-13.0/bin:$PATH", origin="env", shell=True),  # noqa: S604
    ),
    steps=TargetSteps(
        environment=EnvironmentSpec(
            requires=("torch==13.0.*", "ninja"),
            constraints=("setuptools<130",),
            isolation=False,
            frontend=Frontend(name=FrontendName.BUILD_UV, args=("-Ccuda=13.0",)),
            indexes=(
                ("torch", "https://host/cu130"),
                ("nvidia-*", "https://host/nvidia"),
            ),
            cuda=CudaSource.INDEX,
        ),
        before_all="install 13.0 {package}",
        before_build="a && b cp312",
        config_settings=(("cmake.define.CUDA", "13.0"), ("z", "1")),
        repair="auditwheel repair -w {dest_dir} {wheel} # 13.0",
        external=("cuda", "libfoo.so*"),
        test_command="pytest {project}/tests --version 2.0+cu130",
        test_requires=("pytest", "torch==13.0"),
        test_extras=("test-13.0",),
        test_groups=("cu130",),
        test_sources=("tests/13.0",),
        test_before="ls {project}",
        timeout=600,
    ),
    runner=("ubuntu-24.04",),
    emulated=False,
    pins=("torch==13.*",),
    parts=(
        VersionPart(
            name="base",
            value="2.0",
            source="const:2.0",
            answers=(VersionAnswer(source="const:2.0", value="2.0"),),
        ),
        VersionPart(name="local", value="cu130", source="cu{cuda|nodot}"),
        VersionPart(name="build-tag", value="1_13", source="1_{cuda|major}"),
    ),
    covers=((("python", "cp312"), ("libc", "manylinux"), ("arch", "x86_64"), ("cuda", "13.0")),),
    aliases=(TargetId("cp312-manylinux_x86_64-13.0"),),
    compiling=CompilePlan(emulation=EmulationMode.ACCELERATED),
)
"""What comes of `whole_target.toml`."""

ORIGINS = {
    **{
        f"build.{key}": f"build.{key}"
        for key in (
            *("before-all", "before-build", "config-settings", "external", "repair"),
            *("requires", "constraints", "isolation", "frontend", "cuda", "timeout"),
        )
    },
    **{
        f"test.{key}": f"test.{key}"
        for key in ("before", "command", "extras", "groups", "requires", "sources")
    },
    "indexes.torch": "indexes.Torch",
    "indexes.nvidia-*": "indexes.nvidia-*",
    **{f"version.{key}": f"version.{key}" for key in ("base", "local", "build-tag")},
    **{f"version.inject.{key}": f"version.inject.{key}" for key in VARIABLES},
    "version.on-mismatch": "version.on-mismatch",
    "version.pins.torch": "version.pins.torch",
    "image": "images.manylinux_x86_64",
}
"""Field of it -> the key of the matrix."""


def test_a_target_is_fully_resolved() -> None:
    text = Path(__file__).with_name("whole_target.toml").read_text("utf-8")
    found = target(text)

    assert replace(found, origins=()) == WHOLE
    assert dict(found.origins) == ORIGINS
    assert found.build_identifier == "cp312-manylinux_x86_64"


def test_nothing_said_is_nothing_changed() -> None:
    found = target()

    assert found.steps == TargetSteps()
    assert found.env == ()
    assert found.on_mismatch is OnMismatch.FAIL
    assert found.version == "1.0"
    assert found.build_tag == ""


# Precedence


def test_variables_are_merged_by_name_and_the_last_wins() -> None:
    cells = plan(
        axes=TWO,
        text="""
        [version]
        local = "cu{cuda|nodot}"
        inject = { A = "inject", B = "inject", C = "inject" }
        [env]
        B = "env"
        C = "env"
        D = "env"
        [[override]]
        when = { cuda = "13.0" }
        env = { C = "first", E = "first" }
        version = { inject = { F = "first inject {version}" } }
        [[override]]
        when = { python = "*" }
        env = { E = "second" }
        [[override]]
        when = { cuda = "12.4" }
        env = { A = "no", G = "no" }
        """,
    ).targets

    assert {each.name: (each.value, each.origin) for each in cells[-1].env} == {
        "A": ("inject", "version.inject"),
        "B": ("env", "env"),
        "C": ("first", "override[0].env"),
        "D": ("env", "env"),
        "E": ("second", "override[1].env"),
        "F": ("first inject 1.0+cu130", "override[0].version.inject"),
    }


@pytest.mark.parametrize("order", [("ROOT", "LATER", "BIN"), ("BIN", "LATER", "ROOT")])
def test_a_shell_value_comes_after_those_it_names(order: tuple[str, ...]) -> None:
    values = {
        "ROOT": '"/cuda"',
        "LATER": '{ shell = "$ROOT/lib" }',
        "BIN": '{ shell = "${ROOT}/bin:$BIN" }',
    }
    lines = "\n".join(f"{name} = {values[name]}" for name in order)
    found = target(
        f"""
        [env]
        {lines}
        [[override]]
        when = {{ cuda = "13.0" }}
        env = {{ LATER = {{ shell = "$BIN" }} }}
        """
    )

    assert [each.name for each in found.env] == ["ROOT", "BIN", "LATER"]


def test_shell_values_that_name_each_other_in_a_circle() -> None:
    with pytest.raises(ConfigError, match=r"env\.A: circular dependency of shell values: A, B"):
        target('[env]\nA = { shell = "$B" }\nB = { shell = "$A" }\nC = "c"')


def test_variants_whose_wheels_would_have_one_name() -> None:
    with pytest.raises(ConfigError, match="would make wheels of one name") as caught:
        plan('[env]\nCUDA = "{cuda}"', axes=TWO)
    assert "cp312-manylinux_x86_64-12.4 and cp312-manylinux_x86_64-13.0" in str(caught.value)
    assert 'local = "{cuda}"' in str(caught.value)
    assert len(plan('[version]\nbuild-tag = "{cuda|nodot}"', axes=TWO).targets) == 2


def test_variants_that_collide_because_they_are_released() -> None:
    text = '[version]\nlocal = "cu{cuda|nodot}"\nbuild-tag = "{cuda|nodot}"\nrelease = true\n'
    with pytest.raises(ConfigError, match="would make wheels of one name") as caught:
        plan(text, axes=TWO)
    (problem,) = caught.value.problems
    assert problem.where == "version.release"
    assert "cp312-manylinux_x86_64-12.4 and cp312-manylinux_x86_64-13.0" in problem.what
    assert "both are 1.0 for" in problem.what
    assert "neither local part nor build tag" in problem.hint
    only = text.replace("release = true", "") + OVERRIDE + "version = { release = true }"
    assert [each.version for each in plan(only, axes=TWO).targets] == ["1.0+cu124", "1.0"]


OVERRIDE = """
[[override]]
when = { cuda = "13.0" }
"""

CONTAINED = """
[version]
parts = { cu = ["env:CU", "container-env:CUDA_VERSION"] }
local = "cu{cu|nodot}"
[images]
manylinux_x86_64 = "registry/{cuda}:1"
"""


def asked(**values: str) -> VersionContext:
    """The answers of the images for each CUDA, or of the environment."""
    answers = {}
    for name, value in values.items():
        question = VersionQuestion(source="env:CU")
        if name != "env":
            image = f"registry/{name[1:].replace('_', '.')}:1"
            source = "container-env:CUDA_VERSION"
            question = VersionQuestion(source=source, image=image, arch=Arch.X86_64)
        answers[question] = VersionAnswer(source=question.source, value=value, note="not set")
    return VersionContext(version="1.0", answers=answers)


def test_a_version_that_stands_in_an_image_is_undetermined_until_that_is_asked() -> None:
    settings = load((TWO + CONTAINED).encode(), facts=FACTS)
    found = make_plan(settings, facts=FACTS, outside=asked(_13_0="13.0.1"))

    assert [(each.id, each.version) for each in found.targets] == [
        ("cp312-manylinux_x86_64-13.0", "1.0+cu1301")
    ]
    (missing,) = found.undetermined
    assert missing.id == "cp312-manylinux_x86_64-12.4"
    assert found.ids == ("cp312-manylinux_x86_64-13.0", "cp312-manylinux_x86_64-12.4")
    assert "'cu' is known only in image registry/12.4:1" in missing.reason
    assert not make_plan(settings, facts=FACTS, outside=asked(_13_0="1", _12_4="2")).undetermined


def test_an_image_that_knows_nothing_either() -> None:
    settings = load((AXES + CONTAINED).encode(), facts=FACTS)
    with pytest.raises(ConfigError, match="no source knows 'cu'") as caught:
        make_plan(settings, facts=FACTS, outside=asked(env="<unknown>", _13_0=""))
    message = str(caught.value)
    assert message.startswith("version.parts.cu: ")
    assert "env:CU: '<unknown>' is a placeholder" in message
    assert "container-env:CUDA_VERSION: not set" in message
    assert "(cp312-manylinux_x86_64-13.0)" in message


def test_an_empty_value_is_not_passed_unless_it_is_written_so() -> None:
    found = env(
        """
        [version]
        parts = { nv = "const:" }
        inject = { A = "{nv}", B = "-{local}-", C = "{version}", D = "x" }
        [env]
        D = "{nv}"
        E = ""
        F = "{nv}"
        G = "[{nv}]"
        """
    )

    assert found == {
        "C": ("1.0", "version.inject"),
        "E": ("", "env"),
        "G": ("[]", "env"),
    }


def test_presets_are_below_what_the_file_injects() -> None:
    found = env(
        """
        [version]
        presets = ["vllm", "torch"]
        inject = { BUILD_VERSION = "mine" }
        """
    )

    assert found == {
        "BUILD_VERSION": ("mine", "version.inject"),
        "CU_VERSION": ("cu130", "version.presets (torch)"),
        "VLLM_VERSION_OVERRIDE": ("1.0", "version.presets (vllm)"),
    }


def test_a_text_with_an_open_brace_hides_no_name_in_another() -> None:
    found = plan(
        axes=TWO,
        text="""
        [version]
        local = "cu{cuda|nodot}"
        [env]
        A = { shell = "${" }
        B = "{cuda}"
        [build]
        before-all = 'echo "${"'
        before-build = "make {cuda}"
        """,
    ).targets

    assert [each.steps.before_build for each in found] == ["make 12.4", "make 13.0"]
    assert [{v.name: v.value for v in each.env}["B"] for each in found] == ["12.4", "13.0"]


def test_a_literal_value_replaces_a_shell_value() -> None:
    found = target(
        """
        [env]
        A = { shell = "$X" }
        B = "b"
        [[override]]
        when = { cuda = "13.0" }
        env = { A = "$X", B = { shell = "$Y" } }
        """
    )

    assert [(each.name, each.value, each.shell) for each in found.env] == [
        ("A", "$X", False),
        ("B", "$Y", True),
    ]


RULES = """
[version]
base = "1"
local = "top"
on-mismatch = "fail"
[build]
before-all = "top"
repair = "auditwheel"
external = ["cuda"]
config-settings = { a = "1" }
[test]
command = "top"
requires = ["top"]
[images]
manylinux_x86_64 = "top:1"
[[override]]
when = { cuda = "13.0" }
image = "first:1"
runner = "first"
build = { before-all = "first", external = ["torch"], config-settings = { b = "2" } }
test = { requires = [] }
version = { base = "2", on-mismatch = "rewrite" }
[[override]]
when = { python = "cp312" }
image = "second:{cuda}"
build = { before-all = "second", repair = "none" }
version = { local = "" }
"""


def test_everything_else_is_replaced_and_the_last_override_wins() -> None:
    found = target(RULES)

    assert found.image == "second:13.0"
    assert found.runner == ("first",)
    assert found.version == "2"
    assert found.on_mismatch is OnMismatch.REWRITE
    assert found.steps == TargetSteps(
        before_all="second",
        config_settings=(("b", "2"),),
        repair="none",
        external=("torch",),
        test_command="top",
        emptied=("test.requires",),
    )


def test_an_override_leaves_other_cells_alone() -> None:
    other = plan(RULES, axes=TWO).targets[0]

    assert other.version == "1"
    assert other.image == "second:12.4"
    assert other.runner == ("ubuntu-24.04",)
    assert other.steps.external == ("cuda",)
    assert other.steps.test_requires == ("top",)


def test_indexes_are_merged_by_name_and_an_empty_one_takes_an_entry_back() -> None:
    text = """
        [indexes]
        torch = "https://host/cu{cuda|nodot}"
        "nvidia-*" = "https://host/nvidia"
        "*" = "https://host/all"
        "nvidia-cuda-*" = "https://host/cuda"
        [[override]]
        when = { cuda = "13.0" }
        indexes = { Torch = "", numpy = "file:///wheels" }
        """
    globs = (
        ("nvidia-cuda-*", "https://host/cuda"),
        ("nvidia-*", "https://host/nvidia"),
        ("*", "https://host/all"),
    )
    versions = '[version]\nlocal = "cu{cuda|nodot}"'
    first, last = (t.steps.environment for t in plan(text + versions, axes=TWO).targets)

    assert first.indexes == (("torch", "https://host/cu124"), *globs)
    assert last.indexes == (("numpy", "file:///wheels"), *globs)
    assert dict(target(text).origins)["indexes.numpy"] == "override[0].indexes.numpy"


WRONG_WHEN_FILLED_IN = {
    "build.requires[1]": ('[build]\nrequires = ["a", "torch=={cuda}=1"]', "not a requirement"),
    "override[0].build.constraints[0]": (
        '[[override]]\nwhen = { cuda = true }\nbuild = { constraints = ["a[{cuda|major}]"] }',
        "cannot have extras",
    ),
    "indexes.torch": ('[indexes]\ntorch = "{cuda}://host"', "not an http(s) or file URL"),
}


@pytest.mark.parametrize(("where", "case"), WRONG_WHEN_FILLED_IN.items())
def test_what_templates_give_is_checked(where: str, case: tuple[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        target(case[0])

    assert caught.value.problems[0].where == where
    assert case[1] in caught.value.problems[0].what


def test_an_empty_command_is_said_and_switches_a_step_off() -> None:
    assert target('[test]\ncommand = ""').steps.test_command == ""
    assert target("").steps.test_command is None


# Versions


def test_the_version_comes_from_the_file_or_else_from_the_source() -> None:
    assert target('[version]\nbase = "3"', version="1.0").version == "3"
    assert target("", version="1.0").version == "1.0"
    with pytest.raises(ConfigError, match="the project's version is dynamic"):
        target("", version=None)


# Images and runners


def with_arch(arch: str, libc: str = "manylinux") -> str:
    return f'[axes]\npython = ["cp312"]\narch = ["{arch}"]\nlibc = ["{libc}"]\n'


@pytest.mark.parametrize(
    ("arch", "libc", "image"),
    [
        ("x86_64", "manylinux", "manylinux_2_28"),
        ("aarch64", "musllinux", "musllinux_1_2"),
        ("armv7l", "manylinux", "manylinux_2_31"),
        ("riscv64", "manylinux", "manylinux_2_39"),
    ],
)
def test_the_default_image_is_that_of_cibuildwheel(arch: str, libc: str, image: str) -> None:
    assert target("", axes=with_arch(arch, libc)).image == image


@pytest.mark.parametrize(
    "image",
    ["manylinux2014", "manylinux_2_34", "localhost/x:1", "x:1", "x/y", "x@sha256:00", "docker://x"],
)
def test_aliases_and_references(image: str) -> None:
    assert target(f'[images]\nmanylinux_x86_64 = "{image}"').image == image


@pytest.mark.parametrize("image", ["manylinux_2_29", "manylinux_2_39", "musllinux_1_2", "myimage"])
def test_a_word_that_is_no_alias_of_the_platform_is_refused(image: str) -> None:
    with pytest.raises(ConfigError) as caught:
        target(f'[images]\nmanylinux_x86_64 = "{image}"')

    (problem,) = caught.value.problems
    assert problem.where == "images.manylinux_x86_64"
    assert problem.what.startswith(f"{image!r} is neither an image reference nor an alias for")
    assert problem.hint == "aliases: manylinux2014, manylinux_2_28, manylinux_2_34"


def test_a_wrong_image_of_an_override_is_found_there() -> None:
    with pytest.raises(ConfigError) as caught:
        target('[[override]]\nwhen = { cuda = "13.0" }\nimage = "manylinux_{cuda}"')

    assert caught.value.problems[0].where == "override[0].image"
    assert "'manylinux_13.0'" in caught.value.problems[0].what


def test_an_architecture_without_an_image_says_so() -> None:
    with pytest.raises(ConfigError) as caught:
        target("", axes=with_arch("loongarch64"))

    (problem,) = caught.value.problems
    assert problem.where == "images.manylinux_loongarch64"
    assert "no image for manylinux_loongarch64" in problem.what
    found = target('[images]\nmanylinux_loongarch64 = "mine:2.38"', axes=with_arch("loongarch64"))
    assert found.image == "mine:2.38"
    assert planned_backend(found, FACTS) is BackendName.DIRECT
    assert planned_backend(target(), FACTS) is BackendName.CIBUILDWHEEL


@pytest.mark.parametrize(
    ("arch", "runner", "emulated"),
    [
        ("x86_64", "ubuntu-24.04", False),
        ("i686", "ubuntu-24.04", False),
        ("aarch64", "ubuntu-24.04-arm", False),
        ("armv7l", "ubuntu-24.04-arm", False),
        ("s390x", "ubuntu-24.04", True),
        ("riscv64", "ubuntu-24.04", True),
    ],
)
def test_runners(arch: str, runner: str, *, emulated: bool) -> None:
    found = target("", axes=with_arch(arch))

    assert (found.runner, found.emulated) == ((runner,), emulated)


@pytest.mark.parametrize(
    ("labels", "emulated"),
    [
        ('"ubuntu-24.04"', True),
        ('"ubuntu-22.04-arm"', False),
        ('["self-hosted", "linux", "arm64"]', False),
    ],
)
def test_a_hosted_runner_of_another_architecture_needs_qemu(labels: str, *, emulated: bool) -> None:
    rule = f'[[override]]\nwhen = {{ arch = "aarch64" }}\nrunner = {labels}'
    found = target(rule, axes=with_arch("aarch64"))

    assert found.emulated is emulated
    assert found.cost == (8.0 if emulated else 1.0)
    assert found.runner == tuple(re.findall(r'"([^"]+)"', labels))


def test_a_runner_of_the_user_is_taken_to_be_native() -> None:
    found = target(
        '[[override]]\nwhen = { arch = "s390x" }\nrunner = "mainframe"', axes=with_arch("s390x")
    )

    assert (found.runner, found.emulated) == (("mainframe",), False)


# Requests

TARGET = factories.target(
    "cp312-manylinux_x86_64-13.0",
    variant=(("cuda", "13.0"),),
    version="1.0+cu130",
    env=factories.env(A="1", B="2"),
    steps=TargetSteps(before_all="x", config_settings=(("a", "1"), ("b", "2"))),
    runner=("ubuntu-24.04",),
)
LIBRARY = replace(
    TARGET, python="", library=LibraryStep(name="gpu", command="make", outputs=("*.so",))
)
SOURCE = factories.SOURCE


def request(  # noqa: PLR0913 - as make_request
    which: Target = TARGET,
    *,
    source: Source = SOURCE,
    backend: BackendName = BackendName.CIBUILDWHEEL,
    toolchain: str = "1" * 64,
    builder: str = "0.1.0",
    needs: tuple[str, ...] = (),
    in_container: bool = True,
) -> BuildRequest:
    return make_request(
        which,
        source=source,
        backend=backend,
        toolchain=Digest(toolchain),
        builder=builder,
        needs=[Digest(each) for each in needs],
        in_container=in_container,
    )


def with_steps(**changes: Any) -> Target:
    return replace(TARGET, steps=replace(TARGET.steps, **changes))


def with_env(*changes: EnvVar) -> Target:
    return replace(TARGET, env=changes)


A, B = TARGET.env

SAME: dict[str, Callable[[], BuildRequest]] = {
    "ID": lambda: request(replace(TARGET, id=TargetId("other"))),
    "variant": lambda: request(replace(TARGET, variant=(("device", "gpu"),))),
    "runner": lambda: request(replace(TARGET, runner=("mine",), emulated=True)),
    "provenance": lambda: request(with_env(replace(A, origin="override[0].env"), B)),
    "timeout": lambda: request(with_steps(timeout=5)),
    "timeouts": lambda: request(with_steps(timeouts=(("test", 5),))),
    "memory of a compiler": lambda: request(
        replace(TARGET, resources=TargetResources(memory_per_job=1))
    ),
    "demands": lambda: request(replace(TARGET, demands=VerifyPolicy(size_budget=1))),
    "resources": lambda: request(replace(TARGET, resources=TargetResources(cpus=1.0), cost=3.0)),
    "cells": lambda: request(replace(TARGET, covers=((("cuda", "13.0"),),), test_pythons=("x",))),
    "version the source claims": lambda: request(source=replace(SOURCE, version=None)),
}

DIFFERENT: dict[str, Callable[[], BuildRequest]] = {
    "python": lambda: request(replace(TARGET, python="cp313")),
    "libc": lambda: request(replace(TARGET, libc=Libc.MUSLLINUX)),
    "arch": lambda: request(replace(TARGET, arch=Arch.AARCH64)),
    "version": lambda: request(replace(TARGET, version="1.0+cu131")),
    "build tag": lambda: request(replace(TARGET, build_tag="1")),
    "pins": lambda: request(replace(TARGET, pins=("torch==2.8.*",))),
    "on mismatch": lambda: request(replace(TARGET, on_mismatch=OnMismatch.REWRITE)),
    "image": lambda: request(replace(TARGET, image="manylinux_2_34")),
    "value": lambda: request(with_env(replace(A, value="2"), B)),
    "name": lambda: request(with_env(replace(A, name="C"), B)),
    "shell": lambda: request(with_env(replace(A, shell=True), B)),  # noqa: S604
    "order of variables": lambda: request(with_env(B, A)),
    "one variable less": lambda: request(with_env(A)),
    "before-all": lambda: request(with_steps(before_all="y")),
    "no before-all": lambda: request(with_steps(before_all=None)),
    "before-build": lambda: request(with_steps(before_build="")),
    "settings": lambda: request(with_steps(config_settings=(("a", "1"),))),
    "repair": lambda: request(with_steps(repair="auditwheel")),
    "repair refused": lambda: request(with_steps(repair_refused=OnRefusal.KEEP)),
    "external": lambda: request(with_steps(external=("cuda",))),
    "normalise": lambda: request(with_steps(normalise=True)),
    "smoke test": lambda: request(with_steps(smoke=False)),
    **{
        str(each): partial(request, replace(TARGET, compiling=each))
        for each in (
            CompilePlan(emulation=EmulationMode.ACCELERATED),
            CompilePlan(compiler=CompilerKind.ZIG),
            CompilePlan(compiler=CompilerKind.ZIG, baseline="2.17"),
        )
    },
    "test": lambda: request(with_steps(test_command="x")),
    "no test requirements": lambda: request(with_steps(emptied=("test.requires",))),
    "test requirements": lambda: request(with_steps(test_requires=("x",))),
    "test extras": lambda: request(with_steps(test_extras=("x",))),
    "test groups": lambda: request(with_steps(test_groups=("x",))),
    "test sources": lambda: request(with_steps(test_sources=("x",))),
    "before the test": lambda: request(with_steps(test_before="x")),
    **{
        str(each): partial(request, with_steps(environment=each))
        for each in (
            EnvironmentSpec(requires=("x",)),
            EnvironmentSpec(constraints=("x",)),
            EnvironmentSpec(isolation=False),
            EnvironmentSpec(frontend=Frontend(name=FrontendName.PIP)),
            EnvironmentSpec(frontend=Frontend(name=FrontendName.UV)),
            EnvironmentSpec(frontend=Frontend(name=FrontendName.PIP, args=("x",))),
            EnvironmentSpec(indexes=(("x", "https://host"),)),
            EnvironmentSpec(indexes=(("x", "https://other"),)),
            EnvironmentSpec(cuda=CudaSource.IMAGE),
            EnvironmentSpec(cuda=CudaSource.HOST),
        )
    },
    "source": lambda: request(source=replace(SOURCE, digest=Digest("f" * 64))),
    "epoch": lambda: request(source=replace(SOURCE, epoch=1)),
    "backend": lambda: request(backend=BackendName.DIRECT),
    "toolchain": lambda: request(toolchain="2" * 64),
    "builder": lambda: request(builder="0.2.0"),
    "stable ABI": lambda: request(replace(TARGET, abi3="cp312")),
    "baseline": lambda: request(replace(TARGET, baseline="2.28")),
    "what it needs": lambda: request(needs=("2" * 64,)),
    "what it needs, more": lambda: request(needs=("2" * 64, "3" * 64)),
    "library": lambda: request(LIBRARY),
    "library of another architecture": lambda: request(replace(LIBRARY, arch=Arch.AARCH64)),
    "library in another image": lambda: request(
        replace(LIBRARY, image="x:2"), backend=BackendName.DIRECT
    ),
    "command of a library": lambda: request(
        replace(LIBRARY, library=LibraryStep(name="gpu", command="cmake", outputs=("*.so",)))
    ),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_presentation_does_not_change_the_key(change: Callable[[], BuildRequest]) -> None:
    assert change() != request()
    assert change().key == request().key


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT)
def test_all_that_can_change_the_wheel_changes_the_key(change: Callable[[], BuildRequest]) -> None:
    assert change().key != request().key


def test_all_those_keys_are_different() -> None:
    keys = {change().key for change in DIFFERENT.values()}

    assert len(keys) == len(DIFFERENT)


def test_every_field_of_the_steps_but_the_timeout_is_covered_above() -> None:
    """A new field must be thought about here."""
    assert set(TargetSteps.__dataclass_fields__) == {
        *("before_all", "before_build", "config_settings", "repair", "repair_refused"),
        *("external", "normalise", "test_command", "test_requires", "smoke", "environment"),
        *("test_extras", "test_groups", "test_sources", "test_before", "timeout", "timeouts"),
        "emptied",
    }


def test_the_image_does_not_matter_to_a_build_on_the_host() -> None:
    other = replace(TARGET, image="manylinux_2_34")

    def key(target: Target, *, in_container: bool) -> str:
        return request(target, backend=BackendName.DIRECT, in_container=in_container).key

    assert key(other, in_container=False) == key(TARGET, in_container=False)
    assert key(other, in_container=True) != key(TARGET, in_container=True)
    assert key(TARGET, in_container=True) != key(TARGET, in_container=False)


def test_a_key_is_the_same_on_every_machine() -> None:
    assert request().key == "4f7054e13c86ee2368fe1240c070c8578ef0b149f1f37680508f69b3f7d8540a"


def test_digests_do_not_depend_on_the_order_of_keys_and_know_unicode() -> None:
    assert digest({"a": 1, "b": "ü"}) == digest({"b": "ü", "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert len(digest(None)) == 64
