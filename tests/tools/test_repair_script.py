"""The script that repairs wheels, as another interpreter runs it, with the real auditwheel.

What auditwheel does with libraries is in tests/e2e/test_repair.py; here is what the script makes of
it, and of tools that are not what they should be.
"""

from __future__ import annotations

import ast
import runpy
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import auditwheel  # type: ignore[import-untyped]
import pytest

from orchestrator.builders.cibuildwheel import ELF_READER, REPAIR_SCRIPT, REPAIRS, repair_verdict
from orchestrator.models.platforms import Arch
from orchestrator.wheel import elf
from tests.conftest import ran
from tests.factories import program, write_files
from tests.wheelmaker import ElfSpec, WheelSpec, make_elf

SITE = Path(auditwheel.__file__).parents[1]
EXTENSION = "demo/_ext.cpython-312-x86_64-linux-gnu.so"


@dataclass
class Script:
    root: Path

    def __post_init__(self) -> None:
        self.dest = self.root / "dest"
        self.patchelf = self.root / "bin" / "patchelf"
        self.image = self.root / "image"
        self.has_patchelf("patchelf 0.19.1")

    def has_patchelf(self, said: str, code: int = 0) -> None:
        program(self.patchelf, f"echo '{said}'; exit {code}")

    def __call__(self, wheel: Path, *options: str, site: Path = SITE) -> tuple[int, str]:
        """Return the exit code and the verdict; auditwheel finds no libraries of this machine."""
        self.dest.mkdir(exist_ok=True)
        tools = [f"--site-packages={site}", f"--patchelf={self.patchelf}"]
        tools += [f"--elf-reader={ELF_READER}", "--arch=x86_64"]
        asked = () if any(each.startswith("--refused") for each in options) else ("--refused=fail",)
        env = {"PATH": f"{self.image}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        argv = (sys.executable, REPAIR_SCRIPT, *tools, *asked, *options, wheel, self.dest)
        said = ran(*argv, env=env)
        assert "Traceback" not in said.stderr, said.stderr
        lines = said.stdout.splitlines()
        assert sum(line.startswith(REPAIRS) for line in lines) <= 1
        return said.code, repair_verdict(lines)

    @property
    def made(self) -> list[str]:
        return [path.name for path in self.dest.iterdir()]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    return Script(root=tmp_path)


def wheel(folder: Path, **changes: object) -> Path:
    versions = {"libc.so.6": {"GLIBC_2.2.5": ("malloc",)}}
    elf = make_elf(ElfSpec(**{"versions": versions, **changes}))  # type: ignore[arg-type]
    return WheelSpec(platform="linux_x86_64", members={EXTENSION: elf}).write(folder / "in")


def test_a_wheel_that_needs_nothing(script: Script) -> None:
    code, verdict = script(wheel(script.root))
    assert (code, verdict) == (0, "")
    (name,) = script.made
    assert "manylinux" in name


TOO_NEW = {"libc.so.6": {"GLIBC_2.99": ("malloc",)}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"versions": TOO_NEW}, "too-recent versioned symbols"),
        ({"needed": ("libc.so.6", "libgone.so.1")}, '"libgone.so.1" could not be located'),
        ({"isa": 15}, "unsupported ISA extensions"),
    ],
)
def test_a_refusal_fails_or_keeps_the_wheel(
    script: Script, changes: dict[str, object], why: str
) -> None:
    path = wheel(script.root, **changes)
    code, verdict = script(path)
    assert code == 4
    assert verdict.startswith("auditwheel refused: ")
    assert why in verdict
    assert script.made == []
    code, verdict = script(path, "--refused=keep")
    assert code == 0
    assert verdict.startswith("auditwheel refused, the wheel stays as it was built: ")
    assert why in verdict
    assert (script.dest / path.name).read_bytes() == path.read_bytes()


def test_what_is_excluded_is_not_looked_for(script: Script) -> None:
    path = wheel(script.root, needed=("libc.so.6", "libgone.so.1"))
    code, verdict = script(path, "--exclude=libgone.so*")
    assert (code, verdict) == (0, "")
    assert len(script.made) == 1


