"""Resolving the toolchain's lock anew, for developers of this project.

The lock is data of the program and no setting: what builds do is tested with these versions, and
their digest is part of every cache key.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError
from orchestrator.fsutil import write_whole
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.provision import toolchain, wheelhouse
from orchestrator.provision.cache_dir import Progress, machine_errors
from orchestrator.provision.failures import run_step

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.provision.wheelhouse import LockEntry


def resolve(  # noqa: PLR0913 - mostly keywords
    cache_dir: Path,
    network: HostNetwork,
    on_progress: Progress,
    *,
    environ: Mapping[str, str],
    output: Path | None = None,
    upgrade: bool = False,
) -> tuple[str, ...]:
    """Resolve `toolchain.in` for all supported Pythons and platforms, with the locked uv.

    Args:
        cache_dir: the user's cache directory.
        network: how to reach the package index (uv's settings).
        on_progress: told what is being done.
        environ: as for `sync`.
        output: the file to write; None for the lock of this clone.
        upgrade: take the newest versions, instead of the locked ones if they fit.

    Returns:
        A line for each package that changed.

    Raises:
        ConfigError: this is not a clone of the project, and `output` is None.
        EnvironmentProblemError: uv fails.
    """
    target = output or _lock_of_clone()
    tools = toolchain.sync(cache_dir, network, on_progress, environ=environ)
    before = toolchain.lock_text()
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as scratch:
        source, made = Path(scratch, "toolchain.in"), Path(scratch, "toolchain.lock")
        source.write_bytes(toolchain.input_text())
        made.write_bytes(before)
        argv = [str(tools.bin / "uv"), "pip", "compile", source.name, f"--output-file={made.name}"]
        argv += ["--generate-hashes", "--universal", "--no-header", "--no-annotate"]
        argv += ["--no-emit-index-url"]
        argv += [f"--python-version=3.{wheelhouse.SUPPORTED[0]}", f"--python={tools.python}"]
        argv += ["--upgrade"] if upgrade else []
        env = base_env(environ) | network.child_env() | {"NO_COLOR": "1"}
        run_step("resolve the tools", argv, env=env, cwd=made.parent)
        after = made.read_bytes()
    with machine_errors(target):
        write_whole(target, after)
    return _changes(wheelhouse.parse(before.decode()), wheelhouse.parse(after.decode()))


def _lock_of_clone() -> Path:
    here = Path(__file__).with_name("toolchain.lock")
    if (here.parents[2] / "pyproject.toml").is_file():
        return here
    raise ConfigError.of(
        "the lock is a part of orchestrator, and this is an installed copy",
        where="--output",
        hint="a new version of orchestrator brings new tools; --output FILE shows which there are",
    )


def _changes(before: Sequence[LockEntry], after: Sequence[LockEntry]) -> tuple[str, ...]:
    old, new = ({each.name: each.version for each in lock} for lock in (before, after))
    return tuple(
        f"{name}: {old.get(name, 'new')} -> {new.get(name, 'gone')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )
