"""``orchestrator retag``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import (
    channel_option,
    copies_option,
    optional_matrix_option,
    wheels_argument,
)
from orchestrator.cli.output import printable, say, show
from orchestrator.errors import BadWheelError, ConfigError, Problem
from orchestrator.models.wheel import Severity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from packaging.version import Version

    from orchestrator.plan.wheel_variants import WheelVariant

AUTO = "auto"

_DAMAGE = {"binary-malformed", "elf-malformed", "zip-integrity"}
"""Rules that find files whose needs cannot be known."""

EARLIEST = "315532800"
"""1980-01-01, the first time that a zip file can store."""


@click.command(
    "retag",
    epilog=examples(
        "retag dist/*.whl --platform-tag auto",
        "retag dist/*.whl --local-version cu130",
        "retag dist/*.whl --variants --output-dir variants",
    ),
)
@wheels_argument
@click.option(
    "--platform-tag",
    "platform_tags",
    multiple=True,
    metavar="auto|TAG",
    help="New platform tag; auto: the one that the wheel needs. Join several by dots, or repeat.",
)
@click.option("--build-tag", metavar="N", help="New build tag; empty removes it.")
@click.option("--local-version", metavar="X", help="New local version; empty removes it.")
@click.option(
    "--variants",
    is_flag=True,
    help="Copies as wheel variants, as [variant] of the matrix says (experimental).",
)
@optional_matrix_option
@channel_option
@click.option(
    "--normalise",
    is_flag=True,
    help="Same order, time ($SOURCE_DATE_EPOCH, else 1980) and modes for all members; names and a "
    "zip file as PyPI takes them.",
)
@copies_option("copies")
def command(
    wheels: Sequence[Path],
    platform_tags: Sequence[str],
    build_tag: str | None,
    local_version: str | None,
    output_dir: Path | None,
    matrix: Path | None,
    channel: str,
    *,
    variants: bool,
    normalise: bool,
) -> None:
    """Copy each WHEEL under another tag or version, and print the path of the copy.

    File name, dist-info directory, WHEEL, METADATA, RECORD and SBOMs change together; all other
    members are copied as they are. The original stays, unless the copy has its name and directory.
    """
    from orchestrator.wheel import retag

    if not any(
        (platform_tags, build_tag is not None, local_version is not None, variants, normalise)
    ):
        raise ConfigError.of(
            "nothing to change",
            hint="say --platform-tag, --build-tag, --local-version, --variants or --normalise",
        )
    if variants and local_version is not None:
        what, hint = "[variant] says the version", "say variant.local in the matrix"
        raise ConfigError.of(what, where="--local-version", hint=hint)
    epoch = _epoch(os.environ.get("SOURCE_DATE_EPOCH", "")) if normalise else None
    copies = _variants(wheels, matrix, channel) if variants else [(path, None) for path in wheels]
    for path, own in copies:
        version = None if local_version is None else _version(path, local_version)
        copy = retag(
            path,
            dest_dir=output_dir or path.parent,
            platform_tags=_platform_tags(path, platform_tags),
            version=version if own is None else own.version,
            variant=None if own is None or own.plain else own.metadata,
            build_tag=build_tag,
            epoch=epoch,
            normal_names=normalise,
        )
        show(printable(copy))


def _variants(
    wheels: Sequence[Path], matrix: Path | None, channel: str
) -> list[tuple[Path, WheelVariant]]:
    """Return each copy to make: the wheel, and what it becomes, as a variant or as the plain one.

    Raises:
        ConfigError: the matrix makes no such wheel, or two would become the same.
    """
    from dataclasses import replace

    from orchestrator.cli.workspace import open_workspace
    from orchestrator.plan.wheel_variants import wheel_variants
    from orchestrator.publish.delivery import target_of

    workspace = open_workspace(matrix, channel)
    made = wheel_variants(workspace.plan, workspace.settings)
    copies: list[tuple[Path, WheelVariant]] = []
    for path in wheels:
        target = target_of(path, workspace.plan.targets, workspace.origin.name)
        if target is None:
            what, hint = "no target of the matrix makes it", "say --matrix FILE, or --channel"
            raise ConfigError.of(what, where=path.name, hint=hint)
        own = made[target.id]
        copies.append((path, replace(own, plain=False)))
        copies += [(path, own)] if own.plain else []
    return copies


def _platform_tags(path: Path, wanted: Sequence[str]) -> tuple[str, ...] | None:
    """Return the tags that the user asks for; None to keep those of the wheel."""
    if not wanted:
        return None
    if AUTO not in wanted:
        return tuple(tag for text in wanted for tag in text.split("."))
    from orchestrator.cli.workspace import load_policies
    from orchestrator.wheel import report

    if len(wanted) > 1:
        raise ConfigError.of(
            "auto and another tag exclude each other",
            where="--platform-tag",
            hint="say one of them",
        )
    wheel = report(path, load_policies())
    hint = "say the tag instead of auto"
    errors = [each for each in wheel.problems if each.severity is Severity.ERROR]
    damage = [each.message for each in errors if each.rule in _DAMAGE]
    if damage:
        raise BadWheelError(*(Problem(what=what, where=path.name, hint=hint) for what in damage))
    if wheel.observed_tag == "any":
        say(f"{printable(path)}: it has no compiled file, so its platform tag stays")
        return None
    return (wheel.observed_tag, *wheel.aliases)


def _version(path: Path, local: str) -> Version:
    """Return the wheel's version with another local part."""
    from packaging.version import Version

    from orchestrator.wheel import open_wheel

    with open_wheel(path) as archive:
        public = archive.name.version.public
    try:
        return Version(f"{public}+{local}" if local else public)
    except ValueError:  # InvalidVersion, or too many digits for a number of Python
        raise ConfigError.of(
            f"not a local version: {local!r}",
            where="--local-version",
            hint="letters and digits, in parts separated by dots (PEP 440)",
        ) from None


def _epoch(text: str) -> int:
    try:
        return int(text or EARLIEST)
    except ValueError:
        what = f"not whole seconds since 1970: {text!r}"
        raise ConfigError.of(what, where="SOURCE_DATE_EPOCH") from None
