"""What `doctor` finds on this machine, and on one with a made-up engine, image and emulation."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import EngineSettings
from orchestrator.containers import engine
from orchestrator.containers.engine import EngineName, EngineStatus
from orchestrator.containers.images import ImageCheck
from orchestrator.doctor import examine, machine, network
from orchestrator.doctor.check import Check, CheckLevel
from orchestrator.doctor.examine import TargetNeeds
from orchestrator.doctor.machine import RunPaths, preflight
from orchestrator.errors import EnvironmentProblemError, ErrorKind, Problem
from orchestrator.host import emulation
from orchestrator.host.emulation import Emulation, Execution, host_arch
from orchestrator.host.network import HostNetwork
from orchestrator.models.platforms import Arch
from orchestrator.provision import toolchain
from tests.factories import program

IMAGE = "registry.example/x/y:1"


@pytest.fixture
def places(tmp_path: Path) -> RunPaths:
    return RunPaths(work=tmp_path / "w", output=tmp_path / "o", cache=tmp_path / "c")


def wanted(name: str, arch: Arch = Arch.AARCH64, **changes: Any) -> TargetNeeds:
    given: dict[str, Any] = {"python": "cp399", "image": IMAGE}
    given["on_host"] = arch is Arch.X86_64  # what `a_machine` is
    return TargetNeeds(**{"id": name, "arch": arch, **given, **changes})


def test_whole_examination_of_this_machine(tmp_path: Path, places: RunPaths) -> None:
    target = wanted("a", host_arch(), image="localhost/no-such-image:1")
    checks = examine.examine(targets=[target, target], places=places, environ=os.environ)
    names = [check.name for check in checks if not check.name.startswith("proxy")]
    assert names == [
        "docker",
        "podman",
        f"image no-such-image:1 {host_arch()}",
        f"emulation {host_arch()}",
        "python cp399",
        "C compiler",
        "C++ compiler",
        "host",
        "toolchain",
        "CA bundle",
        "package index",
        "disk: work",
        "disk: output",
        "disk: cache",
        "disk: tmp",
        *(["disk: engine"] if "disk: engine" in names else []),
        "home",
        "memory",
        "CPUs",
        "clock",
        "targets",
    ]
    assert not list(tmp_path.iterdir()), "nothing is changed"
    assert all(check.fix for check in checks if check.status is not CheckLevel.OK)


def answer(said: object) -> object:
    """Return what is said, or raise it."""
    if isinstance(said, EnvironmentProblemError):
        raise said
    return said


class Machine:
    """A machine whose engine, image and emulation are what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engines = {EngineName.PODMAN: EngineStatus(name=EngineName.PODMAN)}
        self.image: ImageCheck | EnvironmentProblemError = ImageCheck(id="sha256:0123456789abcdef")
        self.pullable: EnvironmentProblemError | None = None
        self.reaches = True
        self.pythons: frozenset[str] | None = None
        self.problem: Problem | None = None
        self.registered: list[Arch] = []
        self.unfetched = ""
        monkeypatch.setattr(engine, "probe", self.probe)
        monkeypatch.setattr(examine, "check_image", lambda *_, **__: answer(self.image))
        monkeypatch.setattr(examine, "pythons_in", lambda _: self.pythons)
        monkeypatch.setattr(examine, "check_pullable", lambda *_, **__: answer(self.pullable))
        monkeypatch.setattr(examine, "reaches", lambda *_, **__: self.reaches)
        monkeypatch.setattr(network, "lacks_pythons", lambda *_: self.unfetched)
        monkeypatch.setattr(emulation, "host_arch", lambda: Arch.X86_64)
        monkeypatch.setattr(emulation, "examine", self.examine)
        monkeypatch.setattr(emulation, "register", self.register)

    def probe(self, name: EngineName, *, env: Mapping[str, str]) -> EngineStatus:
        if name not in self.engines:
            raise EnvironmentProblemError.of("is not here", hint="install it")
        return self.engines[name]

    def examine(self, arch: Arch) -> Emulation:
        warnings = (Problem(what="may fail", hint="tmpfs"),) if arch is Arch.ARMV7L else ()
        return Emulation(
            arch=arch,
            execution=Execution.EMULATED,
            interpreter="/q",
            problem=self.problem,
            warnings=warnings,
        )

    def register(self, arch: Arch) -> None:
        self.registered.append(arch)
        self.problem = None


