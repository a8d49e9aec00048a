"""`rebuild --shell` in the container that cibuildwheel left."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import demo
from tests.conftest import IMAGES, podman, results
from tests.factories import project_file
from tests.terminal import in_terminal

pytestmark = pytest.mark.engine


def test_a_shell_opens_in_the_container_of_the_failed_step(engine: str, tmp_path: Path) -> None:
    demo.write(tmp_path, arch="x86_64")
    (tmp_path / "matrix.toml").write_text(project_file("rebuild.toml").format(images=IMAGES))
    target = "cp311-manylinux_x86_64"
    script = 'echo "[$PWD|$(which python)|$ABI3_FLOOR|$MY_DEPTH|$(ls setup.py)]"; exit 7\n'

    code, shown = in_terminal(
        *("rebuild", target, "--shell"),
        cwd=tmp_path,
        dialogue=[("exit the shell", script), ("[/project|", "")],
    )

    assert code == 1, shown
    assert "step 'before-build' failed: before-build failed" in shown
    assert "again:  sh -c 'test -e /flag'" in shown
    python = "/opt/python/cp311-cp311/bin/python"
    assert f"[/project|{python}|0x030b0000|one two|setup.py]" in shown
    assert results(tmp_path / "dist")[target]["backend"] == "cibuildwheel"
    assert not list((tmp_path / "dist").glob("*.whl"))
    found = re.search(r"container ([0-9a-f]{12})", shown)
    assert found is not None
    assert podman("container", "exists", found[1]).code == 1, "it is removed"
    assert not list((tmp_path / ".orchestrator/runs").iterdir())