def test_no_elf_file_is_no_refusal(script: Script) -> None:
    path = WheelSpec(platform="linux_x86_64", members={"a.py": b""}).write(script.root / "in")
    code, verdict = script(path)
    assert (code, verdict) == (0, "no ELF file is in the wheel: there is nothing to graft into")
    assert script.made == [path.name]


def test_what_is_no_refusal_is_a_failure(script: Script) -> None:
    other, broken = wheel(script.root, arch=Arch.AARCH64), wheel(script.root / "broken")
    broken.write_bytes(b"no zip")
    for path in (other, broken):
        code, verdict = script(path, "--refused=keep")
        assert code == 5
        assert verdict.startswith("auditwheel failed: ")
        assert script.made == []


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        ("patchelf 0.14.3", 0, "patchelf 0.14.3 found, auditwheel needs patchelf 0.14.5 or newer"),
        ("patchelf 0.9", 0, "auditwheel needs patchelf 0.14.5 or newer"),
        ("hello", 0, "hello found, auditwheel needs"),
        ("", 0, "patchelf found, auditwheel needs"),
        ("patchelf 0.19.1", 1, "patchelf does not run here: "),
    ],
)
def test_patchelf_is_checked_first(script: Script, said: str, code: int, why: str) -> None:
    script.has_patchelf(said, code)
    end, verdict = script(wheel(script.root), "--refused=keep")
    assert end == 3
    assert why in verdict
    assert script.made == []


def test_patchelf_that_is_not_there(script: Script) -> None:
    script.patchelf.unlink()
    code, verdict = script(wheel(script.root))
    assert code == 3
    assert "patchelf does not run here: " in verdict


def test_newer_versions_of_patchelf_are_fine(script: Script) -> None:
    for said in ("patchelf 0.14.5", "patchelf 0.15", "patchelf 1.0.0", "patchelf 0.19.3.0"):
        script.has_patchelf(said)
        assert script(wheel(script.root))[0] == 0


@pytest.fixture
def too_new(script: Script) -> Path:
    """No Python is new enough for this auditwheel, which makes every one too old."""
    text = "Metadata-Version: 2.1\nRequires-Python: >=3.99\n"
    return write_files(script.root / "site", {"auditwheel-99.dist-info/METADATA": text})


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ("", "none"),
        ("echo auditwheel 6.1.1 installed at /x", "auditwheel 6.1.1"),
        ("exit 1", "none"),
        ("echo something else", "something else"),
    ],
)
def test_a_python_that_is_too_old_for_auditwheel(
    script: Script, too_new: Path, own: str, said: str
) -> None:
    if own:
        program(script.image / "auditwheel", own)
    code, verdict = script(wheel(script.root), site=too_new)
    assert code == 3
    assert verdict == (
        "the locked auditwheel needs Python 3.99, which the image does not have, and the image's "
        f"own auditwheel ({said}) is not 6.2 or newer: install one of the two in the image"
    )


def test_the_images_own_auditwheel_where_the_locked_one_does_not_run(
    script: Script, too_new: Path
) -> None:
    """The image's own is here the one that runs this test, started as an image would have it."""
    start = "from auditwheel.main import main; raise SystemExit(main())"
    program(script.image / "auditwheel", f"exec {sys.executable} -c '{start}' \"$@\"")
    code, verdict = script(wheel(script.root), site=too_new)
    assert (code, verdict) == (0, "")
    (name,) = script.made
    assert "manylinux" in name


