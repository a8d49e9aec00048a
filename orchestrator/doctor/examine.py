"""Check whether this machine can build every target, with a fix for everything that is missing."""

from __future__ import annotations

import fnmatch
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.settings import EngineSettings
from orchestrator.containers import engine
from orchestrator.containers.images import Image, check_image, check_pullable, pythons_in, reaches
from orchestrator.doctor import machine, network
from orchestrator.doctor.check import Check, CheckLevel, failure, passed, problem, warning
from orchestrator.errors import EnvironmentProblemError, ErrorKind, OrchestratorError
from orchestrator.host import emulation
from orchestrator.host.network import HostNetwork, base_env
from orchestrator.models.python_tag import PythonTag
from orchestrator.provision import pythons, toolchain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.doctor.machine import RunPaths
    from orchestrator.models.platforms import Arch
    from orchestrator.models.target import CudaSource

LOOKS = 8
"""Checks at once: most of them wait for another program."""

RUN_TIMEOUT = 120.0
"""Seconds in which an image that is here must run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetNeeds:
    """One target, as far as it matters for the machine.

    Attributes:
        id: the target's ID.
        arch: its architecture.
        python: its python tag; empty for a library.
        image: its image as the engine gets it; empty if only the toolchain knows.
        on_host: whether it can be built without an engine.
        crossed: whether it is cross-compiled if no engine runs its image.
        cuda: its version of CUDA, and where that comes from; empty for none.
    """

    id: str
    arch: Arch
    python: str
    image: str
    on_host: bool
    crossed: bool = False
    cuda: tuple[str, CudaSource | None] = ("", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVerdict:
    """What an image is good for: its check, and Pythons of targets that it lacks."""

    check: Check
    lacks: frozenset[str] = frozenset()


def examine(
    *,
    targets: Sequence[TargetNeeds],
    places: RunPaths,
    environ: Mapping[str, str],
    settings: EngineSettings | None = None,
    jobs: int = 1,
) -> tuple[Check, ...]:
    """Check everything that builds need; takes seconds and changes nothing.

    `targets` is empty to ask about this machine in general; `jobs` of them are built at once.
    """
    network = HostNetwork.detect(environ)
    return _Examination(
        targets=targets,
        places=places,
        environ=environ,
        settings=settings or EngineSettings(),
        jobs=jobs,
        network=network,
        env=base_env(environ) | network.child_env(),
        tools=toolchain.existing(places.cache),
    ).checks()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    """All checks of one examination; those that do not need each other run at once."""

    targets: Sequence[TargetNeeds]
    places: RunPaths
    environ: Mapping[str, str]
    settings: EngineSettings
    jobs: int
    network: HostNetwork
    env: Mapping[str, str]
    tools: toolchain.Toolchain | None

    def checks(self) -> tuple[Check, ...]:
        names = [name for name in engine.EngineName if self.settings.name in {"auto", name}]
        arches = dict.fromkeys(each.arch for each in self.targets) or (emulation.host_arch(),)
        pythons = dict.fromkeys(each.python for each in self.targets if each.python)
        with ThreadPoolExecutor(LOOKS) as pool:
            probes = pool.map(self._probe, names)
            emulated = pool.map(_emulation, arches)
            interpreters = pool.map(self._interpreter, pythons)
            wanted = dict.fromkeys(each.cuda for each in self.targets if each.cuda[0])
            toolkits = pool.map(lambda each: machine.cuda(each[0], each[1], self.environ), wanted)
            reached = pool.submit(self._reach)
            builders = pool.submit(lambda: tuple(machine.compilers(self.env)))
            statuses = dict(zip(names, probes, strict=True))
            usable = (s for s in statuses.values() if isinstance(s, engine.EngineStatus))
            chosen = next(usable, None)
            checked = pool.map(partial(self._image, chosen), self._images)
            images = dict(zip(self._images, checked, strict=True))
            emulations = dict(zip(arches, emulated, strict=True))
            here = dict(zip(pythons, interpreters, strict=True))
            verdict = self._verdict(chosen, images, emulations, self._absent(here))
            lost = frozenset(verdict)
            return (
                *self._engines(statuses, lost, chosen),
                *self._needed(images, lost),
                *self._emulations(emulations, lost),
                *self._interpreters(here, lost, chosen),
                *builders.result(),
                *toolkits,
                machine.host(emulation.host_arch(), equipped=self.tools is not None),
                self._toolchain(),
                *reached.result(),
                *self._room(chosen),
                machine.home(self.environ),
                machine.memory(self.jobs),
                machine.cpus(),
                machine.clock(),
                *self._sum(verdict),
            )

    # engines and images

    @property
    def _images(self) -> tuple[tuple[str, Arch], ...]:
        wanted = (each for each in self.targets if each.image)
        return tuple(dict.fromkeys((each.image, each.arch) for each in wanted))

    def _probe(self, name: engine.EngineName) -> engine.EngineStatus | OrchestratorError:
        try:
            return engine.probe(name, env=self.env)
        except OrchestratorError as error:
            return error

    def _engines(
        self,
        statuses: Mapping[engine.EngineName, engine.EngineStatus | OrchestratorError],
        lost: frozenset[str],
        chosen: engine.EngineStatus | None,
    ) -> Iterator[Check]:
        """Return a check for each engine; a missing one is a failure only if a target needs it."""
        needed = bool(lost) or not self.targets
        missing = CheckLevel.FAIL if needed and chosen is None else CheckLevel.WARN
        for name, status in statuses.items():
            if isinstance(status, OrchestratorError):
                yield problem(name, missing, status)
            elif status.remote:
                fix = "the other machine does not see the CA bundle and the tools that are "
                fix += "mounted into containers: use an engine of this machine"
                yield warning(name, status.summary, fix)
            else:
                yield passed(name, status.summary)

    def _image(self, chosen: engine.EngineStatus | None, asked: tuple[str, Arch]) -> ImageVerdict:
        """Check that a container of the image runs with the build's options, or can be pulled."""
        image, arch = asked
        name = f"image {image.rpartition('/')[2].partition('@')[0]} {arch}"
        if chosen is None:
            return ImageVerdict(check=failure(name, "no engine", "install podman"))
        wanted = Image(chosen.name, image, arch, self.env)
        network = self.network.container_args()
        args = (*network, *chosen.mount_args(), *self.settings.create_args)
        try:
            image_id = check_image(
                wanted, args, timeout=RUN_TIMEOUT, log=lambda _: None, pull="never"
            ).id
        except EnvironmentProblemError as error:
            absent = error.kind is ErrorKind.NOT_FOUND and not image.startswith("localhost/")
            if not absent or self.settings.pull == "never":
                return ImageVerdict(check=problem(name, CheckLevel.FAIL, error))
        else:
            detail = f"runs, ID {image_id.removeprefix('sha256:')[:12]}"
            check = self._unreached(name, wanted, args) or passed(name, detail)
            return self._with_pythons(check, wanted, asked)
        try:
            check_pullable(wanted)
        except EnvironmentProblemError as error:
            return ImageVerdict(check=problem(name, CheckLevel.FAIL, error))
        detail = "not here yet; its registry has it, and the build pulls it"
        return ImageVerdict(check=passed(name, detail))

    def _with_pythons(self, check: Check, image: Image, asked: tuple[str, Arch]) -> ImageVerdict:
        """Add the Pythons that targets need and the image lacks, as their builds will find."""
        there = pythons_in(image)
        wanted = {e.python for e in self.targets if e.python and (e.image, e.arch) == asked}
        tags = map(PythonTag.parse, sorted(wanted if there is not None else ()))
        lacks = [tag for tag in tags if not fnmatch.filter(there or (), tag.image_directory)]
        if not lacks:
            return ImageVerdict(check=check)
        known = ", ".join(sorted(there or ())) or "nothing in /opt/python"
        detail = f"has no {', '.join(map(str, lacks))}"
        wrong = failure(check.name, detail, f"it has {known}; name another image")
        return ImageVerdict(check=wrong, lacks=frozenset(map(str, lacks)))

    def _unreached(self, name: str, image: Image, args: Sequence[str]) -> Check | None:
        """Return the warning for a proxy or index of this host that the container cannot reach."""
        for each in self.network.loopbacks():
            if not reaches(image, args, (each.host, each.port)):
                detail = f"{each.variable} names {each.host}:{each.port}, which is the container "
                fix = 'engine.create-args = ["--network=host"], or name the host as containers '
                fix += "know it (podman: host.containers.internal)"
                return warning(name, f"{detail}itself in there", fix)
        return None

    def _needed(
        self, images: Mapping[tuple[str, Arch], ImageVerdict], lost: frozenset[str]
    ) -> Iterator[Check]:
        """Turn a failure into a warning if the image's targets can be built without it."""
        for asked, verdict in images.items():
            users = {each.id for each in self.targets if (each.image, each.arch) == asked}
            yield verdict.check if users & lost else _as_warning(verdict.check)

    def _emulations(
        self, found: Mapping[Arch, Sequence[Check]], lost: frozenset[str]
    ) -> Iterator[Check]:
        """Turn a failure into a warning if the architecture's targets can be built without it."""
        for arch, checks in found.items():
            users = {each.id for each in self.targets if each.arch is arch}
            harmless = bool(users) and not users & lost
            yield from map(_as_warning, checks) if harmless else checks

    # the rest

    def _interpreter(self, python: str) -> tuple[Check, bool]:
        """Check an interpreter; also return whether there is one."""
        name = f"python {python}"
        try:
            found = pythons.find(python, environ=self.environ, cache_dir=self.places.cache)
        except EnvironmentProblemError as error:
            return problem(name, CheckLevel.WARN, error), False
        lacks = [
            *([] if found.has_headers else ["headers (fetched when needed)"]),
            *([] if found.has_venv else ["venv or ensurepip"]),
        ]
        detail = f"{found.version} at {found.path}"
        if not lacks:
            return passed(name, detail), True
        fix = f"`apt-get install python{found.tag.version}-dev python{found.tag.version}-venv`"
        return warning(name, f"{detail}, without {' and '.join(lacks)}", fix), True

    def _absent(self, here: Mapping[str, tuple[Check, bool]]) -> dict[str, str]:
        """Return the Pythons that no build of this host can have, each with the reason."""
        missing = {python: check.detail for python, (check, there) in here.items() if not there}
        why = network.lacks_pythons(self.network, self.environ) if missing else ""
        return {python: f"{detail}, and {why}" for python, detail in missing.items() if why}

    def _interpreters(
        self,
        here: Mapping[str, tuple[Check, bool]],
        lost: frozenset[str],
        chosen: engine.EngineStatus | None,
    ) -> Iterator[Check]:
        """Turn a warning into a pass where containers bring the Python to all that need it."""
        needed = {each.python for each in self.targets if each.id in lost}
        for python, (check, _) in here.items():
            own = check.status is CheckLevel.OK or chosen is None or python in needed
            brought = f"{check.detail} (containers bring their own)"
            yield check if own else passed(check.name, brought)

    def _toolchain(self) -> Check:
        if self.tools is not None:
            base = self.tools.base
            return passed("toolchain", f"{self.tools.root} (Python {base.version}, {base.path})")
        detail, fix = "not made yet (the first build does it)", "nothing: the next build makes it"

        def make() -> None:
            toolchain.sync(self.places.cache, self.network, environ=self.environ)

        return replace(warning("toolchain", detail, fix), mend=make)

    def _reach(self) -> tuple[Check, ...]:
        python = self.tools.python if self.tools else Path(sys.executable)
        return (
            *network.certificates(self.network, self.environ),
            *network.proxies(self.network),
            network.index(python, self.env),
        )

    def _room(self, chosen: engine.EngineStatus | None) -> Iterator[Check]:
        storage = chosen.storage_root if chosen is not None and not chosen.remote else ""
        yield from machine.disks(
            work=self.places.work,
            output=self.places.output,
            cache=self.places.cache,
            environ=self.environ,
            engine=storage,
        )

    # what it comes to

    def _verdict(
        self,
        chosen: engine.EngineStatus | None,
        images: Mapping[tuple[str, Arch], ImageVerdict],
        emulations: Mapping[Arch, Sequence[Check]],
        absent: Mapping[str, str],
    ) -> dict[str, str]:
        """Return the targets that nothing can build here, with the first reason."""
        lost = {}
        for each in self.targets:
            reason = self._no_container(each, chosen, images, emulations)
            if reason and not (each.on_host or each.crossed):
                lost[each.id] = reason
            elif reason and each.python in absent:
                lost[each.id] = f"{reason}; {absent[each.python]}"
        return lost

    @staticmethod
    def _no_container(
        target: TargetNeeds,
        chosen: engine.EngineStatus | None,
        images: Mapping[tuple[str, Arch], ImageVerdict],
        emulations: Mapping[Arch, Sequence[Check]],
    ) -> str:
        if chosen is None:
            return "there is no container engine"
        broken = [each for each in emulations[target.arch] if each.status is CheckLevel.FAIL]
        if broken:
            return broken[0].detail
        verdict = images.get((target.image, target.arch))
        if verdict is None or verdict.check.status is not CheckLevel.FAIL:
            return ""
        serves = verdict.lacks and target.python not in verdict.lacks
        return "" if serves else verdict.check.detail

    def _sum(self, lost: Mapping[str, str]) -> Iterator[Check]:
        """Say how many of the targets can be built here."""
        if not self.targets:
            return
        total = len(self.targets)
        if not lost:
            yield passed("targets", f"all {total} can be built here")
            return
        first, reason = next(iter(lost.items()))
        others = " and others" if len(lost) > 1 else ""
        detail = f"{len(lost)} of {total} cannot be built here: {first}{others}: {reason}"
        yield failure("targets", detail, "mend the rows that fail, or leave them out with --select")


def _emulation(arch: Arch) -> tuple[Check, ...]:
    """Check that this machine runs programs of an architecture, by running one."""
    name = f"emulation {arch}"
    found = emulation.examine(arch)
    warnings = (problem(name, CheckLevel.WARN, each) for each in found.warnings)
    if found.problem is None:
        return (passed(name, found.detail), *warnings)
    check = problem(name, CheckLevel.FAIL, found.problem)
    return (replace(check, mend=partial(emulation.register, arch)), *warnings)


def _as_warning(check: Check) -> Check:
    return replace(check, status=CheckLevel.WARN) if check.status is CheckLevel.FAIL else check


def mend(checks: Iterable[Check]) -> Iterator[tuple[Check, OrchestratorError | None]]:
    """Mend what can be mended safely, one after the other.

    Yields:
        Each check that had something to do, and why that did not work; None if it did.
    """
    for check in checks:
        if check.status is not CheckLevel.OK and check.mend is not None:
            try:
                check.mend()
            except OrchestratorError as error:
                yield check, error
            else:
                yield check, None
