"""The command line. Commands are imported when they are called, so that --help is instant."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from orchestrator import __version__
from orchestrator.errors import ExitCode, OrchestratorError
from orchestrator.host.redaction import masked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = {
    "plan": "Show the targets, and what was excluded and why.",
    "explain": "Show everything about one target, with where it came from.",
    "build": "Build the whole matrix, or a part of it.",
    "rebuild": "Build one target, exactly as planned.",
    "inspect": "Show what platform tag a wheel really needs, and why.",
    "retag": "Give a wheel another platform tag, build tag or local version.",
    "verify": "Check that a wheel is what it says; exit 5 if not.",
    "report": "Show how runs ended, from one or more results.json.",
    "collect": "Put the wheels of many jobs together, and check that none is missing.",
    "index": "Write a package index of wheels, with one sub-index for each variant.",
    "publish": "Verify wheels and upload them to an index, a bucket or a release.",
    "coverage": "Show which planned wheels an index has, lacks, or has beyond the plan.",
    "github": "Write the workflow by which a project builds its wheels on GitHub Actions.",
    "compat": "Rebuild the torch support table from a package index.",
    "image": "Make a baseline image for an architecture that has no ready one.",
    "schema": "Print the JSON Schema of matrix.toml, or of a JSON document.",
    "cache": "Show what the store holds, or make room in it.",
    "toolchain": "Make, check and fill the locked tools that builds run.",
    "doctor": "Check what this machine can build, and say what to do about the rest.",
}
"""Command -> its line in --help; the command itself is in the module of that name."""

_MODULES = {"inspect": "inspect_wheels"}
"""The others: a module may not be called as one of the standard library."""


class _Commands(click.Group):
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


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Every wheel of a Python x arch x CUDA/torch matrix, from one matrix.toml."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the only place that prints errors.

    Args:
        arguments: the arguments, without the program's name; ``sys.argv`` by default.
    """
    with _without_commands():
        return _run(arguments)


@contextlib.contextmanager
def _without_commands() -> Iterator[None]:
    """On GitHub Actions, keep the runner from obeying what others wrote and we only show."""
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
        for problem in error.problems:
            click.echo(f"error: {masked(str(problem))}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = ExitCode.CONFIG
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = ExitCode.INTERRUPTED
    except SystemExit:
        # click's and rich's answer when the reader of our data went away: `plan | head`.
        code = ExitCode.OK
    except Exception as error:  # noqa: BLE001 - the last resort: a bug, with its traceback
        code = _unexpected(error)
    return code if isinstance(code, int) else ExitCode.OK


GARBAGE = 50_000
"""Objects after which Python looks for garbage that refers to itself; its own default is 700."""

_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS),  # a file system without locks
}
"""What an operating system says when the user and not a programmer has to act."""


def _unexpected(error: Exception) -> ExitCode:
    if isinstance(error, OSError) and error.errno in _MACHINE:
        click.echo(f"error: {error.filename or 'cannot go on'}: {error.strerror}", err=True)
        return ExitCode.ENVIRONMENT
    sys.excepthook(type(error), error, error.__traceback__)
    click.echo("this is a bug in orchestrator; please report it with the lines above", err=True)
    return ExitCode.BUG


def main() -> None:
    """Entry point of the console script."""
    # Planning makes many values and no garbage: looking for it would take a tenth of the time.
    gc.set_threshold(GARBAGE)
    sys.exit(run())
