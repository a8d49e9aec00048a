"""``orchestrator slice``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from orchestrator.cli.help import examples
from orchestrator.cli.options import copies_option, wheels_argument
from orchestrator.cli.output import printable, say, show
from orchestrator.errors import BadWheelError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.wheel.gpu_slice import Slice
    from orchestrator.wheel.slicing import SlicedWheel

GPU_ARCH = "gpu-arch"

_NAME = re.compile(r"(?:sm_?)?(\d{2,4})[af]?|(\d{1,3})\.(\d)[af]?")
_LONGEST_LABEL = 16


@click.command(
    "slice",
    epilog=examples(
        "slice dist/*.whl --by gpu-arch --output-dir slices",
        "slice dist/*.whl --by gpu-arch --group sm_80,sm_86 --keep-ptx",
        "slice dist/*.whl --by gpu-arch --variants --output-dir slices",
    ),
)
@wheels_argument
@click.option(
    "--by",
    type=click.Choice([GPU_ARCH]),
    required=True,
    help="What each slice has its own of: NVIDIA's GPU architectures.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="ARCH,...",
    help="The architectures of one slice; repeat for more slices.  [default: one for each]",
)
@click.option("--keep-ptx", is_flag=True, help="Keep PTX, which drivers compile for later GPUs.")
@click.option(
    "--variants",
    is_flag=True,
    help="As wheel variants (nvidia::sm_arch) instead of separate local versions.",
)
@copies_option("slices")
def command(
    wheels: Sequence[Path],
    by: str,
    groups: Sequence[str],
    output_dir: Path | None,
    *,
    keep_ptx: bool,
    variants: bool,
) -> None:
    """Make of each WHEEL one for each GPU architecture, and print their paths (experimental).

    A slice has the code that a driver would take out of the WHEEL on these GPUs, and no other;
    on other GPUs its kernels fail. Only code of CUDA is sliced. No slice was ever loaded on a GPU
    by this program's tests. The original stays.
    """
    from orchestrator.wheel.gpu_slice import Slice
    from orchestrator.wheel.slicing import architectures

    del by  # there is one way so far
    asked = [_group(text) for text in groups]
    for path in wheels:
        there = architectures(path)
        if not there:
            what, hint = "it has no machine code of CUDA", "orchestrator inspect shows what it has"
            raise BadWheelError.of(what, where=path.name, hint=hint)
        for archs in asked or [frozenset({arch}) for arch in there]:
            if missing := sorted(archs - {*there}):
                raise ConfigError.of(
                    f"{path.name} has no machine code for {_names(missing)}",
                    where="--group",
                    hint=f"it has code for {_names(there)}",
                )
            wanted = Slice(archs, keep_ptx)
            _tell(path, wanted, _slice(path, wanted, output_dir or path.parent, variants=variants))


def _group(text: str) -> frozenset[int]:
    """Return the architectures of ``sm_80,9.0`` as numbers."""
    found = set()
    for word in filter(None, re.split(r"[,; ]+", text)):
        match = _NAME.fullmatch(word)
        if match is None:
            hint = "write it like sm_90, or 9.0"
            raise ConfigError.of(f"{word!r} is no GPU architecture", where="--group", hint=hint)
        found.add(int(match[1] or match[2] + match[3]))
    if not found:
        raise ConfigError.of("a group without architectures", where="--group", hint="say sm_90")
    return frozenset(found)


def _slice(path: Path, wanted: Slice, output_dir: Path, *, variants: bool) -> SlicedWheel:
    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.slicing import local_label, slice_wheel, variant_of

    own = local_label(wanted)
    if variants:
        label = own.replace(".", "_")
        if len(label) > _LONGEST_LABEL:
            what = f"{label!r} cannot be a label: it has more than {_LONGEST_LABEL} characters"
            raise ConfigError.of(what, where="--variants", hint="name fewer in each --group")
        return slice_wheel(path, wanted, dest_dir=output_dir, variant=variant_of(wanted, label))
    version = WheelName.parse(path.name).version
    text = f"{version}.{own}" if version.local else f"{version}+{own}"
    return slice_wheel(path, wanted, dest_dir=output_dir, version=text)


def _tell(path: Path, wanted: Slice, made: SlicedWheel) -> None:
    from orchestrator.models.words import count_of
    from orchestrator.report.summary import size

    sizes = f"{size(made.path.stat().st_size)} of {size(path.stat().st_size)}"
    files = count_of(len(made.files), "file")
    say(f"{_names(sorted(wanted.archs))}: {sizes}; less code in {files}")
    for name, why in made.unchanged.items():
        say(f"  {printable(name)} stays as it is: {printable(why)}")
    show(printable(made.path))


def _names(archs: Sequence[int]) -> str:
    return ", ".join(f"sm_{arch}" for arch in archs)
