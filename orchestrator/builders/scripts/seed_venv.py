"""Keep a Python's own pip, and make environments with it; a container's Python runs this.

pip's files are copied with their byte code, which an emulated Python takes long to make. argv:
``keep DIRECTORY`` copies pip there, before the build changes anything; ``venv DIRECTORY KEPT``
makes an environment with that pip, whatever the build has done to this Python since.
"""

from __future__ import annotations

import shutil
import sys
import venv
from pathlib import Path

SCRIPT = """\
#!{python}
import sys
from pip._internal.cli.main import main
sys.exit(main())
"""


def main() -> int:
    """Do one of the two."""
    if sys.argv[1] == "keep":
        keep(Path(sys.argv[2]))
    else:
        make(Path(sys.argv[2]), Path(sys.argv[3]))
    return 0


def keep(place: Path) -> None:
    """Copy pip and its metadata."""
    import pip  # noqa: PLC0415 - only this step has it on its path

    if place.exists():
        return
    own = Path(pip.__file__).parent
    for folder in (own, *own.parent.glob("pip-*.dist-info")):
        # copytree keeps times, which byte code is checked by
        shutil.copytree(str(folder), str(place / folder.name))


def make(place: Path, kept: Path) -> None:
    """Make an environment, or replace one."""
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(str(place))
    version = "python%d.%d" % sys.version_info[:2]  # noqa: UP031 - old Pythons run this
    site = place / "lib" / version / "site-packages"
    for folder in kept.iterdir():
        shutil.copytree(str(folder), str(site / folder.name))
    script = place / "bin" / "pip"
    script.write_text(SCRIPT.format(python=place / "bin" / "python"), encoding="utf-8")
    script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main())
