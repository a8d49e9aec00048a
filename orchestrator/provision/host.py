"""What backends need to know about this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.host.network import HostNetwork
    from orchestrator.provision.toolchain_env import Toolchain

WHEELS = "ORCHESTRATOR_TOOLCHAIN_WHEELS"
"""Names a directory of wheels to install from, without network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What everything that is fetched and built on this machine has in common.

    Attributes:
        toolchain: the locked tools.
        network: how children reach the network.
        env: the part of our environment that any child may see.
        cache_dir: our cache.
        environ: our whole environment: it says where interpreters, toolkits and wheels may be.
    """

    toolchain: Toolchain
    network: HostNetwork
    env: dict[str, str]
    cache_dir: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def net_env(self) -> dict[str, str]:
        """The environment of a child that reaches the network."""
        return {**self.env, **self.network.child_env()}

    @property
    def wheels(self) -> Path | None:
        """The directory that tools are installed from without network; None for the index."""
        given = self.environ.get(WHEELS, "")
        return Path(given).expanduser().absolute() if given else None
