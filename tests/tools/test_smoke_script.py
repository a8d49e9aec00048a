"""What the smoke test makes of a wheel, with this Python's own modules as extensions."""

from __future__ import annotations

import importlib.machinery
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from orchestrator.builders.smoke_test import SMOKE_SCRIPT

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]


def smoked(tmp_path: Path, files: dict[str, bytes | Path]) -> subprocess.CompletedProcess[str]:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.read_bytes() if isinstance(content, Path) else content)
    argv = [sys.executable, "-I", str(SMOKE_SCRIPT), str(wheel)]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extension module called `real`."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "real.c").write_text(
        "#include <Python.h>\n"
        'static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "real"};\n'
        "PyMODINIT_FUNC PyInit_real(void) { return PyModule_Create(&m); }\n"
    )
    made = folder / f"real{SUFFIX}"
    include = f"-I{sysconfig.get_path('include')}"
    compiler = shutil.which("cc")
    if compiler is None or not Path(include[2:], "Python.h").exists():
        pytest.skip("needs a C compiler and Python.h")
    argv = [compiler, "-shared", "-fPIC", include, str(folder / "real.c"), "-o", str(made)]
    subprocess.run(argv, check=True)
    return made


def test_every_module_is_imported_wherever_the_wheel_has_it(module: Path, tmp_path: Path) -> None:
    said = smoked(
        tmp_path,
        {
            f"real{SUFFIX}": module,
            f"demo/real{SUFFIX}": module,
            "demo/__init__.py": b"from . import real\n",
            f"demo-1.0.data/platlib/other/real{SUFFIX}": module,
            "demo-1.0.data/data/share/x.so": b"no module",
            f"demo/libreal{SUFFIX}": b"a library",
        },
    )

    assert said.returncode == 0, said.stdout
    names = {line.removeprefix("importing ") for line in said.stdout.splitlines()}
    assert names == {"real", "demo.real", "other.real"}


def test_what_is_no_module_for_this_machine_is_found(tmp_path: Path) -> None:
    said = smoked(tmp_path, {f"bad{SUFFIX}": b"\x7fELF of another machine"})

    assert said.returncode == 1
    assert "cannot import bad: " in said.stdout


def test_a_module_that_lacks_its_own_parts_is_found(module: Path, tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {
        "demo/__init__.py": b"import demo.missing\n",
        f"demo/real{SUFFIX}": module,
    }

    said = smoked(tmp_path, files)

    assert said.returncode == 1
    assert "cannot import demo.real: No module named 'demo.missing'" in said.stdout


@pytest.mark.parametrize(
    "code", [b"import not_installed_here\n", b"raise RuntimeError('no GPU')\n"]
)
def test_what_other_projects_or_devices_lack_is_no_fault(
    module: Path, tmp_path: Path, code: bytes
) -> None:
    said = smoked(tmp_path, {"demo/__init__.py": code, f"demo/real{SUFFIX}": module})

    assert said.returncode == 0, said.stdout


def test_a_module_is_loaded_though_its_package_lacks_another_project(tmp_path: Path) -> None:
    files: dict[str, bytes | Path] = {
        "demo/__init__.py": b"import not_installed_here\n",
        f"demo/bad{SUFFIX}": b"\x7fELF of another machine",
    }

    said = smoked(tmp_path, files)

    assert said.returncode == 1
    assert "loaded, not initialized: not_installed_here is not installed" in said.stdout
    assert "cannot import demo.bad: " in said.stdout
