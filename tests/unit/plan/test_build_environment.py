"""What a build finds in its environment: what is said about it, and shown of it."""

from __future__ import annotations

import pytest

from orchestrator.models.platforms import Arch
from orchestrator.models.target import Plan
from orchestrator.report import plans
from orchestrator.report.explanation import explain
from tests.factories import plan_of, request

AXES = """
axes.python = ["cp312"]
axes.arch = ["x86_64"]
axes.torch = ["2.12", "2.13"]
version.local = "torch{torch}"
build.requires = ["torch=={torch}.*", "ninja"]
"""
ALL = """
build.constraints = ["setuptools<81"]
build.isolation = false
build.frontend = { name = "build[uv]", args = ["-x", "a b"] }
indexes.torch = "https://me:pass-word@host/{torch}?token=s3cr3t-value"
"""


def plan(text: str, axes: str = AXES) -> Plan:
    return plan_of(axes + text, version="1.0")


# What is shown


def test_the_plan_has_a_column_for_environments_where_there_is_one() -> None:
    for text in (plans.table(plan(ALL)), plans.markdown(plan(ALL))):
        line = next(line for line in text.splitlines() if "torch==2.13.*" in line)
        for part in (
            *("requires torch==2.13.*, ninja", "constraints setuptools<81", "isolation none"),
            *("frontend build[uv] -x 'a b'", "index torch https://me:", "@host/2.13"),
        ):
            assert part in line.replace("'build[uv]'", "build[uv]")
        assert "environment" in text
        assert "pass-word" not in text
        assert "s3cr3t" not in text
    silent = AXES.replace('build.requires = ["torch=={torch}.*", "ninja"]', 'env.T = "{torch}"')
    assert "environment" not in plans.table(plan("", silent))


def test_explain_says_what_set_each() -> None:
    text = f"{ALL}[[override]]\nwhen.torch = '2.13'\nbuild = {{ frontend = 'uv' }}"
    rows = {
        what: (value, origin)
        for what, value, origin in explain(request(plan(text).targets[1]), here=Arch.X86_64)
    }

    assert rows["requires"] == ("torch==2.13.*, ninja", "build.requires")
    assert rows["constraints"] == ("setuptools<81", "build.constraints")
    assert rows["isolation"] == ("none", "build.isolation")
    assert rows["frontend"] == ("uv", "override[0].build.frontend")
    assert rows["index torch"][1] == "indexes.torch"
    silent = {what for what, _, _ in explain(request(plan("").targets[0]), here=Arch.X86_64)}
    assert not silent & {"constraints", "isolation", "frontend", "index torch"}


# What may not be meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('indexes.pytorch = "https://host"', "indexes.pytorch serves no requirement of the matrix"),
        ('indexes.pytorch = "https://host"', "(did you mean 'torch'?)"),
        ('indexes."nvidia-*" = "https://host"', "indexes.nvidia-* serves no requirement"),
        ('indexes."*orch" = "https://host"', ""),
        ('indexes.Torch = "https://host"', ""),
        ('indexes.PyTest = "https://host"\ntest.requires = ["pytest>=8"]', ""),
        ('[[override]]\nwhen.torch = "2.12"\nindexes = { Ninja = "https://host" }', ""),
    ],
)
def test_an_index_that_serves_no_requirement_is_said(text: str, said: str) -> None:
    notes = " ".join(plan(text).notes)
    assert said in notes
    assert bool(notes) == bool(said)


def test_a_matrix_that_requires_nothing_leaves_it_to_the_project() -> None:
    silent = AXES.replace('build.requires = ["torch=={torch}.*", "ninja"]', 'env.T = "{torch}"')
    index = 'indexes.torch = "https://host"\n'

    assert plan(index, silent).notes == ()
    assert plan(f"{index}build.isolation = false", silent).notes == (
        "indexes.torch serves no requirement of the matrix, only what those need",
    )
