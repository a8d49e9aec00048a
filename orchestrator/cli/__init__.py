"""The command line. Commands are imported when they are called, so that --help is instant."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import io
import os
import re
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator import __version__
from orchestrator.cli.help import Commands
from orchestrator.cli.output import emit, printable, say
from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.host.inherited import make_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = {
    "init": "Write a matrix.toml from what a project and its last release say.",
    "plan": "Show the targets, and what is excluded and why.",
    "explain": "Show everything about one target, and where it comes from.",
    "build": "Build all targets of the matrix, or a part of them.",
    "lock": "Lock what builds and tests install, to the file.",
    "rebuild": "Build one target again, exactly as planned.",
    "inspect": "Show which platform tag a wheel needs, and why.",
    "retag": "Give a wheel another platform tag, build tag or local version.",
    "slice": "Make of a wheel for many GPU architectures one for each (experimental).",
    "verify": "Check that a wheel is what it says; exit 5 if not.",
    "report": "Show how runs ended, from one or more results.json.",
    "collect": "Collect the wheels of many jobs, and check that none is missing.",
    "index": "Write a package index of wheels, with a sub-index for each variant.",
    "publish": "Verify wheels and upload them to an index, a bucket or a release.",
    "coverage": "Show which planned wheels an index has or lacks.",
    "github": "Write the workflow that builds a project's wheels on GitHub Actions.",
    "compat": "Rebuild the torch support table from a package index.",
    "image": "Make a baseline image for an architecture that has no official one.",
    "schema": "Print the JSON Schema of matrix.toml or of a JSON document.",
    "cache": "Show what the store holds, make room in it, or make its keys.",
    "toolchain": "Create, check and download the locked tools of builds.",
    "doctor": "Check whether this machine can build every target, and print fixes.",
}
"""Command -> its line in --help; the command itself is in the module of that name."""

_MODULES = {"inspect": "inspect_wheels"}
"""The exceptions: no module has the name of one in the standard library."""


class _Commands(Commands):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _print_version(context: click.Context, _parameter: click.Parameter, value: object) -> None:
    if not value or context.resilient_parsing:
        return
    # What reads these files otherwise takes longer to import than the rest of this.
    from orchestrator.fsutil import read_file

    folder = Path(__file__).parents[1] / "provision"
    named = re.findall(r"(?m)^[\w-]+", read_file(folder / "toolchain.in").decode())
    locked = re.findall(r"(?m)^([\w-]+)==(\S+)", read_file(folder / "toolchain.lock").decode())
    emit(f"orchestrator {__version__}\n")
    emit("".join(f"  {name} {version}\n" for name, version in locked if name in named))
    context.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show this version, and those of the locked tools that build.",
)
def cli() -> None:
    """Every wheel of a Python x arch x CUDA/torch matrix, from one matrix.toml."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default `sys.argv`), print its errors, and return its exit code."""
    with _without_commands():
        return _run(arguments)


@contextlib.contextmanager
def _without_commands() -> Iterator[None]:
    """On GitHub Actions, keep the runner from obeying commands in text that we only show."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        yield
        return
    from orchestrator.ci.commands import EscapedStream

    with contextlib.redirect_stderr(EscapedStream(sys.stderr)):
        yield


def _run(arguments: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=arguments, prog_name="orchestrator", standalone_mode=False)
    except OrchestratorError as error:
        _print_errors(error)
        code = error.exit_code
    except click.ClickException as error:
        with io.StringIO() as usage:
            error.show(usage)
            say(usage.getvalue().rstrip("\n"), fold=False)
        code = ExitCode.CONFIG
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        code = ExitCode.INTERRUPTED
    except SystemExit:
        # click and rich raise it when the reader of our data is gone: `plan | head`.
        code = ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the last resort: a bug, with its traceback
        code = _unexpected(error)
    return code if isinstance(code, int) else ExitCode.OK


def _print_errors(error: OrchestratorError) -> None:
    from orchestrator.host.redaction import masked

    for problem in error.problems:
        say(masked(f"error: {replace(problem, where=printable(problem.where))}"))


GARBAGE = 500_000
"""Objects after which Python looks for reference cycles; its own default is 700."""

_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS),  # a file system without locks
    *(errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV),  # a disk or a server that is gone
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.EMLINK, errno.EXDEV, errno.ETXTBSY),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),  # limits of the process or the machine
}
"""Errors of the operating system that the user has to fix, not a programmer."""


def _unexpected(error: Exception) -> ExitCode:
    if isinstance(error, OSError) and error.errno in _MACHINE:
        names = [printable(name) for name in (error.filename, error.filename2) if name]
        say(f"error: {' -> '.join(names) or 'cannot continue'}: {error.strerror}")
        return ExitCode.ENVIRONMENT
    say("".join(traceback.format_exception(error)).rstrip("\n"), fold=False)
    say("this is a bug in orchestrator; please report it with the lines above")
    return ExitCode.BUG


def main() -> None:
    """Entry point of the console script."""
    # Planning makes many values and no cycles: looking for them would take a tenth of the time.
    gc.set_threshold(GARBAGE)
    # Nobody's plugin has a part in what we read; to look for one takes longer than --help.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    make_plain()
    code = run()
    gc.freeze()  # or Python would look through everything once more before it ends
    sys.exit(code)
