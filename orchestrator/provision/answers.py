"""Look for each answer once, even if there is none."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Callable

_Owner = TypeVar("_Owner", bound="Answers")
_Question = ParamSpec("_Question")
_Answer = TypeVar("_Answer")


@dataclass(kw_only=True, eq=False)
class Answers:
    """Remembers what its `once` methods returned or raised; threads wait for one another."""

    _answers: dict[tuple[object, ...], object] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def forget_errors(self) -> None:
        """Forget what was not found, so that it is looked for again."""
        with self._lock:
            for question, answer in list(self._answers.items()):
                if isinstance(answer, OrchestratorError):
                    del self._answers[question]

    def answered(self, method: str, *question: object) -> object | None:
        """Return what a `once` method has returned; None if it was not asked, or raised."""
        with self._lock:
            answer = self._answers.get((method, *question))
        return None if isinstance(answer, OrchestratorError) else answer


def once(
    ask: Callable[Concatenate[_Owner, _Question], _Answer],
) -> Callable[Concatenate[_Owner, _Question], _Answer]:
    """Have a method of `Answers` look for each answer once, whether or not there is one."""

    @wraps(ask)
    def answer(self: _Owner, /, *question: _Question.args, **named: _Question.kwargs) -> _Answer:
        key = (ask.__name__, *question, *named.items())
        with self._lock:
            if key not in self._answers:
                try:
                    self._answers[key] = ask(self, *question, **named)
                except OrchestratorError as error:
                    self._answers[key] = error
            found = self._answers[key]
        if isinstance(found, OrchestratorError):
            raise found.with_traceback(None)
        return cast("_Answer", found)

    return answer
