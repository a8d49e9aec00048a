"""The whole fan-out, really run: plan, jobs on machines of their own, collect; and a re-run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MACHINE, TAG, results
from tests.factories import write_project
from tests.fanout import Cloud

pytestmark = pytest.mark.index


def identity(kind: str) -> str:
    return f"{TAG}-manylinux_{MACHINE}-{kind}"


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    (tmp_path / "built").touch()
    built, mended = tmp_path / "built", tmp_path / "mended"
    project = write_project(tmp_path / "project", "fanout", built=built, mended=mended)
    return Cloud(root=tmp_path / "cloud", project=project)


def built(cloud: Cloud) -> list[str]:
    return (cloud.root.parent / "built").read_text().split()


def wheels(cloud: Cloud) -> list[str]:
    """The local versions of all collected wheels."""
    names = [each.name for each in cloud.artefact("wheels").glob("*.whl")]
    return sorted(name.split("-")[1].partition("+")[2] for name in names)


def statuses(folder: Path) -> dict[str, Any]:
    return {name.rpartition("-")[2]: each["status"] for name, each in results(folder).items()}


def test_failed_and_late_jobs_lose_nothing_and_a_re_run_builds_only_what_is_missing(
    cloud: Cloud,
) -> None:
    inputs = {"backend": "direct", "stop-after": 1, "select": f"{TAG}-*\n\narch=nothing*\n"}
    jobs = cloud.run(inputs)

    assert jobs["plan"].ok, jobs["plan"].log
    assert "### Coverage" in jobs["plan"].summary
    assert [each for each in cloud.ran if each != "collect"] == [
        *("plan", "build 01", "build 02", "build 03"),
    ]
    assert [jobs[f"build 0{n}"].ok for n in (1, 2, 3)] == [True, False, False]
    assert jobs["build 01"].name == f"01 {identity('a')}"
    assert jobs["build 03"].name == f"03 {TAG}, manylinux_{MACHINE}, b slow (2 targets)"
    assert not any(job.qemu for job in jobs.values())
    assert statuses(cloud.artefact("wheels-job-02") / "dist") == {"bad": "failed"}
    late = cloud.artefact("wheels-job-03")
    assert statuses(late / "dist")["b"] == "ok"
    assert statuses(late / "dist")["slow"] != "ok"
    assert (late / f"work/logs/{identity('slow')}.log").is_file()

    # Nothing that a build says is a command; what begins so is ours.
    lines = jobs["build 02"].log.splitlines()
    assert any("set-output name=x::y" in line for line in lines), jobs["build 02"].log
    ours = {"::group::" + identity("bad") + ": the log's end", "::endgroup::"}
    assert {line for line in lines if line.lstrip().startswith("::")} <= ours
    assert not any("##[" in line for line in lines)

    # What there is, is collected all the same; what is missing is named.
    collect = jobs["collect"]
    assert not collect.ok
    assert wheels(cloud) == ["a", "b"]
    assert identity("bad") in collect.log
    assert identity("slow") in collect.summary
    assert "::error" in collect.log
    assert (cloud.artefact("wheels") / "report.html").is_file()

    # "Re-run failed jobs"
    (cloud.root.parent / "mended").touch()
    before = built(cloud)
    cloud.run(inputs | {"stop-after": 30})

    assert cloud.ran == ["build 02", "build 03", "collect"]
    assert all(each.ok for each in cloud.jobs.values()), cloud.jobs["collect"].log
    assert {*built(cloud)[len(before) :]} == {"bad", "slow"}, "b came from the store"
    assert wheels(cloud) == ["a", "b", "bad", "slow"]
    assert {*statuses(cloud.artefact("wheels")).values()} == {"ok"}
