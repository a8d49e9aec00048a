"""The shell completes every name that somebody would have to look up, and never gets in the way."""

from __future__ import annotations

import sys

import click
import pytest
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from orchestrator.cli import cli
from orchestrator.config.verify_rules import RULES
from orchestrator.models.target import RuleLevel
from orchestrator.provision.toolchain_env import TOOLS
from tests.unit.cli import test_cli as commands
from tests.unit.cli.test_cli import IDS, Cli
from tests.unit.cli.test_help import LEAVES

here = commands.cli
SHELLS = (BashComplete, ZshComplete, FishComplete)
LEVELS = [f"{rule}={level}" for rule in RULES for level in RuleLevel]

NAMES: dict[str, tuple[str, list[str]]] = {
    "IDs to select": ("plan --select ", [*IDS]),
    "IDs to build": ("build --select cp312-manylinux_s390x-cu13", [IDS[-1]]),
    "an ID to explain": ("explain ", [*IDS]),
    "an ID to rebuild": ("rebuild cp311-manylinux_x", [IDS[0]]),
    "an ID to verify by": ("verify x.whl --target cp311-manylinux_x", [IDS[0]]),
    "a channel": ("plan --channel ", ["nightly", "weekly"]),
    "a channel of a matrix that is named": (
        "plan --matrix other.toml --channel ",
        ["elsewhere"],
    ),
    "IDs of a channel": ("plan --channel nightly --select cp312-m", ["cp312-manylinux_x86_64"]),
    "a rule": ("verify x.whl --rule ", LEVELS),
    "a level": (
        "publish x --rule page-alignment=",
        [f"page-alignment={level}" for level in RuleLevel],
    ),
    "a destination": ("publish x --to p", ["pypi"]),
    "a destination of a workflow": ("github init --publish t", ["testpypi"]),
    "a job": ("build --plan plan.json --job ", ["01", "02", "03", "04"]),
    "a job before its plan": ("build --job 0", []),
    "a backend": ("build --backend d", ["direct"]),
    "a format": ("plan --format g", ["github", "gitlab"]),
    "a document": ("schema re", ["results"]),
    "an architecture": ("toolchain download d --arch aa", ["aarch64"]),
    "a tool": ("toolchain path ", [*TOOLS]),
    "a preset": ("inspect x.whl --external cu", ["cuda"]),
    "a command": ("tool", ["toolchain"]),
    "a subcommand": ("cache g", ["gc"]),
}
"""What is typed so far -> what fits."""


def completions(shell: type[ShellComplete], line: str) -> list[str]:
    *words, incomplete = line.split(" ")
    made = shell(cli, {}, "orchestrator", "_ORCHESTRATOR_COMPLETE")
    return [each.value for each in made.get_completions(words, incomplete)]


@pytest.fixture
def typed(here: Cli) -> Cli:
    here.write(
        f"{commands.MATRIX}\n[channel.weekly]\n[channel.nightly]\n"
        'axes.cuda = ["12.6"]\naxes.python = ["cp312"]\n'
    )
    (here.root / "other.toml").write_text(f"{commands.MATRIX}\n[channel.elsewhere]\n")
    assert here("plan", "--save=plan.json", "--job-cost=3").code == 0
    return here


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("what", NAMES)
def test_names_are_completed(
    typed: Cli, what: str, shell: type[ShellComplete], capsys: pytest.CaptureFixture[str]
) -> None:
    line, expected = NAMES[what]

    found = completions(shell, line)

    if what == "IDs of a channel":
        assert found
        assert all(each.startswith("cp312-m") for each in found)
    else:
        assert found == expected
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", SHELLS)
def test_from_below_the_matrix_too(
    typed: Cli,
    shell: type[ShellComplete],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(typed.root / "src")

    assert completions(shell, "explain ") == [*IDS]
    assert capsys.readouterr() == ("", ""), "not even which file it is"


BROKEN = {
    "gone": None,
    "no TOML": "[",
    "no UTF-8": "\udcff",
    "wrong settings": "[axes]\npython = 3\n",
    "a source that is gone": commands.MATRIX.replace('"src"', '"gone/x"'),
    "nested without end": f"a = {'[' * 3000}",
}
LOOKED_UP = [
    line
    for line, _ in NAMES.values()
    if any(w in line for w in ("--select", "--channel", "explain", "--target", "--job"))
]


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("line", LOOKED_UP)
def test_a_broken_file_has_no_names_and_says_nothing(
    typed: Cli, what: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("matrix.toml", "other.toml", "plan.json"):
        (typed.root / name).unlink()
        if (text := BROKEN[what]) is not None:
            (typed.root / name).write_bytes(text.encode(errors="surrogateescape"))
    limit = sys.getrecursionlimit()

    assert completions(BashComplete, line) == []
    assert capsys.readouterr() == ("", "")
    assert sys.getrecursionlimit() == limit


FREE = {
    *("--shard", "--output-dir", "--work-dir", "--build-path", "--required", "--url", "--base-url"),
    *("--default", "--alias", "--yank", "--unyank", "--remove", "--uses", "--tag", "--index"),
    *("--simple-url", "--audience", "--python", "--package", "--mirror", "--platform-tag"),
    *("--build-tag", "--local-version", "--output", "--check", "--project", "--group"),
    *("--upgrade-package", "--builder", "--signer", "--workflow", "--ref", "--repository"),
}
"""Options whose values are somebody's own words."""


@pytest.mark.parametrize("name", LEAVES)
def test_each_option_with_names_of_ours_is_completed(name: str) -> None:
    """A new option is either completed or listed above."""
    bare = [
        option.opts[0]
        for option in LEAVES[name].params
        if isinstance(option, click.Option)
        and type(option.type).__name__ in {"StringParamType", "FuncParamType"}
        and option.metavar != "SIZE"
        and option._custom_shell_complete is None
    ]

    assert set(bare) <= FREE
