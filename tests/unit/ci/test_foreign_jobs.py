"""``orchestrator collect`` among jobs that say what is not true: no other job's wheel is lost."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import fsutil
from orchestrator.ci import collect as collect_module
from orchestrator.errors import ExitCode
from tests import reports
from tests.unit.ci import test_collect as files
from tests.unit.ci.test_collect import (
    IDS,
    A,
    B,
    C,
    again,
    check_lost,
    collect,
    collected,
    contents,
    failed,
    good,
    job,
    kinds,
    name_of,
    of_job,
    planned,
    run,
    save_plan,
    spec_of,
    wheels,
)

pytestmark = pytest.mark.usefixtures("wide_terminal")

place = files.place

LATER = reports.BEGAN + 9_000_000
OWN = [of_job("01", A), of_job("02", B), of_job("03", C)]
EVIL = "evil-6.6+a-cp312-cp312-manylinux_2_28_x86_64.whl"


@pytest.fixture
def jobs(place: Path) -> Path:
    """Three jobs, of a target each."""
    save_plan(place, *map(planned, IDS), jobs=OWN)
    return place


def whole_jobs(place: Path, *targets: str) -> None:
    """Let jobs hand on their target as planned."""
    for each in targets:
        job(place, f"job-{IDS.index(each) + 1:02}", good(each))


def check_whole(place: Path, *places: Path) -> str:
    """Collect: everybody's wheel is there, as its job made it. Return what was said."""
    said = check_lost(place, ExitCode.OK, {}, *places)
    for each in IDS:
        assert (place / "dist" / name_of(each)).read_bytes() == contents(each)
    assert set(collected(place)) == set(IDS)
    return said


# A job that is not the one the plan gives a target to

