"""Where a target's CUDA toolkit comes from on this machine; decided before any build starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orchestrator.containers.access import Access
from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import Execution, host_arch, how
from orchestrator.models.target import CudaSource
from orchestrator.plan.cibuildwheel_selection import options_for
from orchestrator.plan.expected_environment import cuda_of
from orchestrator.provision.cuda import HOMES, is_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.containers.toolkits import Toolkit
    from orchestrator.models.target import Source, Target
    from orchestrator.provision.tools import Tools

MOUNTED = Path("/opt/orchestrator-native/toolkit")
"""Where a container has a toolkit that is on this host."""

OfImage = Callable[[], tuple["Toolkit", ...]]

_SAYS_WHERE = frozenset({*HOMES, "CUDACXX", "NVCC", "PYTORCH_NVCC"})
"""Variables by which a matrix says itself where its toolkit is."""

_BRINGS = frozenset({"nvidia-cuda-nvcc", "cuda-toolkit", "nvidia-cuda-nvcc-cu12"})
"""Distributions that bring a toolkit."""

_HINT = (
    "name an image that has it, install it on this host (CUDA_HOME names it), or have before-all "
    "install it; [env] CUDA_HOME says where another one is"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaToolkit:
    """A target's CUDA toolkit.

    Attributes:
        source: where it comes from.
        root: its directory where the build runs.
        mount: its directory on this host, which a container gets; None for nothing.
        what: what it is, in words.
    """

    source: CudaSource
    root: str
    mount: Path | None = None
    what: str

    def access(self, target: Target) -> Access:
        """Return how the build of a target reaches it; what the matrix sets wins."""
        root = self.root
        env = dict.fromkeys(HOMES, root)
        if self.source is not CudaSource.IMAGE:
            env["LIBRARY_PATH"] = f"{root}/lib64:{root}/lib64/stubs"
        own = {variable.name for variable in target.env}
        return Access(
            links=(Path(root, "bin"),),
            env=tuple((name, value) for name, value in env.items() if name not in own),
            mounts=((self.mount, MOUNTED, False),) if self.mount else (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CudaChooser:
    """Chooses the toolkits of targets.

    Attributes:
        tools: finds this host's toolkits, and asks the index.
        source: says what the project's ``[tool.cibuildwheel]`` sets; None for nothing.
    """

    tools: Tools
    source: Source | None = None

    def choose(self, target: Target, of_image: OfImage | None) -> CudaToolkit | None:
        """Return a target's toolkit; None if it has no CUDA, or brings its own.

        Args:
            target: what is built.
            of_image: returns the toolkits of its image; None if it is built on this host.

        Raises:
            EnvironmentProblemError: it has none where it should have one.
        """
        wanted, named = cuda_of(target), target.steps.environment.cuda
        says_where = any(variable.name in _SAYS_WHERE for variable in target.env)
        if not wanted or target.library is not None or (named is None and says_where):
            return None
        errors = []
        for source in (named,) if named else CudaSource:
            try:
                return self._from(source, target, wanted, of_image)
            except EnvironmentProblemError as error:
                errors.append(error)
        if named is None and self._may_bring(target):
            return None
        why = "; ".join(error.what for error in errors)
        transient = any(error.transient for error in errors)
        raise EnvironmentProblemError.of(
            f"no CUDA {wanted}: {why}", hint=_HINT, transient=transient
        )

    def _from(
        self, source: CudaSource, target: Target, wanted: str, of_image: OfImage | None
    ) -> CudaToolkit:
        if source is CudaSource.INDEX:
            version = self.tools.newest_cuda(wanted)
            is_crossed = of_image is None and target.arch is not host_arch()
            wheels = self.tools.cross_cuda if is_crossed else self.tools.cuda_wheels
            root, of = str(wheels(version, target.arch).folder), "the package index"
        elif source is CudaSource.HOST:
            if how(host_arch(), target.arch) is not Execution.NATIVE:
                raise EnvironmentProblemError.of(f"this host's toolkits are for {host_arch()}")
            here = [(each.version, str(each.root)) for each in self.tools.cuda_toolkits(wanted)]
            version, root = _first(here, wanted, where="this host")
            of = f"this host, {root}"
        elif of_image is None:
            raise EnvironmentProblemError.of("it is built on this host, in no image")
        else:
            there = [(each.version, each.root) for each in of_image()]
            version, root = _first(there, wanted, where=f"image {target.image}")
            of = f"the image, {root}"
        mount = None if of_image is None or source is CudaSource.IMAGE else Path(root)
        root = str(MOUNTED) if mount else root
        return CudaToolkit(source=source, root=root, mount=mount, what=f"nvcc {version} of {of}")

    def _may_bring(self, target: Target) -> bool:
        """Whether a step or a requirement of the build may install a toolkit."""
        steps, own = target.steps, set[str]()
        if self.source is not None:
            own.update(options_for(self.source, target.build_identifier))
        names = {canonicalize_name(Requirement(each).name) for each in steps.environment.requires}
        commands = steps.before_all or steps.before_build
        return bool(commands or {"before-all", "before-build"} & own or _BRINGS & names)


def _first(toolkits: Sequence[tuple[str, str]], wanted: str, *, where: str) -> tuple[str, str]:
    """Return version and directory of the first toolkit of a version of CUDA."""
    for version, root in toolkits:
        if is_version(version, wanted):
            return version, root
    others = ", ".join(f"nvcc {version} ({root})" for version, root in toolkits)
    raise EnvironmentProblemError.of(f"{where} has {others or 'no nvcc'}")
