"""Run by a Python of the target's architecture, with a wheel installed: does it load?

argv: the name of the distribution. Every extension module must be one that the dynamic linker can
load, and every package or module at the top that holds one must import. A module that is missing
because the wheel does not require it (an optional dependency) is no fault of the wheel.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.machinery
import importlib.metadata
import sys


def main() -> int:
    """Load and import everything."""
    name = sys.argv[1]
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    files = importlib.metadata.files(name) or []
    own = {each.parts[0].partition(".")[0] for each in files}
    tops: dict[str, None] = {}
    for each in files:
        if each.name.endswith(suffixes):
            path = str(each.locate())
            ctypes.PyDLL(path)
            sys.stdout.write(f"loaded {each}\n")
            tops[each.parts[0].partition(".")[0]] = None
    for top in tops:
        try:
            importlib.import_module(top)
        except ModuleNotFoundError as error:
            if str(error.name).partition(".")[0] in own:
                raise
            sys.stdout.write(f"{top} was not imported: it needs {error.name}\n")
        else:
            sys.stdout.write(f"imported {top}\n")
    if not tops:
        sys.stdout.write("there is no extension module to load\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
