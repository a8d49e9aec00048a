from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.provision import wheelhouse, zig
from orchestrator.provision.cache_dir import IN_USE, KEEP, ZIG, hold, unused
from orchestrator.provision.wheelhouse import Platform
from tests.factories import host


def fake(cache: Path, lock: str = "", arch: str = "") -> Path:
    """Make what looks like an unpacked zig, with something that it has built."""
    digest = (lock or zig.lock_digest())[:16]
    root = ZIG.place(cache) / f"{digest}-{arch or host_arch()}"
    root.mkdir(parents=True)
    (root / "zig").touch()
    (root / IN_USE).touch()
    (root / "libraries" / "o").mkdir(parents=True)
    return root


def names(cache: Path) -> list[str]:
    return sorted(each.name for each in ZIG.place(cache).iterdir() if each.name != "lock")


def test_what_no_process_uses_of_other_locks_is_pruned_with_all_that_it_built(
    tmp_path: Path,
) -> None:
    current, used, unused = (fake(tmp_path, lock * 64) for lock in ("", "1", "2"))
    elsewhere = fake(tmp_path, arch="riscv64")
    held = hold(used)
    assert held is not None
    assert ZIG.prune(tmp_path, print) == (unused,)
    assert elsewhere.is_dir(), "another machine may share this directory"
    del held
    assert ZIG.prune(tmp_path, print) == (used,)
    assert names(tmp_path) == sorted((current.name, elsewhere.name))


def test_a_new_one_takes_the_place_of_those_long_unused(tmp_path: Path) -> None:
    recent, stale = (fake(tmp_path, lock * 64) for lock in ("1", "2"))
    os.utime(stale / IN_USE, (1e9, 1e9))
    with ZIG.locked(tmp_path, print, Cancel()) as lock:
        assert ZIG.prune_unused(tmp_path, lock, unused_for=KEEP) == (stale,)
    assert recent.is_dir()


def test_one_that_is_used_is_kept_and_one_that_is_being_removed_is_not_used(tmp_path: Path) -> None:
    root = fake(tmp_path)
    with unused(root) as free:
        assert free
        assert zig.existing(tmp_path) is None
    (root / IN_USE).unlink()  # as an earlier version of this program left it
    found = zig.existing(tmp_path)
    assert found is not None
    assert (found.root, found.version) == (root, zig.locked_version())
    with unused(root) as free:
        assert not free
    del found


def test_no_zig_nothing_to_prune(tmp_path: Path) -> None:
    assert ZIG.prune(tmp_path, print) == ()
    assert not ZIG.place(tmp_path).exists()


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
