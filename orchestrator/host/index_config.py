"""What the user's own files of pip and uv say about package indexes."""

from __future__ import annotations

import configparser
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.fsutil import read_file
from orchestrator.models.reading import toml_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PUBLIC_INDEX = "https://pypi.org/simple"
"""The index of pip and uv where nothing else is said."""

PIP_OPTIONS = {
    "index-url": "PIP_INDEX_URL",
    "extra-index-url": "PIP_EXTRA_INDEX_URL",
    "trusted-host": "PIP_TRUSTED_HOST",
    "timeout": "PIP_DEFAULT_TIMEOUT",
    "retries": "PIP_RETRIES",
    "proxy": "PIP_PROXY",
    "no-index": "PIP_NO_INDEX",
}
"""Options of pip's files that a container has to know too, and their variables."""

UV_HERE = {"constraint": "UV_CONSTRAINT", "build-constraint": "UV_BUILD_CONSTRAINT"}
"""Options of pip's files that uv has a variable for; they name files, so only on this host."""

_PIP_OWN = {
    *("cert", "find-links", "cache-dir", "no-cache-dir", "no-color", "no-input", "progress-bar"),
    *("quiet", "verbose", "disable-pip-version-check", "root-user-action", "log"),
    *("no-python-version", "break-system-packages", "require-virtualenv"),
    *("no-warn-script-location", "no-compile"),
}
"""Further options that are passed on in another way, or change nothing about what is installed."""

_PIP_PASSED_ON = _PIP_OWN | PIP_OPTIONS.keys() | UV_HERE.keys()

_PIP_REACHES = (_PIP_OWN - {"find-links"}) | {
    *("timeout", "retries", "proxy", "trusted-host", "client-cert", "keyring-provider"),
    # Passed on as variables, and so described with these.
    *("index-url", "extra-index-url", "no-index"),
}
"""Options that say how an index is reached and what is printed."""

_PIP_SECTIONS = ("global", "install", "wheel", "download")
_PIP_SYSTEM = Path("/etc/pip.conf")
_UV_SYSTEM = Path("/etc/uv/uv.toml")


def pip_config(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return pip's options, and the names of those in any section that nothing passes on.

    The most specific file wins, as with pip. Options count in [global]; those that constrain
    versions also count in [install], which wins.
    """
    found = {
        section: {name: value for name, value in values.items() if value}
        for section, values in _pip_options(given).items()
        if section in _PIP_SECTIONS
    }
    install = found.get("install", {})
    options = found.get("global", {}) | {name: install[name] for name in UV_HERE if name in install}
    further = {name for values in found.values() for name in values} - _PIP_PASSED_ON
    return options, tuple(sorted(further))


def merged_pip_config(given: Mapping[str, str]) -> str:
    """Return pip's configuration files as one, which means the same in another home directory."""
    merged, home = _pip_files(given), given.get("HOME", "")
    for section in merged.sections():
        for name, value in merged.items(section):
            words = (value or "").split("\n")
            own = [re.sub(r"^~(?=/)", home, word.strip()) if home else word for word in words]
            merged.set(section, name, "\n".join(own))
    text = io.StringIO()
    merged.write(text)
    return text.getvalue()


def pip_rules(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the options of pip's files that decide which packages it takes: ``install.pre``."""
    return tuple(
        sorted(
            (f"{section}.{option}", value)
            for section, values in _pip_options(given).items()
            for option, value in values.items()
            if option not in _PIP_REACHES
        )
    )


def _pip_options(given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return section -> option -> value; a value of several lines becomes one line."""
    files = _pip_files(given)
    return {
        section: {n.replace("_", "-"): " ".join((v or "").split()) for n, v in files.items(section)}
        for section in files.sections()
    }


def _pip_files(given: Mapping[str, str]) -> configparser.RawConfigParser:
    """Return pip's configuration files as one; what the most specific file says counts."""
    merged = configparser.RawConfigParser()
    own = given.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:  # pip's documented way to say "no configuration files"
        return merged
    home = Path(given.get("HOME", "/nonexistent"))
    config_dirs = given.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    files = [Path(folder, "pip", "pip.conf") for folder in reversed(config_dirs) if folder]
    user = Path(given.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    files += [_PIP_SYSTEM, home / ".pip" / "pip.conf", user, *([Path(own)] if own else [])]
    for file in files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeError):
            continue  # pip will say what is wrong with it
        merged.read_dict(parser)
    return merged


def uv_config(given: Mapping[str, str]) -> dict[str, str]:
    """Return uv's variables for the indexes in its files; the user's file wins, as with uv."""
    home = Path(given.get("HOME", "/nonexistent"))
    user = Path(given.get("XDG_CONFIG_HOME") or home / ".config", "uv", "uv.toml")
    own = given.get("UV_CONFIG_FILE", "")
    variables: dict[str, str] = {}
    for file in () if given.get("UV_NO_CONFIG") else [Path(own)] if own else [_UV_SYSTEM, user]:
        try:
            options = toml_value(read_file(file), where=str(file))
        except (OSError, ConfigError):
            continue  # uv will say what is wrong with it
        variables |= dict(_uv_indexes(options))
    return variables


def _uv_indexes(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Translate the tables of uv.toml into uv's variables."""
    others = []
    for index in options.get("index", ()):
        if not isinstance(index, dict):
            continue
        url, name = str(index.get("url", "")), index.get("name")
        if index.get("default"):
            yield "UV_DEFAULT_INDEX", url
        elif not index.get("explicit"):
            others.append(f"{name}={url}" if name else url)
    if others:
        yield "UV_INDEX", " ".join(others)
    for key in ("index-url", "index-strategy"):
        if isinstance(options.get(key), str):
            yield f"UV_{key.upper().replace('-', '_')}", options[key]
    if extra := options.get("extra-index-url"):
        yield "UV_EXTRA_INDEX_URL", " ".join(map(str, extra))
