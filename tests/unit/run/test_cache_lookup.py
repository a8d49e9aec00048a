"""Which targets come from the store, and what is looked for at all."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.models.result import BuildResult, CompileReport, FailureKind, Status
from orchestrator.models.target import (
    BackendName,
    CibuildwheelCatalog,
    Digest,
    EmulationMode,
    LibraryStep,
    Target,
    TargetId,
)
from orchestrator.run.cache_key import Action, BuildWay, Place, make_action
from orchestrator.run.cache_lookup import LARGE, possible_ways, restore_results
from orchestrator.run.planned import make_actions, request_for
from orchestrator.run.result_cache import ResultCache
from orchestrator.run.run_dir import RunDirectories
from orchestrator.source.fingerprint import SourceFingerprint
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.result_record import Record
from tests import factories

CONTAINER = BuildWay(BackendName.CIBUILDWHEEL, in_container=True)
HOST = BuildWay(BackendName.DIRECT, in_container=False)


def target(name: str, *needs: str, library: bool = False) -> Target:
    return factories.target(
        name,
        python="" if library else "cp312",
        variant=(("name", name),),
        version=f"1.0+{name}",
        needs=tuple(map(TargetId, needs)),
        library=LibraryStep(name=name, command="make", outputs=("*.so",)) if library else None,
    )


PLAN = (
    target("base", library=True),
    target("core", "base", library=True),
    target("one", "core"),
    target("two", "core"),
    target("alone"),
)


class Machine:
    """Where everything would be built in one and the same place, but for what is not known."""

    def __init__(self, *unknown: str) -> None:
        self.unknown = unknown

    def place(self, what: Target, _way: BuildWay) -> Place | None:
        return None if what.id in self.unknown else {"image": "abc"}


class Shelf:
    """A result cache with some results."""

    def __init__(
        self, *there: str, lost: tuple[str, ...] = (), sizes: Mapping[str, int] | None = None
    ) -> None:
        self.there = there
        self.lost = lost
        self.sizes = sizes or {}
        self.readers: dict[str, str] = {}
        self.asked: list[str] = []
        self.brought: list[str] = []
        self.restored: dict[TargetId, Action] = {}
        self.noted: dict[TargetId, Digest] = {}

    def restore(self, action: Action) -> BuildResult | None:
        what = action.request.target
        self.asked.append(what.id)
        self.readers[what.id] = threading.current_thread().name
        if what.id not in self.there:
            return None
        self.restored[what.id] = action
        size = self.sizes.get(what.id)
        wheel = None if size is None else replace(factories.WHEEL, size=size)
        return factories.result(what.id, key=action.request.key, wheel=wheel, cached=True)

    def restore_outputs(self, action: Action) -> bool:
        self.brought.append(action.request.target.id)
        return action.request.target.id not in self.lost

    def note_last(self, results: dict[TargetId, Digest]) -> None:
        self.noted |= results


def actions(machine: Machine, plan: tuple[Target, ...] = PLAN) -> dict[TargetId, Any]:
    return make_actions(
        plan, lambda _: (CONTAINER,), source=factories.SOURCE, place=machine.place, scope=""
    )


def found(shelf: Shelf, plan: tuple[Target, ...] = PLAN) -> set[str]:
    results = restore_results(plan, actions(Machine(), plan), cast("ResultCache", shelf))
    assert all(each.cached for each in results.values())
    return set(results)


def test_libraries_whose_wheels_are_all_there_are_not_even_looked_for() -> None:
    shelf = Shelf("one", "two", "alone")

    assert found(shelf) == {"base", "core", "one", "two", "alone"}
    assert sorted(shelf.asked) == ["alone", "one", "two"]
    assert shelf.brought == []


def test_a_library_that_a_missing_wheel_needs_is_brought_and_its_own_needs_are_not() -> None:
    shelf = Shelf("base", "core", "one", "alone")

    assert found(shelf) == {"base", "core", "one", "alone"}
    assert shelf.brought == ["core"]


def test_what_was_restored_is_noted_whoever_asks_for_it() -> None:
    """Also in a run's second look, which knows more of the machine; the first run may not have."""
    shelf = Shelf("one", "alone")
    found(shelf)
    assert shelf.noted == {
        each: some[0].address
        for each, some in actions(Machine()).items()
        if each in {"one", "alone"}
    }


def test_small_wheels_are_read_one_after_the_other_and_large_ones_at_once() -> None:
    names = ("a", "b", "c", "d")
    shelf = Shelf(*names, sizes={"a": LARGE - 1, "b": LARGE, "c": LARGE, "d": 1})

    assert found(shelf, tuple(map(target, names))) == set(names)
    here = threading.current_thread().name
    assert [shelf.readers[each] == here for each in names] == [True, True, False, False]


