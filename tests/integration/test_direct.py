"""The direct backend on this host, and everything around it that needs no container engine."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.provision.cache_dir import default_cache_dir
from tests.conftest import (
    MACHINE,
    REPOSITORY,
    TAG,
    Said,
    git,
    lacking,
    log_of,
    orchestrator,
    ran,
    results,
)
from tests.factories import edit, write_files, write_project

pytestmark = pytest.mark.index

ID = f"{TAG}-manylinux_{MACHINE}"
A = f"{ID}-a"
B = f"{ID}-b"
ONE = ("--select", "*-a")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_project(tmp_path, "direct")
    return tmp_path


def build(place: Path, *options: str, code: int = 0) -> str:
    """Build what may have failed before; return what is said."""
    return orchestrator("build", "--backend", "direct", *options, cwd=place, code=code).stderr


def failure(place: Path) -> dict[str, str]:
    found: dict[str, str] = results(place / "dist")[A]["failure"]
    return found


def test_two_variants_at_once(tiny: Path) -> None:
    build(tiny, "-j2")
    found = results(tiny / "dist")
    for kind in ("a", "b"):
        wheel = found[f"{ID}-{kind}"]["wheel"]
        assert wheel["filename"].startswith(f"tiny-1.0+{kind}-{TAG}-{TAG}-")
        assert (tiny / "dist" / wheel["filename"]).is_file()
    orchestrator("verify", *(tiny / "dist").glob("*.whl"), cwd=tiny, code=0)
    assert not list((tiny / ".orchestrator/runs").iterdir())
    assert not (tiny / "tiny/tiny.c").exists(), "the source itself stays untouched"


def test_reports_say_how_a_run_with_a_failure_ended(tiny: Path) -> None:
    override = '[[override]]\nwhen = { kind = "b" }\nenv = { CC = "/no/such/compiler" }\n'
    write_project(tiny, "direct", override)
    build(tiny, "-j2", "--html=r.html", "--junit=r.xml", "--markdown=r.md", code=1)

    error = "/no/such/compiler"
    for name in ("r.html", "r.xml", "r.md"):
        text = (tiny / name).read_text("utf-8")
        assert A in text
        assert error in text, f"{name} says why"
    found = results(tiny / "dist")
    assert found[A]["request"]["source"]["epoch"] > 0
    assert found[A]["target"]["covers"][0]["kind"] == "a"
    assert any(error in line for e in found[B]["log_end"]["excerpts"] for line in e["text"])
    # The same reports, made later from what the run left.
    again = orchestrator("report", "dist", "--junit=-", cwd=tiny)
    assert again.stdout == (tiny / "r.xml").read_text("utf-8")


def test_a_project_can_make_a_platform_of_the_architecture_as_in_manylinux(tiny: Path) -> None:
    asked = f"test manylinux2014_$AUDITWHEEL_ARCH = manylinux2014_{MACHINE}"
    write_project(tiny, "direct", f"[build]\nbefore-build = '{asked}'\n")
    build(tiny, *ONE)


def test_a_wheel_with_another_version_is_kept_aside(tiny: Path) -> None:
    edit(tiny / "tiny/setup.py", 'os.environ.get("TINY_VERSION", "1.0")', '"1.0"')
    build(tiny, *ONE, code=5)
    result = results(tiny / "dist")[A]
    assert result["failure"]["kind"] == "bad-wheel"
    assert "planned 1.0+a, got 1.0" in result["failure"]["message"]
    assert "TINY_VERSION" in result["failure"]["hint"], "it names what the build ignored"
    assert [each.name for each in (tiny / "dist").iterdir()] == ["results.json"]
    assert (tiny / result["rejected"]).is_file()
    edit(tiny / "matrix.toml", "[test]", 'on-mismatch = "rewrite"\n[test]')
    build(tiny, *ONE)
    assert results(tiny / "dist")[A]["wheel"]["version"] == "1.0+a"


WAYS_TO_FAIL = {
    # value of the axis -> what is set for it, the failure's kind, and words of its message
    "step": ("build.before-build = 'exit 7'", "setup", "before-build failed (sh exit 7)"),
    "slow": ("build = { before-build = 'sleep 60', timeout = 5 }", "timeout", "than the 5 s"),
    "pure": ('env.PURE = "1"', "pure-wheel", "pure Python wheel"),
    "compiler": ('env.CC = "/no/such/compiler"', "build", "did not build"),
    "repair": ("build.repair = 'true {wheel} {dest_dir}'", "no-wheel", "expected one wheel"),
}


def test_each_way_to_fail_has_its_kind(tiny: Path) -> None:
    overrides = "".join(
        f'[[override]]\nwhen = {{ kind = "{name}" }}\n{setting}\n'
        for name, (setting, _, _) in WAYS_TO_FAIL.items()
    )
    write_project(tiny, "direct", overrides)
    edit(tiny / "matrix.toml", '["a", "b"]', str([*WAYS_TO_FAIL]))
    build(tiny, "-j2", code=1)
    found = results(tiny / "dist")
    for name, (_, kind, words) in WAYS_TO_FAIL.items():
        failure = found[f"{ID}-{name}"]["failure"]
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
    build(tiny)
    ((name, result),) = results(tiny / "dist").items()
    assert name == f"{ID}-1.15"
    assert result["wheel"]["version"] == "1.0+six1.15"
    assert result["target"]["stable_abi"] == {"six": "1.15"}
    log = (tiny / result["log"]).read_text("utf-8")
    assert "testing with six 1.17" in log
    for six in ("1.15", "1.17"):
        assert (f"prepared for six=={six}.0" in log) == (not only_pip)

    edit(tiny / "matrix.toml", "six=={six}.0", "six==1.15.0")
    build(tiny, code=1)
    assert results(tiny / "dist")[name]["failure"]["step"] == "test"


def test_a_failing_test_keeps_the_wheel_out(tiny: Path) -> None:
    edit(tiny / "matrix.toml", "import tiny'", "import missing'")
    said = build(tiny, *ONE, code=1)
    assert failure(tiny)["step"] == "test"
    assert "No module named 'missing'" in said, "the log's end is shown"
    assert not list((tiny / "dist").glob("*.whl"))


def test_keys_of_the_test_are_obeyed(tiny: Path) -> None:
    groups = '[dependency-groups]\nmore = ["six==1.16.0"]\n[build-system]'
    edit(tiny / "tiny/pyproject.toml", "[build-system]", groups)
    extras = "extras_require={'extra': ['idna==3.10']}, ext_modules"
    edit(tiny / "tiny/setup.py", "ext_modules", extras)
    check = (
        "import importlib.metadata as m, os, socket, tempfile, tiny\n"
        "socket.socket(socket.AF_UNIX).bind(f'{tempfile.mkdtemp()}/of-a-server')\n"
        "assert [m.version(p) for p in ('six', 'idna')] == ['1.16.0', '3.10']\n"
        "assert os.path.exists(os.environ['VIRTUAL_ENV'] + '/before')\n"
    )
    write_files(tiny / "tiny/checks", {"check.py": check})
    keys = """
