"""Environments of builds: what a build requires, installed once and shared by all that need it.

The locked uv resolves the requirements for a Python and a platform, and installs them into a
directory of the cache that nobody writes into: one for each resolution. An environment of a build
names it in a ``.pth`` file (`builders/scripts/attach_environment.py`). uv's own downloads lie
beside it and share its files, so that Pythons share what does not depend on Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import threading
import tomllib
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.pylock import Pylock

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.fsutil import write_whole
from orchestrator.host.index_router import IndexRoutes, original, routed
from orchestrator.host.json_file import load_json
from orchestrator.host.process import PLAIN_UMASK, Cancel, run
from orchestrator.host.redaction import without_login
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.result import RequirementFile
from orchestrator.models.words import count_of
from orchestrator.provision import wheelhouse
from orchestrator.provision.cache_dir import ENVIRONMENTS, machine_errors, remove_entry, silent
from orchestrator.provision.failures import run_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.provision.cache_dir import CacheEntry, Progress
    from orchestrator.provision.host import Host
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.wheelhouse import LockEntry

SITE = "site"
"""The directory of an entry with the packages, as ``pip install --target`` fills it."""

_FILES, _DOWNLOADS = "files", "downloads"

_FROM = re.compile(r"(?m)^( +# from )(\S+)$")
"""uv's line about the index of a package."""

_GLIBCS = (17, 28, *range(31, 41))
"""Versions of glibc 2 that uv has a platform for."""

