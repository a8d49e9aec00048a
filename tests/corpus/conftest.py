"""A test of a module with a list (``WHEELS``) that takes a wheel is run for each of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.corpus.listed import Listed, fetch, listed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "wheel" in metafunc.fixturenames:
        every = metafunc.config.getoption("--corpus") == "all"
        chosen = [one for one in listed(metafunc.module.WHEELS) if every or one.ci]
        metafunc.parametrize("wheel", chosen, ids=lambda one: one.name)


@pytest.fixture(scope="session")
def cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = request.config.getoption("--corpus-cache")
    return Path(given).absolute() if given else tmp_path_factory.mktemp("corpus")


@pytest.fixture
def path(wheel: Listed, cache: Path, tmp_path: Path) -> Path:
    kept = cache / wheel.name
    if not kept.exists():
        fetch(wheel, cache, tmp_path)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == wheel.sha256
    return kept
