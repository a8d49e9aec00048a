"""One target's way to ``dist/``, with a backend that can be made to fail in every way.

The wheels are real: built here byte by byte, and rewritten and verified by the real code.
"""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from orchestrator.builders.base import BuildContext, Outcome
from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import install_file
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import (
    BackendName,
    Digest,
    EnvVar,
    OnMismatch,
    OnRefusal,
    RuleLevel,
    Source,
    Target,
    TargetId,
    TargetSteps,
    VerifyPolicy,
    VersionAnswer,
    VersionPart,
)
from orchestrator.models.wheel import Finding, Severity, WheelReport
from orchestrator.plan.plan import make_request
from orchestrator.run.backends import Assignment
from orchestrator.run.result_cache import ResultCache
from orchestrator.run.run_dir import RunDirectories
from orchestrator.run.worker import Worker
from orchestrator.source.fingerprint import SourceFingerprint
from orchestrator.source.stage import StagedSource
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.wheel import Policies
from tests import factories
from tests.auditor import load_policies
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

FINAL = "demo-1.0-cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
EXTENSION = "demo/_ext.cpython-312-x86_64-linux-gnu.so"
GLIBC = {"libc.so.6": {"GLIBC_2.2.5": ("malloc",), "GLIBC_2.14": ("memcpy",)}}