CLAIMS = {
    "another name and any bytes": (good(A, b"evil", EVIL, started=LATER), {EVIL: b"evil"}),
    "the same name": (good(A, again(A), started=LATER), {name_of(A): again(A)}),
    "a failure": (failed(A, started=LATER), {}),
    "from the store": (good(A, again(A), started=None, cached=True), {name_of(A): again(A)}),
    "no wheel": (good(A, wheel=None, started=LATER), {}),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize(
    "names",
    [
        ("01", "02", "03"),
        ("wheels-job-01", "wheels-job-02", "wheels-job-03"),
        ("job_01-attempt-02", "job_02-attempt-01", "job_03"),
        ("wheels-01", "wheels-02", "wheels-03"),
        ("one", "two", "three"),
    ],
)
def test_a_foreign_job_replaces_nothing_whatever_it_claims(
    jobs: Path, claim: str, names: tuple[str, ...]
) -> None:
    foreign, its_wheels = CLAIMS[claim]
    job(jobs, names[0], good(A))
    job(jobs, names[1], good(B), foreign, wheels=its_wheels, began=LATER, run="r2")
    job(jobs, names[2], good(C))

    said = check_whole(jobs)
    assert f"jobs/{names[1]}/dist" in said
    assert A in said
    assert "left out" in said


def test_what_its_job_does_not_have_comes_from_no_other_job(jobs: Path) -> None:
    job(jobs, "job-02", good(B), good(A))
    whole_jobs(jobs, C)

    said = check_lost(jobs, ExitCode.TARGET_FAILED, {A: "missing"})
    assert f"jobs/job-02/dist is of job 02, and has results of other jobs: {A}: left out" in said


def test_a_directory_inside_an_artefact_does_not_say_whose_it_is(jobs: Path) -> None:
    whole_jobs(jobs, A)
    job(jobs, "job-02/more/job-01", good(A, again(A), started=LATER), wheels={name_of(A): again(A)})
    job(jobs, "job-02/dist", good(B))
    whole_jobs(jobs, C)

    check_whole(jobs)


def test_where_no_name_says_whose_a_wheel_is_different_ones_are_refused(jobs: Path) -> None:
    """Each holds what one job builds; a time is no reason to believe one of them."""
    job(jobs, "one", good(A))
    job(jobs, "two", good(A, again(A), started=LATER), wheels={name_of(A): again(A)})
    job(jobs, "three", good(B), good(C))

    said = check_lost(jobs, ExitCode.BAD_WHEEL, {A: "bad-wheel"})
    assert "the directories do not say whose: jobs/one/dist, jobs/two/dist" in said


def test_where_no_name_says_it_the_same_wheel_and_a_failure_do_no_harm(jobs: Path) -> None:
    job(jobs, "one", *map(good, IDS))
    job(jobs, "two", good(A))
    job(jobs, "three", failed(A, started=LATER))

    check_whole(jobs)


def test_a_directory_may_be_given_by_its_own_name(jobs: Path) -> None:
    places = [
        job(jobs, "job-01", good(A)),
        job(jobs, "x-02", good(B), good(A, b"x", EVIL, started=LATER), wheels={EVIL: b"x"}),
        job(jobs, "03", good(C)),
    ]
    check_whole(jobs, *places)


def test_libraries_are_of_every_job_that_builds_them(place: Path) -> None:
    library = reports.result("core-1", wheel=None)
    targets = (planned("core-1", library="core", version=""), *map(planned, IDS))
    save_plan(place, *targets, jobs=[of_job("01", "core-1", A), of_job("02", "core-1", B, C)])
    job(place, "job-01", library, good(A))
    job(place, "job-02", failed("core-1", started=LATER), good(B), good(C))

    assert collect() == ExitCode.TARGET_FAILED or not kinds(place).keys() - {"core-1"}
    assert wheels(place) == set(map(name_of, IDS))


def test_an_undetermined_target_takes_no_planned_name(place: Path) -> None:
    unknown = [{"id": "d", "reason": "nobody asked"}]
    save_plan(place, *map(planned, IDS), undetermined=unknown, jobs=[of_job("01", *IDS)])
    job(place, "job-01", *map(good, IDS))
    job(place, "x", good("d", again(A), name_of(A)), wheels={name_of(A): again(A)})

    assert collect() == ExitCode.BAD_WHEEL
    assert kinds(place) == {"d": "bad-wheel"}
    assert (place / "dist" / name_of(A)).read_bytes() == contents(A)


def test_many_foreign_results_are_one_note(jobs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = [good(f"unknown-{number}") for number in range(40)]
    job(jobs, "job-02", good(B), *map(good, (A, C)), *many)

    assert collect() == ExitCode.TARGET_FAILED
    notes = [each for each in capsys.readouterr().err.splitlines() if each.startswith("note: ")]
    assert len(notes) == 2
    assert any("and 35 more" in each for each in notes)


# One bad result


DEEP: Any = {}
for _ in range(600):
    DEEP = {"x": DEEP}

BAD: dict[str, dict[str, Any]] = {
    "name of 5,000 characters": {"filename": f"{'d' * 5000}-1.0-py3-none-any.whl"},
    "version of 5,000 digits": {"filename": f"demo-{'9' * 5000}-py3-none-any.whl"},
    "no version": {"filename": "demo-one-py3-none-any.whl"},
    "an impossible version": {"version": "1.0+../../x"},
    "a version of 5,000 digits": {"version": "9" * 5000},
    "a name that is a path": {"filename": "../demo-1.0-py3-none-any.whl"},
    "a file outside": {"filename": "/etc/passwd"},
    "a name without parts": {"filename": "x.whl"},
    "no name": {"filename": "-1-py3-none-any.whl"},
    "a name with a line": {"filename": "demo-1.0-py3-none-any\n.whl"},
    "a name with half a character": {"filename": "demo\ud800-1.0-py3-none-any.whl"},
    "a number for a name": {"filename": 7},
    "no hash": {"sha256": "x"},
    "a size below zero": {"size": -1},
    "a size that no disk has": {"size": 10**30},
    "half a wheel": {"sha256": None},
}


@pytest.mark.parametrize("what", BAD)
def test_one_bad_wheel_costs_itself_alone(jobs: Path, what: str) -> None:
    bad = reports.wheel(name_of(B)) | BAD[what]
    whole_jobs(jobs, A)
    (jobs / "jobs/job-02/dist").mkdir(parents=True)
    text = json.dumps(reports.document(good(B, wheel=bad), runs=(reports.run(),)))
    (jobs / "jobs/job-02/dist/results.json").write_text(text)
    whole_jobs(jobs, C)

    said = check_lost(jobs, ExitCode.BAD_WHEEL, {B: "bad-wheel"})
    assert f"{B}: bad-wheel: the result that a job has of it cannot be: " in said
    assert max(map(len, said.splitlines())) < 2000


@pytest.mark.parametrize(
    "field",
    [
        {"duration": -1},
        {"duration": float("nan")},
        {"duration": float("inf")},
        {"started": 1e300},
        {"status": "great"},
        {"key": 7},
        {"slot": -3},
        {"steps": [{"name": "x"}]},
        {"target": {"python": 3}},
        {"target": reports.facts("cp312", "manylinux", "x86_64") | {"version": "no version"}},
        {"failure": "because"},
        {"novelty": DEEP},
    ],
)
def test_one_bad_field_costs_its_result_alone(jobs: Path, field: dict[str, Any]) -> None:
    save_plan(jobs, *map(planned, IDS), jobs=[of_job("01", *IDS)])
    job(jobs, "job-01", good(A), good(B, **field), good(C))

    check_lost(jobs, ExitCode.BAD_WHEEL, {B: "bad-wheel"})


def test_a_number_of_5000_digits_costs_its_result_alone(jobs: Path) -> None:
    save_plan(jobs, *map(planned, IDS), jobs=[of_job("01", *IDS)])
    file = job(jobs, "job-01", *map(good, IDS)) / "results.json"
    document = json.loads(file.read_text())
    document["results"][1]["wheel"]["size"] = "HERE"
    file.write_text(json.dumps(document).replace('"HERE"', "9" * 5000))

    assert collect() == ExitCode.BAD_WHEEL
    assert wheels(jobs) == {name_of(A), name_of(C)}


@pytest.mark.parametrize("row", [None, 7, "x", [], {}, {"id": 7}, {"id": None}, {"id": "\ud800"}])
def test_a_row_that_is_no_result_costs_nothing_else(jobs: Path, row: Any) -> None:
    file = job(jobs, "job-01", good(A)) / "results.json"
    whole_jobs(jobs, B, C)
    document = json.loads(file.read_text())
    document["results"].insert(0, row)
    file.write_text(json.dumps(document))

    check_whole(jobs)


@pytest.mark.parametrize(
    "change", [{"began": "yesterday"}, {"began": -1}, {"cpus": "x"}, {"id": None}, {"jobs": "1.5"}]
)
def test_a_bad_run_costs_no_result(jobs: Path, change: dict[str, Any]) -> None:
    file = job(jobs, "job-01", good(A)) / "results.json"
    whole_jobs(jobs, B, C)
    document = json.loads(file.read_text())
    document["runs"] = [reports.run("r1") | change, 7, *document["runs"]]
    file.write_text(json.dumps(document))

    check_whole(jobs)


def test_fields_of_a_later_version_stay_and_numbers_become_numbers(jobs: Path) -> None:
    later = good(A, duration="3", novelty={"x": [1, "\ud800"]}, started=str(reports.BEGAN))
    later["wheel"]["novelty"] = "kept"
    later["target"] = reports.facts("cp39", "musllinux", "aarch64") | {"novelty": 1}
    job(jobs, "job-01", later)
    whole_jobs(jobs, B, C)

    assert collect() == ExitCode.OK
    document = json.loads((jobs / "dist/results.json").read_text())
    found = {each["id"]: each for each in document["results"]}[A]
    assert found["novelty"] == {"x": [1, "?"]}
    assert found["wheel"]["novelty"] == "kept"
    assert found["duration"] == 3.0
    assert found["started"] == reports.BEGAN
    target = found["target"]
    assert (target["python"], target["arch"], target["novelty"]) == ("cp312", "x86_64", 1)


def test_of_results_of_one_target_in_one_file_one_counts(jobs: Path) -> None:
    job(jobs, "job-01", failed(A), good(A, started=LATER))
    job(jobs, "job-02", good(B, started=LATER), reports.result(B, "cancelled", run="r1"))
    whole_jobs(jobs, C)

    check_whole(jobs)


@pytest.mark.parametrize("status", ["failed", "cancelled", "unavailable"])
def test_a_wheel_of_a_target_that_failed_is_none(jobs: Path, status: str) -> None:
    wheel = good(A)["wheel"]
    made = reports.result(A, status, wheel=wheel, key=files.KEY, failure=reports.failure())
    job(jobs, "job-01", made)
    job(jobs, "job-02", good(B, wheel=None))
    whole_jobs(jobs, C)

    check_lost(jobs, ExitCode.TARGET_FAILED, {A: "build", B: "missing"})


# A wheel is what the plan says


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"version": "1.0+b"}, "planned-version: "),
        ({"version": "2.0+a"}, "planned-version: "),
        ({"build": "7"}, "planned-build-tag: "),
        ({"label": "cu13"}, "planned-label: "),
        ({"python": "cp311", "abi": "cp311"}, "planned-python: "),
        ({"platform": "manylinux_2_28_aarch64"}, "planned-platform: "),
        ({"platform": "musllinux_1_2_x86_64"}, "planned-platform: "),
        ({"platform": "win_amd64"}, "planned-platform: "),
        ({"name": "other"}, "planned-name: "),
    ],
)
def test_a_wheel_that_is_not_the_planned_one_is_refused(
    jobs: Path, named: dict[str, str], message: str
) -> None:
    inputs = {"source": "s", "name": "demo", "epoch": 0, "toolchain": "t", "builder": "b"}
    save_plan(jobs, *map(planned, IDS), jobs=OWN, inputs=inputs)
    name, data = spec_of(A, **named).filename, contents(A, **named)
    job(jobs, "job-01", good(A, data, name), wheels={name: data})
    whole_jobs(jobs, B, C)

    said = check_lost(jobs, ExitCode.BAD_WHEEL, {A: "bad-wheel"})
    assert message in said


