"""Download a requirement's sdist from the package index; the toolchain's Python runs this.

Unlike ``pip download``, it runs none of the project's code. Links are found per PEP 503/691 and
their hashes checked by unearth; the index settings are pip's own (configuration and environment).

argv: the requirement (``name==version``), and the directory to download into.
stdout: the file's path. Exit 2 with one line on stderr if there is no such sdist.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from pip._internal.models.index import PyPI
from unearth import PackageFinder
from unearth.errors import UnpackError

_RANK = ("global", "user", "site", ":env:")
"""How pip ranks its configuration levels, the strongest last."""


def pip_settings() -> dict[str, list[str]]:
    """Return pip's index settings, its configuration files and PIP_* variables merged."""
    argv = [sys.executable, "-I", "-m", "pip", "config", "list"]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    levels: dict[str, dict[str, list[str]]] = {level: {} for level in _RANK}
    for line in said.splitlines():
        name, _, value = line.partition("=")
        level, _, option = name.partition(".")
        values = value.strip("'\"").replace("\\n", " ").split()
        levels.setdefault(level, {})[option.replace("_", "-")] = values
    return {option: value for level in _RANK for option, value in levels[level].items()}


def main() -> int:
    """Download one sdist."""
    requirement, folder = Requirement(sys.argv[1]), Path(sys.argv[2])
    settings = pip_settings()
    index = settings.get("index-url", [PyPI.simple_url])
    finder = PackageFinder(
        index_urls=[] if "no-index" in settings else [*index, *settings.get("extra-index-url", [])],
        find_links=settings.get("find-links", []),
        trusted_hosts=settings.get("trusted-host", []),
        no_binary=[":all:"],
    )
    try:
        packages = finder.find_matches(requirement, allow_prereleases=True)
        links = [package.link for package in packages if not package.link.is_wheel]
        if not links:
            sys.stderr.write(f"the package index has no sdist of {requirement}\n")
            return 2
        path = finder.download(links[0], folder, links[0].hash_option)
        if path.parent != folder:  # in a directory that PIP_FIND_LINKS names
            path = Path(shutil.copy(path, folder))
    except (UnpackError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(str(path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
