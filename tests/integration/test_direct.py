"""The direct backend on this host, and everything around it that needs no container engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.provision.cache_dir import default_cache_dir
from tests.conftest import REPOSITORY, lacking, orchestrator, results
from tests.factories import project_file

pytestmark = pytest.mark.index

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
"""The Python that runs the tests is on this host for certain."""

MACHINE = os.uname().machine
ID = f"{TAG}-manylinux_{MACHINE}"

SETUP = project_file("direct/setup.py")

PYPROJECT = project_file("direct/pyproject.toml")

MATRIX = project_file("direct/matrix.toml")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    project = tmp_path / "tiny"
    project.mkdir()
    (project / "setup.py").write_text(SETUP)
    (project / "pyproject.toml").write_text(PYPROJECT)
    write(tmp_path, "")
    return tmp_path


def write(place: Path, more: str) -> None:
    text = MATRIX.format(tag=TAG, machine=MACHINE)
    (place / "matrix.toml").write_text(text + more)


def build(place: Path, *options: str) -> tuple[int, str]:
    said = orchestrator("build", "--backend", "direct", *options, cwd=place)
    return said.code, said.stderr


def test_two_variants_at_once(tiny: Path) -> None:
    code, said = build(tiny, "-j2")
    assert code == 0, said
    found = results(tiny / "dist")
    for kind in ("a", "b"):
        wheel = found[f"{ID}-{kind}"]["wheel"]
        assert wheel["filename"].startswith(f"tiny-1.0+{kind}-{TAG}-{TAG}-")
        assert (tiny / "dist" / wheel["filename"]).is_file()
    assert orchestrator("verify", *(tiny / "dist").glob("*.whl"), cwd=tiny).code == 0
    assert not list((tiny / ".orchestrator/runs").iterdir())
    assert not (tiny / "tiny/tiny.c").exists(), "the source itself stays untouched"


def test_reports_say_how_a_run_with_a_failure_ended(tiny: Path) -> None:
    write(tiny, '[[override]]\nwhen = { kind = "b" }\nenv = { CC = "/no/such/compiler" }\n')
    code, said = build(tiny, "-j2", "--html=r.html", "--junit=r.xml", "--markdown=r.md")

    assert code == 1, said
    error = "/no/such/compiler"
    for name in ("r.html", "r.xml", "r.md"):
        text = (tiny / name).read_text("utf-8")
        assert f"{ID}-a" in text
        assert error in text, f"{name} says why"
    found = results(tiny / "dist")
    assert found[f"{ID}-a"]["request"]["source"]["epoch"] > 0
    assert found[f"{ID}-a"]["target"]["covers"][0]["kind"] == "a"
    assert any(error in line for e in found[f"{ID}-b"]["log_end"]["excerpts"] for line in e["text"])
    # The same reports, made later from what the run left.
    again = orchestrator("report", "dist", "--junit=-", cwd=tiny)
    assert again.stdout == (tiny / "r.xml").read_text("utf-8")


def test_a_wheel_with_another_version_is_kept_aside(tiny: Path) -> None:
    setup = tiny / "tiny/setup.py"
    setup.write_text(SETUP.replace('os.environ.get("TINY_VERSION", "1.0")', '"1.0"'))
    code, said = build(tiny, "--select", "*-a")
    assert code == 5, said
    result = results(tiny / "dist")[f"{ID}-a"]
    assert result["failure"]["kind"] == "bad-wheel"
    assert "planned 1.0+a, got 1.0" in result["failure"]["message"]
    assert "TINY_VERSION" in result["failure"]["hint"], "it names what the build ignored"
    assert [each.name for each in (tiny / "dist").iterdir()] == ["results.json"]
    assert (tiny / result["rejected"]).is_file()
    write(tiny, "")
    matrix = tiny / "matrix.toml"
    matrix.write_text(matrix.read_text().replace("[test]", 'on-mismatch = "rewrite"\n[test]'))
    code, said = build(tiny, "--select", "*-a")
    assert code == 0, said
    assert results(tiny / "dist")[f"{ID}-a"]["wheel"]["version"] == "1.0+a"


@pytest.mark.parametrize(
    ("more", "kind", "words"),
    [
        ("[build]\nbefore-build = 'exit 7'\n", "setup", "before-build failed (sh exit 7)"),
        ("[build]\nbefore-build = 'sleep 60'\ntimeout = 5\n", "timeout", "longer than the 5 s"),
        ('[env]\nPURE = "1"\n', "pure-wheel", "pure Python wheel"),
        ('[env]\nCC = "/no/such/compiler"\n', "build", "did not build"),
        ("[build]\nrepair = 'true {wheel} {dest_dir}'\n", "no-wheel", "expected one wheel"),
    ],
)
def test_each_way_to_fail_has_its_kind(tiny: Path, more: str, kind: str, words: str) -> None:
    write(tiny, more)
    code, said = build(tiny, "--select", "*-a")
    assert code == 1, said
    failure = results(tiny / "dist")[f"{ID}-a"]["failure"]
    assert failure["kind"] == kind
    assert words in failure["message"]


@pytest.mark.parametrize("only_pip", ["", '"--prefer-binary", '], ids=["prepared", "by pip"])
def test_a_wheel_for_a_stable_abi_is_tested_with_each_value(tiny: Path, only_pip: str) -> None:
    """One wheel for all values of an axis that looks like torch: the tests see each of them."""
    text = (tiny / "matrix.toml").read_text().replace('kind = ["a", "b"]', 'six = ["1.15", "1.17"]')
    text = text.replace("{kind}", "six{six}").partition("[test]")[0]
    test = f"""
