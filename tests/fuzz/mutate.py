"""Mutations that keep a document one: a JSON value, a line, a field of a binary file at a time."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1 << 31, 1 << 63, 1 << 64, 10**200, 1e308, 0.5, "", {}, []),
    *("../x", "/etc/passwd", "a/../../b", "a" * 300, "\ud800", "\x1b[31m", "a\n::error::b", "\0"),
    *("ok", "failed", "1.0", "0!1", "1.0+a.b", "cp312", "0" * 64, "http://[", "[" * 500),
    *(
        "demo-1.0-py3-none-any.whl",
        "con",
        "a" * 5000,
        "9" * 5000,
        0o4755,
        ["x"] * 50,
        {"a": {"b": []}},
    ),
)
WORDS = (
    *(b"", b"\n", b":", b";", b",", b"=", b'"', b"'", b"[", b"{", b"]", b"<", b"&#0;", b"%00"),
    *(b"Name: x", b"Version: 1", b"Requires-Dist: a; extra == 'b'", b"Tag: py3-none-any"),
    *(
        b"../",
        b"/",
        b"\\",
        b"\0",
        b"\x1b[2J",
        b"\xf0\x9f\x92\xa9",
        b"\xc3",
        b"::error::",
        b"www.x.y",
    ),
    *(
        b"a,sha256=,",
        b"sha256=" + b"A" * 43,
        b"9" * 30,
        b"9" * 5000,
        b"http://[",
        b"[" * 200,
        b"x." * 120,
    ),
    *(b'<a href="x">', b"#sha256=" + b"0" * 64, b"[tool.cibuildwheel]", b"[a.b]", b"[[a]]", b"\r"),
)
NUMBERS: tuple[int, ...] = (
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    24,
    32,
    40,
    56,
    64,
    127,
    128,
    255,
    4096,
    0x7FFF,
    0xFFFF,
)
NUMBERS += (0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


def mutate(data: bytes, rng: random.Random, others: list[bytes] | None = None) -> bytes:
    """Return a mutation; ``\\xff`` separates the parts of what stands for several files."""
    parts = data.split(b"\xff") if not _is_binary(data) else [data]
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(parts))
        part = parts[at]
        if _is_binary(part):
            parts[at] = _fields(part, rng)
        elif part[:1] in b"[{" and rng.random() < 0.8:
            parts[at] = _json(part, rng)
        else:
            parts[at] = _lines(part, rng, others or [])
    return b"\xff".join(parts)


def _is_binary(data: bytes) -> bool:
    return data[:4] in {b"\x7fELF", b"PK\3\4"} or b"ustar" in data[257:263]


def _json(text: bytes, rng: random.Random) -> bytes:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _lines(text, rng, [])
    places = [*_places([value])]
    holder, key = rng.choice(places)
    what = rng.random()
    if what < 0.5:
        holder[key] = rng.choice(VALUES)
    elif what < 0.7:
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    elif what < 0.8 and isinstance(holder, dict):
        del holder[key]
    elif what < 0.9 and isinstance(holder, dict):
        holder[str(rng.choice(VALUES))[:300]] = holder[key]
    elif isinstance(holder[key], list):
        holder[key] = holder[key] * rng.choice((2, 3, 50))
    else:
        holder[key] = [holder[key]]
    top = places[0][0][0]
    return json.dumps(top, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    pending = [value]
    while pending:
        holder = pending.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in list(keys):
            yield holder, key
            if isinstance(holder[key], (dict, list)):
                pending.append(holder[key])


def _lines(text: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    what = rng.random()
    if what < 0.4:
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((0, 0, 1, 5, 30)))
        return text[:at] + rng.choice(WORDS) + text[end:]
    lines = text.split(b"\n")
    at = rng.randrange(len(lines))
    if what < 0.55:
        lines[at:at] = [lines[at]] * rng.choice((1, 2, 30))
    elif what < 0.65:
        del lines[at]
    elif what < 0.8 and others:
        donor = rng.choice(others).split(b"\n")
        lines[at:at] = donor[rng.randrange(len(donor)) :][: rng.choice((1, 3, 20))]
    elif what < 0.9:
        key, mark, value = lines[at].partition(rng.choice((b":", b"=", b",")))
        lines[at] = key + mark + rng.choice((value[::-1], value * 3, rng.choice(WORDS)))
    else:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines)


def _fields(data: bytes, rng: random.Random) -> bytes:
    """Change a number in a binary file, or copy a range of it."""
    made = bytearray(data)
    size = rng.choice([each for each in (1, 2, 4, 8) if each <= max(1, len(made))])
    if not made:
        return data
    at = rng.randrange(max(1, len(made) - size))
    if rng.random() < 0.7:
        at -= at % size
    if rng.random() < 0.85:
        order = "<" if rng.random() < 0.8 else ">"
        now = struct.unpack_from(
            f"{order}{'BHIQ'[(1, 2, 4, 8).index(size)]}", made.ljust(at + 8, b"\0"), at
        )[0]
        new = rng.choice(
            (*NUMBERS, now + 1, now - 1, now * 2, len(made), len(made) - 1, len(made) - at)
        )
        struct.pack_into(
            f"{order}{'BHIQ'[(1, 2, 4, 8).index(size)]}",
            made,
            min(at, len(made) - size),
            new % (1 << 8 * size),
        )
    else:
        begin, length = rng.randrange(len(made)), rng.choice((1, 4, 16, 24, 64))
        made[at : at + length] = made[begin : begin + length]
    return bytes(made)
