"""The product's tools and the project's environment never meet.

Whatever before-build installs, upgrades or removes, the frontend works, and what the project chose
is what compiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.conftest import IMAGES, TAG, orchestrator, results
from tests.factories import project_file, write_files

pytestmark = pytest.mark.index

SITE = "$(python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))')"

FRONTENDS = ("build", "build[uv]", "pip", "uv")

BREAK = {
    "packaging and build are installed": "pip install packaging build pyproject_hooks",
    "old ones are installed": "pip install 'packaging==20.9' 'build==0.7.0' 'pep517==0.13.0'",
    "pip is upgraded": "pip install --upgrade pip",
    "pip is downgraded": "pip install pip==22.0.4",
    "pip is removed": "pip uninstall --yes pip",
    "setuptools is old": "pip install 'setuptools<60' wheel",
    "setuptools and wheel are removed": (
        "pip install setuptools wheel && pip uninstall --yes setuptools wheel packaging"
    ),
    "sitecustomize is broken": f"echo 'raise RuntimeError(1)' >{SITE}/sitecustomize.py",
    "sitecustomize exits": f"echo 'raise SystemExit(3)' >{SITE}/sitecustomize.py",
    "modules of the standard library are shadowed": (
        f"for m in json argparse tempfile; do echo 'raise SystemExit(m)' >{SITE}/$m.py; done"
    ),
    "the source has modules of such names": (
        "mkdir packaging build pyproject_hooks pip && "
        "for d in packaging build pyproject_hooks pip; do echo 'raise SystemExit(4)' "
        ">$d/__init__.py; done; echo 'raise SystemExit(5)' >json.py"
    ),
    "pyproject.toml asks for more": (
        'sed -i \'s/"setuptools"/"setuptools", "six==1.16.0"/\' pyproject.toml'
    ),
}
"""What a before-build does, and its command."""


MATRIX = """\
[project]
source = "source"
[axes]
python = ["{python}"]
arch = ["{arch}"]
case = [{cases}]
[version]
base = "1.0"
local = "c{{case}}"
on-mismatch = "rewrite"
[test]
command = "python -c 'import tiny' && pip --version"
{more}"""


def build(
    place: Path, commands: Iterable[str], own: str = "", check: str = "", **where: str
) -> None:
    """Build one target for each before-build, with a test that needs pip.

    Args:
        place: an empty directory.
        commands: of before-build.
        own: ``[tool.cibuildwheel]`` of the project.
        check: Python that its setup.py runs first.
        where: fields of the matrix, and `backend`.
    """
    files = {name: project_file(f"direct/{name}") for name in ("setup.py", "pyproject.toml")}
    files["pyproject.toml"] += f"\n[tool.cibuildwheel]\n{own}\n"
    files["setup.py"] = check + files["setup.py"]
    write_files(place / "source", files)
    given = {"backend": "direct", "python": TAG, "arch": "x86_64", "more": "", **where}
    backend, numbered = given.pop("backend"), dict(enumerate(commands))
    cases = ", ".join(f'"{number}"' for number in numbered)
    overrides = "".join(
        f'[[override]]\nwhen = {{ case = "{number}" }}\n'
        f"build = {{ before-build = '''{command}''' }}\n"
        for number, command in numbered.items()
    )
    text = MATRIX.format(cases=cases, **given) + overrides
    write_files(place, {"matrix.toml": text})
    options = ("-j2", "--no-cache", "--backend", backend)
    orchestrator("build", *options, cwd=place, code=0)
    assert {each["backend"] for each in results(place / "dist").values()} == {backend}


def container(arch: str) -> dict[str, str]:
    image = f'[images]\nmanylinux_{arch} = "{IMAGES}:bookworm-{arch}"\n'
    backend = "direct" if arch == "i686" else "cibuildwheel"
    return {"arch": arch, "python": "cp311", "more": image, "backend": backend}


def test_before_build_cannot_break_the_build(tmp_path: Path) -> None:
    build(tmp_path, BREAK.values())


@pytest.mark.engine
@pytest.mark.parametrize("arch", ["x86_64", "i686"])
def test_nor_that_in_a_container(arch: str, engine: str, tmp_path: Path) -> None:
    build(tmp_path, BREAK.values(), **container(arch))


@pytest.mark.parametrize("frontend", FRONTENDS)
def test_every_frontend_survives(frontend: str, tmp_path: Path) -> None:
    build(tmp_path, [BREAK["pip is removed"]], f'build-frontend = "{frontend}"')


@pytest.mark.parametrize("frontend", ["build", "build[uv]"])
def test_what_before_build_chose_compiles_without_isolation(frontend: str, tmp_path: Path) -> None:
    own = f'build-frontend = {{ name = "{frontend}", args = ["--no-isolation"] }}'
    chosen = 'pip install "setuptools==59.8.0" wheel six==1.16.0 packaging==20.9'
    check = (
        "import packaging, setuptools, six\n"
        'assert setuptools.__version__ == "59.8.0", setuptools.__version__\n'
        'assert (six.__version__, packaging.__version__) == ("1.16.0", "20.9")\n'
    )
    build(tmp_path, [chosen], own, check)
