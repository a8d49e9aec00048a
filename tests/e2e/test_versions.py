"""The composed version reaches real builds by every way projects use, and installers agree.

Each project is built for two variants through both backends, then installed with real pip and uv.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from orchestrator.provision.toolchain import Toolchain
from tests.conftest import IMAGES, Said, git, log_of, orchestrator, podman, ran, results
from tests.factories import project_file, write_files

pytestmark = [pytest.mark.engine, pytest.mark.index]

PYTHON = "cp311"
"""What the native bookworm image has; direct finds one or fetches it."""

C_CODE = "void *PyInit_ext(void) { return 0; }\n"

SETUP = project_file("versions/setup.py")

SETUPTOOLS = """\
[build-system]
requires = ["setuptools>=77"%s]
build-backend = "setuptools.build_meta"

[project]
name = "%s"
%s
"""

HATCH = {
    "pyproject.toml": project_file("versions/hatch.toml"),
    "hatch_build.py": project_file("versions/hatch_build.py"),
}


@dataclass(frozen=True, kw_only=True)
class Project:
    """A way to have a version.

    Attributes:
        files: its source.
        version: what its [version] table says beyond `MATRIX`.
        made: the versions and build tags of both variants.
        env: environment of the run.
        tag: tag of its git history; empty for none.
    """

    files: Mapping[str, str]
    version: str
    made: tuple[tuple[str, str], tuple[str, str]]
    env: Mapping[str, str]
    tag: str = ""

    @property
    def name(self) -> str:
        found = re.search(r'name = "(.*)"', self.files["pyproject.toml"])
        assert found
        return canonicalize_name(found[1])


PROJECTS = {
    "setuptools-scm": Project(
        files={
            "setup.py": SETUP % "",
            "pyproject.toml": SETUPTOOLS
            % (', "setuptools-scm"', "demo.scm", 'dynamic = ["version"]')
            + "[tool.setuptools_scm]\n",
        },
        tag="v1.4",
        version="""\
base = "scm"
presets = "setuptools-scm"
parts = { sha = "git" }
local = "g{sha}.cu{cuda|nodot}"
pins = { packaging = ">={cuda|major}" }
""",
        made=(("1.5.dev1+g{sha}.cu129", ""), ("1.5.dev1+g{sha}", "")),
        env={},
    ),
    "hatch-vcs": Project(
        files={**HATCH, "VERSION": "2.0\n"},
        version='base = "file:VERSION"\ndev = ["env:DAY"]\npresets = ["hatch-vcs"]\n',
        made=(("2.0.dev20250901+cu129", ""), ("2.0.dev20250901", "")),
        env={"DAY": "20250901"},
    ),
    "static": Project(
        files={
            "setup.py": SETUP % "",
            "pyproject.toml": SETUPTOOLS % ("", "demo_static", 'version = "3.1"'),
        },
        version='on-mismatch = "rewrite"\n',
        made=(("3.1+cu129", ""), ("3.1", "")),
        env={},
    ),
    # As Triton server does it: an own variable, CUDA from the container, a pipeline's number.
    "own": Project(
        files={
            "setup.py": SETUP % ', version=os.environ["VERSION"]',
            "pyproject.toml": SETUPTOOLS % ("", "demo-own", 'dynamic = ["version"]'),
        },
        version="""\
base = ["env:CUDA_VERSION", "const:2.68.0"]
local = "nv{nv}.cu{toolkit|majmin|nodot}.{cuda}"
keep-zeros = true
build-tag = "{build}"
presets = "triton"
inject = { EMPTY = "{none}", CUDA_VERSION = "{none}" }

