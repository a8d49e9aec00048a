"""Real projects through real cibuildwheel in real containers, native and under QEMU."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import parse_wheel_filename

from tests import demo
from tests.conftest import (
    IMAGES,
    REPOSITORY,
    build_soon,
    containers,
    log_of,
    orchestrator,
    podman,
    results,
    started,
    with_own_store,
)
from tests.factories import edit, project_file, project_files, write_files, write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]

SUITES = {"cp39": ("bullseye", 31), "cp311": ("bookworm", 36), "cp313": ("trixie", 41)}
"""Python -> the suite whose own Python it is, and the minor version of that suite's glibc 2."""

PROJECTS = {
    # versions that Python 3.9, 3.11 and 3.13 can all build
    "markupsafe": ("markupsafe==3.0.2", "markupsafe._speedups"),
    "msgpack": ("msgpack==1.1.1", "msgpack._cmsgpack"),
    "regex": ("regex==2024.11.6", "regex._regex"),
    "kiwisolver": ("kiwisolver==1.4.7", "kiwisolver._cext"),
}

BY_SUITE = """
[[override]]
when = {{ python = "cp39" }}
image = "{images}:bullseye-x86_64"

[[override]]
when = {{ python = "cp313" }}
image = "{images}:trixie-x86_64"
"""


def write_matrix(folder: Path, project: str, *, pythons: tuple[str, ...], arch: str) -> None:
    quoted = ", ".join(f'"{each}"' for each in pythons)
    matrix = project_file("engine.toml")
    text = matrix.format(source=PROJECTS[project][0], pythons=quoted, arch=arch, images=IMAGES)
    text += BY_SUITE.format(images=IMAGES) if len(pythons) > 1 else ""
    (folder / "matrix.toml").write_text(text)


def imports_cleanly(dist: Path, wheel: str, module: str, image: str) -> str:
    """Install the finished wheel, and nothing else, in a clean environment of its own arch."""
    script = (
        "python3 -m venv /clean && cd / && "
        f"/clean/bin/python -m pip install --no-index --no-deps -q '/dist/{wheel}' && "
        f"/clean/bin/python -c 'import {module}; print({module}.__file__)'"
    )
    volume = f"--volume={dist}:/dist:ro"
    said = podman("run", "--rm", "--network=none", volume, image, "sh", "-c", script)
    assert said.code == 0, said.all
    return said.stdout