[build]
stable-abi.six = "1.15"
[test]
requires = [{only_pip}"six=={{six}}.0"]
command = '''python -c "import six, tiny; assert six.__version__ == '{{six}}.0'" # {{six}}'''
"""
    (tiny / "matrix.toml").write_text(text + test)
    code, said = build(tiny)
    assert code == 0, said
    ((name, result),) = results(tiny / "dist").items()
    assert name == f"{ID}-1.15"
    assert result["wheel"]["version"] == "1.0+six1.15"
    assert result["target"]["stable_abi"] == {"six": "1.15"}
    log = (tiny / result["log"]).read_text("utf-8")
    assert "testing with six 1.17" in log
    for six in ("1.15", "1.17"):
        assert (f"prepared for six=={six}.0" in log) == (not only_pip)

    (tiny / "matrix.toml").write_text((text + test).replace("six=={six}.0", "six==1.15.0"))
    code, said = build(tiny)
    assert code == 1, said
    assert results(tiny / "dist")[name]["failure"]["step"] == "test"


def test_a_failing_test_keeps_the_wheel_out(tiny: Path) -> None:
    matrix = tiny / "matrix.toml"
    matrix.write_text(matrix.read_text().replace("import tiny'", "import missing'"))
    code, said = build(tiny, "--select", "*-a")
    assert code == 1, said
    assert results(tiny / "dist")[f"{ID}-a"]["failure"]["step"] == "test"
    assert "No module named 'missing'" in said, "the log's end is shown"
    assert not list((tiny / "dist").glob("*.whl"))


def test_keys_of_the_test_are_obeyed(tiny: Path) -> None:
    pyproject = tiny / "tiny/pyproject.toml"
    groups = '[dependency-groups]\nmore = ["six==1.16.0"]\n'
    pyproject.write_text(f"{groups}{PYPROJECT}")
    setup = tiny / "tiny/setup.py"
    extras = "extras_require={'extra': ['idna==3.10']}, ext_modules"
    setup.write_text(SETUP.replace("ext_modules", extras))
    (tiny / "tiny/checks").mkdir()
    (tiny / "tiny/checks/check.py").write_text(
        "import importlib.metadata as m, os, tiny\n"
        "assert [m.version(p) for p in ('six', 'idna')] == ['1.16.0', '3.10']\n"
        "assert os.path.exists(os.environ['VIRTUAL_ENV'] + '/before')\n"
    )
    matrix = tiny / "matrix.toml"
    text = matrix.read_text().replace("python -c 'import tiny'", "python checks/check.py")
    keys = """