[version.parts]
nv = ["env:NV", "const:26.04"]
toolkit = ["container-env:TOOLKIT", "container-file:/opt/cuda/version.json#cuda.version"]
build = ["env:PIPELINE", "env:BUILD_NUMBER"]
none = ["env:NONE", "const:"]
""",
        made=(("2.68.0+nv26.04.cu132.12.9", "77"), ("2.68.0+nv26.04.cu132", "77")),
        env={"CUDA_VERSION": "", "NV": "<unknown>", "PIPELINE": "<unknown>", "BUILD_NUMBER": "77"},
    ),
}


@pytest.fixture(scope="module")
def image(engine: str) -> Iterator[str]:
    """The baseline image, knowing its CUDA as NVIDIA's images do."""
    name, maker = f"localhost/orchestrator-versions:{os.getpid()}", f"versions-{os.getpid()}"
    script = 'mkdir /opt/cuda; echo \'{"cuda": {"version": "13.2.1"}}\' >/opt/cuda/version.json'
    base = f"{IMAGES}:bookworm-x86_64"
    made = podman(*("run", "--network=none", f"--name={maker}", base, "sh", "-c", script))
    assert made.code == 0, made.all
    made = podman("commit", "-q", "--change=ENV CUDA_VERSION=13.2.1", maker, name)
    assert made.code == 0, made.all
    podman("rm", maker)
    yield name
    podman("rmi", name)


def run(*argv: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Said:
    environ = {**os.environ, "UV_NO_CONFIG": "1", "UV_PYTHON_DOWNLOADS": "automatic", **(env or {})}
    return ran(*argv, cwd=cwd, env=environ, timeout=600, code=0)


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
@pytest.mark.parametrize("name", PROJECTS)
def test_the_planned_version_is_what_gets_installed(
    name: str, backend: str, image: str, tools: Toolchain, tmp_path: Path
) -> None:
    project = PROJECTS[name]
    source = write_files(tmp_path / "project", {"ext.c": C_CODE, **project.files})
    sha = history(source, project.tag) if project.tag else ""
    text = project_file("versions/matrix.toml").format(image=image)
    if "local =" in project.version:  # the project's own takes the place of the common one
        text = text.replace('local = "cu{cuda|nodot}"\n', "")
    (tmp_path / "matrix.toml").write_text(text + project.version)

    command = ("build", "-j2", "--backend", backend)
    orchestrator(*command, cwd=tmp_path, env=project.env, code=0)

    found = results(tmp_path / "dist")
    for cuda, (version, build_tag) in zip(("12.9", "13.0"), project.made, strict=True):
        result = found[f"cp311-manylinux_x86_64-{cuda}"]
        planned = version.format(sha=sha)
        check_wheel(tmp_path / "dist" / result["wheel"]["filename"], planned, build_tag)
        assert result["backend"] == backend
        check_record(name, result)
        check_installers(tmp_path / "dist" / result["wheel"]["filename"], planned, tools, tmp_path)
    if name == "own":
        check_nothing_was_erased(tmp_path, backend)


def history(source: Path, tag: str) -> str:
    """Commit the source one step after a tag, and return the commit."""
    git(source, "init", "-q")
    git(source, "commit", "-q", "--allow-empty", "-m", "first")
    git(source, "tag", tag)
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "second")
    return git(source, "rev-parse", "HEAD")[:9]


def check_wheel(wheel: Path, version: str, build_tag: str) -> None:
    """Every place a version stands in says the same."""
    name, parsed, build, _ = parse_wheel_filename(wheel.name)
    assert wheel.name.split("-")[1] == version
    assert parsed == Version(version)
    assert "".join(map(str, build)) == build_tag
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {each.split("/")[0] for each in archive.namelist() if ".dist-info/" in each}
        assert info == f"{str(name).replace('-', '_')}-{version}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        record = archive.read(f"{info}/RECORD").decode()
    assert f"\nVersion: {version}\n" in metadata
    assert f"{info}/METADATA,sha256=" in record
    assert ("\nRequires-Dist: packaging>=" in metadata) == (str(name) == "demo-scm")


