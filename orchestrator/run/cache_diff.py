"""What changed since a target was built last: two documents of the store, side by side. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.models.reading import parse, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ABSENT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChange:
    """One input that is not what it was: ``env MAX_JOBS``, ``source setup.py``, ``image``.

    Where there was none, it was ``-``.
    """

    what: str
    before: str
    now: str


Files = dict[str, tuple[str, str]]
"""Path -> kind and digest of every file of a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _RequestShape:
    source: tuple[str, str, int]
    env: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _DocumentShape:
    request: _RequestShape
    place: dict[str, Any] = field(default_factory=dict)


def check_document(document: Mapping[str, Any]) -> None:
    """Raise ConfigError if a recorded document cannot be compared: a record may say anything."""
    parse(_DocumentShape, document, where="its document")


def read_files(data: bytes) -> Files:
    """Return the files that a record lists; raises ConfigError."""
    return read_json(Files, data, where="its list of files")


def changes(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    files_before: Files | None,
    files_now: Files,
) -> tuple[InputChange, ...]:
    """Return every input that differs, in the order in which a build takes them.

    The documents are those of two actions (`check_document`). Without the files of then, the
    sources' digests differ.
    """
    found = [*_source(before, now, files_before, files_now)]
    old, new = before.get("request", {}), now.get("request", {})
    found += _env(old.get("env", []), new.get("env", []))
    found += flat(
        {key: value for key, value in old.items() if key not in _ELSEWHERE},
        {key: value for key, value in new.items() if key not in _ELSEWHERE},
    )
    found += flat(before.get("place", {}), now.get("place", {}))
    for key in ("scope", "store"):
        found += flat({key: before.get(key)}, {key: now.get(key)})
    if not found and before.get("needs") != now.get("needs"):
        found.append(
            InputChange(what="libraries", before="built from other inputs", now="see theirs")
        )
    return tuple(found)


_ELSEWHERE = {"env", "source", "needs"}


def _source(
    before: Mapping[str, Any], now: Mapping[str, Any], old: Files | None, new: Files
) -> Iterator[InputChange]:
    then, today = before.get("request", {}).get("source"), now.get("request", {}).get("source")
    if then == today:
        return
    if old is None:
        yield InputChange(what="source", before=_text(then), now=_text(today))
        return
    for path in sorted({*old, *new}):
        if old.get(path) != new.get(path):
            yield InputChange(
                what=f"source {path}", before=_file(old.get(path)), now=_file(new.get(path))
            )
    names = ("source's name", "", "SOURCE_DATE_EPOCH")
    for name, was, is_now in zip(names, then, today, strict=True):
        if name and was != is_now:
            yield InputChange(what=name, before=_text(was), now=_text(is_now))


def _file(seen: tuple[str, str] | None) -> str:
    return ABSENT if seen is None else f"{seen[0]} {seen[1][:16]}"


def _env(old: list[Any], new: list[Any]) -> Iterator[InputChange]:
    then, today = ({name: (value, shell) for name, value, shell in each} for each in (old, new))
    for name in sorted({*then, *today}):
        if then.get(name) != today.get(name):
            yield InputChange(
                what=f"env {name}", before=_variable(then.get(name)), now=_variable(today.get(name))
            )


def _variable(value: tuple[str, bool] | None) -> str:
    return ABSENT if value is None else f"{value[0]}{' (shell)' if value[1] else ''}"


def flat(old: Any, new: Any, what: str = "") -> Iterator[InputChange]:
    """Compare tables by their keys, and everything else as a whole; `what` names them in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from flat(old.get(key), new.get(key), f"{what} {key}".strip())
    elif old != new:
        yield InputChange(what=what.replace("_", " "), before=_text(old), now=_text(new))


def _text(value: Any) -> str:
    if value in (None, "", [], {}):
        return ABSENT
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)
