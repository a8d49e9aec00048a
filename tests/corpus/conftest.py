from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.wheel.auditor import load_policies

if TYPE_CHECKING:
    from orchestrator.wheel import Policies


@pytest.fixture(scope="session")
def policies() -> Policies:
    return load_policies()
