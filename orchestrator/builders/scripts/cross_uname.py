"""Imported by every Python of a cross build's hooks: `os.uname` names the target's machine.

`platform.machine` asks it, and so does most of what chooses sources or flags in a ``setup.py``.
Meson is left out: a cross file tells it of the target, and what it asks about is where it runs.
"""

from __future__ import annotations

import os

_LINUX = "linux-"


def is_meson() -> bool:
    """Whether this process is Meson."""
    with open("/proc/self/cmdline", "rb") as stream:  # noqa: PTH123 - every Python imports this
        words = stream.read().split(b"\0")[1:]
    program = next((each for each in words if not each.startswith(b"-")), b"")
    return program.rpartition(b"/")[2] in {b"meson", b"meson.py", b"mesonbuild.mesonmain"}


def pretend(machine: str) -> None:
    """Have `os.uname` name another machine."""
    ask = os.uname

    def uname() -> os.uname_result:
        return os.uname_result((*tuple(ask())[:4], machine))

    vars(os)["uname"] = uname


_platform = os.environ.get("_PYTHON_HOST_PLATFORM", "")
if _platform.startswith(_LINUX) and not is_meson():
    pretend(_platform[len(_LINUX) :])
