"""No value of another person's document can be a path, a mode or a number that does harm."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.models.reading import LONGEST_TEXT, parse
from orchestrator.models.target import Digest
from orchestrator.models.untrusted import BuildTag, FileMode, RelativePath, Size, VersionText
from orchestrator.models.wheel_name import WheelFilename

GOOD = "demo-1.0-cp312-cp312-manylinux_2_28_x86_64.whl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """A field of each type."""

    name: WheelFilename | None = None
    path: RelativePath | None = None
    mode: FileMode | None = None
    digest: Digest | None = None
    version: VersionText = ""
    build_tag: BuildTag = ""
    size: Size = 0


@pytest.mark.parametrize(
    "name",
    [
        GOOD,
        "demo-1!2.0.post1+cu126.torch2.8-7_a-py2.py3-none-any.whl",
        "flash_attn-2.8.3+cu12torch2.8cxx11abiFALSE-cp312-cp312-linux_x86_64.whl",
        "düse-1.0-py3-none-any.whl",
    ],
)
def test_the_name_of_a_wheel_is_itself(name: str) -> None:
    made = WheelFilename(name)

    assert made == name == WheelFilename.match(name)
    assert parse(Everything, {"name": name}).name == name
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301 - our own


BAD: dict[str, tuple[Any, ...]] = {
    "name": (
        *(
            "",
            "..",
            f"/etc/{GOOD}",
            f"../{GOOD}",
            f"C:{GOOD}",
            f"a\\{GOOD}",
            f"{GOOD}\n",
            f"{GOOD}\0",
        ),
        *("demo-1.0-any.whl", "demo-1.0-x1-py3-none-any.whl", "demo-1.0.whl", "demo.whl"),
        GOOD.replace(".whl", ".WHL"),
        *(GOOD.replace("demo", name) for name in (".demo/", "ü" * 120)),
        *(GOOD.replace("cp312-", f"cp312{more}-") for more in ("-../", "\x1b[31m", "\u202e")),
        *(GOOD.replace("1.0", version) for version in ("one", "1" * 5000)),
        GOOD.replace("x86_64", "x86_64." * 100),
    ),
    "path": (
        *("", ".", "..", "/", "/etc/passwd", "//host/share", "../a", "a/..", "a/../../b", "a/./b"),
        *("a//b", "a/", "C:/a", "c:a", "a\\..\\b", "a\0b", "a\nb", "a\x1b[2Jb", "a\x85b"),
        *("a\u2028b", "a\u202eb", "\udcff", "x" * 256, "ü" * 128, "a/" * 600 + "a"),
    ),
    "mode": (0o4755, 0o2755, 0o1777, 0o100644, -1, True, "493", 1.5),
    "digest": ("", "0" * 63, "0" * 65, "A" * 64, f"../{'0' * 61}", "/etc/passwd", "0" * 64 + "\n"),
    "version": ("one", "1.0\n", " 1.0", "1.0/..", "1" * 300, "1" * 5000, "1.0-", "\u0661"),
    "build_tag": ("a", "1/2", "1-2", "../1", "1" * 300, "1\n"),
    "size": (-1, 1 << 60, 10**4000, "x", float("nan")),
}


@pytest.mark.parametrize(
    ("field", "value"), [(k, v) for k, some in BAD.items() for v in some], ids=repr
)
def test_what_a_field_cannot_hold_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: "):
        parse(Everything, {field: value})


TEXTS = {"name": WheelFilename, "path": RelativePath}


@pytest.mark.parametrize(("field", "text"), [(k, v) for k in TEXTS for v in BAD[k]], ids=repr)
def test_what_is_no_name_or_path_is_refused_in_a_short_line(field: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"^.{,200}$"):
        TEXTS[field](text)
    assert TEXTS[field].match(text) is None


@pytest.mark.parametrize("path", ["a", "a b/c.so", "include/kernel.h", "..a/...", "ü/x", ".hidden"])
def test_a_path_below_a_directory_is_itself(path: str) -> None:
    assert RelativePath(path) == path == parse(Everything, {"path": path}).path


@given(st.integers())
def test_a_mode_grants_no_more_than_others_may_have(mode: int) -> None:
    if 0 <= mode <= 0o777:
        assert FileMode(mode) == mode & 0o755 == parse(Everything, {"mode": mode}).mode
    else:
        with pytest.raises(ValueError, match="mode of an ordinary file"):
            FileMode(mode)
        with pytest.raises(ConfigError):
            parse(Everything, {"mode": mode})


@given(st.text() | st.text(alphabet="./\\~ab:\0\n-0123456789"))
def test_no_text_makes_a_path_out_of_a_checked_one(text: str) -> None:
    path, name = RelativePath.match(text), WheelFilename.match(text)

    assert path is None or not {"", ".", ".."} & set(path.split("/"))
    assert name is None or RelativePath.match(name) is not None
    assert name is None or "/" not in name


def test_a_long_text_is_named_by_its_beginning() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(Everything, {"path": "/" + "x" * (LONGEST_TEXT // 4)})

    assert len(str(refused.value)) < 1000