@pytest.fixture
def a_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def look(places: RunPaths, *targets: TargetNeeds, **more: Any) -> dict[str, Check]:
    environ = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", **more.pop("environ", {})}
    checks = examine.examine(targets=targets, places=places, environ=environ, **more)
    return {check.name: check for check in checks}


def levels(found: Mapping[str, Check], *names: str) -> list[str]:
    return [found[name].status for name in names]


ROWS = ("podman", "image y:1 aarch64", "emulation aarch64", "targets")


def test_one_engine_is_enough(a_machine: Machine, places: RunPaths) -> None:
    found = look(places, wanted("a"))
    assert levels(found, "docker", *ROWS) == ["warn", "ok", "ok", "ok", "ok"]
    assert found["image y:1 aarch64"].detail == "runs, ID 0123456789ab"
    assert found["python cp399"].status is CheckLevel.OK, "containers bring their own"


def test_without_an_engine_only_what_this_machine_is_can_be_built(
    a_machine: Machine, places: RunPaths
) -> None:
    a_machine.engines.clear()
    found = look(places, wanted("native", Arch.X86_64), wanted("foreign"))
    assert levels(found, "docker", "podman", "targets") == ["fail", "fail", "fail"]
    assert found["targets"].detail == (
        "1 of 2 cannot be built here: foreign: there is no container engine"
    )
    found = look(places, wanted("native", Arch.X86_64))
    assert levels(found, "docker", "podman", "targets") == ["warn", "warn", "ok"]
    assert found["python cp399"].status is CheckLevel.WARN
    found = look(places, wanted("other libc", Arch.X86_64, on_host=False))
    assert found["targets"].status is CheckLevel.FAIL
    assert look(places)["podman"].status is CheckLevel.FAIL, "without a matrix it is asked for"


def test_what_is_cross_compiled_needs_neither_engine_nor_emulation(
    a_machine: Machine, places: RunPaths
) -> None:
    a_machine.problem = Problem(what="no QEMU", hint="install it")
    a_machine.engines.clear()
    found = look(places, wanted("foreign", crossed=True))
    assert levels(found, *ROWS) == ["warn", "warn", "warn", "ok"]
    a_machine.engines[EngineName.PODMAN] = EngineStatus(name=EngineName.PODMAN)
    for target in (wanted("foreign", crossed=True), wanted("asked for", on_host=True)):
        found = look(places, target)
        assert levels(found, "emulation aarch64", "targets") == ["warn", "ok"]


def test_an_image_that_is_not_here_may_be_pulled(a_machine: Machine, places: RunPaths) -> None:
    a_machine.image = EnvironmentProblemError.of("gone", hint="pull it", kind=ErrorKind.NOT_FOUND)
    found = look(places, wanted("a"))
    assert levels(found, *ROWS) == ["ok"] * 4
    assert "the build pulls it" in found["image y:1 aarch64"].detail
    found = look(places, wanted("a"), settings=EngineSettings(pull="never"))
    assert levels(found, *ROWS) == ["ok", "fail", "ok", "fail"]
    assert found["targets"].detail.endswith("a: gone")
    a_machine.pullable = EnvironmentProblemError.of("unauthorized", hint="log in")
    found = look(places, wanted("a"), wanted("b", Arch.X86_64, image="registry.example/z"))
    assert levels(found, *ROWS) == ["ok", "fail", "ok", "fail"]
    assert found["image z x86_64"].status is CheckLevel.WARN, "this machine builds b without it"


