"""Native gcc for a foreign architecture: what is asked of apt, and what is said without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.provision.cross_gcc import ImageCompiler, provide
from tests.factories import host, program

APT = """\
echo "$@" >> {log}
case "$*" in
*--simulate*) cat <<'EOF'
Inst libc6 (2.36-9 Debian:12/oldstable [amd64])
Inst libc6-dev-arm64-cross (2.36-8cross1 Debian:12/oldstable [all])
Inst g++-12-aarch64-linux-gnu (12.2.0-14cross1 Debian:12/oldstable [amd64])
EOF
;;
*download*) echo "E: no network" >&2; exit 100 ;;
esac
"""


def provided(tmp_path: Path, path: str) -> EnvironmentProblemError:
    with pytest.raises(EnvironmentProblemError) as refused:
        provide(
            ImageCompiler(triplet="aarch64-linux-gnu", major="12"),
            host(tmp_path / "cache", environ={"PATH": path}),
            say=lambda _line: None,
        )
    assert not any(each.is_dir() for each in (tmp_path / "cache/cross-gcc").iterdir())
    return refused.value


@pytest.mark.parametrize(
    ("triplet", "package"),
    [
        ("aarch64-linux-gnu", "g++-14-aarch64-linux-gnu"),
        ("x86_64-linux-gnu", "g++-14-x86-64-linux-gnu"),
        ("arm-linux-gnueabihf", "g++-14-arm-linux-gnueabihf"),
    ],
)
def test_a_package_has_the_name_that_debian_gives_it(triplet: str, package: str) -> None:
    assert ImageCompiler(triplet=triplet, major="14").package == package


def test_a_host_without_apt_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    problem = provided(tmp_path, str(tmp_path))

    assert problem.what.startswith("no g++-12-aarch64-linux-gnu to compile with (apt-get: ")
    assert 'build.emulation = "full"' in problem.hint


def test_only_what_runs_on_this_machine_is_fetched_and_nothing_is_left_of_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, tools = tmp_path / "log", tmp_path / "bin"
    program(tools / "apt-get", APT.format(log=log))
    path = f"{tools}:{os.defpath}"
    monkeypatch.setenv("PATH", path)

    problem = provided(tmp_path, path)

    assert "E: no network" in problem.what
    asked = log.read_text().splitlines()
    assert asked[-1].endswith("download libc6=2.36-9 g++-12-aarch64-linux-gnu=12.2.0-14cross1")
    assert not [line for line in asked if "-oDir::State::status=" not in line], "as if bare"
