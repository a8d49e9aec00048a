"""One self-contained HTML page: it makes no requests and runs only its own script."""

from __future__ import annotations

import base64
import hashlib
import shlex
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from itertools import groupby, pairwise
from pathlib import PurePath
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from orchestrator.errors import clipped
from orchestrator.models.growth import growth
from orchestrator.models.result import Status
from orchestrator.models.words import count_of
from orchestrator.report.history import History
from orchestrator.report.progress import duration
from orchestrator.report.results import NAME
from orchestrator.report.summary import device_code_text, growth_lines, sdist_lines, size
from orchestrator.report.text import environment_rows, visible
from orchestrator.report.view import SYMBOLS, ResultsView, natural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jinja2 import Template

    from orchestrator.models.result import LogEnd
    from orchestrator.report.schemas import Result, ResultsDocument

LOGS = 2_000_000
"""Limit for the ends of all logs together, in characters."""

SHORTEST = 600
"""Characters that the end of each log always gets."""


POINTS = 10_000
"""Limit for the rows of all targets' histories together."""

LEAST_POINTS = 5
"""Rows that the history of each target always gets."""


def render(document: ResultsDocument, past: History | None = None) -> str:
    """Return the page of any valid document, whose contents are shown and never run.

    `past` has earlier results of its targets.
    """
    past = past or History()
    view = ResultsView(document=document)
    with_log = sum(each.log_end is not None for each in view.failures)
    room = max(LOGS // max(with_log, 1), SHORTEST)
    numbers = {id(each): number for number, each in enumerate(document.results)}
    css, js = _resource("report.css"), _resource("report.js")
    channels = {run.id: run.channel for run in document.runs}
    return _template().render(
        view=view,
        sdist=None if document.sdist is None else tuple(sdist_lines(document.sdist)),
        past=past,
        run_growths=["", *(_growth(*now.sizes(before)) for before, now in pairwise(past.runs))],
        rows=max(POINTS // max(len(past.targets), 1), LEAST_POINTS),
        css=Markup(css),  # noqa: S704 - our own file
        js=Markup(js),  # noqa: S704 - our own file
        css_hash=_hash(css),
        js_hash=_hash(js),
        anchor=lambda result: f"t{numbers[id(result)]}",
        environment_rows=environment_rows,
        build=_command("build", channel=next(reversed(channels.values()), "")),
        rebuild=lambda result: _rebuild(result, channels.get(result.run or "", "")),
        growth_lines=lambda before, now: growth_lines(growth(before, now)),
        log_lines=lambda end: _log_lines(end, room),
    )


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy calls a text (CSP level 3, 2.3.1)."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _resource(name: str) -> str:
    return (files("orchestrator.report") / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count_of": count_of,
        "duration": duration,
        "size": size,
        "when": _when,
        "iso": _iso,
        "label": _label,
        "haystack": _haystack,
        "device_code": device_code_text,
        "growths": _growths,
        "course": _course,
        "few": lambda names: _course(sorted(names, key=natural), ", "),
        "spark": _spark,
        "percent": lambda value: f"{value:.3f}".rstrip("0").rstrip(".") + "%",
    }
    environment.globals |= {
        "symbols": SYMBOLS,
        "duration": duration,
        "size": size,
        "spark_box": f"-1 0 {SPARK_WIDTH + 2} {SPARK_HEIGHT}",
    }
    return environment.from_string(_resource("report.html.j2"))


def _finalize(value: object) -> object:
    """Spell out invisible characters in every inserted value."""
    if isinstance(value, Markup):
        return value
    return visible(str(value)) if isinstance(value, str | PurePath) else value


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _label(result: Result) -> str:
    """Return how a target ended, in a few words."""
    failure = result.failure
    if failure is not None:
        kind = failure.kind.value
        return clipped(f"{result.status.value}: {failure.step or kind}")
    return f"{result.status.value}, from the store" if result.cached else result.status.value


def _haystack(result: Result) -> str:
    """Return the text that the page's filter searches."""
    words = [result.target_id, _label(result), result.backend or ""]
    if result.target is not None:
        words += [result.target.version, *result.target.runner]
    if result.wheel is not None:
        words += [result.wheel.filename, result.wheel.observed_tag]
    words += ["cached"] if result.cached else []
    return clipped(" ".join(words).lower())  # every cell of the grid has it


def _command(*words: str, channel: str) -> str:
    return shlex.join(["orchestrator", *words, *(["--channel", channel] if channel else [])])


def _rebuild(result: Result, channel: str) -> str:
    """Return the command that builds a target as it was built here."""
    words = ["rebuild", result.target_id]
    words += ["--from", NAME] if result.request is not None else []
    words += ["--shell"] if result.status is Status.FAILED else []
    return _command(*words, channel=channel)


def _growth(now: float, before: float) -> str:
    """``110, 100`` -> ``+10 %``; nothing for no change that can be told."""
    percent = round(100 * (now - before) / before, 1) if before else 0.0
    return f"{percent:+g} %" if percent else ""


def _growths(values: Sequence[float | None]) -> list[str]:
    """Return how each value has grown since the last one that there was."""
    before, found = 0.0, []
    for value in values:
        found.append("" if value is None else _growth(value, before))
        before = before if value is None else value
    return found


def _course(values: Iterable[str], arrow: str = " → ") -> str:
    """``1.0, 1.0, 1.1`` -> ``1.0 → 1.1``; of more than two, the first and the last."""
    found = [value for value, _ in groupby(filter(None, values))]
    return arrow.join(found if not found[2:] else [found[0], "…", found[-1]])


SPARK_WIDTH, SPARK_HEIGHT = 60, 16


def _spark(values: Sequence[float | None]) -> str:
    """Return the path of a line through some values, from zero up; it has a gap for each None."""
    step = SPARK_WIDTH / max(len(values) - 1, 1)
    scale = (SPARK_HEIGHT - 2) / (max(filter(None, values), default=0) or 1)
    path, pen = "", "M"
    for number, value in enumerate(values):
        if value is not None:
            path += f"{pen}{number * step:.3g} {SPARK_HEIGHT - 1 - value * scale:.3g}"
            path += "h0" * (pen == "M")  # a dot, if no line follows
        pen = "M" if value is None else "L"
    return path


def _log_lines(end: LogEnd, room: int) -> list[tuple[str, str]]:
    """Return (class, line) of a log's end.

    What does not fit the room, in characters, is cut from its start; the error's line always stays.
    """
    gap = ("gap", "⋯")
    kept: list[tuple[str, str]] = []
    for number, text in reversed(end.lines):
        is_error = number is not None and number == end.error
        room -= len(text) + 1
        if number is not None and (room >= 0 or is_error):
            kept.append(("error" if is_error else "", text))
        elif kept[-1:] != [gap]:
            kept.append(gap)
    return kept[::-1]
