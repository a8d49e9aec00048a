"""What installs the requirements of a build in an emulated container: a native uv for pip.

pip takes longer to start under QEMU than many a project takes to compile. The toolchain's uv is
native, also in there: it builds with the same emulated Python, which it asks. Where a target has
tests, only the requirements of the build are its affair, and `build` is the frontend, as it is with
cibuildwheel unless it is told otherwise: environments of tests have pip in them, and uv's have not.
Where pip is told something that uv could not be told likewise, pip remains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.containers.access import Access
from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.python_tag import PythonTag
from orchestrator.provision.relocate import MOUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchestrator.host.network import HostNetwork
    from orchestrator.host.process import Captured
    from orchestrator.models.target import BuildRequest

FRONTEND = "build; args: --installer=uv"
"""cibuildwheel's own default frontend, told what installs."""

ALONE = "uv"
"""The same without another emulated Python in between."""

_LEAST_BUILD = (1, 2)
"""The first `build` that knows uv."""

_QUESTIONS = f"""\
{MOUNTED}/uv --version || exit
env | sed -n 's/^\\(PIP_[A-Z_]*\\)=.*/pip \\1/p'
for file in /etc/pip.conf /etc/xdg/pip/pip.conf ~/.pip/pip.conf ~/.config/pip/pip.conf; do
    if test -e $file; then echo "pip $file"; fi
done
ls -d /opt/python/*/lib/*/site-packages/build-*.dist-info
"""

_BUILD = re.compile(r"(?m)^/opt/python/([^/]+)/\S+/build-(\d+)\.(\d+)\S*\.dist-info$")

_HARMLESS = frozenset(
    f"PIP_{each}"
    for each in (
        *("CACHE_DIR", "CERT", "DISABLE_PIP_VERSION_CHECK", "NO_CACHE_DIR", "NO_COLOR"),
        *("NO_COMPILE", "NO_INPUT", "NO_WARN_SCRIPT_LOCATION", "PROGRESS_BAR", "ROOT_USER_ACTION"),
    )
)
"""What changes nothing about what is installed."""

