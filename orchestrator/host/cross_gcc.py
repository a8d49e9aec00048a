"""Native gcc for a foreign architecture, unpacked from the distribution's packages.

Nothing is installed, and nobody need be root: apt resolves and fetches, into a directory of ours,
what a machine without any package would need; it checks signatures as always. The programs are then
told to find their loader and libraries where a container will see them (`MOUNTED`), so that nothing
of an image is covered, and nothing of this host is used.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, Problem
from orchestrator.host import images, process
from orchestrator.host.emulation import host_arch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MOUNTED = Path("/opt/orchestrator-native/gcc")
"""Where a container finds it."""

_KEPT = ("gcc", "g++", "as", "ld", "ld.bfd", "ld.gold")
"""Programs of the packages that a compiler is, or starts."""

_APT_TIMEOUT = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The compiler that an image has, as far as ours must be the same.

    Attributes:
        triplet: what it compiles for, as Debian's packages call it.
        major: gcc's major version: its headers, its C++ library and its LTO go with no other.
        suite: the image's Debian suite; empty for another distribution.
    """

    triplet: str
    major: str
    suite: str = ""

    @property
    def package(self) -> str:
        """Debian's package of the C++ compiler."""
        return f"g++-{self.major}-{self.triplet}".replace("_", "-")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossGcc:
    """A native gcc for another architecture.

    Attributes:
        folder: where it is on this host; a container has it at `MOUNTED`.
        gcc: the C driver in the container.
        gxx: the C++ driver there.
        version: the package and its version.
        identity: digest of all packages in it.
    """

    folder: Path
    gcc: Path
    gxx: Path
    version: str
    identity: str


def provide(
    wanted: Wanted,
    *,
    cache_dir: Path,
    patchelf: Path,
    env: Mapping[str, str],
    say: Callable[[str], object],
) -> CrossGcc | Problem:
    """Return a native gcc; fetch it where it is not in the cache yet.

    Args:
        wanted: which.
        cache_dir: our directory in the user's cache.
        patchelf: the toolchain's.
        env: environment of apt, with what it needs to reach the network.
        say: told that something is fetched.
    """
    own = f"{wanted.package}-on-{host_arch()}-{wanted.suite or 'any'}-{_recipe()}"
    folder = cache_dir.absolute() / "cross-gcc" / own
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # apt gives up root for the download, and _apt must get there.
        with TemporaryDirectory(dir=folder.parent, prefix=".making-") as aside:
            problem = _Maker(wanted, Path(aside), patchelf, env, say).make()
            if problem is not None:
                return problem
            try:
                Path(aside, "gcc").rename(folder)
            except OSError:
                if not folder.is_dir():  # else another process made the same at the same time
                    raise
    packages = (folder / "packages").read_text("utf-8")
    version = next(line for line in packages.splitlines() if line.startswith(wanted.package))
    names = [f"{wanted.triplet}-{each}-{wanted.major}" for each in ("gcc", "g++")]
    return CrossGcc(
        folder=folder,
        gcc=MOUNTED / "usr/bin" / names[0],
        gxx=MOUNTED / "usr/bin" / names[1],
        version=version.replace("=", " "),
        identity=hashlib.sha256(packages.encode()).hexdigest(),
    )


