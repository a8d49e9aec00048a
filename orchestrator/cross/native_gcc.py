"""Native compilers inside an emulated container: the image's gcc without emulation, or zig.

The image's own compiler is asked once for its headers, start files and libraries, and a native gcc
of the same version uses them. Its links come first on PATH, so that every build system finds it.
The image's own compiler still answers questions (`gcc -dumpmachine`), and compiles everything but C
and C++.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.containers.access import Access, count_words
from orchestrator.containers.toolkits import SCRIPT as TOOLKITS_SCRIPT
from orchestrator.containers.toolkits import Toolkit
from orchestrator.cross import driver, native_nvcc, native_uv
from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import write_whole
from orchestrator.host import process
from orchestrator.host.json_file import load_json
from orchestrator.models.platforms import Arch
from orchestrator.models.target import CompilerKind
from orchestrator.plan.compilers import cuda
from orchestrator.provision import cross_gcc
from orchestrator.provision.answers import Answers, once
from orchestrator.provision.cache_dir import NATIVE, CacheLock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.containers.container import ContainerFactory
    from orchestrator.cross.native_nvcc import NativeNvcc
    from orchestrator.cross.native_uv import Installer
    from orchestrator.models.result import CompilerCacheStats, CompileReport
    from orchestrator.models.target import BuildRequest, CompilePlan, Target
    from orchestrator.models.wheel import ElfFile
    from orchestrator.provision.tools import Tools
    from orchestrator.provision.zig import Zig

_THERE = Path("/opt/orchestrator-native")
"""The links, the compilers behind them and the log of calls, in a container."""

_QUESTIONS = driver.SOURCE_DIR / "questions.sh"
_PROOF = driver.SOURCE_DIR / "proof.cpp"

_ASK_TIMEOUT = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetImage:
    """An image that native compilers are made for; ``id`` is the engine's, empty for none."""

    reference: str
    id: str
    arch: Arch


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeCompilers:
    """Native compilers for the containers of one image.

    Attributes:
        folder: links and configuration, on this host.
        what: the compiler in words.
        mounts: (path on this host, path in the container, whether the build may write there).
        installer: installs instead of pip; None if pip installs.
        pip_because: why pip installs; empty otherwise.
        toolkits: the image's CUDA toolkits.
        kernels: compiles CUDA kernels; None if the target uses no CUDA.
        holds: keep the files from being pruned.
    """

    folder: Path
    what: str
    mounts: tuple[tuple[Path, Path, bool], ...]
    installer: Installer | None = None
    pip_because: str = "no native uv was looked for"
    toolkits: tuple[Toolkit, ...] = ()
    kernels: NativeNvcc | None = None
    holds: tuple[CacheLock | None, ...] = field(default=(), repr=False, compare=False)

    @property
    def identity(self) -> str:
        """Digest of what compiles, and how it is called."""
        return self.folder.name

    def access(self, scratch: Path) -> Access:
        """Return how a build reaches the compilers; the log of calls is in `scratch`."""
        log = scratch / _LOG_DIR
        log.mkdir(parents=True, exist_ok=True)
        log.chmod(0o777)
        own = ((self.folder / name, _THERE / name, False) for name in ("bin", "image"))
        mounts = (*self.mounts, *own, (log, _THERE / "log", True))
        access = Access(links=(_THERE / "bin",), mounts=mounts)
        if self.kernels is not None:
            program = self.folder / "bin" / driver.PROGRAM
            access = self.kernels.add_to(access, program, scratch, _CALLS)
        return access if self.installer is None else self.installer.add_to(access)

    def for_target(self, request: BuildRequest, told: Iterable[str]) -> NativeCompilers:
        """Return the compilers for one target; see `Installer.for_target`."""
        told = tuple(told)
        kernels = None if self.kernels is None else self.kernels.for_target(request, told)
        native = replace(self, kernels=kernels)
        if self.installer is None:
            return native
        try:
            return replace(native, installer=self.installer.for_target(request, told))
        except EnvironmentProblemError as error:
            return replace(native, installer=None, pip_because=error.what)

    @property
    def installs(self) -> str:
        """What installs the requirements of a build, in words."""
        if self.installer is None:
            return f"pip under QEMU: {self.pip_because}"
        return f"native {self.installer.version} ({self.installer.frontend.partition(';')[0]})"


_FACTS = "facts.json"

_LOG_DIR, _LOG = "native", "calls"
"""The log of calls in a target's private directory; each call adds a line of one word."""

_CALLS = str(_THERE / "log" / _LOG)

_OTHERS = ("Rust", "Fortran", "CUDA")
"""Languages whose emulated compilers call ours, for host code or to link."""


