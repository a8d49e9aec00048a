"""A Python of another architecture, and the QEMU that runs it here: no root, no container.

Both come from packages that are unpacked into the user's cache, and QEMU is started by its name, so
that nothing has to be registered with the kernel. It looks for the loader and the libraries of what
it runs below a directory of ours first (``-L``); an import needs no more.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, Problem
from orchestrator.host import emulation, process
from orchestrator.host.emulation import QEMU_NAMES, host_arch
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.models.platforms import DEBIAN_ARCHES, Arch
from orchestrator.plan.compilers import CROSSED
from orchestrator.provision import apt
from orchestrator.provision import pythons as interpreters
from orchestrator.provision.cache_dir import CacheEntry, provide_entry, prune_entries
from orchestrator.provision.pythons import PythonTag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.host.process import Cancel
    from orchestrator.provision.apt import Archive
    from orchestrator.provision.cache_dir import CacheLock
    from orchestrator.provision.toolchain_env import Toolchain

_SUITES: Mapping[int, Sequence[str]] = {
    9: ("bullseye",),
    11: ("bookworm",),
    13: ("trixie", "forky"),
    14: ("forky",),
    15: ("forky", "sid"),
}
"""Minor version of Python -> Debian's suites that have it; uv is asked for the others."""

_FIRST: Mapping[Arch, str] = {Arch.RISCV64: "trixie", Arch.LOONGARCH64: "forky"}
"""Debian's first suite of an architecture that was not always there."""

_AGE = ("bullseye", "bookworm", "trixie", "forky", "sid")

_QEMU_SUITE = "trixie"
"""The suite whose QEMU knows all architectures of ours, and is one static program."""

