"""The part of a run that builds: what the store has no result of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.host.capacity import capacity
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import BackendName
from orchestrator.run.cache_lookup import actions_of, recall
from orchestrator.run.dispatch import Pace, dispatch
from orchestrator.run.planned import request_of, surroundings, tested
from orchestrator.run.reproduce import against, remember
from orchestrator.run.worker import Assignment, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.builders.backend_choice import Choice
    from orchestrator.builders.base import StoppedBuild
    from orchestrator.host.process import Cancel
    from orchestrator.models.target import BuildRequest, Target, TargetId
    from orchestrator.provision.pythons import Interpreter
    from orchestrator.run.backends import BackendFactory
    from orchestrator.run.cache_key import Action
    from orchestrator.run.cache_lookup import Way
    from orchestrator.run.executors.local import Listener
    from orchestrator.run.inputs import Inputs, Options
    from orchestrator.run.reproduce import PreviousWheel, RebuildReport
    from orchestrator.run.result_cache import ResultCache
    from orchestrator.source.stage import StagedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class RunObservers:
    """Who hears what a run does.

    Attributes:
        listener: what happens to targets.
        doing: what the preparation is at.
        stopped: where a build failed, before anything there is removed; then nothing is tried
            twice. None where nobody wants to look.
        compared: how the wheel of `Options.again` compares with the one before.
    """

    listener: Listener
    doing: Callable[[str], object]
    stopped: Callable[[StoppedBuild, Cancel], object] | None
    compared: Callable[[RebuildReport], object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Building:
    """Builds of one run.

    Attributes:
        inputs: what to build.
        options: how.
        choices: target -> what builds it.
        workshop: what it is built with.
        keeper: takes results out of the store, and puts them in.
        watchers: hear of it.
        cancel: stops all programs.
        stage: makes the one copy of the source that everything is built from.
    """

    inputs: Inputs
    options: Options
    choices: Mapping[TargetId, Choice]
    workshop: BackendFactory
    keeper: ResultCache
    watchers: RunObservers
    cancel: Cancel
    stage: Callable[[], StagedSource]

    def build(self, targets: Iterable[Target]) -> dict[TargetId, BuildResult]:
        """Return the results of targets, from the store where it has them after all."""
        results: dict[TargetId, BuildResult] = {}
        wanted: list[Target] = []
        for target in targets:
            if self.choices[target.id].backend is None:
                results[target.id] = self._without(target, Status.UNAVAILABLE)
            else:
                wanted.append(self._with_testers(target))
        actions = self._actions(wanted)
        results |= recall(wanted, actions, self.keeper)
        for result in results.values():
            self.watchers.listener.ended(result)
        requests = self._requests(wanted, actions)
        missing = {each.id: requests[each.id] for each in wanted if each.id not in results}
        if missing:
            earlier = self._earlier(actions)
            results |= self._dispatched(missing)
            self._compare(earlier, results)
        return results

    def _with_testers(self, target: Target) -> Target:
        checked = tested(target, self.keeper.identity.source)
        survey, choice = self.workshop.survey, self.choices[target.id]
        testers = survey.testers(checked, choice) if checked.test_pythons else ()
        return replace(target, test_pythons=testers)

    def _way(self, target: Target) -> Way:
        choice = self.choices[target.id]
        return choice.backend or BackendName.DIRECT, choice.container is not None

    def _actions(self, targets: Sequence[Target]) -> dict[TargetId, tuple[Action, ...]]:
        """Return the one action of each target, now that it is known what builds it where."""
        survey = self.workshop.survey

        def interpreter(python: str) -> Interpreter | None:
            found = survey.pythons.get(python)
            return None if found is None else found.interpreter

        return actions_of(
            targets,
            lambda target: (self._way(target),),
            surroundings(self.inputs, survey, interpreter),
            request=partial(request_of, self.keeper.identity.source),
            scope=self.inputs.store.scope,
            known={each: (action,) for each, action in self.keeper.recalled.items()},
        )

    def _requests(
        self, targets: Sequence[Target], actions: Mapping[TargetId, Sequence[Action]]
    ) -> dict[TargetId, BuildRequest]:
        """Return what is asked of the backends; the keeper is told what it will get."""
        keeper = self.keeper
        requests = {each: action.request for each, action in keeper.recalled.items()}
        for target in targets:
            choice = self.choices[target.id]
            requests[target.id] = request_of(
                keeper.identity.source, target, self._way(target), requests
            )
            for action in actions[target.id]:
                keeper.expect(action, choice.reason, choice.compiled)
        return requests

    def _dispatched(
        self, requests: Mapping[TargetId, BuildRequest]
    ) -> Mapping[TargetId, BuildResult]:
        """Build what is missing."""
        watchers = self.watchers
        watchers.doing("staging the source")
        staged = self.stage()
        return dispatch(
            {each: self._assignment(found, staged) for each, found in requests.items()},
            self._worker(staged),
            pace=self._pace(requests),
            without=lambda target_id, because: self._without(
                requests[target_id].target, Status.CANCELLED, because
            ),
            listener=watchers.listener,
            cancel=self.cancel,
            say=watchers.doing,
        )

    def _assignment(self, request: BuildRequest, staged: StagedSource) -> Assignment:
        own = staged.pyproject
        choice = self.workshop.settled(self.choices[request.target.id], request, own)
        return Assignment(
            request=request,
            backend=self.workshop.backend(request, choice),
            reason=choice.reason,
            container=choice.container,
            compiled=choice.compiled,
            compilers=self.workshop.compilers(request, choice, own),
        )

    def _worker(self, staged: StagedSource) -> Worker:
        keeper, stopped = self.keeper, self.watchers.stopped
        return Worker(
            staged=staged,
            places=keeper.places,
            policies=keeper.policies(),
            check=keeper.check,
            step=self.watchers.listener.step,
            cancel=self.cancel,
            keeper=keeper,
            published=keeper.published,
            stopped=None if stopped is None else lambda stop: stopped(stop, self.cancel),
        )

    def _pace(self, targets: Iterable[TargetId]) -> Pace:
        options, settings = self.options, self.inputs.run
        if self.watchers.stopped is not None:  # somebody looks at the first failure
            settings = settings.model_copy(update={"retries": 0})
        return Pace(
            machine=capacity(),
            jobs=options.jobs,
            settings=settings,
            fail_fast=options.fail_fast,
            seconds={**self.keeper.took(list(targets)), **options.seconds},
            deadline=options.deadline,
        )

    def _earlier(self, actions: Mapping[TargetId, Sequence[Action]]) -> PreviousWheel | None:
        """Keep the wheel that the next one is compared with, before that one replaces it."""
        again, keeper = self.options.again, self.keeper
        if again is None:
            return None
        addresses = [each.address for each in actions.get(again.target_id, ())]
        last = keeper.store.local.last(keeper.project).get(again.target_id)
        addresses += [] if last is None else [last]
        return remember(again, keeper.store, addresses, keeper.places.run / "earlier")

    def _compare(
        self, earlier: PreviousWheel | None, results: Mapping[TargetId, BuildResult]
    ) -> None:
        again, compared = self.options.again, self.watchers.compared
        wheel = None if again is None else results[again.target_id].wheel
        if wheel is not None and compared is not None:
            compared(against(earlier, wheel, self.keeper.places.output))

    def _without(
        self, target: Target, status: Status, because: TargetId | None = None
    ) -> BuildResult:
        """Return the result of a target that is not built."""
        choice = self.choices[target.id]
        cancelled = Failure(kind=FailureKind.CANCELLED, message="the run ended before it started")
        if because is not None:
            status = Status.FAILED
            cancelled = Failure(
                kind=FailureKind.NEEDS, message=f"it needs {because}, which has no result"
            )
        return BuildResult(
            target_id=target.id,
            key="",
            status=status,
            backend=choice.backend,
            backend_reason=choice.reason,
            wheel=None,
            rejected=None,
            log=None,
            duration=0.0,
            failure=choice.failure or cancelled,
            parts=target.parts,
        )
