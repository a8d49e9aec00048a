"""Make foreign text safe to show: no secrets, no escape sequences, no hidden characters."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from orchestrator.host.redaction import masked
from orchestrator.models.reading import encodable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchestrator.models.target import EnvironmentSpec

_LONGEST = 4096
"""Longer lines of a log are cut."""

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|\x1b[PX^_].*?(?:\x1b\\|$)"  # DCS, SOS, PM, APC: strings for the terminal
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, the cursor
    r"|\x1b[ -/]*[0-~]?"  # everything else that ECMA-48 has
)


def cleaned(value: Any, redact: Callable[[str], str] = masked) -> Any:
    """Return a JSON value with every string redacted and encodable as UTF-8."""
    if isinstance(value, str):
        return encodable(redact(value))
    # A large results.json has a hundred thousand values; of most there is nothing to clean.
    if isinstance(value, dict):
        return {
            key if key.isascii() and "://" not in key else cleaned(key): each
            if each.__class__ in _PLAIN
            else cleaned(each, redact)
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [each if each.__class__ in _PLAIN else cleaned(each, redact) for each in value]
    return value


_PLAIN = frozenset({bool, float, int, type(None)})


def plain(line: str) -> str:
    """Return a line of a log as a terminal would leave it: no escape sequences, no controls.

    Of a line that a progress bar wrote again and again, what it wrote last. Characters that turn
    the direction of writing, or that nobody sees, are spelled out.
    """
    line = line.rstrip("\r\n").rpartition("\r")[2][:_LONGEST]
    return visible(_ESCAPES.sub("", line).expandtabs(8))


_COMMAND = re.compile(r"^(\s*:)(?=:)|(##)(?=\[)")


def no_command(line: str) -> str:
    """Change a line so that GitHub Actions does not take it for a workflow command.

    `orchestrator.ci.commands` says what it would take for one.
    """
    return _COMMAND.sub(r"\1\2 ", line)


def shown(text: str) -> str:
    """Return a text as people may see it: `visible`, and with no line that is a workflow command.

    Everything that a person reads of a run goes through this, on both streams and in logs of
    others; `plain` is for lines in which a terminal's own sequences were meant.
    """
    return "\n".join(map(no_command, visible(text).split("\n")))


def one_line(text: str) -> str:
    """Apply `visible` to a text and join its lines."""
    return " ".join(visible(text).split("\n"))


def visible(text: str) -> str:
    """Spell out invisible characters and those that move the cursor.

    Ends of lines stay. All that comes out may stand in an XML 1.0 document.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else repr(each)[1:-1] for each in text
    )


NOBODY = "@&#8203;"
"""An @ that mentions nobody. GitHub drops a backslash before it looks for names."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-!|~<>&@$:])")
_ADDRESS = re.compile(r"(?i)(www)\.")
"""What GitHub makes a link of without any mark around it; ``http:`` has a special character."""


def escape(text: str) -> str:
    """Escape a text so that Markdown shows it unchanged, also in a table, and mentions nobody."""
    escaped = _SPECIAL.sub(r"\\\1", one_line(text)).replace("\\<", "&lt;")
    return _ADDRESS.sub(r"\1\\.", escaped.replace("\\@", NOBODY))


def code(text: str) -> str:
    """Return a name as code, or as escaped text if it would break out of the code."""
    shown = visible(text)
    stays = shown.strip() and not set(shown) & set("`|\n\\") and "##[" not in shown
    return f"`{shown}`" if stays else escape(text)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a table, its columns padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def markdown_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Return the lines of a Markdown table whose first row is its head."""
    for number, row in enumerate(rows):
        yield f"| {' | '.join(map(_cell, row))} |"
        if number == 0:
            yield f"|{'---|' * len(row)}"


_PLAIN_CELL = re.compile(r"(?!.*www\.)[A-Za-z0-9.,() ·-]*", re.IGNORECASE)


def _cell(text: str) -> str:
    """Return a name as code, if anything in it could be markup."""
    return text if _PLAIN_CELL.fullmatch(text) else code(text)


def environment_rows(environment: EnvironmentSpec) -> Iterator[tuple[str, str, str]]:
    """Yield what the matrix sets of a build's environment: what, its value, and the key of it."""
    for what, value, key in environment_values(environment):
        yield what, value if isinstance(value, str) else ", ".join(value), key


def environment_values(
    environment: EnvironmentSpec,
) -> Iterator[tuple[str, str | tuple[str, ...], str]]:
    """Yield the same with lists as tuples."""
    frontend = environment.frontend
    words = () if frontend is None else (frontend.name, *frontend.args)
    for what, value in (
        ("requires", environment.requires),
        ("constraints", environment.constraints),
        ("isolation", "" if environment.isolation else "none"),
        ("frontend", shlex.join(words)),
    ):
        if value:
            yield what, value, f"build.{what}"
    for name, url in environment.indexes:
        yield f"index {name}", url, f"indexes.{name}"
