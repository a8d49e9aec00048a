from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("corpus")
    group.addoption(
        "--corpus",
        choices=("ci", "all"),
        default="ci",
        help="real wheels to compare with auditwheel: 20 small ones, or all of wheels.csv (550 MB)",
    )
    group.addoption("--corpus-cache", metavar="DIR", help="folder that keeps the corpus' wheels")
