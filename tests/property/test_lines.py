"""Any TOML file: every table, key and item has the line on which it was written."""

from __future__ import annotations

import json
import string
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.lines import line_numbers

# Not only digits: a test that looks a path up should not meet array items of the same name.
KEYS = st.one_of(
    st.text(string.ascii_letters + "_-", min_size=1, max_size=4),
    st.text(string.printable, min_size=1, max_size=4).filter(
        lambda text: not set(text) & set(".[]\r\x0b\x0c")
    ),
    st.sampled_from(["a b", "#", '"', "'", "=", "\\", "é", "1"]),
)
SCALARS = st.sampled_from(
    [
        *("1", "-1.5", "+1e3", "true", "inf", "0x1F", "1_000", "2026-01-01", "10:00:00.5"),
        *("2026-01-01 10:00:00Z", "2026-01-01T10:00:00+01:00"),
        *('""', "''", '"a"', "'a]'", '"]"', '"[x]\\"}"', '"# no"', "'='", '"a, b"', '"\\\\"'),
        *('"""a\n[b]\n"""', "'''\n[[c]]\n'''", '"""x\\""" y"""', "''''a'''", '"""a"""""'),
        '"""\\\n   a = 1\n"""',
    ]
)


class Writer:
    """Writes a random document, and notes where everything went."""

    def __init__(self, draw: Callable[..., Any]) -> None:
        self.draw = draw
        self.text = ""
        self.expected: dict[str, int] = {}

    def note(self, path: str) -> None:
        self.expected.setdefault(path, self.text.count("\n") + 1)

    def put(self, *choices: str) -> None:
        self.text += self.draw(st.sampled_from(choices)) if len(choices) > 1 else choices[0]

    def newline(self) -> None:
        self.put("\n", "\n\n", " # [c]\n", "\t\n", " # '''\n", "\r\n")

    def key(self, key: str) -> None:
        bare = key != "" and set(key) <= set(string.ascii_letters + string.digits + "_-")
        forms = [json.dumps(key).replace("\x7f", "\\u007F")]
        forms += [key] * 3 if bare else []
        plain = not set(key) & {"'", "\n"} and key.isprintable()
        self.put(*forms, *([f"'{key}'"] if plain else []))

    def document(self, node: Mapping[str, Any], path: str = "", keys: tuple[str, ...] = ()) -> None:
        """A table: first its own keys, then the tables below it with headers."""
        below = []
        for key, value in node.items():
            place = f"{path}.{key}" if path else key
            tables = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
            if (isinstance(value, dict) or tables) and self.draw(st.integers(0, 3)):
                below.append((place, (*keys, key), value))
            else:
                self.put("", " ")
                self.note(place)
                self.pair(key, value, place)
                self.newline()
        for place, names, value in below:
            for index, each in enumerate(value if isinstance(value, list) else [value]):
                is_array = isinstance(value, list)
                self.note(place)
                own = f"{place}[{index}]" if is_array else place
                self.note(own)
                self.header(names, "[[" if is_array else "[")
                self.newline()
                self.document(each, own, names)

    def header(self, names: tuple[str, ...], opening: str) -> None:
        self.put(opening, f"{opening} ")
        for number, name in enumerate(names):
            self.put(*([".", " . "] if number else [""]))
            self.key(name)
        self.put("]" * len(opening))

    def pair(self, key: str, value: Any, path: str) -> None:
        """One key and its value, or several of them with dots."""
        if isinstance(value, dict) and len(value) == 1 and self.draw(st.booleans()):
            ((inner, deep),) = value.items()
            self.key(key)
            self.put(".", " . ")
            self.note(f"{path}.{inner}")
            self.pair(inner, deep, f"{path}.{inner}")
            return
        self.key(key)
        self.put("=", " = ")
        self.value(value, path)

    def value(self, value: Any, path: str) -> None:
        if isinstance(value, dict):
            self.put("{", "{ ")
            for number, (key, each) in enumerate(value.items()):
                self.put(*([",", " , "] if number else [""]))
                self.note(f"{path}.{key}")
                self.pair(key, each, f"{path}.{key}")
            self.put("}", " }")
        elif isinstance(value, list):
            self.put("[")
            for number, each in enumerate(value):
                self.put("", "\n", " # ]\n", " ")
                self.note(f"{path}[{number}]")
                self.value(each, f"{path}[{number}]")
                self.put(*([","] if number < len(value) - 1 else ["", ","]))
            self.put("]", "\n]", " # x\n]")
        else:
            self.put(str(value))


TREES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(KEYS, inner, max_size=3),
            st.lists(st.dictionaries(KEYS, inner, max_size=2), min_size=1, max_size=3),
        ),
        max_leaves=8,
    ),
    max_size=4,
)


def paths(node: Any, path: str = "") -> set[str]:
    found = {path} if path else set()
    if isinstance(node, dict):
        for key, each in node.items():
            found |= paths(each, f"{path}.{key}" if path else key)
    if isinstance(node, list):
        for number, each in enumerate(node):
            found |= paths(each, f"{path}[{number}]")
    return found


@given(st.data())
def test_everything_has_the_line_it_was_written_on(data: st.DataObject) -> None:
    writer = Writer(data.draw)
    writer.document(data.draw(TREES))
    parsed = tomllib.loads(writer.text)

    found = line_numbers(writer.text)

    assert set(writer.expected) == paths(parsed) - {""}
    assert dict(found) == writer.expected
