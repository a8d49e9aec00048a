"""Projects whose before-build spoils what a build stands on, and which build all the same."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.factories import PROJECTS

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


def project(
    place: Path, before_build: str, *, more: str = "", own: str = "", arch: str = "x86_64"
) -> None:
    """Write a project with one target, and a test that needs pip."""
    source = place / "source"
    shutil.copytree(PROJECTS / "direct", source, ignore=shutil.ignore_patterns("matrix.toml"))
    if own:
        with (source / "pyproject.toml").open("a", encoding="utf-8") as file:
            file.write(f"\n[tool.cibuildwheel]\n{own}\n")
    tag = f"cp3{sys.version_info.minor}"
    (place / "matrix.toml").write_text(
        f"""\
[project]
source = "source"
[axes]
python = ["{tag}"]
arch = ["{arch}"]
[version]
base = "1.0"
[build]
before-build = '''{before_build}'''
[test]
command = "python -c 'import tiny' && pip --version"
{more}""",
        encoding="utf-8",
    )
