"""Names without a label are taken apart, and refused, as `packaging` does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import parse_wheel_filename

from orchestrator.models.wheel_name import NULL, WheelFilename, WheelName
from tests.conftest import examples

PART = st.one_of(
    st.from_regex(r"[A-Za-z0-9_.!+]{1,6}", fullmatch=True),
    st.sampled_from(("py3", "py2.py3", "cp312", "cp313t", "abi3", "none", "any", "1", "7_a", "0")),
    st.sampled_from(("linux_x86_64", "manylinux_2_28_aarch64", "win_amd64", "a.b", ".", "a..b")),
)
VERSION = st.sampled_from(("1.0", "1.0+cu130", "1!2.0rc1.post2.dev3", "v1", "1.0_x", "01.0", "+"))
DISTRIBUTION = st.one_of(
    st.from_regex(r"[\w.]{1,9}", fullmatch=True), st.sampled_from(("demo", "De_mo", "_", "a__b"))
)
LABEL = st.from_regex(r"[0-9a-z_.]{1,16}", fullmatch=True) | st.just(NULL)


def theirs(filename: str) -> tuple[object, ...] | None:
    try:
        name, version, build, tags = parse_wheel_filename(filename)
    except ValueError:
        return None
    return name, version, bool(build), tags


def ours(filename: str) -> tuple[object, ...] | None:
    name = WheelName.match(filename)
    return None if name is None else (name.name, name.version, bool(name.build), name.tags)


@st.composite
def filenames(draw: st.DrawFn) -> str:
    """A name of our characters, right or nearly so."""
    parts = draw(st.lists(PART, min_size=2, max_size=5))
    version = draw(VERSION | PART)
    return "-".join((draw(DISTRIBUTION), version, *parts)) + draw(
        st.sampled_from((".whl", ".whl", ".whl", ".WHL", ".zip", ""))
    )


@examples(1000)
@given(filenames())
def test_a_name_without_a_label_is_what_packaging_says(filename: str) -> None:
    name = WheelName.match(filename)
    if name is None or not name.label:
        assert ours(filename) == theirs(filename)
    else:
        assert theirs(filename) is None, "a name is a variant's only where it was none before"


@examples(300)
@given(filenames(), LABEL)
def test_a_label_changes_nothing_else(filename: str, label: str) -> None:
    plain = WheelName.match(filename)
    if plain is None or plain.label:
        return
    labelled = WheelName.match(f"{filename.removesuffix('.whl')}-{label}.whl")
    if labelled is None:  # a build tag that begins with no digit
        assert not plain.build
    elif labelled.label:
        assert (labelled.label, ours(str(labelled))) == (label, ours(filename))
        assert str(labelled) == f"{filename.removesuffix('.whl')}-{label}.whl"


@given(st.text(max_size=60))
def test_what_packaging_takes_in_any_letters_is_the_same_or_refused(text: str) -> None:
    for filename in (text, f"{text}.whl", f"demo-1.0-py3-none-any{text}.whl"):
        name = WheelName.match(filename)
        assert (WheelFilename.match(filename) is None) == (name is None)
        if name is not None:
            assert filename.isprintable()
            assert name.label or ours(filename) == theirs(filename)
