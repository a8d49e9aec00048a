"""Native gcc for a foreign architecture, unpacked from the distribution's packages.

Nothing is installed, and root is not needed: apt resolves and fetches what a machine without any
package would need; it checks signatures as always. The programs are then changed to find their
loader and libraries where a container will see them (`MOUNTED`), so that nothing of an image is
covered, and nothing of this host is used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.provision import apt, relocate
from orchestrator.provision.cache_dir import CROSS_GCC, CacheLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.provision.apt import Archive, Package
    from orchestrator.provision.host import Host

MOUNTED = Path("/opt/orchestrator-native/gcc")
"""Where a container finds it."""

_KEPT = ("gcc", "g++", "as", "ld", "ld.bfd", "ld.gold")
"""The compilers, and the programs that they start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCompiler:
    """The compiler of an image, as far as the native one must be identical.

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
        hold: keeps it from being pruned.
    """

    folder: Path
    gcc: Path
    gxx: Path
    version: str
    identity: str
    hold: CacheLock | None = field(default=None, repr=False, compare=False)


def provide(wanted: ImageCompiler, host: Host, *, say: Callable[[str], object]) -> CrossGcc:
    """Return a native gcc; fetch it if it is not in the cache yet."""
    entry = CROSS_GCC.provide(
        host.cache_dir,
        f"{wanted.package}-on-{host_arch()}-{wanted.suite or 'any'}",
        lambda made: _Maker(wanted, made, host, say).make(),
        say=say,
    )
    fetched = (entry.folder / "packages").read_text("utf-8")
    version = next(line for line in fetched.splitlines() if line.startswith(wanted.package))
    names = [f"{wanted.triplet}-{each}-{wanted.major}" for each in ("gcc", "g++")]
    return CrossGcc(
        folder=entry.folder,
        hold=entry.hold,
        gcc=MOUNTED / "usr/bin" / names[0],
        gxx=MOUNTED / "usr/bin" / names[1],
        version=version.replace("=", " "),
        identity=hashlib.sha256(fetched.encode()).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    """One compiler on its way."""

    wanted: ImageCompiler
    made: Path
    host: Host
    say: Callable[[str], object]

    def make(self) -> None:
        fetched = self._fetch()
        root, made = self.made.parent / "root", self.made
        apt.unpack(self.made.parent / "debs", root)
        self._arrange(root, made)
        names = "".join(f"{package.exact}\n" for package in fetched)
        (made / "packages").write_text(names, encoding="utf-8")
        for program in _programs(made):
            relocate.redirect(program, MOUNTED / "lib", self.host.toolchain.bin / "patchelf")

    def _fetch(self) -> list[Package]:
        """Download what is needed; return it."""
        package = self.wanted.package
        try:
            return apt.fetch(
                self._archives(),
                [package],
                self.made.parent / "debs",
                # Not the target's own files, which the image has.
                wanted=lambda each: each.arch != "all",
                say=lambda: self.say(f"fetching {package} (not installed, kept in the cache)"),
            )
        except EnvironmentProblemError as error:
            what = f"no {package} to compile with ({error.what})"
            hint = '`apt-get update` on this host, or build.emulation = "full"'
            raise error.reword(what, hint=hint) from None

    def _archives(self) -> Iterator[Callable[[], Archive]]:
        """Return the image's suite first: only that has the identical gcc."""
        suite = self.wanted.suite
        if suite and suite != apt.own_suite():
            yield lambda: apt.of_suite(suite, self.made.parent, self.host.net_env)
        yield lambda: apt.own(self.made.parent, self.host.net_env)

    def _arrange(self, root: Path, made: Path) -> None:
        """Put programs where they find each other, and all libraries into one directory."""
        programs = {f"{self.wanted.triplet}-{name}" for name in _KEPT}
        programs |= {f"{self.wanted.triplet}-{name}-{self.wanted.major}" for name in _KEPT}
        shutil.copytree(
            root / "usr/bin",
            made / "usr/bin",
            symlinks=True,
            ignore=lambda _, names: [each for each in names if each not in programs],
        )
        own = f"usr/{self.wanted.triplet}/bin"
        shutil.copytree(root / own, made / own, symlinks=True)
        for place in ("usr/lib/gcc-cross", "usr/libexec/gcc-cross"):
            if (root / place).is_dir():
                shutil.copytree(root / place, made / place, symlinks=True)
        (made / "lib").mkdir()
        for place in ("lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib64", "usr/lib64"):
            for library in sorted(root.glob(f"{place}/*.so*")):
                if library.exists():  # a link to what no package here has
                    shutil.copy(library, made / "lib" / library.name)


def _programs(made: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(made / "usr"):
        for name in names:
            path = Path(folder, name)
            if os.access(path, os.X_OK) and not path.is_symlink() and ".so" not in name:
                yield path
