"""Start programs, read their output, and stop them with everything they started.

The only module that imports `subprocess`. Every program runs in a session of its own, so that a
terminal's Ctrl-C reaches this process alone, which then stops its children in order: SIGINT first
(builders remove their containers), SIGTERM after a grace period, SIGKILL at last.
"""

from __future__ import annotations

import codecs
import contextlib
import math
import os
import select
import shutil
import signal
import stat
import subprocess
import tempfile
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import EnvironmentProblemError, OrchestratorError
from orchestrator.host.process_tree import ProcessTree
from orchestrator.host.redaction import masked, redactor
from orchestrator.host.stall import NO_CONTAINER, Inside, Stall, StallWatch
from orchestrator.host.transient_errors import may_pass

TICK = 0.05
"""Seconds between two looks at the child, the clock and the cancel token."""

DRAIN = 1.0
"""Seconds to wait for output of programs that a child left behind."""

MAX_LINE = 64 * 1024
"""Characters after which a line without an end is handed on in pieces."""

READ_SIZE = 64 * 1024
PIPE_READS = 16
"""Reads that empty the largest pipe an unprivileged process can have (1 MiB)."""

INTERRUPT_GRACE = 15.0
"""Seconds that a program has after SIGINT; a builder needs them to remove its container."""

TERMINATE_GRACE = 5.0
"""Seconds that it has after SIGTERM, before SIGKILL."""

PLAIN_UMASK = 0o022
"""Builds record the modes of files that they make in the wheel, and caches are for all builds."""

NOT_FOUND = 127
TIMED_OUT = 124


def on_path(names: Iterable[str], path: str) -> frozenset[str]:
    """Return which of some programs a search path has."""
    return frozenset(name for name in names if shutil.which(name, path=path))


def output_files() -> tuple[Path, ...]:
    """Return the files that this process's standard output and error go to, such as a log."""
    found: dict[Path, None] = {}
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(stream).st_mode):
                found[Path(f"/proc/self/fd/{stream}").readlink()] = None
    return tuple(found)


