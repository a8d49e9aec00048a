"""A machine whose pip.conf says what companies' do: uv does all that it does elsewhere.

The toolchain is made, the environment of a build is resolved and installed, and a wheel is built.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.host.network import HostNetwork
from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import TAG, Said, log_of, orchestrator, ran
from tests.factories import project_file, write_files
from tests.packages import Indexes

pytestmark = pytest.mark.index

SETUP = f"""\
import json, setuptools, limited, linked, further
versions = {{each.__name__: each.version for each in (limited, linked, further)}}
print("FOUND " + json.dumps({{**versions, "setuptools": setuptools.__version__}}))
{project_file("direct/setup.py")}"""

PYPROJECT = """\
[build-system]
requires = ["setuptools", "limited", "linked", "further"]
build-backend = "setuptools.build_meta"
"""

MATRIX = f"""\
[project]
source = "source"
[axes]
python = ["{TAG}"]
arch = ["x86_64"]
kind = ["a"]
[version]
base = "1.0"
local = "{{kind}}"
on-mismatch = "rewrite"
[env]
KIND = "{{kind}}"
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A project on a machine with a pip.conf."""

    root: Path
    stock: Indexes

    def configure(self, more: str = "") -> dict[str, str]:
        """Write pip.conf; return the variables that have it count, alone."""
        known = HostNetwork.detect(os.environ)
        (self.root / "limits.txt").write_text("limited<2\nsetuptools<81\npackaging<20\nuv<0.2\n")
        (self.root / "pip.conf").write_text(
            f"[global]\nindex-url = {PUBLIC_INDEX}\n"
            f"constraint = {self.root / 'limits.txt'}\n"
            f"extra-index-url = {self.stock.url('own')}\n    {self.stock.url('public')}\n"
            f"find-links = {self.stock.root / 'links'}\n"
            f"trusted-host = 127.0.0.1\ntimeout = 61.5\nretries = 7\n"
            f"{f'cert = {known.ca_bundle}' if known.ca_bundle else ''}\n{more}"
        )
        others = {name: "" for name in os.environ if name.startswith(("PIP_", "UV_"))}
        return {**others, "PIP_CONFIG_FILE": str(self.root / "pip.conf")}

    def build(self, env: dict[str, str], code: int = 0) -> Said:
        cache = {"ORCHESTRATOR_CACHE_DIR": str(self.root / "cache")}
        command = ("build", "--backend=direct", "--no-cache")
        return orchestrator(*command, cwd=self.root, env={**env, **cache}, code=code)

    def log(self) -> str:
        return log_of(self.root, f"{TAG}-manylinux_x86_64-a")

    def found(self) -> dict[str, str]:
        lines = [line.partition("FOUND ")[2] for line in self.log().splitlines()]
        found: dict[str, str] = json.loads([line for line in lines if line][-1])
        return found


@pytest.fixture
def machine(tmp_path: Path, stock: Indexes) -> Machine:
    stock.add("own", "limited", "1.0")
    stock.add("own", "limited", "2.0")
    stock.add("public", "further", "1.0")
    stock.add("public", "further", "1.1.dev1")
    stock.add("links", "linked", "1.0")
    files = {"source/setup.py": SETUP, "source/pyproject.toml": PYPROJECT, "matrix.toml": MATRIX}
    write_files(tmp_path, files)
    (tmp_path / "cache").mkdir()
    return Machine(root=tmp_path, stock=stock)


def share_toolchain(machine: Machine) -> None:
    (machine.root / "cache/toolchain").symlink_to(default_cache_dir(os.environ) / "toolchain")


def test_from_nothing(machine: Machine) -> None:
    """The constraints contradict the toolchain's lock: it names its versions itself."""
    said = machine.build(machine.configure())

    log = machine.log()
    assert "prepared for " in log, "uv resolves and installs what the build requires"
    assert "uv does not know" not in log + said.all
    found = machine.found()
    assert int(found.pop("setuptools").split(".")[0]) < 81
    assert found == {"limited": "1.0", "linked": "1.0", "further": "1.0"}
    assert (machine.root / "cache/environments").is_dir()


@pytest.mark.parametrize(
    ("more", "further"),
    [("pre = true\n", "1.1.dev1"), ("only-binary = :all:\n", "1.0"), ("no-binary = six\n", "1.0")],
)
def test_what_decides_which_packages_are_taken(machine: Machine, more: str, further: str) -> None:
    share_toolchain(machine)

    machine.build(machine.configure(more))

    assert "prepared for " in machine.log()
    assert machine.found()["further"] == further


def test_what_uv_does_not_have_keeps_pip_and_is_said_once(machine: Machine) -> None:
    share_toolchain(machine)
    text = (machine.root / "matrix.toml").read_text().replace('["a"]', '["a", "b"]')
    (machine.root / "matrix.toml").write_text(text)

    said = machine.build(machine.configure("prefer-binary = true\n"))

    assert "prepared for " not in machine.log()
    assert machine.found()["limited"] == "1.0"
    assert said.stderr.count("uv does not know prefer-binary") == 1


def test_no_index_means_none_to_uv_too(machine: Machine) -> None:
    share_toolchain(machine)

    machine.build(machine.configure("no-index = true\n"), code=1)

    assert "not found" in machine.log()
    assert not machine.stock.server.wheels(), "nobody asked"


def test_the_locked_uv_has_all_the_variables(machine: Machine, tools: Toolchain) -> None:
    """What uv does not read it does not complain about either: each is given a wrong value."""
    wrong = {
        "UV_HTTP_TIMEOUT": "x",
        "UV_HTTP_RETRIES": "x",
        "UV_PRERELEASE": "x",
        "UV_REQUIRE_HASHES": "x",
        "UV_KEYRING_PROVIDER": "x",
        "UV_EXCLUDE_NEWER": "x",
        "UV_CONSTRAINT": "/nonexistent",
        "UV_BUILD_CONSTRAINT": "/nonexistent",
        "UV_DEFAULT_INDEX": "https://[",
        "UV_INDEX": "https://[",
        "UV_INSECURE_HOST": "a b:c",
        "UV_CONFIG_FILE": "/nonexistent",
    }
    for name, value in wrong.items():
        env = {"PATH": os.defpath, "HOME": str(machine.root), name: value}
        words = ("pip", "install", "--dry-run", "--offline", "--target=there", "six")
        said = ran(tools.bin / "uv", *words, cwd=machine.root, env=env)
        assert said.code == 2, (name, said.all)
        assert "No solution" not in said.all, (name, said.all)
