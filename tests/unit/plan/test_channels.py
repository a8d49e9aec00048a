"""Channels: what each narrows, widens and changes, and that nothing leaks."""

from __future__ import annotations

import pytest

from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Plan, Target
from tests.factories import plan_of

BASE = """
[axes]
python = ["cp311", "cp312"]
arch = ["x86_64", "aarch64"]
cuda = { values = ["12.6", "13.0"], label = "cu{cuda|nodot}" }
[version]
local = "cu{cuda|nodot}"
"""


def plan(text: str, channel: str = "", *, base: str = BASE) -> Plan:
    return plan_of(base + text, version="1", channel=channel)


def ids(text: str, channel: str = "", *, base: str = BASE) -> set[str]:
    return {each.id for each in plan(text, channel, base=base).targets}


def problem(text: str, channel: str = "c", *, base: str = BASE) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        plan(text, channel, base=base)
    (found,) = caught.value.problems
    return found.where, found.what


def env(target: Target) -> dict[str, str]:
    return {each.name: each.value for each in target.env}


WHOLE = ids("")


def test_without_a_channel_channels_mean_nothing() -> None:
    text = '[channel.c]\naxes = { cuda = ["13.2"] }\nenv = { A = "1" }\nversion = { base = "9" }'
    assert plan(text).targets == plan("").targets
    assert plan(text).channel == ""
    assert plan(text, "c").channel == "c"


def test_a_channel_narrows() -> None:
    assert ids('[channel.c.axes]\ncuda = ["13.0"]\npython = ["cp312"]', "c") == {
        *("cp312-manylinux_x86_64-cu130", "cp312-manylinux_aarch64-cu130"),
    }


def test_a_channel_widens() -> None:
    found = ids('[channel.c.axes]\ncuda = ["12.6", "13.0", "13.2"]\nextra = ["1"]', "c")
    assert len(found) == 12
    assert "cp312-manylinux_x86_64-cu132-1" in found


def test_a_label_or_presence_alone_leaves_the_values() -> None:
    text = '[channel.c.axes.cuda]\nlabel = "CUDA{cuda}"'
    assert "cp312-manylinux_x86_64-CUDA13.0" in ids(text, "c")
    text = '[channel.c.axes.cuda]\nwhen = { arch = "x86_64" }\n'
    text += '[channel.c.version]\nlocal = "x{python}"\n'
    assert "cp312-manylinux_aarch64" in ids(text, "c")


def test_a_channel_adds_excludes_includes_and_overrides_after_those_of_the_file() -> None:
    text = """
    [[override]]
    when = { cuda = "13.0" }
    env = { A = "file", B = "file" }
    [channel.c]
    env = { A = "channel's table", C = "channel's table" }
    [[channel.c.override]]
    when = { python = "cp312" }
    env = { B = "channel" }
    [[channel.c.exclude]]
    when = { arch = "aarch64" }
    [[channel.c.include]]
    python = "cp313"
    arch = "x86_64"
    cuda = "13.0"
    """
    found = plan(text, "c")

    assert [each.id for each in found.targets if each.python == "cp313"] == [
        "cp313-manylinux_x86_64-cu130"
    ]
    assert {each.rule for each in found.exclusions} == {"channel.c.exclude[0]"}
    target = next(each for each in found.targets if each.id == "cp312-manylinux_x86_64-cu130")
    assert {each.name: (each.value, each.origin) for each in target.env} == {
        "A": ("file", "override[0].env"),
        "B": ("channel", "channel.c.override[0].env"),
        "C": ("channel's table", "channel.c.env"),
    }


def test_a_channel_changes_version_parts_one_by_one() -> None:
    text = (
        '[channel.nightly.version]\nbase = "2.0.dev20260101"\n[channel.release.version]\nlocal = ""'
    )
    nightly = {each.version for each in plan(text, "nightly").targets}
    assert nightly == {"2.0.dev20260101+cu126", "2.0.dev20260101+cu130"}
    text += '\nbuild-tag = "1{cuda|nodot}"'
    release = {(each.version, each.build_tag) for each in plan(text, "release").targets}
    assert release == {("1", "1126"), ("1", "1130")}


def test_a_channel_changes_images_steps_and_resources() -> None:
    text = """
    [images]
    manylinux_x86_64 = "file:1"
    manylinux_aarch64 = "file:2"
    [build]
    before-all = "file"
    timeout = 5
    [channel.c]
    images = { manylinux_x86_64 = "channel:{cuda}" }
    build = { before-all = "channel" }
    resources = { memory = "1 GiB" }
    test = { command = "t" }
    """
    found = {each.arch: each for each in plan(text, "c").targets}

    assert found[Arch.X86_64].image == "channel:13.0"
    assert found[Arch.AARCH64].image == "file:2"
    steps = found[Arch.X86_64].steps
    assert (steps.before_all, steps.timeout, steps.test_command) == ("channel", 5, "t")
    assert found[Arch.X86_64].resources.memory == "1073741824b"
    origins = dict(found[Arch.X86_64].origins)
    assert origins["build.before-all"] == "channel.c.build.before-all"
    assert origins["build.timeout"] == "build.timeout"
    assert origins["image"] == "channel.c.images.manylinux_x86_64"


