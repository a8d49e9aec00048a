"""Workflow commands of GitHub Actions: the ones that we write, and none that anybody else does.

The runner reads every line of a step's output. It takes one for a command that begins with ``::``
after what .NET counts as blank, or that has ``##[`` anywhere. A compiler's message, a test's output
or a name in a wheel must not be one: it could set outputs, hide what comes after it, or mark lines
that are not wrong.
"""

from __future__ import annotations

import io
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from orchestrator.errors import clipped
from orchestrator.report.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

SHOWN = 10
"""Errors that GitHub shows of a step."""

_ENDS = re.compile(r"([\r\n])")
"""Both end a line for .NET."""

_UNSEEN = r"\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
"""What a comparison by the rules of a language, which is .NET's habit, does not see either."""

_BEGIN = re.compile(rf"([\s{_UNSEEN}]*:[{_UNSEEN}]*):")
_MAYBE = re.compile(rf"[\s{_UNSEEN}]*(?::[{_UNSEEN}]*)?")
"""A line that may still begin with a command."""

_INSIDE = re.compile(rf"(#[{_UNSEEN}]*#[{_UNSEEN}]*)\[")
_TAIL = 16
"""Characters at the end of a piece that `_INSIDE` may begin in."""

_FOLD = re.compile(r"::(?:group::|endgroup::$)")


def is_fold(line: str) -> bool:
    """Whether a line begins or ends a fold, which we write ourselves around logs."""
    return _FOLD.match(line) is not None


def in_actions(environ: Mapping[str, str]) -> bool:
    """Whether this runs in a step of GitHub Actions."""
    return environ.get("GITHUB_ACTIONS") == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """An error, and the line of a file in the repository that it is shown at."""

    title: str
    message: str
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        properties = {"file": self.file, "line": str(self.line or "") if self.file else ""}
        properties["title"] = " ".join(self.title.split())
        written = ",".join(f"{k}={_property(v)}" for k, v in properties.items() if v)
        return f"::error {written}::{_data(clipped(self.message))}"


def shown(annotations: Iterable[Annotation], *, most: int = SHOWN) -> Iterator[Annotation]:
    """Yield what GitHub will show: where there are more, the last one names the rest."""
    every = list(annotations)
    if len(every) <= most:
        yield from every
        return
    yield from every[: most - 1]
    rest = every[most - 1 :]
    message = "\n".join(f"{each.title}: {each.message.splitlines()[0]}" for each in rest)
    yield Annotation(title=f"{len(rest)} more; the summary has all of them", message=message)


def _data(text: str) -> str:
    text = visible(text).replace("%", "%25")
    return text.replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


class EscapedStream(io.TextIOBase):
    """A stream of which the runner takes no line for a command, but for those given to `command`.

    Folds (``::group::``, ``::endgroup::``) pass: the worst that they do is to hide lines until
    somebody clicks. All others get a blank inside of what makes them one: ``: :error::``, ``## [``.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to ``stream``, which stays open."""
        self._stream = stream
        self._line = ""
        """What the current line has so far, as far as it matters."""
        self._lock = threading.Lock()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the stream below."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """That of the stream below."""
        return self._stream.errors

    def write(self, text: str) -> int:
        """Write what no line is a command of; lines may come in pieces."""
        with self._lock:
            for piece in _ENDS.split(text):
                if _ENDS.fullmatch(piece):
                    self._line = ""
                    self._stream.write(piece)
                elif piece:
                    self._stream.write(self._harmless(piece))
        return len(text)

    def _harmless(self, piece: str) -> str:
        whole = self._line + piece
        if not _FOLD.match(whole):
            # What is put in stands before the last character of a match, and so in this piece.
            if match := _BEGIN.match(whole):
                whole = f"{match[1]} {whole[match.end() - 1 :]}"
            whole = _INSIDE.sub(r"\1 [", whole)
        new = whole[len(self._line) :]
        self._line = whole if _MAYBE.fullmatch(whole) else f"x{whole[-_TAIL:]}"
        return new

    def command(self, line: str) -> None:
        """Write a command of our own, on a line of its own."""
        with self._lock:
            self._stream.write(f"\n{line}\n" if self._line else f"{line}\n")
            self._line = ""

    def flush(self) -> None:
        """Flush the stream below."""
        self._stream.flush()

    def writable(self) -> bool:
        """Whether it can be written to: always."""
        return True

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The file of the stream below."""
        return self._stream.fileno()
