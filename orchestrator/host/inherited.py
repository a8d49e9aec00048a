"""Keep what this process inherited from the programs that it starts.

A shell in the background, nohup or a CI runner ignores or blocks signals, closes streams, or allows
few open files. All of that is inherited by every program of a build: a test that interrupts a child
of its own would wait for ever.
"""

from __future__ import annotations

import os
import resource
import signal

_OURS = frozenset({signal.SIGPIPE, signal.SIGXFSZ})
"""Python itself ignores them; `subprocess` gives them back."""

_TERMINAL = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
"""Without them ignored, a write to a terminal in the background would be tried for ever."""

_FEWEST, _MOST = 1024, 1 << 20
"""Open files: what programs count on, and what those that close all of them can bear."""


def make_plain() -> None:
    """Give the programs of this process what a login has: signals, streams and open files.

    A signal that this process ignores does nothing to it afterwards either.
    """
    for number in signal.valid_signals() - _OURS - _TERMINAL:
        if signal.getsignal(number) is signal.SIG_IGN:
            # A handler, unlike "ignored", is not inherited; without SIGCHLD nobody could wait.
            plain = signal.SIG_DFL if number is signal.SIGCHLD else _do_nothing
            signal.signal(number, plain)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _open_streams()
    _limit_files()


def stop_as_ctrl_c_does() -> None:
    """Stop on SIGTERM, by which CI systems stop a job, and SIGHUP, when the terminal closes."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if not is_ignored(number):  # nohup
            signal.signal(number, signal.default_int_handler)


def is_ignored(number: signal.Signals) -> bool:
    """Return whether a signal does nothing to this process, as who started it wanted."""
    return signal.getsignal(number) in {signal.SIG_IGN, _do_nothing}


def _do_nothing(*_: object) -> None:
    pass


def _open_streams() -> None:
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:  # the lowest free number is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _limit_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    plain = most if soft == resource.RLIM_INFINITY else max(min(soft, most), min(_FEWEST, most))
    if plain != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (plain, hard))
