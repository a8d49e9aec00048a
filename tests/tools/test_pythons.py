from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError, EnvironmentProblemError
from orchestrator.host.emulation import host_arch
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.target import Digest
from orchestrator.provision import pythons
from orchestrator.provision.pythons import (
    Interpreter,
    find,
    headers,
    inspect,
    known,
    provide,
    with_headers,
    without_own_path,
)
from orchestrator.provision.toolchain import Toolchain
from tests.conftest import TAG, ran
from tests.factories import host, program, write_files

BASE = Path(getattr(sys, "_base_executable", sys.executable))


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which nothing but the test's own files can be found."""

    def no_system(tag: PythonTag, env: dict[str, str], cache: Path | None) -> Iterator[Path]:
        for path in original(tag, env, cache):
            if path.is_relative_to(tmp_path):
                yield path

    original = pythons._candidates
    monkeypatch.setattr(pythons, "_candidates", no_system)
    (tmp_path / "bin").mkdir()
    return {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "PYENV_ROOT": str(tmp_path / "pyenv"),
        "UV_PYTHON_INSTALL_DIR": str(tmp_path / "uv"),
    }


def answer(path: Path, **changes: object) -> Path:
    """Write a program that answers the probe as an interpreter would."""
    said = {
        "path": str(path),
        "version": "3.12.1",
        "info": [3, 12, 1],
        "final": True,
        "implementation": "cpython",
        "free_threaded": False,
        "bits": 64,
        "machine": str(host_arch()),
        "soabi": "x",
        "include": "/nowhere",
        "headers": True,
        "venv": True,
        "variables": {"LDSHARED": "gcc -shared"},
        "files": [],
    } | changes
    return program(path, f"cat <<'END'\n{json.dumps(said)}\nEND")


def release(text: str) -> dict[str, object]:
    return {"version": text, "info": [int(part) for part in text.split(".")]}


def found(python: str, environ: dict[str, str], **options: object) -> Path | str:
    try:
        return find(python, environ=environ, **options).path  # type: ignore[arg-type]
    except EnvironmentProblemError as error:
        return error.what


def own() -> Interpreter:
    it = inspect(Path(sys.executable), os.environ)
    assert it is not None
    return it


def test_no_tag() -> None:
    with pytest.raises(ConfigError, match=r"'3\.12' is not a Python tag"):
        find("3.12", environ={})
    assert known("3.12", environ={}, cache_dir=Path("/nonexistent")) is None


def test_own_interpreter_is_inspected() -> None:
    it = own()
    assert it.path == BASE
    assert it.version.split("+")[0] == ".".join(map(str, sys.version_info[:3]))
    assert it.arch is host_arch()
    assert it.soabi
    assert it.tag.words == f"CPython 3.{sys.version_info[1]}"


def test_real_interpreter_is_found() -> None:
    it = find(TAG, environ=os.environ)
    assert isinstance(it, Interpreter)
    assert it.tag == PythonTag.parse(TAG)
    assert it.path.exists()


def test_what_was_found_is_remembered_whole(tmp_path: Path) -> None:
    """A run that asks nobody builds with the same linker as the one before."""
    environ = {"PATH": str(BASE.parent), "HOME": str(tmp_path)}
    first = find(TAG, environ=environ, cache_dir=tmp_path)
    assert isinstance(first, Interpreter)
    again = known(TAG, environ=environ, cache_dir=tmp_path)
    assert again is not None
    assert dataclasses.asdict(again) == dataclasses.asdict(first)

    (memory,) = (tmp_path / "interpreters").iterdir()
    noted = json.loads(memory.read_text())
    noted["interpreter"]["variables"] = [["CC", "x"]]
    memory.write_text(json.dumps(noted))
    again = known(TAG, environ=environ, cache_dir=tmp_path)
    assert again == dataclasses.replace(first, variables=(("CC", "x"),))

    memory.write_text(json.dumps(noted | {"question": "another version's"}))
    assert known(TAG, environ=environ, cache_dir=tmp_path) is None

    del noted["interpreter"]["variables"]
    memory.write_text(json.dumps(noted))
    assert known(TAG, environ=environ, cache_dir=tmp_path) is None


