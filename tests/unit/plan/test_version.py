"""One version, composed once (docs/concepts/versions.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from packaging.version import Version

from orchestrator.config.presets import PRESETS
from orchestrator.config.settings import VersionParts
from orchestrator.config.sources import VersionSourceKind
from orchestrator.errors import ConfigError, Problem
from orchestrator.models.platforms import Arch
from orchestrator.models.target import VersionAnswer, VersionQuestion
from orchestrator.plan.version import (
    ComposedVersion,
    UnansweredSource,
    VersionContext,
    compose,
    merge,
    origins,
    pins,
    rankings,
    version_variables,
)
from tests.conftest import REPOSITORY

VALUES = {
    "python": "cp312",
    "libc": "manylinux",
    "arch": "x86_64",
    "cuda": "12.4",
    "torch": "2.4.1",
    "device": "cpu",
}
IMAGE = "registry/cuda:1"
REFUSED = "\0refused"
"""Stands for a source that said what no version can have."""


def layered(*tables: Mapping[str, Any]) -> tuple[tuple[str, VersionParts], ...]:
    paths = ("version", *(f"override[{i}].version" for i in range(len(tables) - 1)))
    return tuple(
        (path, VersionParts.model_validate(table))
        for path, table in zip(paths, tables, strict=True)
    )


def outside(
    answers: Mapping[str, str] | None = None, *, version: str | None = None
) -> VersionContext:
    """What was said: source -> value, container sources as asked of `IMAGE`."""
    said = {}
    for source, value in (answers or {}).items():
        inside = source.startswith("container-")
        place = {"image": IMAGE, "arch": Arch.X86_64} if inside else {}
        question = VersionQuestion(source=source, **place)  # type: ignore[arg-type]
        no = value == REFUSED
        note = "its 9 characters cannot be part of a version" if no else "not set"
        text = "" if no else value
        said[question] = VersionAnswer(source=source, value=text, note=note, refused=no)
    return VersionContext(project="demo", version=version, answers=said)


def made(
    *tables: Mapping[str, Any],
    said: Mapping[str, str] | None = None,
    version: str | None = None,
    axes: Mapping[str, str] = VALUES,
) -> ComposedVersion:
    return compose(
        merge(layered(*tables)),
        axes=axes,
        outside=outside(said, version=version),
        image=IMAGE,
        arch=Arch.X86_64,
    )


def refused(*tables: Mapping[str, Any], **how: Any) -> Problem:
    with pytest.raises(ConfigError) as caught:
        made(*tables, **how)
    (problem,) = caught.value.problems
    return problem


SHAPES = {
    "FlashInfer": ("0.1.6", "cu{cuda|nodot}torch{torch|majmin}", "0.1.6+cu124torch2.4"),
    "torch's domain libraries": ("0.23.0", "cu{cuda|nodot}", "0.23.0+cu124"),
    "nightly": ("2.9.0.dev20250901", "cu{cuda|nodot}", "2.9.0.dev20250901+cu124"),
    "flash-attention": ("2.8.3", "cu{cuda|major}torch{torch|majmin}", "2.8.3+cu12torch2.4"),
    "saxpy": ("1.0.0", "{device}", "1.0.0+cpu"),
    "vLLM's default": ("0.11.0", None, "0.11.0"),
    "nothing local": ("0.11.0", "", "0.11.0"),
}


@pytest.mark.parametrize(("base", "local", "version"), SHAPES.values(), ids=SHAPES)
def test_shapes_in_the_wild(base: str, local: str | None, version: str) -> None:
    found = made({"base": base, **({} if local is None else {"local": local})})

    assert (found.version, found.names["public"], found.build_tag) == (version, base, "")


@pytest.mark.parametrize(
    ("base", "local", "version", "public", "part"),
    [
        ("1.0-rc1", "CU_12.4", "1.0rc1+cu.12.4", "1.0rc1", "cu.12.4"),
        ("v1.0", "", "1.0", "1.0", ""),
        ("1!2.0.post1", "a-b", "1!2.0.post1+a.b", "1!2.0.post1", "a.b"),
        ("1.0+ours", "", "1.0+ours", "1.0", "ours"),
        ("01.02", "007", "1.2+7", "1.2", "7"),
        ("1.0", "nv26.04", "1.0+nv26.4", "1.0", "nv26.4"),
    ],
)
def test_the_canonical_form(base: str, local: str, version: str, public: str, part: str) -> None:
    found = made({"base": base, "local": local})

    assert (found.version, found.names["public"], found.names["local"]) == (version, public, part)
    assert str(Version(found.version)) == found.version


def test_zeros_are_kept_where_the_matrix_asks_for_it() -> None:
    found = made({"base": "02.66", "local": "NV26_04.cu{cuda|nodot}", "keep-zeros": True})

    assert found.version == "2.66+nv26.04.cu124"
    assert Version(found.version) == Version("2.66+nv26.4.cu124")


# Public parts


@pytest.mark.parametrize(
    ("table", "version"),
    [
        ({"base": "1.2", "dev": "20250901"}, "1.2.dev20250901"),
        ({"base": "1.2", "pre": "rc1", "dev": 3}, "1.2rc1.dev3"),
        ({"base": "1.2", "post": "4", "dev": "3"}, "1.2.post4.dev3"),
        ({"base": "3!1.2a0", "pre": "", "dev": "7"}, "3!1.2.dev7"),
        ({"base": "2.9.0a0", "pre": "const:", "dev": "7"}, "2.9.0.dev7"),
        ({"base": "1.2.dev9", "dev": "const:"}, "1.2"),
        ({"base": "1.2.dev9"}, "1.2.dev9"),
        ({"base": "1.2.post1", "dev": "9"}, "1.2.post1.dev9"),
        ({"base": "1.2", "pre": "-beta.2"}, "1.2b2"),
    ],
)
def test_parts_of_the_public_version(table: dict[str, Any], version: str) -> None:
    assert made(table).version == version


def test_what_templates_may_name() -> None:
    found = made(
        {"base": "1.0", "dev": "5", "local": "cu{cuda|nodot}", "build-tag": "1_{cuda}"}
        | {"parts": {"sha": "abc"}}
    )

    assert dict(found.names) == VALUES | {
        "version": "1.0.dev5+cu124",
        "public": "1.0.dev5",
        "base": "1.0",
        "pre": "",
        "post": "",
        "dev": "5",
        "local": "cu124",
        "build_tag": "1_12.4",
    }
    assert found.names["sha"] == "abc"


@pytest.mark.parametrize("tag", ["1", "26", "1_nv26.04", "0a"])
def test_build_tags(tag: str) -> None:
    assert made({"base": "1", "build-tag": tag}).build_tag == tag


@pytest.mark.parametrize("tag", ["<unknown>", "a1", "1-2", "{device}", "1 2", "1/2", "1\n"])
def test_what_is_no_build_tag(tag: str) -> None:
    problem = refused({"base": "1.0", "build-tag": tag})

    assert problem.where == "version.build-tag"
    assert "is not a build tag" in problem.what


@pytest.mark.parametrize(
    ("table", "where", "what"),
    [
        ({}, "version.base", "the project's version is dynamic"),
        ({"base": ""}, "version.base", "no source knows 'base'"),
        ({"base": "latest"}, "version.base", "'latest' is not a PEP 440 version"),
        ({"base": "1.0", "local": "cu-"}, "version.local", "'cu' is not a local part"),
        ({"base": "1.0", "local": "+cu124"}, "version.local", "'+cu124' is not a local part"),
        ({"base": "1.0", "local": "cu 124"}, "version.local", "is not a local part"),
        ({"base": "1.0+a", "local": "b"}, "version.base", "has a local part already"),
        ({"base": "1.0", "dev": "now"}, "version.dev", "'now' is not a number"),
        ({"base": "1.0", "post": "1a"}, "version.post", "'1a' is not a number"),
        ({"base": "1.0", "pre": "gamma"}, "version.pre", "'gamma' is not a pre-release part"),
        ({"base": "1.0", "pre": "rc1+x"}, "version.pre", "'rc1+x' is not a pre-release part"),
        (
            {"base": "1", "release": "soon"},
            "version.release",
            "neither true nor false (const:soon)",
        ),
    ],
)
def test_what_could_never_be_a_version(table: dict[str, Any], where: str, what: str) -> None:
    problem = refused(table)

    assert problem.where == where
    assert what in problem.what


@pytest.mark.parametrize("key", ["base", "local", "build-tag", "pre", "dev", "post", "release"])
def test_a_text_of_any_length_is_no_long_message(key: str) -> None:
    for text in ("x y" * 2000, "+a" * 2000):
        assert len(str(refused({"base": "1.0", key: text}))) < 2000


def test_a_long_version_with_two_local_parts_is_no_long_message() -> None:
    assert len(str(refused({"base": f"1.0+{'a' * 5000}", "local": "b" * 5000}))) < 2000


def test_a_problem_names_the_table_that_is_to_blame() -> None:
    assert refused({"base": "1"}, {"local": "a b"}).where == "override[0].version.local"
    problem = refused({"base": "1", "local": "{nv}"}, {}, {"parts": {"nv": ["env:A", "env:B"]}})
    assert problem.where == "override[1].version.parts.nv"


# Sources


NV = {
    "base": "1.0",
    "parts": {"nv": ["env:FIRST", "env:SECOND", "env:THIRD"]},
    "local": "nv{nv}",
}


@pytest.mark.parametrize(
    ("said", "local", "winner"),
    [
        ({"env:FIRST": "1", "env:SECOND": "2"}, "nv1", "env:FIRST"),
        ({"env:FIRST": "", "env:SECOND": "2"}, "nv2", "env:SECOND"),
        ({"env:FIRST": "<unknown>", "env:SECOND": "2"}, "nv2", "env:SECOND"),
        ({"env:FIRST": "Unknown", "env:SECOND": "None", "env:THIRD": "3"}, "nv3", "env:THIRD"),
    ],
)
def test_the_first_source_with_a_value_wins(said: dict[str, str], local: str, winner: str) -> None:
    found = made(NV, said=said)

    (part,) = (each for each in found.parts if each.name == "nv")
    assert (found.names["local"], part.source) == (local, winner)
    assert [each.source for each in part.answers] == ["env:FIRST", "env:SECOND", "env:THIRD"]


@pytest.mark.parametrize("parts", [["env:A", "env:B"], ["env:A", "const:"]])
def test_a_source_that_says_nonsense_is_an_error_and_no_reason_to_ask_the_next(
    parts: list[str],
) -> None:
    said = {"env:A": REFUSED, "env:B": "2"}
    table = {"base": "1.0", "parts": {"nv": parts}}

    assert made(table, said=said).version == "1.0", "nothing uses it"
    problem = refused({**table, "local": "{nv}"}, said=said)
    assert "no source knows 'nv': env:A: its 9 characters cannot be part of" in problem.what
    problem = refused({"base": "1.0", "release": ["env:A", "const:false"]}, said=said)
    assert problem.where == "version.release"
    assert "env:A: its 9 characters cannot" in problem.what


@pytest.mark.parametrize("source", ["file:notes", "container-file:/notes", "env:NOTES"])
@pytest.mark.parametrize(
    "table",
    [
        {"base": ["{source}"]},
        {"base": "1", "pre": ["{source}"]},
        {"base": "1", "dev": ["{source}"]},
        {"base": "1", "release": ["{source}"]},
        {"base": "1", "parts": {"nv": ["{source}"]}, "local": "{nv}"},
        {"base": "1", "parts": {"nv": ["{source}"]}, "build-tag": "{nv}"},
    ],
)
def test_an_error_does_not_show_what_is_no_version(table: dict[str, Any], source: str) -> None:
    content = "hunter2-is-a-password+of-nobody"
    filled = json.loads(json.dumps(table).replace("{source}", source))

    problem = refused(filled, said={source: content})

    assert "hunter2" not in str(problem)
    assert f"what {source} says" in problem.what


def test_what_each_source_said_is_recorded_and_told() -> None:
    found = made(NV, said={"env:FIRST": "<unknown>", "env:SECOND": "26.4", "env:THIRD": ""})

    assert origins(found.parts) == [
        "base = 1.0  # from const:1.0",
        "  const:1.0: '1.0'",
        "nv = 26.4  # from env:SECOND",
        "  env:FIRST: '<unknown>' is a placeholder",
        "  env:SECOND: '26.4'",
        "  env:THIRD: not set",
        "local = nv26.4  # from nv{nv}",
    ]


def test_a_required_part_that_no_source_knows() -> None:
    problem = refused(NV, said={"env:FIRST": "<unknown>"})

    assert problem.where == "version.parts.nv"
    assert "no source knows 'nv': env:FIRST: '<unknown>' is a placeholder" in problem.what
    assert '"const:"' in problem.hint


def test_a_part_that_nobody_names_may_be_missing() -> None:
    assert made({**NV, "local": ""}).version == "1.0"
    assert made({**NV, "release": True}).version == "1.0"


def test_an_empty_constant_says_that_a_part_may_be_empty() -> None:
    table = {
        "base": "1.0",
        "parts": {"nv": ["env:NV", "const:"], "cuda_release": ["env:CU", "const:"]},
        "local": "nv{nv}.cu{cuda_release|majmin|nodot}",
        "build-tag": "{nv}_{cuda}",
    }

    assert made(table).version == "1.0"
    assert made(table).build_tag == ""
    assert made(table, said={"env:CU": "13.2.1"}).version == "1.0+cu132"
    assert made(table, said={"env:NV": "26.5"}).version == "1.0+nv26.5"
    assert made(table, said={"env:NV": "26.5"}).build_tag == "26.5_12.4"


def test_the_static_version_is_the_base_unless_something_else_is() -> None:
    assert made({}, version="3.1").version == "3.1"
    assert made({"base": ["env:V", "pyproject"]}, version="3.1").version == "3.1"
    assert made({"base": ["env:V", "pyproject"]}, said={"env:V": "4"}, version="3").version == "4"


def test_setuptools_scm_gives_the_public_version() -> None:
    said = {"scm": "0.1.7.dev3+gabc.d20250901", "git": "abc"}
    table = {"base": "scm", "parts": {"sha": "git"}, "local": "g{sha}"}

    assert made(table, said=said).version == "0.1.7.dev3+gabc"
    assert refused({"base": ["file:v"], "local": "x"}, said={"file:v": "1+a"}).where


CONTAINED = {
    "base": "1.0",
    "parts": {"cu": ["container-env:CUDA_VERSION", "container-file:/v.json#cuda.version"]},
    "local": "cu{cu|majmin|nodot}",
}


def test_what_only_the_container_knows_has_to_be_asked_there() -> None:
    with pytest.raises(UnansweredSource) as caught:
        made(CONTAINED)
    assert caught.value.part == "cu"
    assert [each.source for each in caught.value.questions] == CONTAINED["parts"]["cu"]  # type: ignore[index]
    assert {(each.image, each.arch) for each in caught.value.questions} == {(IMAGE, Arch.X86_64)}

    said = {"container-env:CUDA_VERSION": "", "container-file:/v.json#cuda.version": "13.2.1"}
    assert made(CONTAINED, said=said).version == "1.0+cu132"


def test_what_a_source_says_is_normalised_like_the_template() -> None:
    table = {"base": "1.0", "parts": {"nv": "env:NV"}, "local": "nv{nv}"}

    assert made(table, said={"env:NV": "26-04_RC.1"}).version == "1.0+nv26.4.rc.1"


def test_an_earlier_source_spares_the_container() -> None:
    parts = {"cu": ["env:CUDA", "container-env:CUDA_VERSION"]}

    assert made({**CONTAINED, "parts": parts}, said={"env:CUDA": "12.8"}).names["local"] == "cu128"
    assert made({**CONTAINED, "release": True}).version == "1.0"
    with pytest.raises(UnansweredSource):
        made({**CONTAINED, "parts": parts})


def test_setuptools_scm_is_asked_only_when_its_turn_comes() -> None:
    table = {"base": ["env:V", "scm", "container-env:V"]}

    assert made(table, said={"env:V": "1.0"}).version == "1.0"
    with pytest.raises(UnansweredSource) as caught:
        made(table, said={"env:V": "<unknown>"})
    assert caught.value.questions == (VersionQuestion(source="scm"),), "and images only after it"
    assert made(table, said={"scm": "2.0+x"}).version == "2.0"
    with pytest.raises(UnansweredSource) as caught:
        made(table, said={"scm": ""})
    assert [each.image for each in caught.value.questions] == [IMAGE]


# Omitting, releasing, merging


@pytest.mark.parametrize(
    ("cuda", "version"), [("12.9", "0.11.0+gabc.cu129"), ("13.0", "0.11.0+gabc")]
)
def test_the_default_variant_has_no_suffix(cuda: str, version: str) -> None:
    table = {
        "base": "0.11.0",
        "parts": {"sha": "abc"},
        "local": "g{sha}.cu{cuda|nodot}",
        "omit": {"cuda": "13.0"},
        "inject": {"CU": "cu{cuda|nodot}"},
    }
    found = made(table, axes={**VALUES, "cuda": cuda})

    assert found.version == version
    assert dict(version_variables(merge(layered(table)), found, ""))["version.inject"]["CU"]


@pytest.mark.parametrize("release", [True, "true", "const:1", ["env:PYPI_RELEASE"]])
def test_a_release_has_neither_local_part_nor_build_tag(release: object) -> None:
    table = {"base": "1.0+a", "build-tag": "7", "release": release}
    found = made(table, said={"env:PYPI_RELEASE": "TRUE"})

    assert (found.version, found.names["local"], found.build_tag) == ("1.0", "", "")
    assert found.release


@pytest.mark.parametrize("said", ["", "false", "0", "no", "off", "<unknown>"])
def test_what_is_no_release(said: str) -> None:
    table = {"base": "1.0", "local": "a", "release": ["env:PYPI_RELEASE"]}

    assert made(table, said={"env:PYPI_RELEASE": said}).version == "1.0+a"


def test_layers_are_merged_field_by_field_and_tables_key_by_key() -> None:
    tables = merge(
        layered(
            {"base": "1", "parts": {"a": "1", "b": "1"}, "inject": {"X": "1"}},
            {"parts": {"b": "2"}, "inject": {"Y": "2"}, "build-tag": "3"},
            {"base": ["env:V"]},
        )
    )

    merged, where = tables.parts, tables.where
    assert merged.base == ("env:V",)
    assert merged.parts == {"a": ("const:1",), "b": ("const:2",)}
    assert merged.inject == {"X": "1", "Y": "2"}
    assert where["base"] == "override[1].version.base"
    assert where["build-tag"] == "override[0].version.build-tag"
    assert where["parts.a"] == "version.parts.a"
    assert where["parts.b"] == "override[0].version.parts.b"


def test_all_rankings_of_a_table() -> None:
    ((_, parts),) = layered({"base": ["env:A", "pyproject"], "dev": 1, "parts": {"x": "git"}})

    assert list(rankings(parts)) == [("env:A", "pyproject"), ("const:1",), ("git",)]


# What the build is told


def told(*tables: Mapping[str, Any], project: str = "my.Proj-x", **how: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for _, layer in version_variables(merge(layered(*tables)), made(*tables, **how), project):
        found |= layer
    return {name: value for name, value in found.items() if value}


NIGHTLY = {"base": "1.0", "dev": "7", "local": "cu{cuda|nodot}"}


@pytest.mark.parametrize(
    ("preset", "variables"),
    [
        ("setuptools-scm", {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_PROJ_X": "1.0.dev7+cu124"}),
        ("hatch-vcs", {"SETUPTOOLS_SCM_PRETEND_VERSION": "1.0.dev7+cu124"}),
        ("scikit-build-core", {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_MY_PROJ_X": "1.0.dev7+cu124"}),
        (
            "torch",
            {"BUILD_VERSION": "1.0.dev7+cu124", "VERSION_SUFFIX": "+cu124", "CU_VERSION": "cu124"},
        ),
        ("flashinfer", {"FLASHINFER_LOCAL_VERSION": "cu124", "FLASHINFER_DEV_RELEASE_SUFFIX": "7"}),
        ("vllm", {"VLLM_VERSION_OVERRIDE": "1.0.dev7+cu124"}),
        ("triton", {"VERSION": "1.0.dev7+cu124"}),
    ],
)
def test_presets(preset: str, variables: dict[str, str]) -> None:
    assert told({**NIGHTLY, "presets": preset}) == variables


def test_a_project_without_a_name_gets_the_plain_variable() -> None:
    table = {**NIGHTLY, "presets": ["setuptools-scm"]}

    assert told(table, project="") == {"SETUPTOOLS_SCM_PRETEND_VERSION": "1.0.dev7+cu124"}


def test_nothing_empty_is_told_and_no_text_around_it() -> None:
    table = {"base": "1.0", "presets": ["torch", "flashinfer"], "inject": {"L": "[{local}]"}}

    assert told(table, axes={"python": "cp312"}) == {"BUILD_VERSION": "1.0"}


def test_what_the_matrix_injects_wins_over_presets_and_later_layers_over_earlier() -> None:
    tables = (
        {**NIGHTLY, "presets": "torch", "inject": {"CU_VERSION": "one", "A": "1"}},
        {"inject": {"A": "2"}},
    )
    found = told(*tables)

    assert (found["CU_VERSION"], found["A"]) == ("one", "2")


# Pins


def test_pins_are_requirements() -> None:
    table = {"base": "1", "pins": {"torch": "=={torch|majmin}.*", "Nvidia_X": ">={cuda},<13"}}

    assert pins(merge(layered(table)), made(table)) == ("Nvidia_X<13,>=12.4", "torch==2.4.*")


@pytest.mark.parametrize("text", ["{torch}", "== 1; python_version>'3'!", "@ file:///x", "=>1"])
def test_what_is_no_pin(text: str) -> None:
    table = {"base": "1", "pins": {"torch": text}}
    with pytest.raises(ConfigError, match=r"^version\.pins\.torch: .* is not a pinned requirement"):
        pins(merge(layered(table)), made(table))


def test_the_documentation_names_everything_there_is() -> None:
    text = (REPOSITORY / "docs" / "concepts" / "versions.md").read_text("utf-8")
    presets = {name for name in PRESETS if f"`{name}`" not in text}
    sources = {kind for kind in VersionSourceKind if f"`{kind}" not in text}
    keys = {
        field.alias for field in VersionParts.model_fields.values() if f"`{field.alias}" not in text
    }

    assert (presets, sources, keys) == (set(), set(), set())
    variables = {name.split("_FOR_")[0] for preset in PRESETS.values() for name in preset}
    assert {name for name in variables if name not in text} == set()
