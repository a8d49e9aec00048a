"""Configuration of setuptools-scm that somebody else wrote: an option that counts, or an error."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import SourceError
from orchestrator.source import scm


@pytest.mark.parametrize(
    "own",
    [
        {"git_describe_command": "git describe 'x"},
        {"git_describe_command": 5},
        {"git_describe_command": {}},
        {"scm": {"git": {"describe_command": "sh -c x"}}},
        {"root": "\0"},
        {"tag_regex": "a\0"},
        {"version_scheme": ["a", 5.5]},
        {"local_scheme": "module:function"},
        {"parse": "x"},
    ],
    ids=str,
)
def test_what_names_code_or_nothing_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(SourceError, match=r"^pyproject.toml: the source scm cannot be asked: "):
        scm.options(own, where="pyproject.toml")
