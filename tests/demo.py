"""A small project with a library and an extension for the stable ABI, for end-to-end tests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
FLOOR = f"0x{sys.version_info.major:02x}{sys.version_info.minor:02x}0000"

PYPROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "fanin"
version = "1.0"
[tool.setuptools]
packages = ["fanin"]
[tool.setuptools.package-data]
fanin = ["*.so"]
"""

SETUP = """\
import os
from setuptools import Extension, setup
floor = os.environ["ABI3_FLOOR"]
setup(
    ext_modules=[
        Extension(
            "fanin._ext", ["ext.c"],
            define_macros=[("Py_LIMITED_API", floor)],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": os.environ["ABI3_TAG"]}},
)
"""

EXTENSION = """\
#include <Python.h>
static PyModuleDef def = {PyModuleDef_HEAD_INIT, "_ext", NULL, -1, NULL};
PyMODINIT_FUNC PyInit__ext(void) { return PyModule_Create(&def); }
"""

CHECK = """\
import ctypes, pathlib, sys
import fanin, fanin._ext
home = pathlib.Path(fanin.__file__).parent
found = sorted(path.name for path in home.glob("lib*.so"))
answers = [ctypes.CDLL(home / name).answer() for name in found]
print("tested with", sys.version_info[:2], dict(zip(found, answers)))
assert answers == [1, 2], answers
"""

MATRIX = """\
[project]
source = "project"

[axes]
python = ["abi3-{tag}"]
arch = ["{arch}"]

[images]
manylinux_{arch} = "localhost/orchestrator-baseline:bookworm-{arch}"

[engine]
name = "podman"
create-args = ["--label=orchestrator.test={root}"]

[env]
ABI3_FLOOR = "{floor}"
ABI3_TAG = "{tag}"

[library.core]
axes.number = ["1", "2"]
command = "cc -shared -fPIC -DNUMBER={{number}} -o fanin/lib{{number}}.so core.c"
outputs = ["fanin/lib*.so"]

[test]
command = "python {{project}}/checks/check.py"
"""


def write(folder: Path, *, arch: str, tag: str = TAG, floor: str = FLOOR) -> None:
    """Write the project, and a matrix in which two libraries feed one wheel."""
    project = folder / "project"
    (project / "fanin").mkdir(parents=True)
    (project / "fanin" / "__init__.py").write_text("")
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "setup.py").write_text(SETUP)
    (project / "ext.c").write_text(EXTENSION)
    (project / "core.c").write_text("int answer(void) { return NUMBER; }\n")
    (project / "checks").mkdir()  # away from the package, so that the installed one is tested
    (project / "checks" / "check.py").write_text(CHECK)
    matrix = MATRIX.format(arch=arch, tag=tag, floor=floor, root=folder)
    (folder / "matrix.toml").write_text(matrix)
