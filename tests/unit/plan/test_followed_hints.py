"""Whoever does what the hint of a failing plan says has a plan: each hint is followed here."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.host.program_tables import builtin_table
from tests.factories import plan_of

AXES = 'axes.python = ["cp312"]\naxes.arch = ["x86_64"]\n'
TORCH = f'{AXES}axes.torch = ["9.9"]\nversion.base = "1"\nversion.local = "torch{{torch}}"'
FOREIGN = AXES.replace("x86_64", "aarch64") + 'version.base = "1"\n'


class Case(NamedTuple):
    """A matrix that fails, the part of the hint that is followed, and the matrix after that."""

    matrix: str
    hint: str
    mended: str


CASES = {
    "no version": Case(
        AXES,
        'base = "1.2.3"',
        f'{AXES}version.base = "1.2.3"',
    ),
    "a base that is no version": Case(
        f'{AXES}version.base = "a.b"',
        "1.2.3, 2.0rc1 or 1!1.0.post1.dev3",
        f'{AXES}version.base = "1!1.0.post1.dev3"',
    ),
    "a torch that the table lacks, left to you": Case(
        TORCH, 'compat.allow = ["torch 9.9"]', f'{TORCH}\ncompat.allow = ["torch 9.9"]'
    ),
    "a torch that the table lacks, without the table": Case(
        TORCH, "compat.torch = false", f"{TORCH}\ncompat.torch = false"
    ),
    "variants of one name": Case(
        f'{AXES}axes.cuda = ["12.6", "13.0"]\nversion.base = "1"\nenv.CUDA = "{{cuda}}"',
        'local = "',
        f'{AXES}axes.cuda = ["12.6", "13.0"]\nversion.base = "1"\nenv.CUDA = "{{cuda}}"\n'
        'version.local = "{cuda}"',
    ),
    "override of nothing": Case(
        f'{AXES}version.base = "1"\n[[override]]\nwhen.python = "cp313"\nenv.A = "1"',
        "did you mean 'cp312'?",
        f'{AXES}version.base = "1"\n[[override]]\nwhen.python = "cp312"\nenv.A = "1"',
    ),
    "unknown image": Case(
        f'{AXES}version.base = "1"\nimages.manylinux_x86_64 = "manylinux_2_99"',
        "aliases: ",
        f'{AXES}version.base = "1"\nimages.manylinux_x86_64 = "manylinux_2_34"',
    ),
    "a glibc that is not the image's": Case(
        f'{FOREIGN}build.baseline = "2.28"\nbuild.compiler = "gcc"',
        'build.compiler = "zig"',
        f'{FOREIGN}build.baseline = "2.28"\nbuild.compiler = "zig"',
    ),
    "zig under QEMU": Case(
        f'{FOREIGN}build.compiler = "zig"\nbuild.emulation = "full"',
        'build.emulation = "accelerated"',
        f'{FOREIGN}build.compiler = "zig"\nbuild.emulation = "accelerated"',
    ),
    "zig under QEMU, by gcc": Case(
        f'{FOREIGN}build.compiler = "zig"\nbuild.emulation = "full"',
        'build.compiler = "gcc"',
        f'{FOREIGN}build.compiler = "gcc"\nbuild.emulation = "full"',
    ),
    "CUDA that the index never had": Case(
        f'{FOREIGN}axes.cuda = ["9.0"]\nversion.local = "{{cuda}}"\nbuild.cuda = "index"',
        'build.cuda = "image" or "host"',
        f'{FOREIGN}axes.cuda = ["9.0"]\nversion.local = "{{cuda}}"\n'
        '[[override]]\nwhen.cuda = "9.0"\nbuild.cuda = "image"',
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_hint_that_is_followed_mends_the_plan(case: Case) -> None:
    table = builtin_table()
    with pytest.raises(OrchestratorError) as caught:
        plan_of(case.matrix, table=table)
    assert case.hint in caught.value.hint

    assert plan_of(case.mended, table=table).targets
