"""Print the version of a source tree by setuptools-scm; the toolchain's Python runs this.

The project's own configuration counts: ``[tool.setuptools_scm]``, or hatch-vcs's in
``[tool.hatch.version]``. Nothing is written, and none of the project's code runs.

argv: the directory of pyproject.toml. stdout: the version. Exit 2 with one line if there is none.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools_scm import get_version

WRITES = ("write_to", "write_to_template", "version_file", "version_file_template")


def options(root: Path) -> dict[str, Any]:
    """Return the project's settings of setuptools-scm."""
    file = root / "pyproject.toml"
    tool = tomllib.loads(file.read_text("utf-8")).get("tool", {}) if file.is_file() else {}
    own = {**(tool.get("setuptools_scm") or tool.get("setuptools-scm") or {})}
    hatch = tool.get("hatch", {}).get("version", {})
    if not own and hatch.get("source") == "vcs":
        own = {**hatch.get("raw-options", {})}
        names = {"tag-pattern": "tag_regex", "fallback-version": "fallback_version"}
        own |= {names[key]: hatch[key] for key in names if hatch.get(key)}
    own.setdefault("root", ".")
    return {key: value for key, value in own.items() if key not in WRITES}


def main() -> int:
    """Print one version."""
    root = Path(sys.argv[1]).absolute()
    try:
        version = get_version(**options(root), relative_to=root / "pyproject.toml")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the user's configuration
        first = str(error).strip().splitlines()
        sys.stderr.write(f"{first[0] if first else type(error).__name__}\n")
        return 2
    sys.stdout.write(version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
