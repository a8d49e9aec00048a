"""Make `os.uname` name the target's machine; every Python of a cross build's hooks imports this.

`platform.machine` calls it, and so do most ``setup.py`` that choose sources or flags. Meson sees
the real machine: a cross file describes the target, and Meson asks where it runs.
"""

from __future__ import annotations

import os

_LINUX = "linux-"


def is_meson() -> bool:
    """Whether this process is Meson."""
    with open("/proc/self/cmdline", "rb") as stream:  # noqa: PTH123 - every Python imports this
        words = stream.read().split(b"\0")[1:]
    program = next((word for word in words if not word.startswith(b"-")), b"")
    return program.rpartition(b"/")[2] in {b"meson", b"meson.py", b"mesonbuild.mesonmain"}


def pretend(machine: str) -> None:
    """Make `os.uname` name another machine."""
    ask = os.uname

    def uname() -> os.uname_result:
        return os.uname_result((*tuple(ask())[:4], machine))

    vars(os)["uname"] = uname


_platform = os.environ.get("_PYTHON_HOST_PLATFORM", "")
if _platform.startswith(_LINUX) and not is_meson():
    pretend(_platform[len(_LINUX) :])
