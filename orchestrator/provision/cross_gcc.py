"""Native gcc for a foreign architecture, unpacked from the distribution's packages.

Nothing is installed, and root is not needed: apt resolves and fetches what a machine without any
package would need; it checks signatures as always. The programs are then changed to find their
loader and libraries where they will run: in a container at `MOUNTED`, so that nothing of an image
is covered, or in the cache of this host. Only there the target's C library, C++ library and headers
come with them; a container uses those of its image.
"""

from __future__ import annotations

import hashlib
import os
import re
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

BINUTILS = ("ar", "ranlib", "nm", "strip", "objcopy")
"""What build systems call in a cross build besides the compilers and the linker."""

_KEPT = ("gcc", "g++", "as", "ld", "ld.bfd", "ld.gold", *BINUTILS)
"""The compilers, the programs that they start, and those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCompiler:
    """The compiler of an image, as far as the native one must be identical.

    Attributes:
        triplet: what it compiles for, as Debian's packages call it.
        major: gcc's major version: its headers, its C++ library and its LTO go with no other.
            Empty for a cross build on this host, which takes the distribution's default.
        suite: the image's Debian suite; empty for another distribution.
    """

    triplet: str
    major: str = ""
    suite: str = ""

    @property
    def package(self) -> str:
        """Debian's package of the C++ compiler."""
        return "-".join(filter(None, ("g++", self.major, self.triplet))).replace("_", "-")

    @property
    def programs(self) -> tuple[str, str]:
        """The names of the C and the C++ compiler."""
        end = f"-{self.major}" if self.major else ""
        return f"{self.triplet}-gcc{end}", f"{self.triplet}-g++{end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossGcc:
    """A native gcc for another architecture.

    Attributes:
        folder: where it is on this host; a container has it at `MOUNTED`.
        gcc: the C driver, where it runs.
        gxx: the C++ driver there.
        version: the package and its version.
        glibc: the version of the C library that came with it (``2.36``); empty for none.
        identity: digest of all packages in it.
        hold: keeps it from being pruned.
    """

    folder: Path
    gcc: Path
    gxx: Path
    version: str
    glibc: str
    identity: str
    hold: CacheLock | None = field(default=None, repr=False, compare=False)


def provide(wanted: ImageCompiler, host: Host, *, say: Callable[[str], object]) -> CrossGcc:
    """Return a native gcc; fetch it if it is not in the cache yet."""
    name = f"{wanted.package}-on-{host_arch()}-{wanted.suite or 'any'}"
    there = MOUNTED if wanted.major else CROSS_GCC.folder(host.cache_dir, name)
    entry = CROSS_GCC.provide(
        host.cache_dir, name, lambda made: _Maker(wanted, made, there, host, say).make(), say=say
    )
    fetched = (entry.folder / "packages").read_text("utf-8")
    version = next(line for line in fetched.splitlines() if re.match(r"g\+\+-\d", line))
    glibc = re.search(r"^libc6-\w+-cross=(\d+\.\d+)", fetched, re.MULTILINE)
    gcc, gxx = (there / "usr/bin" / program for program in wanted.programs)
    return CrossGcc(
        folder=entry.folder,
        hold=entry.hold,
        gcc=gcc,
        gxx=gxx,
        version=version.replace("=", " "),
        glibc=glibc[1] if glibc else "",
        identity=hashlib.sha256(fetched.encode()).hexdigest(),
    )


@dataclass(frozen=True, slots=True)
class _Maker:
    """One compiler on its way."""

    wanted: ImageCompiler
    made: Path
    there: Path
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
            relocate.redirect(program, self.there / "lib", self.host.toolchain.bin / "patchelf")

    def _fetch(self) -> list[Package]:
        """Download what is needed; return it."""
        package = self.wanted.package
        try:
            return apt.fetch(
                self._archives(),
                [package],
                self.made.parent / "debs",
                # Not the target's own files, if an image has them.
                wanted=lambda each: not self.wanted.major or each.arch != "all",
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
        if not self.wanted.major:  # this machine may have no lists yet
            yield lambda: apt.own_anew(self.made.parent, self.host.net_env)

    def _arrange(self, root: Path, made: Path) -> None:
        """Put programs where they find each other, and all libraries into one directory."""
        kept = re.compile(rf"{self.wanted.triplet}-({'|'.join(map(re.escape, _KEPT))})(-\d+)?")
        shutil.copytree(
            root / "usr/bin",
            made / "usr/bin",
            symlinks=True,
            ignore=lambda _, names: [each for each in names if not kept.fullmatch(each)],
        )
        own = f"usr/{self.wanted.triplet}"
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