before = "test -f setup.py && touch $VIRTUAL_ENV/before"
extras = ["extra"]
groups = ["more"]
sources = ["checks"]
"""
    matrix.write_text(text + keys)
    code, said = build(tiny, "--select", "*-a")
    assert code == 0, said

    matrix.write_text(text + 'sources = ["cheks"]\n')
    code, said = build(tiny, "--select", "*-a")
    assert code == 1, said
    failure = results(tiny / "dist")[f"{ID}-a"]["failure"]
    assert (failure["step"], failure["message"]) == ("test", "no test source cheks")


def test_a_test_source_is_not_copied_from_elsewhere(tiny: Path) -> None:
    """The build runs before the test, and may leave links."""
    matrix = tiny / "matrix.toml"
    matrix.write_text(matrix.read_text() + 'before = "ln -s /etc etc"\nsources = ["etc"]\n')
    code, said = build(tiny, "--select", "*-a")
    assert code == 1, said
    failure = results(tiny / "dist")[f"{ID}-a"]["failure"]
    assert (failure["step"], failure["message"]) == ("test", "no test source etc")


def test_what_cannot_be_built_here_says_why(tiny: Path) -> None:
    foreign = "s390x" if MACHINE != "s390x" else "x86_64"
    matrix = tiny / "matrix.toml"
    matrix.write_text(matrix.read_text().replace(f'["{MACHINE}"]', f'["{foreign}", "{MACHINE}"]'))
    code, said = build(tiny, "--select", "*-a")
    assert code == 4, said
    found = results(tiny / "dist")
    assert found[f"{ID}-a"]["status"] == "ok", "the others are built all the same"
    foreign_result = found[f"{TAG}-manylinux_{foreign}-a"]
    assert foreign_result["status"] == "unavailable"
    assert "orchestrator doctor" in foreign_result["failure"]["hint"]

    code, said = build(tiny, "--select", "*-a", "--allow-unavailable")
    assert code == 0, said
    assert f"{TAG}-manylinux_{foreign}-a: " in said, "it is named all the same"
    code, said = build(tiny, "--select", f"*_{foreign}-a", "--allow-unavailable")
    assert code == 4, "nothing was built"


def test_a_path_with_blanks_and_umlauts(tiny: Path) -> None:
    place = tiny / "mein Prüfung dir"
    place.mkdir()
    shutil.move(tiny / "tiny", place / "tiny")
    write(place, "[build]\nbefore-build = 'pip --version && ls {project}'\n")
    matrix = place / "matrix.toml"
    matrix.write_text(matrix.read_text().replace("import tiny'", "import tiny' && ls {project}"))
    code, said = build(place, "--select", "*-a")
    assert code == 0, said
    log = (place / f".orchestrator/logs/{ID}-a.log").read_text()
    pip = next(line for line in log.splitlines() if line.startswith("pip "))
    assert "/venv/lib/" in pip, "the pip of the build's environment, not this host's"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 20 MB."""
    place = tmp_path / "small"
    place.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(argv, capture_output=True, check=False).returncode != 0:
        lacking("needs root, to mount a file system that is too small")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_fills_up_leaves_nothing_half_written(tiny: Path, small_disk: Path) -> None:
    output = small_disk / "dist"
    fill = f"head -c 30000000 /dev/zero > {output}/fill; true"
    write(tiny, f"[build]\nbefore-build = '{fill}'\n")
    code, said = build(tiny, "--select", "*-a", f"--output-dir={output}")
    assert code == 4, said
    assert "space" in said, said
    assert not list(output.glob("*.whl*"))


def test_a_disk_without_room_is_refused_before_anything_is_built(
    tiny: Path, small_disk: Path
) -> None:
    code, said = build(tiny, "--select", "*-a", f"--work-dir={small_disk}/work")
    assert code == 4, said
    assert "disk: work: not enough space" in said, said
    assert "staging" not in said
    assert not (tiny / "dist").exists()


