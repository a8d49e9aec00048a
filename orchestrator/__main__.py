"""``python -m orchestrator``."""

import os
import sys

# Python looks for modules in the working directory first, which is often a source that nobody has
# looked at yet: its `click.py` is not ours.
if sys.path[0] == os.getcwd():  # noqa: PTH109 - pathlib may be one of them
    del sys.path[0]

from orchestrator.cli import main

main()
