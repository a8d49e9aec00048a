"""The sdist of a run: built once, checked, and compared with a wheel of the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.errors import ConfigError, OrchestratorError, SourceError
from orchestrator.fsutil import file_sha256, install_file, read_file, remove_tree
from orchestrator.host.process import Cancel
from orchestrator.models.reading import LARGEST
from orchestrator.models.result import Failure, FailureKind, SdistFacts, Status
from orchestrator.models.target import BackendName, RuleLevel, VerifyPolicy
from orchestrator.models.untrusted import SdistFilename
from orchestrator.models.wheel import Severity
from orchestrator.plan.selection import with_needs
from orchestrator.provision.external_checks import ExternalChecks
from orchestrator.provision.tools import Tools
from orchestrator.run.cache_key import BuildWay
from orchestrator.run.planned import request_for
from orchestrator.run.run_source import RunSource
from orchestrator.run.sdist_frontend import SdistFrontend
from orchestrator.run.session import run_session
from orchestrator.source import git
from orchestrator.source.locate import locate
from orchestrator.source.sdist import FEW, LOG, build_sdist, cure, give_repository, sdist_problems
from orchestrator.source.unpack import unpack
from orchestrator.wheel import open_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import Source, Target, TargetId
    from orchestrator.provision.host import Host
    from orchestrator.run.inputs import Inputs, Options, RunObservers

_ON_HOST = BuildWay(BackendName.DIRECT, in_container=False)

_COMPILED = (
    ".h",
    ".hpp",
    ".hh",
    ".cuh",
    ".inc",
    ".c",
    ".cc",
    ".cpp",
    ".cxx",
    ".cu",
    ".pyx",
    ".pxd",
)
"""Endings of files that a build reads and an sdist often lacks."""


class _Silent:
    """A listener for the one build that nobody asked for."""

    def started(self, target_id: TargetId) -> None: ...
    def step(self, target_id: TargetId, name: str) -> None: ...
    def waits(self, target_id: TargetId, sentence: str) -> None: ...
    def resting(self, result: BuildResult, seconds: float) -> None: ...
    def ended(self, result: BuildResult) -> None: ...
    def stopping(self) -> None: ...


def public_version(targets: Iterable[Target]) -> str:
    """Return the version of the sdist: what the wheels have without their local part.

    Raises:
        ConfigError: they have several.
    """
    found = {Version(each.version).public for each in targets if each.library is None}
    if len(found) > 1:
        raise ConfigError.of(
            f"the wheels have several versions ({', '.join(sorted(found))}), and one sdist has one",
            where="project.sdist",
            hint="build the versions one after another with --select, or set sdist = false",
        )
    return next(iter(found), "")


def injected(target: Target, version: str) -> dict[str, str]:
    """Return the variables that tell a build its version, with the sdist's instead of a wheel's."""
    return {
        each.name: each.value.replace(target.version, version)
        for each in target.env
        if "version." in each.origin and target.version in each.value
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class SdistMaker:
    """Makes the sdist of a run that has ended."""

    inputs: Inputs
    options: Options
    observers: RunObservers
    host: Host
    results: Sequence[BuildResult]

    @property
    def _work(self) -> Path:
        return self.options.work / "sdist"

    def _pins(self, target: Target) -> tuple[str, ...]:
        """Return the versions that a lock has for a target's build."""
        lock = self.inputs.lock
        locked = None if lock is None else lock.lock.build_of(target.id)
        return () if locked is None else locked.pins

    def make(self) -> SdistFacts:
        """Build, check and compare it; only an sdist without a fault is moved to the output.

        What is wrong with it, or with the project, is a failure in what is returned.
        """
        remove_tree(self._work / "tree", ignore_errors=True)
        remove_tree(self._work / "built", ignore_errors=True)
        version = ""
        try:
            version = public_version(self.inputs.targets)
            return self._make(version)
        except OrchestratorError as error:
            problem = error.problems[0]
            failure = Failure(
                kind=FailureKind.BUILD, step="sdist", message=problem.what, hint=problem.hint
            )
            return SdistFacts(version=version, failure=failure)

    def _make(self, version: str) -> SdistFacts:
        say, tree = self.observers.say, self._work / "tree"
        say("building the sdist")
        written = (self.options.output, self.options.work)
        source = RunSource(
            inputs=self.inputs, written=written, environ=self.host.environ, host=lambda: self.host
        )
        identity = source.identify()
        source.stage(tree, identity)
        origin = self.inputs.origin.path
        if origin is not None and git.find(origin) is not None:
            give_repository(tree, self.host)
        made = self._run_backend(tree, identity.source, version)
        wrong = (*sdist_problems(made, version=version), *self._twine(made))
        if wrong:
            hint = "version.inject tells the build its version" if "version" in wrong[0] else ""
            raise SourceError.of(
                f"{made.name}: {'; '.join(wrong)}", where="project.sdist", hint=hint
            )
        compared = self._compare(made, {each.path for each in identity.files})
        install_file(made, self.options.output / made.name)
        return SdistFacts(
            filename=SdistFilename(made.name),
            version=version,
            sha256=file_sha256(made),
            size=made.stat().st_size,
            compared=compared,
        )

    def _run_backend(self, tree: Path, source: Source, version: str) -> Path:
        """Have the project's build backend make the sdist, as a target's build would have it."""
        comparable = self._comparable()
        target = self.inputs.targets[0] if comparable is None else comparable[0]
        tools = Tools(host=self.host, cancel=Cancel(), say=self.observers.say)
        frontend = SdistFrontend(
            tools=tools,
            request=request_for(replace(target, needs=()), source, _ON_HOST, {}),
            tree=tree,
            scratch=self._work / "environment",
            pins=self._pins(target),
        )
        log, output = self._work / LOG, self._work / "built"
        output.mkdir(parents=True)
        with log.open("w", encoding="utf-8") as stream:

            def write(line: str) -> None:
                stream.write(f"{line}\n")

            def make(argv: Sequence[str]) -> Path:
                known = self.host.build_env(frontend.scratch)
                return build_sdist(
                    tree,
                    output,
                    argv=argv,
                    env={**known, **dict(self.host.network.limits), **injected(target, version)},
                    epoch=source.epoch,
                    log=write,
                    cancel=Cancel(),
                )

            return frontend.run(output, make, write)

    def _twine(self, made: Path) -> tuple[str, ...]:
        """Return what `twine check` has against it, as strictly as against wheels."""
        tools = ExternalChecks(
            toolchain=self.host.toolchain, env=self.host.net_env, cancel=Cancel()
        )
        levels = (("twine", RuleLevel.ERROR),)
        said = tools(made, VerifyPolicy(levels=levels), lambda _line: None)
        return tuple(f"twine: {each.message}" for each in said if each.severity is Severity.ERROR)

    def _compare(self, made: Path, files: set[str]) -> str:
        """Build a wheel of the run from the sdist too; return its target, empty if there is none.

        Raises:
            SourceError: it cannot be built, or has other members.
        """
        found = self._comparable()
        if found is None:
            return ""
        target, wheel = found
        self.observers.say(f"building {target.id} from the sdist, to compare the two wheels")
        result = next(e for e in self._build(made, target) if e.target_id == target.id)
        if result.status is Status.CANCELLED:
            raise KeyboardInterrupt
        lacking = self._lacking(made, files)
        if result.wheel is None:
            why = result.failure.message if result.failure else str(result.status)
            what = f"no wheel can be built from {made.name}: {why}"
            raise self._refusal(what, _read_by(result, lacking))
        ours = _members(self.options.output / wheel)
        theirs = _members(self._work / "dist" / result.wheel.filename)
        if missing := sorted(ours - theirs):
            what = f"the wheel of {target.id} built from {made.name} lacks {_few(missing)}"
            raise self._refusal(what, [each for each in lacking if _has(missing, each)] or missing)
        if more := sorted(theirs - ours):
            what = f"the wheel of {target.id} has {_few(more)} only if built from {made.name}"
            raise self._refusal(what, ())
        return target.id

    def _lacking(self, made: Path, files: set[str]) -> list[str]:
        """Return the files of the source that the sdist does not have."""
        unpacked = self._work / "unpacked"
        remove_tree(unpacked, ignore_errors=True)
        unpack(made, unpacked)
        lacking = sorted(each for each in files if not (unpacked / each).exists())
        remove_tree(unpacked, ignore_errors=True)
        return lacking

    def _refusal(self, what: str, files: Sequence[str]) -> SourceError:
        hint = f"the log is in {self._work / 'logs'}"
        if files:
            how = cure(self._work / "tree", files)
            hint = f"the sdist lacks {_few(files)}: {how} adds it; {hint}"
        return SourceError.of(what, where="project.sdist", hint=hint)

    def _comparable(self) -> tuple[Target, str] | None:
        """Return the cheapest target of which this run has a wheel, best one without emulation."""
        good = {each.target_id: each.wheel.filename for each in self.results if each.wheel}
        own = [(each, good[each.id]) for each in self.inputs.targets if each.id in good]
        return min(own, key=lambda each: (each[0].emulated, each[0].cost), default=None)

    def _build(self, made: Path, target: Target) -> Sequence[BuildResult]:
        untested = replace(
            target,
            steps=replace(target.steps, test_command="", test_sources=()),
            test_pythons=(),
            further_tests=(),
        )
        wanted = with_needs([target.id], self.inputs.targets)
        targets = tuple(untested if each.id == target.id else each for each in wanted)
        inputs = replace(
            self.inputs,
            targets=targets,
            origin=locate(str(made), base=made.parent),
            matrix=made,  # what the store notes of the matrix' last results is not of this
        )
        options = replace(
            self.options, output=self._work / "dist", work=self._work, again=None, cache=True
        )
        observers = replace(
            self.observers,
            listener=_Silent(),
            announce=lambda _choices: None,
            restored=lambda _results: None,
            stopped=None,
            compared=None,
        )
        return run_session(inputs, options, observers, self.host)


def _members(wheel: Path) -> set[str]:
    with open_wheel(wheel) as archive:
        return {each.filename for each in archive.entries if not each.is_dir()}


def _read_by(result: BuildResult, lacking: Sequence[str]) -> list[str]:
    """Return those of the files that the sdist lacks which a failed build names, or may read."""
    try:
        log = read_file(result.log, limit=LARGEST).decode("utf-8", "replace") if result.log else ""
    except OSError:
        log = ""
    named = [each for each in lacking if each.rpartition("/")[2] in log]
    return named or [each for each in lacking if each.endswith(_COMPILED)]


def _has(members: Iterable[str], file: str) -> bool:
    """Whether a file of the source seems to be one of a wheel's members."""
    return any(file == each or file.endswith(f"/{each}") for each in members)


def _few(names: Sequence[str]) -> str:
    more = len(names) - FEW
    return ", ".join(names[:FEW]) + (f" and {more} more" if more > 0 else "")
