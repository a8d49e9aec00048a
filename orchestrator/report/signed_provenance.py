"""Whether provenance that a trusted key has signed says of a wheel what somebody demands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError
from orchestrator.fsutil import file_sha256, read_file
from orchestrator.models.reading import json_value
from orchestrator.models.wheel import Finding
from orchestrator.report.slsa import PREDICATE, STATEMENT
from orchestrator.store import dsse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.store.seals import TrustedKeys

SIGNED = ".intoto.jsonl"
"""What the name of a wheel's signed provenance ends with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenancePolicy:
    """What a wheel's provenance must say; nothing is demanded where it is empty.

    Attributes:
        repository: the address of the source's repository.
        ref: the branch or tag that the CI run was for (``refs/heads/main``).
        workflow: the CI configuration that ran; one that ends with ``@`` is of any revision.
        builder: who built it, as a URI.
    """

    repository: str = ""
    ref: str = ""
    workflow: str = ""
    builder: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceChecker:
    """Checks the signed provenance of wheels.

    Attributes:
        place: a file, or a directory with ``WHEEL.intoto.jsonl``.
        keys: whose signature counts.
        policy: what is demanded.
    """

    place: Path
    keys: TrustedKeys
    policy: ProvenancePolicy

    def check(self, wheel: Path) -> tuple[Finding, ...]:
        """Return what is wrong with a wheel's provenance.

        Raises:
            EnvironmentProblemError: what checks signatures is not installed.
        """
        file = self.place / f"{wheel.name}{SIGNED}" if self.place.is_dir() else self.place
        try:
            data = read_file(file, limit=dsse.LARGEST)
            statement, signer = dsse.open_envelope(data, self.keys, where=str(file))
        except OSError as error:
            return (_finding(f"{file} cannot be read: {error.strerror or error}"),)
        except ConfigError as error:
            return (_finding(str(error)),)
        if not signer:
            return (_finding(f"{file} is not signed by a key that is trusted here"),)
        try:
            sha256 = file_sha256(wheel)
        except OSError:
            return ()  # which is said otherwise
        wrong = check(statement, self.policy, name=wheel.name, sha256=sha256)
        return tuple(_finding(f"{file}: {each}") for each in wrong)


def _finding(message: str) -> Finding:
    return Finding(rule="provenance", message=message)


def check(statement: bytes, policy: ProvenancePolicy, *, name: str, sha256: str) -> tuple[str, ...]:
    """Return what is wrong with a statement on a wheel; nothing if it is as demanded.

    Args:
        statement: an in-toto statement.
        policy: what is demanded.
        name: the wheel's file name.
        sha256: of its contents.
    """
    try:
        said = json_value(statement, where="its statement")
        if said["_type"] != STATEMENT or said["predicateType"] != PREDICATE:
            return (f"it is no SLSA provenance v1, but {said['predicateType']}",)
        subjects = {(each["name"], each["digest"]["sha256"]) for each in said["subject"]}
        if (name, sha256) not in subjects:
            told = ", ".join(f"{file} (sha256 {digest})" for file, digest in sorted(subjects))
            return (f"it is about {told or 'nothing'}, and this is {name} (sha256 {sha256})",)
        wrong = [*_wrong(policy, _claims(said["predicate"]))]
        if policy.repository and _is_changed(said["predicate"]):
            wrong.append("files of its source were not as in the commit")
        return tuple(wrong)
    except (ConfigError, LookupError, TypeError, AttributeError):
        return ("it is no SLSA provenance v1",)


def _claims(predicate: Any) -> dict[str, str]:
    """Return what provenance says, as far as a policy may demand it."""
    definition = predicate["buildDefinition"]
    external = definition["externalParameters"]
    commits = (
        str(each.get("uri", "")).removeprefix("git+").rpartition("@")[0]
        for each in definition.get("resolvedDependencies", ())
        if "gitCommit" in each.get("digest", {})
    )
    return {
        "repository": next(commits, ""),
        "ref": str(external.get("ref", "")),
        "workflow": str(external.get("workflow", "")),
        "builder": str(predicate["runDetails"]["builder"]["id"]),
    }


def _is_changed(predicate: Any) -> bool:
    dependencies = predicate["buildDefinition"].get("resolvedDependencies", ())
    return any(each.get("annotations", {}).get("changedFiles") for each in dependencies)


def _wrong(policy: ProvenancePolicy, claims: dict[str, str]) -> Iterator[str]:
    for name, claimed in claims.items():
        wanted = getattr(policy, name)
        if wanted and not _is_same(name, claimed, wanted):
            yield f"its {name} is {claimed or 'not stated'}, and {wanted} is demanded"


def _is_same(name: str, claimed: str, wanted: str) -> bool:
    if name == "repository":
        return _address(claimed) == _address(wanted)
    if name == "workflow" and wanted.endswith("@"):
        return claimed.startswith(wanted)
    return claimed == wanted


def _address(repository: str) -> str:
    """Return host and path of a repository, however it is reached."""
    plain = repository.partition("://")[2] or repository.replace(":", "/", 1)
    return plain.rpartition("@")[2].removesuffix("/").removesuffix(".git").lower()
