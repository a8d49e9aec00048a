"""cibuildwheel's steps, driven by us: the `direct` backend, wherever it builds.

The options come from cibuildwheel's own parser (`scripts/cibw_options.py`), so that a project's
``[tool.cibuildwheel]`` means the same in both backends.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.builders import cibuildwheel
from orchestrator.builders.base import BuildContext, Outcome, StoppedBuild, machine_trouble
from orchestrator.builders.cibuildwheel import HINTS, RUN_PIP
from orchestrator.builders.environment_check import environment_question, hear_environment
from orchestrator.fsutil import resolve_beneath
from orchestrator.models.reading import load_json
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.untrusted import RelativePath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.models.target import Target
    from orchestrator.provision.host import Host

LIMITING = (
    *("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"),
    *("UV_CONSTRAINT", "UV_BUILD_CONSTRAINT"),
)
"""Variables with files that limit what pip and uv install, there and to build an sdist."""

OPTIONS_SCRIPT = Path(__file__).parent / "scripts" / "cibw_options.py"

_KINDS = {
    **cibuildwheel.BY_STEP,
    "setup": (FailureKind.SETUP, "the build environment could not be set up"),
}


class StepFailed(Exception):  # noqa: N818 - carries a Failure up to `outcome` and no further
    """A step ended the build."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command of the place; ``env`` is its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceFiles:
    """What the steps do with files of the place, whose paths are strings.

    Attributes:
        empty: makes a directory, or empties it.
        names: returns the sorted names in a directory.
        give: copies a file or directory of this host there.
        fetch: returns a file of the place as a file of this host.
    """

    empty: Callable[[str], object]
    names: Callable[[str], Sequence[str]]
    give: Callable[[Path, str], object]
    fetch: Callable[[str], Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the steps run: this host, or a container. The paths are paths of that place.

    Attributes:
        project: the source.
        scratch: a directory for everything else.
        base: the environment before the matrix and the project add theirs.
        interpreter: the Python below all environments of the build.
        programs: the directory of programs of the environment that before-build fills.
        first: directories that come first on PATH.
        last: directories that come after it there.
        frontend: the words that start the frontend script, before the name of its file.
        attach: the script that adds a prepared environment to another one.
        libraries: directories that this script needs on its path.
        pip: the directory that has the package pip, for the frontend alone.
        uv: its uv.
        installs: variables of the uv that installs what the build requires; None where pip does.
        repair_with: the command that starts the repair script there.
        evaluate: words that run a command there when they come before it; none on this host.
        adapt: adds what only this place needs to the environment of the build.
        tester: makes a clean environment of a Python for the test, and returns its directory of
            programs.
        outer: returns the arguments, environment and directory that run a command from this host.
        files: what is done with files there.
        stop: returns how to open a shell where a failed command ran.
    """

    project: str
    scratch: str
    base: Mapping[str, str]
    interpreter: str
    programs: str
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    frontend: tuple[str, ...]
    attach: str
    libraries: tuple[str, ...] = ()
    pip: str
    uv: str
    installs: Mapping[str, str] | None = None
    repair_with: str
    evaluate: tuple[str, ...] = ()
    adapt: Callable[[Mapping[str, str]], Mapping[str, str]]
    tester: Callable[[str], str]
    outer: Callable[[Command], tuple[Sequence[str], Mapping[str, str], Path]]
    files: PlaceFiles
    stop: Callable[[Failure, Command], StoppedBuild]

    @property
    def path(self) -> str:
        """The PATH of the build."""
        return ":".join((*self.first, self.programs, *self.last, self.base["PATH"]))


class BuildSteps:
    """Take one target through the steps.

    Args:
        host: this machine.
        job: what is built.
        open_place: prepares the place where the steps run, once, when the first one needs it; gets
            these steps.
    """

    def __init__(
        self, host: Host, job: BuildContext, open_place: Callable[[BuildSteps], Place]
    ) -> None:
        self.host = host
        self.job = job
        self.target: Target = job.request.target
        self.step = ""
        self.tail: deque[str] = deque(maxlen=30)
        self._differs: Failure | None = None
        self._open_place = open_place
        self._place: Place | None = None
        self._last: Command | None = None

    def outcome(self) -> Outcome:
        """Take all steps; return the wheel on this host, or why there is none."""
        try:
            return self._wheel()
        except StepFailed as ended:
            failure, place = ended.failure, self._place
            cancelled = failure.kind is FailureKind.CANCELLED
            if self.job.stopped is not None and place is not None and not cancelled:
                nothing = Command(argv=(), env=place.base, cwd=place.project)
                self.job.stopped(place.stop(failure, self._last or nothing))
            return failure

    @property
    def place(self) -> Place:
        """Where the steps run."""
        if self._place is None:
            self._place = self.open_place()
        return self._place

    def open_place(self) -> Place:
        """Prepare the place where the steps run."""
        return self._open_place(self)

    # the steps

    def _wheel(self) -> Path:
        self.enter("setup")
        options = self.options()
        if not options["selected"]:
            raise self.failed(
                FailureKind.NO_IDENTIFIER,
                f"the project does not support {self.target.python}",
                HINTS[FailureKind.NO_IDENTIFIER],
            )
        place = self.place
        env = place.adapt(options["env"])
        self._set_up(options, env)
        self._shell("before-all", options["before_all"], env)
        self._shell("before-build", options["before_build"], self._limited(env))
        self.enter("build")
        output = f"{place.scratch}/built"
        place.files.empty(output)
        self._run_frontend(output, options, env)
        wheel = self._only_wheel(output)
        if wheel.endswith("-none-any.whl"):
            message = "the build made a pure Python wheel (none-any)"
            raise self.failed(FailureKind.PURE_WHEEL, message, HINTS[FailureKind.PURE_WHEEL])
        if options["repair"]:
            repaired = f"{place.scratch}/repaired"
            place.files.empty(repaired)
            command = options["repair"].replace("{wheel}", wheel).replace("{dest_dir}", repaired)
            self._shell("repair", command, env)
            wheel = self._only_wheel(repaired)
        self.prove(wheel, options)
        return place.files.fetch(wheel)

    def prove(self, wheel: str, options: Mapping[str, Any]) -> None:
        """Test a wheel, if it has a test; an abi3 wheel on the later Pythons too."""
        if options["test"] and options["tested"]:
            # `verify` reports a wheel that was planned for the stable ABI and is not for it. The
            # later Pythons could not even install it.
            stable = wheel.split("-")[-2].startswith("abi3")
            for python in (self.target.python, *(self.target.test_pythons if stable else ())):
                self._test(wheel, options, python)

    def options(self, test_path: str = "") -> dict[str, Any]:
        """Ask cibuildwheel for its options for this target; `test_path` runs its tests."""
        answer, place = self.job.scratch / "answer.json", self.place
        question = self.write_json(
            "question",
            {
                "identifier": self.target.build_identifier,
                "package": str(self.job.source),
                "project": place.project,
                "environ": place.base,
                "evaluate": place.evaluate,
                "path": place.path,
                "test_path": test_path or f"{place.scratch}/test-venv/bin",
                "scratch": str(self.job.scratch),
            },
        )
        given = cibuildwheel.options(
            self.job.request,
            repair_with=place.repair_with,
            compilers=self.job.compilers,
            tests=self.job.requirements.tests,
            attach=place.attach,
        )
        script = ["-I", str(OPTIONS_SCRIPT), question, str(answer)]
        argv = [str(self.host.toolchain.python), *script]
        if self._attempt(argv, argv, {**self.host.net_env, **given}, self.job.source) != 0:
            raise StepFailed(
                Failure(
                    kind=FailureKind.CONFIGURATION,
                    step="setup",
                    message=self.tail[-1] if self.tail else "cibuildwheel refused its options",
                    hint="correct matrix.toml or the project's [tool.cibuildwheel]",
                )
            )
        return load_json(dict[str, Any], answer)

    def _set_up(self, options: Mapping[str, Any], env: Mapping[str, str]) -> None:
        """Give before-build what the matrix requires of its environment, and its constraints."""
        spec = self.job.requirements.spec
        if spec.constraints or not spec.isolation:
            self._run_frontend("", options, env, "setup")

    def _limited(self, env: Mapping[str, str]) -> Mapping[str, str]:
        """Return the environment of before-build: what it installs keeps to the constraints."""
        if not self.job.requirements.spec.constraints:
            return env
        file = f"{self.place.scratch}/limits.txt"
        own = {name: " ".join(filter(None, (file, env.get(name)))) for name in LIMITING}
        return {**env, **own}

    def _run_frontend(
        self, output: str, options: Mapping[str, Any], env: Mapping[str, str], *words: str
    ) -> None:
        """Run the frontend script, which makes the wheel unless `words` say otherwise."""
        place = self.place
        question = {
            "libraries": place.libraries,
            "source": place.project,
            "output": output,
            "scratch": place.scratch,
            "interpreter": place.interpreter,
            "python": f"{place.programs}/python",
            "frontend": options["frontend"],
            "flags": options["flags"],
            "pip": [RUN_PIP, place.pip],
            "attach": place.attach,
            **self.job.requirements.for_frontend(),
            **environment_question(self.job),
            **self._installer(options),
            **self.for_hooks(),
        }
        file = f"{place.scratch}/frontend.json"
        place.files.give(Path(self.write_json("frontend-question", question)), file)
        self.run([*place.frontend, file, *words], env)

    def _installer(self, options: Mapping[str, Any]) -> dict[str, object]:
        """Return what installs the requirements of the build, and with which variables."""
        place = self.place
        if options["frontend"] in {"build[uv]", "uv"} or "--installer=uv" in options["flags"]:
            return {"uv": place.uv, "variables": {}}
        if place.installs is None:
            return {"uv": "", "variables": {}}
        return {"uv": place.uv, "variables": dict(place.installs)}

    def for_hooks(self) -> dict[str, object]:
        """Return what the frontend script is told about the hook that builds."""
        return {"settings": [], "env": {}, "module": ""}

    def _test(self, wheel: str, options: Mapping[str, Any], python: str) -> None:
        """Install the wheel in a clean environment, and test it away from the source."""
        self.enter("test")
        self.job.log(f"testing with {python}")
        env, place = options["test_env"], self.place
        program = f"{place.tester(python)}/python"
        self._shell("test", options["before_test"], env)
        # Nothing of the source, of PYTHONPATH or of before-test stands in for pip.
        install = [program, "-I", "-c", RUN_PIP, place.pip, "install", "-q"]
        self.run([*install, f"{wheel}{options['test_extras']}"], env)
        if options["test_requires"]:
            self.run([*install, *options["test_requires"]], env)
        away = f"{place.scratch}/test"
        place.files.empty(away)
        for source in options["test_sources"]:
            place.files.give(self._test_source(source), f"{away}/{source}")
        self._shell("test", options["test"].replace("{wheel}", wheel), env, cwd=away)

    def _test_source(self, name: str) -> Path:
        """Return a file or directory of the source, which no link leads out of.

        Raises:
            StepFailed: there is none.
        """
        with suppress(OSError):
            path = self.job.source / resolve_beneath(self.job.source, name)
            if RelativePath.match(name) and path.exists():
                return path
        hint = "test.sources names files and directories of the source"
        raise self.failed(FailureKind.TEST, f"no test source {name}", hint)

    # helpers

    def enter(self, step: str) -> None:
        """Begin a step, unless it is the current one."""
        if step != self.step:
            self.step = step
            self.job.step(step)

    def write_json(self, name: str, facts: Mapping[str, object]) -> str:
        """Write the question for a script of this host; return the file."""
        file = self.job.scratch / f"{name}.json"
        file.write_text(json.dumps(facts), encoding="utf-8")
        return str(file)

    def failed(self, kind: FailureKind, message: str, hint: str = "") -> StepFailed:
        """Return the error that ends the build in the current step."""
        return StepFailed(Failure(kind=kind, step=self.step, message=message, hint=hint))

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> None:
        """Run a command in the place.

        Raises:
            StepFailed: it fails.
        """
        place = self.place
        self._last = Command(argv=argv, env=env or place.base, cwd=cwd or place.project)
        self.check(argv, self._attempt(argv, *place.outer(self._last)))

    def run_here(self, argv: Sequence[str]) -> None:
        """Run a program of this host in the source, with nothing but the network's settings.

        Raises:
            StepFailed: it fails.
        """
        self.check(argv, self._attempt(argv, argv, self.host.net_env, self.job.source))

    def check(self, argv: Sequence[str], code: int) -> None:
        """Raise what a program's exit status means; `tail` has its last lines."""
        if code == 0:
            return
        if self._differs is not None:
            raise StepFailed(self._differs)
        if machine := machine_trouble(code, self.tail, step=self.step):
            raise StepFailed(machine)
        kind, message = _KINDS[self.step]
        verdict = cibuildwheel.repair_verdict(self.tail) if self.step == "repair" else ""
        setup = "see the log's last lines" if kind is FailureKind.SETUP else ""
        message = verdict or f"{message} ({Path(argv[0]).name} exit {code})"
        raise self.failed(kind, message, setup or HINTS.get(kind, ""))

    def hear(self, line: str) -> None:
        """Take a line that a command prints."""
        self._differs = hear_environment(line, self.job) or self._differs
        self.tail.append(line)

    def _attempt(
        self, shown: Sequence[str], argv: Sequence[str], env: Mapping[str, str], cwd: Path
    ) -> int:
        """Run a program of this host, which the log shows as ``shown``; return its exit status."""
        self.job.log(f"+ {' '.join(shown)}")
        # Everything else runs on this host.
        client = argv != shown
        end = self.job.run(argv, env=env, cwd=cwd, on_line=self.hear, is_client=client)
        stopped = self.job.ended_early(end, step=self.step)
        if stopped is not None:
            raise StepFailed(stopped)
        return end.returncode

    def _shell(
        self, step: str, command: str, env: Mapping[str, str], cwd: str | None = None
    ) -> None:
        if command:
            self.enter(step)
            self.run(["sh", "-c", command], env, cwd)

    def _only_wheel(self, folder: str) -> str:
        wheels = [name for name in self.place.files.names(folder) if name.endswith(".whl")]
        if len(wheels) == 1:
            return f"{folder}/{wheels[0]}"
        kind = FailureKind.DUPLICATE_WHEEL if wheels else FailureKind.NO_WHEEL
        raise self.failed(kind, f"expected one wheel, got: {', '.join(wheels) or 'none'}")
