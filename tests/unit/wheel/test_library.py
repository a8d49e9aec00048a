"""The public part of `orchestrator.wheel`, as another program uses it."""

from __future__ import annotations

import re

import orchestrator.wheel
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/reference/library.md").read_text("utf-8")


def test_every_public_name_is_documented() -> None:
    documented = set(re.findall(r"`([A-Za-z_]+)[`(]", PAGE))

    assert set(orchestrator.wheel.__all__) <= documented
