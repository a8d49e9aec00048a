"""Everything backends need to know of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.host.network import HostNetwork
    from orchestrator.provision.toolchain import Toolchain


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What backends need to know of this machine.

    Attributes:
        toolchain: the locked tools.
        network: how children reach the network.
        env: the part of our environment that any child may see.
        cache_dir: our cache, for headers and interpreters.
    """

    toolchain: Toolchain
    network: HostNetwork
    env: dict[str, str]
    cache_dir: Path
