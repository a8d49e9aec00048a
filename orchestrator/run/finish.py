"""How a target ends: what its wheel must be, why it is refused, and what has no build."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.errors import clipped
from orchestrator.models.result import BuildResult, Failure, FailureKind, Status
from orchestrator.models.target import CompilePlan, OnRefusal, RuleLevel, Target, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity
from orchestrator.models.wheel_name import WheelName
from orchestrator.plan.expected_environment import compiles_cuda, cuda_of, cxx11abi_of
from orchestrator.plan.gpu_archs import asked_archs
from orchestrator.plan.torch_table import RULE
from orchestrator.wheel import Expected

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.models.target import BackendName, TargetFacts, TargetId


def expected(target: TargetFacts, name: str) -> Expected:
    """Return what a target's wheel must be; without the project's name, any name is right."""
    return Expected(
        name=name,
        version=target.version,
        build_tag=target.build_tag,
        python=target.python,
        libc=target.libc,
        arch=target.arch,
        pins=target.pins if isinstance(target, Target) else (),
        abi3=target.abi3,
        torch_stable=dict(target.stable_abi).get("torch", ""),
        baseline=target.baseline,
        cxx11abi=cxx11abi_of(target),
        **(_for_gpus(target) if isinstance(target, Target) else {}),
    )


def _for_gpus(target: Target) -> dict[str, Any]:
    """Return what a wheel must be for GPUs; an axis that changes names alone promises nothing."""
    return {
        "cuda": compiles_cuda(target),
        "cuda_version": "" if "cuda" in target.label_only else cuda_of(target),
        "gpu_archs": asked_archs(target.env, RULE),
    }


def plain_platform_tag(target: Target) -> str:
    """Return the platform tag that promises nothing but the architecture."""
    return f"linux_{target.arch}"


def demands_on(final: Path, target: Target) -> VerifyPolicy:
    """Return what is asked of a wheel; one that could not be repaired may need what it needs."""
    demands = target.demands
    if target.compiling != CompilePlan():
        # What another compiler linked is held to more than what the image's own would have.
        demands = replace(demands, levels=(("page-alignment", RuleLevel.ERROR), *demands.levels))
    kept = target.steps.repair_refused is OnRefusal.KEEP
    if kept and WheelName.parse(final.name).platform == plain_platform_tag(target):
        # First, so that what the matrix says of the rule wins.
        levels = (("external-library", RuleLevel.WARN), *demands.levels)
        return replace(demands, levels=levels)
    return demands


def not_what_it_says(target: Target, problems: Iterable[Finding]) -> Failure:
    """Return the failure of a wheel of which some findings are errors."""
    errors = [each for each in problems if each.severity is Severity.ERROR]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    audited = all(each.rule == "abi3audit" for each in errors)
    return Failure(
        kind=FailureKind.AUDIT if audited else FailureKind.BAD_WHEEL,
        step="verify",
        message=f"{errors[0].rule}: {errors[0].message}{more}",
        cause=f"the wheel fails {', '.join(dict.fromkeys(each.rule for each in errors))}",
        hint=_mismatch_hint(target, [each.rule for each in errors]),
    )


def _mismatch_hint(target: Target, rules: list[str]) -> str:
    if "planned-version" in rules:
        injected = [
            f"{each.name}={each.value}"
            for each in target.env
            if "version.inject" in each.origin or "version.presets" in each.origin
        ]
        ignored = (
            f"the build ignored {', '.join(injected)}: name the variable it reads"
            if injected
            else "nothing tells the build its version: set version.presets or version.inject"
        )
        return f'{ignored}; for a version fixed in the source, version.on-mismatch = "rewrite"'
    if "planned-build-tag" in rules:
        return 'set version.build-tag, or version.on-mismatch = "rewrite" to remove it'
    if "external-library" in rules:
        return (
            'list the libraries in build.external, or graft them with build.repair = "auditwheel"'
        )
    return "the wheel was kept aside; `orchestrator inspect` shows what is in it"


def left_out(line: str) -> tuple[Finding, ...]:
    """Return the finding on what a build printed of code that it goes on without; or none."""
    message = f"the build went on without compiled code, it says: {clipped(line)}"
    return (
        (Finding(rule="code-left-out", message=message, severity=Severity.WARNING),) if line else ()
    )


def bug(error: BaseException) -> Failure:
    """Return the failure of a target that a bug of ours ended."""
    return Failure(
        kind=FailureKind.BUG,
        message=f"a bug in orchestrator: {type(error).__name__}: {error}",
        hint="please report it; the traceback is in the log",
    )


def duplicate_name(name: str, owner: TargetId, *, abi3: bool) -> Failure:
    """Return the failure of a wheel whose name another target's wheel has."""
    hint = "give the variants different local versions (version.local) or build tags"
    if abi3:
        hint = "an abi3 wheel serves every later Python too: keep only the lowest one in "
        hint += "axes.python"
    return Failure(
        kind=FailureKind.DUPLICATE_WHEEL,
        step="verify",
        message=f"{owner} made a wheel of the same name, {name}",
        hint=hint,
    )


def result_without_build(  # noqa: PLR0913 - mostly keywords
    target: Target,
    status: Status,
    *,
    backend: BackendName | None,
    reason: str,
    failure: Failure | None = None,
    cached: bool = False,
) -> BuildResult:
    """Return the result of a target that was not built in this run, and has no wheel."""
    return BuildResult(
        target_id=target.id,
        key="",
        status=status,
        backend=backend,
        backend_reason=reason,
        wheel=None,
        rejected=None,
        log=None,
        duration=0.0,
        failure=failure,
        parts=target.parts,
        cached=cached,
    )