LineCallback = Callable[[str], object]
"""Called with each line, without its line end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a program ended.

    Attributes:
        returncode: exit status, or minus the signal's number.
        duration: wall-clock seconds.
        timed_out: whether it was stopped because its time was up.
        cancelled: whether it was stopped because the run was cancelled.
        cpu_seconds: CPU time, user and system, of it and of all it started and waited for.
    """

    returncode: int
    duration: float
    timed_out: bool
    cancelled: bool
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """Answer of a program to a short question.

    Attributes:
        returncode: exit status; 127 if there is no such program, 124 after its timeout.
        stdout: its whole standard output.
        stderr: its whole standard error without credentials, or why it could not be started.
    """

    returncode: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it exited with 0."""
        return self.returncode == 0

    @property
    def last_line(self) -> str:
        """The last line of stderr with text, else of stdout; empty without output."""
        for text in (self.stderr, self.stdout):
            lines = text.strip().splitlines()
            if lines:
                return masked(lines[-1].strip())
        return ""

    @property
    def may_pass(self) -> bool:
        """Whether its output names a reason that may pass."""
        return not self.ok and may_pass(self.stderr.splitlines())

    def check(self, what: str, hint: str = "") -> None:
        """Raise EnvironmentProblemError if the program failed.

        `what` says what is impossible without it; the reason is added.
        """
        if not self.ok:
            why = self.last_line or f"exit status {self.returncode}"
            raise EnvironmentProblemError.of(f"{what}: {why}", hint=hint, transient=self.may_pass)


class Cancel:
    """One-way switch shared by all workers: once set, every program that `run` started stops.

    `set` may be called from any thread and from a signal handler, hence the reentrant lock.
    """

    __slots__ = ("_flag", "_lock", "_trees")

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._lock = threading.RLock()
        self._trees: set[ProcessTree] = set()

    def set(self) -> None:
        """Stop all registered programs, and every later one before it starts."""
        self._flag.set()
        with self._lock:
            # Signal here and not only in `run`: its thread may be busy in a callback.
            for tree in tuple(self._trees):
                tree.interrupt()

    def is_set(self) -> bool:
        """Whether `set` was called."""
        return self._flag.is_set()

    @contextlib.contextmanager
    def registered(self, tree: ProcessTree) -> Iterator[None]:
        """Interrupt these processes on `set`; left before their leader is reaped."""
        with self._lock:
            self._trees.add(tree)
        try:
            yield
        finally:
            with self._lock:
                self._trees.discard(tree)


def run(  # noqa: PLR0913 - all but one are keyword-only, and most have a default
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: LineCallback,
    on_line: LineCallback | None = None,
    timeout: float | None = None,
    until: Callable[[], float | None] | None = None,
    cancel: Cancel | None = None,
    pass_fds: Sequence[int] = (),
    umask: int = -1,
    on_stall: Callable[[Stall], object] | None = None,
    inside: Callable[[], Inside] = lambda: NO_CONTAINER,
) -> Finished:
    """Run a program to its end and hand on its output line by line as it comes.

    stdout and stderr are one stream of UTF-8, stdin is empty. What the program leaves behind in its
    session is killed when it ends. Credentials in URLs of its environment are hidden in its output.

    Args:
        argv: program (looked up on `env`'s PATH) and arguments.
        env: the whole environment.
        cwd: working directory.
        log: gets every line, without its end.
        on_line: gets every line too, for progress.
        timeout: seconds after which it is stopped.
        until: asked again and again for the `time.monotonic` at which it is stopped, for a limit
            that changes as it goes from step to step; None for no limit.
        cancel: stops it when set; already set: nothing is started.
        pass_fds: descriptors it keeps open, such as a lock that must outlive this process.
        umask: permissions that its files do not get; -1 for this process's own.
        on_stall: hears when it waits for long, and when it moves again; see `StallWatch`.
        inside: asked for the containers that it waits for.

    Raises:
        EnvironmentProblemError: the program is missing or cannot be executed.
    """
    cancel = cancel or Cancel()
    if cancel.is_set():
        return Finished(returncode=-signal.SIGINT, duration=0.0, timed_out=False, cancelled=True)
    redact = redactor(env)
    lines = _Lines([log] if on_line is None else [log, on_line], redact)
    end = None if timeout is None else time.monotonic() + timeout
    child = _start(argv, env, cwd, pass_fds, umask)
    tree = ProcessTree(child.pid)
    stalls = None
    if on_stall is not None:
        stalls = StallWatch(tree, on_stall, inside=inside, redact=redact)
    return _watched(child, lines, _Watch(tree, until or (lambda: end), cancel, stalls), cancel)


def _watched(
    child: subprocess.Popen[bytes], lines: _Lines, watch: _Watch, cancel: Cancel
) -> Finished:
    """Hand on a program's output, stop it when its time is up, and leave none of its children."""
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        # Last in, first out: kill what is left, deregister, and only then reap, because until
        # it is reaped the kernel gives its number to nobody else.
        tree, cpu = watch.tree, [0.0]
        stack.callback(_reap, child, cpu)
        stack.enter_context(cancel.registered(tree))
        stack.callback(tree.signal, signal.SIGKILL)
        try:
            _pump(child, lines, watch)
        except BaseException:
            # Ctrl-C, or a callback failed.
            _stop_now(tree)
            raise
    return Finished(
        returncode=child.returncode,
        duration=time.monotonic() - started,
        timed_out=watch.timed_out,
        # `set` interrupts at once, so the program may have stopped before the watch looked.
        cancelled=watch.cancelled or (cancel.is_set() and not watch.timed_out),
        cpu_seconds=cpu[0],
    )


def capture(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 30.0,
    errors: str = "replace",
) -> Captured:
    """Run a program that answers quickly and return its output; never raises for its failure.

    Args:
        argv: program and arguments.
        env: the whole environment; None for this process's own.
        cwd: working directory; None for ``/``: whoever asks from within somebody's source must not
            obey the files that lie there.
        timeout: seconds after which it is killed.
        errors: how to decode invalid UTF-8; ``surrogateescape`` keeps file names usable.
    """
    # Files instead of pipes: a daemon that keeps a pipe open would keep us waiting for its end.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=None if env is None else dict(env),
                cwd=cwd or "/",
                start_new_session=True,
            )
        except OSError as error:
            return Captured(returncode=NOT_FOUND, stdout="", stderr=f"{argv[0]}: {error.strerror}")
        try:
            returncode = child.wait(timeout)
        except subprocess.TimeoutExpired:
            returncode = TIMED_OUT
        finally:
            if child.returncode is None:
                ProcessTree(child.pid).signal(signal.SIGKILL)
                child.wait()
        # A daemon may still write: it shares the position in our file, which stays where it is.
        stdout, stderr = (
            os.pread(stream.fileno(), os.fstat(stream.fileno()).st_size, 0).decode(errors=errors)
            for stream in (out, err)
        )
    if returncode == TIMED_OUT and child.returncode != TIMED_OUT:
        stderr = f"{stderr.rstrip()}\n{argv[0]}: no answer within {timeout:g} s".lstrip()
    return Captured(returncode=returncode, stdout=stdout, stderr=redactor(env or {})(stderr))