def test_a_read_only_home_and_a_small_tmp(tiny: Path) -> None:
    """Builds have their temporary files in the work directory."""
    for name in ("home", "small"):
        (tiny / name).mkdir()
    script = (
        f"mount -t tmpfs -o ro tmpfs {tiny}/home; mount -t tmpfs -o size=80m tmpfs {tiny}/small; "
        f"exec {sys.executable} -m orchestrator build --backend direct --select '*-a'"
    )
    env = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(tiny / "home"),
        "TMPDIR": str(tiny / "small"),
    }
    own_mounts = ["unshare", "--mount", "--propagation=private", "sh", "-euc"]
    argv = [*own_mounts, script]

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv, cwd=tiny, env={**env, **more}, capture_output=True, text=True, check=False
        )

    allowed = subprocess.run([*own_mounts, f"mount -t tmpfs tmpfs {tiny}/home"], check=False)
    if allowed.returncode != 0:  # not root, or root of a container
        lacking("needs to be allowed to mount a file system that is read-only")
    refused = run(ORCHESTRATOR_CACHE_DIR="", XDG_CACHE_HOME="")
    assert refused.returncode == 4, refused
    assert "disk: cache" in refused.stderr
    assert "Read-only file system" in refused.stderr
    assert "ORCHESTRATOR_CACHE_DIR" in refused.stderr
    done = run(ORCHESTRATOR_CACHE_DIR=str(default_cache_dir(os.environ)))
    assert done.returncode == 0, done
    assert "disk: tmp: 80 MiB free" in done.stderr, "a warning"


def test_nox_sessions_are_the_command_line(tiny: Path) -> None:
    nox = shutil.which("nox", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert nox
    (tiny / "noxfile.py").write_text("import orchestrator.nox\n\norchestrator.nox.sessions()\n")
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NOX_SCRIPT_MODE": "none"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [nox, *arguments], cwd=tiny, env=environ, capture_output=True, text=True, check=False
        )

    listed = run("-l")
    assert f"build({ID}-a)" in listed.stdout, listed
    assert "build-matrix" in listed.stdout
    one = run("-s", f"build({ID}-b)", "--", "--backend", "direct")
    assert one.returncode == 0, one
    assert set(results(tiny / "dist")) == {f"{ID}-b"}
    both = run("-s", "build-matrix", "--", "--backend=direct", "--select", f"{TAG}-*-a", "-j2")
    assert both.returncode == 0, both
    assert set(results(tiny / "dist")) == {f"{ID}-a", f"{ID}-b"}, "results of both runs are kept"
    (tiny / "matrix.toml").write_text("[axes]\npithon = []\n")
    broken = run("-l")
    assert broken.returncode == 0, "a wrong matrix leaves the noxfile's other sessions alone"
    assert "no build(...) sessions" in broken.stderr


def test_the_user_s_own_files_do_not_reach_a_build(tiny: Path) -> None:
    """Two users, or one with another umask, make the same wheel under the same key."""
    home, facts = tiny / "home", tiny / "facts"
    home.mkdir()
    (home / ".pydistutils.cfg").write_text("[build_ext]\ndefine = BROKEN(\n[global]\nx = y\n")
    (home / ".gitconfig").write_text("[alias]\nx = y\n")
    subprocess.run(["git", "init", "-q", tiny], check=True)
    said = 'echo "$(umask) $TZ $(ls -A $HOME)"; git config alias.x; git rev-parse --show-toplevel'
    write(tiny, f"[build]\nbefore-build = '''({said}) >{facts} 2>&1 || true'''\n")
    cache = str(default_cache_dir(os.environ))
    mask = os.umask(0o077)
    try:
        built = orchestrator(
            *("build", "--backend", "direct", "--select", "*-a"),
            cwd=tiny,
            env={"HOME": str(home), "ORCHESTRATOR_CACHE_DIR": cache, "TZ": "Asia/Tokyo"},
        )
    finally:
        os.umask(mask)

    assert built.code == 0, built.all
    text = facts.read_text()
    assert text.startswith("0022 UTC \n"), text
    assert "not a git repository" in text
    (wheel,) = (tiny / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        modes = {info.external_attr >> 16 & 0o777 for info in opened.infolist()}
    assert modes <= {0o644, 0o755, 0o664, 0o775}
