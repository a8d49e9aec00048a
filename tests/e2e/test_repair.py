"""Grafting for real: projects whose libraries are in the container, or nowhere."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IMAGES, Said, log_of, orchestrator, podman, results
from tests.factories import edit, write_project

pytestmark = [pytest.mark.engine, pytest.mark.index]

KEPT = """
[[override]]
when = { kind = "kept" }
build = { repair-refused = "keep" }
"""


def build(
    folder: Path,
    *kinds: str,
    backend: str = "cibuildwheel",
    code: int = 0,
    asked: bool = True,
    **fields: str,
) -> dict[str, Any]:
    """Build; return kind -> result. `fields` are others of the matrix than those of bookworm."""
    fields = {"python": "cp311", "suite": "bookworm", "arch": "x86_64", **fields}
    quoted = ", ".join(f'"{kind}"' for kind in kinds)
    more = KEPT if "kept" in kinds else ""
    write_project(folder, "greeter", more, kinds=quoted, **fields)
    if not asked:
        edit(folder / "matrix.toml", '[build]\nrepair = "auditwheel"\n', "")
    orchestrator("build", "--backend", backend, cwd=folder, code=code)
    found = results(folder / "dist")
    return {name.rpartition("-")[2]: result for name, result in found.items()}


def grafted(folder: Path, name: str) -> tuple[set[str], dict[str, Any]]:
    """Return what was grafted, without the marks, and the one bill there is."""
    with zipfile.ZipFile(folder / "dist" / name) as wheel:
        libraries = {each for each in wheel.namelist() if each.startswith("greeter.libs/lib")}
        (bill,) = (each for each in wheel.namelist() if "/sboms/" in each and each[-1] != "/")
        record = wheel.read(next(each for each in wheel.namelist() if each.endswith("/RECORD")))
        assert bill.encode() in record
        document = json.loads(wheel.read(bill))
        document["file"] = bill.rsplit("/", 1)[1]
        return {each.split("/")[1].split("-")[0] for each in libraries}, document


def greets(folder: Path, name: str, image: str) -> Said:
    """Install and use the wheel where the library was never installed."""
    script = (
        f"python3 -m venv --without-pip /v && cd /v && "
        f"python3 -m zipfile -e '/dist/{name}' /v/lib/python3*/site-packages && "
        "/v/bin/python -c 'import greeter; print(greeter.greet())'"
    )
    volume = f"--volume={folder / 'dist'}:/dist:ro"
    return podman("run", "--rm", "--network=none", volume, image, "sh", "-c", script)


def test_libraries_of_the_container_are_grafted_and_named(engine: str, tmp_path: Path) -> None:
    found = build(tmp_path, "packaged", "handmade")

    name = found["packaged"]["wheel"]["filename"]
    assert name.startswith("greeter-1.0+packaged-cp311-cp311-manylinux_2_")
    libraries, bill = grafted(tmp_path, name)
    assert libraries == {"libgomp"}
    assert bill["file"] == "auditwheel.cdx.json"
    assert [each["name"] for each in bill["components"][1:]] == ["libgomp1"]
    # auditwheel saw the wheel before it had its version and its tag
    assert bill["metadata"]["component"]["version"] == "1.0+packaged"
    assert bill["metadata"]["component"]["purl"].endswith(name.replace("+", "%2B"))

    name = found["handmade"]["wheel"]["filename"]
    libraries, bill = grafted(tmp_path, name)
    assert libraries == {"libgreet"}
    assert bill["file"] == "orchestrator.cdx.json"
    assert [each["name"] for each in bill["components"]] == ["libgreet.so.1"]
    used = greets(tmp_path, name, f"{IMAGES}:bookworm-x86_64")
    assert used.stdout == "42\n", used.all
    orchestrator("verify", *(tmp_path / "dist").glob("*.whl"), cwd=tmp_path, code=0)


def test_a_refusal_fails_or_keeps_a_wheel_that_promises_nothing(
    engine: str, tmp_path: Path
) -> None:
    found = build(tmp_path, "refused", "kept", code=1)

    failure = found["refused"]["failure"]
    assert (failure["kind"], failure["step"]) == ("repair", "repair")
    assert failure["message"].startswith("auditwheel refused: ")
    assert '"libgreet.so.1" could not be located' in failure["message"]
    assert "repair-refused" in failure["hint"]
    wheel = found["kept"]["wheel"]
    assert wheel["filename"] == "greeter-1.0+kept-cp311-cp311-linux_x86_64.whl"
    assert [each["rule"] for each in wheel["problems"] if "library" in each["rule"]] == [
        "external-library"
    ]
    log = log_of(tmp_path, "cp311-manylinux_x86_64-kept")
    assert "orchestrator: repair: auditwheel refused, the wheel stays as it was built: " in log


@pytest.mark.parametrize("backend", ["cibuildwheel", "direct"])
def test_what_no_policy_promises_is_grafted_unasked(
    engine: str, tmp_path: Path, backend: str
) -> None:
    found = build(tmp_path, "packaged", "refused", backend=backend, asked=False, code=5)

    libraries, _ = grafted(tmp_path, found["packaged"]["wheel"]["filename"])
    assert libraries == {"libgomp"}
    failure = found["refused"]["failure"]
    assert failure["message"].startswith("external-library: ")
    log = log_of(tmp_path, "cp311-manylinux_x86_64-refused")
    assert "auditwheel refused, the wheel stays as it was built: " in log


def test_an_image_without_a_python_for_the_locked_auditwheel_uses_its_own(
    engine: str, tmp_path: Path
) -> None:
    found = build(tmp_path, "packaged", python="cp39", suite="bullseye")

    libraries, _ = grafted(tmp_path, found["packaged"]["wheel"]["filename"])
    assert libraries == {"libgomp"}
    log = log_of(tmp_path, "cp39-manylinux_x86_64-packaged")
    assert "auditwheel needs Python 3.10: the image's own repairs instead: auditwheel 6." in log


def test_the_direct_backend_grafts_from_this_host(engine: str, tmp_path: Path) -> None:
    found = build(tmp_path, "packaged", "refused", backend="direct", code=1)

    libraries, _ = grafted(tmp_path, found["packaged"]["wheel"]["filename"])
    assert libraries == {"libgomp"}
    assert found["refused"]["failure"]["message"].startswith("auditwheel refused: ")


@pytest.mark.qemu
def test_grafting_under_emulation(emulated: str, tmp_path: Path) -> None:
    found = build(tmp_path, "handmade", arch="aarch64")

    name = found["handmade"]["wheel"]["filename"]
    assert grafted(tmp_path, name)[0] == {"libgreet"}
    used = greets(tmp_path, name, emulated)
    assert used.stdout == "42\n", used.all
