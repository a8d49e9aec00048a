"""``orchestrator collect``: every planned wheel once and unchanged, and nothing good kept back."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

import orchestrator.cli
from orchestrator.errors import ExitCode
from orchestrator.report import markdown
from orchestrator.report.schemas import json_schema, read_results
from tests import reports
from tests.wheelmaker import WheelSpec

KEY, HOST_KEY = "ab" * 32, "cd" * 32
IDS = ("cp312-manylinux_x86_64-a", "cp312-manylinux_x86_64-b", "cp312-manylinux_x86_64-c")
A, B, C = IDS

pytestmark = pytest.mark.usefixtures("wide_terminal")


def run(*arguments: str | Path) -> int:
    return orchestrator.cli.run([*map(str, arguments)])


def planned(identifier: str, **changes: Any) -> dict[str, Any]:
    facts = reports.facts("cp312", "manylinux", "x86_64", kind=identifier[-1])
    facts["version"] = f"1.0+{identifier[-1]}"
    return {"id": identifier, **facts, "env": {}, "key": KEY, "host_key": HOST_KEY, **changes}


def plan(*targets: dict[str, Any], **changes: Any) -> dict[str, Any]:
    nothing: dict[str, Any] = {"undetermined": [], "excluded": [], "matrix": "matrix.toml"}
    return {"schema": 1, "channel": "", "targets": list(targets), **nothing} | changes


def spec_of(identifier: str, **changes: Any) -> WheelSpec:
    made = {"version": f"1.0+{identifier[-1]}", "platform": "manylinux_2_28_x86_64"}
    return WheelSpec(**(made | changes))


def name_of(identifier: str) -> str:
    return spec_of(identifier).filename


def contents(identifier: str, **changes: Any) -> bytes:
    """Return the wheel of a target; `changes` are those of its `WheelSpec`."""
    spec = spec_of(identifier, **changes)
    with tempfile.TemporaryDirectory() as folder:
        return spec.write(Path(folder)).read_bytes()


def again(identifier: str) -> bytes:
    """Return another wheel of the same name."""
    return contents(identifier, members={"demo.py": b"2"})


def good(identifier: str, data: bytes | None = None, name: str = "", **changes: Any) -> Any:
    data = contents(identifier) if data is None else data
    wheel = reports.wheel(name or name_of(identifier))
    wheel |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    made: dict[str, Any] = {"key": KEY, "wheel": wheel, "run": "r1", "started": reports.BEGAN}
    return reports.result(identifier, **(made | changes))


def failed(identifier: str, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"key": KEY, "run": "r1", "started": reports.BEGAN}
    return reports.result(identifier, "failed", **(made | changes))


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    save_plan(tmp_path, *map(planned, IDS))
    return tmp_path


def save_plan(place: Path, *targets: dict[str, Any], **changes: Any) -> None:
    (place / "plan.json").write_text(json.dumps(plan(*targets, **changes)))


def of_job(number: str, *targets: str) -> dict[str, Any]:
    name = f"job {number}"
    nothing: dict[str, Any] = {"runner": [], "emulated": [], "cost": 1.0}
    return {"id": number, "name": name, "targets": list(targets), **nothing}


def job(
    place: Path,
    name: str,
    *results: dict[str, Any],
    began: float = reports.BEGAN,
    run: str = "r1",
    wheels: dict[str, bytes] | None = None,
) -> Path:
    """What a job hands on; its wheels hold what `contents` says, or what ``wheels`` says."""
    folder = place / "jobs" / name / "dist"
    folder.mkdir(parents=True)
    runs = (reports.run(run, began),)
    text = json.dumps(reports.document(*({**each, "run": run} for each in results), runs=runs))
    (folder / "results.json").write_text(text)
    made = {name_of(each["id"]): contents(each["id"]) for each in results if each["wheel"]}
    for file, data in (made | (wheels or {})).items():
        (folder / file).write_bytes(data)
    return folder


def collect(*places: str | Path) -> int:
    return run("collect", *(places or ("jobs",)), "--plan", "plan.json")


def collected(place: Path) -> dict[str, Any]:
    """Return what is in ``dist/``: target -> result; wheels are what their results say."""
    data = (place / "dist" / "results.json").read_bytes()
    found: dict[str, Any] = {
        each.target_id: each for each in read_results(data, where="dist").results
    }
    for each in found.values():
        if each.wheel is not None:
            wheel = (place / "dist" / each.wheel.filename).read_bytes()
            assert hashlib.sha256(wheel).hexdigest() == each.wheel.sha256
    return found


def wheels(place: Path) -> set[str]:
    return {each.name for each in (place / "dist").iterdir() if ".whl" in each.name}


def kinds(place: Path) -> dict[str, str]:
    found = collected(place).items()
    return {name: each.failure.kind.value for name, each in found if each.failure is not None}


def check_lost(place: Path, code: ExitCode, lost: dict[str, str], *places: str | Path) -> str:
    """Collect: these targets are lost, each for its reason, and the wheels of all others there.

    Return what was said.
    """
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert collect(*places) == code
    assert kinds(place) == lost
    assert wheels(place) == {name_of(each) for each in IDS if each not in lost}
    return said.getvalue()


# What is there


def test_the_wheels_of_all_jobs_come_together(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(place, "wheels-01", good(A), good(B))
    job(place, "wheels-02", good(C))

    said = check_lost(place, ExitCode.OK, {})
    assert said == "3 of 3 planned wheels are in dist\n"
    assert capsys.readouterr().out == ""
    assert set(collected(place)) == set(IDS)
    ET.parse(place / "dist" / "junit.xml")  # noqa: S314 - our own
    assert (place / "dist" / "report.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert (place / "dist" / "report.md").read_text("utf-8").startswith("## ")


def test_directories_of_jobs_may_be_named_one_by_one(place: Path) -> None:
    first, second = job(place, "1", good(A), good(B)), job(place, "2", good(C))

    check_lost(place, ExitCode.OK, {}, first, second)


def test_collecting_again_changes_nothing(place: Path) -> None:
    job(place, "1", *map(good, IDS))
    assert collect() == ExitCode.OK
    before = {each: each.stat().st_mtime_ns for each in (place / "dist").glob("*.whl")}
    text = (place / "dist" / "results.json").read_bytes()

    assert collect(".") == ExitCode.OK, "what was collected is no job's"
    assert {each: each.stat().st_mtime_ns for each in (place / "dist").glob("*.whl")} == before
    assert (place / "dist" / "results.json").read_bytes() == text


def test_libraries_are_no_wheels_and_may_be_in_many_jobs(place: Path) -> None:
    save_plan(place, planned("core-1", library="core"), *map(planned, IDS))
    library = reports.result("core-1", wheel=None)
    job(place, "1", library, good(A))
    job(place, "2", library, good(B), good(C))
    assert collect() == ExitCode.OK

    save_plan(place, planned("not-needed", library="core"), *map(planned, IDS))
    assert collect() == ExitCode.OK


def test_what_was_not_known_yet_when_it_was_planned_has_any_key(place: Path) -> None:
    unknown = [{"id": C, "reason": "nobody asked"}]
    save_plan(place, planned(A), planned(B), undetermined=unknown)
    job(place, "1", good(A), good(B), good(C, key="ef" * 32))
    assert collect() == ExitCode.OK

    save_plan(place, planned(A), undetermined=[*unknown, {"id": "d", "reason": ""}])
    assert collect() == ExitCode.TARGET_FAILED
    assert kinds(place) == {"d": "missing"}


# Runs again


def test_a_re_run_replaces_a_failure(place: Path) -> None:
    job(place, "02-attempt-2", good(B, started=reports.BEGAN + 900), run="r2")
    job(place, "02-attempt-1", failed(B))
    job(place, "01", good(A), good(C))

    check_lost(place, ExitCode.OK, {})


def test_a_re_run_that_finds_it_in_the_store_replaces_a_failure(place: Path) -> None:
    """What comes from the store was never started: its run was."""
    again = good(B, started=None, cached=True)
    job(place, "attempt-1", good(A), failed(B), good(C))
    job(place, "attempt-0", again, run="r2", began=reports.BEGAN + 900)

    assert collect() == ExitCode.OK
    assert collected(place)[B].cached


def test_a_later_failure_counts_too(place: Path) -> None:
    save_plan(place, *map(planned, IDS), jobs=[of_job("01", *IDS)])
    job(place, "one/job-01", *map(good, IDS))
    job(place, "two/job-01", failed(A, started=reports.BEGAN + 900), run="r2")

    check_lost(place, ExitCode.TARGET_FAILED, {A: "build"})


def test_of_a_target_that_was_built_twice_the_later_wheel_counts(place: Path) -> None:
    save_plan(place, *map(planned, IDS), jobs=[of_job("01", *IDS)])
    job(place, "two/job-01", *map(good, IDS))
    later = good(A, again(A), started=reports.BEGAN + 900)
    job(place, "one/job-01", later, run="r2", wheels={name_of(A): again(A)})

    assert collect() == ExitCode.OK
    assert (place / "dist" / name_of(A)).read_bytes() == again(A)


# What is missing


def test_a_missing_target_is_named_with_its_job_and_keeps_nothing_back(place: Path) -> None:
    save_plan(place, *map(planned, IDS), jobs=[of_job("07", C)])
    job(place, "1", good(A), failed(B))

    said = check_lost(place, ExitCode.TARGET_FAILED, {B: "build", C: "missing"}, "jobs", "gone")
    assert said.splitlines() == [
        "note: gone: no results.json in it: its job ended before it had any result",
        f"{B}: build in build: the project did not build",
        "  hint: the log holds the compiler's messages",
        f"{C}: missing: no job has a result of it",
        "  hint: run job 07 (job 07) again, or see why it ended early",
        "1 of 3 planned wheels is in dist",
    ]
    report = (place / "dist" / "report.md").read_text("utf-8")
    assert "no job has a result of it" in report
    root = ET.parse(place / "dist" / "junit.xml").getroot()  # noqa: S314 - our own
    assert (root.get("errors"), root.get("failures")) == ("1", "1")


def test_no_artefacts_at_all_is_every_target_missing(place: Path) -> None:
    assert collect() == ExitCode.TARGET_FAILED
    assert kinds(place) == dict.fromkeys(IDS, "missing")
    document = json.loads((place / "dist" / "results.json").read_bytes())
    jsonschema.validate(document, json_schema("results"))


def test_a_result_of_another_plan_is_none(place: Path) -> None:
    job(place, "1", good(A, key="ef" * 32), good(B, key=""), good(C), good("of-another-matrix"))

    said = check_lost(place, ExitCode.TARGET_FAILED, {A: "missing", B: "missing"})
    assert f"{A}: missing: no job has it as planned; jobs/1/dist has it with the key efef" in said
    assert "note: of-another-matrix in jobs/1/dist is not in the plan: left out" in said


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (good(A, key=HOST_KEY), None),
        (
            good(A),
            reports.result(A, "cancelled", failure=reports.failure(kind="out-of-time"), key=""),
        ),
        (good(A), good(A, b"x", key="ef" * 32, started=reports.BEGAN + 900)),
    ],
    ids=["built on the host", "a re-run that never got to it", "a wheel of another plan"],
)
def test_the_planned_wheel_stays(
    place: Path, first: dict[str, Any], later: dict[str, Any] | None
) -> None:
    job(place, "1", first, good(B), good(C))
    if later is not None:
        other = {name_of(A): b"x"} if later["wheel"] else {}
        job(place, "2", later, run="r2", began=reports.BEGAN + 900, wheels=other)

    assert collect() == ExitCode.OK
    assert (place / "dist" / name_of(A)).read_bytes() == contents(A)


def test_a_wheel_that_its_job_did_not_hand_on_is_missing(place: Path) -> None:
    (job(place, "1", *map(good, IDS)) / name_of(B)).unlink()

    said = check_lost(place, ExitCode.TARGET_FAILED, {B: "missing"})
    assert f"{name_of(B)} is not in jobs/1/dist" in said


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 1, "results": [{}]}'])
def test_a_damaged_file_of_one_job_keeps_back_no_other(place: Path, text: str) -> None:
    (job(place, "1", good(A)) / "results.json").write_text(text)
    job(place, "2", good(B), good(C))

    said = check_lost(place, ExitCode.TARGET_FAILED, {A: "missing"})
    assert "note: left out: jobs/1/dist/results.json" in said


# What is not what it says


def test_a_wheel_with_other_bytes_is_refused_and_no_other(place: Path) -> None:
    job(place, "1", *map(good, IDS), wheels={name_of(B): b"tampered with"})

    said = check_lost(place, ExitCode.BAD_WHEEL, {B: "bad-wheel"})
    assert f"{B}: bad-wheel: {name_of(B)}: its SHA-256 is " in said


def test_a_bad_wheel_leaves_one_that_is_there_alone(place: Path) -> None:
    job(place, "1", *map(good, IDS))
    assert collect() == ExitCode.OK
    (place / "jobs" / "1" / "dist" / name_of(B)).write_bytes(b"tampered with")
    (place / "dist" / name_of(B)).write_bytes(b"another one")

    assert collect() == ExitCode.BAD_WHEEL
    assert (place / "dist" / name_of(B)).read_bytes() == b"another one"


def test_two_wheels_of_one_name_are_both_refused(place: Path) -> None:
    """The plan gives both targets one version, so that nobody knows which wheel is right."""
    same = planned(B) | {"version": "1.0+a"}
    save_plan(place, planned(A), same, planned(C), jobs=[of_job("01", A, C), of_job("02", B)])
    job(place, "job-01", good(A), good(C))
    job(place, "job-02", good(B, again(A), name_of(A)), wheels={name_of(A): again(A)})

    said = check_lost(place, ExitCode.BAD_WHEEL, {A: "bad-wheel", B: "bad-wheel"})
    assert f"{A}: bad-wheel: {name_of(A)}: {B} has another wheel of this name" in said
    assert f"{B}: bad-wheel: {name_of(A)}: {A} has another wheel of this name" in said


def test_wheels_that_nobody_collected_are_pointed_at(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "dist").mkdir()
    (place / "dist" / "old-1-py3-none-any.whl").touch()
    job(place, "1", *map(good, IDS))

    assert collect() == ExitCode.OK
    assert "dist has other wheels beside the collected ones: old-1-py3" in capsys.readouterr().err


# The sdist

SDIST = "demo-1.0.tar.gz"


def packed(marker: str = "", name: str = "demo-1.0") -> bytes:
    """Return an sdist."""
    out = io.BytesIO()
    project, _, version = name.rpartition("-")
    info = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, text in {"PKG-INFO": info, "pyproject.toml": "", "a": marker}.items():
            entry = tarfile.TarInfo(f"{name}/{member}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(out.getvalue(), mtime=0)


def with_sdist(folder: Path, data: bytes, name: str = SDIST, **changes: Any) -> None:
    """Let a job hand on an sdist as well."""
    (folder / name).write_bytes(data)
    file = folder / "results.json"
    sha256 = hashlib.sha256(data).hexdigest()
    facts = {"filename": name, "version": "1.0", "sha256": sha256, "size": len(data)}
    document = json.loads(file.read_bytes())
    file.write_text(json.dumps(document | {"sdist": facts | changes}))


def plan_with_sdist(place: Path, **changes: Any) -> None:
    """Plan two jobs, of which the first makes the sdist."""
    jobs = [of_job("01", A) | {"sdist": True}, of_job("02", B, C)]
    inputs = dict.fromkeys(("source", "toolchain", "builder"), "x") | {"name": "demo", "epoch": 0}
    save_plan(place, *map(planned, IDS), jobs=jobs, sdist=True, inputs=inputs, **changes)


def sdists(place: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in (place / "dist").glob("*.tar.gz")}


def test_the_sdist_of_its_job_is_put_to_the_wheels(place: Path) -> None:
    plan_with_sdist(place)
    with_sdist(job(place, "job-01", good(A)), packed())
    job(place, "job-02", good(B), good(C))

    assert collect() == ExitCode.OK
    assert sdists(place) == {SDIST: packed()}
    assert collect() == ExitCode.OK  # as before


@pytest.mark.parametrize("claims", [(B, C), (A, B, C), ()], ids=["its own", "all", "nothing"])
@pytest.mark.parametrize("name", ["job-00-02", "job-02"])
@pytest.mark.parametrize("other", [SDIST, "demo-1.0.post1.tar.gz"])
def test_another_job_s_sdist_is_left_out(
    place: Path, name: str, other: str, claims: tuple[str, ...]
) -> None:
    plan_with_sdist(place)
    with_sdist(job(place, "job-01", good(A)), packed())
    job(place, "z/job-02", good(B), good(C))
    with_sdist(job(place, name, *map(good, claims)), packed("evil"), other)

    collect()
    assert sdists(place) == {SDIST: packed()}
    found = json.loads((place / "dist" / "results.json").read_bytes())["sdist"]
    assert found["sha256"] == hashlib.sha256(packed()).hexdigest()


def test_if_no_name_says_whose_it_is_different_sdists_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_with_sdist(place)
    job(place, "2", good(B), good(C))
    with_sdist(job(place, "1", good(A)), packed())
    assert collect() == ExitCode.OK
    (place / "dist" / SDIST).unlink()
    with_sdist(job(place, "3", good(A)), packed("evil"))

    assert collect() == ExitCode.TARGET_FAILED
    assert "sdist: there are different ones" in " ".join(capsys.readouterr().err.split())
    assert sdists(place) == {}


BAD_SDISTS: dict[str, tuple[bytes, str, dict[str, Any], str]] = {
    "another project": (packed(name="requests-1.0"), "requests-1.0.tar.gz", {}, "sdist of demo"),
    "another version": (packed(name="demo-99"), "demo-99.tar.gz", {}, "the version 1.0"),
    "a local version": (packed(), "demo-1.0+a.tar.gz", {}, "the version 1.0"),
    "another inside": (packed(name="demo-2"), SDIST, {}, "not the name of the file"),
    "other bytes": (packed(), SDIST, {"sha256": "0" * 64}, "its SHA-256 is"),
    "more bytes": (packed(), SDIST, {"size": 1}, "more bytes than its result says"),
    "not an archive": (b"no", SDIST, {}, "cannot be unpacked"),
}


@pytest.mark.parametrize("case", BAD_SDISTS)
def test_an_sdist_that_is_not_the_planned_one_is_refused(
    place: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, name, facts, why = BAD_SDISTS[case]
    plan_with_sdist(place)
    with_sdist(job(place, "job-01", good(A)), data, name, **facts)
    job(place, "job-02", good(B), good(C))

    assert collect() == ExitCode.TARGET_FAILED
    assert why in " ".join(capsys.readouterr().err.split())
    assert sdists(place) == {}


def test_an_sdist_that_is_a_link_or_is_missing_is_refused(place: Path) -> None:
    plan_with_sdist(place)
    folder = job(place, "job-01", good(A))
    with_sdist(folder, packed())
    job(place, "job-02", good(B), good(C))
    (folder / SDIST).rename(place / "elsewhere")
    assert collect() == ExitCode.TARGET_FAILED
    (folder / SDIST).symlink_to(place / "elsewhere")
    assert collect() == ExitCode.TARGET_FAILED
    assert sdists(place) == {}


def test_sdists_that_nobody_collected_are_pointed_at(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "dist").mkdir()
    (place / "dist" / "old-1.tar.gz").touch()
    job(place, "1", *map(good, IDS))

    assert collect() == ExitCode.OK
    assert "dist has other sdists beside the collected ones: old-1" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "{", '{"schema": 1}'])
def test_without_a_plan_nothing_can_be_missing(
    place: Path, text: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "plan.json").unlink()
    if text is not None:
        (place / "plan.json").write_text(text)

    assert collect() == ExitCode.CONFIG
    assert "plan.json" in capsys.readouterr().err


# On GitHub Actions


@pytest.fixture
def actions(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The step's summary; the matrix file is in a directory of the repository."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place / "summary.md"))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(place.parent))
    return place / "summary.md"


def commands(said: str) -> list[str]:
    return [each for each in said.splitlines() if each.lstrip().startswith("::") or "##[" in each]


def test_failures_are_shown_at_their_lines(
    place: Path, actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_plan(place, planned(A), planned(B, line=25), planned(C))
    job(place, "1", good(A), failed(B, failure=reports.failure(message="50% of,\nit: ::no")))

    assert collect() == ExitCode.TARGET_FAILED
    said = capsys.readouterr()
    assert said.out == ""
    matrix = f"{place.name}/matrix.toml"
    hint, error = "  hint: the log holds the compiler's messages", "csrc/a.cu(12): error: no"
    told = f"build in build: 50%25 of, it: ::no%0A{hint}%0A{error}"
    hint = "  hint: run the job that builds it again, or see why it ended early"
    missing = f"missing: no job has a result of it%0A{hint}"
    assert commands(said.err) == [
        f"::error file={matrix},line=25,title={B}::{told}",
        f"::error title={C}::{missing}",
    ]
    assert actions.read_text("utf-8") == (place / "dist" / "report.md").read_text("utf-8")


def test_elsewhere_nothing_of_that_is_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(place / "summary.md"))
    monkeypatch.setenv("CI", "true")
    job(place, "1", failed(A))

    assert collect() == ExitCode.TARGET_FAILED
    assert not (place / "summary.md").exists()
    assert commands(capsys.readouterr().err) == []


@pytest.mark.usefixtures("actions")
def test_of_many_failures_the_last_annotation_names_the_rest(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = [f"cp312-manylinux_x86_64-{number:02}" for number in range(30)]
    save_plan(place, *map(planned, many))

    assert collect() == ExitCode.TARGET_FAILED
    said = commands(capsys.readouterr().err)
    assert len(said) == 10
    assert said[-1].startswith("::error title=21 more; the summary has all of them::")
    assert "%0Acp312-manylinux_x86_64-10: missing: " in said[-1]


def test_the_summary_stays_below_the_limit_of_the_step(
    place: Path, actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions.write_text("x" * 1_000_000)
    many = [f"cp312-manylinux_x86_64-{number:03}" for number in range(150)]
    save_plan(place, *map(planned, many))
    end = reports.log_end(lines=200)
    job(place, "1", *(failed(each, log_end=end) for each in many))

    assert collect() == ExitCode.TARGET_FAILED
    assert 1_000_000 + markdown.LEAST < actions.stat().st_size < 1 << 20
    assert "more targets without a wheel do not fit here" in actions.read_text("utf-8")

    actions.write_text("x" * 1_045_000)
    assert collect() == ExitCode.TARGET_FAILED
    assert actions.stat().st_size == 1_045_000
    assert "the summary of this step is full" in capsys.readouterr().err


HOSTILE = (
    "\n::set-output name=a::b\r::error::c ##[error]d \x1b]0;e\x07 | `f` <img src=x> @somebody "
    "\u202e ::endgroup::"
)


def test_hostile_texts_reach_no_command_and_break_no_markdown(
    place: Path, actions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identifier = f"cp312{HOSTILE}"
    named = of_job("1", A) | {"name": HOSTILE}
    matrix = f"{HOSTILE}.toml"
    targets = (planned(A), planned(identifier, line=3, version="1.0"))
    save_plan(place, *targets, jobs=[named], matrix=matrix)
    end = {"error": 1, "excerpts": [{"line": 1, "text": [HOSTILE, "```", "</details>"]}]}
    failure = reports.failure(message=HOSTILE, hint=HOSTILE, step=HOSTILE)
    job(place, "1", failed(identifier, failure=failure, log_end=end), good(HOSTILE))

    assert collect() == ExitCode.TARGET_FAILED
    said = commands(capsys.readouterr().err)
    assert len(said) == 2, "one annotation for each target"
    assert all(each.startswith("::error ") for each in said)
    for each in said:
        properties = each.removeprefix("::error ").partition("::")[0]
        pairs = [pair.partition("=")[0] for pair in properties.split(",")]
        assert pairs in (["title"], ["file", "line", "title"])
        assert ":" not in properties
    text = actions.read_text("utf-8")
    assert "\x1b" not in text
    outside = re.sub(r"^(`{3,})text\n.*?\n\1\n", "", text, flags=re.MULTILINE | re.DOTALL)
    assert len(outside) < len(text), "the log is in a block of its own, which it cannot end"
    assert "<img" not in outside
    assert "@somebody" not in outside
    assert outside.count("</details>") == outside.count("<details>") == 3


def test_the_output_directory_may_lie_anywhere(place: Path) -> None:
    job(place, "1", *map(good, IDS))

    assert run("collect", "jobs", "--plan=plan.json", "--output-dir=jobs/all") == ExitCode.OK
    assert run("collect", "jobs", "--plan=plan.json", "--output-dir=jobs/all") == ExitCode.OK
    assert len(list((place / "jobs" / "all").iterdir())) == 3 + 4


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("where", ["fchmod", "utime", "fsync"])
def test_a_disk_that_fails_makes_no_wheel_a_bad_one(
    where: str,
    number: int,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job(place, "job-1", *map(good, IDS))

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, where, fail)
        assert collect() == ExitCode.ENVIRONMENT
    said = capsys.readouterr().err
    assert os.strerror(number) in said
    assert f"dist/{name_of(IDS[0])}" in said
    assert collect() == ExitCode.OK


def test_an_artefact_with_directories_without_end_is_left_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job(place, "wheels-01", good(A), good(B), good(C))
    (place / "bad" / "/".join("d" * 300)).mkdir(parents=True)
    assert collect("jobs", "bad") == ExitCode.OK
    assert "left out: bad: has more than" in capsys.readouterr().err
