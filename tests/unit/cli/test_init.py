"""``orchestrator init``: trees in, a matrix.toml out that plans at once."""

from __future__ import annotations

import datetime as dt
import json
import tarfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import orchestrator.cli
from orchestrator.cli.workspace import open_workspace
from orchestrator.discover.cells import Release, Surroundings, ended
from orchestrator.discover.new_matrix import new_matrix
from orchestrator.discover.project import built_library, read_project
from orchestrator.discover.release import last_release, newest_sdist
from orchestrator.errors import ConfigError, ExitCode
from orchestrator.host.program_tables import builder_facts, builtin_table
from orchestrator.publish.index_coverage import compare_release
from orchestrator.source.locate import locate

SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\n'
PROJECT = '[project]\nname = "demo"\nversion = "1.0"\n'
SETUP = "from setuptools import setup, Extension\nsetup(ext_modules=[Extension('a', ['a.c'])])\n"
MATURIN = f'[build-system]\nrequires = ["maturin"]\nbuild-backend = "maturin"\n{PROJECT}'
SCIKIT = (
    '[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
    f"{PROJECT}"
)
IMPORT = 'python -c "import demo"'
AROUND = Surroundings(
    catalog=builder_facts(), table=builtin_table(), native="x86_64", today=dt.date(2026, 11, 30)
)
NOW = ["cp311", "cp312", "cp313", "cp314", "cp315", "cp314t", "cp315t"]
"""What cibuildwheel knows and is supported on that day."""


@dataclass
class Tree:
    """A source tree, what `init` writes for it, and how that is planned."""

    root: Path
    names: list[str] = field(default_factory=list)

    def write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def matrix(self, *, only_cibuildwheel: bool = False) -> tuple[dict[str, Any], str]:
        """Return the matrix, and all that is said about it; it is planned, too."""
        facts = read_project(self.root, locate(".", base=self.root))
        new = new_matrix(facts, self.release, AROUND, only_cibuildwheel=only_cibuildwheel)
        (self.root / "matrix.toml").write_text(new.text, encoding="utf-8")
        assert orchestrator.cli.run(["plan", "--format", "ids"]) == ExitCode.OK
        return tomllib.loads(new.text), "\n".join((*new.found, *new.notes, new.text))

    @property
    def release(self) -> Release | None:
        return last_release(self.names, index="an index") if self.names else None


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.chdir(tmp_path)
    return Tree(root=tmp_path)


