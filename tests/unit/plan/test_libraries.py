"""Libraries: which they are, which wheels need which, and what that does to keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.target import BackendName, Digest, Plan, Source, TargetId
from orchestrator.plan.plan import make_request
from orchestrator.plan.selection import select, shard
from tests.factories import plan_of

BASE = """
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64", "aarch64"]
cuda = { values = ["12.6", "13.0"], label = "cu{cuda|nodot}" }
[version]
local = "cu{cuda|nodot}"
[library.gpu]
axes.cuda = ["12.6", "13.0"]
command = "make CUDA={cuda}"
outputs = ["lib/*.so"]
"""


def plan(text: str = "", channel: str = "", *, base: str = BASE) -> Plan:
    return plan_of(base + text, version="1", channel=channel)


def needs(found: Plan) -> dict[str, tuple[str, ...]]:
    return {each.id: each.needs for each in found.targets}


def libraries(found: Plan) -> list[str]:
    return [each.id for each in found.targets if each.library is not None]


def problem(text: str = "", *, base: str = BASE) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        plan(text, base=base)
    found = caught.value.problems[0]
    return found.where, found.what


def keys(found: Plan) -> dict[TargetId, Digest]:
    made: dict[TargetId, Digest] = {}
    for each in found.targets:
        made[each.id] = make_request(
            each,
            source=Source(name="demo", version="1", digest=Digest("0" * 64), epoch=1),
            backend=BackendName.CIBUILDWHEEL if each.python else BackendName.DIRECT,
            toolchain=Digest("1" * 64),
            builder="1",
            needs=[made[need] for need in each.needs],
        ).key
    return made


def test_a_library_is_built_once_for_each_platform_and_value_and_feeds_the_equal_wheels() -> None:
    found = plan()

    assert libraries(found) == [
        "gpu-manylinux_x86_64-12.6",
        "gpu-manylinux_x86_64-13.0",
        "gpu-manylinux_aarch64-12.6",
        "gpu-manylinux_aarch64-13.0",
    ]
    assert needs(found)["cp311-manylinux_aarch64-cu130"] == ("gpu-manylinux_aarch64-13.0",)
    assert needs(found)["cp312-manylinux_aarch64-cu130"] == ("gpu-manylinux_aarch64-13.0",)
    library = found.targets[0]
    assert library.library is not None
    assert library.library.command == "make CUDA=12.6"
    assert library.library.outputs == ("lib/*.so",)
    assert (library.python, library.version, library.build_identifier) == ("", "", "")
    assert library.image == "manylinux_2_28"


def test_an_axis_that_only_the_library_has_feeds_all_of_its_values() -> None:
    text = BASE.replace('axes.cuda = ["12.6", "13.0"]', 'axes.level = ["1", "2"]').replace(
        "CUDA={cuda}", "LEVEL={level}"
    )
    many = plan(base=text)

    assert len(libraries(many)) == 4
    assert needs(many)["cp311-manylinux_x86_64-cu130"] == (
        *("gpu-manylinux_x86_64-1", "gpu-manylinux_x86_64-2"),
    )


def test_when_says_which_wheels_get_it() -> None:
    text = BASE.replace('axes.cuda = ["12.6", "13.0"]', 'when = { cuda = ">=13" }').replace(
        "{cuda}", "x"
    )
    found = needs(plan(base=text))

    assert found["cp311-manylinux_x86_64-cu130"] == ("gpu-manylinux_x86_64",)
    assert found["cp311-manylinux_x86_64-cu126"] == ()


CHAIN = """
[library.base]
command = "make base"
outputs = ["base.a"]
[library.all]
command = "make all"
outputs = ["all.so"]
needs = ["gpu", "base"]
"""


def test_libraries_may_need_libraries() -> None:
    found = plan(CHAIN)

    assert needs(found)["all-manylinux_x86_64"] == (
        *("base-manylinux_x86_64", "gpu-manylinux_x86_64-12.6", "gpu-manylinux_x86_64-13.0"),
    )
    order = [each.id for each in found.targets]
    assert order.index(TargetId("all-manylinux_x86_64")) > order.index(
        TargetId("gpu-manylinux_aarch64-13.0")
    )
    assert needs(found)["cp311-manylinux_x86_64-cu126"] == (
        *("base-manylinux_x86_64", "gpu-manylinux_x86_64-12.6", "all-manylinux_x86_64"),
    )


def test_circles_are_named() -> None:
    circle = CHAIN + '[library.more]\ncommand = "x"\noutputs = ["y"]\nneeds = ["all", "more"]\n'
    assert problem(circle) == (
        "library.more.needs",
        "circular dependency of libraries: more",
    )
    circle = CHAIN.replace('["base.a"]', '["base.a"]\nneeds = ["all"]')
    circle += '[library.aaa]\ncommand = "x"\noutputs = ["y"]\nneeds = ["all"]\n'
    assert problem(circle) == (
        "library.all.needs",
        "circular dependency of libraries: all, base",
    )


def test_a_library_for_no_wheel_is_an_error() -> None:
    where, what = problem(base=BASE.replace('axes.cuda = ["12.6", "13.0"]', 'axes.cuda = ["12.4"]'))
    assert (where, what) == ("library.gpu", "gpu-manylinux_x86_64-12.4 feeds no wheel")
    excluded = '[[exclude]]\nwhen = { cuda = "13.0" }\n'
    assert problem(excluded) == ("library.gpu", "gpu-manylinux_x86_64-13.0 feeds no wheel")
    rule = f'{excluded}[[library.gpu.exclude]]\nwhen = {{ cuda = ">=13" }}\nreason = "old"'
    found = plan(rule)
    assert len(libraries(found)) == 2
    assert ("library.gpu.exclude[0]", "old") in {(e.rule, e.reason) for e in found.exclusions}


def test_in_a_channel_that_is_narrower_it_is_left_out_with_that_reason() -> None:
    text = (
        '[[library.gpu.exclude]]\nwhen = { arch = "aarch64", cuda = "13.0" }\n'
        '[[exclude]]\nwhen = { arch = "aarch64", cuda = "13.0" }\n'
        '[channel.c.axes]\narch = ["x86_64"]\ncuda = ["12.6"]\n'
    )
    assert len(libraries(plan(text))) == 3
    found = plan(text, "c")
    assert libraries(found) == ["gpu-manylinux_x86_64-12.6"]
    assert [(e.rule, e.reason, dict(e.cell)["cuda"]) for e in found.exclusions] == [
        ("library.gpu", "feeds no wheel of this channel", "13.0")
    ]


def test_what_only_a_library_for_nothing_needs_is_for_nothing_too() -> None:
    text = CHAIN.replace("[library.all]\n", '[library.all]\nwhen = { cuda = "13.0" }\n').replace(
        "[library.base]\n", '[library.base]\nwhen = "python=none"\n'
    )
    found = plan(f'{text}[channel.c.axes]\ncuda = ["12.6"]', "c")
    assert libraries(found) == ["gpu-manylinux_x86_64-12.6", "gpu-manylinux_aarch64-12.6"]
    whole = needs(plan(text))
    assert whole["cp311-manylinux_x86_64-cu130"] == (
        *("gpu-manylinux_x86_64-13.0", "all-manylinux_x86_64"),
    )


# Platforms that do not stand in [axes]

ROWS = """
[axes]
python = ["cp312"]
[[rows]]
axes = ["os", "arch"]
values = [["a", "x86_64"], ["b", ["x86_64", "aarch64"]]]
[version]
local = "{os}"
inject = { OS = "{os}" }
[library.gpu]
command = "make"
outputs = ["x"]
"""


def test_platforms_that_rows_give_the_wheels() -> None:
    found = plan(base=ROWS)
    assert libraries(found) == ["gpu-manylinux_x86_64", "gpu-manylinux_aarch64"]
    assert needs(found)["cp312-manylinux_aarch64-b"] == ("gpu-manylinux_aarch64",)


def test_platforms_that_includes_give_the_wheels() -> None:
    text = BASE + '[[include]]\narch = "ppc64le"\npython = "cp312"\ncuda = "12.6"\n'
    found = plan('[[library.gpu.exclude]]\nwhen = "arch=ppc64le & cuda=13.0"', base=text)
    assert needs(found)["cp312-manylinux_ppc64le-cu126"] == ("gpu-manylinux_ppc64le-12.6",)


def test_a_library_may_have_platforms_of_its_own() -> None:
    rows = '[[library.gpu.rows]]\naxes = ["os", "arch"]\nvalues = [["b", ["x86_64", "aarch64"]]]'
    found = plan(rows, base=ROWS)
    assert needs(found)["cp312-manylinux_x86_64-a"] == ()
    assert needs(found)["cp312-manylinux_x86_64-b"] == ("gpu-manylinux_x86_64-b",)
    rows = (
        '[[library.gpu.rows]]\naxes = ["arch", "level"]\n'
        'values = [["x86_64", ["v2", "v3"]], ["aarch64", "sve"]]'
    )
    found = plan(rows)
    assert len(libraries(found)) == 6
    assert needs(found)["cp311-manylinux_aarch64-cu126"] == ("gpu-manylinux_aarch64-sve-12.6",)


def test_includes_of_a_library() -> None:
    text = '[[library.gpu.include]]\narch = "x86_64"\ncuda = "13.2"\n'
    assert problem(text) == ("library.gpu", "gpu-manylinux_x86_64-13.2 feeds no wheel")
    assert problem('[[library.gpu.include]]\ncuda = "13.2"') == (
        "library.gpu.include[0]",
        "does not say which arch",
    )
    assert problem('[[library.gpu.include]]\nrocm = "1"') == (
        "library.gpu.include[0].rocm",
        "unknown axis 'rocm'",
    )


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[library.gpu.axes.python]\nvalues = ['cp312']", "library.gpu.axes.python", "a Python"),
        ("[library.gpu.axes.x]\nvalues = ['1']\nlabel = '{y}'", "library.gpu.axes.x.label", "'y'"),
        ("[library.gpu.env]\nA = '{python}'", "library.gpu.env.A", "names 'python'"),
        ("[[library.gpu.exclude]]\nwhen = { x = '1' }", "library.gpu.exclude[0].when.x", "unknown"),
        (
            "[library.b]\ncommand = 'x'\noutputs = ['../y']\nneeds = ['gpuu']",
            "library.b.needs[0]",
            "unknown library 'gpuu'",
        ),
        ("[library.b]\ncommand = 'x'\noutputs = ['/y']", "library.b.outputs[0]", "outside the so"),
        ("[library.b]\ncommand = 'x'\noutputs = ['']", "library.b.outputs[0]", "outside the so"),
        ("[library.b]\ncommand = '{x}'\noutputs = ['y']", "library.b.command", "names 'x'"),
        ("[library.b]\ncommand = 'x'\noutputs = []", "library.b.outputs", "must not be empty"),
        ("[library.cp311]\ncommand = 'x'\noutputs = ['y']", "library.cp311", "two targets have"),
    ],
)
def test_wrong_libraries(text: str, where: str, what: str) -> None:
    base = BASE
    if "cp311" in text:
        base = BASE.replace('cuda = { values = ["12.6", "13.0"], label = "cu{cuda|nodot}" }', "")
        base = base.replace('local = "cu{cuda|nodot}"', "").replace("axes.cuda", "axes.level")
        base = base.replace("{cuda}", "")
    place, message = problem(text, base=base)
    assert place == where
    assert what in message


# Keys


def test_the_keys_of_wheels_change_with_their_libraries_and_only_theirs() -> None:
    before, after = keys(plan(CHAIN)), keys(plan(CHAIN.replace("make base", "make base2")))
    assert before.keys() == after.keys()
    changed = {each for each in before if before[each] != after[each]}
    assert changed == {each for each in before if not each.startswith("gpu")}

    before = keys(plan())
    narrow = plan()
    one = narrow.targets[1]
    assert one.library is not None
    changed_library = replace(one, library=replace(one.library, command="make more"))
    after = keys(replace(narrow, targets=(narrow.targets[0], changed_library, *narrow.targets[2:])))
    assert {each for each in before if before[each] != after[each]} == {
        one.id,
        *("cp311-manylinux_x86_64-cu130", "cp312-manylinux_x86_64-cu130"),
    }


def test_every_library_has_a_key_of_its_own() -> None:
    text = BASE.replace("CUDA={cuda}", "all").replace('axes.cuda = ["12.6", "13.0"]', "")
    found = plan(base=text)
    made = keys(found)
    assert len({made[each] for each in made}) == len(made)


# Selection


def test_selecting_a_wheel_selects_what_it_needs() -> None:
    found = plan(CHAIN)
    chosen = [each.id for each in select(found.targets, ["cp311-manylinux_x86_64-cu126"])]
    assert chosen == [
        "base-manylinux_x86_64",
        "gpu-manylinux_x86_64-12.6",
        "gpu-manylinux_x86_64-13.0",
        "all-manylinux_x86_64",
        "cp311-manylinux_x86_64-cu126",
    ]
    assert [each.id for each in select(found.targets, ["gpu-*-12.6"])] == [
        *("gpu-manylinux_x86_64-12.6", "gpu-manylinux_aarch64-12.6"),
    ]


def test_no_library_is_built_in_two_shards() -> None:
    found = plan()
    parts = [shard(found.targets, f"{number}/4") for number in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [3, 3, 3, 3]
    assert {each.id for part in parts for each in part} == {each.id for each in found.targets}
