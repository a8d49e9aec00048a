"""A native nvcc for containers of another architecture: kernels are what takes longest to compile.

nvcc for x86_64 compiles for aarch64 too: what the device runs does not depend on the host's
architecture, and what the host runs is compiled by the host compiler that nvcc is given. The
programs come from this host's CUDA toolkit if its version is identical, else from the package
index; headers and libraries remain those of the toolkit in the container. Nothing of an
image is covered by a loader or a library: the programs are told to find theirs at `MOUNTED`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import write_whole
from orchestrator.host import process
from orchestrator.host.emulation import host_arch
from orchestrator.host.transient_errors import may_pass
from orchestrator.models.platforms import Arch
from orchestrator.provision import relocate
from orchestrator.provision.cache_dir import NVCC, CacheLock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.provision.host import Host

MOUNTED = Path("/opt/orchestrator-native/cuda")
"""Where a container finds the programs, in a directory per version."""

ELSEWHERE = "ORCHESTRATOR_CUDA"
"""Names the directory of the nvcc that a native one stands in for."""

USUAL = ("/usr/local/cuda-{minor}", "/usr/local/cuda")
"""Where this host may have a toolkit if no variable names one."""

_WHEELS = ("nvidia-cuda-nvcc", "nvidia-nvvm")
"""What has the programs: nvcc, cudafe++, ptxas, fatbinary and nvlink; cicc."""

_FIRST_MAJOR = 13
"""The first CUDA whose wheels have all of them; earlier ones have ptxas and cicc alone."""

_NEEDED = ("bin/cudafe++", "bin/fatbinary", "bin/nvlink", "bin/ptxas", "nvvm/bin/cicc")

_PROFILE = "nvcc.profile"

_DAY = 24 * 3600.0
"""Seconds for which it is remembered which version is the newest one."""

_TIMEOUT, _FETCH_TIMEOUT = 120.0, 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvcc:
    """Programs of one version of CUDA.

    Attributes:
        folder: where they are on this host.
        version: of nvcc: ``13.0.88``.
        build: what each program says that it was built from, on every architecture.
        profile: SHA-256 of nvcc's settings as a toolkit has them.
        hold: keeps it from being pruned.
    """

    folder: Path
    version: str
    build: str
    profile: str
    hold: CacheLock | None = field(default=None, repr=False, compare=False)

    @property
    def there(self) -> Path:
        """Where a container has it."""
        return MOUNTED / self.version


def provide(wanted: str, host: Host, *, say: Callable[[str], object]) -> Nvcc:
    """Return a native nvcc; fetch it if it is not in the cache yet.

    Args:
        wanted: a version of nvcc (``13.0.88``), or of CUDA (``13.0``) for its newest nvcc.
        host: CUDA_HOME and CUDA_PATH of its environment name its own toolkit.
        say: told that something is fetched.

    Raises:
        EnvironmentProblemError: there is none for this host.
    """
    if host_arch() is not Arch.X86_64:
        what = f"nvcc on {host_arch()} compiles for no other architecture"
        raise EnvironmentProblemError.of(what)
    index = _Index(place=NVCC.place(host.cache_dir), host=host)
    version = wanted if wanted.count(".") > 1 else _newest(wanted, index)

    def make(made: Path) -> None:
        root = _own(version, host.environ).get(version) or index.fetch(version, made.parent, say)
        _make(root, version, made, host.toolchain.bin / "patchelf")

    entry = NVCC.provide(host.cache_dir, f"{version}-on-{host_arch()}", make, say=say)
    facts = json.loads((entry.folder / "facts.json").read_text("utf-8"))
    return Nvcc(folder=entry.folder, hold=entry.hold, **facts)


def _newest(wanted: str, index: _Index) -> str:
    """Return the newest nvcc of a CUDA on the index, else on this host."""
    try:
        return index.newest(wanted)
    except EnvironmentProblemError:
        own = _own(wanted, index.host.environ)
        if not own:
            raise
        return max(own, key=_number)


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    version: str
    build: str


def _ask(nvcc: Path) -> _Said | None:
    said = process.capture([str(nvcc), "--version"], timeout=_TIMEOUT)
    version = re.search(r", V(\d+\.\d+\.\d+)$", said.stdout, re.MULTILINE)
    build = re.search(r"^Build (\w+_\S+)$", said.stdout, re.MULTILINE)
    return _Said(version=version[1], build=build[1]) if version and build else None


def _own(wanted: str, environ: Mapping[str, str]) -> dict[str, Path]:
    """Return this host's own toolkits of a version, of those that are whole."""
    named = [Path(each) for name in ("CUDA_HOME", "CUDA_PATH") if (each := environ.get(name))]
    minor = ".".join(wanted.split(".")[:2])
    found: dict[str, Path] = {}
    for root in (*named, *(Path(each.format(minor=minor)) for each in USUAL)):
        said = _ask(root / "bin/nvcc") if (root / "bin/nvcc").is_file() else None
        if said is None or not f"{said.version}.".startswith(f"{wanted}."):
            continue
        if not _lacking(root, said):
            found.setdefault(said.version, root)
    return found