def terminal_problem() -> str:
    """Return why a terminal cannot be handed over to a program (`interactive`); empty: it can."""
    if not all(map(os.isatty, _STREAMS)):
        return "standard input, output and error are not all a terminal"
    try:
        ours = os.tcgetpgrp(_STREAMS[0]) == os.getpgrp()
    except OSError:
        ours = False
    return "" if ours else "this program does not run in the foreground of its terminal"


def interactive(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, cancel: Cancel | None = None
) -> int:
    """Hand the terminal over to a program, take it back at its end, and return its exit status.

    The program has this process's standard streams, and its process group is the foreground of the
    terminal: Ctrl-C reaches the program and nobody else. It gets `env` and this process's TERM. If
    `cancel` is set, it ends as if the terminal was closed. May be called from any thread.

    Raises:
        EnvironmentProblemError: there is no terminal, or no such program.
    """
    cancel = cancel or Cancel()
    problem = terminal_problem()
    if problem:
        raise EnvironmentProblemError.of(problem)
    if cancel.is_set():
        return -signal.SIGHUP
    terminal = _STREAMS[0]
    settings, before = termios.tcgetattr(terminal), os.tcgetpgrp(terminal)
    given = {"TERM": os.environ.get("TERM", "dumb"), **env}
    try:
        child = subprocess.Popen(list(argv), env=given, cwd=cwd, process_group=0)
    except OSError as error:
        raise _cannot_start(argv[0], cwd, error) from error
    with contextlib.ExitStack() as stack:
        stack.callback(_take_back, before, settings)
        stack.callback(_reap, child, [0.0])
        tree = ProcessTree(child.pid)
        stack.callback(tree.signal, signal.SIGKILL)
        _to_foreground(child.pid)
        looks: int | None = None
        while not _has_ended(child.pid):
            if os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG) is not None:
                # It touched the terminal before that was handed over, or suspended itself.
                _to_foreground(child.pid)
            if cancel.is_set() and looks is None:
                tree.signal(signal.SIGHUP)
                # Not until a moment: on a loaded machine that may pass before it gets its turn.
                looks = math.ceil(TERMINATE_GRACE / TICK)
            if looks is not None:
                looks -= 1
                if looks < 0:
                    break
            time.sleep(TICK)
    return child.returncode


_STREAMS = (0, 1, 2)


def _to_foreground(group: int) -> None:
    """Make a process group the one that the terminal talks to, and let it go on."""
    with contextlib.suppress(OSError), _untold():
        os.tcsetpgrp(_STREAMS[0], group)
        os.killpg(group, signal.SIGCONT)


def _take_back(group: int, settings: list[int | list[bytes | int]]) -> None:
    """Make the terminal ours again, as it was."""
    with contextlib.suppress(OSError, termios.error), _untold():
        os.tcsetpgrp(_STREAMS[0], group)
        termios.tcsetattr(_STREAMS[0], termios.TCSADRAIN, settings)


