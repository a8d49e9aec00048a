"""Bytes of matrix.toml -> `Settings`, with all problems reported together."""

from __future__ import annotations

import difflib
import re
import tomllib
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.config import template
from orchestrator.config.settings import (
    RESERVED_AXES,
    Axis,
    EnvValue,
    Settings,
    axis_name_ok,
    axis_value_ok,
    env_name_ok,
    known_values,
)
from orchestrator.errors import ConfigError, Problem
from orchestrator.models import Arch, Libc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

    from orchestrator.config.settings import Build, Env, Test, VersionParts
    from orchestrator.models import BuilderFacts

MANY = 20
"""Known words that a message lists before it stops."""

VERSION_NAMES = frozenset({"version", "base", "local", "build_tag"})
"""Template names that are known once the version is composed."""


def load(data: bytes, *, facts: BuilderFacts) -> Settings:
    """Parse and check matrix.toml.

    Args:
        data: the file's bytes (TOML 1.0, UTF-8).
        facts: what the locked builder knows, for the python axis.

    Returns:
        The settings, still templated.

    Raises:
        ConfigError: with every problem found, each with its dotted path.
    """
    try:
        tree = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError.of(f"not valid TOML: {error}", where="matrix.toml") from None
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        # An array of wrong values counts as empty too; its values have been reported already.
        found = [e for e in error.errors() if not (e["type"] == "too_short" and e["input"])]
        raise ConfigError(*map(_problem, found)) from None
    problems = tuple(_check(settings, facts))
    if problems:
        raise ConfigError(*problems)
    return settings


def _problem(error: ErrorDetails) -> Problem:
    """Turn one pydantic error into ours, with a dotted path and the closest valid key."""
    path = dotted(error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = sorted(_keys_at(error["loc"][:-1]))
        return Problem(what=f"unknown key {key!r}", where=path, hint=closest(key, known))
    if error["type"] == "missing":
        *parent, name = error["loc"]
        return Problem(what="is missing", where=f"{dotted(parent)}.{name}" if parent else str(name))
    message = _IN_TOML.get(error["type"], error["msg"])
    return Problem(what=message[:1].lower() + message[1:], where=path)


_IN_TOML = {
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "too_short": "must not be empty",
}
"""What pydantic says in Python's words -> the same in TOML's."""


def dotted(loc: Sequence[int | str]) -> str:
    """``("axes", "cuda", 1)`` -> ``axes.cuda[1]``."""
    path = ""
    loc = tuple(loc)
    if loc[:1] == ("axes",) and loc[2:3] == ("values",):
        loc = (*loc[:2], *loc[3:])  # `cuda = [...]` is short for `cuda = { values = [...] }`
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("("):  # the tag of a union
            path += f".{part}" if path else part
    return path or "matrix.toml"


def _keys_at(loc: Sequence[int | str]) -> set[str]:
    """The keys the model knows at ``loc``."""
    model: type[BaseModel] | None = Settings
    for part in loc:
        if model is None or isinstance(part, int):
            continue
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        model = _model_in(fields[part].annotation) if part in fields else model
    return {f.alias or n for n, f in model.model_fields.items()} if model else set()


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in get_args(annotation))
    return next((model for model in inner if model), None)


def closest(word: str, known: Collection[str]) -> str:
    """Say which known word is meant, or list them all."""
    match = difflib.get_close_matches(word, known, n=1)
    if match:
        return f"did you mean '{match[0]}'?"
    first = sorted(known)[:MANY]
    more = f", ... ({len(known)} in all)" if len(known) > MANY else ""
    return f"known: {', '.join(first)}{more}"


def _check(settings: Settings, facts: BuilderFacts) -> Iterator[Problem]:
    """Everything the model alone cannot know."""
    yield from _check_axes(settings.axes, facts)
    yield from _check_rules(settings)
    yield from _check_images(settings)
    yield from _check_templates(settings)


def _check_axes(axes: Mapping[str, Axis], facts: BuilderFacts) -> Iterator[Problem]:
    for name in ("python", "arch"):
        if name not in axes:
            yield Problem(
                what="is missing", where=f"axes.{name}", hint=f"for instance {_EXAMPLE[name]}"
            )
    known = {**known_values(), "python": facts.pythons}
    for name, axis in axes.items():
        where = f"axes.{name}"
        if not axis_name_ok(name):
            reserved = " (reserved)" if name in RESERVED_AXES else ""
            yield Problem(
                what=f"{name!r} cannot name an axis{reserved}",
                where=where,
                hint="lower-case letters, digits and underscores",
            )
        if axis.label is not None and name in {"python", "libc", "arch"}:
            yield Problem(
                what="has no effect: python, libc and arch stand in the target ID as they are",
                where=f"{where}.label",
            )
        for index, value in enumerate(axis.values):
            yield from _check_value(name, value, known.get(name), f"{where}[{index}]")
            if value in axis.values[:index]:
                yield Problem(what=f"{value!r} is there twice", where=f"{where}[{index}]")


_EXAMPLE = {"python": 'python = ["cp312"]', "arch": 'arch = ["x86_64"]'}


