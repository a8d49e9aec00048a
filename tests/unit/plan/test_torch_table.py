"""The torch table: what it excludes and why, what it derives, how a file extends it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from orchestrator.cli.workspace import open_workspace
from orchestrator.config.settings import TorchTable
from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builtin_table
from orchestrator.models.platforms import Arch
from orchestrator.models.target import Plan, Target
from orchestrator.plan.selection import select
from orchestrator.plan.torch_table import load_table, normal
from orchestrator.report.explanation import explain
from tests.factories import plan_of, request


@cache
def builtin() -> TorchTable:
    return builtin_table()


def plan(
    torch: str, more: str = "", *, python: str = "cp312", arch: str = "x86_64", libc: str = ""
) -> Plan:
    """A plan for one torch; ``more`` begins inside ``[axes]``."""
    libc = f'libc = ["{libc}"]\n' if libc else ""
    text = f'[axes]\npython = ["{python}"]\narch = ["{arch}"]\n{libc}torch = ["{torch}"]\n{more}'
    return plan_of(text, version="1.0", table=builtin())


def reason(found: Plan) -> str:
    assert found.targets == ()
    (exclusion,) = found.exclusions
    assert exclusion.rule == "compat.torch"
    return exclusion.reason


def only(found: Plan) -> Target:
    (target,) = found.targets
    return target


CUDA = 'cuda = ["{}"]'


@pytest.mark.parametrize(
    ("torch", "cuda", "python", "arch", "why"),
    [
        ("2.8", "12.4", "cp312", "x86_64", "torch 2.8 has no CUDA 12.4 on x86_64: it has 12.6"),
        ("2.7", "12.6", "cp312", "aarch64", "torch 2.7 has no CUDA 12.6 on aarch64: it has 12.8"),
        ("2.6", "12.6", "cp312", "aarch64", "torch 2.6 has no CUDA 12.6 on aarch64: it has none"),
        ("2.8", "12.6", "cp314", "x86_64", "torch 2.8 has no wheel for cp314: it has cp39, cp310"),
        ("2.8", "12.6", "pp311", "x86_64", "torch 2.8 has no wheel for pp311"),
        ("2.8.1", "cu124", "cp312", "x86_64", "torch 2.8 has no CUDA 12.4 on x86_64"),
        ("2.8", "12.6", "cp312", "ppc64le", "torch 2.8 has no CUDA 12.6 on ppc64le"),
        ("2.8", "cpu", "cp312", "i686", "torch 2.8 has no CPU wheel for i686: it has x86_64, aar"),
    ],
)
def test_what_torch_never_published_is_excluded_with_that_reason(
    torch: str, cuda: str, python: str, arch: str, why: str
) -> None:
    assert reason(plan(torch, CUDA.format(cuda), python=python, arch=arch)).startswith(why)


def test_torch_has_no_musllinux_wheels() -> None:
    found = plan("2.8", CUDA.format("12.6"), libc="musllinux")
    assert reason(found) == "torch has no musllinux wheels"
    found = plan("2.8", CUDA.format("12.6"), libc="musllinux_1_2")
    assert reason(found) == "torch has no musllinux wheels"


def test_rocm() -> None:
    assert only(plan("2.8", 'rocm = ["6.4"]')).derived == (("cxx11abi", "1"),)
    assert reason(plan("2.8", 'rocm = ["5.6"]')).startswith("torch 2.8 has no ROCm 5.6 on x86_64")


@pytest.mark.parametrize(
    ("torch", "cuda", "abi"),
    [
        ("2.6", "12.4", "0"),
        ("2.6", "12.6", "1"),
        ("2.6.0", "12.6.3", "1"),
        ("2.6", "cu126", "1"),
        ("2.6", "11.8", "0"),
        ("2.6", "cpu", "0"),
        ("2.5", "12.4", "0"),
        ("2.7", "12.8", "1"),
    ],
)
def test_the_abi_is_a_property_of_the_cell(torch: str, cuda: str, abi: str) -> None:
    assert dict(only(plan(torch, CUDA.format(cuda))).derived)["cxx11abi"] == abi


def test_an_abi_label_cannot_lie() -> None:
    axis = '\ncxx11abi = ["FALSE", "TRUE"]'
    found = plan("2.6", CUDA.format("12.6") + axis)

    assert [dict(each.variant)["cxx11abi"] for each in found.targets] == ["TRUE"]
    assert [each.reason for each in found.exclusions] == ["torch 2.6 with CUDA 12.6 has C++ ABI 1"]
    found = plan("2.6", CUDA.format("12.4") + axis)
    assert [dict(each.variant)["cxx11abi"] for each in found.targets] == ["FALSE"]


def test_rules_templates_and_selections_may_name_what_is_derived() -> None:
    found = plan(
        "2.6",
        'cuda = ["12.4", "12.6"]\n[version]\nlocal = "abi{cxx11abi}"\n'
        '[[override]]\nwhen = { cxx11abi = "1" }\nenv = { NEW = "{cxx11abi}" }\n',
    )

    assert [each.version for each in found.targets] == ["1.0+abi0", "1.0+abi1"]
    told = [{v.name: v.value for v in each.env}.get("NEW") for each in found.targets]
    assert told == [None, "1"]
    chosen = select(found.targets, ["cxx11abi=0"])
    assert [each.version for each in chosen] == ["1.0+abi0"]
    excluded = plan("2.6", 'cuda = ["12.4", "12.6"]\n[[exclude]]\nwhen = "cxx11abi=0"\n')
    assert [each.rule for each in excluded.exclusions] == ["exclude[0]"]


def test_gpu_archs_are_those_of_torch_itself() -> None:
    arm = only(plan("2.12", CUDA.format("13.0"), arch="aarch64"))
    intel = only(plan("2.12", CUDA.format("13.0") + '\n[env]\nL = "{gpu_archs}"'))

    assert "11.0" in dict(arm.derived)["gpu_archs"]
    assert intel.env[0].name == "L"
    assert intel.env[0].value == dict(intel.derived)["gpu_archs"] != dict(arm.derived)["gpu_archs"]


ARCH_LIST = "TORCH_CUDA_ARCH_LIST"


def arch_list(found: Target) -> str | None:
    return {each.name: each.value for each in found.env}.get(ARCH_LIST)


def test_where_the_matrix_is_silent_the_gpus_are_those_of_torch() -> None:
    cuda = CUDA.format("13.0") + "\n"
    target = only(plan("2.12", cuda))

    assert arch_list(target) == "7.5 8.0 8.6 9.0 10.0 12.0+PTX"
    assert [each.origin for each in target.env] == ["compat.torch"]
    rows = {
        what: (value, origin) for what, value, origin in explain(request(target), here=Arch.X86_64)
    }
    assert rows[f"env {ARCH_LIST}"] == ("7.5 8.0 8.6 9.0 10.0 12.0+PTX", "the torch table")
    assert arch_list(only(plan("2.12", CUDA.format("cpu")))) is None
    assert arch_list(only(plan("2.12"))) is None
    for said, value in (('"8.0"', "8.0"), ('""', ""), ('{ shell = "$X" }', "$X")):
        assert arch_list(only(plan("2.12", f"{cuda}[env]\n{ARCH_LIST} = {said}"))) == value
    off = plan("2.12", f"{cuda}[compat]\ntorch = false\n")
    assert arch_list(only(off)) is None


def test_a_stable_abi_is_for_the_gpus_of_the_torch_that_builds() -> None:
    text = '[build]\nstable-abi = { torch = "2.10" }\n'
    found = only(plan('2.10", "2.11', f"{CUDA.format('12.8')}\n{text}"))

    assert arch_list(found) == "7.0 7.5 8.0 8.6 9.0 10.0 12.0"


def test_the_list_alone_does_not_tell_cells_apart() -> None:
    assert len(only(plan('2.10", "2.11', CUDA.format("12.8"))).covers) == 2


def test_it_is_said_which_gpus_are_not_known_and_why() -> None:
    unknown = {"arch": "aarch64"}
    cuda = CUDA.format("12.9") + "\n"
    found = plan("2.8", cuda, **unknown)

    assert arch_list(only(found)) is None
    (note,) = found.notes
    assert note.startswith(f"{ARCH_LIST} is not set for torch 2.8 with CUDA 12.9 on aarch64: ")
    assert "whether the release has it is not known." in note
    assert plan("2.8", f'{cuda}[env]\n{ARCH_LIST} = "9.0"', **unknown).notes == ()
    allowed = '[compat]\nallow = ["torch 2.99", "cuda 12.9"]\n'
    assert "does not have this torch" in plan("2.99", f"{cuda}{allowed}").notes[0]
    assert "does not have its list" in plan("2.12", f"{cuda}{allowed}").notes[0]


def test_a_template_of_the_gpus_is_empty_without_cuda() -> None:
    text = 'cuda = ["cpu", "13.0"]\n[version]\nlocal = "cu{cuda|nodot}"\n[env]\nA = "{gpu_archs}"\n'
    cpu, cuda = plan("2.12", text).targets

    assert [each.name for each in cpu.env] == []
    assert {each.name: each.value for each in cuda.env}["A"] == arch_list(cuda)


def test_the_hint_about_unknown_gpus_works() -> None:
    text = f'{CUDA.format("12.9")}\n[env]\nA = "{{gpu_archs}}"\n'
    with pytest.raises(ConfigError) as caught:
        plan("2.8", text, arch="aarch64")
    (problem,) = caught.value.problems

    assert problem.where == "env.A"
    said = problem.hint.partition("write one in an [[override]] with ")[2]
    assert said == 'when = { torch = "2.8", cuda = "12.9", arch = "aarch64" }'
    followed = only(plan("2.8", f'{text}[[override]]\n{said}\nenv.A = "9.0"', arch="aarch64"))
    assert followed.env[0].value == "9.0"


def test_the_hint_about_a_table_that_does_not_apply_works() -> None:
    text = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\n{}\n[env]\nA = "{{gpu_archs}}"\n'
    for more in ("", 'torch = ["2.12"]\n[compat]\ntorch = false'):
        with pytest.raises(ConfigError) as caught:
            plan_of(text.format(more), table=builtin())
        (problem,) = caught.value.problems
        assert (problem.where, problem.what) == (
            "env.A",
            "gpu_archs comes from the torch table, which does not apply",
        )
        assert problem.hint == "it needs an axis torch, and a compat.torch that is not false"
    assert plan_of(text.format('torch = ["2.12"]'), version="1", table=builtin()).targets


@pytest.mark.parametrize(
    ("torch", "cuda", "where", "what", "hint"),
    [
        ("2.99", "12.6", "axes.torch[0]", "does not know torch 2.99", 'allow = ["torch 2.99"]'),
        ("2.8", "12.66", "axes.cuda[0]", "does not know cuda 12.66", "did you mean '12.6'?"),
        ("2.8.O", "12.6", "axes.torch[0]", "'2.8.O' is not a version of torch", "mean '2.8'?"),
        ("2.8rc", "12.6.x", "axes.cuda[0]", "'12.6.x' is not a version of cuda", "mean '12.6'?"),
        ("2.8", "gpu", "axes.cuda[0]", "does not know cuda gpu", 'allow = ["cuda gpu"]'),
    ],
)
def test_an_unknown_version_is_an_error(
    torch: str, cuda: str, where: str, what: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(torch, CUDA.format(cuda))

    (problem,) = caught.value.problems
    assert problem.where == where
    assert what in problem.what
    assert hint in problem.hint


def test_an_unknown_version_may_be_allowed_by_name() -> None:
    found = only(plan("2.99.1", CUDA.format("12.6") + '\n[compat]\nallow = ["torch 2.99.1"]'))
    assert found.derived == ()
    assert only(plan("2.8", CUDA.format("13.9") + '\n[compat]\nallow = ["cuda 13.9"]')).derived


@pytest.mark.parametrize("entry", ["2.99", "torch2.99", "toch 2.99", "torch  2.99"])
def test_an_allowance_that_could_mean_nothing_is_refused(entry: str) -> None:
    with pytest.raises(
        ConfigError, match=r"compat\.allow\[0\]: .* not a version of torch, cuda or"
    ):
        plan("2.8", CUDA.format("12.6") + f'\n[compat]\nallow = ["{entry}"]')


RELEASE = """
[[compat.releases]]
torch = ["2.99.0", "2.8"]
python = ["cp312"]
cuda = { x86_64 = ["14.0"] }
abi = { "14.0" = "2", "*" = "1" }
"""


def test_releases_of_the_file_lie_over_the_table() -> None:
    assert dict(only(plan("2.99", CUDA.format("14.0") + RELEASE)).derived) == {"cxx11abi": "2"}
    assert "it has 14.0" in reason(plan("2.8", CUDA.format("12.6") + RELEASE))
    assert only(plan("2.7", CUDA.format("12.6") + RELEASE)).derived


def test_architectures_that_are_spelled_wrong() -> None:
    wrong = RELEASE.replace("x86_64", "x86-64") + 'cpu = ["x86_64", "arm"]\n'
    with pytest.raises(ConfigError) as caught:
        plan("2.99", CUDA.format("14.0") + wrong)

    assert [(each.where, each.what) for each in caught.value.problems] == [
        ("compat.releases[0].cpu[1]", "unknown arch 'arm'"),
        ("compat.releases[0].cuda.x86-64", "unknown arch 'x86-64'"),
    ]


def test_the_table_can_be_turned_off() -> None:
    found = plan("0.1", CUDA.format("99.9") + "\n[compat]\ntorch = false")
    assert only(found).derived == ()
    with pytest.raises(ConfigError, match="unknown axis 'cxx11abi'"):
        plan("2.8", '[compat]\ntorch = false\n[[exclude]]\nwhen = { cxx11abi = "1" }')


def test_without_an_axis_torch_there_is_nothing_to_judge() -> None:
    text = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\ncuda = ["99.9"]'
    found = plan_of(text, version="1.0", table=builtin())
    assert only(found).derived == ()


def test_a_rule_of_the_file_comes_before_the_table() -> None:
    found = plan("2.8", CUDA.format("12.4") + '\n[[exclude]]\nwhen = { cuda = "12.4" }')
    assert [each.rule for each in found.exclusions] == ["exclude[0]"]


def test_a_cell_without_torch_is_not_judged() -> None:
    text = (
        '[axes]\npython = ["cp312"]\narch = ["i686"]\nkind = ["gpu", "plain"]\n'
        '[axes.torch]\nvalues = ["2.8"]\nwhen = { kind = "gpu" }'
    )
    found = plan_of(text, version="1.0", table=builtin())
    assert only(found).id == "cp312-manylinux_i686-plain"


def test_an_included_cell_must_be_possible_too() -> None:
    include = '\n[[include]]\ncuda = "12.4"\ntorch = "2.8"\n'
    with pytest.raises(ConfigError) as caught:
        plan("2.8", CUDA.format("12.6") + include)

    (problem,) = caught.value.problems
    assert problem.where == "include[0]"
    assert "which cannot be: torch 2.8 has no CUDA 12.4 on x86_64" in problem.what


# The stable ABI and torch


def test_a_wheel_for_the_stable_abi_is_built_with_the_lowest_python_that_torch_has() -> None:
    found = only(plan("2.9", CUDA.format("12.6"), python="abi3-cp39"))

    assert (found.python, found.abi3) == ("cp310", "cp39")
    assert found.id == "abi3-cp39-manylinux_x86_64-12.6-2.9"


def test_and_tested_on_the_pythons_that_torch_has_as_well() -> None:
    assert only(plan("2.6", CUDA.format("12.6"), python="abi3-cp39")).test_pythons == (
        *("cp310", "cp311", "cp312", "cp313"),
    )
    newer = only(plan("2.9", CUDA.format("12.6"), python="abi3-cp39"))
    assert newer.test_pythons == ("cp311", "cp312", "cp313", "cp314")


def test_a_stable_abi_that_is_too_new_for_torch() -> None:
    assert "has no wheel for abi3-cp314" in reason(
        plan("2.6", CUDA.format("12.6"), python="abi3-cp314")
    )


# A table of one's own


def test_a_file_replaces_the_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\nversion = "1"\n', "utf-8")
    (tmp_path / "mine.toml").write_text(
        '[[torch.releases]]\ntorch = ["9.9"]\npython = ["cp312"]\ncpu = ["x86_64"]\n', "utf-8"
    )
    matrix = tmp_path / "matrix.toml"
    text = '[axes]\npython = ["cp312"]\narch = ["x86_64"]\ntorch = ["{}"]\n[compat]\nfile = "{}"\n'

    matrix.write_text(text.format("9.9", "mine.toml"), "utf-8")
    assert only(open_workspace(matrix).plan).id == "cp312-manylinux_x86_64-9.9"
    matrix.write_text(text.format("2.8", "mine.toml"), "utf-8")
    with pytest.raises(ConfigError, match=r"does not know torch 2\.8"):
        open_workspace(matrix)
    matrix.write_text(text.format("9.9", "gone.toml"), "utf-8")
    with pytest.raises(ConfigError, match=r"matrix\.toml:6: compat\.file: .*gone\.toml: No such"):
        open_workspace(matrix)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x =", "here:1:4: not valid TOML"),
        (b"\xff", "here: not valid TOML"),
        (
            b"[[torch.releases]]\npython = ['cp312']",
            r"here: torch\.releases\[0\]\.torch: is missing",
        ),
        (b"[torch]\nrelease = 1", r"here: torch\.release: unknown key"),
    ],
)
def test_a_wrong_table(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_table(data, where="here")


@pytest.mark.parametrize(
    ("value", "version"),
    [
        *[("12.6.3", "12.6"), ("12.6", "12.6"), ("cu126", "12.6"), ("cu130", "13.0")],
        *[("rocm64", "6.4"), ("2.10.0", "2.10"), ("cpu", "cpu"), ("nightly", "nightly")],
    ],
)
def test_versions_are_compared_by_series(value: str, version: str) -> None:
    assert normal(value) == version
