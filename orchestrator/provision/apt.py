"""Fetch the distribution's packages and unpack them into the cache; nothing is installed.

apt resolves what a machine without any package would need, and checks signatures as always. It
does not need root. It reads this machine's package lists, or those of another suite or architecture
that we download.
"""

from __future__ import annotations

import contextlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.fsutil import remove_tree
from orchestrator.host import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.models.platforms import Arch

_TIMEOUT = 900.0

_IMPATIENT = (
    "-oAcquire::Retries=1",
    *(f"-oAcquire::{each}::Timeout=30" for each in ("http", "https")),
)
"""A mirror that does not answer counts as missing: every caller has another way."""

_KEYRINGS = ("debian-archive-keyring.pgp", "debian-archive-keyring.gpg")
"""Debian's keys: apt of another distribution does not trust them by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A package as apt resolved it.

    Attributes:
        name: its name.
        version: its version.
        arch: ``amd64``, ``all``.
    """

    name: str
    version: str
    arch: str

    @property
    def exact(self) -> str:
        """How apt is asked for it."""
        return f"{self.name}={self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Packages that apt finds.

    Attributes:
        options: apt's.
        env: environment of apt, with what it needs to reach the network.
    """

    options: tuple[str, ...]
    env: Mapping[str, str]

    def resolve(self, *names: str) -> list[Package]:
        """Return packages, and what they need on a machine without any."""
        argv = ("--simulate", "--no-install-recommends", "install", *names)
        done = self._apt(*argv)
        found = re.findall(r"(?m)^Inst (\S+) \((\S+) .*\[(\w+)\]\)", done.stdout)
        if not done.ok or not found:
            what = done.last_line or f"apt knows no {' '.join(names)}"
            raise EnvironmentProblemError.of(what)
        return [Package(name=name, version=version, arch=arch) for name, version, arch in found]

    def fetch(self, packages: Sequence[str], folder: Path) -> None:
        """Download packages (``name`` or ``name=version``) into a new directory.

        It is removed again if that fails.
        """
        folder.mkdir()
        done = self._apt("download", *packages, cwd=folder)
        if not done.ok:
            remove_tree(folder)
        done.check(f"apt cannot fetch {packages[0]}")

    def update(self, what: str) -> Archive:
        """Read the lists again and return itself; `what` names them in errors."""
        self._apt("update").check(f"apt cannot read {what}")
        return self

    def _apt(self, *argv: str, cwd: Path | None = None) -> process.Captured:
        return process.capture(
            ["apt-get", *self.options, *argv],
            env={**self.env, "LC_ALL": "C"},
            cwd=cwd,
            timeout=_TIMEOUT,
        )


def own(scratch: Path, env: Mapping[str, str]) -> Archive:
    """Return this machine's own archive, by its own lists; `scratch` is a directory of ours."""
    (scratch / "status").touch()
    nothing = f"-oDir::State::status={scratch / 'status'}"
    plain = (nothing, "-oAPT::Sandbox::User=root", "-oDebug::NoLocking=1", "-qq")
    return Archive(options=(*plain, *_IMPATIENT), env=env)


def own_anew(scratch: Path, env: Mapping[str, str]) -> Archive:
    """Return the same with new lists: this machine may have none, or old ones."""
    plain, place = own(scratch, env), scratch / "own"
    return replace(plain, options=(*plain.options, *_lists(place))).update("the package lists")


