"""Print the version of a source tree by setuptools-scm; the toolchain's Python runs this.

Nothing is written, and none of the project's code runs.

argv: the directory of pyproject.toml, and the options of setuptools-scm as JSON. stdout: the
version. Exit 2 with one line if there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from setuptools_scm import get_version


def main() -> int:
    """Print one version."""
    root, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    try:
        version = get_version(**options, relative_to=root / "pyproject.toml")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the user's configuration
        first = str(error).strip().splitlines()
        sys.stderr.write(f"{first[0][:300] if first else type(error).__name__}\n")
        return 2
    sys.stdout.write(version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
