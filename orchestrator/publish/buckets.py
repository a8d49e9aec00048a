"""Publish to a bucket: whoever writes ``NAME.whl.sha256`` first owns the name."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.publish.preflight import DestinationFiles, name_claimed, name_taken
from orchestrator.publish.storage import Bucket
from orchestrator.publish.upload import UploadBody, UploadError
from orchestrator.source.sdist import SDIST, package_info
from orchestrator.store.remote import public_url
from orchestrator.wheel import open_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchestrator.host.process import Cancel
    from orchestrator.publish.preflight import CandidateWheel

_HASH = re.compile(rb"([0-9a-f]{64})\b")


class BucketDestination:
    """A bucket as a destination; see `upload.UploadDestination`."""

    attests = False

    def __init__(self, url: str, cancel: Cancel, *, ca_bundle: Path | None) -> None:
        """Open the bucket; see `storage.Bucket`."""
        self.name = public_url(url)
        self._cancel = cancel
        self._bucket = Bucket(url, ca_bundle)

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """Read the wheels' hashes; a wheel without one is downloaded."""
        files: dict[str, str] = {}
        claims: dict[str, str] = {}
        with self._upload_errors():
            for wheel in wheels:
                name = wheel.filename
                size, claimed = self._bucket.size(name), self._claimed(name)
                if size is None:
                    claims |= {} if claimed is None else {name: claimed}
                elif claimed is None:
                    files[name] = self._bucket.sha256(name)
                else:
                    # The hash is ours but the size is not: the file is not what its hash says.
                    damaged = claimed == wheel.sha256 and size != wheel.size
                    files[name] = "" if damaged else claimed
        return DestinationFiles(files=files, begun=claims)

    def send(self, wheel: CandidateWheel) -> None:
        """Claim the name, then send the metadata and the wheel, in this order."""
        name = wheel.filename
        if name.endswith(SDIST):
            metadata = package_info(wheel.path)
        else:
            with open_wheel(wheel.path) as archive:
                metadata = archive.read(f"{archive.dist_info}/METADATA")
        with self._upload_errors():
            self._claim(wheel)
            self._bucket.write(f"{name}.metadata", metadata, forever=True)
            with wheel.path.open("rb") as stream:
                body: Any = UploadBody(stream, self._cancel)
                self._bucket.write(name, body, forever=True)

    def _claim(self, wheel: CandidateWheel) -> None:
        name = wheel.filename
        if self._bucket.swap(f"{name}.sha256", f"{wheel.sha256}  {name}\n".encode(), None):
            return
        theirs = self._claimed(name) or ""
        if theirs != wheel.sha256:
            refusal = name_claimed if self._bucket.size(name) is None else name_taken
            raise UploadError.of(refusal(wheel, theirs), kind=ErrorKind.NAME_TAKEN)

    def _claimed(self, name: str) -> str | None:
        """Return the hash in a wheel's ``.sha256``; empty if it is unreadable, None if missing."""
        there = self._bucket.read(f"{name}.sha256")
        if there is None:
            return None
        match = _HASH.match(there[0])
        return match[1].decode() if match else ""

    @contextmanager
    def _upload_errors(self) -> Iterator[None]:
        try:
            yield
        except EnvironmentProblemError as error:
            if self._cancel.is_set():
                raise UploadError.cancelled() from None
            raise UploadError.of(error.what, transient=error.transient) from None
