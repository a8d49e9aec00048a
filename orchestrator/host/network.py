"""How this machine and the programs that it starts reach the network.

A company host often has a private certificate authority, a proxy and its own package index. pip,
uv, curl and git need all three in every build, but neither an image nor an argument list nor a log
may contain them. So containers get proxies and index settings by
name only (``--env=HTTPS_PROXY``): the engine reads the values from its own environment. Nothing of
this is part of a build request; which index it is counts for where a result is stored
(`orchestrator.host.index_identity`).
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.host.index_config import (
    LIMITS,
    PIP_OPTIONS,
    is_set,
    pip_config,
    pip_rules,
    uv_config,
    uv_file,
    uv_variables,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

CONTAINER_CA = "/etc/orchestrator-ca.pem"
"""Where a container finds the host's CA bundle; no distribution has a file of that name."""

CONTAINER_LINKS = "/opt/orchestrator-links"
"""Where a container finds the host's directories of wheels, by number."""

CA_SETTINGS = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that may name the host's bundle, in order of preference."""

_CA_PATHS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL and their kin
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)

_CA_CONSUMERS = (
    *("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"),
    *("CARGO_HTTP_CAINFO", "NODE_EXTRA_CA_CERTS"),
)
"""OpenSSL and uv, pip, requests, curl, git, cargo, node: each one reads its own variable."""

_PROXIED = ("http_proxy", "https_proxy", "all_proxy")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

_INDEX = (
    *("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT"),
    *("PIP_RETRIES", "PIP_PROXY", "PIP_NO_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL"),
    *("UV_EXTRA_INDEX_URL", "UV_INDEX_STRATEGY", "UV_INSECURE_HOST", "UV_HTTP_TIMEOUT"),
    *("UV_HTTP_RETRIES", "UV_NO_INDEX", "UV_OFFLINE"),
)

_IN_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_DEFAULT_TIMEOUT": "UV_HTTP_TIMEOUT",
    "PIP_RETRIES": "UV_HTTP_RETRIES",
}
"""pip's settings, and uv's for the same; both separate several values by blanks."""

NO_INDEX = "file:///nonexistent/no-index"
"""The index of a uv that has to ask none, for which it has an option and no variable."""

_UV_WITHOUT_INDEX = {
    "UV_DEFAULT_INDEX": NO_INDEX,
    **dict.fromkeys(("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"), ""),
}

UV_AS_PIP = {
    # pip reads neither uv's files nor [tool.uv], and takes the best version of all indexes.
    "UV_NO_CONFIG": "1",
    "UV_NO_SOURCES": "1",
    "UV_INDEX_STRATEGY": "unsafe-best-match",
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_NO_PROGRESS": "1",
}
"""Variables with which uv stands in for pip."""

_INDEX_LOGIN = re.compile(r"UV_INDEX_\w+_(USERNAME|PASSWORD)")
"""How uv is told the credentials of an index that has a name."""

_HOST_ONLY = (
    # Paths, which mean nothing in a container, and what only makes sense together with them.
    *("PIP_CONFIG_FILE", "PIP_FIND_LINKS", "PIP_CLIENT_CERT", "PIP_KEYRING_PROVIDER", "NETRC"),
    *("SSL_CERT_DIR", "UV_CONFIG_FILE", "UV_FIND_LINKS", "UV_PYTHON_INSTALL_MIRROR"),
    *("UV_PYPY_INSTALL_MIRROR", "UV_PYTHON_DOWNLOADS_JSON_URL"),
)

_BASE = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_DIRS"),
    *("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"),
    "DBUS_SESSION_BUS_ADDRESS",  # rootless podman asks systemd for a cgroup
    *("DOCKER_API_VERSION", "DOCKER_CERT_PATH", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_HOST"),
    *("DOCKER_TLS_VERIFY", "BUILDAH_ISOLATION", "CONTAINERS_CONF", "CONTAINERS_CONF_OVERRIDE"),
    *("CONTAINERS_REGISTRIES_CONF", "CONTAINERS_STORAGE_CONF", "CONTAINER_CONNECTION"),
    *("CONTAINER_HOST", "CONTAINER_SSHKEY", "REGISTRY_AUTH_FILE"),
    "SSH_AUTH_SOCK",  # a remote engine is reached through ssh
    *("STORAGE_DRIVER", "STORAGE_OPTS"),
)

