"""Which wheel variants the wheels of a matrix become."""

from __future__ import annotations

import json
import re

import pytest

from orchestrator.config.load import load
from orchestrator.errors import ConfigError
from orchestrator.models import variant_metadata
from orchestrator.plan.wheel_variants import WheelVariant, wheel_variants
from tests import factories
from tests.conftest import REPOSITORY

MATRIX = """
[axes]
python = ["cp312", "cp313"]
arch = ["x86_64", "aarch64"]
cuda = { values = ["cpu", "12.6", "13.0"], label = "cu{cuda|nodot}" }
[version]
base = "1.0"
local = "cu{cuda|nodot}"
"""
CUDA = """
[variant]
axes = { cuda = "nvidia::cuda_version_lower_bound::{cuda}" }
omit = { cuda = "cpu" }
"""


def made(text: str) -> dict[str, WheelVariant]:
    settings = load(text.encode(), facts=factories.FACTS)
    return {str(k): v for k, v in wheel_variants(factories.plan_of(text), settings).items()}


def test_values_of_an_axis_become_labels_and_properties() -> None:
    found = made(f'{MATRIX}{CUDA}plain = "cuda=cpu"\n')
    assert len(found) == 12
    labels = {each.rpartition("-")[2]: variant.label for each, variant in found.items()}
    assert labels == {"cucpu": "null", "cu126": "cu126", "cu130": "cu130"}
    assert {variant.version for variant in found.values()} == {"1.0"}
    assert {each for each, variant in found.items() if variant.plain} == {
        each for each in found if each.endswith("cucpu")
    }
    document = json.loads(found["cp312-manylinux_x86_64-cu126"].metadata.dumps())
    assert document == {
        "$schema": variant_metadata.SCHEMA,
        "default-priorities": {"namespace": ["nvidia"]},
        "providers": {
            "nvidia": {
                "requires": ["nvidia-variant-provider"],
                "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
            }
        },
        "variants": {"cu126": {"nvidia": {"cuda_version_lower_bound": ["12.6"]}}},
    }
    again = variant_metadata.loads(json.dumps(document).encode(), where="x")
    assert again == found["cp312-manylinux_x86_64-cu126"].metadata


def test_all_variants_of_a_matrix_can_be_joined() -> None:
    documents = [variant.metadata for variant in made(MATRIX + CUDA).values()]
    whole = documents[0]
    for each in documents[1:]:
        whole = whole.joined(each)
    assert [*whole.variants] == ["cu126", "cu130", "null"]
    assert whole.flaw == ""


def test_own_namespaces_priorities_and_providers() -> None:
    text = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
blas = ["mkl", "openblas"]
level = ["v2", "v3"]
[env]
ALL = "{blas} {level}"
[version]
base = "2.0"
local = "{blas}.{level}"
[variant]
label = "{level}_{blas}"
local = "x"
priorities = ["tpu", "x86_64"]
[variant.axes]
blas = ["blas::library::{blas}", "tpu::kind::a", "tpu::kind::b"]
level = "x86_64::level::{level}"
[variant.providers]
tpu = { requires = "tpu-provider>=1", plugin-api = "tpu.plugin:Plugin" }
"""
    found = made(text)
    (one, *_) = [variant for variant in found.values() if variant.label == "v3_mkl"]
    assert one.version == "2.0+x"
    assert one.metadata.variants["v3_mkl"] == {
        "blas": {"library": ("mkl",)},
        "tpu": {"kind": ("a", "b")},
        "x86_64": {"level": ("v3",)},
    }
    assert one.metadata.namespaces == ("tpu", "x86_64", "blas")
    assert one.metadata.providers == {
        "tpu": {"requires": ("tpu-provider>=1",), "plugin-api": "tpu.plugin:Plugin"},
        "x86_64": {"requires": ("x86-64-variant-provider",)},
        "blas": {
            "static-properties": {"library": ("mkl", "openblas")},
            "feature-order": ("library",),
        },
    }


@pytest.mark.parametrize(
    ("more", "where", "what"),
    [
        ('axes = { cudo = "a::b::c" }', "variant.axes.cudo", "unknown axis"),
        ('axes = { cuda = "a::b" }', "variant.axes.cuda[0]", "is not namespace::feature::value"),
        ('axes = { cuda = "a::B::c" }', "variant.axes.cuda[0]", "is not namespace"),
        ('axes = { cuda = "a::b::{x}" }', "variant.axes.cuda[0]", "which is not an axis"),
        ('axes = { cuda = "a::b::A{cuda}" }', "variant.axes.cuda[0]", "is not a value"),
        ("axes = {}", "variant.axes", ""),
        ('omit = { cuda = "cpo" }', "variant.omit.cuda", "no cuda is 'cpo'"),
        ('omit = { cudo = "cpu" }', "variant.omit.cudo", "unknown axis"),
        ('label = "{x}"', "variant.label", "which is not an axis"),
        ('label = "{python}_{cuda}_0123456"', "variant.label", "cannot be the label"),
        ('label = "null"', "variant.label", "cannot be the label"),
        ('label = "CU{cuda}"', "variant.label", "cannot be the label"),
        ('label = "cuda"', "variant.label", "have the label 'cuda' and different properties"),
        ('label = "{cuda}{python}"', "variant.label", "different labels and the same properties"),
        ('local = "-"', "variant.local", "not a local version"),
        ('plain = "cudo=cpu"', "variant.plain", "unknown axis"),
        ('plain = "python=cp312"', "variant.plain", "would be the same wheel"),
        ('priorities = ["x"]', "variant.priorities[0]", "no variant uses 'x'"),
        ("later = 1", "variant.later", ""),
    ],
)
def test_what_cannot_be_meant_is_said(more: str, where: str, what: str) -> None:
    key = more.partition(" ")[0]
    lines = [line for line in CUDA.splitlines() if not line.startswith(f"{key} =")]
    with pytest.raises(ConfigError) as caught:
        made("\n".join((MATRIX, *lines, more)))
    problems = caught.value.problems
    assert any(each.where == where and what in each.what for each in problems), problems


def test_wheels_that_differ_in_what_no_variant_says_are_an_error() -> None:
    text = MATRIX.replace('local = "', 'local = "{flavour}.').replace(
        "[version]", 'flavour = ["a", "b"]\n[env]\nALL = "{flavour} {cuda}"\n[version]'
    )
    with pytest.raises(ConfigError, match=r"would be the same wheel: 1.0, label 'null'"):
        made(text + CUDA)
    found = made(f'{text}{CUDA}local = "x{{flavour}}"\n')
    assert {each.version for each in found.values()} == {"1.0+xa", "1.0+xb"}


def test_a_matrix_without_variants_makes_none() -> None:
    with pytest.raises(ConfigError, match="the matrix has no wheel variants"):
        made(MATRIX)


def test_the_example_of_the_docs_makes_what_they_say() -> None:
    page = (REPOSITORY / "docs/howto/variants.md").read_text()
    block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    found = made(block[1])
    copies = {
        f"demo-{variant.version}-cp312-…{label}.whl"
        for variant in found.values()
        for label in (f"-{variant.label}", *([""] if variant.plain else []))
    }
    assert copies == set(re.findall(r"demo-1\.0-cp312-…[^`]*", page))
