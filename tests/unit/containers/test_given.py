"""What containers get from this host counts: variables, what is mounted, podman's settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.containers import given
from orchestrator.containers.given import given_to_containers


@pytest.fixture(autouse=True)
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with two files; the home directory is empty, and each look a new one."""
    (tmp_path / "home").mkdir()
    folder = tmp_path / "sdk"
    (folder / "lib").mkdir(parents=True)
    (folder / "a.h").write_text("1")
    (folder / "lib/b.a").write_text("2")
    monkeypatch.setattr(given, "_contents", given._contents.__wrapped__)
    return folder


def asked(tmp_path: Path, *arguments: str, **env: str) -> dict[str, str]:
    return given_to_containers(arguments, {"HOME": str(tmp_path / "home"), **env})


MOUNTS = {
    "volume": "--volume={}:/sdk:ro",
    "-v": "-v{}:/sdk:z,ro",
    "mount": "--mount=type=bind,source={},target=/sdk,readonly",
    "src": "--mount=type=bind,src={},dst=/sdk,ro=true",
}
CHANGES: dict[str, Callable[[Path], object]] = {
    "contents": lambda sdk: (sdk / "lib/b.a").write_text("3"),
    "new": lambda sdk: (sdk / "lib/c.a").write_text(""),
    "gone": lambda sdk: (sdk / "a.h").unlink(),
    "renamed": lambda sdk: (sdk / "a.h").rename(sdk / "c.h"),
}


@pytest.mark.parametrize("argument", MOUNTS.values(), ids=MOUNTS.keys())
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_what_is_mounted_to_be_read_counts_by_its_contents(
    tmp_path: Path, sdk: Path, argument: str, change: Callable[[Path], object]
) -> None:
    before = asked(tmp_path, argument.format(sdk))
    assert before.keys() == {str(sdk)}
    assert asked(tmp_path, *argument.format(sdk).split("=", 1)) == before or argument[:2] == "-v"
    change(sdk)
    assert asked(tmp_path, argument.format(sdk)) != before


@pytest.mark.parametrize(
    "argument",
    [
        "-v{}:/cache",
        "--volume={}:/cache:rw",
        "--mount=type=bind,src={},dst=/x,ro=false",
        "-vname:/x:ro",
    ],
)
def test_what_builds_may_write_into_does_not(tmp_path: Path, sdk: Path, argument: str) -> None:
    assert asked(tmp_path, argument.format(sdk)) == {}


def test_a_large_directory_counts_by_its_sizes(
    tmp_path: Path, sdk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "_MOST_BYTES", 1)
    before = asked(tmp_path, f"-v{sdk}:/sdk:ro")
    (sdk / "lib/b.a").write_text("3")
    assert asked(tmp_path, f"-v{sdk}:/sdk:ro") == before
    (sdk / "lib/b.a").write_text("33")
    assert asked(tmp_path, f"-v{sdk}:/sdk:ro") != before


def test_variables_and_files_count(tmp_path: Path, sdk: Path) -> None:
    words = ("--env=A", "-eB", "--env-file", str(sdk / "a.h"))
    before = asked(tmp_path, *words, A="1", B="2")
    assert before.keys() == {"A", "B", str(sdk / "a.h")}
    assert "1" not in before.values()
    assert asked(tmp_path, *words, A="2", B="2")["B"] == before["B"]
    assert asked(tmp_path, *words, A="2", B="2")["A"] != before["A"]


SETTING = {
    "env": 'env = ["CFLAGS=-O0"]',
    "env_host": "env_host = true",
    "volumes": 'volumes = ["SDK:/sdk:ro"]',
    "mounts": 'mounts = ["type=bind,src=SDK,dst=/sdk,ro"]',
    "umask": 'umask = "0077"',
    "tz": 'tz = "local"',
}


@pytest.mark.parametrize("place", ["containers.conf", "containers.conf.d/a.conf"])
@pytest.mark.parametrize("setting", SETTING.values(), ids=SETTING.keys())
def test_settings_of_podman_count(tmp_path: Path, sdk: Path, setting: str, place: str) -> None:
    file = tmp_path / "home/.config/containers" / place
    file.parent.mkdir(parents=True)
    file.write_text('[engine]\nruntime = "runc"\n[containers]\nlog_driver = "none"\n')
    assert asked(tmp_path) == {}
    file.write_text(f"[containers]\n{setting.replace('SDK', str(sdk))}\n")
    before = asked(tmp_path)
    assert "containers.conf" in before
    assert (str(sdk) in before) == ("SDK" in setting)
    assert asked(tmp_path, CONTAINERS_CONF="/dev/null") == {}
    assert (
        asked(tmp_path, CONTAINERS_CONF="/dev/null", CONTAINERS_CONF_OVERRIDE=str(file)) == before
    )


@pytest.mark.parametrize("text", ["[containers", "containers = 1", '[containers]\nvolumes = "x"'])
def test_settings_that_podman_refuses_are_no_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "home/.config/containers/containers.conf"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    asked(tmp_path)