_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loopback:
    """A service of this very machine that children are told to use.

    Attributes:
        variable: what names it (``HTTPS_PROXY``).
        host: its address, one that means another machine inside a container.
        port: its TCP port.
    """

    variable: str
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetwork:
    """What a child needs to reach the network as this process does.

    Values may hold credentials: they are kept out of `repr`, and nobody may log them.

    Attributes:
        ca_bundle: PEM file with the certificate authorities this host trusts, symlinks
            resolved; None if there is none.
        proxies: proxy variables, each in lower and in upper case.
        index: package index settings of pip and uv that make sense in a container too.
        links: (variable, where pip or uv find wheels), for containers: directories of this
            host, and addresses without credentials.
        host_only: settings for children on this host only.
        limits: pip's variables that name files of versions on this host.
        uv_here: uv's variables for what pip is told on this host only.
        uv_file: the uv.toml for what no variable tells uv; empty for none.
        proxy: the proxy that only pip and uv on this host use; empty for none.
        pip_files: further options of pip, which uv does not have.
        pip_rules: the options of pip that decide which packages it takes.
    """

    ca_bundle: Path | None = None
    proxies: _Pairs = field(default=(), repr=False)
    index: _Pairs = field(default=(), repr=False)
    links: tuple[tuple[str, tuple[Path | str, ...]], ...] = ()
    host_only: _Pairs = field(default=(), repr=False)
    limits: _Pairs = ()
    uv_here: _Pairs = ()
    uv_file: str = ""
    proxy: str = field(default="", repr=False)
    pip_files: tuple[str, ...] = ()
    pip_rules: _Pairs = field(default=(), repr=False)

    @classmethod
    def detect(cls, environ: Mapping[str, str]) -> HostNetwork:
        """Read the settings out of an environment, of pip's and uv's files, and of this host.

        Empty values count as unset: passed on, they would erase what a container sets itself.
        """
        given = {name: value for name, value in environ.items() if value.strip()}
        if "PIP_TIMEOUT" in given:  # pip's other name for it
            given.setdefault("PIP_DEFAULT_TIMEOUT", given["PIP_TIMEOUT"])
        pip, further = pip_config(given)
        candidates = [given[name] for name in CA_SETTINGS if name in given]
        wanted = {
            variable: pip[option] for option, variable in PIP_OPTIONS.items() if option in pip
        }
        wanted |= uv_config(given)
        wanted |= {name: given[name] for name in _INDEX if name in given}
        wanted |= {name: given[name] for name in given if _INDEX_LOGIN.fullmatch(name)}
        index = {name: value for name, value in wanted.items() if "file:" not in value}
        links = {
            "PIP_FIND_LINKS": given.get("PIP_FIND_LINKS", pip.get("find-links", "")).split(),
            "UV_FIND_LINKS": given.get("UV_FIND_LINKS", "").split(","),
        }
        return cls(
            ca_bundle=_first_file((*candidates, pip.get("cert", ""), *_CA_PATHS)),
            proxies=tuple(_both_cases(given)),
            index=tuple(index.items()),
            links=tuple(
                (name, places) for name, each in links.items() if (places := _places(each))
            ),
            # An index in a directory of this host is useless in a container.
            host_only=(
                *_pick(given, _HOST_ONLY),
                *((name, value) for name, value in wanted.items() if name not in index),
            ),
            limits=tuple((LIMITS[name], pip[name]) for name in LIMITS if name in pip),
            uv_here=tuple(uv_variables(pip).items()),
            uv_file=uv_file(pip),
            proxy=pip.get("proxy", ""),
            pip_files=further,
            pip_rules=pip_rules(given),
        )

    def child_env(self) -> dict[str, str]:
        """Return the variables for a program on this host, to be added to `base_env`."""
        env = dict(self.proxies + self.index + self.host_only)
        if self.ca_bundle is not None:
            env |= dict.fromkeys(_CA_CONSUMERS, str(self.ca_bundle))
        # uv brings its own list of authorities, and uses the system's when told to.
        env["UV_SYSTEM_CERTS"] = "1"
        return env | _QUIET

    def container_args(self) -> tuple[str, ...]:
        """Return the options for an engine's `create`: the CA bundle, and names of variables."""
        args: list[str] = []
        if self.ca_bundle is not None:
            args.append(f"--volume={self.ca_bundle}:{CONTAINER_CA}:ro")
            args += [f"--env={name}={CONTAINER_CA}" for name in _CA_CONSUMERS]
        # The directories of wheels, and where pip and uv find them then.
        args += [f"--volume={folder}:{place}:ro" for folder, place in self._mounted().items()]
        for name, places in self._inside().items():
            args.append(f"--env={name}={(',' if name.startswith('UV_') else ' ').join(places)}")
        args += [f"--env={name}={value}" for name, value in _QUIET.items()]
        args += [f"--env={name}" for name in self.container_client_env()]
        return tuple(args)

    def _mounted(self) -> dict[Path, str]:
        """Directory of wheels on this host -> where a container has it."""
        places = (each for _, places in self.links for each in places if isinstance(each, Path))
        return {
            folder: f"{CONTAINER_LINKS}/{number}"
            for number, folder in enumerate(dict.fromkeys(places))
        }

    def _inside(self) -> dict[str, tuple[str, ...]]:
        """The variable of each tool -> where a container finds wheels."""
        there = self._mounted()
        return {
            name: tuple(there[each] if isinstance(each, Path) else each for each in wanted)
            for name, wanted in self.links
        }

    @property
    def pip_names(self) -> frozenset[str]:
        """The variables that pass pip's settings to containers."""
        given = (name for name, _ in (*self.index, *self.links))
        return frozenset(name for name in given if name.startswith("PIP_"))

    @property
    def only_pip(self) -> tuple[str, ...]:
        """Those of them that uv does not have."""
        return tuple(sorted(self.pip_names - {"PIP_FIND_LINKS", "PIP_NO_INDEX", *_IN_UV}))

    @property
    def only_pip_here(self) -> tuple[str, ...]:
        """Settings of pip on this host that uv does not have."""
        return self.pip_files

    def uv_like_pip(self) -> tuple[_Pairs, _Pairs]:
        """Return plain and private variables that make uv in a container look where pip looks.

        uv's own settings for the same are replaced: it stands in for pip.
        """
        links = self._inside().get("PIP_FIND_LINKS", ())
        return _uv_links(links), _uv_index(self.index)

    def uv_like_pip_here(self) -> tuple[_Pairs, _Pairs]:
        """Return the same for a program on this host."""
        links = map(str, dict(self.links).get("PIP_FIND_LINKS", ()))
        proxies = (each for name in _PROXIED for each in (name, name.upper()))
        private = dict.fromkeys(proxies, self.proxy) if self.proxy else {}
        index = _uv_index(self.index + self.host_only)
        return (*_uv_links(links), *self.uv_here), (*index, *private.items())

    def container_client_env(self) -> dict[str, str]:
        """Return what the engine's client has to have in its environment for `container_args`."""
        return dict(self.proxies + self.index)

    def loopbacks(self) -> tuple[Loopback, ...]:
        """Return the proxies and indexes that run on this host, each address once.

        A container has a loopback address of its own: unless it shares the host's network, it
        finds nothing there.
        """
        found: dict[tuple[str, int], Loopback] = {}
        for name, value in self.proxies + self.index:
            if name.lower() == "no_proxy":
                continue
            for word in value.replace(",", " ").split():
                place = _loopback(name, word)
                if place is not None:
                    found.setdefault((place.host, place.port), place)
        return tuple(found.values())


