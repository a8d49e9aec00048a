"""What small wheels cost, counted in instructions of the interpreter and bytes."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadWheelError, ExitCode
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.wheel import archive as archives
from orchestrator.wheel import budget, compare, elf, open_wheel, report, verify
from orchestrator.wheel.budget import Budget, OverBudgetError
from tests.auditor import load_policies
from tests.hostile_wheels import (
    LINEAR,
    PRODUCTS,
    STRSZ,
    STRTAB,
    VERNEED,
    VERNEEDNUM,
    Make,
    deep_names,
    overlapping_names,
    raw_elf,
    unlisted_members,
    work,
)
from tests.rawzip import MIB, Entry, write
from tests.unit.wheel.conftest import EXPECTED
from tests.wheelmaker import WheelSpec

POLICIES = load_policies()
Use = Callable[[Path], object]


def verified(path: Path) -> object:
    return verify(path, POLICIES)


def growth(cost: Callable[[int], int], n: int) -> float:
    """Return how many times more the second doubling costs than the first; constants do not count.

    2 is linear, 4 the square.
    """
    one, two, four = (cost(n * factor) for factor in (1, 2, 4))
    return (four - two) / (two - one)


@pytest.mark.parametrize("make", LINEAR)
@pytest.mark.parametrize("use", [verified, lambda path: report(path, POLICIES)])
def test_work_grows_with_the_file(tmp_path: Path, make: Make, use: Use) -> None:
    def cost(n: int) -> int:
        path = make(tmp_path / str(n), n)
        return work(lambda: use(path))

    if cost(20) != cost(40):  # `report` does not look at everything
        assert growth(cost, 40) < 2.6


@pytest.fixture
def budgets(monkeypatch: pytest.MonkeyPatch) -> list[Budget]:
    made: list[Budget] = []

    def make(wheel: str, size: int) -> Budget:
        made.append(Budget(wheel, size))
        return made[-1]

    monkeypatch.setattr(archives, "Budget", make)
    return made


@pytest.mark.parametrize("make", PRODUCTS)
def test_every_loop_draws_on_the_budget(
    tmp_path: Path, make: Make, budgets: list[Budget], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work for each step that is counted does not grow with what a wheel multiplies."""
    monkeypatch.setattr(budget, "STEPS", 1 << 40)
    monkeypatch.setattr(budget, "READ", 1 << 50)
    steps: list[int] = []
    instructions: list[int] = []
    verified(make(tmp_path / "first", 5))  # what is read once, such as tables
    for n in (20, 40, 80):
        path = make(tmp_path / str(n), n)
        instructions.append(work(lambda path=path: verified(path)))  # type: ignore[misc]
        # What is read counts as well: blocks of it are steps of no other loop.
        steps.append(budgets[-1].steps + budgets[-1].read // 4096)
    first, second = (
        (instructions[i + 1] - instructions[i]) / (steps[i + 1] - steps[i]) for i in (0, 1)
    )
    assert second <= 1.3 * first
    assert second < 300


@pytest.mark.parametrize("make", PRODUCTS)
def test_a_budget_that_is_used_up_is_one_message(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path, 60)
    verify(path, POLICIES)
    monkeypatch.setattr(budget, "STEPS", 500)
    monkeypatch.setattr(budget, "STEP_BYTES", 1 << 30)
    monkeypatch.setattr(budget, "READ", 1 << 16)
    instructions = work(lambda: refused(path))
    assert instructions < 300_000
    assert list(tmp_path.iterdir()) == [path]


def refused(path: Path) -> str:
    with pytest.raises(OverBudgetError) as caught:
        verify(path, POLICIES)
    (problem,) = caught.value.problems
    assert (problem.where, caught.value.exit_code) == (path.name, ExitCode.BAD_WHEEL)
    assert problem.what.startswith(("it takes more than ", "more than 20000 findings"))
    assert problem.hint
    return problem.what


LARGE = {
    "empty_run_paths": 1200,
    "overlapping_names": 700,
    "repeated_functions": 3000,
    "scattered_version_needs": 1600,
    "segments_of_many_files": 350,
    "tags_and_modules": 700,
}
"""How far some kinds have to be multiplied; 250 is enough for the others."""


@pytest.mark.parametrize("make", PRODUCTS)
def test_small_wheels_that_multiply_are_refused(
    tmp_path: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tenth of the budget that they have."""
    monkeypatch.setattr(budget, "STEPS", budget.STEPS // 10)
    monkeypatch.setattr(budget, "READ", budget.READ // 10)
    path = make(tmp_path, LARGE.get(make.__name__, 250))
    assert path.stat().st_size < MIB
    refused(path)


def test_names_cost_what_they_are_long(tmp_path: Path) -> None:
    """A file below 2,000 directories does not become 2,000 names."""

    path = deep_names(tmp_path, 2000)
    tracemalloc.start()
    try:
        open_wheel(path).close()
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", [b"a/" * 32_000 + b"x", b"a/" * 2048 + b"x", b"demo/" + b"x" * 256]
)
def test_names_that_no_file_system_takes_are_refused(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / WheelSpec().filename
    path.write_bytes(write([Entry(name=b"demo-1.0.dist-info/WHEEL"), Entry(name=name)]))
    with pytest.raises(BadWheelError, match="too long for file systems"):
        verify(path, POLICIES)


class Searched(bytearray):
    """Bytes that count how many of them are searched."""

    searched = 0

    def find(self, what: Any, start: Any = 0, end: Any = None, /) -> int:
        at = super().find(what, start, end)
        Searched.searched += (len(self) if at < 0 else at) - start
        return at

    def rfind(self, what: Any, start: Any = 0, end: Any = None, /) -> int:
        at = super().rfind(what, start, end)
        Searched.searched += len(self) - max(at, 0)
        return at


class SearchedSource:
    """An ELF file whose tables count how many of their bytes are searched."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        Searched.searched = 0

    def read(self, offset: int, size: int) -> bytearray:
        return Searched(self._data[offset : offset + size])


def test_overlapping_names_are_not_all_searched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their number times their length can be terabytes."""
    with open_wheel(overlapping_names(tmp_path, 2000)) as archive:
        data = archive.read("demo/x.so")

    monkeypatch.setattr(elf, "_MAX_NAME_BYTES", 1 << 16)
    with pytest.raises(elf.MalformedElfError, match="bytes of names"):
        elf.parse(SearchedSource(data))
    assert Searched.searched < 1 << 18


def test_the_end_of_the_names_is_looked_for_once() -> None:
    """A table of names has one long name at its end, which nothing needs, and many libraries."""
    names, count = b"\0libc.so.6\0GLIBC_2.5\0" + b"x" * (1 << 18), 1000
    need = struct.pack("<HHIII", 1, 0, 1, 0, 16) * count
    dynamic = [(STRTAB, 1 << 15), (STRSZ, len(names)), (VERNEED, 1024), (VERNEEDNUM, count)]
    data = raw_elf(dynamic, {1024: need, 1 << 15: names})
    assert len(elf.parse(SearchedSource(data)).versions) == count
    assert Searched.searched < 1 << 20


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 127, 128, 5000, 100_000])
def test_a_long_hash_chain_is_read_to_its_end(order: str, count: int) -> None:
    at = 1 << 12
    words = [2] * (count - 1) + [3]
    table = struct.pack(f"{order}IIIIQI", 1, 1, 1, 0, 0, 1) + struct.pack(
        f"{order}{count}I", *words
    )
    data = raw_elf([], {at: table})
    image = elf._Image(elf.ElfBytes(data), lambda *_: None)
    dynamic = elf._Dynamic(image, image.header(), ())
    image.order = order
    assert work(lambda: dynamic._count_by_gnu_hash(at)) < 3000
    assert dynamic._count_by_gnu_hash(at) == count + 1


def test_the_difference_of_two_texts_takes_time_that_grows_with_them(tmp_path: Path) -> None:
    def cost(n: int) -> int:
        lines = [f"line {number}" for number in range(n)]
        paths = [
            WheelSpec(members={"demo/t.txt": "\n".join(text).encode()}).write(
                tmp_path / f"{n}{name}"
            )
            for name, text in (("a", lines), ("b", [*lines[1::2], "x", *lines[::2]]))
        ]
        return work(lambda: compare(*paths))

    assert growth(cost, 200) < 2.6


def test_a_plan_is_compared_with_many_tags_at_once(tmp_path: Path) -> None:
    """The tags that a Python accepts are listed once, not for each tag of the wheel."""

    def cost(n: int) -> int:
        tags = ".".join(f"x{number}" for number in range(n))
        path = WheelSpec(python=tags, abi=tags).write(tmp_path / str(n))
        return work(lambda: verify(path, POLICIES, expected=EXPECTED))

    cost(1)
    assert cost(20) - cost(10) < 300 * 2000


def test_more_findings_than_are_of_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = unlisted_members(tmp_path, 100)
    found = verify(path, POLICIES).problems
    monkeypatch.setattr(budget, "FINDINGS", len(found))
    assert verify(path, POLICIES).problems == found
    monkeypatch.setattr(budget, "FINDINGS", len(found) - 1)
    with pytest.raises(OverBudgetError, match=r"more than 202 findings, such as record-.*: RECORD"):
        verify(path, POLICIES)
    # What nobody wants to know does not count.
    quiet = VerifyPolicy(levels=(("record-missing", RuleLevel.OFF),))
    assert len(verify(path, POLICIES, demands=quiet).problems) < len(found) - 50


def test_code_that_expects_broken_parts_does_not_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bill that cannot be read is a finding; one that uses the budget up is not."""
    bill = b'{"bomFormat": "CycloneDX", "a": [' + b"0," * 4000 + b"0]}"
    path = WheelSpec(extra_info={"sboms/a.cdx.json": bill, "LICENSE": b""}).write(tmp_path)
    monkeypatch.setattr(budget, "STEPS", 400)
    assert "sboms/a.cdx.json" in refused(path)


def test_two_threads_count_together(tmp_path: Path, budgets: list[Budget]) -> None:
    members = {f"x{number}": bytes(number + (1 << 19)) for number in range(6)}
    path = WheelSpec(members=members).write(tmp_path)
    counts = []
    for _ in range(3):
        verify(path, POLICIES)
        counts.append((budgets[-1].steps, budgets[-1].read))
    assert len(set(counts)) == 1