def count_calls(
    compiled: CompileReport | None,
    scratch: Path,
    cached: CompilerCacheStats | None,
    files: Iterable[ElfFile],
) -> CompileReport | None:
    """Add the logged calls of a build's compilers to its report.

    Args:
        compiled: the report as planned.
        scratch: the target's private directory.
        cached: statistics of the compiler cache, whose hits call no compiler.
        files: the ELF files of the wheel.
    """
    folder = scratch / _LOG_DIR
    if compiled is None or not folder.is_dir():
        return compiled
    counts = count_words(folder, _LOG)  # none if no compiler was called
    # gfortran calls none of our links, but what it links needs its library.
    if any("libgfortran" in name for file in files if file.python_abi for name in file.needed):
        counts["Fortran"] += 1
    why = compiled.why
    if others := [name for name in _OTHERS if counts[name]]:
        why = f"{' and '.join(others)} compiled under QEMU"
        why += f" (at hand: {compiled.cuda})" if counts["CUDA"] and compiled.cuda else ""
    elif not counts["native"] and not (cached and cached.hits):
        why = "no compiler was called by a name that PATH leads to"
    return replace(
        compiled,
        native=counts["native"],
        emulated=counts["own"],
        nvcc=counts["nvcc"] if compiled.cuda else None,
        why=why,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    """Answers of the image's own compiler (`driver_src/questions.sh`)."""

    gcc: str  # its full version
    suite: str  # the image's Debian suite; empty for another distribution
    names: dict[str, str]  # all names of this compiler -> program of the image
    c: tuple[str, ...]  # its directories of headers for C
    cxx: tuple[str, ...]
    folders: tuple[str, ...]  # of libraries
    files: tuple[str, ...]  # start files and libraries of its own
    nvcc: tuple[str, ...]  # answers about CUDA toolkits

    @property
    def toolkits(self) -> tuple[Toolkit, ...]:
        return tuple(map(Toolkit.parse, self.nvcc))


@dataclass(kw_only=True, eq=False)
class NativeCompilerFactory(Answers):
    """Makes native compilers for the containers of targets that this machine emulates.

    Attributes:
        tools: zig, which also compiles the program that all links stand for, uv and nvcc.
        containers: the images.
    """

    tools: Tools
    containers: ContainerFactory

    def compilers(self, target: Target) -> NativeCompilers:
        """Return native compilers for a target's container; they are made once for an image.

        Raises:
            EnvironmentProblemError: there are none, or the image cannot be used.
        """
        reference, checked = self.containers.reference(target), self.containers.check(target)
        image = TargetImage(reference=reference, id=checked.id, arch=target.arch)
        native = self._compilers(image, target.compiling)
        if target.arch is not Arch.AARCH64:
            return native
        version = cuda(dict(target.variant))
        return replace(native, kernels=native_nvcc.find(native.toolkits, version, self.tools.nvcc))

    @once
    def _compilers(self, image: TargetImage, planned: CompilePlan) -> NativeCompilers:
        cache_dir, zig, facts = self.tools.host.cache_dir, self.tools.zig, None
        # All that decides about the links.
        parts = [image.id, repr(image.arch.facts), planned.compiler, planned.baseline, zig.digest]
        name = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:24]
        if planned.compiler is CompilerKind.ZIG:
            native, compilers = _zig(zig), zig_driver(image.arch, planned.baseline)
        else:
            facts = self._facts(image, NATIVE.folder(cache_dir, name) / _FACTS)
            native, compilers = self._gcc(image, facts)
        program = driver.program(zig, cache_dir)

        def make(made: Path) -> None:
            driver.make(made / "bin", compilers, program)
            _write_files(made, facts)
            access = replace(native, folder=made).access(made.parent)
            self._prove(image, native.what, access)

        entry = NATIVE.provide(cache_dir, name, make, say=self.tools.say)
        native = replace(native, folder=entry.folder, holds=(*native.holds, entry.hold))
        try:
            return replace(native, installer=self._installer(image, native.folder), pip_because="")
        except EnvironmentProblemError as error:
            return replace(native, pip_because=error.what)

    def _installer(self, image: TargetImage, folder: Path) -> Installer:
        """Return the installer that replaces pip; an image is asked once for each uv."""
        uv = self.tools.portable_uv.folder
        known = folder / f"{uv.name}.json"
        if known.is_file():
            facts = load_json(native_uv.ImageFacts, known)
        else:
            facts = native_uv.ask(uv, self.tools.host.network, partial(self._run, image))
            write_whole(known, json.dumps(asdict(facts)), durable=False)
        return native_uv.make(uv, self.tools.host.network, facts)

    def _facts(self, image: TargetImage, known: Path) -> _Facts:
        """Return the answers of the image's compiler; it is asked once."""
        if known.is_file():
            return load_json(_Facts, known)
        self.tools.say(f"asking the compiler of {image.reference} what it uses")
        return _parse(
            image.reference,
            self._run(
                image, f"{_QUESTIONS.read_text('utf-8')}{TOOLKITS_SCRIPT.read_text('utf-8')}"
            ),
        )

    def _gcc(self, image: TargetImage, facts: _Facts) -> tuple[NativeCompilers, driver.Driver]:
        wanted = cross_gcc.ImageCompiler(
            triplet=image.arch.facts.triplet,
            major=facts.gcc.partition(".")[0],
            suite=facts.suite,
        )
        gcc = cross_gcc.provide(wanted, self.tools.host, say=self.tools.say)
        native = NativeCompilers(
            folder=Path(),
            what=f"native {gcc.version}",
            mounts=((gcc.folder, cross_gcc.MOUNTED, False),),
            toolkits=facts.toolkits,
            holds=(gcc.hold,),
        )
        return native, _gcc_driver(facts, gcc, image.arch)

    def _run(self, image: TargetImage, script: str, *args: str) -> process.Captured:
        """Run a script in a container of an image, with more arguments for the engine."""
        containers, platform = self.containers, f"--platform={image.arch.facts.oci}"
        argv = [containers.engine.name, "run", "--rm", "--pull=never", platform, *containers.args]
        return process.capture(
            [*argv, *args, "--entrypoint=/bin/sh", image.id or image.reference, "-c", script],
            env=containers.env,
            timeout=_ASK_TIMEOUT,
        )

    def _prove(self, image: TargetImage, what: str, access: Access) -> None:
        """Compile, link and run a program in the image before any build relies on the compilers."""
        compile_it = f"cd /tmp && {_THERE}/bin/g++ -O2 -pthread -x c++ - -o proof"
        text = _PROOF.read_text("utf-8")
        script = f"{compile_it} <<'EOF' || exit\n{text}\nEOF\nexec ./proof"
        done = self._run(image, script, *access.container_args())
        if not done.ok or done.stdout.strip() != "proved":
            raise EnvironmentProblemError.of(
                f"{what} makes no working program in {image.reference}: "
                f"{done.last_line or f'exit {done.returncode}'}"
            )