def test_nothing_leaks_from_one_channel_into_another() -> None:
    one = """
    [channel.one]
    axes = { cuda = ["13.2"], only = ["1"] }
    env = { ONE = "1" }
    images = { manylinux_x86_64 = "one:1" }
    build = { before-all = "one" }
    version = { base = "1.1" }
    [[channel.one.exclude]]
    when = { python = "cp311" }
    [[channel.one.override]]
    when = { cuda = "13.2" }
    runner = "one"
    """
    other = '[channel.other]\nenv = { OTHER = "{cuda}" }\n'

    assert plan(one + other, "other") == plan(other, "other")
    assert plan(other + one, "one") == plan(one, "one")
    assert plan(one + other).targets == plan("").targets
    assert {each.name for t in plan(one + other, "other").targets for each in t.env} == {"OTHER"}


# Rows

ROWS = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
[[rows]]
axes = ["cuda", "gcc"]
values = [["12.6", "11"], ["13.0", "13"]]
[version]
local = "cu{cuda|nodot}"
"""


def test_the_rows_of_a_channel_replace_those_of_the_file_over_the_same_axes() -> None:
    text = '[[channel.c.rows]]\naxes = ["cuda", "gcc"]\nvalues = [["13.2", "14"]]'
    assert ids(text, "c", base=ROWS) == {"cp312-manylinux_x86_64-13.2-14"}
    assert len(ids(text, base=ROWS)) == 2


def test_rows_of_a_channel_may_take_axes_of_the_file_along() -> None:
    text = (
        '[[channel.c.rows]]\naxes = ["python", "cuda", "gcc"]\n'
        'values = [["cp311", "13.2", "14"], ["cp312", "13.3", "14"]]'
    )
    assert ids(text, "c", base=ROWS) == {
        *("cp311-manylinux_x86_64-13.2-14", "cp312-manylinux_x86_64-13.3-14"),
    }


def test_rows_that_leave_an_axis_of_the_file_without_values() -> None:
    text = '[[channel.c.rows]]\naxes = ["cuda", "os"]\nvalues = [["13.2", "a"]]'
    assert problem(text, base=ROWS) == (
        "channel.c.rows",
        "nothing gives gcc values: these rows stand for rows[0]",
    )
    text += '\n[channel.c.axes]\ngcc = ["14"]'
    assert ids(text, "c", base=ROWS) == {"cp312-manylinux_x86_64-13.2-a-14"}


def test_an_axis_that_moves_with_others_cannot_be_narrowed_alone() -> None:
    where, what = problem('[channel.c.axes]\ncuda = ["13.0"]', base=ROWS)
    assert where == "channel.c.axes.cuda"
    assert "moves together with other axes in rows[0]" in what


# Which rules must match

FILE_RULE = '[[exclude]]\nwhen = { cuda = "13.0", python = "cp311" }\n'
CHANNEL = '[channel.c.axes]\ncuda = ["12.6"]\n'


def test_a_rule_of_the_file_may_match_nothing_in_a_channel() -> None:
    assert len(ids(FILE_RULE + CHANNEL, "c")) == 4
    assert len(ids(FILE_RULE + CHANNEL)) == 6


def test_but_is_judged_without_one() -> None:
    rule = FILE_RULE.replace("13.0", "13.2")
    text = rule + '[channel.c.axes]\ncuda = ["13.2"]\n'
    assert problem(text, "")[0] == "exclude[0].when.cuda"
    assert len(ids(text, "c")) == 2


def test_a_rule_of_the_channel_is_judged_in_it_and_only_there() -> None:
    text = '[channel.c.axes]\ncuda = ["12.6"]\n[[channel.c.exclude]]\nwhen = { cuda = "13.0" }'
    assert problem(text)[0] == "channel.c.exclude[0].when.cuda"
    assert ids(text) == WHOLE
    text = "[channel.d]\nenv = {}\n" + text
    assert ids(text, "d") == WHOLE
    optional = f"{text}\noptional = true"
    assert len(ids(optional, "c")) == 4


def test_an_axis_of_some_cells_may_be_for_none_in_a_channel() -> None:
    base = """
    [axes]
    python = ["cp312"]
    arch = ["x86_64"]
    device = ["gpu", "cpu"]
    cuda = { values = ["12.6"], when = { device = "gpu" } }
    [[rows]]
    axes = ["gcc", "os"]
    values = [["11", "a"]]
    when = "device=gpu"
    [version]
    local = "{device}"
    [channel.c.axes]
    device = ["cpu"]
    """
    assert ids("", "c", base=base) == {"cp312-manylinux_x86_64-cpu"}
    assert len(ids("", base=base)) == 2


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "--channel", "unknown channel 'c'"),
        ('["channel"."a b"]', "channel.a b", "'a b' cannot name a channel"),
        ("[channel.c]\nproject = {}", "channel.c.project", "unknown key 'project'"),
        ('[channel.c.axes]\narch = ["x86"]', "channel.c.axes.arch[0]", "unknown arch 'x86'"),
        (
            '[[channel.c.exclude]]\nwhen = { cud = "1" }',
            "channel.c.exclude[0].when.cud",
            "unknown axis 'cud'",
        ),
        ('[channel.c.version]\nlocal = "{cud}"', "channel.c.version.local", "names 'cud'"),
        (
            '[channel.c.images]\nmanylinux_s390x = "x:1"',
            "channel.c.images.manylinux_s390x",
            "has no effect: no cell is for manylinux_s390x",
        ),
    ],
)
def test_wrong_channels(text: str, where: str, what: str) -> None:
    place, message = problem(text)
    assert place == where
    assert what in message


def test_the_closest_channel_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        plan("[channel.nightly]\nenv = {}", "nigthly")
    assert caught.value.problems[0].hint == "did you mean 'nightly'?"
