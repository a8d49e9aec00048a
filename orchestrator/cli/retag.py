"""``orchestrator retag``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.inspect_wheels import WHEELS, policies
from orchestrator.errors import BadWheelError, ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packaging.version import Version

AUTO = "auto"

_DAMAGE = {"elf-malformed", "zip-integrity"}
"""Rules that speak of files whose needs cannot be known."""

EARLIEST = 315532800
"""1980-01-01, the first time a zip file can say."""


@click.command("retag")
@WHEELS
@click.option(
    "--platform-tag",
    "platform_tags",
    multiple=True,
    metavar="auto|TAG",
    help="New platform tag (several: more than once, or joined by dots); auto: what it needs.",
)
@click.option("--build-tag", metavar="N", help="New build tag; empty to remove it.")
@click.option("--local-version", metavar="X", help="New local version; empty to remove it.")
@click.option(
    "--normalise",
    is_flag=True,
    help="Same order, time ($SOURCE_DATE_EPOCH, else 1980) and modes for all members.",
)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="D",
    help="Where the copies go; beside the wheels by default.",
)
def command(  # noqa: PLR0913 - one for each option
    wheels: Sequence[Path],
    platform_tags: Sequence[str],
    build_tag: str | None,
    local_version: str | None,
    output_dir: Path | None,
    *,
    normalise: bool,
) -> None:
    """Write each WHEEL again under another tag or version, and print where.

    File name, dist-info directory, WHEEL, METADATA, RECORD and SBOMs change together; all other
    members are copied as they are. The original stays, unless the copy has its name and place.
    """
    from orchestrator.wheel import retag

    if not normalise and (platform_tags, build_tag, local_version) == ((), None, None):
        raise ConfigError.of(
            "nothing to change",
            hint="say --platform-tag, --build-tag, --local-version or --normalise",
        )
    epoch = _epoch(os.environ.get("SOURCE_DATE_EPOCH", "")) if normalise else None
    for path in wheels:
        made = retag(
            path,
            dest_dir=path.parent if output_dir is None else output_dir,
            platform_tags=_platform_tags(path, platform_tags),
            version=None if local_version is None else _version(path, local_version),
            build_tag=build_tag,
            epoch=epoch,
        )
        click.echo(str(made))


def _platform_tags(path: Path, wanted: Sequence[str]) -> tuple[str, ...] | None:
    """Return the tags that were asked for; None to keep those that are there."""
    if not wanted:
        return None
    if AUTO not in wanted:
        return tuple(tag for text in wanted for tag in text.split("."))
    from orchestrator.wheel import report

    if len(wanted) > 1:
        raise ConfigError.of("--platform-tag auto and another --platform-tag: say one of them")
    seen = report(path, policies())
    damage = [each for each in seen.problems if each.rule in _DAMAGE]
    if damage:
        raise BadWheelError(
            *(
                Problem(what=each.message, where=path.name, hint="say which --platform-tag it has")
                for each in damage
            )
        )
    if seen.observed_tag == "any":
        click.echo(f"{path}: no ELF file is in it; its platform tag stays", err=True)
        return None
    return (seen.observed_tag, *seen.aliases)


def _version(path: Path, local: str) -> Version:
    """Return the wheel's version with another local part."""
    from packaging.version import Version

    from orchestrator.wheel import open_wheel

    with open_wheel(path) as archive:
        public = archive.name.version.public
    try:
        return Version(f"{public}+{local}" if local else public)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        raise ConfigError.of(
            f"not a local version: {local!r}",
            where="--local-version",
            hint="letters and digits, in parts separated by dots (PEP 440)",
        ) from None


def _epoch(text: str) -> int:
    if not text:
        return EARLIEST
    try:
        return int(text)
    except ValueError:
        raise ConfigError.of(
            f"not whole seconds since 1970: {text!r}", where="SOURCE_DATE_EPOCH"
        ) from None
