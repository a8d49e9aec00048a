"""What projects of each build backend declare, without running anything."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping

import pytest

from orchestrator.source.declared import Declared, attribute, declared

HEAD = '[project]\nname = "x"\ndynamic = ["version"]\n'


def of(files: Mapping[str, str]) -> Declared:
    return declared(
        lambda name: files.get(name, ""), tomllib.loads(files.get("pyproject.toml", ""))
    )


def backend(name: str, more: str = "", head: str = HEAD) -> str:
    return f'{head}[build-system]\nbuild-backend = "{name}"\nrequires = []\n{more}'


HATCH = r"""file:x.py#(?i)^(__version__|VERSION)(?: ?\: ?str)? *= *(['"])v?(?P<version>.+?)\2"""


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"pyproject.toml": '[project]\nname = "x"\nversion = "1"'}, ""),
        (
            {
                "pyproject.toml": backend(
                    "setuptools.build_meta",
                    '[tool.setuptools.dynamic]\nversion = { attr = "x.__version__" }',
                )
            },
            "attr:x.__version__",
        ),
        (
            {
                "pyproject.toml": backend(
                    "setuptools.build_meta",
                    '[tool.setuptools.dynamic]\nversion = { file = ["VERSION"] }',
                )
            },
            "file:VERSION",
        ),
        ({"pyproject.toml": backend("setuptools.build_meta", "[tool.setuptools_scm]")}, "scm"),
        (
            {"pyproject.toml": HEAD + '[build-system]\nrequires = ["setuptools-scm[simple]>=9"]'},
            "scm",
        ),
        (
            {"setup.cfg": "[metadata]\nname = x\nversion = attr: x.__version__"},
            "attr:x.__version__",
        ),
        ({"setup.cfg": "[metadata]\nversion = file: VERSION.txt"}, "file:VERSION.txt"),
        ({"setup.cfg": "[metadata]\nversion = 1.2"}, "const:1.2"),
        ({"setup.cfg": "no section"}, ""),
        ({"setup.py": "from setuptools import setup\nsetup(name='x', version='1.2')"}, "const:1.2"),
        ({"setup.py": "V = '1.2'\nsetuptools.setup(version=V)"}, "attr:setup.V"),
        ({"setup.py": "setup(use_scm_version=True)"}, "scm"),
        ({"setup.py": "setup(version=read())"}, ""),
        ({"setup.py": "("}, ""),
        (
            {"pyproject.toml": backend("hatchling.build", '[tool.hatch.version]\npath = "x.py"')},
            HATCH,
        ),
        (
            {
                "pyproject.toml": backend(
                    "hatchling.build", "[tool.hatch.version]\npath = 'x.py'\npattern = 'V=(.+)'"
                )
            },
            "file:x.py#V=(.+)",
        ),
        (
            {
                "pyproject.toml": backend(
                    "hatchling.build", "[tool.hatch.version]\npath='x'\npattern='('"
                )
            },
            "",
        ),
        ({"pyproject.toml": backend("hatchling.build", "[tool.hatch.version]\npath='../x'")}, ""),
        (
            {"pyproject.toml": backend("hatchling.build", '[tool.hatch.version]\nsource = "vcs"')},
            "scm",
        ),
        (
            {"pyproject.toml": backend("hatchling.build", '[tool.hatch.version]\nsource = "code"')},
            "",
        ),
        ({"pyproject.toml": backend("flit_core.buildapi")}, "attr:x.__version__"),
        (
            {"pyproject.toml": backend("flit_core.buildapi", '[tool.flit.module]\nname = "y"')},
            "attr:y.__version__",
        ),
        ({"pyproject.toml": backend("pdm.backend", '[tool.pdm.version]\nsource = "scm"')}, "scm"),
        (
            {
                "pyproject.toml": backend("maturin"),
                "Cargo.toml": '[package]\nname = "x"\nversion = "1.0.0-beta.1"',
            },
            "file:Cargo.toml#package.version",
        ),
        (
            {
                "pyproject.toml": backend(
                    "maturin", '[tool.maturin]\nmanifest-path = "a/b/Cargo.toml"'
                ),
                "a/b/Cargo.toml": '[package]\nname = "x"\nversion.workspace = true',
                "Cargo.toml": '[workspace.package]\nversion = "3.1"',
            },
            "file:Cargo.toml#workspace.package.version",
        ),
        ({"pyproject.toml": backend("maturin"), "Cargo.toml": "["}, ""),
        (
            {
                "pyproject.toml": backend("mesonpy"),
                "meson.build": "project('x',\n meson_version: '>=1',\n version: '1.3.3',\n)",
            },
            "",
        ),
        (
            {
                "pyproject.toml": backend("mesonpy"),
                "meson.build": "project('x', 'c',\n  version: '1.3.3',\n  meson_version: '>=1.1')",
            },
            r"file:meson.build#version\s*:\s*'([^']+)'",
        ),
        (
            {
                "pyproject.toml": backend("mesonpy"),
                "meson.build": "project('x', version: run_command('v'))",
            },
            "",
        ),
        (
            {
                "pyproject.toml": backend(
                    "poetry.core.masonry.api", '[tool.poetry]\nversion = "1"', head=""
                )
            },
            "file:pyproject.toml#tool.poetry.version",
        ),
        (
            {
                "pyproject.toml": backend(
                    "scikit_build_core.build",
                    "[tool.scikit-build.metadata.version]\n"
                    'provider = "scikit_build_core.metadata.setuptools_scm"',
                )
            },
            "scm",
        ),
        (
            {
                "pyproject.toml": backend(
                    "scikit_build_core.build",
                    "[tool.scikit-build.metadata.version]\n"
                    "provider = 'scikit_build_core.metadata.regex'\n"
                    "input = 'x.h'\nregex = 'V (?P<value>.+)'",
                )
            },
            "file:x.h#V (?P<value>.+)",
        ),
        # A backend of the project that stands before setuptools.
        (
            {
                "pyproject.toml": backend("own.hooks", head=""),
                "setup.cfg": "[metadata]\nversion = attr: x.v",
            },
            "attr:x.v",
        ),
    ],
)
def test_where_a_version_stands(files: dict[str, str], source: str) -> None:
    assert of(files).version == source


