"""Print the version that a build backend gives its wheel; the toolchain's Python runs this.

What the build requires is installed in an environment of its own. argv: the source, which may be
written to. Exit 2 with one line if there is no version.
"""

from __future__ import annotations

import subprocess
import sys

from build import BuildException
from build.util import project_wheel_metadata


def main() -> int:
    """Print one version."""
    try:
        metadata = project_wheel_metadata(sys.argv[1])
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout or b"").decode("utf-8", "replace").strip()
        last = said.splitlines()[-1:] or [f"exit status {error.returncode}"]
        sys.stderr.write(f"{last[0][:300]}\n")
        return 2
    except (BuildException, OSError, KeyError) as error:
        sys.stderr.write(f"{(str(error).strip().splitlines() or [''])[-1][:300]}\n")
        return 2
    sys.stdout.write(metadata["Version"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
