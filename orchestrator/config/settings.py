"""The typed model of matrix.toml. Still templated; `orchestrator.plan` resolves it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.config.template import PASS_THROUGH
from orchestrator.models import Arch, Libc, OnMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping

RESERVED_AXES = PASS_THROUGH | {"version", "base", "local", "build_tag"}
"""Names that templates know already."""

_AXIS_NAME = re.compile(r"[a-z][a-z0-9_]*")
_AXIS_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _text(value: Any) -> Any:
    """Accept strings and integers; refuse floats, which TOML has already changed."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        kind = type(value).__name__
        hint = "; quote it: TOML reads 2.10 as the number 2.1" if isinstance(value, float) else ""
        raise PydanticCustomError("text", f"must be a string, got {kind} {value!r}{hint}")
    return str(value)


def _texts(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _command(value: Any) -> Any:
    """Join a list of commands as cibuildwheel does."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return " && ".join(value)
    return value


Text = Annotated[str, BeforeValidator(_text)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_texts), Field(min_length=1, strict=False)]
Command = Annotated[str, BeforeValidator(_command)]


class Model(BaseModel):
    """Frozen; unknown keys are errors; TOML keys use dashes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        use_attribute_docstrings=True,
    )


class Project(Model):
    """What is built."""

    source: str = "."
    """A directory (relative to matrix.toml), an sdist file, or a pinned requirement."""


class Axis(Model):
    """One dimension of the matrix."""

    values: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]
    """The values, in the order in which they are built."""
    label: str | None = None
    """Template of this axis' part of the target ID; the value itself when unset."""


def _axis(value: Any) -> Any:
    return value if isinstance(value, dict | Axis) else {"values": value}


AxisField = Annotated[Axis, BeforeValidator(_axis)]


class EnvValue(Model):
    """An environment variable that the shell of the build evaluates: ``{ shell = "$PATH:/x" }``."""

    shell: str
    """A value in which ``$NAME`` and ``$(command)`` are evaluated where the build runs."""


def _env_kind(value: Any) -> str:
    return "(table)" if isinstance(value, dict | EnvValue) else "(text)"


Env = dict[
    str,
    Annotated[
        Annotated[EnvValue, Tag("(table)")] | Annotated[Text, Tag("(text)")],
        Discriminator(_env_kind),  # otherwise an error in one kind is reported for both
    ],
]
When = dict[str, Texts]


class Exclude(Model):
    """Cells that are not built."""

    when: Annotated[When, Field(min_length=1)]
    """Axis -> exact value, glob or version range, or a list of them."""
    reason: str = ""
    """Why, for the plan."""


class Build(Model):
    """How a wheel is built."""

    before_all: Command | None = None
    """Shell command run once in the source before everything else."""
    before_build: Command | None = None
    """Shell command run before the wheel is built."""
    config_settings: dict[str, Text] | None = None
    """PEP 517 config settings."""
    repair: str | None = None
    """``none`` (the default), ``auditwheel``, or a command with {wheel} and {dest_dir}."""
    external: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Libraries that may stay outside the wheel: presets (cuda, torch, rocm) or soname globs."""
    timeout: Annotated[int, Field(gt=0, strict=True)] | None = None
    """Seconds one target may take."""


class Test(Model):
    """How a wheel is tested."""

    command: Command | None = None
    """Shell command run with the wheel installed, away from the source."""
    requires: Annotated[tuple[str, ...], Field(strict=False)] | None = None
    """Requirements installed for the test."""


class VersionParts(Model):
    """How the version is composed."""

    base: Text | None = None
    """The base version; taken from the source when unset."""
    local: Text | None = None
    """Template of the PEP 440 local version, without the plus sign."""
    build_tag: Text | None = None
    """Template of the PEP 427 build tag."""
    inject: dict[str, Text] = Field(default_factory=dict)
    """Environment variable -> template; {version}, {base} and {local} are known there."""
    on_mismatch: OnMismatch | None = None
    """What to do with a wheel that carries another version: fail (the default) or rewrite."""


class Override(Model):
    """Settings for some cells; later overrides win over earlier ones."""

    when: Annotated[When, Field(min_length=1)]
    """Axis -> exact value, glob or version range, or a list of them."""
    env: Env = Field(default_factory=dict)
    """Environment variables, added to those of ``[env]``."""
    image: str | None = None
    """Container image."""
    runner: str | None = None
    """CI runner label."""
    build: Build = Build()
    """As ``[build]``."""
    test: Test = Test()
    """As ``[test]``."""
    version: VersionParts = VersionParts()
    """As ``[version]``."""


class Engine(Model):
    """The container engine."""

    name: Literal["auto", "docker", "podman"] = "auto"
    """auto, docker or podman."""
    create_args: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Extra arguments for the engine's create command."""


class Settings(Model):
    """matrix.toml as a whole."""

    project: Project = Project()
    """What is built."""
    axes: dict[str, AxisField]
    """The dimensions: python, arch, libc, and any others."""
    exclude: Annotated[tuple[Exclude, ...], Field(strict=False)] = ()
    """Cells that are not built."""
    override: Annotated[tuple[Override, ...], Field(strict=False)] = ()
    """Settings for some cells."""
    env: Env = Field(default_factory=dict)
    """Environment variables of every build."""
    images: dict[str, str] = Field(default_factory=dict)
    """``<libc>_<arch>`` -> image reference, or an alias such as manylinux_2_28."""
    engine: Engine = Engine()
    """The container engine."""
    build: Build = Build()
    """How wheels are built."""
    test: Test = Test()
    """How wheels are tested."""
    version: VersionParts = VersionParts()
    """How versions are composed."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """``libc`` is manylinux unless the file says otherwise."""
        axes = data.get("axes") if isinstance(data, dict) else None
        if isinstance(axes, dict):
            return {**data, "axes": {"libc": [Libc.MANYLINUX.value], **axes}}
        return data


def known_values() -> Mapping[str, frozenset[str]]:
    """The closed lists of values of the built-in axes other than python."""
    return {"arch": frozenset(Arch), "libc": frozenset(Libc)}


def axis_name_ok(name: str) -> bool:
    """Whether ``name`` may name an axis (it becomes a template name)."""
    return _AXIS_NAME.fullmatch(name) is not None and name not in RESERVED_AXES


def axis_value_ok(value: str) -> bool:
    """Whether ``value`` may stand in a target ID, a file name and a shell word as it is."""
    return _AXIS_VALUE.fullmatch(value) is not None


def env_name_ok(name: str) -> bool:
    """Whether ``name`` is a POSIX environment variable name."""
    return _ENV_NAME.fullmatch(name) is not None
