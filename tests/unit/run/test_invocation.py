"""The address of the CI run that builds."""

from __future__ import annotations

import pytest

from orchestrator.run.invocation import invocation, ref, workflow

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://git.example",
    "GITHUB_REPOSITORY": "a/b",
    "GITHUB_RUN_ID": "7",
}


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, ""),
        (GITHUB, "https://git.example/a/b/actions/runs/7/attempts/1"),
        (GITHUB | {"GITHUB_RUN_ATTEMPT": "3"}, "https://git.example/a/b/actions/runs/7/attempts/3"),
        (GITHUB | {"GITHUB_ACTIONS": ""}, ""),
        ({"CI_JOB_URL": "https://me:secret@gitlab.example/j/1"}, "https://gitlab.example/j/1"),
        ({"BUILDKITE_BUILD_URL": "https://b.example/o/1"}, "https://b.example/o/1"),
        ({"BUILD_URL": "http://jenkins/job/1/"}, "http://jenkins/job/1/"),
        ({"BUILD_URL": "javascript:alert(1)"}, ""),
        ({"BUILD_URL": "https://[broken"}, ""),
    ],
)
def test_an_invocation_is_the_address_of_a_ci_run(environ: dict[str, str], address: str) -> None:
    assert invocation(environ) == address


ON_GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REF": "refs/pull/1/merge",
    "GITHUB_WORKFLOW_REF": "w@x",
}
ON_GITLAB = {"GITLAB_CI": "true", "CI_CONFIG_REF_URI": "host/a/b//.gitlab-ci.yml@refs/heads/main"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, ("", "")),
        ({"BRANCH_NAME": "main", "CI_COMMIT_BRANCH": "main", "GITHUB_REF": "x"}, ("", "")),
        (ON_GITHUB, ("w@x", "refs/pull/1/merge")),
        (
            {**ON_GITLAB, "CI_COMMIT_BRANCH": "a/b"},
            (ON_GITLAB["CI_CONFIG_REF_URI"], "refs/heads/a/b"),
        ),
        ({**ON_GITLAB, "CI_COMMIT_TAG": "v1"}, (ON_GITLAB["CI_CONFIG_REF_URI"], "refs/tags/v1")),
        ({"BUILDKITE": "true", "BUILDKITE_BRANCH": "main"}, ("", "refs/heads/main")),
        ({"JENKINS_URL": "x", "TAG_NAME": "v1", "BRANCH_NAME": "v1"}, ("", "refs/tags/v1")),
    ],
)
def test_workflow_and_ref(environ: dict[str, str], wanted: tuple[str, str]) -> None:
    assert (workflow(environ), ref(environ)) == wanted