def glibc_minor(wheel: str) -> int:
    """The lowest glibc 2 minor version a wheel's name asks for."""
    return min(int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", wheel))


@pytest.mark.parametrize("project", PROJECTS)
def test_each_wheel_follows_its_baseline(project: str, engine: str, tmp_path: Path) -> None:
    write_matrix(tmp_path, project, pythons=tuple(SUITES), arch="x86_64")
    orchestrator("build", "-j2", cwd=tmp_path, code=0)
    found = results(tmp_path / "dist")
    assert sorted(found) == sorted(f"{python}-manylinux_x86_64" for python in SUITES)
    for python, (suite, glibc) in SUITES.items():
        result = found[f"{python}-manylinux_x86_64"]
        assert result["backend"] == "cibuildwheel"
        name = result["wheel"]["filename"]
        _, version, _, tags = parse_wheel_filename(name)
        assert str(version) == PROJECTS[project][0].partition("==")[2]
        assert {tag.interpreter for tag in tags} == {python}
        assert glibc_minor(name) <= glibc
        image = f"{IMAGES}:{suite}-x86_64"
        imports_cleanly(tmp_path / "dist", name, PROJECTS[project][1], image)
    wheels = sorted((tmp_path / "dist").glob("*.whl"))
    orchestrator("verify", *wheels, cwd=tmp_path, code=0)


@pytest.mark.qemu
def test_foreign_architecture_under_qemu(emulated: str, tmp_path: Path) -> None:
    write_matrix(tmp_path, "msgpack", pythons=("cp311",), arch="aarch64")
    orchestrator("build", cwd=tmp_path, code=0)
    result = results(tmp_path / "dist")["cp311-manylinux_aarch64"]
    name = result["wheel"]["filename"]
    assert name.endswith("_aarch64.whl")
    assert "emulated" in result["backend_reason"]
    assert glibc_minor(name) <= 36
    imported = imports_cleanly(tmp_path / "dist", name, PROJECTS["msgpack"][1], emulated)
    assert "aarch64-linux-gnu" in imported


def write_saxpy(folder: Path, *, arch: str) -> None:
    """The repository's own matrix, with our local images instead of the registry's."""
    text = (REPOSITORY / "matrix.toml").read_text()
    text = re.sub(r"(?m)^source = .*$", f'source = "{REPOSITORY}/examples/saxpy"', text)
    text = re.sub(r"(?m)^python = .*$", 'python = ["cp311"]', text)
    text += f'\n[images]\nmanylinux_{arch} = "{IMAGES}:bookworm-{arch}"\n'
    (folder / "matrix.toml").write_text(text)


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_saxpy_variants(backend: str, engine: str, tmp_path: Path) -> None:
    write_saxpy(tmp_path, arch="x86_64")
    chosen = ("--select", "arch=x86_64", "--backend", backend)
    orchestrator("build", "-j2", *chosen, cwd=tmp_path, code=0)
    found = results(tmp_path / "dist")
    for device in ("cpu", "cu130", "cu132"):
        wheel = found[f"cp311-manylinux_x86_64-{device}"]["wheel"]
        assert wheel["version"] == f"1.0.0+{device}"
        assert wheel["filename"].startswith(f"saxpy-1.0.0+{device}-cp311-cp311-manylinux")
        outside = set(wheel["external_libs"])
        assert outside == (set() if device == "cpu" else {"libcudart.so.13"})
        spent = found[f"cp311-manylinux_x86_64-{device}"]["cpu_seconds"]
        assert spent > 0.5, "what ran in the container counts, and not the engine's client"


@pytest.mark.nightly
@pytest.mark.qemu
def test_saxpy_on_a_foreign_architecture(emulated: str, tmp_path: Path) -> None:
    write_saxpy(tmp_path, arch="aarch64")
    orchestrator("build", "--select", "*-manylinux_aarch64-cpu", cwd=tmp_path, code=0)
    wheel = results(tmp_path / "dist")["cp311-manylinux_aarch64-cpu"]["wheel"]
    imports_cleanly(tmp_path / "dist", wheel["filename"], "saxpy", emulated)


GOOD, BROKEN, UNSUPPORTED = (
    f"cp311-manylinux_x86_64-{kind}" for kind in ("good", "broken", "unsupported")
)
CIBUILDWHEEL = ("--backend", "cibuildwheel")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A project of a few lines, with configuration of its own."""
    write_project(tmp_path, "tiny")
    return tmp_path


def build_good(place: Path, *options: str, code: int = 0) -> dict[str, Any]:
    orchestrator("build", "--select", "*-good", *options, cwd=place, code=code)
    result: dict[str, Any] = results(place / "dist")[GOOD]
    return result


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_environment_reaches_the_build_as_written(backend: str, engine: str, tiny: Path) -> None:
    summary = tiny / "summary.md"
    summary.write_text("ours\n")
    env = {"LEAKED": "x", "CFLAGS": "-DLEAK", "GITHUB_STEP_SUMMARY": str(summary)}
    command = ("build", "--select", "*-good", "--backend", backend)
    orchestrator(*command, cwd=tiny, env=env, code=0)
    seen = next(line for line in log_of(tiny, GOOD).splitlines() if "SEEN {" in line)
    assert "'FROM_PROJECT': 'kept'" in seen
    assert "'FROM_MATRIX': 'matrix'" in seen
    assert "'EVALUATED': 'Linux-matrix'" in seen
    assert "'LEAKED': None, 'CFLAGS': None" in seen
    assert repr("""a "b" 'c' $(touch /project/pwned) `id` ; d""") in seen
    assert summary.read_text() == "ours\n", "cibuildwheel must not overwrite our step summary"
    assert not Path("/project/pwned").exists()


def test_a_failing_target_loses_no_other(engine: str, tiny: Path) -> None:
    said = orchestrator("build", "-j2", cwd=tiny, code=1)
    found = results(tiny / "dist")
    assert found[GOOD]["status"] == "ok"
    broken = found[BROKEN]
    assert (broken["status"], broken["failure"]["kind"]) == ("failed", "setup")
    assert broken["failure"]["step"] == "before-build"
    assert "it broke here" in said.stderr, "the log's last lines are shown"
    assert broken["log"] in said.stderr, "and its path"
    names = {each.name for each in (tiny / "dist").iterdir()}
    assert all(name.endswith(".whl") or name == "results.json" for name in names)


def test_a_python_that_the_project_refuses_is_known_before_a_container_starts(tiny: Path) -> None:
    own = '[project]\nname = "tiny"\ndynamic = ["version"]\nrequires-python = ">=3.12"\n'
    with (tiny / "tiny/pyproject.toml").open("a") as pyproject:
        pyproject.write(own)
    said = orchestrator("build", "--select", "*-good", cwd=tiny, code=3)
    assert "requires-python" in said.stderr


def test_engine_and_image_faults_are_told_apart(engine: str, tiny: Path) -> None:
    """docker has no daemon here; that image does not exist: two reasons, exit code 4."""
    edit(tiny / "matrix.toml", "bookworm-x86_64", "no-such-image")
    result = build_good(tiny, *CIBUILDWHEEL, code=4)
    assert (result["status"], result["failure"]["kind"]) == ("unavailable", "unavailable")
    assert "no-such-image" in result["failure"]["message"]
    edit(tiny / "matrix.toml", "no-such-image", "bookworm-x86_64")
    edit(tiny / "matrix.toml", "[engine]\n", '[engine]\nname = "docker"\n')
    assert "docker" in build_good(tiny, *CIBUILDWHEEL, code=4)["failure"]["message"]
    fallback = build_good(tiny)
    assert fallback["backend"] == "direct"
    assert "docker" in fallback["backend_reason"], "auto says why not cibuildwheel"


def test_an_image_without_the_interpreter_is_found_before_the_build(
    engine: str, tiny: Path
) -> None:
    edit(tiny / "matrix.toml", '["cp311"]', '["cp310"]')
    orchestrator("build", "--select", "*-good", *CIBUILDWHEEL, cwd=tiny, code=4)
    failure = results(tiny / "dist")["cp310-manylinux_x86_64-good"]["failure"]
    assert "has no cp310" in failure["message"]
    assert "cp311-cp311" in failure["hint"], "it says what the image has"


def test_the_next_run_removes_what_a_killed_one_left(engine: str, tiny: Path) -> None:
    breaks, sleeps = "echo it broke here; exit 3", "echo sleeping; sleep 600"
    edit(tiny / "matrix.toml", breaks, sleeps)
    with started("build", *CIBUILDWHEEL, "--select", "*-broken", cwd=tiny) as run:
        wait_for_sleep(tiny)
        run.kill()
    assert containers(tiny), "nobody was there to remove it"
    edit(tiny / "matrix.toml", sleeps, breaks)
    build_good(tiny, *CIBUILDWHEEL)
    assert containers(tiny) == []
    assert list((tiny / ".orchestrator/runs").iterdir()) == []


def wait_for_sleep(place: Path) -> None:
    log = place / f".orchestrator/logs/{BROKEN}.log"
    deadline = time.monotonic() + 300
    while not (log.exists() and "\nsleeping" in log.read_text()):
        assert time.monotonic() < deadline, "the slow target never started"
        time.sleep(0.2)


def test_ctrl_c_keeps_finished_wheels_and_leaves_nothing(engine: str, tiny: Path) -> None:
    edit(tiny / "matrix.toml", "echo it broke here; exit 3", "echo sleeping; sleep 600")
    # A shell that starts the tests in the background makes its children ignore SIGINT.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "orchestrator"]
    argv += ["build", "--backend", "cibuildwheel", "-j1"]
    environ = with_own_store()
    with subprocess.Popen(argv, cwd=tiny, env=environ, stderr=subprocess.PIPE, text=True) as run:
        wait_for_sleep(tiny)
        assert containers(tiny)
        run.send_signal(signal.SIGINT)
        _, stderr = run.communicate(timeout=120)
    assert run.returncode == 130, stderr
    assert containers(tiny) == []
    found = results(tiny / "dist")
    statuses = [found[each]["status"] for each in (GOOD, BROKEN, UNSUPPORTED)]
    assert statuses == ["ok", "cancelled", "cancelled"]
    wheels = [each.name for each in (tiny / "dist").iterdir() if each.suffix == ".whl"]
    assert wheels == [found[GOOD]["wheel"]["filename"]]
    assert list((tiny / ".orchestrator/runs").iterdir()) == []


def test_libraries_feed_an_abi3_wheel_in_containers(engine: str, tmp_path: Path) -> None:
    demo.write(tmp_path, arch="x86_64", tag="cp311", floor="0x030b0000")
    orchestrator("build", "-j2", cwd=tmp_path, code=0)
    found = results(tmp_path / "dist")
    wheel = found.pop("abi3-cp311-manylinux_x86_64")
    assert wheel["backend"] == "cibuildwheel"
    assert wheel["wheel"]["filename"].startswith("fanin-1.0-cp311-abi3-manylinux")
    assert [each["status"] for each in found.values()] == ["ok", "ok"]
    assert all("bookworm-x86_64" in each["backend_reason"] for each in found.values())
    assert containers(tmp_path) == []


def test_one_source_on_three_baselines_gets_three_true_tags(engine: str, tmp_path: Path) -> None:
    write_files(tmp_path / "project", project_files("three"))
    write_matrix(tmp_path, "markupsafe", pythons=tuple(SUITES), arch="x86_64")
    edit(tmp_path / "matrix.toml", "markupsafe==3.0.2", "project")

    orchestrator("build", "-j2", cwd=tmp_path, code=0)

    found = results(tmp_path / "dist")
    tags = [found[f"{python}-manylinux_x86_64"]["wheel"]["observed_tag"] for python in SUITES]
    assert tags[1:] == ["manylinux_2_34_x86_64", "manylinux_2_38_x86_64"]
    assert glibc_minor(tags[0]) <= 31
    names = [found[f"{python}-manylinux_x86_64"]["wheel"]["filename"] for python in SUITES]
    for name, (suite, _) in zip(names, SUITES.values(), strict=True):
        image = f"{IMAGES}:{suite}-x86_64"
        imports_cleanly(tmp_path / "dist", name, "three", image)

    # What a pipeline that only renames does: the newest wheel under the oldest one's tag.
    renamed = tmp_path / names[2].replace("manylinux_2_38", "manylinux_2_17")
    renamed.write_bytes((tmp_path / "dist" / names[2]).read_bytes())
    verified = orchestrator("verify", renamed, cwd=tmp_path, code=5)
    assert "wheel-tags" in verified.stdout
    assert "tag-too-low" in verified.stdout


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_what_waits_in_a_container_is_seen_from_outside(
    backend: str, engine: str, tmp_path: Path
) -> None:
    write_matrix(tmp_path, "msgpack", pythons=("cp311",), arch="x86_64")
    burn = "python -c 'import time\nend = time.time() + 3\nwhile time.time() < end: pass'"
    with (tmp_path / "matrix.toml").open("a") as matrix:
        matrix.write(f'[build]\nbefore-build = """{burn}; sleep 4"""\n')
    said = build_soon(tmp_path, f"--backend={backend}")

    waits = re.findall(
        r"(\S+) has printed nothing and used no processor for \d s: (.*?) sleeps", said
    )
    assert {step for step, _ in waits} == {"before-build"}, said
    assert all("sleep 4" in command for _, command in waits)
    assert "import time" not in waits[0][1].partition("sleep 4")[2]
    assert re.search(r"(?m)^# +\d+ sleep 4: ", log_of(tmp_path))
