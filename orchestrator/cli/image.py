"""``orchestrator image build``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import PythonTag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.containers.engine import Preference
    from orchestrator.containers.image_build import ImageRecipe


@click.group("image")
def command() -> None:
    """Baseline images for architectures that have no ready one."""


@command.command("build")
@click.argument("suite")
@click.argument("arch", type=click.Choice([each.value for each in Arch]))
@click.option(
    "--tag",
    metavar="NAME",
    help="Name of the image.  [default: localhost/orchestrator-baseline:SUITE-ARCH]",
)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    metavar="TAG",
    help="A Python that the suite has, such as cp314; may be given more than once.  "
    "[default: the suite's own]",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME",
    help="A further package of the suite; may be given more than once.",
)
@click.option("--mirror", metavar="URL", help="Debian mirror.  [default: that of apt here]")
@click.option(
    "--engine",
    type=click.Choice(["auto", "docker", "podman"]),
    default="auto",
    show_default=True,
    help="What loads the image.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the image to a file that every engine loads, and load it nowhere.",
)
@click.option("--reuse", is_flag=True, help="Do nothing where the engine has it already.")
def build(  # noqa: PLR0913 - the options of the command line
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
    """Make an image that cibuildwheel builds wheels in, of a Debian suite, and load it.

    The suite's libc is the baseline of the wheels. Takes root, mmdebstrap, and QEMU for a foreign
    ARCH, under which it takes some minutes.
    """
    from orchestrator.containers import image_build
    from orchestrator.host.network import HostNetwork, base_env
    from orchestrator.provision.apt import default_mirror

    for each in (*pythons, *packages, suite):
        _check_word(each)
    network = HostNetwork.detect(os.environ)
    env = base_env(os.environ) | network.child_env()
    recipe = image_build.ImageRecipe(
        suite=suite,
        arch=Arch(arch),
        tag=tag or f"localhost/orchestrator-baseline:{suite}-{arch}",
        mirror=mirror or default_mirror(env),
        pythons=tuple(map(_check_python, pythons)),
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
        click.echo(f"{recipe.tag}: up to date", err=True)
        return
    with TemporaryDirectory(prefix="orchestrator-image-") as folder:
        image_build.load(_make(recipe, Path(folder, "image.tar"), env), name, env=env)


def _make(recipe: ImageRecipe, output: Path, env: Mapping[str, str]) -> Any:
    from orchestrator.containers import image_build
    from orchestrator.run.inputs import open_host

    def say(line: str) -> None:
        click.echo(line, err=True)

    host = open_host(os.environ, say)
    image = image_build.build(recipe, output.absolute(), toolchain=host.toolchain, env=env, say=say)
    click.echo(f"{image.tag} {image.digest} {image.libc} {' '.join(image.pythons)}")
    return image


def _check_word(text: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", text):
        raise click.BadParameter(f"{text!r} is no name of a suite, a package or a Python")


def _check_python(tag: str) -> str:
    python = PythonTag.match(tag)
    if python is None or not python.stable_abi:
        raise click.BadParameter(f"{tag!r} is no Python of a Debian suite", param_hint="--python")
    return tag