def _uv_links(places: Iterable[str]) -> _Pairs:
    found = ",".join(places)
    return (("UV_FIND_LINKS", found),) if found else ()


def _uv_index(settings: _Pairs) -> _Pairs:
    if is_set(dict(settings).get("PIP_NO_INDEX", "")):
        settings = tuple(pair for pair in settings if "INDEX" not in pair[0])
        return (*_uv_index(settings), *_UV_WITHOUT_INDEX.items())
    return tuple((_IN_UV[name], _uv_value(name, v)) for name, v in settings if name in _IN_UV)


def _uv_value(name: str, value: str) -> str:
    """Return what uv takes for a value of pip: whole seconds, and no fewer."""
    if name != "PIP_DEFAULT_TIMEOUT":
        return value
    try:
        return str(math.ceil(float(value)))
    except (ValueError, OverflowError):
        return value  # both say what is wrong with it


_QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
"""No prompts, and no check for a newer pip."""


def base_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that every child on this host may see.

    Everything else stays outside, so that a CFLAGS, CIBW_*, PYTHONPATH or GITHUB_* of this machine
    can neither change a wheel nor leak into a log.
    """
    env = {name: environ[name] for name in _BASE if environ.get(name)}
    # What is relative would be looked for in the source.
    folders = environ.get("PATH", "").split(os.pathsep)
    env["PATH"] = os.pathsep.join(filter(os.path.isabs, folders)) or os.defpath
    return env | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def _both_cases(given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return the proxies in both spellings: curl reads one in lower case only, others the other."""
    for name in _PROXIES:
        spellings = (name, name.upper())
        values = [given[each] for each in spellings if each in given]
        if values:
            yield from ((each, given.get(each, values[0])) for each in spellings)


def _places(entries: Iterable[str]) -> tuple[Path | str, ...]:
    """Return what a container can use of find-links: directories that exist, plain addresses."""
    found: list[Path | str] = []
    for entry in entries:
        try:
            parts = urlsplit(entry)
        except ValueError:  # pip says what is wrong with it
            continue
        if parts.scheme in {"http", "https"}:
            found += [] if parts.username else [entry]
            continue
        path = Path(unquote(parts.path) if parts.scheme == "file" else entry).expanduser()
        # A colon would end the path in the engine's --volume.
        if entry and path.is_dir() and ":" not in str(path):
            found.append(path.resolve())
    return tuple(found)


_HERE = re.compile(r"localhost|::1|0\.0\.0\.0|127(\.\d+){3}")


def _loopback(variable: str, word: str) -> Loopback | None:
    # UV_INDEX has `name=https://...`; a proxy may be given without its scheme.
    address = re.sub(r"^[\w-]+=", "", word)
    url = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if not _HERE.fullmatch(host):
        return None
    default = 443 if parts.scheme.endswith("https") else 80
    return Loopback(variable=variable, host=host, port=port or default)


def _pick(given: Mapping[str, str], names: Iterable[str]) -> _Pairs:
    return tuple((name, given[name]) for name in names if name in given)


def _first_file(candidates: Iterable[str]) -> Path | None:
    for candidate in candidates:
        path = Path(candidate).expanduser() if candidate else None
        try:
            if path is not None and path.is_file() and path.stat().st_size > 0:
                # The real file: what a link points to may not exist inside a container.
                return path.resolve()
        except OSError:
            continue
    return None
