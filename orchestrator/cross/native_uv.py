"""A native uv installs the requirements of a build in an emulated container, instead of pip.

Under QEMU pip takes longer to start than many projects take to compile. The toolchain's uv runs
natively in the container too, and builds with the same emulated Python. If a target has tests, uv
installs only the requirements of the build, and `build` is the frontend, which is cibuildwheel's
default: environments of tests need pip, and uv makes them without. If pip has settings that uv does
not know, pip installs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.network import UV_AS_PIP
from orchestrator.models.python_tag import PythonTag
from orchestrator.provision.host import uv_settings
from orchestrator.provision.relocate import MOUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchestrator.containers.access import Access
    from orchestrator.host.network import HostNetwork
    from orchestrator.host.process import Captured
    from orchestrator.models.target import BuildRequest

FRONTEND = "build; args: --installer=uv"
"""cibuildwheel's default frontend, with uv as its installer."""

ALONE = "uv"
"""uv as the frontend: no emulated Python in between."""

_CACHE = {"UV_CACHE_DIR": "/tmp/uv-cache"}  # noqa: S108 - in a container that is ours alone
"""Its default without a home directory is the project."""

_LEAST_BUILD = (1, 2)
"""The first `build` that can use uv."""

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
    f"PIP_{name}"
    for name in (
        *("CACHE_DIR", "CERT", "DISABLE_PIP_VERSION_CHECK", "NO_CACHE_DIR", "NO_COLOR"),
        *("NO_COMPILE", "NO_INPUT", "NO_WARN_SCRIPT_LOCATION", "PROGRESS_BAR", "ROOT_USER_ACTION"),
    )
)
"""Settings of pip that do not change what is installed."""

_TOLD = re.compile(r"\bPIP_[A-Z_]+\b|\bpip3? config\b|\bpip\.conf\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Installer:
    """A native uv for the containers of one image.

    Attributes:
        folder: uv with its loader and libraries, on this host.
        version: ``uv 0.13.8``.
        pythons: the directories of ``/opt/python`` whose `build` can use it.
        env: variables that make it install what pip would install.
        private: such variables whose values are secret.
        frontend: cibuildwheel's ``build-frontend``.
    """

    folder: Path
    version: str
    pythons: frozenset[str]
    env: tuple[tuple[str, str], ...]
    private: tuple[tuple[str, str], ...] = field(repr=False)
    frontend: str = FRONTEND

    def add_to(self, access: Access) -> Access:
        """Return an access that also has uv on PATH, and its settings."""
        return replace(
            access,
            links=(*access.links, MOUNTED),
            env=(*access.env, *self.env),
            private=(*access.private, *self.private),
            mounts=(*access.mounts, (self.folder, MOUNTED, False)),
            frontend=self.frontend,
        )

    def for_target(self, request: BuildRequest, told: Iterable[str]) -> Installer:
        """Return the installer for one target.

        Args:
            request: what is built.
            told: other texts with settings of pip: the project's pyproject.toml with its
                ``[tool.cibuildwheel]``, and arguments of containers.

        Raises:
            EnvironmentProblemError: pip has to install; says why.
        """
        if because := _choice_of_pip(request) or _why_pip(request, told):
            raise EnvironmentProblemError.of(because)
        tested = request.target.steps.test_command or "test-command" in request.source.own_options
        python = PythonTag.parse(request.target.python)
        if tested and python.image_directory not in self.pythons:
            least = ".".join(map(str, _LEAST_BUILD))
            what = f"the image has no build {least} or newer for {python}"
            raise EnvironmentProblemError.of(what)
        return self if tested else replace(self, frontend=ALONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """Facts about an image that uv needs.

    Attributes:
        version: uv's answer to ``--version`` in the image.
        told: the image's own settings of pip: names of variables and files.
        pythons: the directories of ``/opt/python`` whose `build` can use uv.
    """

    version: str
    told: tuple[str, ...]
    pythons: tuple[str, ...]


def ask(folder: Path, network: HostNetwork, run: Callable[[str, str], Captured]) -> ImageFacts:
    """Start uv in an image, and look for settings of pip and for `build`.

    Args:
        folder: uv for containers, from `orchestrator.provision.relocate`.
        network: its settings of pip in containers are not the image's own.
        run: runs a script in a container of the image, with an argument for the engine.

    Raises:
        EnvironmentProblemError: uv does not run there.
    """
    answer = run(_QUESTIONS, f"--volume={folder}:{MOUNTED}:ro")
    version = re.match(r"uv \S+", answer.stdout)
    if version is None:
        raise EnvironmentProblemError.of(f"uv does not run in the image: {answer.last_line}")
    given = _HARMLESS | network.pip_names
    told = re.findall(r"(?m)^pip (\S+)$", answer.stdout)
    builds = ((name, (int(a), int(b))) for name, a, b in _BUILD.findall(answer.stdout))
    return ImageFacts(
        version=version[0],
        told=tuple(name for name in told if name not in given),
        pythons=tuple(sorted(name for name, number in builds if number >= _LEAST_BUILD)),
    )


def make(folder: Path, network: HostNetwork, facts: ImageFacts) -> Installer:
    """Return the installer for an image.

    Args:
        folder: uv for containers, from `orchestrator.provision.relocate`.
        network: the settings with which the host's pip finds packages.
        facts: from `ask`.

    Raises:
        EnvironmentProblemError: pip has to install; says why.
    """
    if network.only_pip:
        raise EnvironmentProblemError.of(f"uv does not know {', '.join(network.only_pip)}")
    if facts.told:
        what = f"the image has settings for pip: {', '.join(facts.told)}"
        raise EnvironmentProblemError.of(what)
    public, private = network.uv_like_pip()
    return Installer(
        folder=folder,
        version=facts.version,
        pythons=frozenset(facts.pythons),
        env=(*UV_AS_PIP.items(), *_CACHE.items(), *public),
        private=private,
    )


def _choice_of_pip(request: BuildRequest) -> str:
    own = "build-frontend" in request.source.own_options
    return "the project chooses its frontend" if own else ""


def _why_pip(request: BuildRequest, told: Iterable[str]) -> str:
    """Return why a target's matrix or project needs pip; empty if they do not."""
    target, steps = request.target, request.target.steps
    commands = (steps.before_all or "", steps.before_build or "")
    variables = (text for variable in target.env for text in (variable.name, variable.value))
    words = (word for text in (*told, *commands, *variables) for word in _TOLD.findall(text))
    setting = next((word for word in words if word not in _HARMLESS), None)
    return f"uv does not know {setting}" if setting else ""


def pip_here_because(network: HostNetwork, request: BuildRequest, told: Iterable[str]) -> str:
    """Return why pip installs on this host, empty if uv does; see `Installer.for_target`."""
    return _choice_of_pip(request) or settings_of_pip(network, request, told)


def settings_of_pip(network: HostNetwork, request: BuildRequest, told: Iterable[str]) -> str:
    """Return which settings of pip uv does not know; empty if it knows them."""
    if network.only_pip_here:
        return f"uv does not know {', '.join(network.only_pip_here)}"
    return _why_pip(request, told)


def variables_here(network: HostNetwork, scratch: Path) -> dict[str, str]:
    """Return the variables of a uv that installs for a build on this host; see `make`."""
    public, private = network.uv_like_pip_here()
    # A cache of its own: wheels that uv builds on the way may be for the target's machine.
    own = {"UV_CACHE_DIR": str(scratch / "uv"), **uv_settings(network, scratch / "uv")}
    return {**UV_AS_PIP, **dict(public), **dict(private), **own}
