"""What was asked is what compiles, in a container of cibuildwheel's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import IMAGES, results
from tests.mislabelled import CASES, RIGHT, STARTED, Case, build, log_of
from tests.packages import Indexes, indexes

pytestmark = [pytest.mark.engine, pytest.mark.index]

MORE = f"""\
[engine]
name = "podman"
create-args = ["--network=host"]
[images]
manylinux_x86_64 = "{IMAGES}:bookworm-x86_64"
"""


@pytest.fixture
def stock(tmp_path: Path) -> Iterator[Indexes]:
    with indexes(tmp_path / "indexes") as made:
        yield made


@pytest.mark.parametrize("case", [*CASES.values(), RIGHT], ids=[*CASES, "right"])
def test_a_wheel_is_not_compiled_in_another_environment_than_its_cell_s(
    engine: str, stock: Indexes, tmp_path: Path, case: Case
) -> None:
    said = build(tmp_path, stock, case, "cp311", more=MORE)

    (result,) = results(tmp_path / "dist").values()
    assert result["backend"] == "cibuildwheel", said.all
    if not case.message:
        assert said.code == 0, said.all
        assert STARTED in log_of(tmp_path), "otherwise the other cases prove nothing"
        assert result["environment"]["torch"]["cuda"] == "13.0"
        return
    assert said.code == 1, said.all
    assert result["failure"]["kind"] == "environment", said.all
    assert result["failure"]["message"] == case.message.replace("OWN", stock.url("own"))
    assert STARTED not in log_of(tmp_path)
