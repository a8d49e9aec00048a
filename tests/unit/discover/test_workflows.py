from __future__ import annotations

import pytest

from orchestrator.discover.workflows import MOST_READ, Meter, WorkflowJob, read_workflow
from orchestrator.errors import ConfigError


def jobs(text: str) -> tuple[WorkflowJob, ...]:
    return read_workflow(text, where="w.yml").jobs


STEPS = """
    runs-on: ${{ matrix.os || 'ubuntu-latest' }}
    steps:
    - run: build ${{ matrix.python }} ${{ matrix.arch }}
"""


def runs(matrix: str) -> list[str]:
    found = jobs(f"jobs:\n  a:\n    strategy:\n      matrix:\n{matrix}{STEPS}")
    return [f"{job.runner}: {step.run}" for job in found for step in job.steps]


def test_versions_stay_as_they_are_written() -> None:
    assert runs("        python: [3.10, '3.11']\n        arch: [x]\n") == [
        "ubuntu-latest: build 3.10 x",
        "ubuntu-latest: build 3.11 x",
    ]


def test_excluded_combinations_do_not_run() -> None:
    found = runs(
        "        python: [a, b]\n        arch: [x, y]\n"
        "        exclude:\n        - {python: a, arch: x}\n        - {arch: y, python: b}\n"
    )

    assert found == ["ubuntu-latest: build a y", "ubuntu-latest: build b x"]


def test_an_include_extends_what_it_does_not_change_and_adds_the_rest() -> None:
    found = runs(
        "        python: [a, b]\n"
        "        include:\n        - {python: a, arch: x}\n        - {os: windows}\n"
        "        - {python: c, arch: z}\n"
    )

    assert found == ["windows: build a x", "windows: build b ", "ubuntu-latest: build c z"]


def test_includes_alone_are_the_jobs() -> None:
    assert runs("        include:\n        - {python: a}\n        - {python: b, os: macos}\n") == [
        "ubuntu-latest: build a ",
        "macos: build b ",
    ]


def test_a_job_without_a_matrix_runs_once() -> None:
    (job,) = jobs(
        "jobs:\n  a:\n    runs-on: [self-hosted, linux, arm64]\n    steps:\n    - run: x\n"
    )

    assert job.runner == "self-hosted linux arm64"


def test_variables_of_a_step_come_before_the_job_s_and_the_workflow_s() -> None:
    ((step,),) = [
        job.steps
        for job in jobs(
            "env: {A: w, B: w, C: w}\njobs:\n  a:\n    runs-on: ubuntu\n"
            "    env: {B: j, C: j, D: '${{ github.sha }}'}\n"
            "    steps:\n    - {uses: x, env: {C: 's${{ env.B }}'}, with: {only: '${{ env.A }}'}}\n"
        )
    ]

    assert step.variables == {"A": "w", "B": "j", "C": "sj"}
    assert step.unreadable == ("D",)
    assert step.given == {"only": "w"}


def test_a_step_that_cannot_run_is_left_out() -> None:
    (job,) = jobs(
        "jobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        "    - {run: one, if: runner.os == 'Linux'}\n"
        "    - {run: two, if: \"${{ runner.os == 'Windows' }}\"}\n"
        "    - {run: three, if: github.event_name == 'push'}\n"
    )

    assert [step.run for step in job.steps] == ["one", "three"]


def test_inputs_have_their_defaults() -> None:
    (job,) = jobs(
        "on:\n  workflow_call:\n    inputs:\n      a: {default: x}\n      b: {type: string}\n"
        "jobs:\n  a:\n    runs-on: ubuntu\n    steps:\n"
        "    - run: '${{ inputs.a }}-${{ inputs.b }}-'\n"
    )

    assert [step.run for step in job.steps] == ["x--"]


def test_a_computed_matrix_is_said() -> None:
    found = read_workflow(
        "jobs:\n  a:\n    runs-on: x\n    strategy: {matrix: '${{ fromJSON(x) }}'}\n",
        where="w.yml",
    )

    assert found.notes == ("w.yml: the matrix of a is computed by another job",)


def test_a_matrix_of_millions_takes_no_time() -> None:
    axes = "".join(f"        a{n}: [{', '.join(map(str, range(50)))}]\n" for n in range(8))

    assert len(runs(axes)) == 256


