"""Values as other tools spell them: each hint names a value that is right."""

from __future__ import annotations

import re

import pytest

from orchestrator.config.load import load
from orchestrator.config.value_hints import for_shell, means_shell, value_hint
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import Arch
from tests.factories import FACTS

BASE = {"python": "cp312", "arch": "x86_64", "libc": "manylinux"}


def with_values(**values: str) -> bytes:
    lines = (f'axes.{axis} = ["{value}"]' for axis, value in {**BASE, **values}.items())
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("axis", "value"),
    [
        *(("arch", each) for each in ("amd64", "arm64", "x64", "x86", "i386", "AMD64", "ARM64")),
        *(
            ("arch", each)
            for each in ("linux/amd64", "linux/arm/v7", "armhf", "ppc64el", "loong64")
        ),
        *(("libc", each) for each in ("manylinux2014", "manylinux1", "glibc", "gnu", "musl")),
        *(("python", each) for each in ("py312", "python3.12", "python312", "cpython312")),
    ],
)
def test_the_value_of_a_hint_is_right(axis: str, value: str) -> None:
    if axis == "python" and value == "python3.12":  # which is right already
        load(with_values(python=value), facts=FACTS)
        return
    with pytest.raises(ConfigError) as caught:
        load(with_values(**{axis: value}), facts=FACTS)
    (problem,) = caught.value.problems
    named = re.findall(r"'([^']+)'", problem.hint)

    load(with_values(**{axis: named[0]}), facts=FACTS)


@pytest.mark.parametrize(
    ("axis", "value"), [("libc", "manylinux_2_28_x86_64"), ("arch", "musllinux_1_2_i686")]
)
def test_a_platform_is_two_values(axis: str, value: str) -> None:
    pairs = dict(re.findall(r"(arch|libc) = '([^']+)'", value_hint(axis, value)))

    load(with_values(**pairs), facts=FACTS)


@pytest.mark.parametrize(
    "value", ["win_amd64", "win32", "macosx_11_0_arm64", "universal2", "Windows"]
)
@pytest.mark.parametrize("axis", ["arch", "libc"])
def test_another_system_is_an_axis(axis: str, value: str) -> None:
    assert 'os = ["linux", "windows"]' in value_hint(axis, value)


@pytest.mark.parametrize("arch", Arch)
def test_a_right_value_needs_no_hint(arch: Arch) -> None:
    load(with_values(arch=arch), facts=FACTS)


@pytest.mark.parametrize(
    ("name", "text", "is_shell"),
    [
        ("PATH", "$HOME/.cargo/bin:$PATH", True),
        ("PATH", "/a:${PATH}", True),
        ("CFLAGS", "$CFLAGS -O2", True),
        ("CARGO_HOME", "$HOME/.cargo", True),
        ("LDFLAGS", "-Wl,-rpath,$ORIGIN/lib", False),
        ("LDFLAGS", "-Wl,-rpath,$$ORIGIN", False),
        ("PATH", "/usr/bin:/bin", False),
        ("PRICE", "$5", False),
        ("A", "$PATHS", False),
    ],
)
def test_what_only_a_shell_understands(name: str, text: str, *, is_shell: bool) -> None:
    assert means_shell(name, text) is is_shell


def test_a_shell_value_that_is_not_marked_says_how() -> None:
    data = with_values() + b'\nenv.PATH = "$HOME/.cargo/bin:$PATH"\n'
    with pytest.raises(ConfigError) as caught:
        load(data, facts=FACTS)
    (problem,) = caught.value.problems
    line = problem.hint.partition(" evaluates")[0]

    assert problem.where == "env.PATH"
    load(with_values() + f"\nenv.{line}\n".encode(), facts=FACTS)


@pytest.mark.parametrize("value", ["cp310 cp311", "cp310,cp311", " cp310 , cp311"])
def test_several_values_in_one_text_are_a_list(value: str) -> None:
    assert '["cp310", "cp311"]' in value_hint("python", value)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("~/.cargo/bin:$PATH", "$HOME/.cargo/bin:$PATH"),
        ("/a:~/b:~", "/a:$HOME/b:$HOME"),
        ("/a~/b:~x/$PATH", "/a~/b:~x/$PATH"),
    ],
)
def test_the_home_directory_has_a_name_that_shells_evaluate_between_quotes(
    text: str, written: str
) -> None:
    assert for_shell(text) == written
