"""The compiler cache: which names it takes, what it tells a build, and what it leaves alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.builders.cibuildwheel import environment_option
from orchestrator.cross.ccache import REMOTE, CompilerCache, compiler_names, own_launcher, stats
from orchestrator.models.platforms import Arch
from orchestrator.models.result import CompilerCacheStats
from orchestrator.models.target import Target
from tests import factories

TARGET = factories.target(image="localhost/mine:1")


def with_env(**values: str) -> Target:
    return replace(TARGET, env=factories.env(**values))


@pytest.fixture
def cache(tmp_path: Path) -> CompilerCache:
    program = tmp_path / "tools" / "ccache"
    program.parent.mkdir()
    program.write_text("")
    return CompilerCache(program=program, home=tmp_path / "home", size=2_000_000_000)


def test_a_compiler_that_the_matrix_names_is_taken_too() -> None:
    assert "clang-18" in compiler_names(with_env(CC="clang-18 -m64"))
    assert "x86_64-linux-gnu-gcc" in compiler_names(TARGET)
    assert "powerpc64le-linux-gnu-g++" in compiler_names(replace(TARGET, arch=Arch.PPC64LE))
    # A path goes past every link, and nothing else of a command is a file name.
    assert compiler_names(with_env(CC="/usr/bin/gcc", CXX="$(which g++)")) == compiler_names(TARGET)


CUDA_LAUNCHER = {"CMAKE_ARGS": "-DCMAKE_CUDA_COMPILER_LAUNCHER=ccache"}


@pytest.mark.parametrize(
    ("env", "pyproject", "expected"),
    [
        ({}, "", None),
        ({"CMAKE_ARGS": "-DCMAKE_BUILD_TYPE=Release"}, "", None),
        ({"CMAKE_CXX_COMPILER_LAUNCHER": "sccache"}, "", "CMAKE_CXX_COMPILER_LAUNCHER"),
        (CUDA_LAUNCHER, "", "CMAKE_CUDA_COMPILER_LAUNCHER"),
        ({"CC": "ccache gcc"}, "", "CC=ccache"),
        ({"SCCACHE_BUCKET": "b"}, "", "SCCACHE_BUCKET"),
        ({}, '[tool.cibuildwheel]\nenvironment = { CXX = "sccache g++" }', 'CXX = "sccache'),
        ({}, '[tool.cibuildwheel.environment]\nCCACHE_DIR = "/host/c"', "CCACHE_DIR"),
        ({}, '[project]\nkeywords = ["ccache", "compilers"]', None),
    ],
)
def test_a_project_with_a_launcher_of_its_own_is_left_alone(
    env: dict[str, str], pyproject: str, expected: str | None
) -> None:
    assert own_launcher(with_env(**env), pyproject) == expected


def test_objects_that_name_a_profile_are_not_shared(cache: CompilerCache, tmp_path: Path) -> None:
    alone = replace(cache, shares=False)

    shared, own = (dict(c.on_host(TARGET, tmp_path, found=("cc",)).env) for c in (cache, alone))

    assert shared["CCACHE_BASEDIR"] == str(tmp_path)
    assert "CCACHE_BASEDIR" not in own


def test_a_container_gets_the_program_and_the_links_to_read_and_the_entries_to_write(
    cache: CompilerCache, tmp_path: Path
) -> None:
    access = cache.in_container(TARGET, tmp_path / "scratch", found=("cc", "nvcc"))

    writable = {there.name: here for here, there, may in access.mounts if may}
    readable = {there.name: here for here, there, may in access.mounts if not may}
    assert writable == {
        "entries": cache.home / "containers",
        "log": tmp_path / "scratch" / "ccache",
    }
    assert readable["ccache"] == cache.program
    links = readable["bin"]
    there = next(there for _, there, _ in access.mounts if there.name == "ccache")
    assert (links / "cc").readlink() == there
    assert (links / "cuda" / "nvcc").readlink() == there  # not where CMake would look for CUDA
    assert sorted(each.name for each in links.iterdir()) == ["cc", "cuda"]
    assert dict(access.env)["PYTORCH_NVCC"] == str(access.links[0] / "cuda" / "nvcc")
    assert (cache.home.stat().st_mode & 0o777) == 0o700


def test_images_and_architectures_share_no_entries_and_variants_do(
    cache: CompilerCache, tmp_path: Path
) -> None:
    def namespace(target: Target) -> str:
        access = cache.in_container(target, tmp_path / "scratch", found=("cc",))
        return dict(access.env)["CCACHE_NAMESPACE"]

    other = replace(TARGET, python="cp313", variant=(("cuda", "cu130"),), version="2.0")
    assert namespace(TARGET) == namespace(other)
    assert namespace(TARGET) != namespace(replace(TARGET, image="localhost/other:1"))
    assert namespace(TARGET) != namespace(replace(TARGET, arch=Arch.AARCH64))


def test_the_address_of_a_remote_storage_is_passed_by_name_and_not_shown(
    cache: CompilerCache, tmp_path: Path
) -> None:
    secret = replace(cache, remote="http://user:s3cret@cache.example/")
    access = secret.in_container(TARGET, tmp_path / "scratch", found=("cc",))

    assert f"--env={REMOTE}" in access.container_args()
    assert dict(access.private) == {REMOTE: secret.remote}
    told = [access.container_args(), access.exports(), access.env, repr(access), repr(secret)]
    assert "s3cret" not in str(told)


def test_the_links_come_before_whatever_path_the_target_sets(
    cache: CompilerCache, tmp_path: Path
) -> None:
    access = cache.on_host(TARGET, tmp_path / "scratch", found=("cc",))
    (path,) = with_env(PATH="/opt/rh/bin:$PATH").env
    target = replace(TARGET, env=(replace(path, shell=True),))  # noqa: S604 - not of subprocess
    option = environment_option(target, epoch=0, compilers=access)
    assert option.index('PATH="/opt/rh/bin:$PATH"') < option.index(f'PATH="{access.path}:$PATH"')
    assert access.exports()[-1] == f'export PATH="{access.path}:$PATH"'


def test_links_are_made_once_however_many_ask_at_once(cache: CompilerCache, tmp_path: Path) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> Path:
        start.wait()
        return cache.on_host(TARGET, tmp_path / str(number), found=("cc", "g++")).links[0]

    with ThreadPoolExecutor(8) as pool:
        (links,) = set(pool.map(ask, range(8)))
    assert [each.name for each in links.parent.iterdir()] == [links.name]


def test_what_ccache_wrote_is_counted(tmp_path: Path) -> None:
    assert stats(tmp_path) is None  # a build without the cache
    log = tmp_path / "ccache"
    log.mkdir()
    assert stats(tmp_path) == CompilerCacheStats(hits=0, misses=0)
    (log / "log").write_text(
        "# a.cpp\ndirect_cache_hit\nlocal_storage_hit\n# b.cpp\ndirect_cache_miss\n"
        "preprocessed_cache_hit\n# c.cpp\ncache_miss\ndirect_cache_miss\ncalled_for_link\n"
    )
    assert stats(tmp_path) == CompilerCacheStats(hits=2, misses=1)


def test_ccache_may_not_take_more_than_the_matrix_says(
    cache: CompilerCache, tmp_path: Path
) -> None:
    access = cache.on_host(TARGET, tmp_path, found=("cc",))
    assert dict(access.env)["CCACHE_MAXSIZE"] == "2000000k"
