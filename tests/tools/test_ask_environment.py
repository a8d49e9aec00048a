"""The script that asks an environment what it has, in environments that are made up."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.builders.environment_check import ANSWER, ASK_SCRIPT
from tests.conftest import TAG, ran
from tests.factories import program, write_files

VERSION = "__version__ = {version!r}\ncuda: 'str' = {cuda!r}\nhip = {hip!r}\n"

NVCC = 'test "$*" = --version || exit 9\necho "Cuda tools, release, V{version}"'


def install(site: Path, name: str, version: str) -> None:
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    write_files(site / f"{name}-{version}.dist-info", {"METADATA": text})


def install_torch(
    site: Path, version: str, cuda: str | None = None, abi: str = "", hip: str | None = None
) -> Path:
    install(site, "torch", version.partition("+")[0])
    files = {
        "__init__.py": "raise SystemExit('imported')\n",
        "version.py": VERSION.format(version=version, cuda=cuda, hip=hip),
        "share/cmake/Torch/TorchConfig.cmake": (
            f'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI={abi}")\n'
        ),
    }
    return write_files(site / "torch", files)


def make_nvcc(path: Path, version: str) -> Path:
    return program(path, NVCC.format(version=version))


def question(what: str, pattern: str, *, required: bool = False) -> dict[str, Any]:
    return {"what": what, "axis": "a", "value": "v", "pattern": pattern, "required": required}


def ask(
    site: Path, *questions: dict[str, Any], env: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Return the script's exit status and its answer."""
    given = {"PYTHONPATH": str(site), "PATH": "/nowhere", **(env or {})}
    said = ran(sys.executable, "-S", ASK_SCRIPT, json.dumps(questions), env=given, cwd=site)
    (line,) = [each for each in said.stdout.splitlines() if each.startswith(ANSWER)]
    answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
    return said.code, answer


def found(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["what"], each["found"]) for each in answer["wrong"]]


def test_an_environment_that_is_right_passes(tmp_path: Path) -> None:
    install_torch(tmp_path, "2.13.0+cu130", "13.0", "1")
    install(tmp_path, "Six_Y", "1.16.0")
    code, answer = ask(
        tmp_path,
        question("python", TAG, required=True),
        question("torch", r"2\.13\.0\+cu130", required=True),
        question("torch.version.cuda", r"13\.0"),
        question("C++ ABI of torch", "1"),
        question("six-y", r"1\.16\.0"),
        question("absent", "1"),
    )
    assert (code, answer["wrong"]) == (0, [])
    assert answer["packages"]["six-y"] == "1.16.0"
    assert answer["python"]["tag"] == TAG
    expected = {"version": "2.13.0+cu130", "cuda": "13.0", "hip": "none", "cxx11abi": "1"}
    assert answer["torch"] == expected


def test_each_difference_is_told(tmp_path: Path) -> None:
    install_torch(tmp_path, "2.12.1+cpu", None, "0")
    install(tmp_path, "six", "1.17.0")
    code, answer = ask(
        tmp_path,
        question("python", "cp38", required=True),
        question("torch", r"2\.13(\D.*)?", required=True),
        question("torch.version.cuda", r"13\.0"),
        question("torch.version.hip", r"6\.4"),
        question("C++ ABI of torch", "1"),
        question("six", r"1\.16\.0"),
        question("numpy", "1", required=True),
    )
    assert code == 3
    assert found(answer) == [
        ("python", answer["python"]["tag"]),
        ("torch", "2.12.1+cpu"),
        ("torch.version.cuda", "none"),
        ("torch.version.hip", "none"),
        ("C++ ABI of torch", "0"),
        ("six", "1.17.0"),
        ("numpy", ""),
    ]


def test_a_torch_is_imported_only_if_its_files_do_not_tell(tmp_path: Path) -> None:
    torch = install_torch(tmp_path, "2.13.0", "13.0", "1")
    told = "class C:\n    _GLIBCXX_USE_CXX11_ABI = False\n_C = C\n"
    (torch / "__init__.py").write_text(f"{told}from torch import version\n__version__ = '2'\n")
    (torch / "share/cmake/Torch/TorchConfig.cmake").unlink()
    assert ask(tmp_path)[1]["torch"]["cxx11abi"] == "0"

    (torch / "lib").mkdir()
    for names, abi in ((b"_ZN3c105ErrorC2ENSt7__cxx1112basic_string", "1"), (b"SsRKS1_", "0")):
        (torch / "lib/libc10.so").write_bytes(b"\x7fELF\0" + names)
        assert ask(tmp_path)[1]["torch"]["cxx11abi"] == abi


def test_a_torch_that_cannot_be_asked_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    torch = install_torch(tmp_path, "2.13.0", "13.0", "1")
    (torch / "version.py").unlink()
    code, answer = ask(tmp_path, question("torch.version.cuda", r"13\.0"))
    assert (code, answer["torch"]["cuda"]) == (0, "")


def test_every_nvcc_that_the_build_may_call_is_asked(tmp_path: Path) -> None:
    right = make_nvcc(tmp_path / "right/bin/nvcc", "13.0.88")
    wrong = make_nvcc(tmp_path / "wrong/bin/nvcc", "13.2.78")
    clang = tmp_path / "clang"
    clang.symlink_to("/bin/echo")
    env = {"CUDA_HOME": str(tmp_path / "right"), "PATH": f"{wrong.parent}:/usr/bin:/bin"}
    code, answer = ask(tmp_path, question("nvcc", r"13\.0(\..*)?", required=True), env=env)
    assert (code, found(answer)) == (3, [("nvcc", "13.2.78")])
    assert answer["wrong"][0]["where"] == str(wrong)

    env |= {"PATH": f"{right.parent}:/usr/bin:/bin", "CUDACXX": str(clang)}
    code, answer = ask(tmp_path, question("nvcc", r"13\.0(\..*)?", required=True), env=env)
    assert (code, answer["nvcc"]) == (0, {str(right): "13.0.88"})


@pytest.mark.parametrize("text", ["raise SystemExit(7)", "import sys; sys.exit()", "1/0"])
def test_no_sitecustomize_comes_in_between(tmp_path: Path, text: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(text)
    (tmp_path / "usercustomize.py").write_text(text)
    assert ask(tmp_path)[0] == 0


def test_what_lies_in_the_source_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not the real one')\n")
    assert ask(tmp_path, env={"PYTHONPATH": ""})[0] == 0
