"""The tools that the builds of one run need: each is found or fetched once, when it is needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from orchestrator.errors import OrchestratorError, remember
from orchestrator.provision import nvcc, pythons, relocate, zig
from orchestrator.provision.foreign_python import ForeignPythons

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.host.process import Cancel
    from orchestrator.models.platforms import Arch
    from orchestrator.provision.cache_dir import CacheEntry
    from orchestrator.provision.foreign_python import ForeignPython
    from orchestrator.provision.host import Host

_Owner = TypeVar("_Owner", bound="Answers")
_Question = ParamSpec("_Question")
_Answer = TypeVar("_Answer")


@dataclass(kw_only=True, eq=False)
class Answers:
    """Remembers what its `once` methods returned or raised; threads wait for one another."""

    _answers: dict[tuple[object, ...], object] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False)

    def forget_errors(self) -> None:
        """Ask again what could not be had; what was found stays."""
        with self._lock:
            errors = [key for key, v in self._answers.items() if isinstance(v, OrchestratorError)]
            for key in errors:
                del self._answers[key]

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
        key = (ask.__name__, *question)
        with self._lock:
            found = remember(self._answers, key, lambda: ask(self, *question, **named))
        return cast("_Answer", found)

    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPython:
    """This machine's interpreter for a Python tag.

    Attributes:
        interpreter: the interpreter.
        include_dirs: where Python.h is, if the interpreter came without it.
    """

    interpreter: pythons.Interpreter
    include_dirs: tuple[Path, ...] = ()


@dataclass(kw_only=True, eq=False)
class Tools(Answers):
    """Finds or fetches tools; what cannot be had raises `EnvironmentProblemError`.

    Attributes:
        host: the locked tools, network and environment.
        cancel: stops downloads.
        say: told what takes a while.
    """

    host: Host
    cancel: Cancel
    say: Callable[[str], object]

    @once
    def python(self, tag: str) -> HostPython:
        """Find or fetch an interpreter, and its headers if it came without."""
        found = pythons.provide(tag, self.host, cancel=self.cancel)
        return HostPython(interpreter=found, include_dirs=pythons.headers(found, self.host))

    @once
    def installed_python(self, tag: str) -> HostPython:
        """Find an interpreter; none is fetched."""
        found = pythons.find(tag, environ=self.host.environ, cache_dir=self.host.cache_dir)
        return HostPython(interpreter=found)

    def known_python(self, tag: str) -> pythons.Interpreter | None:
        """Return the interpreter that this run found, or one before; nothing is started."""
        found = self.answered("python", tag)
        return found.interpreter if isinstance(found, HostPython) else self._known_python(tag)

    @once
    def _known_python(self, tag: str) -> pythons.Interpreter | None:
        return pythons.known(tag, environ=self.host.environ, cache_dir=self.host.cache_dir)

    @property
    @once
    def zig(self) -> zig.Zig:
        """The locked zig; nobody prunes it while this run goes on."""
        return zig.provide(self.host, self.say, self.cancel)

    @property
    @once
    def portable_uv(self) -> CacheEntry:
        """A directory with a uv that runs in any container; nobody prunes it either."""
        return relocate.provide("uv", self.host)

    @once
    def nvcc(self, version: str) -> nvcc.Nvcc:
        """Find or fetch a native nvcc of a version, or the newest of a CUDA version."""
        return nvcc.provide(version, self.host, say=self.say)

    @property
    @once
    def _foreign_pythons(self) -> ForeignPythons:
        return ForeignPythons(host=self.host, say=self.say, cancel=self.cancel)

    @once
    def foreign_python(self, tag: str, arch: Arch) -> ForeignPython:
        """Find or fetch a Python of another architecture that runs here without a container."""
        return self._foreign_pythons.provide(tag, arch)
