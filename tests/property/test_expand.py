"""Any matrix: the order of keys is nothing, excludes only remove, every ID is one's own."""

from __future__ import annotations

import string
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.config.settings import Settings, axis_value_ok
from orchestrator.errors import ConfigError
from orchestrator.matrix.expand import Expansion, expand
from orchestrator.matrix.select import select_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Axes = dict[str, list[str]]
Rules = list[dict[str, list[str]]]

NAMES = st.sampled_from(["cuda", "torch", "abi", "rocm", "zeta", "a"])
VALUES = st.lists(
    st.text(string.ascii_letters + string.digits + "._+-", min_size=1, max_size=4).filter(
        axis_value_ok
    ),
    min_size=1,
    max_size=3,
    unique=True,
)
BUILT_IN = st.fixed_dictionaries(
    {
        "python": st.lists(
            st.sampled_from(["cp310", "cp312", "cp314t"]), min_size=1, max_size=3, unique=True
        ),
        "arch": st.lists(
            st.sampled_from(["x86_64", "aarch64"]), min_size=1, max_size=2, unique=True
        ),
        "libc": st.lists(
            st.sampled_from(["manylinux", "musllinux"]), min_size=1, max_size=2, unique=True
        ),
    }
)


@st.composite
def axes(draw: st.DrawFn) -> Axes:
    return draw(BUILT_IN) | draw(st.dictionaries(NAMES, VALUES, max_size=3))


@st.composite
def rules(draw: st.DrawFn, of: Axes) -> Rules:
    found: Rules = []
    for _ in range(draw(st.integers(0, 3))):
        chosen = draw(st.lists(st.sampled_from(sorted(of)), min_size=1, max_size=3, unique=True))
        found.append(
            {
                name: draw(st.lists(st.sampled_from(of[name]), min_size=1, max_size=2))
                for name in chosen
            }
        )
    return found


def made(
    of: Mapping[str, Any],
    excludes: Sequence[Mapping[str, Any]] = (),
    overrides: Sequence[Mapping[str, Any]] = (),
) -> Settings:
    return Settings.model_validate(
        {
            "axes": of,
            "exclude": [{"when": when} for when in excludes],
            "override": [{"when": when, "runner": "x"} for when in overrides],
        }
    )


def outcome(found: Settings) -> Expansion | tuple[str, ...]:
    try:
        return expand(found)
    except ConfigError as error:
        return tuple(map(str, error.problems))


@given(st.data())
def test_the_order_of_keys_means_nothing(data: st.DataObject) -> None:
    of = data.draw(axes())
    excludes, overrides = data.draw(rules(of)), data.draw(rules(of))
    shuffled = {name: of[name] for name in data.draw(st.permutations(sorted(of)))}
    turned = [dict(reversed(when.items())) for when in excludes]

    first, second = made(of, excludes, overrides), made(shuffled, turned, overrides)
    assert outcome(first) == outcome(second)


@given(st.data())
def test_excludes_only_remove(data: st.DataObject) -> None:
    of = data.draw(axes())
    whole = outcome(made(of))
    part = outcome(made(of, data.draw(rules(of))))
    assume(isinstance(whole, Expansion) and isinstance(part, Expansion))
    assert isinstance(whole, Expansion)
    assert isinstance(part, Expansion)

    kept = {cell.id for cell in part.cells}
    assert [cell for cell in whole.cells if cell.id in kept] == list(part.cells)
    gone = {each.cell for each in part.exclusions}
    assert gone | {cell.values for cell in part.cells} == {cell.values for cell in whole.cells}
    assert len(part.cells) + len(part.exclusions) == len(whole.cells)
    assert whole.exclusions == ()


@given(st.data())
def test_a_rule_means_exactly_the_cells_it_names(data: st.DataObject) -> None:
    of = data.draw(axes())
    excludes = data.draw(rules(of))
    found = outcome(made(of, excludes))
    assume(isinstance(found, Expansion))
    assert isinstance(found, Expansion)

    def first_match(cell: tuple[tuple[str, str], ...]) -> str | None:
        values = dict(cell)
        for index, when in enumerate(excludes):
            if all(values[axis] in want for axis, want in when.items()):
                return f"exclude[{index}]"
        return None

    assert all(first_match(cell.values) is None for cell in found.cells)
    assert [first_match(each.cell) for each in found.exclusions] == [
        each.rule for each in found.exclusions
    ]


@given(axes())
def test_ids_are_unique_and_each_selects_itself_alone(of: Axes) -> None:
    found = outcome(made(of))
    if not isinstance(found, Expansion):
        # The one thing that may be wrong with these axes.
        assert all("two cells have the ID" in each for each in found)
        return

    ids = [cell.id for cell in found.cells]
    assert len(set(ids)) == len(ids)
    for each in ids:
        assert select_ids(ids, [each]) == (each,)
        assert [other for other in ids if fnmatchcase(other, each)] == [each]
        assert "/" not in each
        assert not each.startswith((".", "-"))


@given(axes(), st.text(string.printable, max_size=8))
def test_any_label_gives_good_ids_or_an_error(of: Axes, label: str) -> None:
    text = label.replace("{", "").replace("}", "")
    found = outcome(made({**of, "b": {"values": ["1", "2"], "label": text + "{b}"}}))

    if isinstance(found, Expansion):
        for cell in found.cells:
            assert axis_value_ok(cell.id)
            assert select_ids([c.id for c in found.cells], [cell.id]) == (cell.id,)