def test_runs_with_different_paths_remember_what_each_found(tmp_path: Path) -> None:
    """One after the other, again and again: none asks anew, and what both found is known."""
    environs = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"python3.{sys.version_info[1]}").symlink_to(BASE)
        path = f"{folder}:{BASE.parent}"
        environs.append({"PATH": path, "HOME": str(tmp_path)})

    found = [find(TAG, environ=each, cache_dir=tmp_path) for each in environs]
    again = [known(TAG, environ=each, cache_dir=tmp_path) for each in environs]

    assert again == found
    assert len(list((tmp_path / "interpreters").iterdir())) == len(environs)


def test_an_interpreter_is_known_by_how_it_compiles_and_links() -> None:
    it = find(TAG, environ=os.environ)
    variables = dict(it.variables)

    assert variables["EXT_SUFFIX"].endswith(".so")
    assert variables["CFLAGS"] == sysconfig.get_config_var("CFLAGS")
    assert any(Path(path).name.startswith("_sysconfigdata") for path, _ in it.settings)
    assert any(path.endswith("distutils/distutils.cfg") for path, _ in it.settings)


@pytest.mark.parametrize("change", ["edited", "new", "removed"])
def test_other_settings_than_those_of_last_time_are_seen(tmp_path: Path, change: str) -> None:
    """Its programs are as they were: only a file beside them is not."""
    environ = {"PATH": str(BASE.parent), "HOME": str(tmp_path)}
    first = find(TAG, environ=environ, cache_dir=tmp_path)
    (memory,) = (tmp_path / "interpreters").iterdir()
    noted = json.loads(memory.read_text())
    settings = tmp_path / "distutils.cfg"
    digest = "" if change == "new" else hashlib.sha256(b"[build_ext]\n").hexdigest()
    noted["interpreter"]["settings"] = [[str(settings), digest]]
    memory.write_text(json.dumps(noted))
    if change != "new":
        settings.write_text("[build_ext]\n")
    again = known(TAG, environ=environ, cache_dir=tmp_path)
    assert again is not None
    assert again.path == first.path

    if change == "removed":
        settings.unlink()
    else:
        settings.write_text("[build_ext]\ndefine = X\n")
    assert known(TAG, environ=environ, cache_dir=tmp_path) is None