def lying(**fields: str) -> bytes:
    """Return a wheel whose METADATA, or WHEEL, says something else than its name."""
    spec = spec_of(A)
    made = spec.files()
    for name, text in fields.items():
        member = f"{spec.dist_info}/{name}"
        old, _, new = text.partition(" -> ")
        assert old.encode() in made[member]
        made[member] = made[member].replace(old.encode(), new.encode())
    return spec.write(Path("lying"), made).read_bytes()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"METADATA": "Version: 1.0+a -> Version: 2.0"}, "version-metadata: "),
        ({"METADATA": "Name: demo -> Name: requests"}, "name-metadata: "),
        ({"METADATA": "Version: 1.0+a -> Version: 1.0+a\nVersion: 3"}, "metadata-invalid: "),
        ({"WHEEL": "Tag: cp312-cp312 -> Tag: cp313-cp313"}, "wheel-tags: "),
        ({}, "not a readable zip file"),
    ],
)
def test_a_wheel_that_says_something_else_than_its_name_is_refused(
    jobs: Path, fields: dict[str, str], message: str
) -> None:
    data = lying(**fields) if fields else b"any bytes"
    job(jobs, "job-01", good(A, data), wheels={name_of(A): data})
    whole_jobs(jobs, B, C)

    said = check_lost(jobs, ExitCode.BAD_WHEEL, {A: "bad-wheel"})
    assert message in said