def ids(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.split()


# Which Pythons


@pytest.mark.parametrize(
    ("files", "pythons"),
    [
        ({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": SETUP}, NOW),
        ({"setup.py": SETUP.replace("setup(", "setup(name='demo', version='1',")}, NOW),
        (
            {
                "pyproject.toml": f'{SETUPTOOLS}{PROJECT}requires-python = ">=3.13"\n',
                "setup.py": SETUP,
            },
            ["cp313", "cp314", "cp315", "cp314t", "cp315t"],
        ),
        (
            {"setup.py": SETUP.replace("setup(", "setup(version='1', python_requires='<3.12',")},
            ["cp311"],
        ),
        (
            {
                "setup.cfg": "[metadata]\nname = demo\n[options]\npython_requires = >=3.14",
                "setup.py": SETUP,
            },
            ["cp314", "cp315", "cp314t", "cp315t"],
        ),
        # All that it allows has ended: better that than nothing.
        (
            {
                "pyproject.toml": f'{SETUPTOOLS}{PROJECT}requires-python = "<3.10"',
                "setup.py": SETUP,
            },
            ["cp39"],
        ),
    ],
)
def test_requires_python_limits_the_pythons(
    tree: Tree, files: dict[str, str], pythons: list[str]
) -> None:
    tree.write({"PKG-INFO": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n", **files})

    matrix, _ = tree.matrix()

    assert matrix["axes"]["python"] == pythons


def test_a_python_that_nobody_has_is_an_error(tree: Tree) -> None:
    text = f'{SETUPTOOLS}{PROJECT}requires-python = ">=3.99"\n'
    tree.write({"pyproject.toml": text, "setup.py": SETUP})

    with pytest.raises(ConfigError, match="no Python that cibuildwheel"):
        tree.matrix()


@pytest.mark.parametrize(
    ("python", "day", "expected"),
    [
        ("cp310", dt.date(2026, 10, 31), False),
        ("cp310", dt.date(2026, 11, 1), True),
        ("cp38", dt.date(2024, 11, 1), True),
        ("cp314t", dt.date(2030, 10, 1), False),
        ("pp39", dt.date(2030, 1, 1), False),
    ],
)
def test_a_python_ends_five_years_after_it_came(python: str, day: dt.date, expected: bool) -> None:  # noqa: FBT001
    assert ended(python, day) == expected


# The stable ABI


LIMITED = "options={{'bdist_wheel': {{'py_limited_api': '{}'}}}},"
ABI3 = {
    "setup.py": {
        "pyproject.toml": SETUPTOOLS + PROJECT,
        "setup.py": SETUP.replace(
            "setup(", "setup(options={'bdist_wheel': {'py_limited_api': 'cp39'}},"
        ),
    },
    "setup.cfg": {
        "pyproject.toml": SETUPTOOLS + PROJECT,
        "setup.py": SETUP,
        "setup.cfg": "[bdist_wheel]\npy_limited_api = cp39\n",
    },
    "distutils": {
        "pyproject.toml": SETUPTOOLS
        + f'{PROJECT}[tool.distutils.bdist_wheel]\npy-limited-api = "cp39"\n',
        "setup.py": SETUP,
    },
    "scikit-build-core": {
        "pyproject.toml": f'{SCIKIT}[tool.scikit-build]\nwheel.py-api = "cp39"\n'
    },
    "scikit-build-core and abi3t": {
        "pyproject.toml": f'{SCIKIT}[tool.scikit-build]\nwheel.py-api = "cp39.cp315t"\n'
        '[[tool.scikit-build.overrides]]\nif.env.PYODIDE = true\nwheel.py-api = ""\n'
    },
    "maturin": {
        "pyproject.toml": MATURIN,
        "Cargo.toml": '[dependencies]\npyo3 = { version = "1", features = ["abi3-py39"] }\n',
    },
    "maturin's own features": {
        "pyproject.toml": f'{MATURIN}[tool.maturin]\nfeatures = ["limited"]\n'
        'manifest-path = "r/C.toml"\n',
        "r/C.toml": '[features]\nlimited = ["pyo3/abi3-py39"]\n[dependencies]\npyo3 = "1"\n',
    },
    "a workspace": {
        "pyproject.toml": f'{MATURIN}[tool.maturin]\nmanifest-path = "r/Cargo.toml"\n',
        "Cargo.toml": "[workspace.dependencies]\n"
        'pyo3 = { version = "1", features = ["abi3-py39"] }\n',
        "r/Cargo.toml": "[dependencies]\npyo3 = { workspace = true }\n",
    },
    "meson": {
        "pyproject.toml": '[build-system]\nrequires = ["meson-python"]\nbuild-backend = "mesonpy"\n'
        f"{PROJECT}[tool.meson-python]\nlimited-api = true\n",
        "meson.build": "py.extension_module('a', 'a.c', limited_api: '3.9')\n",
    },
}


@pytest.mark.parametrize("kind", ABI3)
def test_one_wheel_of_the_stable_abi_serves_all_pythons(
    tree: Tree, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write(ABI3[kind])

    matrix, _ = tree.matrix()

    assert matrix["axes"]["python"] == ["abi3-cp39"]
    assert ids(capsys) == ["abi3-cp39-manylinux_x86_64", "abi3-cp39-manylinux_aarch64"]


def test_the_stable_abi_of_whatever_python_builds_is_that_of_the_lowest(tree: Tree) -> None:
    cargo = '[dependencies]\npyo3 = { version = "1", features = ["abi3"] }\n'
    tree.write({"pyproject.toml": MATURIN, "Cargo.toml": cargo})

    assert tree.matrix()[0]["axes"]["python"] == ["abi3-cp311"]


def test_a_python_older_than_any_builder_s_may_be_the_floor(tree: Tree) -> None:
    text = SETUP.replace("setup(", f"setup({LIMITED.format('cp36')}")
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": text})

    assert tree.matrix()[0]["axes"]["python"] == ["abi3-cp36"]


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": MATURIN, "Cargo.toml": '[dependencies]\npyo3 = "1"\n'},
        {
            "pyproject.toml": MATURIN,
            "Cargo.toml": '[features]\nx = ["pyo3/abi3-py39"]\n[dependencies]\npyo3 = "1"\n',
        },
        {"pyproject.toml": f'{SCIKIT}[tool.scikit-build]\nwheel.py-api = ""\n'},
        {
            "pyproject.toml": f"{SCIKIT}[[tool.scikit-build.overrides]]\nif.env.ABI3 = true\n"
            'wheel.py-api = "cp39"\n'
        },
    ],
)
def test_features_that_nothing_turns_on_do_not_count(tree: Tree, files: dict[str, str]) -> None:
    tree.write(files)

    assert tree.matrix()[0]["axes"]["python"] == NOW


def test_a_stable_abi_that_has_to_be_asked_for_is_said(tree: Tree) -> None:
    text = f"import os\nif os.getenv('X'):\n  o = {{'py_limited_api': 'cp39'}}\n{SETUP}"
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": text})

    matrix, said = tree.matrix()

    assert matrix["axes"]["python"] == NOW
    assert "if a variable of the environment asks for it" in said


def test_programs_are_built_once(tree: Tree) -> None:
    tree.write({"pyproject.toml": f'{MATURIN}[tool.maturin]\nbindings = "bin"\n', "Cargo.toml": ""})

    assert tree.matrix()[0]["axes"]["python"] == ["cp315"]


# [tool.cibuildwheel], workflows and the last release


CIBUILDWHEEL = """
[tool.cibuildwheel]
skip = "*-musllinux_i686 cp313-*"
archs = ["x86_64", "i686"]
enable = ["pypy"]
linux.manylinux-x86_64-image = "manylinux2014"
linux.manylinux-i686-image = "manylinux_2_28"
linux.musllinux-x86_64-image = "registry.example/own"
[[tool.cibuildwheel.overrides]]
select = "pp311-*"
manylinux-x86_64-image = "quay.io/pypa/manylinux_2_34_x86_64"
"""


def test_the_project_s_own_selection_counts(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    tree.write({"pyproject.toml": f"{SETUPTOOLS}{PROJECT}{CIBUILDWHEEL}", "setup.py": SETUP})

    matrix, said = tree.matrix()

    planned = ids(capsys)
    assert "cp311-manylinux_i686" in planned
    assert "pp312-manylinux_x86_64" in planned
    assert not [each for each in planned if "cp313" in each or "cp39" in each]
    assert not [each for each in planned if each.endswith("musllinux_i686")]
    assert matrix["images"] == {
        "manylinux_x86_64": "manylinux2014",
        "musllinux_x86_64": "registry.example/own",
    }
    assert matrix["override"] == [
        {"when": "python=pp311 & libc=manylinux & arch=x86_64", "image": "manylinux_2_34"}
    ]
    assert "not in [tool.cibuildwheel]" in said


def test_from_cibuildwheel_means_its_identifiers_and_no_others(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write({"pyproject.toml": f"{SETUPTOOLS}{PROJECT}{CIBUILDWHEEL}", "setup.py": SETUP})

    tree.matrix(only_cibuildwheel=True)

    pythons = ["cp39", "cp310", "cp311", "cp312", "cp314", "cp315", "cp314t", "cp315t"]
    expected = {
        f"{p}-{platform}"
        for p in pythons
        for platform in ("manylinux_x86_64", "manylinux_i686", "musllinux_x86_64")
    }
    expected |= {f"pp31{n}-manylinux_{arch}" for n in (1, 2) for arch in ("x86_64", "i686")}
    assert set(ids(capsys)) == expected & AROUND.catalog.identifiers


def test_from_cibuildwheel_needs_cibuildwheel(tree: Tree) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": SETUP})

    with pytest.raises(ConfigError, match="nothing runs cibuildwheel"):
        tree.matrix(only_cibuildwheel=True)


# Commands that name files which an sdist leaves out


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ('before-all = ".github/workflows/x.sh && there.sh"', {"before-all": ""}),
        ('before-all = ["bash tools/x.sh", "true"]', {"before-all": ""}),
        ('before-build = "pip install -r requirements/x.txt"', {"before-build": ""}),
        ('before-build = "bash {project}/tools/x.sh"', {"before-build": ""}),
        ('linux.before-build = "bash {package}/tools/x.sh"', {"before-build": ""}),
        ('test-command = "pytest {project}/tests -q"', {"command": IMPORT}),
        ('test-command = "pytest"\ntest-sources = ["tests"]', {"command": IMPORT, "sources": []}),
        (
            'test-command = "pytest"\nbefore-test = "sh {project}/x.sh"',
            {"command": IMPORT, "before": ""},
        ),
        (
            'repair-wheel-command = "python scripts/x.py -w {dest_dir} {wheel}"',
            {"repair": "auditwheel"},
        ),
        (
            'build-frontend = "uv; args: --build-constraints requirements/x.txt"',
            {"frontend": "uv"},
        ),
        (
            'build-frontend = { name = "build", args = ["-x", "requirements/x.txt"] }',
            {"frontend": "build"},
        ),
        ('test-command = "true"\ntest-requires = "-r requirements/x.txt"', {"requires": []}),
        (
            'test-command = "pytest {project}/t"\ntest-requires = ["-r", "requirements/x.txt"]',
            {"requires": [], "command": IMPORT},
        ),
        # It may make what the test needs.
        (
            'before-build = "sh {project}/lib.sh"\ntest-command = "tox"',
            {"before-build": "", "command": IMPORT},
        ),
        (
            'before-all = "tools/x.sh"\ntest-command = "su -l x -c true"',
            {"before-all": "", "command": ""},
        ),
        # All of it is there, or nobody can tell.
        ('before-all = "there.sh; bash ci/there.sh"', {}),
        ('test-command = "pytest {project}/ci/there.sh {project}"', {}),
        ('test-command = "pytest {project}/$TESTS {project}/*/x {package}/x{y}"', {}),
        ('test-sources = ["tests"]', {}),
        ('before-all = "cd x && ./configure.sh"', {}),
        ('before-all = "git clone https://x.org/x.sh && bash x/y.sh"', {}),
        ('before-all = "sh /opt/x.sh && pip install https://x.org/x.txt $HOME/x.sh"', {}),
        ('macos.before-all = "tools/x.sh"\nwindows.test-command = "{project}/x"', {}),
    ],
)
def test_a_command_that_names_files_which_are_not_there_is_replaced(
    tree: Tree, options: str, absent: dict[str, str]
) -> None:
    table = f"[tool.cibuildwheel]\n{options}\n"
    there = {"ci/there.sh": "", "there.sh": "", "src/demo/__init__.py": ""}
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT + table, "setup.py": SETUP, **there})

    matrix, said = tree.matrix()

    assert {**matrix.get("build", {}), **matrix.get("test", {})} == absent
    assert ("which this source does not have" in said) is bool(absent)


def test_what_a_variable_has_to_ask_for_is_asked_for(tree: Tree) -> None:
    setup = (
        "x = None\nif os.getenv('DEMO') == 'on':\n  x = cythonize('a.pyx')\nsetup(ext_modules=x)"
    )
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": setup})

    assert tree.matrix()[0]["env"] == {"DEMO": "on"}


def test_a_package_of_another_name_is_not_tested_in_its_place(tree: Tree) -> None:
    table = '[tool.cibuildwheel]\ntest-command = "pytest {project}/tests"\n'
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT + table, "setup.py": SETUP})

    assert tree.matrix()[0]["test"] == {"command": ""}


