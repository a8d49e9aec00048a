"""How this machine reaches the network, and how its children get to do the same.

A company host often has a private certificate authority, a proxy and its own package index. All
three have to reach pip, uv, curl and git in every build, without being baked into an image and
without a credential in an argument list or a log. So containers get proxies and index settings by
name only (``--env=HTTPS_PROXY``): the engine reads the values from its own environment.
"""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONTAINER_CA = "/etc/orchestrator-ca.pem"
"""Where a container finds the host's CA bundle; no distribution has a file of that name."""

_CA_SETTINGS = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that may name the host's bundle, in order of preference."""

_CA_PATHS = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL and their kin
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS
)

_CA_CONSUMERS = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
)
"""OpenSSL and uv, pip, requests, curl, git: each one reads its own variable."""

_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")

_INDEX = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX_STRATEGY",
    "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT",
    "UV_HTTP_RETRIES",
)

_HOST_ONLY = (
    # Paths, which mean nothing in a container, and what only makes sense together with them.
    "PIP_CONFIG_FILE",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_PROXY",
    "PIP_CLIENT_CERT",
    "PIP_KEYRING_PROVIDER",
    "NETRC",
    "SSL_CERT_DIR",
    "UV_CONFIG_FILE",
    "UV_FIND_LINKS",
    "UV_NO_INDEX",
    "UV_OFFLINE",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_PYPY_INSTALL_MIRROR",
    "UV_PYTHON_DOWNLOADS_JSON_URL",
)

_PIP_OPTIONS = (
    ("index-url", "PIP_INDEX_URL"),
    ("extra-index-url", "PIP_EXTRA_INDEX_URL"),
    ("trusted-host", "PIP_TRUSTED_HOST"),
    ("timeout", "PIP_DEFAULT_TIMEOUT"),
    ("retries", "PIP_RETRIES"),
)
"""What a pip configuration file may say that a container has to know too."""

_PIP_SYSTEM = Path("/etc/pip.conf")

_BASE = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",  # rootless podman asks systemd for a cgroup
    "DOCKER_API_VERSION",
    "DOCKER_CERT_PATH",
    "DOCKER_CONFIG",
    "DOCKER_CONTEXT",
    "DOCKER_HOST",
    "DOCKER_TLS_VERIFY",
    "BUILDAH_ISOLATION",
    "CONTAINERS_CONF",
    "CONTAINERS_CONF_OVERRIDE",
    "CONTAINERS_REGISTRIES_CONF",
    "CONTAINERS_STORAGE_CONF",
    "CONTAINER_CONNECTION",
    "CONTAINER_HOST",
    "CONTAINER_SSHKEY",
    "REGISTRY_AUTH_FILE",
    "SSH_AUTH_SOCK",  # a remote engine is reached through ssh
    "STORAGE_DRIVER",
    "STORAGE_OPTS",
)

_Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostNetwork:
    """What a child needs to reach the network as this process does.

    Values may hold credentials: they are kept out of `repr`, and nobody may log them.

    Attributes:
        ca_bundle: PEM file with the certificate authorities this host trusts, symlinks
            resolved; None where there is none.
        proxies: proxy variables, in the spelling of the host.
        index: package index settings of pip and uv that make sense in a container too.
        host_only: settings for children on this host only.
    """

    ca_bundle: Path | None = None
    proxies: _Pairs = field(default=(), repr=False)
    index: _Pairs = field(default=(), repr=False)
    host_only: _Pairs = field(default=(), repr=False)

    @classmethod
    def detect(cls, environ: Mapping[str, str]) -> HostNetwork:
        """Read the settings out of an environment, pip's configuration files and this host.

        Args:
            environ: usually `os.environ`; empty values count as unset, because an empty value
                that is passed on would erase what a container sets itself.
        """
        given = {name: value for name, value in environ.items() if value.strip()}
        pip = _pip_config(given)
        candidates = [given[name] for name in _CA_SETTINGS if name in given]
        wanted = {variable: pip[option] for option, variable in _PIP_OPTIONS if option in pip}
        wanted |= {name: given[name] for name in _INDEX if name in given}
        index = {name: value for name, value in wanted.items() if "file:" not in value}
        spellings = [spelling for name in _PROXIES for spelling in (name, name.upper())]
        return cls(
            ca_bundle=_first_file((*candidates, pip.get("cert", ""), *_CA_PATHS)),
            proxies=_pick(given, spellings),
            index=tuple(index.items()),
            # An index in a directory of this host is no use in a container.
            host_only=(
                *_pick(given, _HOST_ONLY),
                *((name, value) for name, value in wanted.items() if name not in index),
            ),
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
        args += [f"--env={name}={value}" for name, value in _QUIET.items()]
        args += [f"--env={name}" for name in self.container_client_env()]
        return tuple(args)

    def container_client_env(self) -> dict[str, str]:
        """Return what the engine's client has to have in its environment for `container_args`."""
        return dict(self.proxies + self.index)


_QUIET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
"""No question that nobody could answer, no request for pip's own news."""


def base_env(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of an environment that any child on this host may see.

    Everything else stays outside, so that a CFLAGS, CIBW_*, PYTHONPATH or GITHUB_* of this
    machine can neither change a wheel nor leak into a log.

    Args:
        environ: usually `os.environ`.
    """
    env = {name: environ[name] for name in _BASE if environ.get(name)}
    env.setdefault("PATH", os.defpath)
    return env | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


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


def _pip_config(given: Mapping[str, str]) -> dict[str, str]:
    """Return pip's [global] options, the most specific file last, as pip itself merges them."""
    own = given.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:  # pip's documented way to say "no configuration files"
        return {}
    home = Path(given.get("HOME", "/nonexistent"))
    config_dirs = given.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    files = [Path(folder, "pip", "pip.conf") for folder in reversed(config_dirs) if folder]
    files += [
        _PIP_SYSTEM,
        home / ".pip" / "pip.conf",
        Path(given.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf"),
    ]
    if own:
        files.append(Path(own))
    options: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeError):
            continue  # pip will say what is wrong with it
        if parser.has_section("global"):
            # Several values stand on lines of their own; variables separate them by blanks.
            options |= {
                name.replace("_", "-"): " ".join(value.split())
                for name, value in parser.items("global")
                if value
            }
    return options
