"""What a build on this host gets of the user's home directory."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

import pytest

from orchestrator.host.network import HostNetwork, base_env
from tests import factories


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("orchestrator.host.index_config._PIP_SYSTEM", Path("/nonexistent"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def env_of(home: Path, **more: str) -> dict[str, str]:
    environ = {"HOME": str(home), "PATH": "/usr/bin", "XDG_CONFIG_DIRS": "/nonexistent", **more}
    host = factories.host(home / "cache", environ=environ, network=HostNetwork.detect(environ))
    scratch = home.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return host.build_env(scratch)


def test_the_home_directory_is_an_empty_one(home: Path) -> None:
    for name in (".pydistutils.cfg", ".gitconfig", ".config/ccache/ccache.conf", ".condarc"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("")
    more = {f"XDG_{name}_HOME": str(home / ".config") for name in ("CONFIG", "DATA", "STATE")}
    env = env_of(home, **more, XDG_RUNTIME_DIR="/run/user/1")

    assert list(Path(env["HOME"]).iterdir()) == []
    assert not {name for name in env if name.startswith("XDG_")} - {
        "XDG_CACHE_HOME",
        "XDG_CONFIG_DIRS",
    }
    assert env["XDG_CACHE_HOME"] == str(home / ".cache"), "downloads are kept"
    assert env["TZ"] == "UTC"
    assert env["GIT_CEILING_DIRECTORIES"] == str(home.parent / "scratch")


def test_credentials_and_rust_are_found(home: Path) -> None:
    assert not {"NETRC", "CARGO_HOME", "RUSTUP_HOME"} & env_of(home).keys()
    (home / ".netrc").write_text("")
    (home / ".cargo").mkdir()
    (home / ".rustup").mkdir()
    env = env_of(home)

    assert env["NETRC"] == str(home / ".netrc")
    assert env["CARGO_HOME"] == str(home / ".cargo")
    assert env["RUSTUP_HOME"] == str(home / ".rustup")
    assert env_of(home, NETRC="/other")["NETRC"] == "/other"


def test_pip_s_configuration_is_what_it_was(home: Path) -> None:
    files = {
        home / ".pip/pip.conf": "[global]\nindex-url = https://old/\ntimeout = 7\n",
        home / ".config/pip/pip.conf": "[global]\nindex-url = https://new/%40\n"
        "find-links =\n    ~/wheels\n    /other\n[install]\nno-binary = x\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True)
        path.write_text(text)
    merged = configparser.RawConfigParser()
    merged.read(env_of(home)["PIP_CONFIG_FILE"])

    assert merged["global"]["index-url"] == "https://new/%40"
    assert merged["global"]["timeout"] == "7"
    assert merged["global"]["find-links"].split() == [str(home / "wheels"), "/other"]
    assert merged["install"]["no-binary"] == "x"


def test_no_configuration_stays_none(home: Path) -> None:
    assert env_of(home, PIP_CONFIG_FILE=os.devnull)["PIP_CONFIG_FILE"] == os.devnull


def test_programs_are_not_looked_for_in_the_source() -> None:
    assert base_env({"PATH": ":.:bin:/usr/bin::/bin"})["PATH"] == "/usr/bin:/bin"
    assert base_env({"PATH": "."})["PATH"] == os.defpath
    assert base_env({})["PATH"] == os.defpath
