from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.models.platforms import Arch
from orchestrator.provision import wheelhouse, zig
from orchestrator.provision.cache_dir import ZIG, unused
from orchestrator.provision.wheelhouse import Platform
from tests.factories import host


def test_one_that_is_used_is_kept_and_one_that_is_being_removed_is_not_used(tmp_path: Path) -> None:
    # As an earlier version of this program left it, without a file that says who uses it.
    root = ZIG.folder(tmp_path, host_arch())
    root.mkdir(parents=True)
    with unused(root) as free:
        assert free
    found = zig.existing(tmp_path)
    assert found is not None
    assert (found.root, found.version) == (root, zig.locked_version())
    with unused(root) as free:
        assert not free
    del found


@pytest.mark.parametrize(
    ("arch", "lacking"), [(Arch.X86_64, 1), (Arch.AARCH64, 1), (Arch.S390X, 0)]
)
def test_it_is_downloaded_for_machines_that_use_it(arch: Arch, lacking: int) -> None:
    platform = Platform.elsewhere(12, arch)
    assert len(wheelhouse.lacking(zig.locked(), platform, ())) == lacking


def test_where_it_cannot_be_used_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zig, "host_arch", lambda: Arch.S390X)
    with pytest.raises(EnvironmentProblemError, match="zig compiles nothing on s390x"):
        zig.provide(host(tmp_path), print)