@contextlib.contextmanager
def _untold() -> Iterator[None]:
    """Let a background process change the terminal: otherwise the kernel stops it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Tail:
    """Keeps the last lines, for a message; pass it as `on_line`."""

    __slots__ = ("_lines",)

    def __init__(self, size: int = 20) -> None:
        self._lines: deque[str] = deque(maxlen=size)

    def __call__(self, line: str) -> None:
        """Take one line."""
        if line.strip():
            self._lines.append(line.rstrip())

    @property
    def text(self) -> str:
        """The lines kept, joined."""
        return "\n".join(self._lines)

    @property
    def last(self) -> str:
        """The last line with text, or nothing."""
        return self._lines[-1].strip() if self._lines else ""


class _Lines:
    """Cut a stream of bytes into lines of text."""

    def __init__(self, callbacks: Sequence[LineCallback], redact: Callable[[str], str]) -> None:
        self._callbacks = callbacks
        self._redact = redact
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._rest = ""

    def feed(self, data: bytes, *, final: bool = False) -> None:
        *complete, rest = (self._rest + self._decoder.decode(data, final)).split("\n")
        for line in complete:
            self._emit(self._cut(line))
        self._rest = self._cut(rest)

    def finish(self) -> None:
        self.feed(b"", final=True)
        if self._rest:
            self._emit(self._rest)

    def _cut(self, text: str) -> str:
        """Hand on pieces of a line that is too long, and return what is left."""
        while len(text) > MAX_LINE:
            self._emit(text[:MAX_LINE])
            text = text[MAX_LINE:]
        return text

    def _emit(self, text: str) -> None:
        line = self._redact(text.removesuffix("\r"))
        for callback in self._callbacks:
            callback(line)


class _Watch:
    """Decides when a program has to stop, and sends stronger signals until it does."""

    def __init__(
        self,
        tree: ProcessTree,
        until: Callable[[], float | None],
        cancel: Cancel,
        stalls: StallWatch | None,
    ) -> None:
        self.timed_out = False
        self.cancelled = False
        self.tree = tree
        self._stalls = stalls
        self._until = until
        self._cancel = cancel
        self._steps = deque(
            [
                (signal.SIGINT, INTERRUPT_GRACE),
                (signal.SIGTERM, TERMINATE_GRACE),
                (signal.SIGKILL, 0.0),
            ]
        )
        self._next = 0.0

    def look(self) -> None:
        now = time.monotonic()
        if not (self.timed_out or self.cancelled):
            self.cancelled = self._cancel.is_set()
            end = self._until()
            self.timed_out = not self.cancelled and end is not None and now >= end
        if (self.timed_out or self.cancelled) and self._steps and now >= self._next:
            number, patience = self._steps.popleft()
            self._next = now + patience
            if number is signal.SIGINT:
                self.tree.interrupt()
            else:
                self.tree.signal(number)
        elif self._stalls is not None and not self._stops:
            self._stalls.look()

    def heard(self) -> None:
        """Note that the program printed something."""
        if self._stalls is not None and not self._stops:
            self._stalls.heard()

    @property
    def _stops(self) -> bool:
        """Whether it is being stopped; what it prints then says nothing."""
        return self.timed_out or self._cancel.is_set()


def _pump(child: subprocess.Popen[bytes], lines: _Lines, watch: _Watch) -> None:
    """Hand on output until the child has ended and its pipe is closed or silent."""
    if child.stdout is None:  # pragma: no cover - it is always a pipe
        return
    pipe = child.stdout.fileno()
    os.set_blocking(pipe, False)
    # poll, not select: descriptors above 1023 are normal with many workers.
    poller = select.poll()
    poller.register(pipe, select.POLLIN)
    is_open = True
    give_up: float | None = None
    while True:
        if is_open and poller.poll(TICK * 1000):
            is_open = _read_some(pipe, lines)
            watch.heard()
        elif not is_open:
            time.sleep(TICK / 5)
        if give_up is None and _has_ended(child.pid):
            give_up = time.monotonic() + DRAIN
        if give_up is None:
            watch.look()
        elif not is_open or time.monotonic() >= give_up:
            break
    _read_rest(watch.tree, pipe, lines)
    lines.finish()


def _read_rest(tree: ProcessTree, pipe: int, lines: _Lines) -> None:
    """Read what a slow callback left in the pipe, but not what a daemon goes on to write."""
    tree.signal(signal.SIGKILL)
    for _ in range(PIPE_READS):
        try:
            data = os.read(pipe, READ_SIZE)
        except BlockingIOError:
            return
        if not data:
            return
        lines.feed(data)


def _read_some(pipe: int, lines: _Lines) -> bool:
    """Read what is there; return whether there may be more later."""
    try:
        data = os.read(pipe, READ_SIZE)
    except BlockingIOError:
        return True
    lines.feed(data)
    return bool(data)


def _start(
    argv: Sequence[str], env: Mapping[str, str], cwd: Path, pass_fds: Sequence[int], umask: int
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            umask=umask,
        )
    except OSError as error:
        raise _cannot_start(argv[0], cwd, error) from error


def _cannot_start(program: str, cwd: Path, error: OSError) -> OrchestratorError:
    if not cwd.is_dir():
        why = f"the working directory {cwd} does not exist"
        return EnvironmentProblemError.of(f"cannot run {program}: {why}")
    if isinstance(error, FileNotFoundError):
        hint = f"install {Path(program).name}, or put it on PATH"
        return EnvironmentProblemError.of(f"{program}: no such program", hint=hint)
    return EnvironmentProblemError.of(f"cannot run {program}: {error.strerror}")


def _has_ended(pid: int) -> bool:
    """Whether the child is dead; it stays a zombie, so that its number stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _reap(child: subprocess.Popen[bytes], cpu: list[float]) -> None:
    """Wait for a child, and note the CPU time that it took."""
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    cpu[0] = usage.ru_utime + usage.ru_stime
    if child.stdout is not None:
        child.stdout.close()


def _stop_now(tree: ProcessTree) -> None:
    """Stop a program that nobody waits for; the caller kills what is left."""
    for ask in (tree.interrupt, lambda: tree.signal(signal.SIGTERM)):
        ask()
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            if _has_ended(tree.pid):
                return
            time.sleep(TICK)
