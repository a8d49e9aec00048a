"""A Python of another architecture, and the QEMU that runs it here: no root, no container.

Both come from packages that are unpacked into the user's cache. QEMU is started by its name, so
that nothing has to be registered with the kernel, and told where the loader and the libraries of
the program are (``-L``); an import needs no more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.fsutil import remove_tree, write_whole
from orchestrator.host import emulation, process
from orchestrator.host.emulation import host_arch
from orchestrator.host.json_file import load_json
from orchestrator.models.platforms import CROSSED
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.reading import json_value
from orchestrator.provision import apt
from orchestrator.provision import pythons as interpreters
from orchestrator.provision.answers import Answers, once
from orchestrator.provision.cache_dir import FOREIGN_PYTHONS, CacheEntry, machine_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.models.platforms import Arch
    from orchestrator.provision.apt import Archive
    from orchestrator.provision.cache_dir import CacheLock
    from orchestrator.provision.host import Host

_SUITES: Mapping[int, Sequence[str]] = {
    9: ("bullseye",),
    11: ("bookworm",),
    13: ("trixie", "forky"),
    14: ("forky",),
    15: ("forky", "sid"),
}
"""Minor version of Python -> Debian's suites that have it; uv is asked for the others."""

_AGE = ("bullseye", "bookworm", "trixie", "forky", "sid")

_QEMU_SUITE = "trixie"
"""The suite whose QEMU knows all our architectures, and is one static program."""

_UNWANTED = ("etc", "var", "sbin", "usr/share", "usr/sbin", "usr/libexec", "usr/lib/python3")

_UV_TIMEOUT = 300.0
_START_TIMEOUT = 120.0

