"""The build path of a run: choose what builds each target, and build what the store has not."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.builders.backend_choice import BackendChooser
from orchestrator.builders.cuda_choice import CudaChooser
from orchestrator.cross.native_gcc import NativeCompilerFactory
from orchestrator.host.capacity import capacity
from orchestrator.models.result import Status
from orchestrator.models.target import BackendName
from orchestrator.run.backends import BackendFactory
from orchestrator.run.cache_key import BuildWay, build_place
from orchestrator.run.cache_lookup import restore_results
from orchestrator.run.dispatch import Pace, dispatch
from orchestrator.run.finish import result_without_build
from orchestrator.run.planned import make_actions, request_for, without_idle_testers
from orchestrator.run.reproduce import compare_with, save_previous
from orchestrator.run.scheduler import Retries
from orchestrator.run.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.result import BuildResult
    from orchestrator.models.target import Target, TargetId
    from orchestrator.provision.tools import Tools
    from orchestrator.run.backends import Assignment
    from orchestrator.run.cache_key import Action
    from orchestrator.run.inputs import Inputs, Options, RunObservers
    from orchestrator.run.reproduce import PreviousWheel
    from orchestrator.run.result_cache import ResultCache
    from orchestrator.run.run_source import RunSource


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingBuilder:
    """Builds what the store has no result of, from one copy of the source."""

    inputs: Inputs
    options: Options
    observers: RunObservers
    source: RunSource
    tools: Tools
    containers: ContainerFactory
    cache: ResultCache

    def build(self, targets: Sequence[Target]) -> dict[TargetId, BuildResult]:
        """Return the results of targets, which are in plan order.

        The store may still have one, now that it is known what builds the target.
        """
        choices = self._choose(targets)
        if self.options.again is not None:
            here = (each.id for each in targets if choices[each.id].container is None)
            self.options.again.check_on_host(here)
        results: dict[TargetId, BuildResult] = {}
        able: list[Target] = []
        for target in targets:
            choice = choices[target.id]
            if choice.backend is None:
                results[target.id] = result_without_build(
                    target,
                    Status.UNAVAILABLE,
                    backend=None,
                    reason=choice.reason,
                    failure=choice.failure,
                )
            else:
                able.append(replace(target, test_pythons=choice.test_pythons))
        actions = self._actions(able, choices)
        restored = restore_results(able, actions, self.cache)
        self.observers.restored(tuple(restored.values()))
        self.observers.announce(
            {each: choice for each, choice in choices.items() if each not in restored}
        )
        for result in results.values():
            self.observers.listener.ended(result)
        results |= restored
        missing = [target for target in able if target.id not in results]
        if missing:
            pace = self._pace([target.id for target in missing])
            previous = self._save_previous(actions)
            results |= self._build(missing, choices, actions, pace)
            self._compare(previous, results)
        return results

    def _choose(self, targets: Sequence[Target]) -> Mapping[TargetId, Choice]:
        self.observers.say("looking for engine, images and interpreters")
        source, ids = self.cache.identity.source, {target.id for target in targets}
        chooser = BackendChooser(
            facts=self.inputs.facts,
            wanted=self.options.backend,
            tools=self.tools,
            containers=self.containers,
            native=NativeCompilerFactory(tools=self.tools, containers=self.containers),
            cuda=CudaChooser(tools=self.tools, source=source),
        )
        waiting = [
            # The outputs of the other libraries are in the store.
            replace(target, needs=tuple(need for need in target.needs if need in ids))
            for target in (without_idle_testers(target, source) for target in targets)
        ]
        retries = Retries(limit=self.inputs.run.retries)
        return choose_patiently(chooser, waiting, retries, say=self.observers.say)

    def _actions(
        self, targets: Sequence[Target], choices: Mapping[TargetId, Choice]
    ) -> dict[TargetId, tuple[Action, ...]]:
        """Return the one action of each target, now that it is known what builds it where."""
        return make_actions(
            targets,
            lambda target: (_way(choices[target.id]),),
            source=self.cache.identity.source,
            place=partial(
                build_place, tools=self.tools, containers=self.containers, lock=self.inputs.lock
            ),
            scope=self.inputs.store.scope,
            known=self.cache.restored,
        )

    def _build(
        self,
        targets: Sequence[Target],
        choices: Mapping[TargetId, Choice],
        actions: Mapping[TargetId, Sequence[Action]],
        pace: Pace,
    ) -> Mapping[TargetId, BuildResult]:
        """Stage the source once, and build everything from it."""
        self.observers.say("staging the source")
        source = self.cache.identity.source
        staged = self.source.stage(self.cache.places.run / "source", self.cache.identity)
        factory = BackendFactory(
            inputs=self.inputs,
            tools=self.tools,
            containers=self.containers,
            pyproject=staged.pyproject,
            profiles=staged.profiles,
            shows=self.observers.stopped is not None,
        )
        requests = {each: found[0].request for each, found in actions.items() if found}
        assignments: dict[TargetId, Assignment] = {}
        for target in targets:  # in plan order: what is needed comes first
            choice, action = choices[target.id], next(iter(actions[target.id]), None)
            if action is None:  # the store cannot have it, but it can be built
                way = _way(choice)
                requests[target.id] = request_for(target, source, way, requests)
            assignments[target.id] = factory.assign(requests[target.id], choice, action)
        stopped, cancel = self.observers.stopped, self.tools.cancel
        show = None if stopped is None else lambda stop: stopped(stop, cancel)
        listener = self.observers.listener
        return dispatch(
            assignments,
            Worker(staged=staged, cache=self.cache, stopped=show, waits=listener.waits),
            pace=pace,
            listener=listener,
            cancel=cancel,
            say=self.observers.say,
        )

    def _pace(self, targets: Sequence[TargetId]) -> Pace:
        options, settings = self.options, self.inputs.run
        if self.observers.stopped is not None:  # somebody looks at the first failure
            settings = settings.model_copy(update={"retries": 0})
        return Pace(
            machine=capacity(),
            jobs=options.jobs,
            settings=settings,
            fail_fast=options.fail_fast,
            seconds={**self.cache.store.durations(self.cache.project, targets), **options.seconds},
            deadline=options.deadline,
        )

    def _save_previous(self, actions: Mapping[TargetId, Sequence[Action]]) -> PreviousWheel | None:
        """Save the wheel that the next one is compared with, before that one replaces it."""
        again, cache = self.options.again, self.cache
        if again is None:
            return None
        addresses = [action.address for action in actions.get(again.target_id, ())]
        last = cache.store.local.last(cache.project).get(again.target_id)
        addresses += [] if last is None else [last]
        return save_previous(again, cache.store, addresses, cache.places.run / "earlier")

    def _compare(
        self, previous: PreviousWheel | None, results: Mapping[TargetId, BuildResult]
    ) -> None:
        again, compared = self.options.again, self.observers.compared
        wheel = None if again is None else results[again.target_id].wheel
        if wheel is not None and compared is not None:
            compared(compare_with(previous, wheel, self.cache.places.output))


def choose_patiently(  # noqa: PLR0913 - mostly keywords
    chooser: BackendChooser,
    targets: Sequence[Target],
    retries: Retries,
    *,
    say: Callable[[str], object],
    pause: Callable[[float], object] = time.sleep,
    chance: Callable[[], float] = random.random,
) -> Mapping[TargetId, Choice]:
    """Choose what builds each target; try again if an image could not be pulled for the moment.

    Otherwise a registry that does not answer for a second would leave targets out, or have them
    built without their image.
    """
    attempt = 1
    while True:
        choices = chooser.choose(targets)
        troubles = dict.fromkeys(filter(None, (each.trouble for each in choices.values())))
        if not troubles or attempt > retries.limit:
            return choices
        seconds = retries.wait(attempt, chance())
        say(f"{'; '.join(troubles)}; asking again in {seconds:.0f} s")
        pause(seconds)
        chooser.forget_errors()
        attempt += 1


def _way(choice: Choice) -> BuildWay:
    in_container = choice.container is not None
    return BuildWay(choice.backend or BackendName.DIRECT, in_container=in_container)
