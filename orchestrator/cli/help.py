"""Help on the command line: examples in --help, and what a mistyped word was meant to be."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.errors import closest


class OneOf(click.Choice[str]):
    """A choice that says which one was meant."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return what is wrong with a value."""
        from difflib import get_close_matches

        wrong = super().get_invalid_choice_message(value, ctx)
        close = get_close_matches(str(value), self.choices, n=1)
        return f"{wrong} Did you mean {close[0]!r}?" if close else wrong


class Commands(click.Group):
    """A command with subcommands, which says which one was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand that is called."""
        names, name = self.list_commands(ctx), args[0]
        if name not in names and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(f"No such command {name!r}: {closest(name, names)}", ctx)
        return super().resolve_command(ctx, args)


def examples(*lines: str) -> str:
    """Return the end of a command's --help: what may be typed as it stands there."""
    # The first line has click keep the others as they are.
    return "\n".join(("\b", "Examples:", *(f"  orchestrator {line}" for line in lines)))
