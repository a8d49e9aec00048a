"""Any plan: cells are covered once, IDs select their target, shards partition."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError, NothingSelectedError
from orchestrator.models.target import Digest, Plan, Target, TargetId
from orchestrator.plan.expand import expand
from orchestrator.plan.impossible import EXISTING
from orchestrator.plan.layers import channel_matrix
from orchestrator.plan.plan import make_plan
from orchestrator.plan.selection import select, shard
from orchestrator.plan.version import VersionContext
from tests.conftest import examples
from tests.factories import FACTS, request
from tests.property.matrices import USER, VALUES, Tree, made, matrices, shuffled

CHANNEL = "c"
"""In a channel a library that feeds no wheel is left out instead of being an error."""


@st.composite
def projects(draw: st.DrawFn) -> Tree:
    """A matrix whose overrides tell wheels apart, some for the stable ABI, and its libraries."""
    tree = draw(matrices())
    for index, rule in enumerate(tree["override"]):
        rule |= {"version": {"local": f"v{index}"}}
    if draw(st.booleans()):
        abi3 = {"when": {"python": "cp31?"}, "optional": True, "build": {"abi3": "cp310"}}
        tree["override"].insert(0, abi3)
    libraries: Tree = {}
    for name in draw(st.lists(st.sampled_from(["gpu", "one", "two"]), max_size=3, unique=True)):
        chosen = draw(st.lists(st.sampled_from([*USER, "own"]), max_size=2, unique=True))
        axes = {axis: draw(VALUES) for axis in chosen}
        shared = {key: tree["axes"][key] for key in axes if key in tree["axes"]}
        axes |= {k: v["values"] if isinstance(v, dict) else v for k, v in shared.items()}
        needs = [other for other in libraries if draw(st.booleans())]
        libraries[name] = {"axes": axes, "command": "make", "outputs": ["*.so"], "needs": needs}
    return {**tree, "library": libraries, "channel": {CHANNEL: {}}}


def planned(tree: Tree) -> Plan:
    try:
        return make_plan(
            made(tree), facts=FACTS, outside=VersionContext(version="1"), channel=CHANNEL
        )
    except ConfigError:
        assume(False)
        raise


def wheels(plan: Plan) -> list[Target]:
    return [each for each in plan.targets if each.library is None]


def closure(target: Target, plan: Plan) -> set[TargetId]:
    by_id = {each.id: each for each in plan.targets}
    found = {target.id}
    for need in target.needs:
        found |= closure(by_id[need], plan)
    return found


slow = examples(40)


@slow
@given(projects())
def test_every_id_is_unique_and_selects_its_target_and_what_that_needs(tree: Tree) -> None:
    plan = planned(tree)
    assert len({each.id for each in plan.targets}) == len(plan.targets)

    for target in plan.targets:
        found = select(plan.targets, [target.id])
        assert {each.id for each in found} == closure(target, plan)
        assert [each for each in plan.targets if each in found] == list(found)
        for alias in target.aliases:
            assert target in select(plan.targets, [alias])


@slow
@given(projects())
def test_collapse_covers_every_cell_exactly_once(tree: Tree) -> None:
    plan = planned(tree)
    cells = {
        each.values: each.id for each in expand(channel_matrix(made(tree), CHANNEL).grid).cells
    }
    covered = [cell for target in wheels(plan) for cell in target.covers]
    aliases = [alias for target in wheels(plan) for alias in target.aliases]

    assert len(covered) == len(set(covered))
    impossible = {each.cell for each in plan.exclusions if each.rule == EXISTING}
    assert set(covered) == set(cells) - impossible
    assert aliases == [cells[each] for each in covered]
    for target in wheels(plan):
        common = set(target.covers[0]).intersection(*target.covers)
        assert set(target.variant) <= common
        assert not target.abi3 or target.python in {dict(each)["python"] for each in target.covers}


@slow
@given(projects())
def test_what_is_not_collapsed_is_not_the_same(tree: Tree) -> None:
    plan = planned(tree)
    keys: dict[TargetId, Digest] = {}
    for target in plan.targets:
        keys[target.id] = request(target, needs=[keys[each] for each in target.needs]).key

    of_wheels = [keys[each.id] for each in wheels(plan)]
    assert len(of_wheels) == len(set(of_wheels))


@slow
@given(projects(), st.integers(1, 4))
def test_shards_partition_the_targets(tree: Tree, count: int) -> None:
    plan = planned(tree)
    assume(plan.targets)
    parts: list[tuple[Target, ...]] = []
    for number in range(1, count + 1):
        try:
            parts.append(shard(plan.targets, f"{number}/{count}"))
        except NothingSelectedError:
            continue

    ids = [each.id for part in parts for each in part]
    assert sorted(ids) == sorted(each.id for each in plan.targets)
    for part in parts:
        inside = {each.id for each in part}
        assert all(closure(each, plan) <= inside for each in part)
        assert [each for each in plan.targets if each.id in inside] == list(part)


@slow
@given(projects())
def test_what_a_target_needs_comes_before_it_and_nothing_is_built_for_nothing(tree: Tree) -> None:
    plan = planned(tree)
    seen: set[TargetId] = set()
    for target in plan.targets:
        assert set(target.needs) <= seen
        seen.add(target.id)

    needed = {need for wheel in wheels(plan) for need in closure(wheel, plan)}
    assert needed == seen


@slow
@given(st.data())
def test_the_order_of_keys_means_nothing(data: st.DataObject) -> None:
    tree = data.draw(projects())

    assert planned(shuffled(data.draw, tree)) == planned(tree)
