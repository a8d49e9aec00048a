"""What the label of a variant stands for, and whether the wheel says so."""

from __future__ import annotations

import pytest

from tests.gpumaker import PTX, SPECIFIC, entry, fatbin
from tests.unit.wheel.conftest import Inspector
from tests.wheelmaker import WheelSpec, make_variant


@pytest.mark.parametrize("label", ["cu130", "null"])
def test_a_variant_that_says_what_its_label_is(
    spec: WheelSpec, inspector: Inspector, label: str
) -> None:
    spec.label = label
    assert inspector.rules(spec) == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (make_variant("cu126"), "the name says cu130, demo-1.0.dist-info/variant.json describes"),
        (make_variant(), "describes nothing"),
        (make_variant("cu130", "cu126"), "describes cu130, cu126"),
        (make_variant("cu130", **{"default-priorities": {"namespace": ["x"]}}), "lacks own"),
        (make_variant("cu130", variants={"cu130": {"own": {"kind": ["A"]}}}), "variant.json: var"),
        (make_variant("cu130", **{"$schema": 1}), "variant.json: schema"),
        (b"", "not a JSON document"),
        (b'{"default-priorities": 1}', "not a document of wheel variants"),
    ],
)
def test_a_variant_that_says_something_else(
    spec: WheelSpec, inspector: Inspector, document: bytes, message: str
) -> None:
    spec.label = "cu130"
    spec.extra_info["variant.json"] = document
    (found,) = inspector.findings(inspector.path(spec))
    assert (found.rule, found.severity) == ("variant", "error")
    assert message in found.message


def test_null_has_no_properties(spec: WheelSpec, inspector: Inspector) -> None:
    spec.label = "null"
    own = {"null": {"own": {"kind": ["x"]}}}
    spec.extra_info["variant.json"] = make_variant("null", variants=own)
    (found,) = inspector.findings(inspector.path(spec))
    assert found.message.endswith("variant.json: the variant 'null' has properties")


def test_a_label_and_a_document_go_together(spec: WheelSpec, inspector: Inspector) -> None:
    spec.extra_info["variant.json"] = make_variant("cu130")
    (found,) = inspector.findings(inspector.path(spec))
    assert (found.rule, found.severity) == ("variant", "warning")
    del spec.extra_info["variant.json"]
    spec.label = "cu130"
    files = spec.files()
    del files[f"{spec.dist_info}/variant.json"]
    (found,) = inspector.findings(spec.write(inspector.path(spec).parent, files))
    assert found.message == "it is a variant (cu130) without demo-1.0.dist-info/variant.json"


@pytest.mark.parametrize(
    ("values", "code", "missing"),
    [
        (["90_real"], [entry(90)], []),
        (["90_real"], [entry(90, flags=SPECIFIC)], []),
        (["90a_real"], [entry(90, flags=SPECIFIC)], []),
        (["90_real"], [entry(80), entry(90), entry(120)], []),
        (["80_real", "90_real"], [entry(90)], ["sm_80"]),
        (["90_real"], [entry(90, kind=PTX)], ["sm_90"]),
        (["90_virtual"], [entry(90, kind=PTX)], []),
        (["90_virtual"], [entry(90)], ["compute_90"]),
        (["90_real"], [], ["sm_90"]),
        (["something.else"], [entry(90)], []),
    ],
)
def test_a_variant_for_an_architecture_has_code_for_it(
    spec: WheelSpec, inspector: Inspector, values: list[str], code: list[bytes], missing: list[str]
) -> None:
    nvidia = {"nvidia": {"sm_arch": values}}
    spec.label = "sm"
    spec.members["demo/kernels.fatbin"] = fatbin(*code) if code else b""
    spec.extra_info["variant.json"] = make_variant(
        "sm",
        variants={"sm": nvidia},
        providers={"nvidia": {"requires": ["x"]}},
        **{"default-priorities": {"namespace": ["nvidia"]}},
    )
    found = [each for each in inspector.findings(inspector.path(spec)) if "variant" in each.rule]
    assert [each.rule for each in found] == ["variant-arch"] * len(missing)
    assert [each.message.partition("needs ")[2].partition(";")[0] for each in found] == missing