@pytest.fixture
def policy_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The policy that the script finds for a wheel of aarch64, as a Python of aarch64 finds it."""
    module = runpy.run_path(str(REPAIR_SCRIPT))
    python = tmp_path / "python"
    python.write_bytes(make_elf(ElfSpec(arch=Arch.AARCH64)))
    monkeypatch.setattr(sys, "executable", str(python))

    def found(purelib: str = "false", target: str = "aarch64", cut: int = 0, **changes: Any) -> str:
        spec = ElfSpec(**{"arch": Arch.AARCH64, **changes})
        text = f"Wheel-Version: 1.0\nRoot-Is-Purelib: {purelib}\n"
        path = tmp_path / "demo-1.0-cp312-cp312-linux_aarch64.whl"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(EXTENSION, make_elf(spec)[: -cut or None])
            archive.writestr("demo-1.0.dist-info/WHEEL", text)
        return str(module["find_policy"](path, target, elf, SITE))

    return found


def test_a_wheel_that_needs_nothing_is_known_without_auditwheel_where_it_would_be_emulated(
    policy_of: Callable[..., str],
) -> None:
    loader = "ld-linux-aarch64.so.1"
    old = {"libc.so.6": {"GLIBC_2.17": ("malloc",)}, loader: {"GLIBC_2.17": ("__tls_get_addr",)}}
    new = {"libc.so.6": {"GLIBC_2.34": ("a",)}, "libstdc++.so.6": {"GLIBCXX_3.4.29": ("b",)}}
    assert policy_of(versions=old) == "manylinux_2_17_aarch64"
    assert policy_of(versions=new) == "manylinux_2_34_aarch64"
    assert policy_of(arch=Arch.RISCV64, versions=old) == "", "not what runs here"
    assert policy_of(needed=("libgone.so.1",)) == ""
    assert policy_of(needed=("libz.so.1",)) == "", "auditwheel looks which symbols"
    assert policy_of(versions=TOO_NEW) == ""
    assert policy_of(rpath="$ORIGIN/../lib") == ""
    assert policy_of("true") == ""


def test_on_x86_auditwheel_looks_at_more_than_names(policy_of: Callable[..., str]) -> None:
    x86 = make_elf(ElfSpec(arch=Arch.X86_64))
    Path(sys.executable).write_bytes(x86)
    assert policy_of(target="x86_64", arch=Arch.X86_64) == ""


def test_a_file_that_cannot_be_read_is_left_to_auditwheel(policy_of: Callable[..., str]) -> None:
    assert policy_of() == "manylinux_2_17_aarch64"
    assert policy_of(cut=100) == ""


@pytest.mark.parametrize("path", [REPAIR_SCRIPT, ELF_READER])
def test_it_needs_no_python_newer_than_the_oldest_in_images(path: Path) -> None:
    ast.parse(path.read_text("utf-8"), feature_version=(3, 8))


# Only what is needed


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({}, ()),
        ({"versions": TOO_NEW}, ()),
        ({"needed": ("libc.musl-x86_64.so.1",), "versions": {}}, ()),
        ({"needed": ("libc.so.6", "libcudart.so.13")}, ("--exclude=libcudart.so*",)),
        ({"needed": ("libc.so.6", "libpython3.12.so.1.0")}, ()),
        ({"needed": ("libc.so.6", "libself.so"), "soname": "libself.so"}, ()),
        ({"needed": ("libc.so.6", "ld-linux-x86-64.so.2", "libz.so.1")}, ()),
    ],
)
def test_a_wheel_that_needs_nothing_from_outside_stays_as_it_is(
    script: Script, changes: dict[str, object], more: tuple[str, ...]
) -> None:
    script.patchelf.unlink()  # no tool runs
    path = wheel(script.root, **changes)
    assert script(path, "--if-needed", "--refused=keep", *more) == (0, "")
    assert (script.dest / path.name).read_bytes() == path.read_bytes()


def test_what_cannot_be_grafted_unasked_is_said_and_the_wheel_kept(script: Script) -> None:
    path = wheel(script.root, needed=("libc.so.6", "libgone.so.1"))
    code, verdict = script(path, "--if-needed", "--refused=keep")
    assert (code, script.made) == (0, [path.name])
    assert '"libgone.so.1" could not be located' in verdict
    script.patchelf.unlink()
    code, verdict = script(path, "--if-needed", "--refused=keep")
    assert (code, script.made) == (0, [path.name])
    assert verdict.startswith("nothing is grafted: patchelf does not run here")


def test_musl_promises_no_libstdcxx(script: Script) -> None:
    path = wheel(script.root, needed=("libc.musl-x86_64.so.1", "libstdc++.so.6"), versions={})
    _, verdict = script(path, "--if-needed", "--refused=keep")
    assert verdict


def test_a_name_of_a_c_library_is_given_where_that_is_asked(script: Script) -> None:
    path = wheel(script.root)
    script(path, "--if-needed", "--refused=keep", "--call-it=manylinux_2_17")
    assert script.made == [path.name.replace("linux_", "manylinux_2_17_")]
