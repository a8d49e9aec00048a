"""An axis that changes nothing but the names of wheels is an error without ``label-only``."""

from __future__ import annotations

import re

import pytest

from orchestrator.errors import ConfigError, Problem
from orchestrator.host.program_tables import builtin_table
from orchestrator.models.target import Plan, VersionAnswer, VersionQuestion
from orchestrator.plan.version import VersionContext
from tests.factories import plan_of

BASE = """
axes.python = ["cp311", "cp312"]
axes.arch = ["x86_64"]
"""
KIND = 'axes.kind = ["a", "b"]\nversion.local = "{kind}"\n'
TORCH = """
axes.torch = ["2.12.0"]
axes.cuda = ["cpu", "cu126"]
version.local = "{cuda}"
"""


def plan(text: str, **more: str) -> Plan:
    return plan_of(BASE + text, version="1.0", table=builtin_table(), **more)


def problems(text: str, **more: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        plan(text, **more)
    return caught.value.problems


def renaming(text: str, **more: str) -> list[str]:
    """Return the axes that are said to rename."""
    found = [re.match("axis '(.*)' changes nothing", each.what) for each in problems(text, **more)]
    assert all(found)
    return [each[1] for each in found if each]


def test_the_axis_the_cells_and_what_to_do_are_said() -> None:
    (problem,) = problems(TORCH)

    assert problem.where == "axes.cuda"
    assert problem.what == (
        "axis 'cuda' changes nothing but the name: cp311-manylinux_x86_64-cpu-2.12.0 and "
        "cp311-manylinux_x86_64-cu126-2.12.0 have the same inputs, and 1 more pairs"
    )
    assert problem.hint == (
        "use it for what the build gets, such as indexes.torch = "
        '"https://download.pytorch.org/whl/{cuda}"; or, if the name is all you mean, '
        'axes.cuda = { values = ["cpu", "cu126"], label-only = true }'
    )


NAMES = {
    "nothing else": "",
    "version in a variable": 'env.V = "{version}"',
    "local version in a variable": 'env.V = "+{local}"\nenv.W = "{local}"',
    "what tells the version": 'version.inject = { V = "{version}", L = "{local}", P = "{public}" }',
    "preset": 'version.presets = ["setuptools-scm", "vllm", "flashinfer"]',
    "version in a shell value": 'env.V = { shell = "$(date)-{version}" }',
    "version in a path": 'env.V = "/tmp/{version}"',
    "setting": 'build.config-settings = { version = "{version}", local = "{local}" }',
    "version in a command": 'build.before-build = "echo {version} > version.txt"',
    "test of the version": 'test.command = "python {project}/check.py {version} {local}"',
    "pins": 'version.pins = { kind = "=={kind|nodot}1" }',
    "build tag": 'version.build-tag = "1{kind}"',
    "default without a name": 'version.omit = { kind = "a" }\nversion.inject.V = "{local}"',
    "what is asked of the wheel": (
        '[[override]]\nwhen.kind = "a"\nverify = { size-budget = "1 MB" }\nrunner = "x"\n'
        "publish = { to = [] }\nresources = { cpus = 2 }\nbuild = { timeout = 5 }"
    ),
    "library of equal builds": (
        '[library.core]\naxes.kind = ["a", "b"]\ncommand = "make"\noutputs = ["x"]'
    ),
}


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES)
def test_a_name_is_no_input(text: str) -> None:
    text = text.replace("=={kind|nodot}1", ">=1") if "pins" in text else text
    assert renaming(KIND + text) == ["kind"]


INPUTS = {
    "variable": 'env.K = "{kind}"',
    "what tells the version and more": 'version.inject.K = "{kind}"',
    "variable of some": '[[override]]\nwhen.kind = "a"\nenv = { A = "1" }',
    "shell value": 'env.K = { shell = "$X{kind}" }',
    "requirement": 'build.requires = ["kind-{kind}"]',
    "constraint": 'build.constraints = ["kind-{kind}"]',
    "index": 'indexes.torch = "https://host/{kind}"',
    "index by the local version": 'indexes.torch = "https://host/{local}"',
    "requirement by the version": 'build.requires = ["companion=={version}"]',
    "address by the local version": 'env.PIP_INDEX_URL = "https://host/{local}"',
    "path by the local version": 'env.CUDA_HOME = "/usr/local/{local}"',
    "command by the local version": 'build.before-build = "pip install {local}"',
    "image": 'images.manylinux_x86_64 = "host/image:{kind}"',
    "image of some": '[[override]]\nwhen.kind = "a"\nimage = "x:1"',
    "before-all": 'build.before-all = "make {kind}"',
    "before-build": 'build.before-build = "make {kind}"',
    "repair": 'build.repair = "x {kind} {wheel} {dest_dir}"',
    "setting": 'build.config-settings = { kind = "{kind}" }',
    "test": 'test.command = "check {kind}"',
    "test's requirement": 'test.requires = ["{kind}"]',
    "isolation": '[[override]]\nwhen.kind = "a"\nbuild = { isolation = false }',
    "frontend": '[[override]]\nwhen.kind = "a"\nbuild = { frontend = "uv" }',
    "compiler": '[[override]]\nwhen.kind = "a"\nbuild = { compiler = "zig" }',
    "library": ('[library.core]\naxes.kind = ["a", "b"]\ncommand = "make {kind}"\noutputs = ["x"]'),
    "library of some": '[library.core]\nwhen.kind = "a"\ncommand = "make"\noutputs = ["x"]',
    "library's library": (
        '[library.core]\naxes.kind = ["a", "b"]\ncommand = "make"\noutputs = ["x"]\n'
        'needs = ["base"]\n'
        '[library.base]\naxes.kind = ["a", "b"]\ncommand = "make {kind}"\noutputs = ["x"]'
    ),
}


