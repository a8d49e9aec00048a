"""Kill whatever works, at random moments of a real matrix: a plain re-run sets everything right.

Each round changes the source, so that every target has to be built; kills something after a random
time; and runs the same command again. `CHAOS_ROUNDS=10` makes ten times as many rounds, and
`CHAOS_SEED` repeats those of a run that failed.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.provision.cache_dir import default_cache_dir
from orchestrator.run.inputs import open_host
from tests.conftest import IMAGES, lacking, podman, ran, started
from tests.factories import PROJECTS, project_file, write_project

pytestmark = pytest.mark.index

VARIANTS = ("a", "b", "c")
PATIENCE = 180


def mark(number: int) -> str:
    return f"<round {number} of chaos>"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project with its matrix, and all that its runs may leave behind."""

    root: Path
    backend: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"orchestrator.chaos={self.root.name}"

    @property
    def dist(self) -> Path:
        return self.root / "dist"

    @property
    def store(self) -> Path:
        return self.root / "cache" / "store"

    def prepare(self) -> None:
        for name in ("count", "tmp", "cache"):
            (self.root / name).mkdir()
        open_host(os.environ, print)  # makes the toolchain where this machine has none
        toolchain = default_cache_dir(os.environ) / "toolchain"
        (self.root / "cache" / "toolchain").symlink_to(toolchain)
        fields = {"kinds": ", ".join(f'"{each}"' for each in VARIANTS)}
        if self.backend == "cibuildwheel":
            engine = project_file("chaos_engine.toml")
            more = engine.format(images=IMAGES, root=self.root, label=self.label)
            fields |= {"tag": "cp311", "count": "/count", "more": more}
        else:
            fields |= {"count": str(self.root / "count")}
        # It has a build backend of its own: what takes time is the compiler, and not fetching one.
        write_project(self.root, "chaos", **fields)
        self.write(0)

    def write(self, number: int) -> None:
        """Change the source: everything has to be built again."""
        source = project_file("chaos.c").format(mark=mark(number))
        (self.root / "chaos" / "chaos.c").write_text(source)

    def start(self) -> subprocess.Popen[str]:
        places = {"TMPDIR": "tmp", "ORCHESTRATOR_CACHE_DIR": "cache"}
        env = {name: str(self.root / folder) for name, folder in places.items()}
        env |= {"ORCHESTRATOR_STORE_DIR": "", **self.env}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        command = ("build", "-j2", "--backend", self.backend)
        with (self.root / "said").open("wb") as said:
            return started(*command, cwd=self.root, env=env, **quiet, stderr=said)

    def run(self) -> int:
        return self.start().wait(PATIENCE)

    @property
    def said(self) -> str:
        """What the last run said, each sentence on one line."""
        return re.sub(r"\n +", " ", (self.root / "said").read_text())

    @property
    def counts(self) -> Counter[str]:
        """How often the build of each variant began."""
        files = (self.root / "count").iterdir()
        return Counter({each.name: each.read_text().count("\n") for each in files})

    def wheels(self, number: int) -> list[str]:
        """The variants of which there is a whole wheel of this round."""
        found = []
        for wheel in sorted(self.dist.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                assert archive.testzip() is None
                (module,) = (each for each in archive.namelist() if each.endswith(".so"))
                if mark(number).encode() in archive.read(module):
                    found.append(wheel.name.split("-")[1].partition("+")[2])
        return found

    def finished(self, number: int) -> set[str]:
        """The variants that the last run finished: it said so, or the wheel is there."""
        said = re.findall(r"(?m)^\[\d+/\d+\] ok .*-([abc])$", self.said)
        return {*said, *self.wheels(number)}

    def processes(self) -> dict[int, str]:
        """Everything that runs for this place, on the host or in a container."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                here = f"{command} {(folder / 'cwd').readlink()}"
                if self.backend == "cibuildwheel":
                    here += (folder / "mountinfo").read_text()
            except OSError:
                continue  # it has ended, or is the kernel's
            if int(folder.name) != os.getpid() and str(self.root) in here:
                found[int(folder.name)] = command
        return found

    def mounts(self) -> list[str]:
        """What is mounted here, but for the disks that a test itself mounts."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        points = [Path(line.split()[4]) for line in lines]
        own = {self.dist, self.store, self.root / ".orchestrator"}
        return [str(each) for each in points if self.root in each.parents and each not in own]

    def containers(self) -> list[str]:
        ask = ("ps", "--all", "--quiet", "--no-trunc", f"--filter=label={self.label}")
        return podman(*ask).stdout.split() if self.backend == "cibuildwheel" else []

    def check(self, number: int) -> None:
        """Whatever was killed before, there are exactly the right wheels, and nothing else."""
        assert self.wheels(number) == list(VARIANTS)
        others = {each.name for each in self.dist.iterdir() if each.suffix != ".whl"}
        assert others == {"results.json"}
        assert len(list(self.dist.iterdir())) == len(VARIANTS) + 1
        assert names(self.root / "tmp") == []
        assert names(self.root / ".orchestrator" / "runs") == []
        for folder in ("tmp", "locks", "leases"):
            assert names(self.store / folder) == []
        assert self.containers() == []
        assert self.mounts() == []
        # What podman leaves behind to clean up after a container takes a moment more.
        patience = time.monotonic() + 30
        while self.processes() and time.monotonic() < patience:
            time.sleep(0.1)
        assert self.processes() == {}

    def end(self) -> None:
        """Leave nothing behind, also where the test failed."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if found := self.containers():
            podman("rm", "--force", "--time=0", *found)


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(root=tmp_path, backend="direct")
    made.prepare()
    yield made
    made.end()


@pytest.fixture
def contained(tmp_path: Path, engine: str) -> Iterator[Place]:
    made = Place(root=tmp_path, backend="cibuildwheel")
    made.prepare()
    yield made
    made.end()


@pytest.fixture
def dice() -> random.Random:
    seed = os.environ.get("CHAOS_SEED") or str(time.time_ns())
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - pytest shows it where the test fails
    return random.Random(seed)  # noqa: S311 - no secret


def rounds(usual: int) -> range:
    return range(1, 1 + usual * int(os.environ.get("CHAOS_ROUNDS", "1")))


def undisturbed(place: Place) -> float:
    """Run it all once, and return the seconds that took."""
    began = time.monotonic()
    assert place.run() == 0, place.said
    seconds = time.monotonic() - began
    place.check(0)
    return seconds


def disturb(place: Place, number: int, moments: list[float], kill: Callable[[int], object]) -> None:
    """Run, kill at some moments, run again, look."""
    place.write(number)
    run = place.start()
    last = 0.0
    for moment in sorted(moments):
        time.sleep(moment - last)
        last = moment
        if run.poll() is None:
            kill(run.pid)
    run.wait(PATIENCE)
    set_right(place, number)


def set_right(place: Place, number: int) -> None:
    """Run again: it ends well, builds nothing that was finished, and leaves nothing behind."""
    first, finished, before = place.said, place.finished(number), place.counts
    assert place.run() == 0, f"{first}\n--- again\n{place.said}"
    twice = {kind for kind in finished if place.counts[kind] != before[kind]}
    assert not twice, f"round {number}\n{first}\n--- again\n{place.said}"
    place.check(number)


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, signal.SIGKILL)


def test_the_orchestrator_is_killed(place: Place, dice: random.Random) -> None:
    takes = undisturbed(place)
    for number in rounds(40):
        disturb(place, number, [dice.uniform(0, takes)], kill)


def test_what_works_for_it_is_killed(place: Place, dice: random.Random) -> None:
    takes = undisturbed(place)

    def kill_another(pid: int) -> None:
        others = sorted(place.processes().keys() - {pid})
        if others:
            kill(dice.choice(others))

    for number in rounds(10):
        moments = [dice.uniform(0.2 * takes, takes) for _ in range(3)]
        disturb(place, number, moments, kill_another)


@pytest.mark.engine
def test_the_orchestrator_is_killed_while_containers_run(
    contained: Place, dice: random.Random
) -> None:
    takes = undisturbed(contained)
    for number in rounds(10):
        disturb(contained, number, [dice.uniform(0.2 * takes, takes)], kill)


@pytest.mark.engine
def test_containers_and_the_engine_are_killed(contained: Place, dice: random.Random) -> None:
    takes = undisturbed(contained)
    turns = itertools.cycle(["container", "conmon", "podman"])

    def kill_engine(pid: int) -> None:
        what = next(turns)
        ours = [str(contained.root), *contained.containers()]
        if what == "container" and ours[1:]:
            podman("kill", dice.choice(ours[1:]))
            return
        found = [
            int(folder.name)
            for folder in Path("/proc").glob("[0-9]*")
            if re.match(rf"\S*{what} .*({'|'.join(map(re.escape, ours))})", words(folder))
        ]
        if found:
            kill(dice.choice(found))

    for number in rounds(5):
        moments = [dice.uniform(0.2 * takes, takes) for _ in range(4)]
        disturb(contained, number, moments, kill_engine)


def words(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


# A disk that is full or read-only


def mounted(*arguments: str | Path) -> None:
    said = ran("mount", *arguments)
    if said.code != 0:
        lacking(f"needs root and mount(8): {said.stderr.strip()}")


@contextmanager
def unmounted(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        ran("umount", "--lazy", folder, code=0)


@contextmanager
def small_disk(folder: Path, image: Path, size: int) -> Iterator[Callable[[int | None], None]]:
    """Mount a small file system.

    Args:
        folder: where.
        image: the file it is in.
        size: of that file, in MiB.

    Yields:
        What leaves only so many KiB free on it, None for all.
    """
    folder.mkdir(parents=True)
    with image.open("wb") as stream:
        stream.truncate(size * 1024 * 1024)
    ran("mkfs.ext4", "-q", "-m", "0", image, code=0)
    mounted("-o", "loop", image, folder)
    filler = image.parent / "filler"

    def leave(room: int | None) -> None:
        (folder / filler.name).unlink(missing_ok=True)
        if room is None:
            return
        with (folder / filler.name).open("wb") as stream:
            for step in (1024 * 1024, 4096):
                with suppress(OSError):
                    while True:
                        end = stream.seek(0, os.SEEK_END)
                        os.posix_fallocate(stream.fileno(), end, step)
            stream.truncate(max(0, stream.seek(0, os.SEEK_END) - room * 1024))

    with unmounted(folder):
        (folder / "lost+found").rmdir()
        yield leave


def until_it_builds(place: Place, run: subprocess.Popen[str], variant: str) -> None:
    while not [*(place.root / ".orchestrator/logs").glob(f"*-{variant}.log")]:
        assert run.poll() is None, place.said
        time.sleep(0.02)


@pytest.mark.parametrize("room", [0, 400])
def test_the_disk_of_the_work_directory_gets_full(place: Place, room: int) -> None:
    with small_disk(place.root / ".orchestrator", place.root / "image", 320) as leave:
        run = place.start()
        until_it_builds(place, run, "a")
        leave(room)
        assert run.wait(PATIENCE) in {1, 4}, place.said
        assert "No space left on device" in place.said
        assert "Traceback" not in place.said
        assert place.run() == 4
        assert "not enough space, 256 MiB needed" in place.said
        leave(None)
        set_right(place, 0)


def test_the_disk_of_the_wheels_gets_full_and_nothing_is_built_again(place: Place) -> None:
    with small_disk(place.dist, place.root / "image", 32) as leave:
        run = place.start()
        until_it_builds(place, run, "a")
        leave(24)  # for one wheel, but not for three
        assert run.wait(PATIENCE) in {1, 4}, place.said
        assert "No space left on device" in place.said
        assert place.run() == 4
        assert "not enough space, 16 MiB needed" in place.said
        leave(None)
        set_right(place, 0)
        assert place.counts == dict.fromkeys(VARIANTS, 1)


def test_the_disk_of_the_store_is_full(place: Place) -> None:
    with small_disk(place.store, place.root / "image", 32) as leave:
        leave(24)
        assert place.run() == 0, place.said
        assert place.said.count("cannot be written, nothing is kept: No space left") == 1
        place.check(0)
        leave(None)
        assert place.run() == 0, place.said
        place.check(0)
        built = place.counts
        assert place.run() == 0, place.said
        assert place.counts == built


def test_a_store_that_is_read_only_gives_what_it_has(place: Place) -> None:
    undisturbed(place)
    before = place.counts
    mounted("--bind", place.store, place.store)
    with unmounted(place.store):
        mounted("-o", "remount,bind,ro", place.store)
        shutil.rmtree(place.dist)
        assert place.run() == 0, place.said
        assert place.counts == before
        place.check(0)
        place.write(1)
        assert place.run() == 0, place.said
        assert place.said.count("cannot be written, nothing is kept: Read-only file system") == 1
        place.check(1)
    assert place.run() == 0, place.said
    place.check(1)
    built = place.counts
    assert place.run() == 0, place.said
    assert place.counts == built


# Wrong bytes


def test_a_flipped_bit_anywhere_in_the_store_never_gives_a_wrong_wheel(
    place: Place, dice: random.Random
) -> None:
    undisturbed(place)
    assert place.run() == 0
    right = {each.name: each.read_bytes() for each in place.dist.glob("*.whl")}
    kept = [each for each in place.store.rglob("*") if each.is_file() and each.stat().st_size]
    assert {each.relative_to(place.store).parts[0] for each in kept} == {
        *("actions", "blobs", "projects")
    }
    for path in kept:
        before, data = place.counts, bytearray(path.read_bytes())
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        path.unlink()  # and not in place: a wheel may be another name of the same file
        path.write_bytes(data)
        shutil.rmtree(place.dist)

        assert place.run() == 0, place.said

        place.check(0)
        assert {each.name: each.read_bytes() for each in place.dist.glob("*.whl")} == right
        assert (place.counts - before).total() <= 1  # at most the target whose result it was


# A clock that jumps

YEAR = 365 * 24 * 3600


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A library that makes the clock of the orchestrator's own process jump."""
    library = tmp_path / "clock.so"
    ran("cc", "-shared", "-fPIC", "-o", library, PROJECTS / "clock.c", "-ldl", code=0)
    return library


def test_the_clock_jumps_between_and_during_runs(
    tmp_path: Path, clock: Path, dice: random.Random
) -> None:
    now = tmp_path / "now"
    env = {"LD_PRELOAD": str(clock), "CHAOS_CLOCK": str(now)}
    ask = (sys.executable, "-c", "import time; print(time.gmtime().tm_year)")

    def jump(years: int) -> None:
        now.write_text(str(years * YEAR))

    jump(10)
    year = ran(*ask, env={**os.environ, **env}, code=0)
    assert int(year.stdout) >= time.gmtime().tm_year + 9
    jump(0)
    place = Place(root=tmp_path, backend="direct", env=env)
    place.prepare()
    try:
        takes = undisturbed(place)
        for number, years in zip(rounds(3), itertools.cycle((10, -2, 0)), strict=False):
            place.write(number)
            run = place.start()
            time.sleep(dice.uniform(0, takes))
            jump(years)
            if number % 2:
                assert run.wait(PATIENCE) == 0, place.said
            else:
                kill(run.pid)
                run.wait(PATIENCE)
            set_right(place, number)
    finally:
        place.end()
