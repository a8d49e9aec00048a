"""Files that commands name and a source does not have."""

from __future__ import annotations

import pytest

from orchestrator.discover.absent_files import absent_files


def absent(**options: object) -> dict[str, str]:
    found = absent_files({key.replace("_", "-"): each for key, each in options.items()}, bool)
    return {option: each.name for option, each in found.items()}


@pytest.mark.parametrize("part", ["a/+", "./", "a.", "{project}/a+", "a/b-", "-a/", "+a/"])
@pytest.mark.parametrize("end", ["", ".sh$", ".sh", "$"])
def test_a_long_command_is_read_once(part: str, end: str) -> None:
    """It took the square of its length: hours for a pyproject.toml of 16 MiB."""
    command = part * 200_000 + end
    absent(before_all=command, before_build=[command], test_command=command)


def test_a_script_is_found_wherever_a_word_begins() -> None:
    def named(command: str) -> str:
        lacks = absent_files({"before-all": command}, lambda _: False)
        return lacks["before-all"].name if lacks else ""

    for before in ("", "bash ", "(", "'", "a=1;", "\n"):
        assert named(f"{before}ci/setup.sh") == "ci/setup.sh"
    assert named("bash ./ci+x/setup.sh arg") == "ci+x/setup.sh"
    for other in ("/ci/setup.sh", "$X/ci/setup.sh", "~/ci/setup.sh", "c++/ci/setup.shx"):
        assert named(other) == ""