@pytest.mark.parametrize("text", INPUTS.values(), ids=INPUTS)
def test_an_input_makes_builds_different(text: str) -> None:
    assert len([each for each in plan(KIND + text).targets if each.python]) == 4


def test_a_toolkit_for_each_cuda_is_an_input_unless_torch_must_be_for_it_too() -> None:
    cuda = 'axes.cuda = ["12.6", "13.0"]\nversion.local = "cu{cuda|nodot}"\n'
    torch = 'axes.torch = ["2.12"]\n'

    assert len(plan(cuda).targets) == 4
    assert renaming(cuda + torch) == ["cuda"]
    assert len(plan(cuda + torch + 'build.cuda = "image"').targets) == 4


def test_axes_that_move_together_rename_together() -> None:
    rows = '[[rows]]\naxes = ["kind", "flavour"]\nvalues = [["a", "x"], ["b", "y"]]\n'
    local = 'version.local = "{kind}"\n'

    found = problems(local + rows)
    assert [each.where for each in found] == ["rows[0]", "rows[0]"]
    assert renaming(local + rows) == ["flavour", "kind"]
    assert plan(f"axes.kind.label-only = true\n{local}{rows}").ids
    assert plan(f'env.F = "{{flavour}}"\n{local}{rows}').ids


def test_each_axis_is_judged_by_itself() -> None:
    text = 'axes.other = ["x", "y"]\n' + KIND.replace('"{kind}"', '"{kind}.{other}"')

    assert sorted(renaming(text)) == ["kind", "other"]
    assert renaming(f'{text}env.K = "{{kind}}"') == ["other"]
    meant = text.replace('axes.other = ["x", "y"]', _only("other", "x", "y"))
    assert renaming(meant) == ["kind"]
    assert plan(f'{meant}env.K = "{{kind}}"').ids


def _only(axis: str, *values: str) -> str:
    listed = ", ".join(f'"{value}"' for value in values)
    return f"axes.{axis} = {{ values = [{listed}], label-only = true }}"


def test_an_axis_that_only_some_cells_have() -> None:
    text = """
        axes.device = ["cpu", "gpu"]
        axes.cuda = { values = ["cu126", "cu130"], when = { device = "gpu" } }
        axes.torch = ["2.12"]
        version.local = "{device}.{cuda}"
        """
    assert sorted(renaming(text)) == ["device"]
    meant = text.replace('axes.device = ["cpu", "gpu"]', _only("device", "cpu", "gpu"))
    assert renaming(meant) == ["cuda"]


def test_a_channel_is_judged_with_its_own_axes() -> None:
    text = 'version.local = "x"\n[channel.c]\naxes.kind = ["a", "b"]\nversion.local = "{kind}"\n'

    assert plan(text).ids
    assert renaming(text, channel="c") == ["kind"]
    assert problems(text, channel="c")[0].where == "channel.c.axes.kind"


def test_a_version_that_is_not_known_yet_changes_nothing() -> None:
    text = f'{KIND}version.base = "scm"\nversion.inject.V = "{{version}}"\n'
    answer = VersionAnswer(source="scm", value="2.0")
    outside = VersionContext(answers={VersionQuestion(source="scm"): answer})

    assert renaming(text) == ["kind"]
    assert outside.answers
    assert plan(f'{text}env.K = "{{kind}}"').undetermined


HINTED = {
    "torch": 'axes.torch = ["2.12", "2.13"]\nversion.local = "t{torch}"\n',
    "torch, exactly": 'axes.torch = ["2.12.0", "2.13.0"]\nversion.local = "t{torch}"\n',
    "cuda": 'axes.torch = ["2.12"]\naxes.cuda = ["12.6", "13.0"]\nversion.local = "cu{cuda}"\n',
    "cuda and cpu": TORCH,
    "cuda and cpu, in numbers": TORCH.replace("cu126", "12.6"),
    "kind": KIND,
    "a table": KIND.replace('["a", "b"]', '{ values = ["a", "b"], label = "k{kind}" }'),
    "rows": (
        'version.local = "{kind}"\n'
        '[[rows]]\naxes = ["kind", "flavour"]\nvalues = [["a", "x"], ["b", "y"]]\n'
    ),
}


@pytest.mark.parametrize("text", HINTED.values(), ids=HINTED)
def test_what_the_hint_says_works(text: str) -> None:
    hints = [each.hint for each in problems(text)]
    use, _, _ = hints[0].partition("; or, if the name is all you mean, ")
    used, *override = use.removeprefix("use it for what the build gets, such as ").split(", and ")
    more = ""
    if override:
        setting, value = override[0].split(" in an [[override]] for ")
        key, _, url = setting.partition(" = ")
        more = f'[[override]]\nwhen.cuda = "{value}"\n{key} = {url}\n'
    assert plan(f"{used}\n{text}{more}").ids

    for hint in hints:
        line = hint.partition("; or, if the name is all you mean, ")[2]
        key = line.split(" = ")[0]
        text = "\n".join(each for each in text.splitlines() if not each.startswith(f"{key} = "))
        text = f"{line}\n{text}\n"
    assert plan(text).ids


def test_label_only_has_no_effect_on_what_every_cell_has() -> None:
    with pytest.raises(ConfigError, match="has no effect: every cell has arch") as caught:
        plan_of('axes.python = ["cp312"]\naxes.arch = { values = ["x86_64"], label-only = true }')

    assert caught.value.problems[0].where == "axes.arch.label-only"
