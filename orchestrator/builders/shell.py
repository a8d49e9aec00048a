"""The shell that runs cibuildwheel's commands in a container, and the CPU time of containers.

The engine's client does not know the CPU time of the programs in a container.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.fsutil import read_beneath

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.host.process import Captured

_SCRIPT = Path(__file__).parent / "scripts" / "shell.sh"
_THERE = "/opt/orchestrator-shell"
_FOLDER, _FILE, _QUESTION = "shell", "times", "frontend.json"

_SPENT = re.compile(r"(\d+)m([\d.]+)s")
"""A time as bash's ``times`` writes it."""

ASK = (
    "sh",
    "-c",
    """\
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
cat "/sys/fs/cgroup$own/cpu.stat" 2>/dev/null || cat /sys/fs/cgroup/cpuacct/cpuacct.usage
""",
)
"""Prints the kernel's count for a control group of version 2 or 1 (cgroups(7))."""


def args(scratch: Path, question: Mapping[str, object]) -> tuple[str, ...]:
    """Return arguments for a container whose process 1 is the bash that runs everything else.

    `question` is what the frontend script is told there.
    """
    folder = scratch / _FOLDER
    folder.mkdir(exist_ok=True)
    (folder / _QUESTION).write_text(json.dumps(question), encoding="utf-8")
    return (
        f"--volume={_SCRIPT.resolve()}:{_THERE}/{_SCRIPT.name}:ro",
        f"--volume={folder}:{_THERE}",
        f"--env=BASH_ENV={_THERE}/{_SCRIPT.name}",
    )


def spent(scratch: Path) -> float | None:
    """Return the CPU seconds of a container with `args`; None if bash did not report them."""
    try:
        said = read_beneath(scratch / _FOLDER, _FILE, limit=1 << 16).decode(errors="replace")
    except OSError:
        return None
    times = _SPENT.findall(said)
    return sum(60 * int(minutes) + float(seconds) for minutes, seconds in times) or None


def counted(said: Captured) -> float | None:
    """Return a container's CPU seconds from the answer to `ASK`; None if it does not have them."""
    found = re.search(r"(?m)^(?:usage_usec )?(\d+)$", said.stdout) if said.ok else None
    if found is None:
        return None
    return int(found[1]) / (1e6 if found[0].startswith("usage") else 1e9)
