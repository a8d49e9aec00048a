"""Where a result lies: what of a host can change a wheel makes its address another one."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import EngineSettings
from orchestrator.containers.given import given_to_containers
from orchestrator.host import index_identity
from orchestrator.host.emulation import host_arch
from orchestrator.host.network import HostNetwork
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.target import BackendName, EnvVar
from orchestrator.provision.host import Host
from orchestrator.provision.pythons import Interpreter
from orchestrator.run.cache_key import BuildWay, build_place
from tests import factories

HERE = BuildWay(BackendName.DIRECT, in_container=False)
INSIDE = BuildWay(BackendName.DIRECT, in_container=True)
TARGET = factories.target(arch=host_arch())

PYTHON = Interpreter(
    path=Path("/usr/bin/python3.12"),
    version="3.12.1",
    tag=PythonTag.parse("cp312"),
    arch=host_arch(),
    soabi="cpython-312",
    include=Path("/usr/include"),
    has_headers=True,
    has_venv=True,
    variables=(("CC", "gcc -pthread"), ("CFLAGS", "-O2"), ("LDSHARED", "gcc -shared")),
    settings=(("/usr/lib/python3.12/distutils/distutils.cfg", ""),),
    rank=(),
)


@dataclass
class World:
    """A host, its interpreter and its engine, of which only what an address needs is there."""

    root: Path
    environ: dict[str, str]
    interpreter: Interpreter = PYTHON
    create_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.settings = EngineSettings.model_validate({"create-args": self.create_args})
        self.installed = True

    @property
    def host(self) -> Host:
        environ = {"HOME": str(self.root / "home"), "XDG_CONFIG_DIRS": "/nonexistent"}
        environ |= {"PATH": str(self.root / "bin"), **self.environ}
        network = HostNetwork.detect(environ)
        return factories.host(self.root, environ=environ, network=network)

    @property
    def env(self) -> dict[str, str]:
        return self.host.net_env

    @property
    def given(self) -> dict[str, str]:
        return given_to_containers(self.create_args, self.env)

    def known_python(self, _tag: str) -> Interpreter:
        return self.interpreter

    def cuda_digests(self, _version: str) -> tuple[str, ...]:
        return ()

    def index(self, *, in_container: bool) -> dict[str, str]:
        return index_identity.describe(self.host.network, in_container=in_container)

    def reference(self, _target: object) -> str:
        return "image@sha256:1"

    def place(self, way: BuildWay = HERE, **changes: Any) -> dict[str, Any]:
        target = replace(TARGET, **changes)
        place = build_place(target, way, tools=self, containers=self)  # type: ignore[arg-type]
        assert place is not None
        return place


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("orchestrator.host.index_config._PIP_SYSTEM", Path("/nonexistent"))
    for name in ("gcc", "gcc-12", "ccache", "x-cc"):
        program(tmp_path, name, "1")
    (tmp_path / "home").mkdir()
    return World(tmp_path, {})


def program(root: Path, name: str, text: str) -> None:
    path = root / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    os.utime(path, (len(text), len(text)))


@pytest.mark.parametrize("name", ["CC", "CFLAGS", "LDSHARED", "LDFLAGS", "OPT", "AR", "EXT_SUFFIX"])
def test_how_the_interpreter_compiles_and_links(world: World, name: str) -> None:
    variables = dict(PYTHON.variables) | {name: "gcc -march=x86-64-v3"}
    other = replace(PYTHON, variables=tuple(variables.items()))

    place = World(world.root, {}, other).place()

    assert place != world.place()
    assert place["python"]["sysconfig"][name] == "gcc -march=x86-64-v3"


@pytest.mark.parametrize("name", ["distutils.cfg", "sitecustomize.py"])
def test_what_the_interpreter_brings_for_every_build(world: World, name: str) -> None:
    other = replace(PYTHON, settings=((f"/prefix/lib/{name}", "f" * 64),))

    assert World(world.root, {}, other).place()["python"]["settings"] == {name: "f" * 16}


def test_where_it_is_makes_no_difference(world: World) -> None:
    data = (("/prefix/lib/_sysconfigdata__linux_.py", "f" * 64), ("/else/distutils.cfg", ""))
    other = replace(PYTHON, path=Path("/else/python"), settings=data)

    assert World(world.root, {}, other).place() == world.place()


def test_the_compiler_that_the_interpreter_names(world: World) -> None:
    named = replace(PYTHON, variables=(("CC", "x-cc -pthread"),))
    before = World(world.root, {}, named).place()

    program(world.root, "x-cc", "another")

    assert World(world.root, {}, named).place() != before


def test_the_compiler_behind_a_launcher(world: World) -> None:
    env = (EnvVar(name="CC", value="ccache gcc-12 -m64", origin="env"),)
    before = world.place(env=env)

    program(world.root, "gcc-12", "another")

    assert world.place(env=env) != before


def test_the_options_that_a_compiler_reads_beside_it(world: World) -> None:
    program(world.root, "nvcc", "1")
    before = world.place()
    program(world.root, "nvcc.profile", "INCLUDES = /other")

    assert world.place() != before


@pytest.mark.parametrize("way", [HERE, INSIDE], ids=["host", "container"])
@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX"])
def test_the_package_index(world: World, way: BuildWay, name: str) -> None:
    other = World(world.root, {name: "https://me:hunter2@a/simple"}).place(way)

    assert other != world.place(way)
    assert other["index"] == {name: "https://a/simple"}


def test_pip_s_file_in_the_home_directory(world: World) -> None:
    before = world.place()
    file = world.root / "home/.config/pip/pip.conf"
    file.parent.mkdir(parents=True)
    file.write_text("[install]\nno-binary = numpy\n")

    assert world.place() != before


@pytest.mark.parametrize("name", [".cargo/config.toml", ".rustup/toolchains/stable/bin/rustc"])
def test_rust_in_the_home_directory(world: World, name: str) -> None:
    before = world.place()
    file = world.root / "home" / name
    file.parent.mkdir(parents=True)
    file.write_text("x")

    assert world.place() != before


@pytest.mark.parametrize("name", [".pydistutils.cfg", ".gitconfig", ".config/ccache/ccache.conf"])
def test_what_does_not_reach_a_build_makes_no_difference(world: World, name: str) -> None:
    before = world.place()
    file = world.root / "home" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("x")
    other = World(world.root, {"CFLAGS": "-O3", "HTTPS_PROXY": "http://p", "PIP_TIMEOUT": "3"})

    assert world.place() == other.place() == before


@pytest.mark.parametrize("form", ["--env-file={}", "--env-file {}"])
def test_a_file_that_a_container_gets_its_variables_from(world: World, form: str) -> None:
    file = world.root / "variables"
    file.write_text("CFLAGS=-O2\n")
    other = World(world.root, {}, create_args=tuple(form.format(file).split(" ")))
    before = other.place(INSIDE)
    assert before != world.place(INSIDE)

    file.write_text("CFLAGS=-O3\n")

    assert other.place(INSIDE) != before


@pytest.mark.parametrize("arguments", [("--env=USER",), ("-e", "USER"), ("--env", "USER")])
def test_a_variable_of_this_host_that_a_container_gets(
    world: World, arguments: tuple[str, ...]
) -> None:
    first, second = (
        World(world.root, {"USER": user}, create_args=arguments).place(INSIDE)
        for user in ("one", "two")
    )

    assert first != second
    assert "one" not in str(first)
