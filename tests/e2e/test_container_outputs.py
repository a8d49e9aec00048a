"""What comes out of a container is a stranger's: links in it lead to files of this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import IMAGES, Said, orchestrator, results
from tests.factories import write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]

ID = "cp311-manylinux_x86_64"
SECRET = "hunter2, only on this host"  # noqa: S105 - not one


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path, "direct")
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


def build(project: Path, more: str, *options: str, code: int | None = None) -> Said:
    (project / "matrix.toml").write_text(
        '[project]\nsource = "tiny"\n[axes]\npython = ["cp311"]\narch = ["x86_64"]\n'
        f'[images]\nmanylinux_x86_64 = "{IMAGES}:bookworm-x86_64"\n'
        f'[engine]\nname = "podman"\n[version]\nbase = "1.0"\n{more}'
    )
    return orchestrator("build", *options, cwd=project, code=code)


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_a_wheel_that_is_a_link_is_refused(engine: str, project: Path, backend: str) -> None:
    link = f"ln -s {project}/secret {{dest_dir}}/$(basename {{wheel}})"
    said = build(project, f"[build]\nrepair = '{link}'\n", "--backend", backend)

    assert said.code in {1, 5}, said.all
    assert SECRET not in said.all
    result = results(project / "dist")[ID]
    assert result["wheel"] is None
    assert result["status"] == "failed"
    assert [each.name for each in (project / "dist").iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    "command",
    [
        "ln -s {place}/secret lib/out.so",
        "rmdir lib && ln -s {place} lib && cp setup.py out.so || true",
        "ln -s ../../../../../../../../../../..{place}/secret lib/out.so",
    ],
)
def test_no_output_of_a_library_is_a_file_of_this_host(
    engine: str, project: Path, command: str
) -> None:
    run = command.format(place=project)
    library = f"[library.x]\ncommand = 'mkdir lib && {run}'\noutputs = ['lib/*t*']\n"
    build(project, f"{library}axes.n = ['1']\n", "--backend", "direct", code=1)

    found = [each for each in results(project / "dist").values() if each["id"] != ID]
    messages = [each["failure"]["message"] for each in found]
    assert all("leads" in each or "left no file" in each for each in messages), messages
    for path in (project / ".orchestrator").rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET.encode() not in path.read_bytes(), path


def test_a_link_of_the_source_is_one_in_the_container(engine: str, project: Path) -> None:
    (project / "tiny/inside.txt").write_text("inside")
    (project / "tiny/link.txt").symlink_to("inside.txt")
    (project / "tiny/nowhere").symlink_to("/nonexistent/on/this/host")
    check = "test -L link.txt && grep -q inside link.txt && test -L nowhere"
    backend = ("--backend", "cibuildwheel")
    build(project, f"[build]\nbefore-build = '{check}'\n", *backend, code=0)

    (project / "tiny/etc").symlink_to("/etc")
    said = build(project, "", *backend, code=2)
    assert "tiny/etc: leads out of the source, to '/etc'" in said.stderr