def _zig(zig: Zig) -> NativeCompilers:
    zig.cache.mkdir(parents=True, exist_ok=True)
    mounts = ((zig.root, _ZIG.root, False), (zig.cache, _ZIG.cache, True))
    return NativeCompilers(
        folder=Path(), what=f"zig {zig.version}", mounts=mounts, holds=(zig.hold,)
    )


def _parse(image: str, done: process.Captured) -> _Facts:
    """Read the answers of an image's compiler."""
    answers: dict[str, list[str]] = defaultdict(list)
    for line in dict.fromkeys(done.stdout.splitlines()):
        key, _, value = line.partition(" ")
        answers[key].append(value)
    if not done.ok or not answers["gcc"] or not answers["cxx"]:
        why = done.stderr.strip().splitlines()
        raise EnvironmentProblemError.of(
            f"{image} has no gcc and g++ that say what they use" + (f" ({why[-1]})" if why else "")
        )
    return _Facts(
        gcc=answers["gcc"][0],
        suite=next(iter(answers["suite"]), ""),
        names=dict(answer.split(" ", 1) for answer in answers["name"]),
        c=tuple(answers["c"]),
        cxx=tuple(answers["cxx"]),
        folders=tuple(answers["folder"]),
        files=tuple(answers["file"]),
        nvcc=tuple(answers["nvcc"]),
    )


def _write_files(made: Path, facts: _Facts | None) -> None:
    """Write the answers of the image's gcc, and links to its own files."""
    (made / "image").mkdir()
    if facts is None:  # it is not used
        return
    for file in facts.files:
        (made / "image" / Path(file).name).symlink_to(file)
    (made / _FACTS).write_text(json.dumps(asdict(facts), indent=1), encoding="utf-8")


def _gcc_driver(facts: _Facts, gcc: cross_gcc.CrossGcc, arch: Arch) -> driver.Driver:
    return driver.Driver(
        compiler=CompilerKind.GCC,
        arch=arch,
        tools=(("cc", (str(gcc.gcc),)), ("c++", (str(gcc.gxx),))),
        first=("-nostdinc", f"-B{_THERE / 'image'}/"),
        link=tuple(f"-L{folder}" for folder in facts.folders),
        # As variables: only these distinguish C from C++.
        headers=(
            ("C_INCLUDE_PATH", ":".join(facts.c)),
            ("CPLUS_INCLUDE_PATH", ":".join(facts.cxx)),
        ),
        own=tuple(facts.names.items()),
        log=_CALLS,
    )


_ZIG = driver.ZigPaths(
    root=_THERE / "zig",
    cache=_THERE / "zig-cache",
    scratch=Path("/tmp/orchestrator-zig"),  # noqa: S108 - in a container that is ours alone
)


def zig_driver(arch: Arch, glibc: str) -> driver.Driver:
    """Return the driver that compiles with zig in a container; see `driver.zig_driver`."""
    triplet = arch.facts.triplet
    headers = ("/usr/local/include", f"/usr/include/{triplet}", "/usr/include")
    libraries = ("/usr/local/lib", f"/usr/lib/{triplet}", "/usr/lib64")
    zig = driver.zig_driver(arch, glibc, _ZIG)
    return replace(driver.with_system(zig, headers, libraries), log=_CALLS)