@pytest.mark.parametrize("lost", [(), ("core",)])
def test_what_a_missing_library_needs_is_brought(lost: tuple[str, ...]) -> None:
    there = ("base", *lost)
    shelf = Shelf(*there, "one", "two", lost=lost)
    shelf.there = (*there, "one")

    assert found(shelf) == {"base", "one"}
    assert shelf.brought[-1] == "base"


def test_a_library_that_was_selected_for_itself_is_looked_for() -> None:
    shelf = Shelf("base")

    assert found(shelf, PLAN[:1]) == {"base"}
    assert shelf.asked == ["base"]


def test_what_cannot_be_told_here_has_no_action_nor_has_what_needs_it() -> None:
    assert [name for name, each in actions(Machine("core")).items() if each] == ["base", "alone"]


def test_an_address_changes_with_place_scope_and_libraries_and_a_key_does_not() -> None:
    made = request_for(PLAN[4], factories.SOURCE, CONTAINER, {})
    some = [
        make_action(made, {"image": "abc"}, scope="", needs=()),
        make_action(made, {"image": "def"}, scope="", needs=()),
        make_action(made, {"image": "abc"}, scope="x", needs=()),
        make_action(made, {"image": "abc"}, scope="", needs=(Digest("2" * 64),)),
    ]

    assert len({each.address for each in some}) == 4
    assert {each.request.key for each in some} == {made.key}


KNOWN = CibuildwheelCatalog(
    version="4", identifiers=frozenset({"cp312-manylinux_x86_64"}), aliases={}, default_images={}
)


@pytest.mark.parametrize(
    ("wanted", "has_engine", "expected"),
    [
        (None, True, [CONTAINER]),
        (None, False, [CONTAINER, HOST]),
        (BackendName.DIRECT, True, [HOST]),
        (BackendName.CIBUILDWHEEL, False, [CONTAINER]),
    ],
)
def test_results_of_the_host_are_not_taken_where_an_engine_may_do_it(
    wanted: BackendName | None, *, has_engine: bool, expected: list[Any]
) -> None:
    ways = possible_ways(PLAN[4], KNOWN, wanted=wanted, has_engine=has_engine)

    assert list(ways) == expected


def test_a_foreign_target_asked_of_direct_is_looked_for_where_an_engine_builds_it() -> None:
    arch = Arch.AARCH64 if host_arch() is not Arch.AARCH64 else Arch.X86_64
    away = replace(PLAN[4], arch=arch)

    for has_engine, expected in ((True, [(BackendName.DIRECT, True)]), (False, [HOST])):
        ways = possible_ways(away, KNOWN, wanted=BackendName.DIRECT, has_engine=has_engine)
        assert list(ways) == expected


CROSSED = CompileReport(emulation=EmulationMode.CROSS, compiler="zig", not_run="no engine")


class Interrupted(ResultCache):
    """A tool that has to look at the stored wheel anew gets killed."""

    def _restore_wheel(self, *_: object) -> BuildResult | None:
        raise EnvironmentProblemError.of("twine was killed by signal 9")


def kept(folder: Path) -> tuple[Action, Record, ResultCache]:
    """A store with the result of one target."""
    action = actions(Machine(), (target("alone"),))[TargetId("alone")][0]
    store = Store(local=LocalStore(folder / "store"), warn=print)
    record = Record(
        address=action.address,
        target_id=TargetId("alone"),
        document={},
        sources=None,
        backend=BackendName.DIRECT,
        reason="",
        duration=1.0,
        compiled=CROSSED,
    )
    store.put(record, ())
    cache = Interrupted(
        store=store,
        places=RunDirectories(output=folder, run=folder, logs=folder, rejected=folder),
        identity=cast("SourceFingerprint", None),
        project="demo",
        policies=lambda: pytest.fail("nothing is verified"),
        check=lambda *_: (),
        step=lambda *_: None,
        cancel=Cancel(),
    )
    return action, record, cache


def test_a_tool_killed_over_a_stored_wheel_fails_the_target_and_changes_nothing(
    tmp_path: Path,
) -> None:
    action, record, cache = kept(tmp_path)
    result = cache.restore(action)
    assert result is not None
    assert result.failure is not None
    assert (result.status, result.failure.kind) == (Status.FAILED, FailureKind.ENGINE)
    assert result.compiled == CROSSED, "how it was made is known from the store, too"
    assert cache.store.find(action.address) == record


def test_how_long_the_last_build_took_is_known_whatever_it_was_of(tmp_path: Path) -> None:
    action, record, cache = kept(tmp_path)
    last = {record.target_id: action.address, TargetId("gone"): Digest("0" * 64)}
    cache.note_last(last)

    assert cache.store.durations("demo", [*last, TargetId("never built")]) == {
        record.target_id: 1.0
    }