_PROBE = """
import ctypes, hashlib, importlib.machinery, json, platform, tempfile, zipfile
print(json.dumps([
    importlib.machinery.EXTENSION_SUFFIXES[0],
    platform.libc_ver()[1],
]))
"""
"""Imports what the import of a wheel does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignPython:
    """A Python of another architecture that answered.

    Attributes:
        argv: what starts it here.
        glibc: version of its glibc (``2.36``).
        what: it, in words.
        holds: keep its files from being pruned.
    """

    argv: tuple[str, ...]
    glibc: str
    what: str
    holds: tuple[CacheLock | None, ...] = field(default=(), repr=False, compare=False)


@dataclass(kw_only=True, eq=False)
class ForeignPythons(Answers):
    """Finds or fetches Pythons; looks for each one once.

    Attributes:
        host: its uv and network; its cache gets them.
        say: told that something is fetched.
        cancel: stops uv; nothing is begun once it is set.
    """

    host: Host
    say: Callable[[str], object]
    cancel: Cancel

    @once
    def provide(self, python: str, arch: Arch) -> ForeignPython:
        """Return a Python for a tag (``cp312``) and an architecture other than this machine's."""
        tag = PythonTag.match(python)
        if tag is None or tag.implementation != "cpython" or arch not in CROSSED:
            raise EnvironmentProblemError.of(f"no {python} for {arch} is known")
        refused = EnvironmentProblemError.of(f"no QEMU for {arch}")
        with machine_errors(FOREIGN_PYTHONS.place(self.host.cache_dir)):
            for emulator in (self._installed, lambda _: self._qemu):
                try:
                    qemu = emulator(arch)
                except EnvironmentProblemError as error:
                    refused = error
                    continue
                name = f"{tag.programs[0]}-{arch}"
                root = self._make(name, partial(self._fetch_python, tag, arch))
                try:
                    return self._prove(tag, arch, qemu, root)
                except EnvironmentProblemError as error:
                    refused = error
        raise refused

    # The emulator

    def _installed(self, arch: Arch) -> Path:
        installed = emulation.installed_qemu(arch)
        if installed is None:
            raise EnvironmentProblemError.of(f"no QEMU for {arch} on PATH")
        emulation.check_qemu(arch, installed)
        return installed

    @property
    @once
    def _qemu(self) -> CacheEntry:
        return self._make(f"qemu-on-{host_arch()}", self._fetch_qemu)

    def _fetch_qemu(self, made: Path) -> None:
        """Unpack the programs for all architectures, as the package has them all."""
        name = "qemu-user-static"
        try:
            apt.fetch(
                [
                    lambda: apt.of_suite(_QEMU_SUITE, made.parent, self.host.net_env),
                    *self._own_archives(made.parent),
                ],
                [name],
                made.parent / "qemu",
                # The programs are static; newer suites have them in the package of that other name.
                wanted=lambda each: each.name in {name, "qemu-user"},
                say=lambda: self._say("QEMU"),
            )
            _unpack_qemu(made)
        except EnvironmentProblemError as error:
            raise error.reword(f"no QEMU on PATH, and none to fetch ({error.what})") from None

    # The Python

    def _fetch_python(self, tag: PythonTag, arch: Arch, made: Path) -> None:
        refused = f"Debian has no {tag.words} for {arch}"
        for suite in () if tag.free_threaded else _suites(tag.minor, arch):
            try:
                facts = self._debian(tag, arch, suite, made)
                break
            except EnvironmentProblemError as error:
                refused = error.what
        else:
            try:
                facts = self._by_uv(tag, arch, made)
            except EnvironmentProblemError as error:
                what = f"no {tag.words} for {arch}: {refused}; {error.what}"
                raise error.reword(what) from None
        if listed := emulation.processors(arch):  # QEMU looks for each file in there first
            write_whole(made / facts["libraries"] / "proc" / "cpuinfo", listed, durable=False)
        (made / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    def _debian(self, tag: PythonTag, arch: Arch, suite: str, made: Path) -> dict[str, str]:
        """Unpack Debian's, with the libraries that its standard library needs, and C++'s.

        Return its executable, the directory for ``-L``, and where it comes from.
        """
        name, debs = f"python{tag.version}", made.parent / suite
        origin = f"Debian {suite}"
        packages = apt.fetch(
            [lambda: apt.of_suite(suite, made.parent, self.host.net_env, arch=arch)],
            [name, "libstdc++6"],
            debs,
            wanted=lambda package: package.arch != "all",
            say=lambda: self._say(f"{tag.words} for {arch} of {origin}"),
        )
        try:
            apt.unpack(debs, made)
        except EnvironmentProblemError:
            remove_tree(made)
            made.mkdir()
            raise
        version = next(package.version for package in packages if package.name == name)
        _arrange(made, tag)
        origin = f"{name} {version} of {origin}"
        return {"python": f"usr/bin/{name}", "libraries": ".", "origin": origin}

    def _by_uv(self, tag: PythonTag, arch: Arch, made: Path) -> dict[str, str]:
        """Have uv fetch one, and take the C and C++ library from the cross compilers' packages."""
        threads = "+freethreaded" if tag.free_threaded else ""
        request = f"cpython-{tag.version}{threads}-linux-{arch.facts.rust}-gnu"
        pythons = made / "pythons"
        pythons.mkdir()
        interpreters.download(
            request,
            self.host,
            store=pythons,
            cancel=self.cancel,
            timeout=_UV_TIMEOUT,
            retries=1,
        )
        # Beside it uv leaves a link to it, to where it is now and will not stay.
        places = [each for each in sorted(pythons.glob("cpython-*")) if not each.is_symlink()]
        if not places:
            what = "uv could not fetch one: it is not where uv puts them"
            raise EnvironmentProblemError.of(what)
        program = places[0] / "bin" / tag.programs[0]
        try:
            self._fetch_libraries(arch, made)
        except EnvironmentProblemError as error:
            what = f"no libraries for the one that uv fetched ({error.what})"
            raise error.reword(what) from None
        libraries = next(iter(made.glob("usr/*-linux-gnu")), made)
        if not (libraries / "lib64").exists():  # where some architectures have their loader
            (libraries / "lib64").symlink_to("lib")
        return {
            "python": str(program.relative_to(made)),
            "libraries": str(libraries.relative_to(made)),
            "origin": f"{places[0].name} of uv",
        }

    def _fetch_libraries(self, arch: Arch, made: Path) -> None:
        debian = arch.facts.debian
        names = [f"{each}-{debian}-cross" for each in ("libc6", "libgcc-s1", "libstdc++6")]
        debs = made.parent / "libraries"
        apt.fetch(
            self._own_archives(made.parent),
            names,
            debs,
            wanted=lambda each: each.name in names,
            say=lambda: self._say(names[0]),
        )
        apt.unpack(debs, made)

    def _own_archives(self, scratch: Path) -> list[Callable[[], Archive]]:
        """Return what opens this machine's own lists, and the same, new ones."""
        return [partial(opened, scratch, self.host.net_env) for opened in (apt.own, apt.own_anew)]

    # helpers

    def _say(self, what: str) -> None:
        self.say(f"fetching {what} (not installed, kept in the cache)")

    def _make(self, name: str, make: Callable[[Path], object]) -> CacheEntry:
        if self.cancel.is_set():
            raise EnvironmentProblemError.of("cancelled", kind=ErrorKind.CANCELLED)
        return FOREIGN_PYTHONS.provide(
            self.host.cache_dir, name, make, say=self.say, cancel=self.cancel
        )

    def _prove(
        self, tag: PythonTag, arch: Arch, emulator: CacheEntry | Path, root: CacheEntry
    ) -> ForeignPython:
        """Start a Python: if an import fails later, the wheel is to blame."""
        qemu = emulator if isinstance(emulator, Path) else _program(emulator.folder, arch)
        facts = load_json(dict[str, str], root.folder / "facts.json")
        python, libraries = (str(root.folder / facts[name]) for name in ("python", "libraries"))
        argv = (str(qemu), "-L", libraries, python)
        version = emulation.qemu_version(qemu)
        what = f"{facts['origin']} under QEMU {version}"
        done = process.capture(
            [*argv, "-I", "-c", _PROBE], env=self.host.env, timeout=_START_TIMEOUT
        )
        try:
            suffix, glibc = json_value(done.stdout, where=what) if done.ok else ("", "")
        except (ConfigError, ValueError, TypeError):
            suffix = glibc = ""
        if not suffix.startswith(f".{tag.soabi}-{arch}-"):
            why = done.last_line or f"exit {done.returncode}"
            raise EnvironmentProblemError.of(f"{what} does not run: {why}")
        holds = (root.hold, None if isinstance(emulator, Path) else emulator.hold)
        return ForeignPython(argv=argv, glibc=glibc, what=what, holds=holds)


def _suites(minor: int, arch: Arch) -> Iterator[str]:
    """Debian's suites that may have a Python for an architecture."""
    first = _AGE.index(arch.facts.first_suite or _AGE[0])
    yield from (each for each in _SUITES.get(minor, ()) if _AGE.index(each) >= first)


def _unpack_qemu(made: Path) -> None:
    """Unpack the emulators of our architectures, under one name whatever the package calls them."""
    for archive in sorted((made.parent / "qemu").glob("*.deb")):
        names = [f"usr/bin/qemu-{each.facts.qemu}{end}" for each in CROSSED for end in _ENDS]
        apt.unpack_some(archive, made, names)
    for arch in sorted(CROSSED - {host_arch()}):
        if not _program(made, arch).is_file():
            what = f"qemu-user-static has no program for {arch}"
            raise EnvironmentProblemError.of(what)


_ENDS = ("-static", "")


def _program(folder: Path, arch: Arch) -> Path:
    """Return the emulator in an unpacked package."""
    places = [folder / f"usr/bin/qemu-{arch.facts.qemu}{end}" for end in _ENDS]
    return next((each for each in places if each.is_file()), places[0])


def _arrange(root: Path, tag: PythonTag) -> None:
    """Remove what no import needs, and hide files of this host that it would look for."""
    for each in _UNWANTED:
        remove_tree(root / each)
    # A package of Debian's base has these links; older suites have directories there.
    for name in ("lib", "lib64"):
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")
    for each in (f"usr/local/lib/python{tag.version}/dist-packages", "usr/lib/python3", "etc"):
        (root / each).mkdir(parents=True)
    (root / "etc/ld.so.cache").touch()
