"""All errors a user can meet, and the exit code each one ends the program with.

An error says what is wrong, where (a dotted path such as ``axes.cuda[1]`` or a file), and what
to change. A failed *build* is not an error but a value: see `orchestrator.models.result.Failure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Self

from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Collection


class ExitCode(IntEnum):
    """The exit code of every command; a stable contract (README)."""

    OK = 0
    TARGET_FAILED = 1
    CONFIG = 2
    NOTHING_SELECTED = 3
    ENVIRONMENT = 4
    BAD_WHEEL = 5
    PUBLISH_REFUSED = 6
    BUG = 70
    INTERRUPTED = 130


class ErrorKind(StrEnum):
    """What failed, as far as the program decides by it; no code reads a message."""

    OTHER = "other"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    NOT_FOUND = "not-found"
    UNREACHABLE = "unreachable"
    WRONG_ARCH = "wrong-arch"
    NOT_EXECUTABLE = "not-executable"
    CANNOT_RUN = "cannot-run"
    NAME_TAKEN = "name-taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        what: what is wrong, in one line.
        where: dotted path in matrix.toml (``axes.python[1]``) or a file; empty when neither fits.
        hint: what to change; empty when the message already says it.
        cause: the same without the name of one image or file, where many have the one cause;
            empty when `what` names none.
    """

    what: str
    where: str = ""
    hint: str = ""
    cause: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  hint: {self.hint}" if self.hint else text


LONGEST = 600
"""Characters of a message that are shown."""


def clipped(text: str) -> str:
    """Return a text without its middle where it is longer than `LONGEST`.

    Names in a wheel may be of megabytes; what is wrong stands before and behind them.
    """
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return (
        f"{text[:half]} ... ({count_of(len(text) - 2 * half, 'more character')}) ... {text[-half:]}"
    )


MANY = 20
"""Known words that a hint lists before it stops."""


def closest(word: str, known: Collection[str], otherwise: str = "") -> str:
    """Return a hint: the known word that a wrong one was meant to be, or all of them.

    `otherwise` says in words what else can be done.
    """
    import difflib  # noqa: PLC0415 - most commands have no typo to correct, and --help never

    match = difflib.get_close_matches(word, known, n=1)
    if match:
        question = f"did you mean '{match[0]}'?"
        return f"{question} {otherwise[:1].upper()}{otherwise[1:]}".rstrip()
    first = sorted(known)[:MANY]
    more = f", ... ({len(known)} in all)" if len(known) > MANY else ""
    return "; ".join(filter(None, (f"known: {', '.join(first)}{more}", otherwise)))


class OrchestratorError(Exception):
    """Base of all errors that end a command with one clear message and no traceback.

    Attributes:
        problems: what is wrong; configuration errors are reported together.
        kind: what failed.
        transient: whether the same may succeed a little later.
    """

    exit_code = ExitCode.ENVIRONMENT

    def __init__(
        self, *problems: Problem, kind: ErrorKind = ErrorKind.OTHER, transient: bool = False
    ) -> None:
        # Exception pickles its positional arguments and its attributes.
        super().__init__(*problems)
        self.problems = problems
        self.kind = kind
        self.transient = transient

    @classmethod
    def of(  # noqa: PLR0913 - mostly keywords
        cls,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        cause: str = "",
        kind: ErrorKind = ErrorKind.OTHER,
        transient: bool = False,
    ) -> Self:
        """Return an error with a single problem."""
        problem = Problem(what=what, where=where, hint=hint, cause=cause)
        return cls(problem, kind=kind, transient=transient)

    def reword(self, what: str, *, where: str = "", hint: str = "") -> Self:
        """Return an error in other words, of the same kind, and as transient as this one."""
        return self.of(what, where=where, hint=hint, kind=self.kind, transient=self.transient)

    @property
    def what(self) -> str:
        """What is wrong, without where and hint."""
        return "; ".join(dict.fromkeys(problem.what for problem in self.problems))

    @property
    def cause(self) -> str:
        """What is wrong, in words that all targets with the same cause share."""
        return "; ".join(dict.fromkeys(each.cause or each.what for each in self.problems))

    @property
    def hint(self) -> str:
        """What to change; empty when the message already says it."""
        return "; ".join(dict.fromkeys(p.hint for p in self.problems if p.hint))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ConfigError(OrchestratorError):
    """matrix.toml, or an argument, is wrong."""

    exit_code = ExitCode.CONFIG


class NothingSelectedError(OrchestratorError):
    """The matrix is fine, but no target is left."""

    exit_code = ExitCode.NOTHING_SELECTED


class EnvironmentProblemError(OrchestratorError):
    """This machine cannot do it: engine, toolchain, disk, interpreter, network."""

    exit_code = ExitCode.ENVIRONMENT


class SourceError(OrchestratorError):
    """The source to build cannot be fetched, read, or has no build backend."""

    exit_code = ExitCode.CONFIG


class BadWheelError(OrchestratorError):
    """A file is not a wheel that can be read, or it is not what it says."""

    exit_code = ExitCode.BAD_WHEEL


class PublishRefusedError(OrchestratorError):
    """What is to be published contradicts what is published already."""

    exit_code = ExitCode.PUBLISH_REFUSED
