"""The expression for some targets selects just these: all of it is a round trip."""

from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.models.target import Plan, TargetId
from orchestrator.plan.cover import expression
from orchestrator.plan.selection import select, with_needs
from tests.conftest import examples
from tests.property.matrices import Tree
from tests.property.test_plan import planned, projects
from tests.unit.matrices.test_examples import EXAMPLES, plan


def wheels(found: Plan) -> list[TargetId]:
    return [each.id for each in found.everything if each.python]


def check(found: Plan, wanted: set[TargetId]) -> str:
    text = expression(wanted, found.everything)
    chosen = {each.id for each in select(found.everything, [text])}
    assert chosen == {each.id for each in with_needs(wanted, found.everything)}, text
    return text


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.toml")))
def test_any_part_of_a_real_matrix_is_said_exactly(name: str) -> None:
    found = plan(name)
    ids = wheels(found)
    dice = random.Random(name)  # noqa: S311 - a test
    for _ in range(3):
        check(found, set(dice.sample(ids, dice.randint(1, len(ids)))))
    assert check(found, set(ids)) == "*"
    assert check(found, {ids[-1]}) == ids[-1]


@pytest.mark.parametrize("said", ["torch=2.8.0", "python=cp312 & torch=2.7.1,2.8.0"])
def test_what_belongs_together_is_said_in_short(said: str) -> None:
    found = plan("flash-attention")
    chosen = {each.id for each in select(found.everything, [said])}
    assert len(check(found, chosen)) <= len(said)


def test_nothing_is_said_of_nothing() -> None:
    assert expression((), plan("vllm").everything) == ""


@examples(40)
@given(projects(), st.data())
def test_any_part_of_any_matrix_is_said_exactly(tree: Tree, data: st.DataObject) -> None:
    found = planned(tree)
    ids = wheels(found)
    assume(ids)
    check(found, set(data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))))