def _lacking(root: Path, said: _Said) -> str:
    """Return what a toolkit is missing; its packages may be of two versions."""
    missing = [each for each in (*_NEEDED, f"bin/{_PROFILE}") if not (root / each).is_file()]
    if missing:
        return ", ".join(missing)
    same = said.build.encode() in (root / "nvvm/bin/cicc").read_bytes()
    return "" if same else "a cicc of the same build"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """Where wheels come from."""

    place: Path
    host: Host

    def newest(self, minor: str) -> str:
        """Return the newest version of nvcc there; asked once a day."""
        known = self.place / f"newest-{minor}"
        if known.is_file() and time.time() - known.stat().st_mtime < _DAY:
            return known.read_text("utf-8")
        with TemporaryDirectory(prefix="orchestrator-") as scratch:
            asked = Path(scratch, "requirements.in")
            asked.write_text(f"{_WHEELS[0]}=={minor}.*\n", "utf-8")
            options = ("--quiet", "--no-header", "--no-annotate", str(asked))
            try:
                said = self._uv("compile", *options, minor=minor, scratch=Path(scratch))
            except EnvironmentProblemError:
                if known.is_file():
                    return known.read_text("utf-8")
                raise
        version = said.strip().rpartition("==")[2]
        write_whole(known, version, durable=False)
        return version

    def fetch(self, version: str, scratch: Path, say: Callable[[str], object]) -> Path:
        """Return the root of a toolkit of this host's architecture."""
        say(f"fetching nvcc {version} for this machine, some 100 MB (once, into the cache)")
        unpacked = scratch / "unpacked"
        pins = (f"{name}=={version}" for name in _WHEELS)
        self._uv("install", f"--target={unpacked}", *pins, minor=version, scratch=scratch)
        for nvcc in unpacked.glob("nvidia/*/bin/nvcc"):
            return nvcc.parents[1]
        raise EnvironmentProblemError.of(f"no wheel of {version} has an nvcc")

    def _uv(self, command: str, *arguments: str, minor: str, scratch: Path) -> str:
        """Run ``uv pip``; return what it prints."""
        if int(minor.partition(".")[0]) < _FIRST_MAJOR:
            what = f"wheels of CUDA {minor} have no nvcc, and this host has no toolkit of it"
            raise EnvironmentProblemError.of(what)
        host, network = self.host, self.host.network
        if network.only_pip_here:
            what = f"uv does not know {', '.join(network.only_pip_here)}"
            raise EnvironmentProblemError.of(what)
        public, private = network.uv_like_pip_here()
        where = ["--index-strategy=unsafe-best-match"]
        if host.wheels is not None:
            where = ["--no-index", f"--find-links={host.wheels}"]
        python = f"--python={host.toolchain.python}"
        common = ("--no-config", "--no-deps", "--only-binary=:all:", "--no-progress", python)
        env = host.net_env | dict(public) | dict(private)
        own = {"UV_CACHE_DIR": str(scratch / "uv"), "NO_COLOR": "1", "UV_LINK_MODE": "hardlink"}
        said = process.capture(
            [str(host.toolchain.bin / "uv"), "pip", command, *common, *where, *arguments],
            env=env | own,
            timeout=_FETCH_TIMEOUT,
        )
        if said.ok:
            return said.stdout
        why = said.last_line.removeprefix("cause: ")
        raise EnvironmentProblemError.of(
            f"nvcc {minor} cannot be fetched: {why}", transient=may_pass(said.stderr.splitlines())
        )


def _make(root: Path, version: str, made: Path, patchelf: Path) -> None:
    """Copy what runs out of a toolkit, to be found and started in any root file system."""
    said = _ask(root / "bin/nvcc")
    if said is None or said.version != version:
        raise EnvironmentProblemError.of(f"nvcc {version} does not run on this host")
    if lacking := _lacking(root, said):
        raise EnvironmentProblemError.of(f"nvcc {version} is incomplete: {lacking} is missing")
    for part in ("bin", "nvvm/bin"):
        shutil.copytree(root / part, made / part)
    lib = MOUNTED / version / "lib"
    for program in (*sorted((made / "bin").iterdir()), made / "nvvm/bin/cicc"):
        if program.is_dir():
            continue
        program.chmod(0o755)
        try:
            relocate.bring(program, made / "lib", lib, patchelf)
        except EnvironmentProblemError:
            if str(program.relative_to(made)) in {"bin/nvcc", *_NEEDED}:
                raise
            program.unlink()  # a helper that this host cannot start either
    profile = (made / "bin" / _PROFILE).rename(made / _PROFILE).read_text("utf-8")
    (made / "bin" / _PROFILE).write_text(_of_the_toolkit(profile), "utf-8")
    _add_targets(made / "sbsa")
    facts = asdict(said) | {"profile": hashlib.sha256(profile.encode()).hexdigest()}
    (made / "facts.json").write_text(json.dumps(facts, indent=1), "utf-8")


def _of_the_toolkit(profile: str) -> str:
    """Return nvcc's settings with everything but the programs where it stands in for another."""
    moved = re.sub(r"(?m)^(TOP\s*=\s*)\$\(_HERE_\)", rf"\1$({ELSEWHERE})", profile)
    return re.sub(r"(?m)^(CICC_PATH\s*=\s*)\$\(TOP\)", r"\1$(_HERE_)/..", moved)


def _add_targets(folder: Path) -> None:
    """Add the same programs once more, beside the directory that makes nvcc look into ``targets``.

    It decides by what is beside itself, and some toolkits have that directory and others have not.
    """
    (folder / "bin").mkdir(parents=True)
    (folder / "targets/sbsa-linux").mkdir(parents=True)
    (folder / "nvvm").symlink_to("../nvvm")
    for each in (folder.parent / "bin").iterdir():
        (folder / "bin" / each.name).symlink_to(f"../../bin/{each.name}")