def _check_value(
    axis: str, value: str, known: frozenset[str] | None, where: str
) -> Iterator[Problem]:
    if known is not None and value not in known:
        yield Problem(what=f"unknown {axis} {value!r}", where=where, hint=closest(value, known))
    elif not axis_value_ok(value):
        yield Problem(
            what=f"{value!r} cannot be an axis value",
            where=where,
            hint="values become parts of target IDs: letters, digits and . _ + - only",
        )


def _check_rules(settings: Settings) -> Iterator[Problem]:
    rules = [(f"exclude[{i}].when", rule.when) for i, rule in enumerate(settings.exclude)]
    rules += [(f"override[{i}].when", rule.when) for i, rule in enumerate(settings.override)]
    for where, when in rules:
        for axis in when:
            if axis not in settings.axes:
                yield Problem(
                    what=f"unknown axis {axis!r}",
                    where=f"{where}.{axis}",
                    hint=closest(axis, settings.axes.keys()),
                )


def _check_images(settings: Settings) -> Iterator[Problem]:
    known = {f"{libc}_{arch}" for libc in Libc for arch in Arch}
    for key in settings.images:
        if key not in known:
            yield Problem(
                what=f"{key!r} is no platform", where=f"images.{key}", hint=closest(key, known)
            )


def _check_templates(settings: Settings) -> Iterator[Problem]:
    axes = frozenset(settings.axes)
    for name, axis in settings.axes.items():
        if axis.label is not None:
            yield from _checked(axis.label, axes, f"axes.{name}.label")
    full = axes | VERSION_NAMES
    for key, image in settings.images.items():
        yield from _checked(image, axes, f"images.{key}")
    yield from _check_env(settings.env, full, "env")
    yield from _check_steps(settings.build, settings.test, full, "")
    yield from _check_version(settings.version, axes, "version")
    for index, rule in enumerate(settings.override):
        where = f"override[{index}]."
        yield from _check_env(rule.env, full, f"{where}env")
        yield from _check_steps(rule.build, rule.test, full, where)
        yield from _check_version(rule.version, axes, f"{where}version")
        if rule.image is not None:
            yield from _checked(rule.image, axes, f"{where}image")


def _check_env(env: Env, names: frozenset[str], where: str) -> Iterator[Problem]:
    for name, value in env.items():
        text = value.shell if isinstance(value, EnvValue) else value
        yield from _check_env_name(name, f"{where}.{name}")
        yield from _checked(text, names, f"{where}.{name}")


def _check_env_name(name: str, where: str) -> Iterator[Problem]:
    if not env_name_ok(name):
        yield Problem(what=f"{name!r} is no environment variable name", where=where)
    elif name.startswith("CIBW_"):
        # It would reach the container, where cibuildwheel does not read it: a silent nothing.
        yield Problem(
            what=f"{name} has no effect inside the build",
            where=where,
            hint="cibuildwheel's options belong in [build], [test] or the project's "
            "[tool.cibuildwheel]",
        )


def _check_steps(build: Build, test: Test, names: frozenset[str], where: str) -> Iterator[Problem]:
    commands = {
        "build.before-all": build.before_all,
        "build.before-build": build.before_build,
        "build.repair": build.repair,
        "test.command": test.command,
    }
    for key, command in commands.items():
        if command is not None:
            yield from _checked(command, names | template.PASS_THROUGH, f"{where}{key}")
    for key, value in (build.config_settings or {}).items():
        yield from _checked(value, names, f"{where}build.config-settings.{key}")
    for index, requirement in enumerate(test.requires or ()):
        yield from _checked(requirement, names, f"{where}test.requires[{index}]")
    if build.repair is not None:
        yield from _check_repair(build.repair, f"{where}build.repair")


def _check_repair(repair: str, where: str) -> Iterator[Problem]:
    named = re.fullmatch(r"[\w-]+", repair)
    if named and repair not in {"none", "auditwheel"}:
        known = closest(repair, ("none", "auditwheel"))
        hint = f"{known}; or a command with {{wheel}} and {{dest_dir}}"
        yield Problem(what=f"unknown repair {repair!r}", where=where, hint=hint)
    elif not named and not ("{wheel}" in repair and "{dest_dir}" in repair):
        yield Problem(
            what="a repair command needs {wheel} and {dest_dir}",
            where=where,
            hint="for instance 'auditwheel repair -w {dest_dir} {wheel}'",
        )


def _check_version(parts: VersionParts, axes: frozenset[str], where: str) -> Iterator[Problem]:
    for key, text in (("local", parts.local), ("build-tag", parts.build_tag)):
        if text is not None:
            yield from _checked(text, axes, f"{where}.{key}")
    for name, text in parts.inject.items():
        yield from _check_env_name(name, f"{where}.inject.{name}")
        yield from _checked(text, axes | VERSION_NAMES, f"{where}.inject.{name}")


def _checked(text: str, names: frozenset[str], where: str) -> Iterator[Problem]:
    try:
        template.check(text, names=names, where=where)
    except ConfigError as error:
        yield from error.problems