_WITH_GLIBC = frozenset({Arch.X86_64, Arch.AARCH64})


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentQuestion:
    """What an environment is asked for.

    Attributes:
        python: the Python's tag.
        interpreter: one of that version on this host; None if there is none.
        arch: the platform's architecture.
        libc: its libc.
        glibc: the version of its glibc (``2.36``).
        is_here: whether it is for this host itself.
        may_build: whether sdists may be built for another platform, which happens on this host.
        requires: requirements (PEP 508).
        constraints: requirements that limit versions.
        indexes: (distribution or glob, URL of the index that alone has it).
    """

    python: str
    interpreter: Interpreter | None = None
    arch: Arch
    libc: Libc
    glibc: str = ""
    is_here: bool = False
    may_build: bool = False
    requires: tuple[str, ...]
    constraints: tuple[str, ...] = ()
    indexes: tuple[tuple[str, str], ...] = ()

    def options(self, python: Path) -> list[str]:
        """Return uv's options for the Python and the platform; `python` is any.

        Raises:
            EnvironmentProblemError: uv has no name for them.
        """
        tag, named = PythonTag.parse(self.python), []
        if self.interpreter is not None:
            python = self.interpreter.path
        elif tag.implementation != "cpython" or tag.free_threaded:
            raise EnvironmentProblemError.of(f"uv needs a {tag.words} on this host")
        else:
            named = [f"--python-version={tag.version}"]
        if self.is_here:
            return [f"--python={python}", *named]
        # Nothing is compiled for another platform, and an sdist might be.
        compiled = [] if self.may_build else ["--no-build"]
        return [f"--python={python}", *named, f"--python-platform={self._platform}", *compiled]

    @property
    def _platform(self) -> str:
        if self.arch in {Arch.I686, Arch.ARMV7L}:
            raise EnvironmentProblemError.of(f"uv knows no platform {self.libc}_{self.arch}")
        name = "powerpc64le" if self.arch is Arch.PPC64LE else self.arch
        if self.libc is Libc.MUSLLINUX:
            return f"{name}-unknown-linux-musl"
        minor = int(self.glibc.split(".")[1]) if self.glibc else _GLIBCS[0]
        known = [each for each in _GLIBCS if each <= minor]
        if self.arch in _WITH_GLIBC:
            return f"{name}-manylinux_2_{max(known)}"
        return f"{name}-unknown-linux-gnu"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedEnvironment:
    """An environment in the cache.

    Attributes:
        entry: its directory, which nobody prunes meanwhile.
        packages: what is in it.
        files: what it was installed from.
    """

    entry: CacheEntry
    packages: tuple[LockEntry, ...] = field(repr=False)
    files: tuple[RequirementFile, ...] = field(repr=False)

    @property
    def site(self) -> Path:
        """The directory with its packages."""
        return self.entry.folder / SITE

    @property
    def locked(self) -> dict[str, RequirementFile]:
        """Normalised name of a package -> the file that it was installed from."""
        files = {each.name: each for each in self.files}
        return {
            each.name: replace(
                files.get(each.name) or _unnamed_file(each), index=without_login(each.index)
            )
            for each in self.packages
        }

    def discard_written(self) -> str:
        """Return the first file that somebody changed, added or removed; empty for none.

        If there is one, the environment is removed, and the downloads that share its files. Builds
        that use it fail too, which they should.
        """
        file = self._written()
        cache = self.entry.folder.parents[1]
        if file:
            with ENVIRONMENTS.locked(cache, silent, Cancel()):
                for folder in (self.entry.folder, ENVIRONMENTS.folder(cache, _DOWNLOADS)):
                    if folder.is_dir():
                        remove_entry(folder)
        return file

    def _written(self) -> str:
        try:
            before = (self.entry.folder / _FILES).read_text(encoding="utf-8")
        except OSError:  # removed by another build
            return str(self.site)
        now = "\n".join(_files(self.site))
        changed = sorted(set(before.split("\n")) ^ set(now.split("\n")))
        return changed[0].partition("\t")[0] or str(self.site) if changed else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What requirements lead to.

    Attributes:
        lock: the versions, the hashes of all their files, and the indexes.
        pylock: the same with the one file of each that is installed (PEP 751).
    """

    lock: str
    pylock: str

    @classmethod
    def read(cls, file: Path) -> Resolution | None:
        """Return what a file of the cache has; None if there is none."""
        try:
            return load_json(cls, file)
        except ConfigError:
            return None

    @property
    def packages(self) -> tuple[LockEntry, ...]:
        """The packages."""
        return wheelhouse.parse(self.lock)

    @property
    def files(self) -> tuple[RequirementFile, ...]:
        """The file of each package, without its index; none of an index without hashes."""
        return _chosen_files(self.pylock)


@dataclass(kw_only=True, eq=False)
class EnvironmentMaker:
    """Makes environments in the cache; one serves all threads of a run.

    Attributes:
        host: the locked uv, network and cache.
        cancel: stops it.
    """

    host: Host
    cancel: Cancel
    _resolved: dict[EnvironmentQuestion, Resolution] = field(default_factory=dict)
    _resolving: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, question: EnvironmentQuestion, say: Progress) -> PreparedEnvironment:
        """Return the environment of a question; make it if it is missing, or was written into.

        Args:
            question: what is asked for.
            say: told what takes a while.

        Raises:
            EnvironmentProblemError: it cannot be made.
        """
        downloads = self.downloads(say)
        with self._resolving:  # once in a run
            found = self._resolved.get(question) or self._resolve(question, downloads, say)
            self._resolved[question] = found
        packages = found.packages
        return self.provide(
            question,
            partial(self._install, question, packages, downloads=downloads),
            packages=packages,
            files=found.files,
            say=say,
        )

    def downloads(self, say: Progress) -> Path:
        """Return the directory of uv's downloads, beside the environments that share them."""
        return ENVIRONMENTS.provide(
            self.host.cache_dir, _DOWNLOADS, lambda _: None, say=say, cancel=self.cancel
        ).folder

    def provide(
        self,
        question: EnvironmentQuestion,
        install: Callable[[Path], None],
        *,
        packages: tuple[LockEntry, ...],
        files: tuple[RequirementFile, ...],
        say: Progress,
    ) -> PreparedEnvironment:
        """Return the environment of some packages, in which nobody has written.

        Args:
            question: what it is for.
            install: fills `SITE` in a directory; see `install`.
            packages: what it has then.
            files: what that is installed from.
            say: told what takes a while.
        """
        platform = (question.python, question.arch, question.libc, question.options(Path()))
        locked = [(each.line, each.index) for each in packages]
        digest = hashlib.sha256(repr((platform, locked)).encode()).hexdigest()[:16]
        what = count_of(len(packages), "package")

        def make(made: Path) -> None:
            say(f"preparing an environment of {what} (once, in the cache)")
            (made / SITE).mkdir()
            (made / SITE).chmod(0o755)
            install(made)
            self._compile_modules(question, made / SITE)
            (made / _FILES).write_text("\n".join(_files(made / SITE)), encoding="utf-8")

        while True:
            entry = ENVIRONMENTS.provide(
                self.host.cache_dir,
                f"{digest}-{question.python}-{question.arch}",
                make,
                say=say,
                cancel=self.cancel,
            )
            prepared = PreparedEnvironment(entry=entry, packages=packages, files=files)
            if not (file := prepared.discard_written()):
                return prepared
            say(f"somebody wrote into a prepared environment, which is made again: {file}")

    def _resolve(self, question: EnvironmentQuestion, downloads: Path, say: Progress) -> Resolution:
        """Return what the requirements lead to; without network, what they led to last time."""
        options = question.options(self.host.toolchain.python)
        asked = repr((options, question.requires, question.constraints, question.indexes))
        digest = hashlib.sha256(asked.encode()).hexdigest()[:32]
        known = ENVIRONMENTS.place(self.host.cache_dir) / f"resolution-{digest}"
        try:
            found = self.resolve(question, downloads)
            write_whole(known, json.dumps(asdict(found)), durable=False)
        except EnvironmentProblemError as error:
            last = Resolution.read(known) if error.transient else None
            if last is None:
                raise
            say(f"the package index cannot be reached: {known.name} is the last resolution")
            found = last
        return found

    def resolve(
        self, question: EnvironmentQuestion, downloads: Path, keep: Iterable[str] = ()
    ) -> Resolution:
        """Have uv resolve; return the locks that it writes, with the indexes' own addresses.

        Args:
            question: what is asked for.
            downloads: see `downloads`.
            keep: pins (``name==version``) that are taken where they may be.

        Raises:
            EnvironmentProblemError: the requirements contradict each other, or are nowhere.
        """
        options = question.options(self.host.toolchain.python)
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder, ExitStack() as stack:
            scratch = Path(folder)
            env = self.host.uv_env(downloads, self.host.build_env(scratch))
            routes = IndexRoutes.of(question.indexes, env)
            if question.indexes:
                ours = {"UV_INDEX_URL", "UV_EXTRA_INDEX_URL"}
                env = {name: value for name, value in env.items() if name not in ours}
                env |= stack.enter_context(routed(routes, self.host.network))
                # Its addresses are new each time.
                env["UV_CACHE_DIR"] = str(scratch / "uv")
            lines = {"requirements.in": question.requires, "constraints": question.constraints}
            for name, each in lines.items():
                (scratch / name).write_text("".join(f"{line}\n" for line in each), "utf-8")
            # uv keeps to what its output file has, as far as it can.
            (scratch / "lock").write_text("".join(f"{pin}\n" for pin in keep), "utf-8")
            arguments = ["requirements.in", "--output-file=lock", "--no-header"]
            arguments += ["--constraint=constraints"] if question.constraints else []
            arguments += ["--emit-index-annotation", "--generate-hashes"]
            self._uv(
                "resolve what the build requires", "compile", [*options, *arguments], env, scratch
            )
            text = (scratch / "lock").read_text(encoding="utf-8")
            # With hashes, too, uv would download the files, to check them.
            pins = "".join(f"{each.pin}\n" for each in wheelhouse.parse(text))
            (scratch / "pins.in").write_text(pins, encoding="utf-8")
            pinned = ["pins.in", "--no-deps", "--output-file=pylock.toml", "--no-header"]
            pinned += ["--offline"]  # uv has just been told everything
            pylock = ""
            with suppress(EnvironmentProblemError):  # of an index without hashes
                self._uv("lock the requirements", "compile", [*options, *pinned], env, scratch)
                pylock = (scratch / "pylock.toml").read_text(encoding="utf-8")
        if question.indexes:
            text = _FROM.sub(lambda line: f"{line[1]}{original(line[2], routes)}", text)
        return Resolution(lock=text, pylock=pylock)

    def _install(
        self,
        question: EnvironmentQuestion,
        lock: Sequence[LockEntry],
        made: Path,
        *,
        downloads: Path,
    ) -> None:
        """Install a lock; every package comes from the index that it was found on."""
        scratch = made.parent
        (scratch / "pyproject.toml").write_text(_manifest(question, lock), encoding="utf-8")
        arguments = ["--requirements=pyproject.toml", "--no-deps"]
        env = self.host.uv_env(downloads, self.host.build_env(scratch))
        env.pop("UV_NO_SOURCES")
        try:
            self.install(question, made, arguments, env)
        except EnvironmentProblemError as error:
            if not question.indexes or error.kind is ErrorKind.CANCELLED:
                raise
            # What the router was told, a page that uv has kept for ten minutes may not know.
            self.install(question, made, [*arguments, "--refresh"], env)

    def install(
        self,
        question: EnvironmentQuestion,
        made: Path,
        arguments: Iterable[str],
        env: Mapping[str, str],
    ) -> None:
        """Have uv install into a new environment; files of `arguments` lie beside it."""
        options = question.options(self.host.toolchain.python)
        argv = [*options, *arguments, f"--target={made / SITE}"]
        self._uv("install what the build requires", "install", argv, env, made.parent)

    def _compile_modules(self, question: EnvironmentQuestion, site: Path) -> None:
        """Compile modules, which the builds cannot where nobody may write."""
        if question.interpreter is None:
            return
        # A package may have files that this Python does not compile.
        argv = [str(question.interpreter.path), "-I", "-S", "-m", "compileall", "-qq", "-j0", "."]
        env = self.host.env
        run(argv, env=env, cwd=site, log=silent, cancel=self.cancel, umask=PLAIN_UMASK)

    def _uv(
        self, what: str, command: str, arguments: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> None:
        argv = [str(self.host.toolchain.bin / "uv"), "pip", command, "--no-progress", *arguments]
        with machine_errors(cwd):
            run_step(what, argv, env=env, cwd=cwd, cancel=self.cancel)


def _unnamed_file(entry: LockEntry) -> RequirementFile:
    """Return what is known of a file of an index that says no hashes, without its index."""
    version = "" if entry.requirement.url else entry.version
    only = next(iter(entry.hashes)) if len(entry.hashes) == 1 else ""
    return RequirementFile(
        name=entry.name, version=version, filename="", sha256=only, url="", index=""
    )


def _chosen_files(pylock: str) -> tuple[RequirementFile, ...]:
    """Return the file of each package of a lock, without its index (PEP 751).

    Directories and repositories are no files; an sdist counts where there is no wheel.
    """
    found: list[RequirementFile] = []
    if not pylock:
        return ()
    for package in Pylock.from_dict(tomllib.loads(pylock)).packages:
        file = next(iter(package.wheels or ()), package.sdist or package.archive)
        if file is not None and file.url is not None:
            place = without_login(file.url)
            found.append(
                RequirementFile(
                    name=package.name,
                    version=str(package.version or ""),
                    filename=unquote(urlsplit(place).path.rpartition("/")[2]),
                    sha256=file.hashes.get("sha256", ""),
                    url=place,
                    index="",
                )
            )
    return tuple(found)


def _manifest(question: EnvironmentQuestion, lock: Sequence[LockEntry]) -> str:
    """Return the pyproject.toml that has uv install a lock."""
    routes = IndexRoutes(named=question.indexes, others=())
    numbers = {url: f"index-{number}" for number, url in enumerate(routes.urls)}
    pins = json.dumps([each.pin for each in lock])
    lines = ["[project]", 'name = "environment"', 'version = "0"', f"dependencies = {pins}"]
    for url, name in numbers.items():
        lines += ["[[tool.uv.index]]", f"name = {json.dumps(name)}", f"url = {json.dumps(url)}"]
        lines += ["explicit = true"]
    lines.append("[tool.uv.sources]")
    for each in lock:
        only = routes.index_of(each.name)
        if only is not None and not each.requirement.url:
            lines.append(f"{json.dumps(each.name)} = {{ index = {json.dumps(numbers[only])} }}")
    return "\n".join([*lines, ""])


def _files(site: Path) -> list[str]:
    """Return a line for each file, which changes when somebody writes it, byte code aside."""
    lines = []
    for folder, folders, names in os.walk(site):
        if "__pycache__" in folders:
            folders.remove("__pycache__")
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 - thousands of them
            seen = os.lstat(path)
            lines.append(
                f"{path[len(str(site)) + 1 :]}\t{seen.st_size} {seen.st_mtime_ns} {seen.st_ino}"
            )
    return sorted(lines)