TARGET = factories.target(
    "cp312-manylinux_x86_64-cpu",
    variant=(("device", "cpu"),),
    env=(EnvVar(name="BUILD_VERSION", value="1.0", origin="version.inject"),),
    runner=("ubuntu-24.04",),
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def elf(**changes: Any) -> bytes:
    return make_elf(ElfSpec(**{"versions": GLIBC, "defined": ("PyInit__ext",), **changes}))


def wheel(**changes: Any) -> WheelSpec:
    """What a build leaves behind: an honest version, and a platform tag that says nothing."""
    members = {"demo/__init__.py": b"", EXTENSION: elf()}
    return WheelSpec(**{"platform": "linux_x86_64", "members": members, **changes})


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A backend whose build is a function."""

    act: Callable[[BuildContext], Outcome]
    name: BackendName = BackendName.DIRECT

    def build(self, job: BuildContext) -> Outcome:
        return self.act(job)


def makes(spec: WheelSpec) -> Callable[[BuildContext], Outcome]:
    def act(job: BuildContext) -> Outcome:
        job.step("build")
        job.log("compiling")
        return spec.write(job.scratch / "out")

    return act


def raises(error: Exception) -> Callable[[BuildContext], Outcome]:
    def act(job: BuildContext) -> Outcome:
        raise error

    return act


@dataclass
class Shop:
    """A worker in a directory of its own."""

    root: Path
    policies: Policies
    found: tuple[Finding, ...] = ()
    checked: list[str] = field(default_factory=list)
    steps: list[tuple[TargetId, str]] = field(default_factory=list)
    cancel: Cancel = field(default_factory=Cancel)

    def __post_init__(self) -> None:
        self.places = RunDirectories(
            output=self.root / "dist",
            run=self.root / "work" / "runs" / "1",
            logs=self.root / "work" / "logs",
            rejected=self.root / "work" / "rejected",
        )
        staged = self.root / "staged"
        (staged / "pkg").mkdir(parents=True)
        (staged / "pkg" / "a.c").write_text("int a;", encoding="utf-8")
        for folder in (self.places.run, self.places.logs, self.places.output):
            folder.mkdir(parents=True)
        self.source = Source(name="demo", version="1.0", digest=Digest("0" * 64), epoch=1)
        self.worker = Worker(
            staged=StagedSource(root=staged, source=self.source),
            cache=ResultCache(
                store=Store(local=LocalStore(self.root / "store"), warn=print),
                places=self.places,
                identity=SourceFingerprint(source=self.source, files=()),
                project="",
                policies=lambda: self.policies,
                check=self.check,
                step=lambda target, name: self.steps.append((target, name)),
                cancel=self.cancel,
            ),
        )

    def check(
        self, wheel: Path, demands: VerifyPolicy, log: Callable[[str], object]
    ) -> tuple[Finding, ...]:
        """Stand in for the tools of the toolchain."""
        self.checked.append(wheel.name)
        return self.found

    def execute(
        self,
        act: Callable[[BuildContext], Outcome] | WheelSpec,
        target: Target = TARGET,
        attempt: int = 1,
        parallel: dict[str, str] | None = None,
    ) -> BuildResult:
        build = makes(act) if isinstance(act, WheelSpec) else act
        request = make_request(
            target,
            source=self.source,
            backend=BackendName.DIRECT,
            toolchain=Digest("1" * 64),
            builder="0",
        )
        assignment = Assignment(
            request=request, backend=Backend(act=build), reason="a test", parallel=parallel or {}
        )
        return self.worker.execute(assignment, attempt)

    @property
    def dist(self) -> list[str]:
        return names(self.places.output)

    def log(self, target: Target = TARGET) -> str:
        return (self.places.logs / f"{target.id}.log").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def known_policies() -> Policies:
    return load_policies()


@pytest.fixture
def shop(tmp_path: Path, known_policies: Policies) -> Shop:
    return Shop(root=tmp_path, policies=known_policies)


def failure(result: BuildResult) -> Failure:
    assert result.failure is not None
    return result.failure


def kind(result: BuildResult) -> FailureKind:
    return failure(result).kind


def report(result: BuildResult) -> WheelReport:
    assert result.wheel is not None, result.failure
    return result.wheel


def check_nothing_left(shop: Shop) -> None:
    """No wheel, no part of one, and no private directory."""
    assert shop.dist == []
    check_tidy(shop)


def check_tidy(shop: Shop) -> None:
    assert list((shop.places.run / "targets").glob("*")) == []


# Good wheels


def test_a_good_wheel_is_retagged_verified_and_published(shop: Shop) -> None:
    result = shop.execute(wheel())

    assert result.status is Status.OK
    assert shop.dist == [FINAL]
    assert report(result).filename == FINAL
    assert report(result).observed_tag == "manylinux_2_17_x86_64"
    assert report(result).problems == ()
    assert (result.failure, result.rejected) == (None, None)
    assert result.backend is BackendName.DIRECT
    assert result.backend_reason == "a test"
    assert len(result.key) == 64
    assert [name for _, name in shop.steps] == ["stage", "build", "verify"]
    check_tidy(shop)


def test_the_log_says_what_was_built_how_and_why(shop: Shop) -> None:
    shop.execute(wheel())

    log = shop.log()
    assert "target   cp312-manylinux_x86_64-cpu\n" in log
    assert "backend  direct: a test\n" in log
    assert "BUILD_VERSION=1.0  # version.inject\n" in log
    assert "== build\ncompiling\n" in log


def unreachable(job: BuildContext) -> Outcome:
    job.step("setup")
    said = "ERROR: HTTP error 503 while getting https://files.example/setuptools.whl"
    job.clues.tail.append(said)
    job.log(said)
    return Failure(kind=FailureKind.SETUP, message="pip exit 1", step="setup")


def test_the_log_keeps_all_attempts_and_a_new_run_begins_a_new_one(shop: Shop) -> None:
    first = shop.execute(unreachable)
    second = shop.execute(wheel(), attempt=2)

    assert failure(first).transient
    assert second.status is Status.OK
    before, after = shop.log().split("==== attempt 2\n")
    assert "HTTP error 503" in before
    assert "FAILED (setup): pip exit 1" in before
    assert "compiling" in after

    shop.execute(wheel())
    assert "HTTP error 503" not in shop.log()


def test_what_an_earlier_step_had_trouble_with_is_not_why_a_later_one_failed(shop: Shop) -> None:
    def act(job: BuildContext) -> Outcome:
        unreachable(job)
        job.step("build")
        job.log("it does not build")
        return Failure(kind=FailureKind.BUILD, message="exit 1", step="build")

    failed = failure(shop.execute(act))

    assert not failed.transient


def test_a_result_says_when_it_began_and_how_long_each_step_took(shop: Shop) -> None:
    before = time.time()
    found = shop.execute(wheel())

    assert found.started is not None
    assert before <= found.started <= time.time()
    assert [each.name for each in found.steps] == ["stage", "build", "verify"]
    assert all(each.seconds >= 0 for each in found.steps)
    assert sum(each.seconds for each in found.steps) <= found.duration


def test_a_build_is_told_how_many_programs_it_may_run(shop: Shop) -> None:
    told: list[dict[str, str]] = []

    def act(job: BuildContext) -> Outcome:
        told.append(dict(job.parallel))
        return wheel().write(job.scratch / "out")

    plain = shop.execute(act)
    shared = shop.execute(act, parallel={"MAX_JOBS": "2"})

    assert told == [{}, {"MAX_JOBS": "2"}]
    assert plain.key == shared.key
    assert report(plain).sha256 == report(shared).sha256


def test_every_target_builds_in_a_copy_of_its_own(shop: Shop) -> None:
    seen: list[Path] = []

    def act(job: BuildContext) -> Outcome:
        seen.append(job.source)
        assert (job.source / "pkg" / "a.c").read_text("utf-8") == "int a;"
        (job.source / "pkg" / "a.c").write_text("spoilt", encoding="utf-8")
        (job.source / "leftover").touch()
        return wheel().write(job.scratch / "out")

    shop.execute(act)
    shop.execute(act, replace(TARGET, id=TargetId("other"), build_tag="1"))

    assert seen[0] != seen[1]
    assert names(shop.worker.staged.root) == ["pkg"]


# Wheels that are not what the plan says


WRONG: dict[str, tuple[WheelSpec, str]] = {
    "version": (wheel(version="1.1"), "planned-version"),
    "local version": (wheel(version="1.0+cu126"), "planned-version"),
    "name": (wheel(name="other"), "planned-name"),
    "python": (
        wheel(python="cp311", abi="cp311", members={EXTENSION.replace("312", "311"): elf()}),
        "planned-python",
    ),
    "extension": (wheel(members={EXTENSION.replace("312", "311"): elf()}), "python-abi"),
    "architecture": (
        wheel(members={EXTENSION.replace("x86_64", "aarch64"): elf(arch=Arch.AARCH64)}),
        "planned",
    ),
    "a library": (
        wheel(members={EXTENSION: elf(needed=("libc.so.6", "libfoo.so.1"))}),
        "external-library",
    ),
}


@pytest.mark.parametrize(("spec", "rule"), WRONG.values(), ids=WRONG)
def test_a_wheel_that_is_not_what_was_planned_is_kept_aside(
    shop: Shop, spec: WheelSpec, rule: str
) -> None:
    result = shop.execute(spec)

    assert result.status is Status.FAILED
    assert kind(result) is FailureKind.BAD_WHEEL
    assert rule in failure(result).message
    assert failure(result).step == "verify"
    assert failure(result).hint
    assert result.wheel is None
    assert result.rejected is not None
    assert result.rejected.parent == shop.places.rejected / TARGET.id
    assert result.rejected.is_file()
    assert "error: " in shop.log()
    check_nothing_left(shop)


def test_the_hint_names_the_variable_that_the_build_ignored(shop: Shop) -> None:
    failed = failure(shop.execute(wheel(version="1.1")))

    assert "planned 1.0, got 1.1" in failed.message
    assert "the build ignored BUILD_VERSION=1.0: " in failed.hint
    assert 'on-mismatch = "rewrite"' in failed.hint


def test_a_wheel_with_a_lie_in_record_is_kept_aside(shop: Shop) -> None:
    spec = wheel()
    lie = {**spec.files(), f"{spec.dist_info}/RECORD": b"demo/__init__.py,sha256=AAAA,0\n"}

    result = shop.execute(lambda job: spec.write(job.scratch / "out", lie))

    assert kind(result) is FailureKind.BAD_WHEEL
    assert result.rejected is not None
    check_nothing_left(shop)


def test_what_is_no_wheel_at_all_is_kept_aside(shop: Shop) -> None:
    def act(job: BuildContext) -> Outcome:
        path = job.scratch / "demo-1.0-cp312-cp312-linux_x86_64.whl"
        path.write_bytes(b"PK not a zip")
        return path

    result = shop.execute(act)

    assert kind(result) is FailureKind.BAD_WHEEL
    assert result.rejected is not None
    assert result.rejected.read_bytes() == b"PK not a zip"
    check_nothing_left(shop)


def test_a_rejected_wheel_of_an_earlier_run_is_not_shown_again(shop: Shop) -> None:
    assert shop.execute(wheel(version="1.1")).rejected is not None

    assert shop.execute(wheel()).rejected is None
    assert shop.dist == [FINAL]


@pytest.mark.parametrize(
    ("spec", "changes", "version"),
    [
        (wheel(), {"build_tag": "7_nv"}, "1.0-7_nv"),
        (
            wheel(version="1.0", build="9"),
            {"version": "1.0+cu126", "on_mismatch": OnMismatch.REWRITE, "build_tag": "2"},
            "1.0+cu126-2",
        ),
        (wheel(version="1.0+nv26.4.cu132"), {"version": "1.0+nv26.04.cu132"}, "1.0+nv26.04.cu132"),
    ],
    ids=["build tag", "another version, rewritten", "another spelling"],
)
def test_a_wheel_gets_the_planned_version_and_build_tag(
    shop: Shop, spec: WheelSpec, changes: dict[str, Any], version: str
) -> None:
    target = replace(TARGET, **changes)

    result = shop.execute(spec, target)

    assert result.status is Status.OK, result.failure
    assert shop.dist == [FINAL.replace("-1.0-", f"-{version}-")]
    assert Version(report(result).version) == Version(target.version)


def test_pins_are_in_the_wheel(shop: Shop) -> None:
    result = shop.execute(wheel(), replace(TARGET, pins=("torch==2.8.*",)))

    assert result.status is Status.OK, result.failure
    with zipfile.ZipFile(shop.places.output / FINAL) as archive:
        text = archive.read("demo-1.0.dist-info/METADATA").decode()
    assert "\nRequires-Dist: torch==2.8.*\n" in text


def test_where_the_version_came_from_is_in_the_log_and_the_result(shop: Shop) -> None:
    said = (
        VersionAnswer(source="env:A", value="", note="not set"),
        VersionAnswer(source="env:B", value="7"),
    )
    part = VersionPart(name="nv", value="7", source="env:B", answers=said)

    result = shop.execute(wheel(), replace(TARGET, parts=(part,)))

    assert result.parts == (part,)
    assert "  nv = 7  # from env:B\n    env:A: not set\n    env:B: '7'\n" in shop.log()


def test_external_libraries_may_stay_outside_where_the_matrix_says_so(shop: Shop) -> None:
    needs = elf(needed=("libc.so.6", "librocm_smi64.so.7"))
    target = replace(TARGET, steps=TargetSteps(external=("rocm",)))

    result = shop.execute(wheel(members={EXTENSION: needs}), target)

    assert result.status is Status.OK, result.failure
    assert report(result).external_libs == (("librocm_smi64.so.7", (EXTENSION,)),)


# abi3


def abi3() -> WheelSpec:
    return wheel(abi="abi3", members={"demo/_ext.abi3.so": elf()})


def test_the_other_tools_see_the_final_wheel(shop: Shop) -> None:
    result = shop.execute(abi3())

    assert result.status is Status.OK, result.failure
    assert shop.checked == shop.dist == [FINAL.replace("-cp312-m", "-abi3-m")]


def test_an_abi3_wheel_that_fails_the_audit_is_kept_aside(shop: Shop) -> None:
    shop.found = (Finding(rule="abi3audit", message="uses _PyObject_Foo"),)

    result = shop.execute(abi3())

    assert kind(result) is FailureKind.AUDIT
    assert result.rejected is not None
    assert "error: abi3audit: uses _PyObject_Foo" in shop.log()
    check_nothing_left(shop)


def test_the_matrix_says_how_much_a_rule_counts(shop: Shop) -> None:
    shop.found = (Finding(rule="twine", message="no description"),)
    levels = (("twine", RuleLevel.WARN), ("no-licence", RuleLevel.ERROR))
    target = replace(TARGET, demands=VerifyPolicy(levels=levels))

    good = shop.execute(wheel(), target)
    bad = shop.execute(wheel(extra_info={}), target)

    assert [(each.rule, each.severity) for each in report(good).problems] == [("twine", "warning")]
    assert failure(bad).message.startswith("no-licence: ")


def test_a_wheel_that_is_stopped_while_it_is_checked_is_cancelled(shop: Shop) -> None:
    shop.cancel.set()

    assert kind(shop.execute(wheel())) is FailureKind.CANCELLED


def test_demands_of_the_matrix_are_checked(shop: Shop) -> None:
    demands = VerifyPolicy(size_budget=100, required=("demo/*.dat",), build_paths=("/project",))
    members = {EXTENSION: elf(), "demo/note.txt": b"built in /project/x"}

    result = shop.execute(wheel(members=members), replace(TARGET, demands=demands))

    assert kind(result) is FailureKind.BAD_WHEEL
    for rule in ("size-budget", "required-file", "build-path"):
        assert f"error: {rule}: " in shop.log()


# Repair and normalising


def test_what_auditwheel_refused_is_kept_as_a_wheel_that_promises_nothing(shop: Shop) -> None:
    needy = wheel(members={EXTENSION: elf(needed=("libc.so.6", "libfoo.so.1"))})
    steps = TargetSteps(repair="auditwheel", repair_refused=OnRefusal.KEEP)

    result = shop.execute(needy, replace(TARGET, steps=steps))

    assert shop.dist == ["demo-1.0-cp312-cp312-linux_x86_64.whl"]
    (problem,) = report(result).problems
    assert (problem.rule, problem.severity) == ("external-library", Severity.WARNING)


def test_what_could_be_repaired_gets_its_tag_all_the_same(shop: Shop) -> None:
    steps = TargetSteps(repair="auditwheel", repair_refused=OnRefusal.KEEP)

    shop.execute(wheel(), replace(TARGET, steps=steps))

    assert shop.dist == [FINAL]


def test_grafted_libraries_get_a_bill(shop: Shop) -> None:
    library = elf(soname="libfoo-0123abcd.so.1", defined=("f",))
    extension = elf(needed=("libc.so.6", "libfoo-0123abcd.so.1"), rpath="$ORIGIN/../demo.libs")
    members = {EXTENSION: extension, "demo.libs/libfoo-0123abcd.so.1": library}

    result = shop.execute(wheel(members=members))

    assert result.status is Status.OK, result.failure
    with zipfile.ZipFile(shop.places.output / FINAL) as archive:
        bill = json.loads(archive.read("demo-1.0.dist-info/sboms/orchestrator.cdx.json"))
    assert [each["name"] for each in bill["components"]] == ["libfoo.so.1"]


def test_a_wheel_is_normalised_where_the_matrix_says_so(shop: Shop) -> None:
    shop.execute(wheel(), replace(TARGET, steps=TargetSteps(normalise=True)))

    with zipfile.ZipFile(shop.places.output / FINAL) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


# Two targets, one name


def test_the_second_wheel_of_a_name_is_kept_aside(shop: Shop) -> None:
    other = replace(TARGET, id=TargetId("cp312-manylinux_x86_64-cu130"))
    shop.execute(wheel())
    first = (shop.places.output / FINAL).read_bytes()
    extra = wheel(members={"demo/__init__.py": b"x = 1", EXTENSION: elf()})

    result = shop.execute(extra, other)

    assert kind(result) is FailureKind.DUPLICATE_WHEEL
    assert TARGET.id in failure(result).message
    assert "version.local" in failure(result).hint
    assert result.rejected is not None
    assert shop.dist == [FINAL]
    assert (shop.places.output / FINAL).read_bytes() == first
    check_tidy(shop)


def test_of_many_threads_with_one_name_exactly_one_wins(shop: Shop) -> None:
    meet = threading.Barrier(4)
    results: list[BuildResult] = []

    def build(number: int) -> None:
        target = replace(TARGET, id=TargetId(f"t{number}"))

        def act(job: BuildContext) -> Outcome:
            path = wheel().write(job.scratch / "out")
            meet.wait(20)
            return path

        results.append(shop.execute(act, target))

    threads = [threading.Thread(target=build, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)

    assert sorted(each.status for each in results) == ["failed"] * 3 + ["ok"]
    assert shop.dist == [FINAL]


def test_the_same_target_again_replaces_its_wheel(shop: Shop) -> None:
    shop.execute(wheel())

    assert shop.execute(wheel()).status is Status.OK
    assert shop.dist == [FINAL]


# Failures of a backend


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (FailureKind.BUILD, Status.FAILED),
        (FailureKind.TEST, Status.FAILED),
        (FailureKind.CANCELLED, Status.CANCELLED),
    ],
)
def test_a_failure_of_the_backend_is_the_result(
    shop: Shop, found: FailureKind, status: Status
) -> None:
    failure = Failure(kind=found, message="no", hint="yes", step="build")

    result = shop.execute(lambda _job: failure)

    assert result.failure == failure
    assert result.status is status
    assert result.wheel is None
    assert result.log == shop.places.logs / f"{TARGET.id}.log"
    assert f"FAILED ({found}): no" in shop.log()
    check_nothing_left(shop)


@pytest.mark.parametrize(
    ("error", "found", "said"),
    [
        (EnvironmentProblemError.of("podman is gone"), FailureKind.ENGINE, ["podman is gone"]),
        (ZeroDivisionError("oh"), FailureKind.BUG, ["ZeroDivisionError", "Traceback"]),
    ],
    ids=["broken tool", "bug"],
)
def test_an_error_is_a_failed_target_with_its_cause_in_the_log(
    shop: Shop, error: Exception, found: FailureKind, said: list[str]
) -> None:
    result = shop.execute(raises(error))

    assert kind(result) is found
    assert all(text in shop.log() for text in said)
    check_nothing_left(shop)


def test_directories_that_cannot_be_removed_do_not_hide_the_result(shop: Shop) -> None:
    def act(job: BuildContext) -> Outcome:
        locked = job.scratch / "locked"
        locked.mkdir()
        (locked / "file").touch()
        locked.chmod(0o500)
        return wheel().write(job.scratch / "out")

    assert shop.execute(act).status is Status.OK
    assert shop.dist == [FINAL]


# A full disk


def full(path: str | None = None) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def fill_while_installing(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk takes so many bytes of a wheel that is being installed, and no more."""
    really = os.copy_file_range

    def copy_file_range(source: int, dest: int, count: int, begin: int) -> int:
        if not str(Path(f"/proc/self/fd/{dest}").readlink()).endswith(".partial"):
            return really(source, dest, count, begin)
        really(source, dest, after, begin)
        raise full()

    monkeypatch.setattr(os, "copy_file_range", copy_file_range)


def check_disk(result: BuildResult) -> None:
    assert kind(result) is FailureKind.DISK, result.failure
    assert result.failure is not None
    assert "No space left on device" in result.failure.message
    assert "--work-dir" in result.failure.hint
    assert result.status is Status.FAILED
    assert result.wheel is None


def test_a_full_disk_while_building(shop: Shop) -> None:
    check_disk(shop.execute(raises(full("/x"))))
    check_nothing_left(shop)


@pytest.mark.parametrize(
    "where",
    ["orchestrator.run.worker.copy_tree", "orchestrator.wheel.zipcopy._copy", "os.fsync"],
    ids=["copying the source", "rewriting", "syncing"],
)
def test_a_full_disk_after_all_was_well(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The rewriter says so with an error of ours; it is the disk all the same."""

    def fill(*_arguments: object) -> None:
        raise full()

    monkeypatch.setattr(where, fill)

    check_disk(shop.execute(wheel()))
    check_nothing_left(shop)


@pytest.mark.parametrize("after", [0, 100])
def test_a_full_disk_while_publishing_leaves_no_part_of_a_wheel(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    fill_while_installing(monkeypatch, after)

    check_disk(shop.execute(wheel()))
    check_nothing_left(shop)


def test_a_full_disk_leaves_the_wheel_that_was_there(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.execute(wheel())
    before = (shop.places.output / FINAL).read_bytes()
    fill_while_installing(monkeypatch, 100)

    check_disk(shop.execute(wheel(extra_info={"NEW": b""})))

    assert (shop.places.output / FINAL).read_bytes() == before
    assert shop.dist == [FINAL]


def test_a_log_that_cannot_be_written_from_the_start(shop: Shop) -> None:
    # The kernel's own full disk.
    (shop.places.run / "logs").mkdir()
    (shop.places.run / "logs" / f"{TARGET.id}.log").symlink_to("/dev/full")

    check_disk(shop.execute(lambda _job: pytest.fail("built without a log")))
    check_nothing_left(shop)


class Filling(io.RawIOBase):
    """A file on a disk that becomes full."""

    is_full = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.is_full:
            raise full()
        return len(data)


@pytest.fixture
def filling(monkeypatch: pytest.MonkeyPatch) -> Filling:
    """What every log is written to."""
    disk = Filling()
    really = Path.open

    def opened(path: Path, *args: Any, **options: Any) -> Any:
        if path.suffix == ".log":
            return io.TextIOWrapper(io.BufferedWriter(disk), encoding="utf-8")
        return really(path, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    return disk


def test_a_log_that_cannot_be_written_any_more(shop: Shop, filling: Filling) -> None:
    def act(job: BuildContext) -> Outcome:
        filling.is_full = True
        job.log("this line is one too many")
        pytest.fail("went on")

    check_disk(shop.execute(act))
    check_nothing_left(shop)


def test_a_bug_on_a_full_disk_is_no_crash(shop: Shop, filling: Filling) -> None:
    def act(_job: BuildContext) -> Outcome:
        filling.is_full = True
        raise ZeroDivisionError

    result = shop.execute(act)

    assert result.status is Status.FAILED
    check_nothing_left(shop)


def test_a_wheel_that_is_out_stays_good_when_its_log_cannot_be_closed(
    shop: Shop, filling: Filling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def published(path: Path, place: Path, *, link: bool = False) -> None:
        install_file(path, place, link=link)
        filling.is_full = filling.is_full or place.name == FINAL

    monkeypatch.setattr("orchestrator.run.worker.install_file", published)

    result = shop.execute(wheel())

    assert result.status is Status.OK, result.failure
    assert shop.dist == [FINAL]


def test_a_wheel_that_cannot_be_kept_aside_leaves_no_part_of_itself(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_while_installing(monkeypatch, 100)

    result = shop.execute(wheel(version="1.1"))

    check_disk(result)
    assert result.rejected is None
    check_nothing_left(shop)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO])
def test_other_errors_of_the_system_are_no_full_disk(shop: Shop, code: int) -> None:
    result = shop.execute(raises(OSError(code, os.strerror(code), "/somewhere")))

    assert kind(result) is not FailureKind.DISK
    assert os.strerror(code) in failure(result).message
    assert "/somewhere" in failure(result).message
    check_nothing_left(shop)


# What a build leaves is on this host, and may be anything


@pytest.mark.parametrize("target", ["/etc/passwd", "{root}/elsewhere.whl", "/dev/zero", "nothing"])
def test_a_wheel_that_is_a_link_is_not_followed(shop: Shop, target: str) -> None:
    honest = wheel().write(shop.root / "honest")
    honest.rename(shop.root / "elsewhere.whl")

    def act(job: BuildContext) -> Outcome:
        made = job.scratch / "out" / honest.name
        made.parent.mkdir()
        made.symlink_to(target.format(root=shop.root))
        return made

    ended = failure(shop.execute(act))

    assert ended.kind is FailureKind.BAD_WHEEL
    assert ended.message == f"{honest.name}: is not a regular file"
    check_nothing_left(shop)


def test_nor_is_a_pipe_read(shop: Shop) -> None:
    def act(job: BuildContext) -> Outcome:
        os.mkfifo(job.scratch / FINAL)
        return job.scratch / FINAL

    assert failure(shop.execute(act)).message == f"{FINAL}: is not a regular file"


def needing(shop: Shop, name: str) -> Target:
    """Return a target that needs a library with one output of that name."""
    library = TargetId("library")
    place = shop.places.outputs(library) / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"library")
    return replace(TARGET, needs=(library,))


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("lib/out.so", "{root}/victim"),
        ("lib/out.so", "../../../../../../victim"),
        ("lib", "{root}/folder"),
        ("lib", "../../../../../../folder"),
    ],
)
def test_an_output_is_not_written_through_a_link_of_the_source(
    shop: Shop, link: str, target: str
) -> None:
    place = shop.worker.staged.root / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(target.format(root=shop.root))
    (shop.root / "folder").mkdir()

    def act(job: BuildContext) -> Outcome:
        assert (job.source / "lib/out.so").read_bytes() == b"library"
        assert not (job.source / "lib/out.so").is_symlink()
        return wheel().write(job.scratch / "out")

    result = shop.execute(act, needing(shop, "lib/out.so"))

    assert names(shop.root / "folder") == []
    assert not (shop.root / "victim").exists()
    if link == "lib":
        assert failure(result).kind is FailureKind.SOURCE
    else:
        assert result.status is Status.OK, result.failure


def test_a_link_of_the_source_may_lead_elsewhere_in_it(shop: Shop) -> None:
    (shop.worker.staged.root / "lib").symlink_to("pkg")

    def act(job: BuildContext) -> Outcome:
        assert (job.source / "pkg/out.so").read_bytes() == b"library"
        return wheel().write(job.scratch / "out")

    assert shop.execute(act, needing(shop, "lib/out.so")).status is Status.OK


def printing(line: str, spec: WheelSpec) -> Callable[[BuildContext], Outcome]:
    """Return a build that prints a line and makes a wheel."""

    def act(job: BuildContext) -> Outcome:
        job.step("build")
        job.clues.hear(line)
        job.step("repair")
        return spec.write(job.scratch / "out")

    return act


def test_a_wheel_without_code_says_what_did_not_compile(shop: Shop) -> None:
    line = "x.c:1:10: fatal error: yaml.h: No such file or directory"

    failed = failure(shop.execute(printing(line, wheel(members={"demo/a.py": b""}))))

    assert "not-platform-wheel" in failed.message
    assert "compiled code out, because the header yaml.h is missing" in failed.hint


def test_a_wheel_that_lacks_some_code_has_a_warning(shop: Shop) -> None:
    line = 'warning: build_ext: building extension "demo.fast" failed: gcc'

    (problem,) = report(shop.execute(printing(line, wheel()))).problems

    assert (problem.rule, problem.severity) == ("code-left-out", Severity.WARNING)
    assert line in problem.message


def test_that_it_lacks_some_code_is_an_error_where_the_matrix_says_so(shop: Shop) -> None:
    demands = VerifyPolicy(levels=(("code-left-out", RuleLevel.ERROR),))
    line = "Error compiling module, falling back to pure Python"

    result = shop.execute(printing(line, wheel()), replace(TARGET, demands=demands))

    assert kind(result) is FailureKind.BAD_WHEEL
