"""What a run records of where its wheels come from."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.host.redaction import without_login
from orchestrator.models.provenance import Provenance
from orchestrator.source.locate import SourceKind
from orchestrator.source.revision import revision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.source.fingerprint import SourceFingerprint
    from orchestrator.source.locate import SourceLocation

_ADDRESSES = ("CI_JOB_URL", "BUILDKITE_BUILD_URL", "CIRCLE_BUILD_URL", "BUILD_URL")
"""Variables in which GitLab, Buildkite, CircleCI and Jenkins name the job that runs."""


_REFS = {
    "GITLAB_CI": ("CI_COMMIT_TAG", "CI_COMMIT_BRANCH"),
    "BUILDKITE": ("BUILDKITE_TAG", "BUILDKITE_BRANCH"),
    "CIRCLECI": ("CIRCLE_TAG", "CIRCLE_BRANCH"),
    "JENKINS_URL": ("TAG_NAME", "BRANCH_NAME"),
}
"""Variable that tells a CI system -> those in which it names the tag and the branch."""


class RunProvenance:
    """What a run records, beyond what is in the keys of its targets; git is asked once."""

    def __init__(
        self, location: SourceLocation, identity: SourceFingerprint, environ: Mapping[str, str]
    ) -> None:
        self._location, self._identity, self._environ = location, identity, environ

    def __call__(self, began: float) -> Provenance:
        """Return what is recorded of a build that began at a time, in seconds since the epoch."""
        return replace(self._common, began=began)

    @cached_property
    def _common(self) -> Provenance:
        location = self._location
        path = location.path if location.kind is SourceKind.DIRECTORY else None
        files = (file.path for file in self._identity.files)
        return Provenance(
            revision=None if path is None else revision(path, files),
            invocation=invocation(self._environ),
            workflow=workflow(self._environ),
            ref=ref(self._environ),
        )


def invocation(environ: Mapping[str, str]) -> str:
    """Return the address of the CI run that this process is a part of; empty outside of CI."""
    server, repository, run = (
        environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    if environ.get("GITHUB_ACTIONS") == "true" and server and repository and run:
        attempt = environ.get("GITHUB_RUN_ATTEMPT", "1")
        return f"{server}/{repository}/actions/runs/{run}/attempts/{attempt}"
    found = (without_login(environ.get(name, "")) for name in _ADDRESSES)
    return next((each for each in found if each.startswith(("https://", "http://"))), "")


def workflow(environ: Mapping[str, str]) -> str:
    """Return what a CI system calls the configuration that runs; empty outside of CI."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return environ.get("GITHUB_WORKFLOW_REF", "")
    return environ.get("CI_CONFIG_REF_URI", "") if environ.get("GITLAB_CI") else ""


def ref(environ: Mapping[str, str]) -> str:
    """Return the branch or tag that a CI run is for, as git names it; empty outside of CI."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return environ.get("GITHUB_REF", "")
    tag, branch = next((names for own, names in _REFS.items() if environ.get(own)), ("", ""))
    for kind, name in (("tags", environ.get(tag)), ("heads", environ.get(branch))):
        if name:
            return f"refs/{kind}/{name}"
    return ""