_FOR_UV: Mapping[Arch, str] = {Arch.RISCV64: "riscv64gc"}
"""uv's name of an architecture, where it is another one."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Root:
    """What is noted in a directory with a Python of another architecture.

    Attributes:
        python: its executable.
        libraries: the directory for ``-L``.
        origin: where it comes from, in words.
    """

    python: str
    libraries: str
    origin: str


@dataclass(slots=True, kw_only=True)
class ForeignPythons:
    """Finds or fetches them; asks for each once, whether it can be had or not.

    Attributes:
        toolchain: holds uv.
        network: how to reach what is fetched.
        cache_dir: the user's cache directory.
        environ: only `base_env` of it is used.
        say: told that something is fetched.
        cancel: stops uv; nothing is begun once it is set.
    """

    toolchain: Toolchain
    network: HostNetwork
    cache_dir: Path
    environ: Mapping[str, str]
    say: Callable[[str], object]
    cancel: Cancel
    _known: dict[tuple[str, Arch], ForeignPython | Problem] = field(default_factory=dict)
    _qemu: CacheEntry | Problem | None = None

    def provide(self, python: str, arch: Arch) -> ForeignPython | Problem:
        """Return a Python, or why there is none here.

        Args:
            python: its tag: ``cp312``, ``cp313t``.
            arch: its architecture, another one than this machine's.
        """
        key = (python, arch)
        if key not in self._known:
            try:
                self._known[key] = self._provide(python, arch)
            except EnvironmentProblemError as error:  # nothing is worse than without it
                self._known[key] = error.problems[0]
            except OSError as error:
                self._known[key] = Problem(
                    what=f"{error.filename or store(self.cache_dir)}: {error}"
                )
        return self._known[key]

    def _provide(self, python: str, arch: Arch) -> ForeignPython | Problem:
        tag = PythonTag.parse(python)
        if tag is None or tag.implementation != "cpython" or arch not in CROSSED:
            return Problem(what=f"no {python} for {arch} is known")
        root: CacheEntry | Problem | None = None
        problem = Problem(what=f"no QEMU for {arch}")
        for qemu in self._emulators(arch):
            if isinstance(qemu, Problem):
                problem = qemu
                continue
            root = root or self._root(tag, arch)
            if isinstance(root, Problem):
                return root
            found = self._proved(tag, arch, qemu, root)
            if isinstance(found, ForeignPython):
                return found
            problem = found
        return problem

    @property
    def _env(self) -> dict[str, str]:
        return base_env(self.environ) | self.network.child_env()

    # The emulator

    def _emulators(self, arch: Arch) -> Iterator[CacheEntry | Path | Problem]:
        """This machine's own first, then the distribution's."""
        installed = emulation.installed_qemu(arch)
        if installed is not None:
            yield emulation.useless(arch, installed) or installed
        if self._qemu is None:
            folder = store(self.cache_dir) / f"qemu-on-{host_arch()}-{_recipe()}"
            self._qemu = self._made(folder, self._fetch_qemu)
        yield self._qemu

    def _fetch_qemu(self, made: Path) -> Problem | None:
        """Unpack the programs for all architectures, as the package has them all."""
        name = "qemu-user-static"
        found = apt.fetch(
            self._archives(made.parent, _QEMU_SUITE),
            [name],
            made.parent / "qemu",
            # The programs are static; newer suites have them in the package of that other name.
            wanted=lambda each: each.name in {name, "qemu-user"},
            say=lambda: self.say("fetching QEMU (not installed, kept in the cache)"),
        )
        problem = found if isinstance(found, Problem) else _unpack_qemu(made)
        if problem is None:
            return None
        return Problem(what=f"no QEMU on PATH, and none to fetch ({problem.what})")

    # The Python

    def _root(self, tag: PythonTag, arch: Arch) -> CacheEntry | Problem:
        threads = "t" if tag.free_threaded else ""
        folder = store(self.cache_dir) / f"python{tag.version}{threads}-{arch}-{_recipe()}"
        return self._made(folder, lambda made: self._fetch_python(tag, arch, made))

    def _fetch_python(self, tag: PythonTag, arch: Arch, made: Path) -> Problem | None:
        problem = Problem(what=f"Debian has no {tag} for {arch}")
        for suite in () if tag.free_threaded else _suites(tag.minor, arch):
            archive = apt.of_suite(suite, made.parent, self._env, arch=arch)
            found = self._debian(archive, tag, arch, suite, made)
            if not isinstance(found, Problem):
                _note(made, found)
                return None
            problem = found
        found = self._by_uv(tag, arch, made)
        if isinstance(found, Problem):
            return Problem(what=f"no {tag} for {arch}: {problem.what}; {found.what}")
        _note(made, found)
        return None

    def _debian(
        self, archive: Archive | Problem, tag: PythonTag, arch: Arch, suite: str, made: Path
    ) -> _Root | Problem:
        """Unpack Debian's, with the libraries that its standard library needs, and C++'s."""
        name, debs = f"python{tag.version}", made.parent / suite
        words = f"fetching {tag} for {arch} of Debian {suite} (not installed, kept in the cache)"
        found = apt.fetch(
            [archive],
            [name, "libstdc++6"],
            debs,
            wanted=lambda each: each.arch != "all",
            say=lambda: self.say(words),
        )
        if isinstance(found, Problem):
            return found
        problem = apt.unpack(debs, made)
        if problem is not None:
            shutil.rmtree(made)
            made.mkdir()
            return problem
        version = next(each.version for each in found if each.name == name)
        _arrange(made, tag)
        return _Root(
            python=f"usr/bin/{name}",
            libraries=".",
            origin=f"{name} {version} of Debian {suite}",
        )

    def _by_uv(self, tag: PythonTag, arch: Arch, made: Path) -> _Root | Problem:
        """Have uv fetch one, and take the C and C++ library from the cross compilers' packages."""
        threads = "+freethreaded" if tag.free_threaded else ""
        request = f"cpython-{tag.version}{threads}-linux-{_FOR_UV.get(arch, arch)}-gnu"
        pythons = made / "pythons"
        pythons.mkdir()
        said = interpreters.download(
            request,
            self.toolchain,
            self.network,
            store=pythons,
            environ=self.environ,
            cancel=self.cancel,
            timeout=_UV_TIMEOUT,
            retries=1,
        )
        # Beside it uv leaves a link to it, to where it is now and will not stay.
        places = [each for each in sorted(pythons.glob("cpython-*")) if not each.is_symlink()]
        found = [place / "bin" / tag.programs[0] for place in places]
        if said or not found:
            return Problem(what=f"uv could not fetch one: {said or 'it is not where uv puts them'}")
        failed = self._fetch_libraries(arch, made)
        if failed is not None:
            return Problem(what=f"no libraries for the one that uv fetched ({failed.what})")
        libraries = next(iter(made.glob("usr/*-linux-gnu")), made)
        if not (libraries / "lib64").exists():  # where some architectures have their loader
            (libraries / "lib64").symlink_to("lib")
        return _Root(
            python=str(found[0].relative_to(made)),
            libraries=str(libraries.relative_to(made)),
            origin=f"{found[0].parent.parent.name} of uv",
        )

    def _fetch_libraries(self, arch: Arch, made: Path) -> Problem | None:
        debian = DEBIAN_ARCHES[arch]
        names = [f"{each}-{debian}-cross" for each in ("libc6", "libgcc-s1", "libstdc++6")]
        debs = made.parent / "libraries"
        found = apt.fetch(
            self._archives(made.parent, ""),
            names,
            debs,
            wanted=lambda each: each.name in names,
            say=lambda: self.say(f"fetching {names[0]} (not installed, kept in the cache)"),
        )
        return found if isinstance(found, Problem) else apt.unpack(debs, made)

    def _archives(self, scratch: Path, suite: str) -> Iterator[Archive | Problem]:
        """A suite of Debian, if one is named; this machine's own lists; the same, new ones."""
        if suite:
            yield apt.of_suite(suite, scratch, self._env)
        yield apt.own(scratch, self._env)
        yield apt.own_anew(scratch, self._env)

    # helpers

    def _made(self, folder: Path, make: Callable[[Path], Problem | None]) -> CacheEntry | Problem:
        if self.cancel.is_set():
            return Problem(what="cancelled")
        return provide_entry(folder, make, current=_is_current)

    def _proved(
        self, tag: PythonTag, arch: Arch, emulator: CacheEntry | Path, root: CacheEntry
    ) -> ForeignPython | Problem:
        """Start it: where that fails, it is not the wheel that is to blame."""
        qemu = emulator if isinstance(emulator, Path) else _program(emulator.folder, arch)
        facts = _Root(**json.loads((root.folder / "facts.json").read_text("utf-8")))
        argv = (
            *(str(qemu), "-L", str(root.folder / facts.libraries)),
            str(root.folder / facts.python),
        )
        version = emulation.qemu_version(qemu)
        what = f"{facts.origin} under QEMU {version}"
        done = process.capture(
            [*argv, "-I", "-c", _PROBE], env=base_env(self.environ), timeout=_START_TIMEOUT
        )
        try:
            suffix, glibc = json.loads(done.stdout) if done.ok else ("", "")
        except ValueError:
            suffix = glibc = ""
        threads = "t" if tag.free_threaded else ""
        if not suffix.startswith(f".cpython-3{tag.minor}{threads}-{arch}-"):
            return Problem(
                what=f"{what} does not run: {done.last_line or f'exit {done.returncode}'}"
            )
        holds = (root.hold, None if isinstance(emulator, Path) else emulator.hold)
        return ForeignPython(argv=argv, glibc=glibc, what=what, holds=holds)


