"""What the user's own files of pip and uv say about package indexes."""

from __future__ import annotations

import configparser
import io
import json
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

LIMITS = {"constraint": "PIP_CONSTRAINT", "build-constraint": "PIP_BUILD_CONSTRAINT"}
"""Options that name files of versions, so that they count on this host only."""

_UV_VALUES = {
    "constraint": "UV_CONSTRAINT",
    "build-constraint": "UV_BUILD_CONSTRAINT",
    "client-cert": "SSL_CLIENT_CERT",
    "uploaded-prior-to": "UV_EXCLUDE_NEWER",
}
"""Options that uv has a variable for, with the same values, on this host only."""

_UV_FLAGS = {"pre": ("UV_PRERELEASE", "allow"), "require-hashes": ("UV_REQUIRE_HASHES", "1")}
"""Flags that uv has a variable for."""

_UV_FORMATS = {
    "no-binary": ("no-binary", "no-binary-package"),
    "only-binary": ("no-build", "no-build-package"),
}
"""Options that only a file tells uv, and the keys for all packages and for some, of `uv build`."""

_UV_KEYRING = {"auto": "", "disabled": "", "subprocess": "subprocess"}
"""pip's ways to ask a keyring, and uv's; `auto` is none without prompts."""

_IN_ENVIRONMENT = (
    *(_UV_VALUES.keys() | _UV_FLAGS.keys() | _UV_FORMATS.keys()),
    *("keyring-provider", "prefer-binary", "proxy"),
)
"""Options that pip on this host also gets from this process's environment."""

_ALIASES = {"default-timeout": "timeout", "pypi-url": "index-url"}
_FALSE = {"0", "false", "f", "no", "n", "off"}

_PIP_OWN = {
    *("cert", "find-links", "cache-dir", "no-cache-dir", "no-color", "no-input", "progress-bar"),
    *("quiet", "verbose", "disable-pip-version-check", "root-user-action", "log"),
    *("no-python-version", "break-system-packages", "require-virtualenv"),
    *("no-warn-script-location", "no-compile", "debug", "exists-action", "no-clean", "src"),
    *("no-warn-conflicts", "resume-retries", "no-python-version-warning", "use-feature"),
    # Every environment is a new one.
    *("upgrade", "upgrade-strategy", "force-reinstall", "ignore-installed"),
}
"""Further options that are passed on in another way, or change nothing about what is installed."""

_PIP_PASSED_ON = {
    *(_PIP_OWN | PIP_OPTIONS.keys() | _UV_VALUES.keys() | _UV_FLAGS.keys() | _UV_FORMATS.keys())
}

_PIP_REACHES = (_PIP_OWN - {"find-links"}) | {
    *("timeout", "retries", "proxy", "trusted-host", "client-cert", "keyring-provider"),
    # Passed on as variables, and so described with these.
    *("index-url", "extra-index-url", "no-index"),
}
"""Options that say how an index is reached and what is printed."""

_PIP_SECTIONS = ("global", "install")
"""What counts for ``pip install``; the latter wins."""

_PIP_SYSTEM = Path("/etc/pip.conf")
_UV_SYSTEM = Path("/etc/uv/uv.toml")


def pip_config(given: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the options of ``pip install``, and the names of those that nothing passes on.

    The most specific file wins, as with pip, and the environment wins over all of them.
    """
    sections, options = _pip_options(given), dict[str, str]()
    for section in _PIP_SECTIONS:
        options |= {name: value for name, value in sections.get(section, {}).items() if value}
    further = {n for n, value in options.items() if value.lower() not in _FALSE}
    further -= _PIP_PASSED_ON
    if options.get("keyring-provider") in _UV_KEYRING:
        further.discard("keyring-provider")
    return options, tuple(sorted(further))


def uv_variables(options: Mapping[str, str]) -> dict[str, str]:
    """Return uv's variables for what pip's options say to pip on this host only."""
    found = {_UV_VALUES[name]: options[name] for name in _UV_VALUES if name in options}
    found |= dict(pair for name, pair in _UV_FLAGS.items() if is_set(options.get(name, "")))
    keyring = _UV_KEYRING.get(options.get("keyring-provider", ""), "")
    return found | ({"UV_KEYRING_PROVIDER": keyring} if keyring else {})


def uv_file(options: Mapping[str, str]) -> str:
    """Return the uv.toml for what no variable tells uv; empty for nothing."""
    plain, pip = [], []
    for name, (every, some) in _UV_FORMATS.items():
        packages = _formats(options.get(name, ""))
        if not packages:
            continue
        everything = packages == [":all:"]
        # `uv build` reads the keys, `uv pip` the table.
        plain.append(f"{every} = true" if everything else f"{some} = {json.dumps(packages)}")
        pip.append(f"{name} = {json.dumps(packages)}")
    return "\n".join([*plain, "[pip]", *pip, ""]) if pip else ""


def _formats(text: str) -> list[str]:
    """Return the packages that ``no-binary`` names; ``:none:`` forgets those before it."""
    found: list[str] = []
    for word in filter(None, (each.strip() for each in text.split(","))):
        if word == ":all:":
            return [word]
        found = [] if word == ":none:" else [*found, word]
    return found


def is_set(text: str) -> bool:
    """Whether a flag of pip is set."""
    return bool(text) and text.lower() not in _FALSE


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
        section: {_option(n): " ".join((v or "").split()) for n, v in files.items(section)}
        for section in files.sections()
    }


def _option(name: str) -> str:
    plain = name.lower().replace("_", "-")
    return _ALIASES.get(plain, plain)


def _pip_files(given: Mapping[str, str]) -> configparser.RawConfigParser:
    """Return pip's configuration files, and its variables, as one; the most specific counts."""
    merged = configparser.RawConfigParser()
    _read_files(merged, given)
    for option in _IN_ENVIRONMENT:
        value = given.get(f"PIP_{option.upper().replace('-', '_')}", "")
        if not value:
            continue
        for section in merged.sections():  # where it would win
            for name in (option, option.replace("-", "_")):
                merged.remove_option(section, name)
        merged.read_dict({"global": {option: value}})
    return merged


def _read_files(merged: configparser.RawConfigParser, given: Mapping[str, str]) -> None:
    own = given.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:  # pip's documented way to say "no configuration files"
        return
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