@pytest.mark.parametrize(
    ("files", "pythons"),
    [
        ({"pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.9"'}, ">=3.9"),
        ({"setup.cfg": "[options]\npython_requires = >=3.8"}, ">=3.8"),
        ({"setup.py": "setup(python_requires='>=3.7')"}, ">=3.7"),
        ({"setup.py": "setup(python_requires=computed)"}, ""),
        ({"setup.py": "MIN = '>=3.9'\nsetup(python_requires=MIN)"}, ">=3.9"),
        ({"setup.py": "MIN = '3.9'\nsetup(python_requires='>=' + MIN)"}, ">=3.9"),
        ({"setup.py": "MIN = '3.9'\nsetup(python_requires=f'>={MIN},<4')"}, ">=3.9,<4"),
        ({"setup.py": "setup(python_requires='>=' + computed())"}, ""),
        (
            {
                "setup.py": "from about import MIN\nsetup(python_requires=MIN)",
                "about.py": "MIN='>3'",
            },
            ">3",
        ),
        ({"setup.py": "known = dict(python_requires='>=3.9')\nsetup(**known)"}, ">=3.9"),
        ({"setup.py": "known = {'python_requires': '>=3.9'}\nsetup(**known)"}, ">=3.9"),
        ({"setup.py": "setup(**dict(python_requires='>=3.9'))"}, ">=3.9"),
        ({"setup.py": "a = b\nb = a\nsetup(**a)"}, ""),
        ({}, ""),
    ],
)
def test_which_pythons_a_project_supports(files: dict[str, str], pythons: str) -> None:
    assert of(files).requires_python == pythons


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"setup.cfg": "[metadata]\nname = from-cfg"}, "from-cfg"),
        ({"setup.py": "setup(name='from-py')"}, "from-py"),
        ({"pyproject.toml": '[tool.poetry]\nname = "p"'}, "p"),
        (
            {"pyproject.toml": backend("maturin", head=""), "Cargo.toml": '[package]\nname = "c"'},
            "c",
        ),
    ],
)
def test_a_name_outside_of_the_project_table(files: dict[str, str], name: str) -> None:
    assert of(files).name == name


@pytest.mark.parametrize(
    ("files", "value"),
    [
        ({"a/__init__.py": "__version__ = '1.2'"}, "1.2"),
        ({"src/a/__init__.py": "__version__: str = '1.2'"}, "1.2"),
        ({"a.py": "VERSION = __version__ = '1.2'"}, "1.2"),
        ({"a.py": "__version__ = (1, 2, 3)"}, "1.2.3"),
        ({"a.py": "__version__ = '1'\n__version__ = '2'"}, "2"),
        ({"a/__init__.py": "from ._v import __version__", "a/_v.py": "__version__ = '1.2'"}, "1.2"),
        ({"a/__init__.py": "from .v import V as __version__", "a/v.py": "V = '1.2'"}, "1.2"),
        ({"a/__init__.py": "from a.v import __version__", "a/v.py": "__version__ = '1.2'"}, "1.2"),
        ({"a/__init__.py": "from . import __version__"}, ""),
        ({"a.py": "__version__ = compute()"}, ""),
        ({"a.py": "__version__ = 1.2"}, ""),
        ({"a.py": "(" * 5000}, ""),
        ({"a.py": f"__version__ = {'-' * 50_000}1"}, ""),
        ({"a.py": "x = '\0'"}, ""),
        ({}, ""),
    ],
)
def test_an_attribute_is_read_and_not_run(files: dict[str, str], value: str) -> None:
    assert attribute(lambda name: files.get(name, ""), "a", "__version__") == value


NUMBER = "0x" + "F" * 20_000
"""Python reads it, and refuses to write it in decimal digits."""


@pytest.mark.parametrize(
    "call",
    [
        "name=f'" + "{A}" * 200_000 + "'",
        "name=" + "A+" * 900 + "A",
        "name=" + "A+" * 200 + "A, version=" + "'1'+" * 900 + "'1'",
        "".join(f"name{number}=''," for number in range(20_000)) + "**a," * 40_000,
        "**a," * 100_000,
        f"name={NUMBER}, version={NUMBER}, python_requires={NUMBER}",
        f"name={NUMBER}+{NUMBER}, version=B, python_requires=B",
        "version=B",
        "version=C",
    ],
)
def test_a_setup_script_that_multiplies_says_nothing(call: str) -> None:
    """Each of these took the square of its size, or ended with a traceback."""
    names = "a = {" + "'x': 1," * 40_000 + "}\n" + "A = 'x'\n" * 20_000
    text = f"{names}B = ({NUMBER}, 1)\nC = {NUMBER}\nsetup({call})\n"
    found = of({"pyproject.toml": backend("setuptools.build_meta", head=""), "setup.py": text})
    assert (found.name, found.requires_python) == ("", "")
    assert attribute(lambda name: text if name == "setup.py" else "", "setup", "B") == ""


def test_a_name_may_be_put_together_from_a_few_texts() -> None:
    text = "A = 'c'\nK = dict(version='2', name='a' f'-{\"b\"}' + '-' + A)\nsetup(**K)\n"
    found = of({"pyproject.toml": backend("setuptools.build_meta", head=""), "setup.py": text})
    assert (found.name, found.version) == ("a-b-c", "const:2")
