"""CPython's stable ABI (PEP 384, 652, 803): its names, and the first Python that has each.

The data is that of the package abi3info, which generates it from CPython's ``stable_abi.toml``. It
is passed in as text: it belongs to the locked toolchain, not to this program.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_KINDS = frozenset({"Function", "Data"})
_PREFIXES = ("Py", "_Py")


@lru_cache(maxsize=1)
def read(source: str) -> Mapping[str, int]:
    """Read abi3info's ``_internal.py``: name of a function or datum -> the 12 of Python 3.12.

    Raises:
        EnvironmentProblemError: it is not what abi3info ships.
    """
    try:
        found = dict(_entries(ast.parse(source)))
    except (SyntaxError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(repr(error)) from error
    if not found:
        raise _broken("it names no function")
    return MappingProxyType(found)


def _entries(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in _KINDS
        ):
            fields = {each.arg: each.value for each in node.keywords}
            name, added = _values(fields["symbol"]), _values(fields["added"])
            yield str(name["name"]), int(added["minor"])


def _values(call: ast.expr) -> dict[str, str | int]:
    """Return the keyword arguments of a call, as far as they are literals."""
    if not isinstance(call, ast.Call):
        raise TypeError(ast.dump(call))
    return {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}


def _broken(why: str) -> EnvironmentProblemError:
    return EnvironmentProblemError.of(
        f"abi3info's list of the stable ABI cannot be read: {why}",
        hint="the toolchain is broken: `orchestrator toolchain sync` repairs it",
    )


def is_python_name(symbol: str) -> bool:
    """Whether a symbol is named like Python's C API."""
    return symbol.startswith(_PREFIXES)