def prune(cache_dir: Path, on_progress: Callable[[str], object]) -> tuple[Path, ...]:
    """Remove what another version of this program fetched and no process uses.

    Args:
        cache_dir: the user's cache directory.
        on_progress: told when another process has to be waited for.

    Returns:
        What was removed.
    """
    return prune_entries(store(cache_dir), _is_current, on_progress)


def store(cache_dir: Path) -> Path:
    """Return the directory of all of them, and of QEMU."""
    return cache_dir.absolute() / "foreign-pythons"


def _is_current(name: str) -> bool:
    return name.endswith(f"-{_recipe()}")


def _recipe() -> str:
    """A digest of how they are made: another program makes other ones."""
    files = (Path(__file__), Path(apt.__file__))
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:8]


def _suites(minor: int, arch: Arch) -> Iterator[str]:
    """Debian's suites that may have a Python for an architecture."""
    first = _AGE.index(_FIRST.get(arch, _AGE[0]))
    yield from (each for each in _SUITES.get(minor, ()) if _AGE.index(each) >= first)


def _unpack_qemu(made: Path) -> Problem | None:
    """Unpack the emulators of our architectures, under one name whatever the package calls them."""
    for archive in sorted((made.parent / "qemu").glob("*.deb")):
        names = [f"usr/bin/qemu-{QEMU_NAMES[each]}{end}" for each in CROSSED for end in _ENDS]
        apt.unpack_some(archive, made, names)
    for arch in sorted(CROSSED - {host_arch()}):
        if not _program(made, arch).is_file():
            return Problem(what=f"qemu-user-static has no program for {arch}")
    return None


_ENDS = ("-static", "")


def _program(folder: Path, arch: Arch) -> Path:
    """Return the emulator in an unpacked package."""
    places = [folder / f"usr/bin/qemu-{QEMU_NAMES[arch]}{end}" for end in _ENDS]
    return next((each for each in places if each.is_file()), places[0])


def _arrange(root: Path, tag: PythonTag) -> None:
    """Remove what no import needs, and keep those files of this host out that it would look for."""
    for each in _UNWANTED:
        shutil.rmtree(root / each, ignore_errors=True)
    # A package of Debian's base has these links; older suites have directories there.
    for name in ("lib", "lib64"):
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")
    for each in (f"usr/local/lib/python{tag.version}/dist-packages", "usr/lib/python3", "etc"):
        (root / each).mkdir(parents=True)
    (root / "etc/ld.so.cache").touch()


def _note(made: Path, root: _Root) -> None:
    (made / "facts.json").write_text(json.dumps(asdict(root)), encoding="utf-8")
