"""A build is the same however it was started: by a shell in the background, nohup, a CI runner."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.conftest import IMAGES, ran

MATRIX = """\
[project]
source = "."
[axes]
python = ["cp311"]
arch = ["x86_64"]
[images]
manylinux_x86_64 = "{images}:bookworm-x86_64"
[engine]
name = "podman"
create-args = ["--network=host"]
[test]
command = 'python -c "import plain; plain.check()"'
[compiler-cache]
use = "off"
"""

PLAIN = """\
import os, resource, signal, stat, sys
CAUGHT = [signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1,
          signal.SIGALRM, signal.SIGCHLD]
def check():
    ignored = [each for each in CAUGHT if signal.getsignal(each) is signal.SIG_IGN]
    assert not ignored, ignored
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()), "blocked"
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # before there is a child that it could miss
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        signal.pause()
    os.kill(child, signal.SIGINT)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGINT
    umask = os.umask(0o22)
    assert umask == 0o22, oct(umask)
    assert 1024 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1 << 20
    for stream in (0, 1, 2):
        os.fstat(stream)
    print("all plain")
"""

SETUP = """\
from setuptools import Extension, setup
exec(open("plain.py").read())
check()
setup(name="plain", version="1.0", py_modules=["plain"], ext_modules=[Extension("_x", ["x.c"])])
"""

MODULE = """\
#include <Python.h>
static struct PyModuleDef m = {PyModuleDef_HEAD_INIT, "_x"};
PyMODINIT_FUNC PyInit__x(void) { return PyModule_Create(&m); }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {
        "matrix.toml": MATRIX.format(images=IMAGES),
        "plain.py": PLAIN,
        "setup.py": SETUP,
        "x.c": MODULE,
        "MANIFEST.in": "include plain.py\n",
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n',
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "backend", ["direct", pytest.param("cibuildwheel", marks=pytest.mark.engine)]
)
@pytest.mark.parametrize(
    "started",
    [
        "",
        "trap '' HUP INT QUIT TERM USR1 ALRM CHLD; ulimit -Sn 200; umask 077; exec 0<&-;",
        "exec nohup env --block-signal=INT,HUP,TERM,USR1,CHLD --ignore-signal=QUIT",
    ],
    ids=["plainly", "ignoring", "blocking"],
)
def test_programs_of_a_build_start_plainly(project: Path, backend: str, started: str) -> None:
    orchestrator = shlex.join([sys.executable, "-m", "orchestrator", "build", "--no-cache"])
    ran("sh", "-c", f"{started} {orchestrator} --backend={backend}", cwd=project, code=0)

    (result,) = json.loads((project / "dist/results.json").read_text())["results"]
    log = (project / result["log"]).read_text()
    assert log.count("all plain") >= 2  # of the build, and of the test


def test_closed_streams_are_no_error(project: Path) -> None:
    script = f"{shlex.quote(sys.executable)} -m orchestrator plan 0<&- >&- 2>&-"
    ran("sh", "-c", script, cwd=project, code=0)


def test_a_build_under_nohup_goes_on_after_its_terminal_has_gone(project: Path) -> None:
    """It keeps ignoring what it was told to ignore."""
    (project / "setup.py").write_text(
        "import os, signal\nfor _ in range(3):\n"
        "    os.kill(int(os.environ['TOP']), signal.SIGHUP)\n" + SETUP
    )
    text = (project / "matrix.toml").read_text()
    (project / "matrix.toml").write_text(text + '[env]\nTOP = "PID"\n')
    script = (
        "sed -i s/PID/$$/ matrix.toml; trap '' HUP; "
        f"exec {shlex.quote(sys.executable)} -m orchestrator build --backend=direct"
    )
    ran("sh", "-c", script, cwd=project, code=0)