def test_an_image_without_a_python_of_its_targets(a_machine: Machine, places: RunPaths) -> None:
    a_machine.pythons = frozenset({"cp312-cp312", "pp311-pypy311_pp73"})
    there = [wanted(python, python=python) for python in ("cp312", "pp311")]
    assert look(places, *there)["image y:1 aarch64"].status is CheckLevel.OK
    found = look(places, *there, wanted("b", python="cp314t"))
    assert levels(found, *ROWS) == ["ok", "fail", "ok", "fail"]
    assert found["image y:1 aarch64"].detail == "has no cp314t"
    assert found["targets"].detail == "1 of 3 cannot be built here: b: has no cp314t"
    a_machine.pythons = frozenset()
    found = look(places, *there)
    assert found["targets"].detail.startswith("2 of 2 cannot be built here")
    assert "nothing in /opt/python" in found["image y:1 aarch64"].fix


def test_a_python_that_neither_image_nor_host_has_and_nobody_can_fetch(
    a_machine: Machine, places: RunPaths
) -> None:
    a_machine.pythons = frozenset({"cp311-cp311"})
    targets = [wanted(each, Arch.X86_64, python=each) for each in ("cp311", "cp399")]
    assert look(places, *targets)["targets"].status is CheckLevel.OK, "uv may fetch it"

    a_machine.unfetched = "uv cannot fetch one"
    found = look(places, *targets)
    assert found["targets"].detail == (
        "1 of 2 cannot be built here: cp399: has no cp399; no CPython 3.99 for x86_64 on this "
        "machine, and uv cannot fetch one"
    )
    assert levels(found, "image y:1 x86_64", "python cp399") == ["fail", "warn"]
    a_machine.pythons = frozenset({"cp311-cp311", "cp399-cp399"})
    assert look(places, *targets)["targets"].status is CheckLevel.OK, "the image has it"


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"UV_PYTHON_DOWNLOADS": "never"}, "uv may fetch none"),
        ({"UV_PYTHON_INSTALL_MIRROR": "file:///mirror"}, ""),
        ({"UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:1/x"}, ": 127.0.0.1:1: "),
        ({"UV_PYTHON_INSTALL_MIRROR": "http://a:b@127.0.0.1:1/x"}, "one: 127.0.0.1:1: "),
    ],
)
def test_why_no_python_can_be_fetched(environ: Mapping[str, str], why: str) -> None:
    said = network.lacks_pythons(HostNetwork.detect({}), environ)

    assert why in said
    assert bool(why) is bool(said)
    assert "b@" not in said


def test_an_architecture_that_does_not_run(a_machine: Machine, places: RunPaths) -> None:
    a_machine.problem = Problem(what="no QEMU", hint="install it")
    found = look(places, wanted("a"))
    assert levels(found, "emulation aarch64", "targets") == ["fail", "fail"]
    assert found["targets"].detail.endswith("a: no QEMU")
    toolchain_is_not = [each for each in found.values() if each.name != "toolchain"]
    assert [problem for _, problem in examine.mend(toolchain_is_not)] == [None]
    assert a_machine.registered == [Arch.AARCH64]
    assert look(places, wanted("a"))["emulation aarch64"].status is CheckLevel.OK


