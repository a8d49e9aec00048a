"""``orchestrator report`` and the reports of ``build``: what goes where, and what may go wrong."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import orchestrator.cli
from orchestrator.errors import ExitCode
from orchestrator.models.result import BuildResult, Status
from orchestrator.models.target import TargetId
from orchestrator.report.schemas import DOCUMENTS, json_schema, read_results
from orchestrator.run.inputs import RunObservers
from tests import reports
from tests.unit.report.test_reports import BUILT


def run(*arguments: str | Path) -> int:
    return orchestrator.cli.run([*map(str, arguments)])


def save(path: Path, document: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return save(tmp_path / "dist" / "results.json", reports.large(30))


def test_without_options_it_is_markdown(found: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", found) == ExitCode.OK
    assert capsys.readouterr().out.startswith("## demo: ")


def test_a_directory_stands_for_the_file_in_it(found: Path, tmp_path: Path) -> None:
    assert run("report", found.parent, "--html=a.html", "--junit=a.xml") == ExitCode.OK
    assert (tmp_path / "a.html").read_text("utf-8").startswith("<!DOCTYPE html>")
    assert (tmp_path / "a.xml").read_text("utf-8").startswith("<?xml")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.html", "a.xml", "dist"]


def test_jobs_are_merged(found: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = save(tmp_path / "job2.json", reports.document(reports.result("zz")))

    assert run("report", found, other, "--json=-") == ExitCode.OK

    merged = read_results(capsys.readouterr().out, where="stdout")
    assert len(merged.results) == 31
    assert merged.results[-1].target_id == "zz"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["gone.json"], ExitCode.CONFIG, "does not exist"),
        (["bad.json"], ExitCode.CONFIG, "bad.json: not a JSON document"),
        (["empty"], ExitCode.CONFIG, "empty/results.json: No such file"),
        (["dist", "--html=no/r.html"], ExitCode.ENVIRONMENT, "there is no such directory"),
        (
            ["dist", "--html=r", "--junit=r"],
            ExitCode.CONFIG,
            "--html and --junit write to the same",
        ),
    ],
)
@pytest.mark.usefixtures("found")
def test_what_cannot_be_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: ExitCode,
    message: str,
) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "empty").mkdir()

    assert run("report", *arguments) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_report_is_there_whole_or_as_before(
    found: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "r.html").write_text("before")
    monkeypatch.setattr(os, "fsync", full)

    assert run("report", found, "--html=r.html", "--markdown=-") == ExitCode.ENVIRONMENT

    said = capsys.readouterr()
    assert "r.html: the --html report cannot be written: No space left" in said.err
    assert said.out.startswith("## "), "the other report is there"
    assert (tmp_path / "r.html").read_text() == "before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dist", "r.html"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_schema_prints_each_document_s(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema", name) == ExitCode.OK
    assert json.loads(capsys.readouterr().out) == json_schema(name)


def test_schema_of_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("schema", "nonsense") == ExitCode.CONFIG
    assert "results" in capsys.readouterr().err


# The end of a build, played: what a machine does to it cannot be had otherwise


def full(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Played:
    """A run whose targets end as said, and which may then be struck by something."""

    outcomes: tuple[BuildResult, ...] = ()
    strike: Callable[[], object] = staticmethod(lambda: None)

    @classmethod
    def run(
        cls, _inputs: object, _options: object, observers: RunObservers, _host: object
    ) -> tuple[BuildResult, ...]:
        for each in cls.outcomes:
            observers.listener.ended(each)
        cls.strike()
        return cls.outcomes


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[Played]:
    class Own(Played):
        pass

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("orchestrator.run.session.run_session", Own.run)
    monkeypatch.setattr("orchestrator.run.inputs.open_host", lambda *_: None)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/pyproject.toml").write_text('[project]\nname = "demo"\nversion = "1.0"\n')
    (tmp_path / "dist").mkdir()
    (tmp_path / ".orchestrator").mkdir()
    (tmp_path / "matrix.toml").write_text(
        '[project]\nsource = "src"\n[axes]\npython = ["cp312"]\narch = ["x86_64"]\n'
    )
    Own.outcomes = (replace(BUILT, status=Status.OK, failure=None, target_id=TargetId("t")),)
    return Own


def test_a_run_that_ends_with_an_exception_has_its_reports(
    played: type[Played], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(played, "strike", staticmethod(interrupt))

    assert run("build", "--html=r.html") == ExitCode.INTERRUPTED

    assert "✓" in (tmp_path / "r.html").read_text("utf-8")
    assert (tmp_path / "dist/results.json").is_file()


@pytest.mark.parametrize(
    ("outcome", "code"), [(Status.OK, ExitCode.ENVIRONMENT), (Status.FAILED, 1)]
)
def test_a_report_that_cannot_be_written_makes_no_wheel_a_failure(
    played: type[Played],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outcome: Status,
    code: int,
) -> None:
    failure = None if outcome is Status.OK else BUILT.failure
    played.outcomes = (replace(BUILT, status=outcome, failure=failure),)
    monkeypatch.setattr(
        played, "strike", staticmethod(lambda: monkeypatch.setattr(os, "fsync", full))
    )

    assert run("build", "--html=r.html") == code

    said = capsys.readouterr().err
    assert "the --html report cannot be written: No space left on device" in said
    document = json.loads(Path("dist/results.json").read_text("utf-8"))
    assert document["results"][0]["status"] == outcome


def test_results_that_cannot_be_written_are_said_in_the_end(
    played: type[Played],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "fsync", full)

    assert run("build", "--markdown=-") == ExitCode.ENVIRONMENT

    said = capsys.readouterr()
    told = " ".join(said.err.split())
    assert "results.json cannot be written: No space left on device" in told
    assert said.out.startswith("## demo: 1 ok"), "what goes to a pipe is not lost"


def test_what_cannot_be_written_is_known_before_anything_is_built(played: type[Played]) -> None:
    assert run("build", "--junit=gone/r.xml") == ExitCode.ENVIRONMENT
