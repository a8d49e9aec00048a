"""One version, composed once (FACTS.md section 3)."""

from __future__ import annotations

import pytest
from packaging.version import Version

from orchestrator.errors import ConfigError
from orchestrator.version import compose

VALUES = {
    "python": "cp312",
    "libc": "manylinux",
    "arch": "x86_64",
    "cuda": "12.4",
    "torch": "2.4.1",
    "release": "26.04",
    "device": "cpu",
}

SHAPES = {
    "FlashInfer": ("0.1.6", "cu{cuda|nodot}torch{torch|majmin}", "0.1.6+cu124torch2.4"),
    "Triton server": ("2.66.0", "nv{release}.cu{cuda|nodot}", "2.66.0+nv26.4.cu124"),
    "torch's domain libraries": ("0.23.0", "cu{cuda|nodot}", "0.23.0+cu124"),
    "nightly": ("2.9.0.dev20250901", "cu{cuda|nodot}", "2.9.0.dev20250901+cu124"),
    "flash-attention": ("2.8.3", "cu{cuda|major}torch{torch|majmin}", "2.8.3+cu12torch2.4"),
    "saxpy": ("1.0.0", "{device}", "1.0.0+cpu"),
    "vLLM's default": ("0.11.0", None, "0.11.0"),
    "nothing local": ("0.11.0", "", "0.11.0"),
}


@pytest.mark.parametrize(("base", "local", "version"), SHAPES.values(), ids=SHAPES)
def test_shapes_in_the_wild(base: str, local: str | None, version: str) -> None:
    found = compose(base=base, local=local, build_tag=None, values=VALUES)

    assert found.version == version
    assert found.base == base
    assert found.build_tag == ""


@pytest.mark.parametrize(
    ("base", "local", "version", "public", "part"),
    [
        ("1.0-rc1", "CU_12.4", "1.0rc1+cu.12.4", "1.0rc1", "cu.12.4"),
        ("v1.0", None, "1.0", "1.0", ""),
        ("1!2.0.post1", "a-b", "1!2.0.post1+a.b", "1!2.0.post1", "a.b"),
        ("1.0+ours", None, "1.0+ours", "1.0", "ours"),
        ("01.02", "007", "1.2+7", "1.2", "7"),
    ],
)
def test_the_canonical_form(
    base: str, local: str | None, version: str, public: str, part: str
) -> None:
    found = compose(base=base, local=local, build_tag=None, values=VALUES)

    assert (found.version, found.base, found.local) == (version, public, part)
    assert str(Version(found.version)) == found.version


def test_what_templates_may_name() -> None:
    found = compose(base="1.0", local="cu{cuda|nodot}", build_tag="1_{cuda}", values=VALUES)

    assert found.values() == {
        "version": "1.0+cu124",
        "base": "1.0",
        "local": "cu124",
        "build_tag": "1_12.4",
    }


@pytest.mark.parametrize("tag", ["1", "26", "1_nv26.04", "0a"])
def test_build_tags(tag: str) -> None:
    assert compose(base="1", local=None, build_tag=tag, values={}).build_tag == tag


@pytest.mark.parametrize("tag", ["<unknown>", "a1", "1-2", "{device}", "1 2", "1/2", "1\n"])
def test_what_is_no_build_tag(tag: str) -> None:
    with pytest.raises(ConfigError, match=r"^version\.build-tag: .* is no build tag"):
        compose(base="1.0", local=None, build_tag=tag, values=VALUES)


@pytest.mark.parametrize(
    ("base", "local", "where", "what"),
    [
        (None, None, "version.base", "the project's version is dynamic"),
        ("", None, "version.base", "'' is no PEP 440 version"),
        ("latest", None, "version.base", "'latest' is no PEP 440 version"),
        ("1.0", "cu-", "version.local", "'1.0+cu-' is no PEP 440 version"),
        ("1.0", "+cu124", "version.local", "'1.0++cu124' is no PEP 440 version"),
        ("1.0", "cu 124", "version.local", "is no PEP 440 version"),
        ("1.0+a", "b", "version.base", "has a local part already"),
    ],
)
def test_what_could_never_be_a_version(
    base: str | None, local: str | None, where: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(base=base, local=local, build_tag=None, values=VALUES)

    (problem,) = caught.value.problems
    assert problem.where == where
    assert what in problem.what
    assert problem.hint
