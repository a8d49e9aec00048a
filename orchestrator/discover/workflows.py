"""Read the jobs of a GitHub Actions workflow, each combination of its matrix apart.

Specification: https://docs.github.com/actions/reference/workflow-syntax-for-github-actions
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from orchestrator.discover.expressions import UnknownValueError, evaluate, interpolate
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_JOBS = 256
"""Jobs of one matrix, at most, says GitHub."""

LARGEST = 1 << 20
"""Characters of a workflow, and values that its aliases may stand for."""

MOST_READ = 8 << 20
"""Characters that the combinations of all jobs have together; those of a large project have some
hundred thousand."""

MOST_TEXT = 4 << 20
"""Characters of all workflow files of a project that are read."""

_EACH = 16
"""Characters that any value counts as, with what is kept of it."""

_STEP = 1000
"""Characters that a step counts as: each may be a run of cibuildwheel, with all its identifiers."""


@dataclass(slots=True)
class Meter:
    """What is left of the characters of a project's workflows, whose parts multiply."""

    left: int = MOST_READ
    text: int = MOST_TEXT

    def read(self, characters: int) -> None:
        """Use some of the text of files; raises ValueError if they have too much together."""
        self.text -= characters
        if self.text < 0:
            raise ValueError(f"the workflows have more than {MOST_TEXT >> 20} MiB together")

    def spend(self, characters: int) -> None:
        """Use some; raises ValueError if there are not so many left."""
        self.left -= characters
        if self.left < 0:
            raise ValueError("jobs, combinations and variables multiply without end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a job that runs.

    Attributes:
        uses: the action, as written; empty for a script.
        run: the script.
        given: the action's inputs.
        variables: its environment, with that of the job and the workflow.
        unreadable: the variables whose values nothing here can tell.
    """

    uses: str = ""
    run: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowJob:
    """One job, for one combination of its matrix.

    Attributes:
        runner: the label of its machine, such as ``ubuntu-24.04-arm``; empty if unknown.
        steps: those that run.
    """

    runner: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """A workflow.

    Attributes:
        jobs: all jobs.
        matrices: the ``strategy.matrix`` of each job that has one.
        notes: what could not be read.
    """

    jobs: tuple[WorkflowJob, ...]
    matrices: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


def read_workflow(text: str, *, where: str, meter: Meter | None = None) -> Workflow:
    """Return the jobs of a workflow; every value is a string, ``3.10`` stays ``3.10``.

    Args:
        text: the file.
        where: its name.
        meter: what the workflows of a project share.

    Raises:
        ConfigError: it is no YAML, no workflow, or stands for too much.
    """
    meter = meter or Meter()
    try:
        meter.read(len(text))
        return _workflow(_load(text), where, meter)
    except (YAMLError, RecursionError, ValueError, AttributeError) as error:
        what = f"cannot be read as YAML: {str(error).partition(chr(10))[0]}"
        raise ConfigError.of(what, where=where) from None


def _workflow(tree: object, where: str, meter: Meter) -> Workflow:
    jobs: list[WorkflowJob] = []
    matrices: list[Mapping[str, Any]] = []
    notes: list[str] = []
    inputs = _inputs(_table(tree))
    for name, job in _table(_table(tree).get("jobs")).items():
        if not isinstance(job, dict):
            continue
        matrix = _table(job.get("strategy")).get("matrix")
        if isinstance(matrix, dict):
            matrices.append(matrix)
        elif matrix is not None:
            notes.append(f"{where}: the matrix of {name} is computed by another job")
        for combination in _combinations(_table(matrix), meter):
            known = {"inputs": inputs, "matrix": combination}
            jobs.append(_job(job, _table(_table(tree).get("env")), known, meter))
    return Workflow(jobs=tuple(jobs), matrices=tuple(matrices), notes=tuple(notes))


def _load(text: str) -> Any:
    if len(text) > LARGEST:
        raise ValueError(f"more than {LARGEST >> 10} KiB")
    with warnings.catch_warnings():  # what it says of a stranger's anchors
        warnings.simplefilter("ignore")
        tree = YAML(typ="base", pure=True).load(text)
    _check_size(tree, {})
    return tree


def _check_size(node: object, known: dict[int, int]) -> int:
    """Return how many values there are once every alias stands for its own copy (memoised)."""
    if id(node) not in known:
        known[id(node)] = LARGEST  # of what holds itself
        parts = [*node, *node.values()] if isinstance(node, dict) else node
        inner = (_check_size(each, known) for each in parts) if isinstance(parts, list) else ()
        known[id(node)] = 1 + sum(inner)
    if known[id(node)] > LARGEST:
        raise ValueError("its aliases stand for too much")
    return known[id(node)]


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in _list(value) if isinstance(each, dict)]


def _size(node: object) -> int:
    """Return how many characters a part of a workflow has; `_check_size` bounds its values."""
    parts = [*node, *node.values()] if isinstance(node, dict) else _list(node)
    return _EACH + (sum(map(_size, parts)) if parts else len(str(node)))


def _inputs(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of the workflow with their defaults; those without one are empty."""
    events = [each for each in _table(tree.get("on")).values() if isinstance(each, dict)]
    found: dict[str, Any] = {}
    for event in events:
        for name, declared in _table(event.get("inputs")).items():
            found[name] = str(_table(declared).get("default", ""))
    return found


def _combinations(matrix: Mapping[str, Any], meter: Meter) -> Iterator[dict[str, Any]]:
    """Yield what ``matrix`` is in each job."""
    axes = {
        name: values
        for name, values in matrix.items()
        if name not in {"include", "exclude"} and isinstance(values, list)
    }
    excluded = _dicts(matrix.get("exclude"))
    rules = 1 + sum(map(len, excluded))
    base = []
    for values, _ in zip(product(*axes.values()), range(MOST_JOBS if axes else 0), strict=False):
        meter.spend(_EACH * (len(axes) + rules))
        base.append(dict(zip(axes, values, strict=True)))
    base = [each for each in base if not any(_matches(each, rule) for rule in excluded)]
    combined = [dict(each) for each in base]
    added = []
    for entry in _list(matrix.get("include"))[:MOST_JOBS]:
        if not isinstance(entry, dict):
            continue
        meter.spend(_EACH * (1 + len(entry)) * (1 + len(base)))
        # It goes into each combination of which it changes no value, else it is one of its own.
        fitting = [
            number
            for number, each in enumerate(base)
            if all(each[name] == value for name, value in entry.items() if name in each)
        ]
        for number in fitting:
            combined[number] |= entry
        added += [] if fitting else [dict(entry)]
    yield from combined + added or [{}]


def _matches(combination: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    return all(combination.get(name) == value for name, value in rule.items())


def _job(
    job: Mapping[str, Any],
    env: Mapping[str, Any],
    contexts: Mapping[str, Mapping[str, Any]],
    meter: Meter,
) -> WorkflowJob:
    own, steps = _table(job.get("env")), _dicts(job.get("steps"))
    meter.spend(_size(job.get("runs-on")) + _size(env) + _size(own) + _EACH)
    for step in steps:
        meter.spend(_size(step) + _EACH * (len(env) + len(own)) + _STEP)
    runner = _runner(job.get("runs-on"), contexts)
    system = "Linux" if re.search("ubuntu|linux", runner) else "macOS"
    contexts = {**contexts, "runner": {"os": "Windows" if "windows" in runner else system}}
    contexts = _with_env(_with_env(contexts, env), own)
    read = [_step(each, contexts) for each in steps if _runs(each, contexts)]
    return WorkflowJob(runner=runner, steps=tuple(read))


def _runner(value: object, contexts: Mapping[str, Mapping[str, Any]]) -> str:
    labels = value if isinstance(value, list) else [value]
    try:
        return " ".join(interpolate(str(each), contexts) for each in labels)
    except UnknownValueError:
        return ""


def _filled(
    table: Mapping[str, Any], contexts: Mapping[str, Mapping[str, Any]]
) -> dict[str, str | None]:
    """Fill in the values of a table; those that nothing here can tell are None."""
    found: dict[str, str | None] = {}
    for name, value in table.items():
        try:
            found[name] = interpolate(str(value), contexts)
        except UnknownValueError:
            found[name] = None
    return found


def _with_env(
    contexts: Mapping[str, Mapping[str, Any]], env: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    return {**contexts, "env": {**contexts.get("env", {}), **_filled(env, contexts)}}


def _runs(step: Mapping[str, Any], contexts: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a step runs; one whose condition nothing here can tell does."""
    condition = str(step.get("if", "")).strip()
    if not condition:
        return True
    match = re.fullmatch(r"\$\{\{(.*)\}\}", condition, re.DOTALL)
    try:
        return bool(evaluate(match[1] if match else condition, contexts))
    except UnknownValueError:
        return True


def _step(step: Mapping[str, Any], contexts: Mapping[str, Mapping[str, Any]]) -> Step:
    contexts = _with_env(contexts, _table(step.get("env")))
    values = contexts["env"]
    given = _filled(_table(step.get("with")), contexts)
    return Step(
        uses=str(step.get("uses", "")),
        run=_text(step.get("run", ""), contexts),
        given={name: value for name, value in given.items() if value is not None},
        variables={name: value for name, value in values.items() if value is not None},
        unreadable=tuple(sorted(name for name, value in values.items() if value is None)),
    )


def _text(value: object, contexts: Mapping[str, Mapping[str, Any]]) -> str:
    try:
        return interpolate(str(value), contexts)
    except UnknownValueError:
        return str(value)
