"""Every version that comes out parses, is canonical, and survives a file name; or nothing does."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from orchestrator.config.settings import VersionParts, axis_value_ok
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.wheel_name import WheelName
from orchestrator.plan.version import ComposedVersion, VersionContext, compose, merge

NUMBERS = st.integers(0, 20_300_000).map(str)
OPTIONAL = st.none() | NUMBERS
BASES = st.builds(
    lambda epoch, release, pre, post, dev: "".join(
        (
            f"{epoch}!" if epoch else "",
            ".".join(map(str, release)),
            pre,
            f".post{post}" if post else "",
            f".dev{dev}" if dev else "",
        )
    ),
    st.sampled_from([0, 0, 0, 1, 7]),
    st.lists(st.integers(0, 3000), min_size=1, max_size=4),
    st.sampled_from(["", "", "a1", "b2", "rc10"]),
    OPTIONAL,
    OPTIONAL,
)
VALUES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,6}", fullmatch=True).filter(axis_value_ok)
FIELDS = st.sampled_from(
    ["{cuda}", "{cuda|nodot}", "{torch|majmin}", "{torch|major}", "{sha}", "{sha|short}", "{none}"]
)
LITERALS = st.sampled_from(["cu", "torch", "g", "NV", "26", "04", ".", "_", "-", "x.y", ""])
TEMPLATES = st.lists(LITERALS | FIELDS, max_size=7).map("".join)
TABLES = st.fixed_dictionaries(
    {
        "base": BASES,
        "local": TEMPLATES,
        "parts": st.fixed_dictionaries({"none": st.just("const:")}),
    },
    optional={
        "pre": st.sampled_from(["", "a0", "rc1", "beta.2", "-c-3", "rc", "rc1+x", ".dev3"]),
        "post": NUMBERS,
        "dev": NUMBERS,
        "build-tag": TEMPLATES,
        "keep-zeros": st.booleans(),
        "release": st.booleans(),
        "omit": st.fixed_dictionaries({"cuda": st.sampled_from(["12.4", "13.0"])}),
    },
)
AXES = st.fixed_dictionaries(
    {
        "cuda": st.sampled_from(["12.4", "13.0"]) | VALUES,
        "torch": VALUES,
        "sha": st.from_regex(r"[0-9a-f]{7,40}", fullmatch=True),
    }
)


def composed(table: dict[str, object], axes: dict[str, str]) -> ComposedVersion | None:
    """What comes out; None for a planning error, which is the only other thing that may."""
    layers = (("version", VersionParts.model_validate(table)),)
    try:
        return compose(
            merge(layers), axes=axes, outside=VersionContext(), image="", arch=Arch.X86_64
        )
    except ConfigError as error:
        places = [each.where for each in error.problems]
    assert all(each.startswith("version.") for each in places)
    return None


@given(TABLES, AXES)
def test_what_is_composed_is_a_version(table: dict[str, object], axes: dict[str, str]) -> None:
    found = composed(table, axes)
    if found is None:
        return
    version = Version(found.version)

    if not table.get("keep-zeros"):
        assert str(version) == found.version
        assert (version.local or "") == found.names["local"]
    assert str(Version(found.names["public"])) == found.names["public"] == version.public
    assert not (found.release and (found.names["local"] or found.build_tag))
    assert (found.version == found.names["public"]) == (not found.names["local"])


@given(TABLES, AXES)
def test_it_survives_a_file_name(table: dict[str, object], axes: dict[str, str]) -> None:
    found = composed(table, axes)
    if found is None:
        return
    parts = ("demo_x", found.version, found.build_tag, "cp312", "abi3", "manylinux_2_28_x86_64")
    filename = "-".join(filter(None, parts)) + ".whl"
    _, version, build, _ = parse_wheel_filename(filename)
    name = WheelName.parse(filename)

    assert version == Version(found.version)
    assert name.version_text == found.version
    assert name.build == found.build_tag
    assert bool(build) == bool(found.build_tag)
    if not table.get("keep-zeros"):
        assert str(version) == found.version
    assert re.fullmatch(r"[A-Za-z0-9.!+]+", found.version), "nothing that a file name must escape"


@given(TABLES, AXES)
def test_composing_is_a_function(table: dict[str, object], axes: dict[str, str]) -> None:
    assert composed(table, axes) == composed(table, dict(reversed(axes.items())))


@given(BASES, NUMBERS)
def test_a_nightly_is_below_what_it_leads_to(base: str, day: str) -> None:
    release = composed({"base": base, "pre": "", "post": "const:", "dev": "const:"}, {})
    nightly = composed({"base": base, "pre": "", "post": "const:", "dev": day}, {})

    assert release is not None
    assert nightly is not None
    assert Version(nightly.version) < Version(release.version)
