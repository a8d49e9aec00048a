"""Read and write the lock of requirements: TOML with a table for each environment. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.models.reading import parse, toml_value
from orchestrator.models.requirement_lock import LOCK_VERSION, RequirementLock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.models.requirement_lock import LockedEnvironment, LockedFile, TargetLock

_HEAD = """\
# `orchestrator build --locked` installs these files for builds and tests, and nothing else.
# `orchestrator lock` writes this file; commit it beside the matrix.
"""
_ASKED = ("python", "platform", "glibc", "requires", "constraints", "indexes")
AGAIN = "`orchestrator lock` makes a new one"


def read_lock(data: bytes, *, where: str) -> RequirementLock:
    """Return the lock that a file has.

    Raises:
        ConfigError: it is none, of another format, or was changed by hand.
    """
    table = toml_value(data, where=where)
    if table.get("lock-version") != LOCK_VERSION:
        what = f"lock-version is {table.get('lock-version')!r}; this orchestrator reads 1"
        raise ConfigError.of(what, where=where, hint=AGAIN)
    lock = parse(RequirementLock, {**table, "environments": _environments(table)}, where=where)
    for name, environment in lock.environments.items():
        if environment.name != name:
            what = "this is not the name of what the environment is asked for"
            raise ConfigError.of(what, where=f"{where}: environments.{name}", hint=AGAIN)
    for target_id, target in lock.targets.items():
        if missing := [name for name in target.names if name not in lock.environments]:
            what = f"there is no environment {missing[0]}"
            raise ConfigError.of(what, where=f"{where}: targets.{target_id}", hint=AGAIN)
    return lock


def _environments(table: Mapping[str, Any]) -> Any:
    """Return the tables of environments as the model has them."""
    tables = table.get("environments", {})
    if not isinstance(tables, dict):
        return tables  # which the model refuses
    return {
        name: {**each, "asked": {key: each[key] for key in _ASKED if key in each}}
        if isinstance(each, dict)
        else each
        for name, each in tables.items()
    }


def write_lock(lock: RequirementLock) -> str:
    """Return the text of a lock's file."""
    lines = [_HEAD + f"lock-version = {LOCK_VERSION}", "", "[targets]"]
    lines += [f"{_text(each)} = {_target(lock.targets[each])}" for each in sorted(lock.targets)]
    order = sorted(lock.environments.items(), key=lambda item: (_place(item[1]), item[0]))
    for name, environment in order:
        lines += ["", f"[environments.{_text(name)}]", *_environment(environment)]
    return "\n".join([*lines, ""])


def _place(environment: LockedEnvironment) -> tuple[str, str]:
    return environment.asked.platform, environment.asked.python


def _target(target: TargetLock) -> str:
    tests = ", ".join(f"[{', '.join(map(_text, names))}]" for names in target.tests)
    parts = [f"build = {_text(target.build)}"] if target.build else []
    parts += [f"tests = [{tests}]"] if target.tests else []
    return f"{{ {', '.join(parts)} }}" if parts else "{}"


def _environment(environment: LockedEnvironment) -> Iterator[str]:
    asked = environment.asked
    yield f"python = {_text(asked.python)}"
    yield f"platform = {_text(asked.platform)}"
    if asked.glibc:
        yield f"glibc = {_text(asked.glibc)}"
    yield from _array("requires", map(_text, asked.requires))
    if asked.constraints:
        yield from _array("constraints", map(_text, asked.constraints))
    if asked.indexes:
        pairs = ", ".join(f"{_text(name)} = {_text(url)}" for name, url in asked.indexes)
        yield f"indexes = {{ {pairs} }}"
    if environment.backend:
        yield from _array("backend", map(_text, environment.backend))
    yield from _array("files", map(_file, environment.files))


def _array(name: str, items: Iterable[str]) -> Iterator[str]:
    yield f"{name} = ["
    yield from (f"  {item}," for item in items)
    yield "]"


def _file(file: LockedFile) -> str:
    facts = {
        "name": file.name,
        "version": file.version,
        "filename": file.filename,
        "sha256": file.sha256,
        "url": file.url,
        "index": file.index,
    }
    pairs = (f"{key} = {_text(value)}" for key, value in facts.items() if value)
    return f"{{ {', '.join(pairs)} }}"


def _text(text: str) -> str:
    """Return a text in TOML; a string of JSON without half surrogate pairs is one."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