WORKFLOW = """
jobs:
  wheels:
    runs-on: ${{ matrix.os }}
    strategy:
      matrix:
        include:
        - {os: ubuntu-latest, arch: 'auto,auto32', build: '*-manylinux*'}
        - {os: ubuntu-24.04-arm, arch: auto, build: '*-manylinux*'}
        - {os: ubuntu-latest, arch: riscv64, build: 'cp312-manylinux*'}
        - {os: macos-latest, arch: arm64, build: '*'}
    steps:
    - run: pip install cibuildwheel
    - uses: pypa/cibuildwheel@v4
      env: {CIBW_ARCHS: '${{ matrix.arch }}', CIBW_BUILD: '${{ matrix.build }}'}
"""


@pytest.mark.parametrize(
    "spelling", ["uses: pypa/cibuildwheel@v4", "run: python -m cibuildwheel ."]
)
def test_a_workflow_says_what_cibuildwheel_builds(
    tree: Tree, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = '[tool.cibuildwheel.config-settings]\n"wheel.py-api" = "cp312"\n'
    text = WORKFLOW.replace("uses: pypa/cibuildwheel@v4", spelling)
    tree.write({"pyproject.toml": SCIKIT + config, ".github/workflows/wheels.yml": text})

    matrix, said = tree.matrix(only_cibuildwheel=True)

    # cp312 to cp315 are one wheel, on each of four architectures.
    found = ids(capsys)
    assert len(found) == 3 * len(["cp39", "cp310", "cp311", "abi3-cp312", "cp314t", "cp315t"]) + 1
    assert {each for each in found if "riscv64" in each} == {"abi3-cp312-manylinux_riscv64"}
    assert matrix["override"][0]["build"] == {"abi3": "cp312"}
    assert ".github/workflows/wheels.yml" in said


@pytest.mark.parametrize(
    ("run", "counts"),
    [
        ("uvx cibuildwheel==4.3.3 .", True),
        ("pipx run 'cibuildwheel[uv]~=4.0' --output-dir dist", True),
        ("pip install cibuildwheel && cibuildwheel .", True),
        ('"$PYTHON" -m cibuildwheel', True),
        ("pip install \\\n  cibuildwheel", False),
        ("for NAME in cibuildwheel.yml wasm.yml; do gh run list $NAME; done", False),
        ("python -m cibuildwheel --platform pyodide", False),
        ("bash .github/cibuildwheel/prepare.sh", False),
        ("ls  # then cibuildwheel", False),
        ("echo cibuildwheel", False),
    ],
)
def test_what_runs_cibuildwheel_in_a_workflow(
    tree: Tree, run: str, *, counts: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    other = f"    - run: {json.dumps(run)}\n      env: {{CIBW_BUILD: 'cp313-*'}}\n"
    tree.write({"pyproject.toml": SCIKIT, ".github/workflows/wheels.yml": WORKFLOW + other})

    tree.matrix(only_cibuildwheel=True)

    assert ("cp313-musllinux_x86_64" in ids(capsys)) is counts


@pytest.mark.parametrize("more", ["--archs aarch64", "--archs=aarch64 --platform=linux"])
def test_arguments_of_cibuildwheel_count_before_variables(
    tree: Tree, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    step = f"{{run: cibuildwheel {more}, env: {{CIBW_ARCHS: x86_64}}}}"
    text = f"jobs: {{a: {{runs-on: ubuntu-latest, steps: [{step}]}}}}"
    tree.write({"pyproject.toml": SCIKIT, ".github/workflows/wheels.yml": text})

    tree.matrix(only_cibuildwheel=True)

    assert all(each.endswith("_aarch64") for each in ids(capsys))


RELEASED = [
    *(
        f"demo-1.0-{p}-{p}-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        for p in ("cp310", "cp312")
    ),
    *("demo-1.0-cp312-cp312-musllinux_1_2_aarch64.whl", "demo-1.0-cp312-cp312-win_amd64.whl"),
    *(
        "demo-1.0-pp311-pypy311_pp73-manylinux_2_17_x86_64.whl",
        "demo-1.0-graalpy312-graalpy250_312_native-manylinux_2_28_x86_64.whl",
        "demo-0.9-cp39-cp39-linux_armv7l.whl",
    ),
    *("demo-2.0rc1-cp312-cp312-manylinux_2_28_s390x.whl", "demo-1.0.tar.gz", "junk"),
]


def test_the_last_release_says_which_platforms_are_wanted(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": SETUP})
    tree.names = RELEASED

    matrix, said = tree.matrix()

    found = ids(capsys)
    assert {each.partition("-")[2] for each in found} == {"manylinux_x86_64", "musllinux_aarch64"}
    pythons = ["cp311", "cp312", "cp313", "cp314", "cp315", "gp312_250", "pp311"]
    assert matrix["axes"]["python"] == pythons
    assert "free-threaded Pythons: nothing says" in said
    assert {"pp311-musllinux_aarch64", "gp312_250-musllinux_aarch64"}.isdisjoint(found)


def test_what_a_workflow_leaves_out_and_the_last_release_had_is_there(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = (
        "jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        "    - {uses: pypa/cibuildwheel@v4, with: {only: cp313-manylinux_x86_64}}\n"
    )
    table = '[tool.cibuildwheel]\nskip = "*-musllinux*"\n'
    tree.write(
        {
            "pyproject.toml": SETUPTOOLS + PROJECT + table,
            "setup.py": SETUP,
            ".github/workflows/x.yaml": workflow,
        }
    )
    tree.names = RELEASED

    tree.matrix()

    assert set(ids(capsys)) == {"cp313-manylinux_x86_64", "cp312-manylinux_x86_64"}


def test_a_release_for_the_stable_abi_that_nothing_explains_is_said(tree: Tree) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": SETUP})
    tree.names = ["demo-1.0-cp39-abi3-manylinux_2_17_x86_64.whl"]

    matrix, said = tree.matrix()

    assert matrix["axes"]["arch"] == ["x86_64"]
    assert "for the stable ABI (cp39), but nothing in the source says how" in said


# Torch


TORCH = (
    "import os\nfrom torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension\n"
    "os.getenv('FORCE_CUDA')\nsetup(ext_modules=[CUDAExtension('a', ['a.cu'])])\n"
)
TORCH_WORKFLOW = """
jobs:
  a:
    runs-on: ${{ matrix.os }}
    strategy:
      matrix:
        os: [ubuntu-latest, windows-latest]
        python-version: ['3.11', '3.12']
        torch-version: [2.12.1, 2.13.0, 9.9.0]
        cuda-version: ['cpu', '13.0.2']
        exclude:
        - {torch-version: 2.13.0, cuda-version: 'cpu'}
        - {os: windows-latest, cuda-version: 'cpu'}
"""


def test_a_torch_extension_gets_the_newest_torch(tree: Tree) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": TORCH})

    matrix, said = tree.matrix()

    newest = list(AROUND.table.releases)[-1].torch[-1]
    assert matrix["axes"]["torch"]["values"][-1] == newest
    assert matrix["axes"]["cuda"] == ["cpu", "cu130"]
    assert "cp311" in matrix["axes"]["python"]
    assert "cp310" not in matrix["axes"]["python"]
    assert matrix["version"]["pins"] == {"torch": "=={torch}.*"}
    assert matrix["build"]["external"] == ["torch", "cuda"]
    assert matrix["build"]["cuda"] == "index"
    assert matrix["env"] == {"FORCE_CUDA": "0"}
    assert matrix["override"] == [{"when": "!cuda=cpu", "env": {"FORCE_CUDA": "1"}}]
    assert "[test]: which command tests a wheel" in said


def test_a_torch_extension_without_cuda_has_no_such_axis(tree: Tree) -> None:
    text = TORCH.replace("CUDAExtension", "CppExtension")
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": text})

    matrix, _ = tree.matrix()

    assert "cuda" not in matrix["axes"]
    assert matrix["version"]["local"] == "torch{torch}"
    assert matrix["build"]["external"] == ["torch"]


def test_a_workflow_s_versions_of_torch_and_cuda_are_taken(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write(
        {
            "pyproject.toml": SETUPTOOLS + PROJECT,
            "setup.py": TORCH,
            ".github/workflows/a.yml": TORCH_WORKFLOW,
        }
    )

    matrix, said = tree.matrix()

    found = [each for each in ids(capsys) if "x86_64" in each]
    assert found == [
        f"cp31{n}-manylinux_x86_64-{rest}"
        for n in (1, 2)
        for rest in ("cpu-torch2.12", "cu130-torch2.12", "cu130-torch2.13")
    ]
    assert [rule["when"] for rule in matrix["exclude"]] == [{"torch": "2.13", "cuda": "cpu"}]
    assert "torch 9.9: not in the support table" in said


def test_a_workflow_s_cuda_of_a_project_without_torch_is_said(tree: Tree) -> None:
    tree.write(
        {
            "pyproject.toml": SETUPTOOLS + PROJECT,
            "setup.py": SETUP,
            ".github/workflows/a.yml": TORCH_WORKFLOW.replace("torch-version", "other"),
        }
    )

    matrix, said = tree.matrix()

    assert "cuda" not in matrix["axes"]
    assert "CUDA cpu, 13.0.2 of .github/workflows/a.yml: an axis cuda, once" in said


# Versions, sources, files


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("[tool.setuptools_scm]\n", None),
        ('[tool.setuptools.dynamic]\nversion = { attr = "demo.__version__" }\n', None),
        ("", {"base": "backend"}),
        ('[tool.setuptools.dynamic]\nversion = { attr = "demo.computed" }\n', {"base": "backend"}),
        ('[tool.setuptools.dynamic]\nversion = { file = "WRITTEN" }\n', {"base": "backend"}),
    ],
)
def test_only_a_version_that_code_computes_needs_a_line(
    tree: Tree, text: str, version: dict[str, str] | None
) -> None:
    project = '[project]\nname = "demo"\ndynamic = ["version"]\n'
    module = "__version__ = '1.0'\ncomputed = read()\n"
    files = {"pyproject.toml": SETUPTOOLS + project + text, "demo/__init__.py": module}
    tree.write({**files, "setup.py": SETUP})
    facts = read_project(tree.root, locate(".", base=tree.root))

    matrix = tomllib.loads(new_matrix(facts, None, AROUND).text)

    assert matrix.get("version") == version


def test_a_version_that_setup_py_computes_is_asked_of_its_build(tree: Tree) -> None:
    text = SETUP.replace("setup(", "VERSION = read()\nsetup(version=VERSION, ", 1)
    tree.write({"setup.py": text})

    assert tree.matrix()[0]["version"] == {"base": "backend"}


@pytest.mark.parametrize("file", ["demo/lib/libdemo.so", "src/demo/_core.pyd", "demo/x.dylib"])
def test_a_library_that_somebody_else_has_built_is_for_one_platform(
    tree: Tree, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, file: "", ".venv/lib/x.so": ""})

    assert orchestrator.cli.run(["init", "--no-index"]) == ExitCode.NOTHING_SELECTED
    said = capsys.readouterr().err
    assert file in said
    assert "orchestrator retag WHEEL" in said


def test_a_backend_that_nobody_knows_compiles_what_only_a_compiler_reads(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    """The backend of cryptacular is enscons."""
    backend = '[build-system]\nrequires = ["x"]\nbuild-backend = "enscons.api"\n'
    tree.write({"pyproject.toml": backend + PROJECT, "demo/native.c": "", "tests/x.py": ""})
    assert "enscons.api, and the source has demo/native.c" in tree.matrix()[1]
    capsys.readouterr()

    (tree.root / "demo/native.c").rename(tree.root / "tests/native.c")
    (tree.root / "matrix.toml").unlink()
    assert orchestrator.cli.run(["init", "--no-index"]) == ExitCode.NOTHING_SELECTED


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": SETUPTOOLS + PROJECT},
        {"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": "setup(name='demo')"},
        {"pyproject.toml": f'[build-system]\nbuild-backend = "flit_core.buildapi"\n{PROJECT}'},
        {"pyproject.toml": f'{PROJECT}[tool.hatch.build.hooks.vcs]\nversion-file = "v.py"\n'},
        {"pyproject.toml": f"{PROJECT}[tool.hatch.build.hooks.custom]\n", "hatch_build.py": "x"},
    ],
)
def test_a_project_without_anything_compiled_needs_no_matrix(
    tree: Tree, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write(files)

    assert orchestrator.cli.run(["init", "--no-index"]) == ExitCode.NOTHING_SELECTED
    assert "nothing in it is compiled" in capsys.readouterr().err
    assert not (tree.root / "matrix.toml").exists()


@pytest.mark.parametrize(
    "files",
    [
        {"pyproject.toml": f"{PROJECT}[tool.hatch.build.targets.wheel.hooks.mypyc]\n"},
        {
            "pyproject.toml": f"{PROJECT}[tool.hatch.build.hooks.custom]\n",
            "hatch_build.py": "build_data['infer_tag'] = True",
        },
        {"pyproject.toml": f'{PROJECT}[tool.poetry.build]\nscript = "build.py"\n'},
        {"pyproject.toml": f"{PROJECT}[tool.pdm.build]\nrun-setuptools = true\n"},
        {"pyproject.toml": f'{PROJECT}[[tool.setuptools.ext-modules]]\nname = "a"\nsources = []\n'},
        {"pyproject.toml": f'{PROJECT}[[tool.setuptools-rust.ext-modules]]\ntarget = "a"\n'},
        {"pyproject.toml": PROJECT, "setup.py": "print 'Python 2'"},
    ],
)
def test_what_compiles_is_known_for_each_backend(tree: Tree, files: dict[str, str]) -> None:
    tree.write(files)

    assert orchestrator.cli.run(["init", "--no-index"]) == ExitCode.OK


def test_a_file_is_overwritten_only_by_force(
    tree: Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": SETUP, "matrix.toml": "mine"})

    assert orchestrator.cli.run(["init", "--no-index"]) == ExitCode.CONFIG
    assert "matrix.toml: it already exists" in capsys.readouterr().err
    assert (tree.root / "matrix.toml").read_text() == "mine"
    assert orchestrator.cli.run(["init", "--no-index", "--force"]) == ExitCode.OK
    assert "14 targets" in capsys.readouterr().err


def test_a_source_elsewhere_is_named(tree: Tree) -> None:
    tree.write({"src/pyproject.toml": SETUPTOOLS + PROJECT, "src/setup.py": SETUP})

    assert orchestrator.cli.run(["init", "src", "--no-index", "--output", "a.toml"]) == ExitCode.OK
    assert tomllib.loads((tree.root / "a.toml").read_text())["project"] == {"source": "src"}
    assert orchestrator.cli.run(["plan", "--matrix", "a.toml"]) == ExitCode.OK


def test_an_sdist_is_read_without_its_code(tree: Tree) -> None:
    tree.write(
        {
            "demo-1.0/pyproject.toml": SETUPTOOLS + PROJECT,
            "demo-1.0/setup.py": f"open('ran', 'w')\nraise SystemExit\n{SETUP}",
        }
    )
    with tarfile.open(tree.root / "demo-1.0.tar.gz", "w:gz") as archive:
        archive.add(tree.root / "demo-1.0", "demo-1.0")

    assert orchestrator.cli.run(["init", "demo-1.0.tar.gz", "--no-index"]) == ExitCode.OK
    assert not list(tree.root.rglob("ran"))
    matrix = tomllib.loads((tree.root / "matrix.toml").read_text())
    assert matrix["project"] == {"source": "demo-1.0.tar.gz"}


HOSTILE = 'x"]\n[env]\nEVIL = "1" \\ \x7f \u202e\x85'


def test_no_text_of_the_project_becomes_a_line_of_the_matrix(tree: Tree) -> None:
    text = WORKFLOW.replace("auto,auto32", HOSTILE.replace("\n", "\\n")).encode()
    (tree.root / ".github/workflows").mkdir(parents=True)
    (tree.root / ".github/workflows" / "a\nb\x85.yml").write_bytes(text)
    name = f"{HOSTILE!r}"
    tree.write(
        {
            "pyproject.toml": f"{SETUPTOOLS}{PROJECT}requires-python = {name}\n"
            "[tool.cibuildwheel]\nmanylinux-x86_64-image = '''a/b\"]\nEVIL = 1'''\n",
            "setup.py": SETUP,
        }
    )
    facts = read_project(tree.root, locate(".", base=tree.root))

    matrix = tomllib.loads(new_matrix(facts, None, AROUND).text)

    assert matrix.keys() <= {"axes", "images", "exclude"}


def test_links_out_of_the_project_are_not_followed(
    tree: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "w.yml").write_text(WORKFLOW)
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, "setup.py": SETUP})
    (tree.root / ".github").mkdir()
    (tree.root / ".github" / "workflows").symlink_to(outside)

    _, said = tree.matrix()

    assert "w.yml" not in said


@pytest.mark.parametrize(
    ("axes", "names", "made", "new"),
    [
        ('python = ["cp312"]', ["cp312-cp312-manylinux_2_28_x86_64"], 1, []),
        ('python = ["cp312"]', ["cp312-cp312-musllinux_1_2_x86_64"], 0, ["cp312-manylinux_x86_64"]),
        ('python = ["cp312"]', ["cp39-abi3-manylinux2014_x86_64"], 1, []),
        ('python = ["cp312"]', ["cp313-abi3-manylinux2014_x86_64"], 0, ["cp312-manylinux_x86_64"]),
        ('python = ["abi3-cp36"]', ["cp36-abi3-manylinux_2_28_x86_64"], 1, []),
        ('python = ["abi3-cp39"]', ["cp312-cp312-manylinux_2_28_x86_64"], 1, []),
        ('python = ["abi3-cp39"]', ["cp38-cp38-manylinux_2_28_x86_64"], 0, ["abi3-cp39-manylinux"]),
        ('python = ["abi3-cp39"]', ["cp314-cp314t-manylinux_2_28_x86_64"], 0, ["abi3-cp39-many"]),
        ('python = ["cp314t"]', ["cp314-cp314t-manylinux_2_28_x86_64"], 1, []),
        ('python = ["pp311"]', ["pp311-pypy311_pp73-manylinux_2_28_x86_64"], 1, []),
        (
            'python = ["gp312_250"]',
            ["graalpy312-graalpy250_312_native-manylinux_2_28_x86_64"],
            1,
            [],
        ),
        (
            'python = ["cp312"]\nlibc = ["manylinux_2_28"]',
            ["py3-none-manylinux_2_17_x86_64"],
            1,
            [],
        ),
        (
            'python = ["cp311", "cp312"]\n[build]\nabi3 = "cp39"',
            ["cp312-cp312-linux_x86_64"],
            0,
            None,
        ),
    ],
)
def test_a_plan_beside_a_release_whatever_its_version(
    tree: Tree, axes: str, names: list[str], made: int, new: list[str] | None
) -> None:
    tree.write(
        {
            "pyproject.toml": SETUPTOOLS + '[project]\nname = "demo"\ndynamic = ["version"]\n',
            "matrix.toml": f'[version]\nbase = "backend"\n[axes]\narch = ["x86_64"]\n{axes}\n',
        }
    )
    plan = open_workspace(Path("matrix.toml")).plan

    gap = compare_release(plan, [f"demo-1-{name}.whl" for name in (*names, "cp312-cp312-win32")])

    assert len(gap.made) == made
    assert len(gap.missing) == len(names) - made
    assert gap.elsewhere == ("demo-1-cp312-cp312-win32.whl",)
    assert new is None or [a.startswith(b) for a, b in zip(gap.new, new, strict=True)] == [
        True for _ in new
    ]


# Sources that mean harm


EVIL = 'A = "1"\n[build]\nbefore-all = "evil" #'
"""Text that would be a command, if it became lines of the matrix."""

HOSTILE_TREES = {
    "a variable": {
        "setup.py": f"if os.getenv({EVIL!r}) == {EVIL!r}:\n  x = [Extension('a', [])]",
    },
    "its value": {
        "setup.py": f"if os.getenv('A') == {EVIL!r}:\n  x = [Extension('a', [])]",
    },
    "an image": {
        "pyproject.toml": f"{MATURIN}[tool.cibuildwheel]\n"
        f"manylinux-x86_64-image = {json.dumps('a/' + EVIL)}\n",
    },
    "an image's platform": {
        "pyproject.toml": f"{MATURIN}[tool.cibuildwheel]\n"
        f"{json.dumps('manylinux-' + EVIL + '-image')} = 'a/b'\n",
    },
    "a file that is not there": {
        "pyproject.toml": f"{MATURIN}[tool.cibuildwheel]\ntest-command = 'pytest'\n"
        f"test-sources = [{json.dumps(EVIL)}]\n",
    },
    "half of a character": {
        "pyproject.toml": f"{MATURIN}[tool.cibuildwheel]\n",
        ".github/workflows/a.yml": "jobs:\n  a:\n    env:\n      CIBW_MANYLINUX_X86_64_IMAGE: "
        '"a/\\ud800"\n    steps:\n    - uses: pypa/cibuildwheel@v3\n',
    },
    "a name of a workflow": {
        "pyproject.toml": MATURIN,
        ".github/workflows/a\nb.yml": "jobs:\n  a:\n    steps:\n    - uses: pypa/cibuildwheel@v3\n",
    },
    "versions of CUDA": {
        "setup.py": TORCH,
        ".github/workflows/a.yml": TORCH_WORKFLOW.replace("13.0.2", f"cu{'1' * 5000}"),
    },
    "versions of Python and torch": {
        "setup.py": TORCH,
        ".github/workflows/a.yml": TORCH_WORKFLOW.replace("3.11", "1" * 5000).replace(
            "9.9.0", f"'{'1' * 5000}.{'1' * 5000}'"
        ),
    },
}


@pytest.mark.parametrize("files", HOSTILE_TREES.values(), ids=HOSTILE_TREES)
def test_no_text_of_a_source_becomes_a_line_of_the_matrix(
    tree: Tree, files: dict[str, str]
) -> None:
    tree.write({"pyproject.toml": SETUPTOOLS + PROJECT, **files})
    matrix, _ = tree.matrix()
    assert matrix.keys() <= {
        "axes",
        "env",
        "version",
        "build",
        "indexes",
        "images",
        "exclude",
        "test",
    } | {"override"}
    assert "before-all" not in matrix.get("build", {})
    assert matrix.get("env", {}).keys() <= {"A", "FORCE_CUDA"}


def test_a_library_is_looked_for_in_the_source_only(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "package").mkdir(parents=True)
    (outside / "package" / "x.so").touch()
    root.mkdir()
    (root / "link").symlink_to(outside)
    (root / "loop").symlink_to(root)
    assert built_library(root) == ""
    for place in ("build", ".tox", "a/b/c/d"):
        (root / place).mkdir(parents=True)
        (root / place / "x.so").touch()
    (root / "x.so").touch()
    assert built_library(root) == ""
    for place in ("a/b/c", "a/b", "a"):
        (root / place / "y.pyd").touch()
        assert built_library(root) == f"{place}/y.pyd"


def test_of_what_an_index_names_only_sdists_count() -> None:
    names = [f"demo-{'1' * 5000}.tar.gz", "demo-x.tar.gz", "demo.zip", "demo-9-py3-none-any.whl"]
    assert newest_sdist([*names, "demo-1.0.tar.gz", "demo-2.0rc1.tar.gz"]) == "1.0"
    assert newest_sdist(names) == ""
