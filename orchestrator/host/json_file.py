"""A JSON document in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import ConfigError
from orchestrator.fsutil import read_file
from orchestrator.models.reading import LARGEST, read_json

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")


def load_json(kind: type[T], file: Path) -> T:
    """Return the value that a file's JSON document stands for.

    Raises:
        ConfigError: it cannot be read, is too large, or is no such value.
    """
    try:
        data = read_file(file, limit=LARGEST)
    except OSError as error:
        raise ConfigError.of(error.strerror or str(error), where=str(file)) from None
    return read_json(kind, data, where=str(file))
