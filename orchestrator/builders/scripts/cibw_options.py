"""Print cibuildwheel's options for one identifier as JSON; the toolchain's Python runs this.

The `direct` backend takes cibuildwheel's steps with the same options, with those of the project's
own ``[tool.cibuildwheel]``, so it asks cibuildwheel's own parser.

argv: a JSON file, and the file to write the options to; cwd is the source. Exit 2 with one line if
the configuration is wrong. The JSON: ``identifier``; ``package``, the source on this host;
``project``, the source where the steps run; ``environ``, the environment there; ``evaluate``, the
words that run a command there (``podman exec ... CONTAINER``), empty for this host; ``path``,
``test_path``; ``scratch``, a directory on this host; ``config``, a file with the project's table,
empty for that in pyproject.toml.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cibuildwheel import errors
from cibuildwheel.frontend import get_build_frontend_extra_flags, prepare_config_settings
from cibuildwheel.options import CommandLineArguments, Options
from cibuildwheel.util.helpers import prepare_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cibuildwheel.options import BuildOptions


def main() -> int:
    """Write the options."""
    question, answer = map(Path, sys.argv[1:])
    try:
        steps = resolve(json.loads(question.read_text("utf-8")))
    except errors.FatalError as error:
        sys.stderr.write(f"{error.args[0]}\n")
        return 2
    answer.write_text(json.dumps(steps), "utf-8")
    return 0


def resolve(question: dict[str, Any]) -> dict[str, Any]:
    """Return the options."""
    package = Path(question["package"])
    arguments = CommandLineArguments.defaults()
    arguments.package_dir = package
    arguments.config_file = question["config"]
    arguments.only = question["identifier"]
    # cibuildwheel does not know some architectures; the plan has settled what depends on them.
    options = Options("linux", arguments, env=dict(os.environ))
    build = options.build_options(question["identifier"])
    env, test_env = environments(build, question)
    version = question["identifier"].split("-")[0].split("_")[0]
    places = {"project": question["project"], "package": question["project"]}
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
        "repair": prepare_command(repair_of(build, question), **places),
        "before_test": prepare_command(build.before_test or "", **places),
        "test": prepare_command(build.test_command or "", **places),
        "test_requires": build.test_requires,
        "test_extras": build.test_extras,
        "test_sources": build.test_sources,
        "tested": options.globals.test_selector(question["identifier"]),
        "constraints": None if constraints is None else str(constraints),
    }


def repair_of(build: BuildOptions, question: dict[str, Any]) -> str:
    """Return the repair; cibuildwheel's own default, of an override's neighbours, is ours."""
    is_default = build.repair_command == "auditwheel repair -w {dest_dir} {wheel}"
    return str(question["graft"] if is_default else build.repair_command)


def environments(
    build: BuildOptions, question: dict[str, Any]
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the environments of the build and of the test."""
    before = {**question["environ"], "PATH": question["path"]}
    executor = in_container(question["evaluate"], before) if question["evaluate"] else None
    env = build.environment.as_dictionary(before, executor=executor)
    test_env = {
        **env,
        "PATH": f"{question['test_path']}:{env['PATH']}",
        "VIRTUAL_ENV": str(Path(question["test_path"]).parent),
    }
    return env, build.test_environment.as_dictionary(test_env, executor=executor)


def in_container(
    prefix: Sequence[str], environ: Mapping[str, str]
) -> Callable[[Sequence[str], Mapping[str, str]], str]:
    """Return a function that runs commands in a container, whose ID is the prefix' last word."""
    *words, container = prefix

    def execute(command: Sequence[str], env: Mapping[str, str]) -> str:
        changed = [f"--env={k}={v}" for k, v in env.items() if environ.get(k) != v]
        argv = [*words, *changed, container, *command]
        return subprocess.run(argv, text=True, stdout=subprocess.PIPE, check=True).stdout

    return execute


if __name__ == "__main__":
    sys.exit(main())