def test_virtual_environment_is_resolved_to_its_base(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    ran(sys.executable, "-m", "venv", "--without-pip", "--copies", tmp_path / "venv", code=0)
    environ["PATH"] = f"{tmp_path / 'venv' / 'bin'}:{environ['PATH']}"
    assert found(TAG, environ) == BASE


def test_failing_and_lying_programs_are_skipped(tmp_path: Path, environ: dict[str, str]) -> None:
    says = "echo 'pyenv: python3.12: command not found' >&2; exit 127"
    program(tmp_path / "bin" / "python3.12", says)
    program(tmp_path / "bin" / "python3", "echo '[]'")
    answer(tmp_path / "uv" / "x" / "bin" / "python3.12", machine="sparc64")
    answer(tmp_path / "bin" / "python", **release("3.11.9"))
    good = answer(tmp_path / "pyenv" / "versions" / "3.12.1" / "bin" / "python3.12")
    assert found("cp312", environ) == good


def test_hanging_program_is_skipped(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pythons, "PROBE_TIMEOUT", 0.3)
    program(tmp_path / "bin" / "python3.12", "sleep 30")
    assert "no CPython 3.12" in str(found("cp312", environ))


def test_best_has_headers_then_venv_then_the_newest_release(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    uv, pyenv = tmp_path / "uv", tmp_path / "pyenv" / "versions"
    answer(tmp_path / "bin" / "python3.12", **release("3.12.99"), headers=False)
    answer(uv / "a" / "bin" / "python3.12", **release("3.12.98"), venv=False)
    answer(uv / "b" / "bin" / "python3.12", **release("3.12.97"), final=False)
    best = answer(pyenv / "c" / "bin" / "python3.12", **release("3.12.10"))
    answer(pyenv / "d" / "bin" / "python3.12", **release("3.12.9"))
    assert found("cp312", environ) == best


def test_interpreter_of_the_cache_is_found(tmp_path: Path, environ: dict[str, str]) -> None:
    cached = answer(tmp_path / "cache" / "pythons" / "x" / "bin" / "python3.12")
    assert "no CPython 3.12" in str(found("cp312", environ))
    assert found("cp312", environ, cache_dir=tmp_path / "cache") == cached


def test_free_threading_and_implementation_count(tmp_path: Path, environ: dict[str, str]) -> None:
    answer(tmp_path / "bin" / "python3.14", **release("3.14.0"))
    other = tmp_path / "uv" / "x" / "bin" / "python3.14"
    threads = answer(other, **release("3.14.0"), free_threaded=True)
    assert found("cp314", environ) == tmp_path / "bin" / "python3.14"
    assert found("cp314t", environ) == threads
    pypy = answer(tmp_path / "bin" / "pypy3", **release("3.11.13"), implementation="pypy")
    assert found("pp311", environ) == pypy
    assert "no CPython 3.11" in str(found("cp311", environ))


@pytest.mark.skipif(host_arch() is not Arch.X86_64, reason="x86_64 only")
def test_32_bit_process_on_a_64_bit_kernel(tmp_path: Path, environ: dict[str, str]) -> None:
    narrow = answer(tmp_path / "bin" / "python3.12", bits=32)
    assert "no CPython 3.12 for x86_64" in str(found("cp312", environ))
    seen = inspect(narrow, environ)
    assert seen is not None
    assert seen.arch is Arch.I686


def toolchain(tmp_path: Path, uv: str) -> Toolchain:
    folder = tmp_path / "toolchain" / "bin"
    program(folder / "uv", uv)
    return Toolchain(
        python=folder / "python", root=folder.parent, bin=folder, digest=Digest("0" * 64)
    )


def test_provide_takes_what_is_there(tmp_path: Path, environ: dict[str, str]) -> None:
    there = answer(tmp_path / "bin" / "python3.12")
    tools = toolchain(tmp_path, "exit 1")
    it = provide("cp312", host(tmp_path / "cache", tools, environ))
    assert isinstance(it, Interpreter)
    assert it.path == there
    assert not (tmp_path / "cache").exists()


def test_provide_asks_the_locked_uv(tmp_path: Path, environ: dict[str, str]) -> None:
    prepared = answer(tmp_path / "prepared")
    tools = toolchain(
        tmp_path,
        f'echo "$@" > "{tmp_path}/asked"; mkdir -p "$UV_PYTHON_INSTALL_DIR/x/bin"; '
        f'cp "{prepared}" "$UV_PYTHON_INSTALL_DIR/x/bin/python3.12"',
    )
    it = provide("cp312", host(tmp_path / "cache", tools, environ))
    assert isinstance(it, Interpreter)
    asked = (tmp_path / "asked").read_text()
    assert asked == "python install --no-bin --no-config cpython@3.12\n"


def test_provide_says_why_not(tmp_path: Path, environ: dict[str, str]) -> None:
    text = "error: Failed to install x\n  cause: dns error\n  cause: Name or service not known"
    tools = toolchain(tmp_path, f"cat >&2 <<END\n{text}\nEND\nexit 1")
    with pytest.raises(EnvironmentProblemError) as refused:
        provide("cp399", host(tmp_path / "c", tools, environ))
    assert refused.value.what.endswith("uv could not fetch one: Name or service not known")
    assert "cibuildwheel" in refused.value.hint
    assert refused.value.transient


@pytest.fixture
def debian() -> Interpreter:
    path = Path("/usr/bin/python3.11")
    return dataclasses.replace(own(), path=path, version="3.11.2", has_headers=False)


def apt(tmp_path: Path, get: str, extract: str = ":") -> dict[str, str]:
    folder = tmp_path / "tools"
    program(folder / "apt-get", f'echo "$@" >> "{tmp_path}/apt"\n{get}')
    program(folder / "dpkg-deb", extract)
    program(folder / "dpkg-query", "printf 1:3.11.2-6")
    return {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path)}


UNPACK = """
mkdir -p "$3/usr/include/python3.11" "$3/usr/include/x86_64-linux-gnu/python3.11"
: > "$3/usr/include/python3.11/Python.h"
"""


def test_nothing_to_do_with_headers(tmp_path: Path) -> None:
    assert headers(dataclasses.replace(own(), has_headers=True), host(tmp_path)) == ()


def test_headers_come_from_the_package(tmp_path: Path, debian: Interpreter) -> None:
    environ = apt(tmp_path, ": > libpython3.11-dev.deb", UNPACK)
    store = tmp_path / "cache" / "headers"
    for _ in range(2):  # the second time nothing is asked
        dirs = headers(debian, host(tmp_path / "cache", environ=environ))
        assert isinstance(dirs, tuple)
        assert (dirs[0] / "Python.h").is_file()
        assert (dirs[1] / "x86_64-linux-gnu" / "python3.11").is_dir()
    assert [entry.name for entry in store.iterdir() if entry.is_dir()] == [
        f"libpython3.11-dev_1%3a3.11.2-6_{host_arch()}"
    ]
    calls = (tmp_path / "apt").read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].endswith("download libpython3.11-dev=1:3.11.2-6")


