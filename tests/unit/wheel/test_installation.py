"""What installers refuse is an error, and what both take is none: a table for both sides."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.models.wheel import Severity
from tests.factories import cases
from tests.unit.wheel.conftest import Inspector
from tests.wheelmaker import WheelSpec

CASES: dict[str, dict[str, Any]] = cases(__file__, "installers.toml")


def wheel_of(case: dict[str, Any]) -> tuple[WheelSpec, dict[str, bytes]]:
    """Return a wheel of the table, and its files."""
    spec = WheelSpec(python="py3", abi="none", platform="any", purelib="true")
    members = (name.replace("D/", "demo-1.0.data/", 1) for name in case.get("members", ()))
    spec.members |= {"demo/__init__.py": b"", **dict.fromkeys(members, b"#!python\n")}
    text = case.get("entry-points")
    if "commands" in case:
        text = "\n".join(["[console_scripts]", *case["commands"], ""])
    if text is not None:
        spec.extra_info["entry_points.txt"] = text.encode(case.get("encoding", "utf-8"))
    files = spec.files()
    for key, name in (("wheel", "WHEEL"), ("metadata", "METADATA")):
        if key in case:
            old, new = (each.encode() for each in case[key])
            place = f"{spec.dist_info}/{name}"
            assert old in files[place]
            files[place] = files[place].replace(old, new, 1)
    return spec, files


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_rules(inspector: Inspector, case: dict[str, Any]) -> None:
    spec, files = wheel_of(case)
    found = inspector.findings(spec.write(inspector.folder, files))
    errors = {each.rule for each in found if each.severity is Severity.ERROR}
    assert case["rule"] in errors if "refused-by" in case else not errors


def test_values_that_newer_pythons_refuse_are_a_warning(inspector: Inspector) -> None:
    spec = WheelSpec(extra_info={"entry_points.txt": b"[my.group]\nx = demo:main a b\n"})
    found = [each for each in inspector.findings(spec) if each.rule == "entry-points"]
    assert [(each.severity, "3.15" in each.message) for each in found] == [("warning", True)]
