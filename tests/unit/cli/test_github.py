"""``github init``: a workflow that follows the matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import orchestrator.cli
from orchestrator.errors import ExitCode
from tests.fanout import read

USES = f"o/r@{'0' * 40}"

MATRIX = """\
[project]
source = "d==1"
[axes]
python = ["cp312"]
arch = ["x86_64"]
device = ["cpu", "big"]
[version]
base = "1.0"
local = "{device}"
omit.device = "cpu"
[env]
DEVICE = "{device}"
[channel.nightly.version]
dev = "20260101"
[channel.night.axes]
device = ["cpu"]
[channel.both]
publish.to = ["testpypi", "s3://bucket/whl"]
axes.device = ["cpu"]
[channel.parts]
override = [
    { when = { device = "cpu" }, publish.to = ["pypi"] },
    { when = { device = "big" }, publish.to = ["github-release"] },
]
[channel.secret]
publish.to = ["https://me:hunter2@host/"]
[channel.cuda]
axes.cuda = ["13.0"]
"""


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    Path("matrix.toml").write_text(MATRIX)

    def run(*arguments: str, more: str = "") -> Any:
        Path("matrix.toml").write_text(MATRIX + more)
        out = ("--uses", USES, "--output", "w.yml", "--force")
        code = orchestrator.cli.run(["github", "init", *out, *arguments])
        return read(Path("w.yml")) if code == ExitCode.OK else code

    return run


def test_a_release_is_built_for_a_tag_and_development_every_night(init: Any) -> None:
    release = init("--publish=github-release")
    assert release["on"].keys() == {"push", "workflow_dispatch"}
    assert release["jobs"]["publish"]["if"] == "github.ref_type == 'tag'"

    nightly = init("--channel=nightly", "--publish=github-release")
    assert nightly["on"].keys() == {"schedule", "workflow_dispatch"}
    assert "default_branch" in nightly["jobs"]["publish"]["if"]
    assert "--tag nightly" in nightly["jobs"]["publish"]["steps"][-1]["run"]
    assert "schedule" not in init("--channel=night")["on"]


def test_what_the_matrix_says_of_destinations_becomes_jobs(init: Any) -> None:
    assert init()["jobs"].keys() == {"wheels"}

    jobs = init("--channel=both")["jobs"]
    assert jobs.keys() == {"wheels", "publish", "publish-2"}
    assert jobs["publish"]["permissions"] == {"contents": "read", "id-token": "write"}
    assert jobs["publish"]["environment"] == "testpypi"
    assert jobs["publish-2"]["permissions"] == {"contents": "read"}
    assert jobs["publish-2"]["steps"][-1]["env"].keys() >= {"TO", "AWS_ACCESS_KEY_ID"}

    jobs = init("--channel=both", "--publish=github-release")["jobs"]
    assert jobs["publish"]["steps"][-1]["env"]["TO"] == "github-release"

    jobs = init("--channel=parts")["jobs"]
    assert jobs.keys() == {"wheels", "publish"}
    assert jobs["publish"]["permissions"] == {"contents": "write", "id-token": "write"}
    assert "--to" not in jobs["publish"]["steps"][-1]["run"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--publish=pypi"], "pypi takes no local versions such as 1.0+big"),
        (["--publish=pipy"], "--publish: not a destination: 'pipy'"),
        (["--channel=secret"], "everybody can read the password of https://me:****@host/"),
    ],
)
def test_a_destination_that_cannot_be_is_an_error_and_no_file(
    init: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert init(*arguments) == ExitCode.CONFIG
    assert said in capsys.readouterr().err
    assert not Path("w.yml").exists()


def test_a_shared_store_and_cuda_set_their_inputs(
    init: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    wheels = init()["jobs"]["wheels"]
    assert not {"with", "secrets"} & wheels.keys()
    wheels = init(more='[store]\nremote = "s3://b/p"\n')["jobs"]["wheels"]
    assert wheels["with"] == {"cache": False}
    assert wheels["secrets"].keys() == {"store-access-key-id", "store-secret-access-key"}
    assert init("--channel=cuda")["jobs"]["wheels"]["with"] == {
        "channel": "cuda",
        "free-disk": True,
    }
    assert f"https://github.com/o/r/blob/{'0' * 40}/docs/" in capsys.readouterr().err