def test_other_revision_then_fresh_lists(tmp_path: Path, debian: Interpreter) -> None:
    get = """
    case "$*" in
    *Dir::State::lists*download*-dev) : > x.deb;;
    *Dir::State::lists*update) ;;
    *) echo 'E: no' >&2; exit 100;;
    esac"""
    environ = apt(tmp_path, get, UNPACK)
    assert isinstance(headers(debian, host(tmp_path / "c", environ=environ)), tuple)
    words = [line.split()[-1] for line in (tmp_path / "apt").read_text().splitlines()]
    assert words == [
        "libpython3.11-dev=1:3.11.2-6",
        "libpython3.11-dev",
        "update",
        "libpython3.11-dev=1:3.11.2-6",
        "libpython3.11-dev",
    ]


@pytest.mark.parametrize(
    ("get", "extract", "what"),
    [
        ("echo 'E: Temporary failure resolving' >&2; exit 100", ":", "Temporary failure resolving"),
        (": > x.deb", "echo 'not a package' >&2; exit 2", "not a package"),
        (": > x.deb", ":", "holds no python3.11/Python.h"),
    ],
)
def test_headers_that_cannot_be_had(
    tmp_path: Path, debian: Interpreter, get: str, extract: str, what: str
) -> None:
    environ = apt(tmp_path, get, extract)
    with pytest.raises(EnvironmentProblemError, match=what) as refused:
        headers(debian, host(tmp_path / "c", environ=environ))
    assert refused.value.hint == "`apt-get install python3.11-dev` as root"
    assert not [entry for entry in (tmp_path / "c" / "headers").iterdir() if entry.is_dir()]


def test_headers_of_another_system(tmp_path: Path, debian: Interpreter) -> None:
    with pytest.raises(EnvironmentProblemError) as refused:
        headers(debian, host(tmp_path, environ={"PATH": str(tmp_path)}))
    assert "devel" in refused.value.hint
    other = dataclasses.replace(debian, path=Path("/opt/x/bin/python3.11"))
    with pytest.raises(EnvironmentProblemError, match="are missing"):
        headers(other, host(tmp_path))


