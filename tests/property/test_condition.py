"""Expressions: reading what was printed, and the fast way against the plain way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config import condition
from orchestrator.config.condition import All, Any, AxisPresent, IdGlob, Node, Not
from orchestrator.errors import ConfigError
from orchestrator.plan.cell_sets import CellSets

DOMAIN = {
    "cuda": ("12.4", "12.6", "13.0", "cpu"),
    "torch": ("2.9", "2.10", "2.12"),
    "python": ("cp310", "cp312", "cp314t", "abi3-cp39"),
    "os": ("linux", "windows"),
}
PATTERNS = {
    "cuda": ["12.4", "12*", "cpu", "13.?", "*", "nope"],
    "torch": ["2.9", "2.1*", "2.[9]"],
    "python": ["cp31*", "*t", "cp312"],
    "os": ["linux", "w*"],
}
RANGES = [">=2.9", "<13", ">=2.9,<2.12", "!=12.4", "~=2.9", "==12.6,!=13.0", "==12.*"]

AXIS = st.sampled_from(sorted(DOMAIN))
LISTS = AXIS.flatmap(
    lambda axis: st.lists(st.sampled_from(PATTERNS[axis]), min_size=1, max_size=3).map(
        lambda found: condition.AxisTest(axis=axis, patterns=tuple(found))
    )
)
ATOMS = st.one_of(
    LISTS,
    st.builds(
        lambda axis, text: condition.AxisTest(axis=axis, patterns=(text,)),
        AXIS,
        st.sampled_from(RANGES),
    ),
    st.builds(lambda axis: AxisPresent(axis=axis), AXIS),
)


def together(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(lambda one: Not(inner=one), inner),
        st.builds(lambda parts: All(parts=parts), several),
        st.builds(lambda parts: Any(parts=parts), several),
    )


NODES: st.SearchStrategy[Node] = st.recursive(ATOMS, together, max_leaves=6)
CELLS = st.fixed_dictionaries(
    {}, optional={axis: st.sampled_from(values) for axis, values in DOMAIN.items()}
)


def printed(node: Node) -> str:
    match node:
        case Not(inner=inner):
            return f"!({printed(inner)})"
        case All(parts=parts):
            return " & ".join(f"({printed(part)})" for part in parts)
        case Any(parts=parts):
            return "|".join(f"({printed(part)})" for part in parts)
        case AxisPresent(axis=axis):
            return axis
        case IdGlob(pattern=pattern):
            return pattern
        case condition.AxisTest(axis=axis, patterns=patterns):
            is_range = patterns[0][0] in "<>=!~"
            return axis + patterns[0] if is_range else f"{axis}={','.join(patterns)}"


@given(NODES, st.lists(CELLS, max_size=8))
def test_sets_hold_the_cells_that_the_condition_means(
    node: Node, cells: list[dict[str, str]]
) -> None:
    sets = CellSets(tuple(cell.items()) for cell in cells)

    numbers = list(sets.numbers(sets.meant(node)))

    assert numbers == [n for n, cell in enumerate(cells) if condition.holds(node, cell)]


@given(NODES, CELLS)
def test_what_was_printed_is_read_again(node: Node, cell: dict[str, str]) -> None:
    again = condition.parse(printed(node), where="x")

    assert condition.parse(printed(again), where="x") == again
    assert condition.axes_of(again) == condition.axes_of(node)
    assert condition.holds(again, cell) == condition.holds(node, cell)


@given(st.text("ab=<>!~&|(),.*1 -[]t", max_size=12))
def test_any_text_is_read_or_refused_with_one_message(text: str) -> None:
    try:
        node = condition.parse(text, where="--select")
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.where == "--select"
        assert problem.hint
    else:
        condition.holds(node, {"a": "1"}, ids=("a-1",))