def check_record(name: str, result: dict[str, object]) -> None:
    """results.json says where every part came from, and so does the log, once."""
    parts = {each["name"]: each for each in result["version_parts"]}  # type: ignore[attr-defined]
    assert parts["base"]["value"]
    if name == "own":
        assert parts["toolkit"]["source"] == "container-file:/opt/cuda/version.json#cuda.version"
        assert parts["nv"]["sources"][0] == {
            "source": "env:NV",
            "value": "",
            "note": "'<unknown>' is a placeholder",
            "refused": False,
        }
        assert parts["build"]["source"] == "env:BUILD_NUMBER"


def check_nothing_was_erased(place: Path, backend: str) -> None:
    plan = orchestrator("plan", "--format=json", cwd=place, env=PROJECTS["own"].env)
    targets = json.loads(plan.stdout)["targets"]
    made = [(each["version"], each["build_tag"]) for each in targets]
    assert made == list(PROJECTS["own"].made), "the image that is here is asked by `plan` too"
    log = log_of(place, "cp311-manylinux_x86_64-12.9")
    seen = next(line for line in log.splitlines() if "SEEN {" in line)
    assert "'EMPTY': None" in seen
    inside = "'13.2.1'" if backend == "cibuildwheel" else "None"
    assert f"'CUDA_VERSION': {inside}" in seen, "the image's own, not the host's empty one"
    assert log.count("  toolkit = 13.2.1  # from container-file:") == 1


def check_installers(wheel: Path, version: str, tools: Toolchain, place: Path) -> None:
    """Both installers take the wheel with hashes, agree on its version, and are done with it."""
    name = str(parse_wheel_filename(wheel.name)[0])
    home = place / f"install-{version}"
    # One variant an index: "==3.1" means 3.1+cu129 as well (PEP 440).
    index = home / "index"
    index.mkdir(parents=True)
    shutil.copy(wheel, index)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    locked = home / "requirements.txt"
    locked.write_text(f"{name}=={version} --hash=sha256:{digest}\n")
    uv = tools.bin / "uv"
    for installer in ("pip", "uv"):
        venv = home / installer
        run(uv, "venv", "-q", "--python=3.11", venv, cwd=home)
        python = venv / "bin" / "python"
        options = ("--no-deps", "--no-index", f"--find-links={index}", "--require-hashes")
        if installer == "uv":
            said = run(uv, "pip", "install", "--python", python, *options, "-r", locked, cwd=home)
        else:
            pip = (tools.python, "-m", "pip", "--python", python)
            said = run(*pip, "install", *options, "-r", locked, cwd=home)
        assert "inconsistent" not in said.all
        script = f"import importlib.metadata as m; print(m.version({name!r}))"
        assert run(python, "-c", script, cwd=home).stdout.strip() == version
    check_sync(uv, index, f"{name}=={version}", home)


def check_sync(uv: Path, index: Path, requirement: str, home: Path) -> None:
    """`uv sync` has nothing to do the second time."""
    (home / "pyproject.toml").write_text(
        '[project]\nname = "user"\nversion = "0"\nrequires-python = "==3.11.*"\n'
        f"dependencies = [{json.dumps(requirement)}]\n"
        "[tool.uv]\nenvironments = [\"sys_platform == 'linux' and platform_machine == 'x86_64'\"]\n"
        f"find-links = [{json.dumps(str(index))}]\n"
    )
    sync = (uv, "sync", "--python=3.11")
    options = {"UV_NO_CONFIG": "0"}
    first = run(*sync, cwd=home, env=options)
    name, _, version = requirement.partition("==")
    changed = re.findall(r"(?m)^ \+ (\S+)==(\S+)$", first.stderr)
    assert [Version(each) for project, each in changed if project == name] == [Version(version)]
    second = run(*sync, "--locked", cwd=home, env=options)
    assert not re.search(r"(?m)^ [-+~] |Installed|Uninstalled|Prepared", second.stderr), second.all
