"""What a staged tree says about its build."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.source.stage import StagedSource
from tests import factories
from tests.factories import write_files


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"setup.py": "flags = ['-fprofile-generate']"}, True),
        # charset-normalizer
        (
            {
                "pyproject.toml": '[build-system]\nbackend-path = ["hook", "../x", "/etc", 1]\n',
                "hook/pgo.py": 'f"-fprofile-use={profiles}"',
            },
            True,
        ),
        ({"setup.py": "flags = ['-O3']", "tests/x.py": "-fprofile-use"}, False),
        ({"pyproject.toml": "[build-system]\nbackend-path = 'hook'\n"}, False),
    ],
)
def test_profiles_are_found_in_build_scripts(
    tmp_path: Path,
    files: dict[str, str],
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    write_files(tmp_path, files)

    assert StagedSource(root=tmp_path, source=factories.SOURCE).profiles is expected