@pytest.mark.parametrize("other", ["DEMO-1.0+A", "Demo-1.0+a", "de.mo-1.0+a"])
def test_names_that_differ_only_in_spelling_are_one(place: Path, other: str) -> None:
    """Installers, and some file systems, take them for one."""
    name, version = other.split("-")
    first = {"version": "1.0+a", "name": "de_mo" if "." in name else "demo"}
    specs = (spec_of(A, **first), spec_of(A, version=version, name=name))
    pair = [contents(A, **first), contents(A, version=version, name=name)]
    targets = (planned(A), planned(B, version=version), planned(C))
    save_plan(place, *targets, jobs=OWN)
    for number, spec, each in zip(("01", "02"), specs, (A, B), strict=True):
        data = pair[int(number) - 1]
        made = good(each, data, spec.filename)
        job(place, f"job-{number}", made, wheels={spec.filename: data})
    whole_jobs(place, C)

    assert collect() == ExitCode.BAD_WHEEL
    assert kinds(place) == {A: "bad-wheel", B: "bad-wheel"}


# What lies there


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


NO_PLAIN_FILE: dict[str, Callable[[Path], object]] = {
    "a link to the file": lambda path: path.symlink_to("elsewhere"),
    "a link that leads out": lambda path: path.symlink_to("/etc/passwd"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a pipe": os.mkfifo,
    "1 TiB of nothing": _huge,
    "a directory": Path.mkdir,
}


def replace_by(what: str, path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    NO_PLAIN_FILE[what](path)


@pytest.mark.parametrize("what", NO_PLAIN_FILE)
def test_a_wheel_that_is_no_plain_file_is_refused(jobs: Path, what: str) -> None:
    replace_by(what, job(jobs, "job-01", good(A)) / name_of(A))
    whole_jobs(jobs, B, C)

    check_lost(jobs, ExitCode.BAD_WHEEL, {A: "bad-wheel"})


@pytest.mark.parametrize("what", list(NO_PLAIN_FILE)[:-1])  # a directory is no artefact
def test_a_results_file_that_is_no_plain_file_is_left_out(jobs: Path, what: str) -> None:
    replace_by(what, job(jobs, "job-01", good(A)) / "results.json")
    whole_jobs(jobs, B, C)

    said = check_lost(jobs, ExitCode.TARGET_FAILED, {A: "missing"})
    assert "note: left out: jobs/job-01/dist/results.json" in said


def test_what_is_at_the_wheel_s_place_already_is_replaced_and_not_followed(jobs: Path) -> None:
    (jobs / "dist").mkdir()
    (jobs / "victim").write_bytes(b"precious")
    (jobs / "dist" / name_of(A)).symlink_to("../victim")
    (jobs / "dist" / name_of(B)).write_bytes(b"half")
    (jobs / "dist" / f".{name_of(C)}.0011.999999999.partial").write_bytes(b"killed")
    whole_jobs(jobs, *IDS)

    check_whole(jobs)
    assert (jobs / "victim").read_bytes() == b"precious"
    assert not list((jobs / "dist").glob("*.partial"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_disk_that_fails_for_one_wheel_keeps_no_other_back(
    jobs: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_jobs(jobs, *IDS)
    copy = fsutil.copy_beneath

    def fail(root: Path, name: str, place: Path) -> None:
        if name == name_of(B):
            raise OSError(number, os.strerror(number), str(place))
        copy(root, name, place)

    with monkeypatch.context() as patch:
        patch.setattr(collect_module, "copy_beneath", fail)
        said = check_lost(jobs, ExitCode.ENVIRONMENT, {B: "disk"})
    assert f"error: dist/{name_of(B)}: {os.strerror(number)}" in said

    check_whole(jobs)


def test_names_that_no_terminal_should_see_are_spelled_out(
    jobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = os.fsdecode(b"job-02\n::error::x\x1b[2J\xff")
    folder = job(jobs, evil, good(B), good("unknown"))
    (folder / name_of(B)).unlink()
    whole_jobs(jobs, A, C)

    assert run("collect", "jobs", "--plan", "plan.json") == ExitCode.TARGET_FAILED
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.startswith("::")]
    assert json.loads((jobs / "dist/results.json").read_bytes())
