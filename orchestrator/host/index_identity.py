"""What decides which packages a build gets: the package index, as far as hosts may differ in it.

URLs count without credentials, and directories of wheels by the names and sizes of their files. How
an index is reached (proxies, certificates, timeouts) does not count.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.fsutil import file_sha256
from orchestrator.host.index_config import PUBLIC_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.host.network import HostNetwork

_DECIDES = re.compile(r"(PIP|UV)_(DEFAULT_INDEX|INDEX|(EXTRA_)?INDEX_URL|INDEX_STRATEGY|NO_INDEX)")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
_SHORT = 16


def describe(network: HostNetwork, *, in_container: bool) -> dict[str, str]:
    """Return the settings that count, for a container or for a program on this host."""
    settings = [*network.index]
    links = {name: [*map(str, places)] for name, places in network.links}
    if not in_container:
        settings += [*network.host_only, *network.uv_here]
        links |= {name: value.split() for name, value in network.host_only if "LINKS" in name}
    found = {name: value.split() for name, value in settings if _DECIDES.fullmatch(name)}
    if not in_container:
        found |= {f"pip.conf {name}": value.split() for name, value in network.pip_rules}
    described = {name: _words(values) for name, values in sorted((found | links).items())}
    return {name: text for name, text in described.items() if text and text != PUBLIC_INDEX}


def _words(values: Iterable[str]) -> str:
    return " ".join(map(_word, values))


def _word(word: str) -> str:
    """Return a URL without credentials, and what is in a file or directory instead of its name."""
    if "://" in word and not word.startswith("file:"):
        return _CREDENTIALS.sub("", word).rstrip("/")
    path = Path(os.path.expanduser(word.removeprefix("file://")))  # noqa: PTH111 - may be no user's
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                rows = sorted(f"{each.name} {each.stat().st_size}" for each in entries)
            return hashlib.sha256("\n".join(rows).encode(errors="surrogateescape")).hexdigest()[
                :_SHORT
            ]
        if path.is_absolute() and path.is_file():
            return file_sha256(path)[:_SHORT]
    except OSError:
        pass
    return word