_TOLD = re.compile(r"\bPIP_[A-Z_]+\b|\bpip3? config\b|\bpip\.conf\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installer:
    """A native uv for the containers of one image.

    Attributes:
        folder: uv, and what it needs, on this host.
        version: ``uv 0.13.8``.
        pythons: the directories of ``/opt/python`` whose `build` can use it.
        env: variables that make it install what pip would.
        private: the same, where nobody may see the values.
        frontend: cibuildwheel's name of what calls it.
    """

    folder: Path
    version: str
    pythons: frozenset[str]
    env: tuple[tuple[str, str], ...]
    private: tuple[tuple[str, str], ...] = field(repr=False)
    frontend: str = FRONTEND

    def added_to(self, access: Access) -> Access:
        """Return what a build gets, with uv on PATH and told where to look."""
        return replace(
            access,
            links=(*access.links, MOUNTED),
            env=(*access.env, *self.env),
            private=(*access.private, *self.private),
            mounts=(*access.mounts, (self.folder, MOUNTED, False)),
            frontend=self.frontend,
        )

    def settled(self, request: BuildRequest, told: Iterable[str]) -> Installer:
        """Return what one target gets.

        Args:
            request: what is built.
            told: where else pip may be told something: the text of the project's pyproject.toml
                with its ``[tool.cibuildwheel]``, arguments of containers.

        Raises:
            EnvironmentProblemError: pip has to install for it; says why.
        """
        because = _asked_for(request, told)
        tested = request.target.steps.test_command or "test-command" in request.source.own_options
        python = PythonTag.parse(request.target.python)
        if tested and not because and python.image_directory not in self.pythons:
            least = ".".join(map(str, _LEAST_BUILD))
            because = f"the image has no build {least} or newer for {python}"
        if because:
            raise EnvironmentProblemError.of(because)
        return self if tested else replace(self, frontend=ALONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What an image says, once uv has run there.

    Attributes:
        version: uv's.
        told: what the image itself tells pip: names of variables and files.
        pythons: the directories of ``/opt/python`` whose `build` can use uv.
    """

    version: str
    told: tuple[str, ...]
    pythons: tuple[str, ...]


def ask(folder: Path, network: HostNetwork, run: Callable[[str, str], Captured]) -> ImageFacts:
    """Start uv in an image, and ask what else counts.

    Args:
        folder: uv for containers, from `orchestrator.provision.relocate`.
        network: what it gives containers is not the image's own.
        run: runs a script in a container of the image, made with an argument for the engine.
    """
    said = run(_QUESTIONS, f"--volume={folder}:{MOUNTED}:ro")
    version = re.match(r"uv \S+", said.stdout)
    if version is None:
        raise EnvironmentProblemError.of(f"uv does not run in the image: {said.last_line}")
    given = _HARMLESS | network.pip_names
    builds = ((name, (int(a), int(b))) for name, a, b in _BUILD.findall(said.stdout))
    return ImageFacts(
        version=version[0],
        told=tuple(
            each for each in re.findall(r"(?m)^pip (\S+)$", said.stdout) if each not in given
        ),
        pythons=tuple(sorted(name for name, number in builds if number >= _LEAST_BUILD)),
    )


def make(folder: Path, network: HostNetwork, facts: ImageFacts) -> Installer:
    """Return the installer for an image.

    Args:
        folder: uv for containers, from `orchestrator.provision.relocate`.
        network: how the host's pip finds packages.
        facts: what the image said.

    Raises:
        EnvironmentProblemError: pip has to remain; says why.
    """
    if network.only_pip:
        raise EnvironmentProblemError.of(f"uv does not know {', '.join(network.only_pip)}")
    if facts.told:
        what = f"the image tells pip something of its own: {', '.join(facts.told)}"
        raise EnvironmentProblemError.of(what)
    public, private = network.uv_like_pip()
    return Installer(
        folder=folder,
        version=facts.version,
        pythons=frozenset(facts.pythons),
        env=(*_ALWAYS, *public),
        private=private,
    )


_ALWAYS = (
    # pip reads neither uv's files nor [tool.uv], and looks into all indexes for the best version.
    ("UV_NO_CONFIG", "1"),
    ("UV_NO_SOURCES", "1"),
    ("UV_INDEX_STRATEGY", "unsafe-best-match"),
    ("UV_PYTHON_DOWNLOADS", "never"),
    ("UV_NO_PROGRESS", "1"),
    # Without a home directory it would be in the project.
    ("UV_CACHE_DIR", "/tmp/uv-cache"),  # noqa: S108 - in a container that is ours alone
)


def _asked_for(request: BuildRequest, told: Iterable[str]) -> str:
    """Return what of a target's matrix and project needs pip."""
    if "build-frontend" in request.source.own_options:
        return "the project chooses its frontend"
    target, steps = request.target, request.target.steps
    commands = (steps.before_all or "", steps.before_build or "")
    variables = (text for each in target.env for text in (each.name, each.value))
    words = (word for text in (*told, *commands, *variables) for word in _TOLD.findall(text))
    found = next((each for each in words if each not in _HARMLESS), None)
    return f"uv does not know {found}" if found else ""


def pip_here_because(network: HostNetwork, request: BuildRequest, told: Iterable[str]) -> str:
    """Return why pip installs on this host; empty where uv may, which every host has.

    Args:
        network: how the host's pip finds packages.
        request: what is built.
        told: see `Installer.settled`.
    """
    if network.only_pip_here:
        return f"uv does not know {', '.join(network.only_pip_here)}"
    return _asked_for(request, told)


def here(network: HostNetwork, scratch: Path) -> Access:
    """Return what has the toolchain's uv install on this host, for one target.

    Args:
        network: how the host's pip finds packages.
        scratch: the target's private directory.
    """
    public, private = network.uv_like_pip_here()
    # What it builds on the way is for this target alone: its compilers may be for another machine.
    own = {**dict(_ALWAYS), **dict(public), "UV_CACHE_DIR": str(scratch / "uv")}
    return Access(links=(), env=tuple(own.items()), private=private, mounts=(), frontend=FRONTEND)