LAUGHS = (f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
BOMB = f"a0: &a0 [x, x]\n{''.join(LAUGHS)}"


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: b: c", "\tx", "&a [*b]", "- " * 3000, "%YAML 9", BOMB, " " * 2**21],
)
def test_what_is_no_yaml_is_an_error_that_names_the_file(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_workflow(text, where="w.yml")

    assert caught.value.problems[0].where == "w.yml"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "jobs: []", "jobs: {a: x}", "jobs: {a: {steps: x}}", "jobs: {a: {steps: [x]}}"),
        *("jobs: {a: {strategy: x}}", "jobs: {a: {strategy: {matrix: {a: x, exclude: x}}}}"),
        *("on: x", "on: {push: x}", "jobs: {a: {strategy: {matrix: {include: [x], a: []}}}}"),
        "jobs: {a: {env: x, steps: [{with: x, env: [], if: }]}}",
    ],
)
def test_a_workflow_that_github_would_refuse_is_no_bug(text: str) -> None:
    for job in jobs(text):
        assert [step.run for step in job.steps] in ([], [""])


def test_a_doubled_anchor_is_nothing_to_talk_about(recwarn: pytest.WarningsRecorder) -> None:
    assert jobs("a: &a x\nb: &a y\n") == ()
    assert not recwarn.list


def flow(*words: str) -> str:
    return f"{{{', '.join(words)}}}"


PRODUCTS = {
    "combinations, and axes": flow(
        "jobs: "
        + flow(
            "a: {strategy: {matrix: "
            + flow(*(f"a{i}: [1, 2]" for i in range(8)), *(f"b{i}: [1]" for i in range(9000)))
            + "}}"
        )
    ),
    "combinations, and what is included": flow(
        "x: &x " + flow(*(f"k{i}: 1" for i in range(500))),
        "jobs: {a: {strategy: {matrix: "
        + flow(*(f"a{i}: [1, 2]" for i in range(8)), f"include: [{', '.join(['*x'] * 256)}]")
        + "}}}",
    ),
    "jobs, and variables": flow(
        "env: " + flow(*(f"k{i}: 1" for i in range(1000))),
        "jobs: " + flow(*(f"j{i}: {{}}" for i in range(1000))),
    ),
    "steps, and variables": flow(
        "env: " + flow(*(f"k{i}: 1" for i in range(1000))),
        "jobs: {a: {steps: [" + ", ".join(["{run: a}"] * 1000) + "]}}",
    ),
    "combinations, and a long script": flow(
        "jobs: {a: {strategy: {matrix: {a: ["
        + ", ".join(map(str, range(250)))
        + "]}}, steps: [{run: "
        + "x" * 50_000
        + "}]}}"
    ),
}


@pytest.mark.parametrize("what", PRODUCTS)
def test_what_multiplies_is_refused(what: str) -> None:
    with pytest.raises(ConfigError, match="multiply without end"):
        jobs(PRODUCTS[what])


def test_all_workflows_of_a_project_share_what_they_may_stand_for() -> None:
    text = "jobs: {a: {steps: [" + ", ".join(["{run: a}"] * 500) + "]}}"
    meter = Meter()
    assert len(read_workflow(text, where="w.yml", meter=meter).jobs[0].steps) == 500
    used = MOST_READ - meter.left
    meter.left = 2 * used - 1
    read_workflow(text, where="w.yml", meter=meter)
    with pytest.raises(ConfigError, match="multiply without end"):
        read_workflow(text, where="w.yml", meter=meter)


def test_an_honest_workflow_is_far_from_the_limit() -> None:
    """That of a project with a hundred combinations, twenty steps and as many variables."""
    meter = Meter()
    axes = flow(*(f"{axis}: [{', '.join(map(str, range(10)))}]" for axis in "ab"))
    env = flow(*(f"CIBW_VARIABLE_{i}: some value of {i}" for i in range(20)))
    steps = ", ".join(["{uses: actions/checkout@v5, with: {path: some/where}}"] * 20)
    text = f"{{env: {env}, jobs: {{a: {{strategy: {{matrix: {axes}}}, steps: [{steps}]}}}}}}"
    assert len(read_workflow(text, where="w.yml", meter=meter).jobs) == 100
    assert meter.left > 0.3 * MOST_READ


def test_all_workflows_of_a_project_share_the_text_that_is_read() -> None:
    """YAML takes ten seconds for a megabyte; a thousand such files are a megabyte in an sdist."""
    text = "jobs: {}\n" + "# more\n" * 100
    meter = Meter(text=2 * len(text))
    for _ in range(2):
        read_workflow(text, where="w.yml", meter=meter)
    with pytest.raises(ConfigError, match="more than 4 MiB together"):
        read_workflow(text, where="w.yml", meter=meter)
    with pytest.raises(ConfigError, match="more than 4 MiB together"):
        read_workflow("[", where="w.yml", meter=meter)
