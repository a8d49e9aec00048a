"""Write orchestrator/plan/cibuildwheel.json from the installed cibuildwheel.

Run it in an environment that holds the version of the toolchain's lock; a test compares the two.
"""

from __future__ import annotations

import configparser
import json
import re
import sys
import tomllib
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from cibuildwheel.selector import BuildSelector, EnableGroup

_PYTHON = re.compile(r"(?:cp|pp)\d+t?|gp\d+_\d+")
_IMAGE = re.compile(r"(manylinux|musllinux)-(.+)-image")


def group(python: str) -> str:
    """Return the group that must be enabled for a Python tag; empty if it is built anyway."""
    identifier = f"{python}-manylinux_x86_64"
    if BuildSelector(build_config="*", skip_config="")(identifier):
        return ""
    return next(
        each.value
        for each in EnableGroup
        if BuildSelector(build_config="*", skip_config="", enable=frozenset({each}))(identifier)
    )


def facts() -> dict[str, Any]:
    """Return what cibuildwheel knows: identifiers, and image aliases with their defaults."""
    resources = files("cibuildwheel") / "resources"
    platforms = tomllib.loads((resources / "build-platforms.toml").read_text("utf-8"))
    pinned = configparser.ConfigParser()
    pinned.read_string((resources / "pinned_docker_images.cfg").read_text("utf-8"))
    defaults = tomllib.loads((resources / "defaults.toml").read_text("utf-8"))
    identifiers = [each["identifier"] for each in platforms["linux"]["python_configurations"]]
    images = {
        f"{match[1]}_{match[2]}": default
        for key, default in defaults["tool"]["cibuildwheel"].items()
        if (match := _IMAGE.fullmatch(key)) and "pypy" not in key
    }
    pythons = sorted({i.split("-")[0] for i in identifiers if _PYTHON.fullmatch(i.split("-")[0])})
    return {
        "version": version("cibuildwheel"),
        "identifiers": sorted(i for i in identifiers if _PYTHON.fullmatch(i.split("-")[0])),
        "groups": {python: name for python in pythons if (name := group(python))},
        "aliases": {
            arch: sorted(pinned[arch]) for arch in pinned.sections() if not arch.startswith("pypy")
        },
        "default_images": images,
    }


if __name__ == "__main__":
    json.dump(facts(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
