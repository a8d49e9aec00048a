"""Wheel names are taken apart as `packaging` does, and the label of a variant beside."""

from __future__ import annotations

import re

import pytest

from orchestrator.errors import BadWheelError
from orchestrator.models.wheel_name import MOST_TAGS, WheelFilename, WheelName


@pytest.mark.parametrize(
    ("filename", "build", "label"),
    [
        ("numpy-2.3.2-cp313-cp313t-musllinux_1_2_x86_64.whl", "", ""),
        ("numpy-2.3.2-cp313-cp313t-musllinux_1_2_x86_64-x86_64_v3.whl", "", "x86_64_v3"),
        ("numpy-2.3.2-cp313-cp313t-musllinux_1_2_x86_64-null.whl", "", "null"),
        ("numpy-2.3.2-1-cp313-cp313t-musllinux_1_2_x86_64-x86_64_v3.whl", "1", "x86_64_v3"),
        ("numpy-2.3.2-1a-py3-none-any.whl", "1a", ""),
        # What stands where a platform tag does is one, behind a build tag.
        ("numpy-2.3.2-1-py3-none-cu13.whl", "1", ""),
        ("torch-2.9.0+x.1-py2.py3-none-any-cu12.8.whl", "", "cu12.8"),
        ("torch-2.9.0-py3-none-any-0123456789abcdef.whl", "", "0123456789abcdef"),
        ("torch-2.9.0-py3-none-any-12.whl", "", "12"),
    ],
)
def test_a_label_is_the_part_behind_the_platform(filename: str, build: str, label: str) -> None:
    name = WheelName.parse(filename)

    assert (name.build, name.label) == (build, label)
    assert str(name) == filename == WheelFilename(filename)
    assert WheelName.match(filename) == name


@pytest.mark.parametrize(
    ("filename", "why"),
    [
        ("demo-1.0-py3-none-any-CU13.whl", "the variant label 'CU13' of the wheel is not 1 to 16"),
        ("demo-1.0-py3-none-any-0123456789abcdef0.whl", "is not 1 to 16 of"),
        ("demo-1.0-py3-none-any-a+b.whl", "the variant label 'a+b'"),
        ("demo-1.0-x1-py3-none-any.whl", "the build tag 'x1' of the wheel begins with no digit"),
        ("demo-1.0-x-cp312-cp312-linux_x86_64.whl", "the build tag 'x'"),
        ("demo-1.0-x-cp312-cp312-win_amd64.whl", "the build tag 'x'"),
        ("demo-1.0-py3-none-any-.whl", "not NAME-VERSION"),
        ("demo-1.0-1-py3-none-any-cu13-v3.whl", "not NAME-VERSION"),
        ("demo-1.0-py3-none.whl", "not NAME-VERSION"),
        ("demo-1.0-py3-none-any-ü.whl", "not NAME-VERSION"),
        ("demo-1.0-py3-none-any-../x.whl", "not NAME-VERSION"),
        ("demo-one-py3-none-any-cu13.whl", "invalid version"),
        ("de__mo-1.0-py3-none-any-cu13.whl", "Invalid project name"),
        ("demo-1.0-py3-none..any-any-cu13.whl", "invalid tag"),
        (f"demo-1.0-py3-none-{'a.' * 120}any.whl", "has 265 bytes; at most 255"),
        (f"demo-1.0-{'a.' * 15}b-{'a.' * 15}b-{'a.' * 15}b.whl", f"at most {MOST_TAGS}"),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_reason(filename: str, why: str) -> None:
    with pytest.raises(BadWheelError, match=re.escape(why)):
        WheelName.parse(filename)
    assert WheelName.match(filename) is None
    assert WheelFilename.match(filename) is None
