"""The product's tools and the project's environment never meet, in containers either."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import IMAGES, Said, orchestrator, results
from tests.hostile import BREAK, project

pytestmark = [pytest.mark.engine, pytest.mark.index]


def build_all(place: Path, arch: str, commands: dict[str, str], more: str = "") -> Said:
    """Build one target for each command."""
    numbers = ", ".join(f'"{number}"' for number in range(len(commands)))
    more += f'[images]\nmanylinux_{arch} = "{IMAGES}:bookworm-{arch}"\n'
    for number, command in enumerate(commands.values()):
        more += f'[[override]]\nwhen = {{ case = "{number}" }}\n'
        more += f"build = {{ before-build = '''{command}''' }}\n"
    project(place, "true", arch=arch, more=more)
    matrix = place / "matrix.toml"
    version = f"case = [{numbers}]\n[version]\nlocal = 'c{{case}}'\non-mismatch = 'rewrite'\n"
    matrix.write_text(matrix.read_text("utf-8").replace("[version]\n", version), "utf-8")
    backend = "direct" if arch == "i686" else "cibuildwheel"
    said = orchestrator("build", "-j2", "--no-cache", "--backend", backend, cwd=place)
    found = results(place / "dist")
    assert {each["backend"] for each in found.values()} == {backend}
    return said


@pytest.mark.parametrize("arch", ["x86_64", "i686"])
def test_before_build_cannot_break_the_build(arch: str, engine: str, tmp_path: Path) -> None:
    said = build_all(tmp_path, arch, BREAK)
    assert said.code == 0, said.all
