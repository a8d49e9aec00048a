"""``orchestrator image build``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import Commands, OneOf, examples
from orchestrator.cli.options import ARCH, FILE, repeatable
from orchestrator.cli.output import say, show
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import PythonTag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.containers.engine import Preference
    from orchestrator.containers.image_build import BuiltImage, ImageRecipe


@click.group("image", cls=Commands)
def command() -> None:
    """Make baseline images for architectures that have no official one."""


def _word(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", text):
        raise click.BadParameter(f"{text!r} cannot be a name in Debian's archive")
    return text


def _python(tag: str) -> str:
    python = PythonTag.match(tag)
    if python is None or not python.stable_abi:
        raise click.BadParameter(f"{tag!r} is not a Python of a Debian suite")
    return tag


@command.command(
    "build",
    epilog=examples("image build trixie aarch64", "image build forky loongarch64 --engine podman"),
)
@click.argument("suite", type=_word)
@click.argument("arch", type=ARCH)
@click.option(
    "--tag",
    metavar="NAME",
    help="Name of the image.  [default: localhost/orchestrator-baseline:SUITE-ARCH]",
)
@repeatable(
    "--python pythons",
    "TAG",
    "Python that the suite has, such as cp314; by default that of the suite.",
    type=_python,
)
@repeatable("--package packages", "NAME", "Further package of the suite.", type=_word)
@click.option("--mirror", metavar="URL", help="Debian mirror.  [default: that of apt here]")
@click.option(
    "--engine",
    type=OneOf(["auto", "docker", "podman"]),
    default="auto",
    show_default=True,
    help="Engine that loads the image.",
)
@click.option(
    "--output", type=FILE, help="Write the image to a file for any engine instead of loading it."
)
@click.option("--reuse", is_flag=True, help="Do nothing if the engine already has this image.")
def build(
    suite: str,
    arch: str,
    *,
    tag: str | None,
    pythons: tuple[str, ...],
    packages: tuple[str, ...],
    mirror: str | None,
    engine: Preference,
    output: Path | None,
    reuse: bool,
) -> None:
    """Make an image of a Debian SUITE, for cibuildwheel to build wheels in, and load it.

    The suite's libc is the baseline of the wheels. This needs root and mmdebstrap, and QEMU for a
    foreign ARCH, where it takes some minutes.
    """
    from orchestrator.containers.image_build import ImageRecipe
    from orchestrator.host.network import HostNetwork, base_env
    from orchestrator.provision.apt import default_mirror

    env = base_env(os.environ) | HostNetwork.detect(os.environ).child_env()
    recipe = ImageRecipe(
        suite=suite,
        arch=Arch(arch),
        tag=tag or f"localhost/orchestrator-baseline:{suite}-{arch}",
        mirror=mirror or default_mirror(env),
        pythons=pythons,
        packages=packages,
    )
    if output is None:
        _make_and_load(recipe, engine, env, reuse=reuse)
    else:
        _make(recipe, output, env)


def _make_and_load(
    recipe: ImageRecipe, preference: Preference, env: Mapping[str, str], *, reuse: bool
) -> None:
    from tempfile import TemporaryDirectory

    from orchestrator.containers import engine, image_build

    name = engine.choose(preference, env=env).name
    if reuse and image_build.has_been_built(recipe, name, env=env):
        say(f"{recipe.tag}: up to date")
        return
    with TemporaryDirectory(prefix="orchestrator-image-") as folder:
        image_build.load(_make(recipe, Path(folder, "image.tar"), env), name, env=env)


def _make(recipe: ImageRecipe, output: Path, env: Mapping[str, str]) -> BuiltImage:
    from orchestrator.cli.workspace import open_host
    from orchestrator.containers import image_build

    tools = open_host().toolchain
    image = image_build.build(recipe, output.absolute(), toolchain=tools, env=env, say=say)
    show(f"{image.tag} {image.digest} {image.libc} {' '.join(image.pythons)}")
    return image