def of_suite(
    suite: str, scratch: Path, env: Mapping[str, str], *, arch: Arch | None = None
) -> Archive:
    """Return a suite (``trixie``) of Debian's archive, from the mirror that this machine uses.

    `scratch` is an existing directory of ours; without `arch`, packages are for this machine.
    """
    mirror = _mirror(env)
    plain, name = own(scratch, env), None if arch is None else arch.facts.debian
    place = scratch / f"{suite}-{name or 'here'}"
    place.mkdir()
    keys = (Path("/usr/share/keyrings", each) for each in _KEYRINGS)
    signed = next((f"[signed-by={each}] " for each in keys if each.exists()), "")
    (place / "sources.list").write_text(f"deb {signed}{mirror} {suite} main\n", "utf-8")
    options = [f"-oDir::Etc::sourcelist={place / 'sources.list'}", "-oDir::Etc::sourceparts=-"]
    if name is not None:
        options += [f"-oAPT::Architecture={name}", f"-oAPT::Architectures={name}"]
    return replace(plain, options=(*plain.options, *options, *_lists(place))).update(suite)


def own_suite() -> str:
    """Return this machine's own Debian suite; empty for another distribution."""
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
        return release.get("VERSION_CODENAME", "") if release["ID"] == "debian" else ""
    return ""


def _mirror(env: Mapping[str, str]) -> str:
    """Return the mirror of Debian that this machine uses."""
    try:
        return default_mirror(env)
    except EnvironmentProblemError as error:
        # Without lists apt knows of no origin, but still where it would fetch them from.
        argv = ["apt-get", "-oDebug::NoLocking=1", "--print-uris", "update"]
        said = process.capture(argv, env=env)
        found = re.search(rf"^'(\S+/)dists/{own_suite() or '-'}/", said.stdout, re.MULTILINE)
        if found is None:
            raise EnvironmentProblemError.of(
                error.what
            ) from None  # its hint names an option of another command
        return found[1]


def _lists(place: Path) -> Iterable[str]:
    """Return apt's options for package lists in a new directory."""
    (place / "lists" / "partial").mkdir(parents=True)
    return (
        f"-oDir::State::lists={place / 'lists'}",
        f"-oDir::Cache={place / 'cache'}",
        "-oAcquire::Languages=none",
    )


def fetch(
    archives: Iterable[Callable[[], Archive]],
    names: Sequence[str],
    folder: Path,
    *,
    wanted: Callable[[Package], bool],
    say: Callable[[], object],
) -> list[Package]:
    """Download packages into a new directory, from the first archive that has them; return them.

    `wanted` selects from the packages and all that they need; `say` is called before a download.

    Raises:
        EnvironmentProblemError: the error of the last archive.
    """
    refused = EnvironmentProblemError.of("no apt here")
    for opened in archives:
        try:
            archive = opened()
            chosen = [package for package in archive.resolve(*names) if wanted(package)]
            say()
            archive.fetch([package.exact for package in chosen], folder)
        except EnvironmentProblemError as error:
            refused = error
        else:
            return chosen
    raise refused


def unpack(folder: Path, root: Path, *, env: Mapping[str, str] | None = None) -> None:
    """Unpack all packages of a directory."""
    for archive in sorted(folder.glob("*.deb")):
        done = process.capture(["dpkg-deb", "-x", str(archive), str(root)], env=env, timeout=120)
        done.check(f"{archive.name} cannot be unpacked")


def unpack_some(archive: Path, root: Path, names: Iterable[str]) -> None:
    """Unpack the named files of a package, such as ``usr/bin/cc``, as far as it has them."""
    script = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" -f - -- "${@:3}"'
    argv = ["bash", "-c", script, "unpack", str(archive), str(root)]
    process.capture([*argv, *(f"./{each}" for each in names)], timeout=300)


def default_mirror(env: Mapping[str, str]) -> str:
    """Return the mirror that this machine's own apt uses for Debian.

    Raises:
        EnvironmentProblemError: it uses none.
    """
    wanted = ["Identifier: Packages", "Origin: Debian", "Label: Debian"]
    said = process.capture(["apt-get", "indextargets", "--format", "$(REPO_URI)", *wanted], env=env)
    if not said.ok or not said.stdout.strip():
        raise EnvironmentProblemError.of(
            "this machine's apt has no Debian mirror", hint="name one with --mirror"
        )
    return said.stdout.split()[0]
