"""Judge requirements (PEP 508) and addresses of package indexes in matrix.toml."""

from __future__ import annotations

from functools import lru_cache

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

EXAMPLE = 'for instance "torch==2.13.*"'
EXAMPLE_INDEX = 'for instance "https://host/simple"'


@lru_cache(maxsize=1024)  # every cell asks about the same few
def requirement_fault(text: str, *, is_constraint: bool = False) -> str:
    """Return what is wrong with a requirement; empty if nothing is."""
    try:
        found = Requirement(text)
        hash(found.specifier)  # versions are parsed late
    except ValueError as error:  # InvalidRequirement, or too many digits for a number of Python
        return f"{text!r} is not a requirement (PEP 508): {str(error).splitlines()[0]}"
    if is_constraint and found.extras:
        return f"{text!r}: a constraint cannot have extras"
    return ""


@lru_cache(maxsize=1024)
def requirement_name(text: str) -> str:
    """Return the normalised name of a requirement's distribution; empty if it is none."""
    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return ""


def index_fault(url: str) -> str:
    """Return what is wrong with the address of a package index; empty if nothing is."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"https", "http", "file"}:
        return "not an http(s) or file URL"
    if scheme == "file":
        return "" if rest.strip("/") else "the URL names no directory"
    return "" if rest.partition("/")[0].rpartition("@")[2] else "the URL names no host"