def test_what_is_known_of_an_emulation_is_a_warning(a_machine: Machine, places: RunPaths) -> None:
    checks = examine.examine(
        targets=[wanted("a", Arch.ARMV7L)],
        places=places,
        environ={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1"},
    )
    rows = [(each.status, each.detail) for each in checks if each.name == "emulation armv7l"]
    assert rows[1:] == [(CheckLevel.WARN, "may fail")]
    assert checks[-1].status is CheckLevel.OK


def test_a_proxy_of_this_host_that_containers_do_not_reach(
    a_machine: Machine, places: RunPaths
) -> None:
    a_machine.reaches = False
    environ = {"HTTPS_PROXY": "http://user:hunter2@127.0.0.1:9"}
    found = look(places, wanted("a"), environ=environ)
    assert levels(found, *ROWS) == ["ok", "warn", "ok", "ok"]
    assert "--network=host" in found["image y:1 aarch64"].fix
    assert found["proxy https_proxy"].status is CheckLevel.WARN, "nobody listens on port 9"
    assert "hunter2" not in str(found)


def test_an_engine_on_another_machine(a_machine: Machine, places: RunPaths) -> None:
    remote = EngineStatus(name=EngineName.PODMAN, remote=True, storage_root="/far")
    a_machine.engines[EngineName.PODMAN] = remote
    found = look(places, wanted("a"))
    assert found["podman"].status is CheckLevel.WARN
    assert "disk: engine" not in found


def test_the_engine_that_is_asked_for_is_the_one_that_counts(
    a_machine: Machine, places: RunPaths
) -> None:
    found = look(places, wanted("a"), settings=EngineSettings(name="docker"))
    assert "podman" not in found
    assert levels(found, "docker", "targets") == ["fail", "fail"]


def test_mending(monkeypatch: pytest.MonkeyPatch, a_machine: Machine, places: RunPaths) -> None:
    made: list[Path] = []

    def sync(cache: Path, *_: object, **__: object) -> None:
        made.append(cache)
        raise EnvironmentProblemError.of("no index", hint="set one")

    monkeypatch.setattr(toolchain, "sync", sync)
    found = look(places)
    mended = list(examine.mend(found.values()))
    assert [(check.name, str(problem)) for check, problem in mended] == [
        ("toolchain", "no index\n  hint: set one")
    ]
    assert made == [places.cache]
    assert not list(
        examine.mend([Check(name="x", status=CheckLevel.OK, detail="", mend=lambda: None)])
    )


def test_a_run_on_a_full_disk_does_not_start(
    monkeypatch: pytest.MonkeyPatch, places: RunPaths
) -> None:
    usage = type("Usage", (), {"free": machine.GIB // 1024})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(EnvironmentProblemError) as refused:
        preflight(places=places, environ={}, jobs=1)
    assert [each.where for each in refused.value.problems][:2] == ["disk: work", "disk: output"]
    assert "not enough space" in str(refused.value)


def test_a_run_warns_of_little_memory(places: RunPaths) -> None:
    warnings = preflight(places=places, environ={}, jobs=10_000)
    assert "memory" in [each.name for each in warnings]


def test_network_of_an_examination_is_that_of_the_builds(
    a_machine: Machine, places: RunPaths, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("x")
    found = look(places, environ={"SSL_CERT_FILE": str(bundle)})
    assert found["CA bundle"].detail == f"{bundle} holds no certificate"
    assert HostNetwork.detect({"SSL_CERT_FILE": str(bundle)}).ca_bundle == bundle


# The parts


def test_no_compiler(tmp_path: Path) -> None:
    checks = list(machine.compilers({"PATH": str(tmp_path)}))
    assert [check.status for check in checks] == [CheckLevel.WARN] * 2
    assert all(
        each.status is CheckLevel.OK for each in machine.compilers({"PATH": os.environ["PATH"]})
    )


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_proxies_are_asked_and_shown_without_their_password(listener: int) -> None:
    environ = {
        "HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{listener}",
        "http_proxy": "127.0.0.1:9",
        "NO_PROXY": "localhost",
        "ALL_PROXY": "http://host:port",
    }
    http, https, both = network.proxies(HostNetwork.detect(environ))
    assert (https.status, https.detail) == (CheckLevel.OK, f"http://user:****@127.0.0.1:{listener}")
    assert (http.status, both.status) == (CheckLevel.WARN, CheckLevel.WARN)
    assert "does not answer" in http.detail


def certificates(**environ: str) -> dict[str, tuple[CheckLevel, str]]:
    found = network.certificates(HostNetwork.detect(environ), environ)
    return {each.name: (each.status, each.detail) for each in found}


def test_no_bundle() -> None:
    (check,) = network.certificates(HostNetwork(), {})
    assert check.status is CheckLevel.WARN


def test_a_bundle_that_is_named_and_of_no_use_is_noticed(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.pem", tmp_path / "empty.pem"
    text.write_text("no certificate\n")
    empty.touch()
    here = {"SSL_CERT_FILE": str(tmp_path / "gone.pem"), "REQUESTS_CA_BUNDLE": str(tmp_path)}
    found = certificates(**here, PIP_CERT=str(empty), SSL_CERT_DIR=str(text))

    assert {each for each, _ in found.values()} <= {CheckLevel.WARN, CheckLevel.OK}
    assert f"{tmp_path}/gone.pem does not exist; " in found["SSL_CERT_FILE"][1]
    assert "is not a file" in found["REQUESTS_CA_BUNDLE"][1]
    assert "holds no certificate" in found["PIP_CERT"][1]
    assert "is not a directory" in found["SSL_CERT_DIR"][1]
    assert found["SSL_CERT_FILE"][0] is CheckLevel.WARN
    level, detail = certificates(SSL_CERT_FILE=str(text))["CA bundle"]
    assert (level, detail) == (CheckLevel.WARN, f"{text} holds no certificate")


@pytest.mark.parametrize("where", ["variable", "file"])
def test_the_index_that_is_asked_is_the_main_one(tmp_path: Path, where: str) -> None:
    """Another index that answers proves nothing for a build."""
    asked = tmp_path / "asked"
    python = program(tmp_path / "python", f"env > {asked}; exit 1")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIP_INDEX_URL": "https://main"}
    conf = tmp_path / "pip.conf"
    conf.write_text("[global]\nextra-index-url = https://other\nclient-cert = /c.pem\n")
    env |= {
        "variable": {"PIP_EXTRA_INDEX_URL": "https://other", "PIP_FIND_LINKS": "https://links"},
        "file": {"PIP_CONFIG_FILE": str(conf)},
    }[where]
    check = network.index(python, env)

    assert check.detail.startswith("https://main does not answer")
    said = dict(line.partition("=")[::2] for line in asked.read_text().splitlines())
    assert said["PIP_INDEX_URL"] == "https://main"
    assert said["PIP_CONFIG_FILE"] == os.devnull
    assert not {"PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"} & said.keys()
    assert said.get("PIP_CLIENT_CERT") == ("/c.pem" if where == "file" else None)


def test_hosts_say_what_works_there() -> None:
    for arch in Arch:
        new, equipped = (machine.host(arch, equipped=each) for each in (False, True))
        assert equipped.status is CheckLevel.OK
        assert "x86_64 and aarch64" in new.detail
        assert (new.status is CheckLevel.WARN) is bool(arch.facts.without_wheels)
        assert all(tool in new.detail for tool in arch.facts.without_wheels)
    assert "cffi and cryptography" in machine.host(Arch.RISCV64, equipped=False).detail
    assert "need x86_64" not in machine.host(Arch.X86_64, equipped=False).detail


def test_no_index_is_no_worry() -> None:
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "https://u:hunter2@host/x"}
    check = network.index(Path("/none"), env)
    assert check.status is CheckLevel.OK
    assert "hunter2" not in check.detail


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ERROR: SSLError(CERTIFICATE_VERIFY_FAILED)", "SSL_CERT_FILE"),
        ("ERROR: ProxyError('Cannot connect', 407 x)", "HTTPS_PROXY"),
        ("ERROR: HTTP error 401 while getting x", "credentials"),
        ("ERROR: https://u:hunter2@h: no", "check the network"),
        ("No module named pip", "the toolchain brings one"),
    ],
)
def test_why_the_index_does_not_answer(tmp_path: Path, said: str, hint: str) -> None:
    python = program(tmp_path / "python", f'echo "{said}" >&2; exit 1')
    check = network.index(python, {"PATH": "/usr/bin:/bin", "PIP_INDEX_URL": "https://u:hunter2@h"})
    assert check.status is CheckLevel.WARN
    assert hint in check.fix
    assert "hunter2" not in check.detail