before = "test -f setup.py && touch $VIRTUAL_ENV/before"
extras = ["extra"]
groups = ["more"]
sources = ["checks"]
"""
    command = "python -c 'import tiny'\"\n"
    edit(tiny / "matrix.toml", command, f'python checks/check.py"{keys}')
    build(tiny, *ONE)

    edit(tiny / "matrix.toml", '["checks"]', '["cheks"]')
    build(tiny, *ONE, code=1)
    assert failure(tiny)["step"] == "test"
    assert failure(tiny)["message"] == "no test source cheks"


def test_a_test_source_is_not_copied_from_elsewhere(tiny: Path) -> None:
    """The build runs before the test, and may leave links."""
    write_project(tiny, "direct", 'before = "ln -s /etc etc"\nsources = ["etc"]\n')
    build(tiny, *ONE, code=1)
    assert failure(tiny)["step"] == "test"
    assert failure(tiny)["message"] == "no test source etc"


def test_what_cannot_be_built_here_says_why(tiny: Path) -> None:
    foreign = "s390x" if MACHINE != "s390x" else "x86_64"
    edit(tiny / "matrix.toml", f'["{MACHINE}"]', f'["{foreign}", "{MACHINE}"]')
    build(tiny, *ONE, code=4)
    found = results(tiny / "dist")
    assert found[A]["status"] == "ok", "the others are built all the same"
    foreign_result = found[f"{TAG}-manylinux_{foreign}-a"]
    assert foreign_result["status"] == "unavailable"
    assert "podman" in foreign_result["failure"]["hint"]

    said = build(tiny, *ONE, "--allow-unavailable")
    assert f"{TAG}-manylinux_{foreign}-a" in said, "it is named all the same"
    build(tiny, "--select", f"*_{foreign}-a", "--allow-unavailable", code=4)  # nothing was built


def test_a_path_with_blanks_and_umlauts(tmp_path: Path) -> None:
    place = tmp_path / "mein Prüfung dir"
    write_project(place, "direct", "[build]\nbefore-build = 'pip --version && ls {project}'\n")
    edit(place / "matrix.toml", "import tiny'", "import tiny' && ls {project}")
    build(place, *ONE)
    pip = next(line for line in log_of(place, A).splitlines() if line.startswith("pip "))
    assert "/venv/lib/" in pip, "the pip of the build's environment, not this host's"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system with 20 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", place)
    if os.geteuid() != 0 or ran(*mount).code != 0:
        lacking("needs root, to mount a file system that is too small")
    yield place
    ran("umount", "-l", place, code=0)


def test_a_disk_that_fills_up_leaves_nothing_half_written(tiny: Path, small_disk: Path) -> None:
    output = small_disk / "dist"
    fill = f"head -c 30000000 /dev/zero > {output}/fill; true"
    write_project(tiny, "direct", f"[build]\nbefore-build = '{fill}'\n")
    said = build(tiny, *ONE, f"--output-dir={output}", code=4)
    assert "space" in said, said
    assert not list(output.glob("*.whl*"))


def test_a_disk_without_room_is_refused_before_anything_is_built(
    tiny: Path, small_disk: Path
) -> None:
    said = build(tiny, *ONE, f"--work-dir={small_disk}/work", code=4)
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
    own_mounts = ("unshare", "--mount", "--propagation=private", "sh", "-euc")
    if ran(*own_mounts, f"mount -t tmpfs tmpfs {tiny}/home").code != 0:
        # Not root, or root of a container.
        lacking("needs to be allowed to mount a file system that is read-only")
    no_cache = env | {"ORCHESTRATOR_CACHE_DIR": "", "XDG_CACHE_HOME": ""}
    refused = ran(*own_mounts, script, cwd=tiny, env=no_cache, code=4)
    for text in ("disk: cache", "Read-only file system", "ORCHESTRATOR_CACHE_DIR"):
        assert text in refused.stderr
    env["ORCHESTRATOR_CACHE_DIR"] = str(default_cache_dir(os.environ))
    done = ran(*own_mounts, script, cwd=tiny, env=env, code=0)
    assert "disk: tmp: 80 MiB free" in done.stderr, "a warning"


def test_nox_sessions_are_the_command_line(tiny: Path) -> None:
    nox = shutil.which("nox", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert nox
    (tiny / "noxfile.py").write_text("import orchestrator.nox\n\norchestrator.nox.sessions()\n")
    environ = {**os.environ, "PYTHONPATH": str(REPOSITORY), "NOX_SCRIPT_MODE": "none"}

    def run(*arguments: str) -> Said:
        return ran(nox, *arguments, cwd=tiny, env=environ, code=0)

    listed = run("-l")
    assert f"build({A})" in listed.stdout, listed
    assert "build-matrix" in listed.stdout
    run("-s", f"build({B})", "--", "--backend", "direct")
    assert set(results(tiny / "dist")) == {B}
    run("-s", "build-matrix", "--", "--backend=direct", "--select", f"{TAG}-*-a", "-j2")
    assert set(results(tiny / "dist")) == {A, B}, "results of both runs are kept"
    (tiny / "matrix.toml").write_text("[axes]\npithon = []\n")
    broken = run("-l")  # a wrong matrix leaves the noxfile's other sessions alone
    assert "no build(...) sessions" in broken.stderr


def test_the_user_s_own_files_do_not_reach_a_build(tiny: Path) -> None:
    """Two users, or one with another umask, make the same wheel under the same key."""
    home, facts = tiny / "home", tiny / "facts"
    distutils = "[build_ext]\ndefine = BROKEN(\n[global]\nx = y\n"
    write_files(home, {".pydistutils.cfg": distutils, ".gitconfig": "[alias]\nx = y\n"})
    git(tiny, "init", "-q")
    said = 'echo "$(umask) $TZ $(ls -A $HOME)"; git config alias.x; git rev-parse --show-toplevel'
    write_project(tiny, "direct", f"[build]\nbefore-build = '''({said}) >{facts} 2>&1 || true'''\n")
    cache = str(default_cache_dir(os.environ))
    env = {"HOME": str(home), "ORCHESTRATOR_CACHE_DIR": cache, "TZ": "Asia/Tokyo"}
    mask = os.umask(0o077)
    try:
        orchestrator("build", "--backend", "direct", *ONE, cwd=tiny, env=env, code=0)
    finally:
        os.umask(mask)

    text = facts.read_text()
    assert text.startswith("0022 UTC \n"), text
    assert "not a git repository" in text
    (wheel,) = (tiny / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        modes = {info.external_attr >> 16 & 0o777 for info in opened.infolist()}
    assert modes <= {0o644, 0o755, 0o664, 0o775}


@pytest.fixture
def pinned(tiny: Path) -> dict[str, str]:
    """Pin the source to an sdist that a directory holds instead of an index."""
    other = ">=3.99"
    source = {"setup.py": f"from setuptools import setup\nsetup(python_requires='{other}')\n"}
    new = {
        "PKG-INFO": f"Metadata-Version: 2.2\nName: tiny-new\nVersion: 1\nRequires-Python: {other}\n"
    }
    for name, files in {"tiny_old": source, "tiny_new": source | new}.items():
        folder = write_files(tiny / f"{name}-1.0", files)
        (tiny / "links").mkdir(exist_ok=True)
        with tarfile.open(tiny / f"links/{name}-1.0.tar.gz", "w:gz") as archive:
            archive.add(folder, folder.name)
    edit(tiny / "matrix.toml", 'source = "tiny"', 'source = "tiny-old==1.0"')
    return {**os.environ, "PIP_FIND_LINKS": str(tiny / "links")}


def test_a_python_that_only_the_build_knows_to_be_unsupported(
    tiny: Path, pinned: dict[str, str]
) -> None:
    orchestrator("build", "--backend=direct", *ONE, cwd=tiny, env=pinned, code=1)

    assert failure(tiny)["kind"] == "no-identifier"
    assert failure(tiny)["message"] == f"the project does not support {TAG}"
    assert "exclude this cell" in failure(tiny)["hint"]


def test_a_pinned_sdist_is_fetched_before_what_it_declares_is_planned(
    tiny: Path, pinned: dict[str, str]
) -> None:
    edit(tiny / "matrix.toml", "tiny-old==", "tiny-new==")

    first = orchestrator("plan", cwd=tiny, env=pinned, code=0)
    assert A in first.stdout
    assert "note: tiny-new==1.0 is not on this machine yet" in first.stderr
    for words in (["build"], ["plan"], ["explain", A]):
        said = orchestrator(*words, cwd=tiny, env=pinned, code=0 if words[0] == "explain" else 3)
        assert "the project requires Python >=3.99" in " ".join(said.all.split())
        assert "not on this machine" not in said.all


def test_a_build_prints_the_notes_of_its_plan(tiny: Path) -> None:
    own = f'[tool.cibuildwheel]\nskip = "{TAG}-*"\nno-such = 1\n[build-system]'
    edit(tiny / "tiny/pyproject.toml", "[build-system]", own)

    planned = orchestrator("plan", *ONE, cwd=tiny, code=0).stderr
    assert "note: left out of the project's [tool.cibuildwheel]: no-such" in planned
    assert planned in build(tiny, *ONE)
    assert "note:" not in build(tiny, *ONE, "--quiet")
