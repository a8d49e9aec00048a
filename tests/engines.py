"""Engines that a machine does not have by itself: a docker daemon, and podman without root.

Both are the real programs of the distribution, in places of their own: nothing of this machine's
configuration is changed, and nothing of them is left.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.conftest import REPOSITORY, Said, lacking, ran

USER, UID, SUBORDINATE = "wheeler", 54321, 600_000


@contextlib.contextmanager
def docker_daemon() -> Iterator[dict[str, str]]:
    """Run a daemon without bridge and iptables; yield what its clients need in the environment."""
    program = shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None or os.geteuid() != 0:
        lacking("needs dockerd, and root to start it: run .ci/engine")
    with tempfile.TemporaryDirectory(prefix="orchestrator-docker-") as folder:
        places = {name: f"{folder}/{name}" for name in ("data-root", "exec-root", "pidfile")}
        (Path(folder) / "daemon.json").write_text("{}")
        argv = [
            # What it mounts goes away with the namespace.
            *("unshare", "--mount", "--propagation=private"),
            *(str(program), f"--host=unix://{folder}/socket", "--bridge=none"),
            *("--iptables=false", "--ip6tables=false", f"--config-file={folder}/daemon.json"),
            *(f"--{name}={place}" for name, place in places.items()),
        ]
        path = f"{Path(str(program)).parent}:{os.environ['PATH']}"
        with (Path(folder) / "log").open("w", encoding="utf-8") as log:
            daemon = subprocess.Popen(
                argv, stdout=log, stderr=log, env={**os.environ, "PATH": path}
            )
            try:
                env = {"DOCKER_HOST": f"unix://{folder}/socket"}
                _wait_for(daemon, env, Path(folder) / "log")
                yield env
            finally:
                daemon.terminate()
                daemon.wait(60)


def _wait_for(daemon: subprocess.Popen[bytes], env: Mapping[str, str], log: Path) -> None:
    deadline = time.monotonic() + 60
    argv = ["docker", "version", "--format", "{{.Server.Version}}"]
    while daemon.poll() is None and time.monotonic() < deadline:
        asked = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, check=False)
        if asked.returncode == 0:
            return
        time.sleep(0.2)
    daemon.kill()
    raise AssertionError(f"dockerd did not start: {log.read_text()[-3000:]}")


@dataclass(frozen=True, kw_only=True)
class Rootless:
    """A user without any privilege.

    Attributes:
        home: their home directory.
    """

    home: Path

    def run(
        self,
        *argv: str | Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: IO[bytes] | None = None,
    ) -> Said:
        """Run a program as that user, in a mount namespace of its own that knows them."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "USER": USER,
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            **(env or {}),
        }
        words = [f"{name}={value}" for name, value in environ.items()]
        become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        command = shlex.join([*become, "env", "-i", *words, *map(str, argv)])
        script = f"{self._namespace()}\ncd {shlex.quote(str(cwd))}\nexec {command}\n"
        own_mounts = ("unshare", "--mount", "--propagation=private", "sh", "-euc")
        return ran(*own_mounts, script, stdin=stdin)

    def orchestrator(
        self, *arguments: str, cwd: Path, env: Mapping[str, str] | None = None
    ) -> Said:
        """Run the command line as that user."""
        paths = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
        argv = [sys.executable, "-m", "orchestrator", *arguments]
        return self.run(*argv, cwd=cwd, env={"PYTHONPATH": paths, **(env or {})})

    def _namespace(self) -> str:
        """Shell commands that tell the namespace of the user, and let them read our Python."""
        etc = self.home / "etc"
        lines = [f"mount --bind {etc / name} /etc/{name}" for name in ("passwd", "group")]
        lines += [f"mount --bind {etc / 'subid'} /etc/{name}" for name in ("subuid", "subgid")]
        needed = {Path(sys.base_prefix), Path(sys.prefix), REPOSITORY}
        closed = {each: place for each in needed if (place := _closed(each)) is not None}
        for number, folder in enumerate(closed):
            aside = self.home / "aside" / str(number)
            lines += [f"mkdir -p {aside}", f"mount --bind {folder} {aside}"]
        lines += [f"mount -t tmpfs -o mode=755 tmpfs {place}" for place in set(closed.values())]
        for number, folder in enumerate(closed):
            aside = self.home / "aside" / str(number)
            lines += [f"mkdir -p {folder}", f"mount --bind {aside} {folder}"]
        return "\n".join(lines)


def _closed(folder: Path) -> Path | None:
    """Return the outermost directory on the way that other users may not enter."""
    return next((each for each in reversed((folder, *folder.parents)) if not _open(each)), None)


def _open(folder: Path) -> bool:
    return bool(folder.stat().st_mode & 0o001)


@contextlib.contextmanager
def rootless_podman() -> Iterator[Rootless]:
    """Make a user for podman without root, with a range of IDs, and forget them."""
    if shutil.which("newuidmap") is None or os.geteuid() != 0:
        lacking("needs newuidmap, and root to become a user that is not: run .ci/engine")
    home = Path(tempfile.mkdtemp(prefix="orchestrator-rootless-"))
    try:
        home.chmod(0o755)
        for name in ("etc", "run", ".config/containers"):
            (home / name).mkdir(parents=True)
        (home / "run").chmod(0o700)
        line = f"{USER}:x:{UID}:{UID}::{home}:/bin/sh\n"
        (home / "etc/passwd").write_text(Path("/etc/passwd").read_text() + line)
        (home / "etc/group").write_text(Path("/etc/group").read_text() + f"{USER}:x:{UID}:\n")
        (home / "etc/subid").write_text(f"{USER}:{SUBORDINATE}:65536\n")
        (home / ".config/containers/storage.conf").write_text('[storage]\ndriver = "overlay"\n')
        subprocess.run(["chown", "-R", f"{UID}:{UID}", home], check=True)
        user = Rootless(home=home)
        yield user
    finally:
        _end_pause_process(home / "run")
        shutil.rmtree(home, ignore_errors=True)


def _end_pause_process(runtime: Path) -> None:
    """End the process that keeps the user's namespace open between two commands."""
    for file in runtime.rglob("pause.pid"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(file.read_text()), signal.SIGTERM)
