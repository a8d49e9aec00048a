"""A wheel's file name: PEP 427, and the label of a variant (PEP 825, a draft).

This is the only parser of these names. `packaging` decides about all but the label, which it does
not know, and about more characters than a file name of ours may have.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.errors import BadWheelError, clipped
from orchestrator.models.untrusted import LONGEST_NAME, LONGEST_VERSION, CheckedText, too_long

if TYPE_CHECKING:
    from packaging.tags import Tag
    from packaging.utils import NormalizedName
    from packaging.version import Version

NULL: Final = "null"
"""The label of the variant without properties, which every machine may install."""

MOST_TAGS: Final = 1024
"""Tags that a name may expand to."""

_PART = "[A-Za-z0-9_.!+]"
_FORM = re.compile(
    rf"(?P<distribution>[\w.]+)-(?P<version_text>{_PART}+)(?:-(?P<build>[0-9]{_PART}*))?"
    rf"-(?P<python>{_PART}+)-(?P<abi>{_PART}+)-(?P<platform>{_PART}+)(?:-(?P<label>{_PART}+))?\.whl"
)
"""None of its characters separates directories, or is a control character.

A part that begins with a digit before the tags is a build tag: no Python's tag begins so.
"""

LABEL = re.compile(r"[0-9a-z_.]{1,16}")
"""A variant's label (PEP 825)."""
_PLATFORM = re.compile(r"any|win32|(?:linux|win|macosx|ios|android)_\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelName:
    """A wheel's file name, as written and normalised.

    Attributes:
        distribution: name as written.
        version_text: version as written.
        build: build tag as written, or empty.
        python: python tags as written (``py2.py3``).
        abi: ABI tags as written.
        platform: platform tags as written.
        label: the variant's label, or empty for a wheel that is not a variant.
        name: the name, PEP 503 normalised.
        version: the version.
        tags: the expanded tags.
    """

    distribution: str
    version_text: str
    build: str
    python: str
    abi: str
    platform: str
    label: str
    name: NormalizedName
    version: Version
    tags: frozenset[Tag]

    @classmethod
    def parse(cls, filename: str) -> WheelName:
        """Parse a file name.

        Raises:
            BadWheelError: it is not the name of a wheel, or of more than `LONGEST_NAME` bytes.
        """
        from packaging.utils import parse_wheel_filename

        parts = _FORM.fullmatch(filename)
        if parts is None:
            what = "not NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM[-LABEL].whl"
            raise BadWheelError.of(what, where=clipped(filename))
        try:
            _check(filename, parts)
            plain = f"{filename[: parts.end('platform')]}.whl"
            name, version, _, tags = parse_wheel_filename(plain)
        except ValueError as error:
            raise BadWheelError.of(str(error), where=clipped(filename)) from error
        return cls(**parts.groupdict(default=""), name=name, version=version, tags=tags)

    @classmethod
    def match(cls, filename: str) -> WheelName | None:
        """Parse a file name; return None if it is not a wheel's: an sdist's, or something else."""
        try:
            return cls.parse(filename)
        except BadWheelError:
            return None

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platform tags, sorted."""
        return tuple(sorted({tag.platform for tag in self.tags}))

    def __str__(self) -> str:
        project = (self.distribution, self.version_text, self.build)
        tags = (self.python, self.abi, self.platform, self.label)
        return "-".join(filter(None, (*project, *tags))) + ".whl"


def _check(filename: str, parts: re.Match[str]) -> None:
    """Check what `packaging` does not: sizes, and the label."""
    if flaw := too_long(filename, LONGEST_NAME) or too_long(parts["version_text"], LONGEST_VERSION):
        raise ValueError(f"the name {flaw}")
    count = math.prod(parts[key].count(".") + 1 for key in ("python", "abi", "platform"))
    if count > MOST_TAGS:
        raise ValueError(f"it has {count} tags; at most {MOST_TAGS} are allowed")
    label = parts["label"]
    if label is None:
        return
    if parts["build"] is None and _PLATFORM.fullmatch(label):
        raise ValueError(f"the build tag {parts['python']!r} of the wheel begins with no digit")
    if not LABEL.fullmatch(label):
        raise ValueError(
            f"the variant label {label!r} of the wheel is not 1 to 16 of 0-9, a-z, '_' and '.'"
        )


class WheelFilename(CheckedText):
    """The bare name of a wheel file, as `WheelName` parses it; it leads to no other directory."""

    __slots__ = ()
    _LONGEST = LONGEST_NAME

    @classmethod
    def _flaw(cls, text: str) -> str:
        if WheelName.match(text) is not None:
            return ""
        return too_long(text, LONGEST_NAME) or "is not the name of a wheel file (PEP 427)"
