"""Random matrices, as the model reads them."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from packaging.version import InvalidVersion, Version

from orchestrator.config.settings import Settings, axis_value_ok

Tree = dict[str, Any]

USER = ("a", "abi", "cuda", "rocm", "torch", "zeta")
VALUE = st.one_of(
    st.sampled_from(["12.4", "12.6", "13.0", "2.9", "2.10", "cpu", "1"]),
    st.text(string.ascii_letters + string.digits + "._+-", min_size=1, max_size=4).filter(
        axis_value_ok
    ),
)
VALUES = st.lists(VALUE, min_size=1, max_size=3, unique=True)
PYTHONS = st.lists(
    st.sampled_from(["cp310", "cp312", "cp314t", "pp311"]), min_size=1, max_size=3, unique=True
)
ARCHES = st.lists(st.sampled_from(["x86_64", "aarch64"]), min_size=1, max_size=2, unique=True)
LIBCS = st.lists(st.sampled_from(["manylinux", "musllinux"]), min_size=1, max_size=2, unique=True)


def is_version(value: str) -> bool:
    try:
        Version(value)
    except InvalidVersion:
        return value[:3] in {"cp3", "pp3"}
    return True


@st.composite
def patterns(draw: st.DrawFn, values: list[str], *, mistakes: bool) -> list[str]:
    """Match some of an axis' values: by name, by globs, and by ranges if all are versions."""
    any_of = [
        st.sampled_from(values),
        st.sampled_from(values).map(lambda value: value[:1] + "*"),
        st.sampled_from(["*", "cp31*t"]),
    ]
    if mistakes or all(map(is_version, values)):
        any_of.append(st.sampled_from([">=12.6", "<13", ">=2.9,<2.12", "!=12.4", "~=2.9"]))
    return draw(st.lists(st.one_of(any_of), min_size=1, max_size=2))


@st.composite
def whens(
    draw: st.DrawFn, domain: dict[str, list[str]], *, mistakes: bool = False
) -> dict[str, Any]:
    """A rule's ``when`` as a table."""
    chosen = draw(st.lists(st.sampled_from(sorted(domain)), min_size=1, max_size=3, unique=True))
    found: dict[str, Any] = {}
    for axis in chosen:
        presence = axis in USER and draw(st.integers(0, 4)) == 0
        found[axis] = (
            draw(st.booleans()) if presence else draw(patterns(domain[axis], mistakes=mistakes))
        )
    return found


@st.composite
def matrices(draw: st.DrawFn, *, mistakes: bool = False) -> Tree:
    """Make a matrix: axes of some cells only, rows, includes, excludes, overrides.

    With `mistakes` it may also have ranges where they cannot apply.
    """
    axes: Tree = {"python": draw(PYTHONS), "arch": draw(ARCHES), "libc": draw(LIBCS)}
    names = draw(st.lists(st.sampled_from(USER), max_size=4, unique=True))
    moving = draw(st.booleans()) and len(names) >= 2
    columns, single = (names[:2], names[2:]) if moving else ([], names)
    for name in single:
        axes[name] = draw(VALUES)
    domain = {name: list(values) for name, values in axes.items()}
    tree: Tree = {"axes": axes}
    if columns:
        cells = draw(
            st.lists(st.tuples(VALUE, VALUE), min_size=1, max_size=3, unique=True).map(sorted)
        )
        tree["rows"] = [{"axes": columns, "values": [list(row) for row in cells]}]
        for index, name in enumerate(columns):
            domain[name] = list(dict.fromkeys(row[index] for row in cells))
    for position, name in enumerate(single):
        earlier = {key: domain[key] for key in (*axes.keys() - set(single), *single[:position])}
        if draw(st.integers(0, 2)) == 0:
            axes[name] = {"values": axes[name], "when": draw(whens(earlier, mistakes=mistakes))}
    if draw(st.booleans()):
        tree["include"] = draw(st.lists(includes(domain), min_size=1, max_size=2))
    for kind, more in (("exclude", {}), ("override", {"runner": "x"})):
        found = draw(st.lists(whens(domain, mistakes=mistakes), max_size=3))
        tree[kind] = [{"when": when, "optional": True, **more} for when in found]
    return tree


@st.composite
def includes(draw: st.DrawFn, domain: dict[str, list[str]]) -> Tree:
    """A cell that perhaps is not there yet."""
    found = {axis: draw(st.sampled_from(domain[axis])) for axis in ("python", "arch", "libc")}
    for axis in sorted(domain.keys() - found.keys()):
        if draw(st.booleans()):
            found[axis] = draw(st.one_of(VALUE, st.sampled_from(domain[axis])))
    return found


def shuffled(draw: Callable[..., Any], node: Any) -> Any:
    """The same with the keys of every table in another order."""
    if isinstance(node, dict):
        return {key: shuffled(draw, node[key]) for key in draw(st.permutations(sorted(node)))}
    return [shuffled(draw, each) for each in node] if isinstance(node, list) else node


def made(tree: Tree) -> Settings:
    return Settings.model_validate(tree)
