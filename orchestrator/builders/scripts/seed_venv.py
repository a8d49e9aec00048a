"""Make a virtual environment with this Python's own pip; a container's Python runs this.

pip's files are copied with their byte code, which an emulated Python takes long to make. argv: the
directory, which is replaced.
"""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path

import pip

SCRIPT = """\
#!{python}
import sys
from pip._internal.cli.main import main
sys.exit(main())
"""


def main() -> int:
    """Make one environment."""
    place = Path(sys.argv[1])
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(str(place))
    own = Path(pip.__file__).parent
    version = "python%d.%d" % sys.version_info[:2]  # noqa: UP031 - old Pythons run this
    site = place / "lib" / version / "site-packages"
    for folder in (own, *own.parent.glob("pip-*.dist-info")):
        # copytree keeps times, which byte code is checked by
        shutil.copytree(str(folder), str(site / folder.name))
    script = place / "bin" / "pip"
    script.write_text(SCRIPT.format(python=place / "bin" / "python"), encoding="utf-8")
    script.chmod(0o755)
    return 0


if __name__ == "__main__":
    sys.exit(main())