def _recipe() -> str:
    """A digest of how it is made: another program makes another one."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]


class _Maker:
    """One compiler on its way."""

    def __init__(
        self,
        wanted: Wanted,
        scratch: Path,
        patchelf: Path,
        env: Mapping[str, str],
        say: Callable[[str], object],
    ) -> None:
        self._wanted = wanted
        self._scratch = scratch
        self._patchelf = patchelf
        self._env = dict(env)
        self._say = say
        self._triplet = wanted.triplet

    def make(self) -> Problem | None:
        packages = self._fetch()
        if isinstance(packages, Problem):
            return packages
        root, made = self._scratch / "root", self._scratch / "gcc"
        for archive in sorted(self._scratch.glob("debs/*.deb")):
            done = process.capture(["dpkg-deb", "-x", str(archive), str(root)], timeout=120)
            if not done.ok:
                return Problem(what=f"{archive.name} cannot be unpacked: {done.last_line}")
        self._arrange(root, made)
        (made / "packages").write_text("\n".join(packages) + "\n", encoding="utf-8")
        return next(filter(None, map(self._redirect, _programs(made))), None)

    def _fetch(self) -> list[str] | Problem:
        """Download what is needed; return ``package=version`` of each."""
        problem = Problem(what="no apt here")
        for options in self._ways():
            if isinstance(options, Problem):
                problem = options
                continue
            packages = self._resolved(options)
            if isinstance(packages, Problem):
                problem = packages
                continue
            self._say(f"fetching {self._wanted.package} (not installed, kept in the cache)")
            folder = self._scratch / "debs"
            folder.mkdir(exist_ok=True)
            done = self._apt(options, "download", *packages, cwd=folder)
            if done.ok:
                return packages
            problem = Problem(what=f"apt cannot fetch {packages[0]}: {done.last_line}")
        return Problem(
            what=f"no {self._wanted.package} to compile with ({problem.what})",
            hint='`apt-get update` on this host, or build.emulation = "full"',
        )

    def _ways(self) -> Iterator[tuple[str, ...] | Problem]:
        """Options of apt: the image's own suite first, as only that has the very same gcc."""
        (self._scratch / "status").touch()
        nothing = f"-oDir::State::status={self._scratch / 'status'}"
        common = (nothing, "-oAPT::Sandbox::User=root", "-oDebug::NoLocking=1", "-qq")
        if self._wanted.suite and self._wanted.suite != _own_suite():
            yield self._other_suite(common)
        yield common

    def _other_suite(self, common: tuple[str, ...]) -> tuple[str, ...] | Problem:
        """Make apt know another suite, for itself alone."""
        try:
            mirror = images.default_mirror(self._env)
        except EnvironmentProblemError as error:
            return error.problems[0]
        place = self._scratch / "apt"
        (place / "lists" / "partial").mkdir(parents=True)
        (place / "sources.list").write_text(f"deb {mirror} {self._wanted.suite} main\n", "utf-8")
        options = (
            *common,
            f"-oDir::Etc::sourcelist={place / 'sources.list'}",
            "-oDir::Etc::sourceparts=-",
            f"-oDir::State::lists={place / 'lists'}",
            f"-oDir::Cache={place / 'cache'}",
            "-oAcquire::Languages=none",
        )
        done = self._apt(options, "update")
        if done.ok:
            return options
        return Problem(what=f"apt cannot read {self._wanted.suite}: {done.last_line}")

    def _resolved(self, options: tuple[str, ...]) -> list[str] | Problem:
        """Return what a machine without any package would need, but for the target's own files."""
        argv = ("--simulate", "--no-install-recommends", "install", self._wanted.package)
        done = self._apt(options, *argv)
        found = re.findall(r"(?m)^Inst (\S+) \((\S+) .*\[(\w+)\]\)", done.stdout)
        if not done.ok or not found:
            return Problem(what=done.last_line or f"apt knows no {self._wanted.package}")
        return [f"{name}={version}" for name, version, arch in found if arch != "all"]

    def _apt(
        self, options: tuple[str, ...], *argv: str, cwd: Path | None = None
    ) -> process.Captured:
        return process.capture(
            ["apt-get", *options, *argv],
            env={**self._env, "LC_ALL": "C"},
            cwd=cwd,
            timeout=_APT_TIMEOUT,
        )

    def _arrange(self, root: Path, made: Path) -> None:
        """Put the programs where they find each other, and all libraries into one directory."""
        programs = {f"{self._triplet}-{name}" for name in _KEPT}
        programs |= {f"{self._triplet}-{name}-{self._wanted.major}" for name in _KEPT}
        shutil.copytree(
            root / "usr/bin",
            made / "usr/bin",
            symlinks=True,
            ignore=lambda _, names: [each for each in names if each not in programs],
        )
        own = f"usr/{self._triplet}/bin"
        shutil.copytree(root / own, made / own, symlinks=True)
        for place in ("usr/lib/gcc-cross", "usr/libexec/gcc-cross"):
            if (root / place).is_dir():
                shutil.copytree(root / place, made / place, symlinks=True)
        (made / "lib").mkdir()
        for place in ("lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib64", "usr/lib64"):
            for library in sorted(root.glob(f"{place}/*.so*")):
                if library.exists():  # a link to what no package here has
                    shutil.copy(library, made / "lib" / library.name)

    def _redirect(self, program: Path) -> Problem | None:
        """Have a program use the loader and the libraries that come with it."""
        tool = str(self._patchelf)
        asked = process.capture([tool, "--print-interpreter", str(program)])
        if not asked.ok:
            return None  # static, or a script
        loader = MOUNTED / "lib" / Path(asked.stdout.strip()).name
        argv = [tool, "--set-interpreter", str(loader)]
        # DT_RPATH also counts for the libraries' own libraries, and before LD_LIBRARY_PATH.
        argv += ["--force-rpath", "--set-rpath", str(MOUNTED / "lib"), str(program)]
        done = process.capture(argv, timeout=120)
        if done.ok:
            return None
        return Problem(what=f"{program.name} cannot be changed: {done.last_line}")


def _programs(made: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(made / "usr"):
        for name in names:
            path = Path(folder, name)
            if os.access(path, os.X_OK) and not path.is_symlink() and ".so" not in name:
                yield path


def _own_suite() -> str:
    """This machine's own Debian suite; its lists are there already."""
    try:
        text = Path("/etc/os-release").read_text("utf-8")
    except OSError:
        return ""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return values.get("VERSION_CODENAME", "") if values.get("ID") == "debian" else ""
