"""Write orchestrator/wheel/torch_shims.json: the functions of libtorch's stable ABI, by torch.

    python tools/torch_shims.py

It reads the headers of the stable ABI out of torch's wheels on the index, by ranges. A name
belongs to the first torch that declares it. Run it when there is a new torch.
"""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

from packaging.version import Version

from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.models.wheel_name import WheelName

if TYPE_CHECKING:
    from http.client import HTTPResponse

INDEX = f"{PUBLIC_INDEX}/torch/"
OUTPUT = Path(__file__).parents[1] / "orchestrator/wheel/torch_shims.json"

FIRST = Version("2.9")
"""The first torch that promises a stable ABI."""

_HEADER = re.compile(
    r"torch/include/torch/csrc/(stable/c|inductor/aoti_torch/(c|generated))/\w+\.h"
)
_COMMENT = re.compile(r"//.*")
_FUNCTION = re.compile(r"\b((?:aoti_torch|aoti_record|torch)_\w+)\s*\(")
_AHEAD = 1 << 16


def answer_to(url: str, method: str = "GET", **headers: str) -> HTTPResponse:
    """Ask the index."""
    asked = Request(url, headers=headers, method=method)  # noqa: S310 - https
    answer: HTTPResponse = urlopen(asked, timeout=120)  # noqa: S310
    return answer


class RemoteFile(io.RawIOBase):
    """A file on a server that answers requests for ranges."""

    def __init__(self, url: str) -> None:
        """Ask for its size."""
        self._url, self._at = url, 0
        self._read: tuple[int, bytes] = (0, b"")
        with answer_to(url, "HEAD") as answer:
            self._size = int(answer.headers["Content-Length"])

    def seekable(self) -> bool:
        """Return True."""
        return True

    def readable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return where the next bytes are read."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place."""
        self._at = (0, self._at, self._size)[whence] + offset
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, from what was read ahead if they are there."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        start, known = self._read
        if not start <= self._at <= end <= start + len(known):
            last = min(self._size, max(end, self._at + _AHEAD)) - 1
            with answer_to(self._url, Range=f"bytes={self._at}-{last}") as answer:
                self._read = start, known = self._at, answer.read()
        found = known[self._at - start : end - start]
        self._at = end
        return found


def declared(url: str) -> set[str]:
    """Return the functions that the headers of a torch wheel declare."""
    names: set[str] = set()
    with zipfile.ZipFile(RemoteFile(url)) as archive:
        for name in archive.namelist():
            if _HEADER.fullmatch(name):
                text = _COMMENT.sub("", archive.read(name).decode())
                names.update(_FUNCTION.findall(text))
    return names


def wheels() -> dict[Version, str]:
    """Return one wheel of the first release of each torch, oldest first."""
    with answer_to(INDEX, Accept="application/vnd.pypi.simple.v1+json") as answer:
        files: list[dict[str, Any]] = json.load(answer)["files"]
    found: dict[Version, str] = {}
    for file in files:
        name = WheelName.match(file["filename"])
        if name is None or name.version.micro or name.version < FIRST:
            continue
        if any(str(tag) == "cp312-cp312-manylinux_2_28_x86_64" for tag in name.tags):
            found[name.version] = file["url"]
    return dict(sorted(found.items()))


def main() -> int:
    """Write the table."""
    known: set[str] = set()
    table: dict[str, list[str]] = {}
    for version, url in wheels().items():
        new = declared(url) - known
        known |= new
        table[f"{version.major}.{version.minor}"] = sorted(new)
        print(f"torch {version}: {len(new)} more", file=sys.stderr)
    OUTPUT.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
