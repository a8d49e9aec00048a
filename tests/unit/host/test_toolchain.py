from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError, ExitCode
from orchestrator.host import toolchain
from orchestrator.host.network import HostNetwork
from orchestrator.host.process import Cancel
from orchestrator.host.toolchain import (
    MARKER,
    default_cache_dir,
    existing,
    location,
    lock_digest,
    lock_text,
    sync,
)

HERE = Path(toolchain.__file__).parent


def test_cache_directory() -> None:
    assert default_cache_dir({"HOME": "/h"}) == Path("/h/.cache/orchestrator")
    assert default_cache_dir({"HOME": "/h", "XDG_CACHE_HOME": "/x"}) == Path("/x/orchestrator")
    assert default_cache_dir({"HOME": "/h", "XDG_CACHE_HOME": "rel"}) == Path(
        "/h/.cache/orchestrator"
    )
    assert default_cache_dir({"HOME": "/h", "ORCHESTRATOR_CACHE_DIR": "/o"}) == Path("/o")


def test_lock_pins_and_hashes_everything_and_names_no_host() -> None:
    text = lock_text().decode()
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[0-9a-z.]+", entry), entry
        assert "--hash=sha256:" in entry
    assert not re.search(r"://|--index|--find-links|/(root|work|tmp|home)\b", text)
    assert re.fullmatch(r"[0-9a-f]{64}", lock_digest())


def test_lock_holds_what_is_asked_for() -> None:
    locked = set(re.findall(r"^([a-z0-9.-]+==[0-9a-z.]+)", lock_text().decode(), re.MULTILINE))
    names = {entry.partition("==")[0] for entry in locked}
    for line in (HERE / "toolchain.in").read_text().splitlines():
        wanted = line.partition("#")[0].strip()
        if wanted:
            assert wanted in (locked if "==" in wanted else names)


def test_environment_without_marker_or_interpreter_does_not_exist(tmp_path: Path) -> None:
    root = location(tmp_path)
    assert existing(tmp_path) is None
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "python").touch()
    assert existing(tmp_path) is None
    (root / MARKER).touch()
    found = existing(tmp_path)
    assert found is not None
    assert (found.root, found.bin, found.digest) == (root, root / "bin", lock_digest())
    (root / "bin" / "python").unlink()
    (root / "bin" / "python").symlink_to(tmp_path / "upgraded-away")
    assert existing(tmp_path) is None


def test_policies(tmp_path: Path) -> None:
    root = location(tmp_path)
    found = toolchain.Toolchain(python=root, root=root, bin=root, digest=lock_digest())
    with pytest.raises(EnvironmentProblemError, match="no site-packages"):
        _ = found.site_packages
    folder = root / "lib" / "python3.11" / "site-packages" / "auditwheel" / "policy"
    folder.mkdir(parents=True)
    (folder / "manylinux-policy.json").write_text("[1]")
    (folder / "musllinux-policy.json").write_text("[2]")
    assert found.policy_texts() == ("[1]", "[2]")


def fake_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    tool = tmp_path / "python"
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(sys, "_base_executable", str(tool))


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("ensurepip is not available", "apt-get install python3-venv"),
        ("OSError: [Errno 28] No space left on device", "ORCHESTRATOR_CACHE_DIR"),
        ("ssl.SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "SSL_CERT_FILE"),
        ("Failed to establish a new connection: Name or service not known", "PIP_INDEX_URL"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "refused"),
        ("boom", ""),
    ],
)
def test_failure_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, hint: str
) -> None:
    fake_base(tmp_path, monkeypatch, f"echo '{said}'; exit 3")
    lines: list[str] = []
    with pytest.raises(EnvironmentProblemError, match="exit status 3") as caught:
        sync(tmp_path / "cache", HostNetwork(), lines.append)
    (problem,) = caught.value.problems
    assert said in problem.what
    assert hint in problem.hint
    assert lines == [said]
    assert caught.value.exit_code is ExitCode.ENVIRONMENT
    assert existing(tmp_path / "cache") is None


def test_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(EnvironmentProblemError, match="Not a directory"):
        sync(tmp_path / "cache", HostNetwork())


def test_cancelled_while_another_process_works(tmp_path: Path) -> None:
    maker = toolchain._Maker(
        root=location(tmp_path), env={}, on_progress=lambda _: None, cancel=Cancel()
    )
    maker.root.parent.mkdir(parents=True)
    cancel = Cancel()
    said: list[str] = []

    def progress(line: str) -> None:
        said.append(line)
        cancel.set()

    with maker.locked(), pytest.raises(EnvironmentProblemError, match="cancelled"):
        sync(tmp_path, HostNetwork(), progress, cancel=cancel)
    assert said[0].startswith("waiting for another process")
