"""Types that cannot hold what a stranger must not say: a path for a name, set-uid for a mode.

What comes from outside is a claim: a record of a shared store, a results.json, a plan, an index. It
becomes ours where it is read, by these types. Both ways lead through the same check: pydantic, when
a document is read, and the constructor, which raises ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from orchestrator.models.json_form import Length, Limits

if TYPE_CHECKING:
    from typing import Self

MOST_CELLS: Final = 4096
"""Cells that one target may stand for."""

LONGEST_NAME: Final = 255
"""Bytes of a file's name, as file systems allow it."""

LONGEST_PATH: Final = 1024
"""Bytes of a path below a root."""

LONGEST_VERSION: Final = 200
"""Characters of a version, which is a part of a file's name."""

_DRIVE = re.compile(r"[A-Za-z]:")


class CheckedText(str):
    """A text that was checked when it was made."""

    __slots__ = ()
    _LONGEST: ClassVar[int]

    def __new__(cls, text: str) -> Self:
        """Check a text; raises ValueError."""
        if flaw := cls._flaw(text):
            short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            raise ValueError(f"{short!r} {flaw}")
        return super().__new__(cls, text)

    @classmethod
    def match(cls, text: str) -> Self | None:
        """Return the checked text; None if it is not one."""
        return None if cls._flaw(text) else cls(text)

    @classmethod
    def _flaw(cls, text: str) -> str:
        raise NotImplementedError

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        del source, handler
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(max_length=cls._LONGEST)
        )


_SHOWN = 100


class RelativePath(CheckedText):
    """The path of something below a directory, with ``/``: ``include/kernel.h``.

    It is not empty, not absolute, has no drive, no backslash, no control character, and no part
    that is empty, ``.`` or ``..``. A part has at most `LONGEST_NAME` bytes, a path
    `LONGEST_PATH`. A symbolic link on the way may still lead elsewhere: do not follow one.
    """

    __slots__ = ()
    _LONGEST = LONGEST_PATH

    @classmethod
    def _flaw(cls, text: str) -> str:
        parts = text.split("/")
        if any(part in {"", ".", ".."} for part in parts) or _DRIVE.match(text):
            return "is not a path below a directory"
        if not text.isprintable() or "\\" in text:
            return "has a character that no path may have"
        flaws = (too_long(text, LONGEST_PATH), *(too_long(part, LONGEST_NAME) for part in parts))
        return next(filter(None, flaws), "")


class SdistFilename(CheckedText):
    """The name of an sdist (PEP 625): ``demo-1.0.tar.gz``."""

    __slots__ = ()
    _LONGEST = LONGEST_NAME

    @classmethod
    def _flaw(cls, text: str) -> str:
        return "" if _SDIST.fullmatch(text) else "is not the name of an sdist"


_SDIST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]*-[A-Za-z0-9.!+_]+\.tar\.gz", re.ASCII)


class FileMode(int):
    """The permission bits of a file: at most ``rwxr-xr-x``.

    Writing by others is dropped; anything beyond the nine bits (set-uid, sticky) is refused.
    """

    __slots__ = ()

    def __new__(cls, mode: int) -> Self:
        """Check permission bits; raises ValueError."""
        if not 0 <= mode <= 0o777:  # noqa: PLR2004 - all nine bits
            raise ValueError(f"{mode:#o} is not the mode of an ordinary file")
        return super().__new__(cls, mode & 0o755)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        del source, handler
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            cls, core_schema.int_schema(strict=True)
        )


@dataclass(frozen=True, slots=True)
class _VersionForm:
    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def _checked(self, text: str) -> str:
        if text and not _is_version(text):
            raise ValueError(f"{text[:_SHOWN]!r} is not a version (PEP 440)")
        return text


VersionText = Annotated[str, Length(LONGEST_VERSION), _VersionForm()]
"""A version (PEP 440) as written, or empty for none."""

Size = Annotated[int, Limits(le=1 << 50)]
"""Bytes of a file."""

BuildTag = Annotated[str, Length(LONGEST_VERSION, pattern=r"^([0-9][A-Za-z0-9_.+]*)?$")]
"""A build tag (PEP 427), or empty."""


@lru_cache(maxsize=4096)
def _is_version(text: str) -> bool:
    if len(text) > LONGEST_VERSION:
        return False
    from packaging.version import Version

    try:
        Version(text)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        return False
    return text.isascii() and text == text.strip()


def too_long(text: str, most: int) -> str:
    """Return why a text is no UTF-8 of so many bytes; empty if it is."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    return "" if size <= most else f"has {size} bytes; at most {most} are allowed"