def test_environment_with_headers() -> None:
    dirs = (Path("/c/python3.11"), Path("/c"))
    assert with_headers({"A": "1"}, ()) == {"A": "1"}
    assert with_headers({"CPATH": "/own", "CMAKE_ARGS": "-DX=1"}, dirs) == {
        "CPATH": "/c/python3.11:/c:/own",
        "CMAKE_ARGS": "-DPython_INCLUDE_DIR=/c/python3.11 "
        "-DPython3_INCLUDE_DIR=/c/python3.11 -DX=1",
    }
    assert with_headers({}, dirs)["CPATH"] == "/c/python3.11:/c"


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_cpath_resolves_debians_pyconfig(tmp_path: Path) -> None:
    # The shape of libpython3.X-dev: pyconfig.h dispatches to a directory of the architecture.
    arch = tmp_path / "x86_64-linux-gnu" / "python3.11"
    plain = tmp_path / "python3.11"
    write_files(arch, {"pyconfig.h": "#define ANSWER 42\n"})
    dispatch = "#include <x86_64-linux-gnu/python3.11/pyconfig.h>\n"
    write_files(plain, {"pyconfig.h": dispatch, "Python.h": '#include "pyconfig.h"\n'})
    source = tmp_path / "x.c"
    source.write_text("#include <Python.h>\nint x = ANSWER;\n")
    env = {"PATH": os.environ["PATH"], "CPATH": f"{plain}:{tmp_path}"}
    ran("cc", "-c", source, "-o", tmp_path / "x.o", env=env, code=0)


def test_nor_does_it_to_modules_of_c_plus_plus() -> None:
    linker = "g++ -shared -Wl,-rpath,/py/lib"
    cxx = dataclasses.replace(own(), variables=(("LDCXXSHARED", linker),))
    assert without_own_path({}, cxx) == {"LDCXXSHARED": "g++ -shared"}
    assert without_own_path({"CXX": "clang++"}, cxx) == {"CXX": "clang++"}


def test_nor_by_a_compiler_that_is_set_or_by_flags_that_projects_read() -> None:
    path = "-L/py/lib -Wl,-rpath,/py/lib"
    told = (("CC", "gcc -pthread"), ("LDSHARED", f"gcc -pthread -shared {path}"))
    python = dataclasses.replace(own(), variables=(*told, ("LDFLAGS", f"{path} -Wl,-z,relro")))
    flags = {"LDFLAGS": "-Wl,-z,relro"}
    clang = {"CC": "clang"}
    assert without_own_path({}, python) == {"LDSHARED": "gcc -pthread -shared -L/py/lib", **flags}
    wanted = {**clang, "LDSHARED": "clang -shared -L/py/lib", **flags}
    assert without_own_path(clang, python) == wanted
    mine = {"LDFLAGS": "-Wl,-rpath,/mine", "LDSHARED": "ld"}
    assert without_own_path(mine, python) == mine
    debian = dataclasses.replace(own(), variables=(("LDFLAGS", "-Wl,-z,relro"),))
    assert without_own_path({}, debian) == {}


@pytest.mark.parametrize(
    ("linker", "env", "expected"),
    [
        ("gcc -shared", {}, None),
        ("", {}, None),
        (
            "gcc -shared -L/py/lib -Wl,-rpath,/py/lib -Wl,-rpath=/py/lib -Wl,-R/a -Wl,-Bsymbolic",
            {},
            "gcc -shared -L/py/lib -Wl,-Bsymbolic",
        ),
        ("gcc -shared -Wl,-rpath,/py/lib", {"CC": "clang"}, None),
        ("gcc -shared -Wl,-rpath,/py/lib", {"LDSHARED": "ld"}, "ld"),
        ("gcc -shared -Wl,-rpath -Wl,/py/lib -lm", {}, "gcc -shared -lm"),
        ("gcc -shared -Xlinker -rpath -Xlinker /py/lib -lm", {}, "gcc -shared -lm"),
        ("gcc -shared -R/py/lib -Wl,-R/b -Wl,-rpath-link,/c", {}, "gcc -shared -Wl,-rpath-link,/c"),
    ],
)
def test_an_interpreter_does_not_hand_on_its_own_run_path(
    linker: str, env: dict[str, str], expected: str | None
) -> None:
    interpreter = dataclasses.replace(own(), variables=(("LDSHARED", linker),))
    wanted = env if expected is None else env | {"LDSHARED": expected}
    assert without_own_path(env, interpreter) == wanted
