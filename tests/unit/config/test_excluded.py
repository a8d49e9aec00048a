"""`project.exclude`: what it may name."""

from __future__ import annotations

import pytest

from orchestrator.config.load import load
from orchestrator.errors import ConfigError
from tests.factories import FACTS


def loaded(pattern: str) -> tuple[str, ...]:
    text = f'project.exclude = ["{pattern}"]\naxes.python = "3.12"\naxes.arch = "x86_64"'
    return load(text.encode(), facts=FACTS).project.exclude


@pytest.mark.parametrize("pattern", ["README.md", "*.md", "docs", "docs/", ".github/*", "a/b"])
def test_files_that_a_build_can_do_without(pattern: str) -> None:
    assert loaded(pattern) == (pattern,)


@pytest.mark.parametrize("pattern", ["*", "*.toml", "setup.*", "../x", "/etc", "a/../b", ""])
def test_files_that_it_needs_or_that_are_elsewhere(pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"project.exclude\[0\]"):
        loaded(pattern)
