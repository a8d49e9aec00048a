"""What backends need to know about this machine."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import write_whole
from orchestrator.host.index_config import merged_pip_config
from orchestrator.host.network import UV_AS_PIP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.host.network import HostNetwork
    from orchestrator.provision.toolchain_env import Toolchain

WHEELS = "ORCHESTRATOR_TOOLCHAIN_WHEELS"
"""Names a directory of wheels to install from, without network."""


USERS_OWN = {"NETRC": ".netrc", "CARGO_HOME": ".cargo", "RUSTUP_HOME": ".rustup"}
"""Variables that lead to files of the user's home directory."""

_ASKED_BY = {"keyring-provider"}
"""Settings of pip without which an index does not answer; others only choose between packages."""

_XDG_HOMES = {"XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"}


def uv_settings(network: HostNetwork, folder: Path) -> dict[str, str]:
    """Write what no variable tells uv to a file in a folder; return the variables that name it."""
    if not network.uv_file:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{hashlib.sha256(network.uv_file.encode()).hexdigest()[:16]}.toml"
    write_whole(file, network.uv_file, durable=False)
    return {"UV_CONFIG_FILE": str(file), "UV_NO_CONFIG": "0"}


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

    def uv_env(self, downloads: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a locked uv that finds packages where pip does.

        Args:
            downloads: the directory for its own.
            env: the environment otherwise; None for `net_env`. It is `build_env` where uv may build
                sdists for all targets.

        Raises:
            EnvironmentProblemError: pip reaches its index in a way that uv does not know.
        """
        unknown = _ASKED_BY.intersection(self.network.only_pip_here)
        if unknown:
            raise EnvironmentProblemError.of(f"uv does not know {', '.join(sorted(unknown))}")
        public, private = self.network.uv_like_pip_here()
        own = {"UV_CACHE_DIR": str(downloads), "NO_COLOR": "1", "UV_LINK_MODE": "hardlink"}
        where = {} if self.wheels is None else {"UV_FIND_LINKS": str(self.wheels)}
        return {
            **(env or self.net_env),
            **UV_AS_PIP,
            **dict(public),
            **dict(private),
            **uv_settings(self.network, downloads),
            **where,
            **own,
        }

    def build_env(self, scratch: Path) -> dict[str, str]:
        """Return the environment of a build on this host.

        The home directory is an empty one in the build's private directory. Of the user's own only
        downloads that are kept, credentials, Rust, and pip's configuration reach the build; these
        two count for its address in the store.
        """
        users, home = Path(self.env.get("HOME") or "/nonexistent"), scratch / "home"
        home.mkdir(exist_ok=True)
        env = {name: value for name, value in self.net_env.items() if name not in _XDG_HOMES}
        env.setdefault("XDG_CACHE_HOME", str(users / ".cache"))
        kept = {name: users / place for name, place in USERS_OWN.items()}
        env = {name: str(path) for name, path in kept.items() if path.exists()} | env
        if env.get("PIP_CONFIG_FILE") != os.devnull:
            file = scratch / "pip.conf"
            write_whole(file, merged_pip_config(self.environ), durable=False)
            env["PIP_CONFIG_FILE"] = str(file)
        # A repository around the private directory is not the source's.
        return env | {"HOME": str(home), "TZ": "UTC", "GIT_CEILING_DIRECTORIES": str(scratch)}

    @property
    def wheels(self) -> Path | None:
        """The directory that tools are installed from without network; None for the index."""
        given = self.environ.get(WHEELS, "")
        return Path(given).expanduser().absolute() if given else None
