"""LZ4 blocks, as the format describes them, and damaged ones."""

from __future__ import annotations

import random

import pytest

from orchestrator.wheel.recompress import unpack_lz4


@pytest.mark.parametrize(
    ("packed", "plain"),
    [
        (b"\x50hello", b"hello"),
        (b"\x32abc\x03\x00\x10x", b"abc" + b"abcabc" + b"x"),  # the match overlaps itself
        (b"\x1fa\x01\x00\x05\x10z", b"a" + b"a" * (15 + 5 + 4) + b"z"),
        (b"\x40abcd\x04\x00\x40wxyz", b"abcd" + b"abcd" + b"wxyz"),
        (b"\xf0\xff\x01" + b"n" * 271, b"n" * 271),
        (b"", b""),
    ],
)
def test_blocks_are_unpacked(packed: bytes, plain: bytes) -> None:
    assert unpack_lz4(packed, 1000) == plain
    for end in range(len(packed)):
        assert plain.startswith(unpack_lz4(packed[:end], 1000))
    for most in range(len(plain)):
        assert unpack_lz4(packed, most) == plain[:most]


def test_damaged_blocks_end_where_they_are_damaged() -> None:
    assert unpack_lz4(b"\x10a\x05\x00", 100) == b"a"
    assert unpack_lz4(b"\x10a\x00\x00\x00", 100) == b"a"
    chance = random.Random(3)  # noqa: S311 - nothing secret
    for _ in range(2000):
        packed = chance.randbytes(chance.randrange(60))
        assert len(unpack_lz4(packed, 500)) <= 500


def test_a_long_match_costs_no_more_than_its_room() -> None:
    assert unpack_lz4(b"\x1fa\x01\x00" + b"\xff" * 100_000, 1 << 20) == b"a"
    assert len(unpack_lz4(b"\x1fa\x01\x00" + b"\xff" * 100_000 + b"\x00", 1 << 20)) == 1 << 20
