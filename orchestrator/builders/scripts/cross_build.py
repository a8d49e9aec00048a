"""Run a PEP 517 build whose hooks take this machine for another; the Python that builds runs this.

Only the hooks do: requirements of the build are installed for this machine, because they run here.

argv: a JSON file with ``source``; ``output``, a directory; ``flags`` of the project's own build
frontend; ``settings``, further PEP 517 config settings; ``env``, the variables of the hook that
builds; ``module``, the file in which `sysconfig` finds the target's settings. Needs `build`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from build import BuildBackendException, BuildException, ProjectBuilder
from build.env import DefaultIsolatedEnv
from pyproject_hooks import default_subprocess_runner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"

UNAME = Path(__file__).with_name("cross_uname.py")


def main() -> int:
    """Build one wheel."""
    asked = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    flags = parse(asked["flags"])
    settings = join([*flags.settings, *(f"{k}={v}" for k, v in asked["settings"])])
    source, output = asked["source"], asked["output"]

    def run(
        cmd: Sequence[str],
        cwd: str | None = None,
        extra_environ: Mapping[str, str] | None = None,
    ) -> None:
        default_subprocess_runner(cmd, cwd, {**asked["env"], **(extra_environ or {})})

    try:
        if not flags.isolated:
            put(asked["module"], sys.executable)
            builder = ProjectBuilder(source, python_executable=sys.executable, runner=run)
            builder.build("wheel", output, settings)
            return 0
        with DefaultIsolatedEnv(installer=flags.installer) as env:
            put(asked["module"], env.python_executable)
            here = ProjectBuilder.from_isolated_env(env, source)
            env.install(here.build_system_requires)
            # For this machine: a backend may have no CMake for the target's.
            env.install(here.get_requires_for_build("wheel", settings))
            builder = ProjectBuilder.from_isolated_env(env, source, runner=run)
            builder.build("wheel", output, settings)
    except (BuildException, BuildBackendException, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def parse(flags: Sequence[str]) -> argparse.Namespace:
    """Parse those arguments of `build` and `pip wheel` that matter here."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    setting = ("-C", "--config-setting", "--config-settings")
    parser.add_argument(*setting, dest="settings", action="append", default=[])
    alone = ("-n", "--no-isolation", "--no-build-isolation")
    parser.add_argument(*alone, dest="isolated", action="store_false")
    parser.add_argument("--installer", choices=("pip", "uv"), default="pip")
    return parser.parse_known_args(flags)[0]


def join(settings: Iterable[str]) -> dict[str, Any]:
    """Return settings as hooks get them: a name that is given twice has a list of values."""
    values: dict[str, list[str]] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        values.setdefault(name, []).append(value)
    return {name: many if len(many) > 1 else many[0] for name, many in values.items()}


def put(module: str, python: str) -> None:
    """Copy the target's settings, and its machine's name, to where that Python finds them."""
    with tempfile.TemporaryDirectory() as away:
        said = subprocess.run(
            [python, "-I", "-c", PURELIB], text=True, stdout=subprocess.PIPE, check=True, cwd=away
        )
    place = Path(said.stdout.strip())
    shutil.copy(module, place)
    shutil.copy(UNAME, place)
    # Lines that begin with `import` are executed when Python starts (see `site`).
    (place / "cross_uname.pth").write_text("import cross_uname\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
