"""Which inputs differ between two documents of the store."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.run.cache_diff import changes

FILES = {"a.c": ["file", "1" * 64], "b.c": ["file", "2" * 64], "run": ["exec", "3" * 64]}


def document(**request: Any) -> dict[str, Any]:
    content = {
        "source": ["thing", "0" * 64, 1],
        "env": [["A", "1", False], ["B", "2", False]],
        "steps": {"before_build": None, "test_command": "pytest"},
        "image": "manylinux_2_28",
        "backend": "cibuildwheel",
        "toolchain": "t1",
        "needs": [],
    }
    return {
        "store": 1,
        "scope": "",
        "request": content | request,
        "place": {"image": "abc", "arguments": []},
        "needs": [],
    }


def said(
    before: dict[str, Any], now: dict[str, Any], then: Any = None, today: Any = None
) -> list[tuple[str, str, str]]:
    found = changes(before, now, files_before=then, files_now=today or {})
    return [(each.what, each.before, each.now) for each in found]


def test_nothing_changed() -> None:
    assert said(document(), document(), FILES, FILES) == []


def test_the_source_is_compared_file_by_file() -> None:
    today = {"a.c": FILES["a.c"], "run": ["file", "3" * 64], "new.c": ["file", "4" * 64]}
    now = document(source=["thing", "f" * 64, 2])

    assert said(document(), now, FILES, today) == [
        ("source b.c", f"file {'2' * 16}", "-"),
        ("source new.c", "-", f"file {'4' * 16}"),
        ("source run", f"exec {'3' * 16}", f"file {'3' * 16}"),
        ("SOURCE_DATE_EPOCH", "1", "2"),
    ]


def test_a_source_whose_files_nobody_knows_any_more_is_compared_as_a_whole() -> None:
    now = document(source=["thing", "f" * 64, 1])

    assert [what for what, _, _ in said(document(), now, None, FILES)] == ["source"]


def test_the_environment_is_compared_variable_by_variable() -> None:
    now = document(env=[["A", "1", True], ["C", "3", False]])

    assert said(document(), now) == [
        ("env A", "1", "1 (shell)"),
        ("env B", "2", "-"),
        ("env C", "-", "3"),
    ]


@pytest.mark.parametrize(
    ("request_now", "expected"),
    [
        ({"image": "manylinux_2_34"}, ("image", "manylinux_2_28", "manylinux_2_34")),
        ({"toolchain": "t2"}, ("toolchain", "t1", "t2")),
        ({"backend": "direct"}, ("backend", "cibuildwheel", "direct")),
        (
            {"steps": {"before_build": "make", "test_command": "pytest"}},
            ("steps before build", "-", "make"),
        ),
    ],
)
def test_every_other_setting_has_its_name(
    request_now: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert said(document(), document(**request_now)) == [expected]


def test_an_image_that_moved_under_its_name_is_named() -> None:
    now = document() | {"place": {"image": "def", "arguments": []}}

    assert said(document(), now) == [("image", "abc", "def")]


def test_a_library_that_changed_is_named() -> None:
    assert said(document(), document() | {"needs": ["x"]}) == [
        ("libraries", "built from other inputs", "see theirs")
    ]
