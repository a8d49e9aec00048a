"""What the smoke test makes of a wheel and of its end; a shell stands for a foreign Python."""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from orchestrator.builders.smoke_test import SMOKE_SCRIPT, SmokeTested, import_under_qemu
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import BackendName, TargetSteps
from orchestrator.provision.foreign_python import ForeignPython
from tests.conftest import ran
from tests.tools.test_step_timer import job

SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]


Files = Mapping[str, bytes | Path]


def smoked(tmp_path: Path, files: Files, code: int) -> str:
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content.read_bytes() if isinstance(content, Path) else content)
    return ran(sys.executable, "-I", SMOKE_SCRIPT, wheel, code=code).stdout


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
    ran(compiler, "-shared", "-fPIC", include, folder / "real.c", "-o", made, code=0)
    return made


def test_every_module_is_imported_wherever_the_wheel_has_it(module: Path, tmp_path: Path) -> None:
    files: Files = {
        f"real{SUFFIX}": module,
        f"demo/real{SUFFIX}": module,
        "demo/__init__.py": b"from . import real\n",
        f"demo-1.0.data/platlib/other/real{SUFFIX}": module,
        f"inner/real/__init__{SUFFIX}": module,
        "demo-1.0.data/data/share/x.so": b"no module",
        f"demo/libreal{SUFFIX}": b"a library",
    }

    lines = smoked(tmp_path, files, 0).splitlines()

    names = {line.removeprefix("importing ") for line in lines}
    assert names == {"real", "demo.real", "inner.real", "other.real"}


FOREIGN = b"\x7fELF of another machine"


def test_what_is_no_module_for_this_machine_is_found(tmp_path: Path) -> None:
    assert "cannot import bad: " in smoked(tmp_path, {f"bad{SUFFIX}": FOREIGN}, 1)


def test_a_module_that_lacks_its_own_parts_is_found(module: Path, tmp_path: Path) -> None:
    files: Files = {"demo/__init__.py": b"import demo.missing\n", f"demo/real{SUFFIX}": module}

    said = smoked(tmp_path, files, 1)

    assert "cannot import demo.real: No module named 'demo.missing'" in said


@pytest.mark.parametrize(
    "code", [b"import not_installed_here\n", b"raise RuntimeError('no GPU')\n"]
)
def test_what_other_projects_or_devices_lack_is_no_fault(
    module: Path, tmp_path: Path, code: bytes
) -> None:
    smoked(tmp_path, {"demo/__init__.py": code, f"demo/real{SUFFIX}": module}, 0)


def test_a_module_is_loaded_though_its_package_lacks_another_project(tmp_path: Path) -> None:
    files = {"demo/__init__.py": b"import not_installed_here\n", f"demo/bad{SUFFIX}": FOREIGN}

    said = smoked(tmp_path, files, 1)

    assert "loaded, not initialized: not_installed_here is not installed" in said
    assert "cannot import demo.bad: " in said


WHEEL = Path("demo.whl")
NO_BUILD = Failure(kind=FailureKind.BUILD, message="it does not compile")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A backend that has made something already."""

    made: Path | Failure = WHEEL
    name: BackendName = BackendName.DIRECT

    def build(self, _job: object) -> Path | Failure:
        return self.made


def imported(folder: Path, script: str, made: Path | Failure = WHEEL) -> Path | Failure:
    argv = ("sh", "-c", script)
    python = ForeignPython(argv=argv, glibc="2.36", what="a Python under QEMU")
    importer = partial(import_under_qemu, python, {"PATH": os.environ["PATH"]})
    tested = SmokeTested(backend=Made(made=made), try_import=importer)
    return tested.build(job(folder, TargetSteps()))


def test_a_wheel_that_can_be_imported_is_handed_on(tmp_path: Path) -> None:
    # A shell takes the first argument after its script for its own name.
    wanted = f'test "$0 $1 $2" = "-I {SMOKE_SCRIPT} {WHEEL}" && test -d "$TMPDIR"'
    assert imported(tmp_path, wanted) == WHEEL


def test_what_was_not_built_is_not_imported(tmp_path: Path) -> None:
    assert imported(tmp_path, "touch imported", made=NO_BUILD) is NO_BUILD
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo importing demo; echo cannot import demo: gone; exit 1", "import demo: gone (exit 1"),
        ("echo importing demo; kill -SEGV $$", "importing demo (exit 139"),
    ],
)
def test_what_cannot_be_imported_fails_as_a_test_does(
    tmp_path: Path, script: str, said: str
) -> None:
    failure = imported(tmp_path, script)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.step) == (FailureKind.TEST, "smoke")
    assert said in failure.message
    assert "test.smoke = false skips the import" in failure.hint
