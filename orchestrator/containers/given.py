"""What this host gives a container beside its image: it counts for where a result is filed.

The matrix's arguments for the engine name variables and mount directories, and podman's own
settings (``containers.conf(5)``) may do so for every container.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.fsutil import file_sha256, files_below, read_file
from orchestrator.models.reading import toml_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_SHORT = 16

_MOST_BYTES = 256 << 20
"""Bytes of a mounted directory whose contents are compared; what is beyond counts by its size."""

_READ_ONLY = frozenset({"ro", "readonly"})

_REACHES_BUILDS = ("env", "env_host", "mounts", "tz", "umask", "volumes")
"""Settings of ``[containers]`` that change what a program in a container finds."""


def given_to_containers(arguments: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return digests of what containers take from this host, by its name.

    These are variables of ``--env=NAME``, files of ``--env-file``, what is mounted to be read, and
    podman's settings. A directory that is mounted to be written holds what builds leave there.

    Args:
        arguments: the matrix's, for the engine.
        env: the environment of the engine's client.
    """
    settings = _settings(env)
    pairs = [*pairwise(_words(arguments))]
    pairs += [("--volume", str(each)) for each in _listed(settings, "volumes")]
    pairs += [("--mount", str(each)) for each in _listed(settings, "mounts")]
    found: dict[str, str] = {}
    for option, value in pairs:
        if option == "--env-file":
            with suppress(OSError):
                found[value] = file_sha256(Path(value))[:_SHORT]
        elif option in {"--env", "-e"} and value in env:
            found[value] = hashlib.sha256(env[value].encode()).hexdigest()[:_SHORT]
        elif (source := _read_from(option, value)) is not None:
            found[source] = _contents(source)
    if settings:
        text = json.dumps(settings, sort_keys=True, default=str)
        found["containers.conf"] = hashlib.sha256(text.encode()).hexdigest()[:_SHORT]
    return found


def _words(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        if argument[:2] in {"-e", "-v"} and len(argument) > 2:  # noqa: PLR2004 - `-v/data:/data`
            yield from (argument[:2], argument[2:])
        else:
            yield from argument.split("=", 1) if argument.startswith("--") else (argument,)


def _read_from(option: str, value: str) -> str | None:
    """Return the file or directory of this host that is mounted to be read."""
    if option in {"--volume", "-v"}:
        source, _, rest = value.partition(":")
        options = rest.rpartition(":")[2].split(",")
    elif option == "--mount":
        options = value.split(",")
        named = dict(each.partition("=")[::2] for each in options)
        source = named.get("source", named.get("src", ""))
        options = [name for name, text in named.items() if text.lower() != "false"]
    else:
        return None
    return source if source.startswith("/") and _READ_ONLY & {*options} else None


@cache
def _contents(place: str) -> str:
    total, left = hashlib.sha256(), _MOST_BYTES
    files = [Path(place)]
    with suppress(OSError):
        files += files_below(Path(place))
    for file in files:
        with suppress(OSError):
            size = file.stat().st_size if file.is_file() else -1
            left -= max(size, 0)
            inside = file_sha256(file) if size >= 0 and left >= 0 else ""
            total.update(f"{str(file)[len(place) :]}\0{size}\0{inside}\n".encode(errors="replace"))
    return total.hexdigest()[:_SHORT]


def _listed(settings: Mapping[str, Any], name: str) -> list[Any]:
    found = settings.get(name)
    return found if isinstance(found, list) else []


def _settings(env: Mapping[str, str]) -> dict[str, Any]:
    """Return podman's settings that reach builds; a later file wins, as with podman."""
    home = Path(env.get("HOME") or "/nonexistent")
    own = Path(env.get("XDG_CONFIG_HOME") or home / ".config", "containers")
    folders = [Path("/usr/share/containers"), Path("/etc/containers"), own]
    files = [
        file
        for folder in folders
        for file in (folder / "containers.conf", *sorted(folder.glob("containers.conf.d/*.conf")))
    ]
    files = [Path(env["CONTAINERS_CONF"])] if env.get("CONTAINERS_CONF") else files
    files += [Path(env["CONTAINERS_CONF_OVERRIDE"])] if env.get("CONTAINERS_CONF_OVERRIDE") else []
    found: dict[str, Any] = {}
    for file in files:
        with suppress(OSError, ConfigError):  # podman says what is wrong with it
            table = toml_value(read_file(file), where=str(file)).get("containers")
            some = table if isinstance(table, dict) else {}
            found |= {name: some[name] for name in _REACHES_BUILDS if name in some}
    return found
