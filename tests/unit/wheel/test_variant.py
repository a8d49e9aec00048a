"""What the label of a variant stands for, and whether the wheel says so."""

from __future__ import annotations

import pytest

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
