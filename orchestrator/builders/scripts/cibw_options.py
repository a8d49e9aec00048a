"""Run by the toolchain's Python: the options cibuildwheel would use for one identifier, as JSON.

The `direct` backend takes the same steps with the same options, the project's own
``[tool.cibuildwheel]`` included, so it asks cibuildwheel's own parser.

argv: a JSON file ``{"identifier", "package", "environ", "path", "test_path", "scratch"}``, and the
file to write the steps to; cwd is the source. Exit 2 with one line when the configuration is wrong.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from cibuildwheel import errors
from cibuildwheel.frontend import get_build_frontend_extra_flags, prepare_config_settings
from cibuildwheel.options import CommandLineArguments, Options
from cibuildwheel.util.helpers import prepare_command


def main() -> int:
    """Answer one question."""
    question, answer = map(Path, sys.argv[1:])
    try:
        steps = resolve(json.loads(question.read_text("utf-8")))
    except errors.FatalError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 2
    answer.write_text(json.dumps(steps), "utf-8")
    return 0


def resolve(question: dict[str, Any]) -> dict[str, Any]:
    """Return the resolved steps for ``question``."""
    package = Path(question["package"])
    arguments = CommandLineArguments.defaults()
    arguments.package_dir = package
    arguments.only = question["identifier"]
    options = Options("linux", arguments, env=dict(os.environ))
    build = options.build_options(question["identifier"])
    before = {**question["environ"], "PATH": question["path"]}
    env = build.environment.as_dictionary(before)
    test_env = {**env, "PATH": f"{question['test_path']}:{env['PATH']}"}
    test_env = build.test_environment.as_dictionary(test_env)
    version = question["identifier"].split("-")[0]
    places = {"project": package, "package": package}
    constraints = build.dependency_constraints.get_for_python_version(
        version=f"{version[2]}.{version[3:].rstrip('t')}", tmp_dir=Path(question["scratch"])
    )
    return {
        "selected": options.globals.build_selector(question["identifier"]),
        "env": env,
        "test_env": test_env,
        "before_all": prepare_command(build.before_all, **places),
        "before_build": prepare_command(build.before_build or "", **places),
        "frontend": build.build_frontend.name,
        "flags": get_build_frontend_extra_flags(
            build.build_frontend,
            build.build_verbosity,
            prepare_config_settings(build.config_settings, **places),
        ),
        "repair": prepare_command(build.repair_command, **places),
        "before_test": prepare_command(build.before_test or "", **places),
        "test": prepare_command(build.test_command or "", **places),
        "test_requires": build.test_requires,
        "test_extras": build.test_extras,
        "test_sources": build.test_sources,
        "tested": options.globals.test_selector(question["identifier"]),
        "constraints": None if constraints is None else str(constraints),
    }


if __name__ == "__main__":
    sys.exit(main())
