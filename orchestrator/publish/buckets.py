"""A bucket as a destination: who writes ``NAME.whl.sha256`` first owns the name."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ErrorKind
from orchestrator.publish.preflight import DestinationFiles, another, begun
from orchestrator.publish.storage import connected, described
from orchestrator.publish.upload import (
    UploadBody,
    UploadError,
)
from orchestrator.store.remote import said, shown
from orchestrator.wheel import open_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from obstore.store import ObjectStore

    from orchestrator.host.process import Cancel
    from orchestrator.publish.preflight import CandidateWheel

CHUNK = 8 << 20
"""Bytes of a part: the 10,000 parts of an upload have room for the largest wheel there is."""

PARTS = 4
"""Parts of a wheel that are on their way at once."""

_HASH = re.compile(rb"([0-9a-f]{64})\b")


class BucketDestination:
    """A bucket as a destination; see `upload.Place`."""

    attests = False

    def __init__(self, url: str, cancel: Cancel, *, ca_bundle: Path | None) -> None:
        """Open it; nothing is asked yet.

        Args:
            url: ``s3://bucket/prefix``; credentials come from the environment.
            cancel: ends what is being sent.
            ca_bundle: PEM file of certificate authorities that are trusted as well.

        Raises:
            EnvironmentProblemError: obstore is not installed, or refuses the settings.
        """
        self.name = shown(url)
        self._cancel = cancel
        self._store: ObjectStore = connected(url, ca_bundle)
        import obstore  # noqa: PLC0415 - an extra, which `connected` has found
        from obstore import exceptions  # noqa: PLC0415

        self._obstore = obstore
        self._errors = exceptions

    def survey(self, wheels: Sequence[CandidateWheel]) -> DestinationFiles:
        """Look at the wheels' hashes; a wheel without one is downloaded."""
        files: dict[str, str] = {}
        claims: dict[str, str] = {}
        with self._reported():
            for each in wheels:
                size, claimed = self._size(each.filename), self._claimed(each.filename)
                if size is None:
                    claims |= {} if claimed is None else {each.filename: claimed}
                elif claimed is None:
                    files[each.filename] = self._downloaded(each.filename)
                else:
                    # Ours by its hash, and of another size: not what it says.
                    ours = claimed == each.sha256
                    files[each.filename] = "" if ours and size != each.size else claimed
        return DestinationFiles(files=files, begun=claims)

    def _downloaded(self, name: str) -> str:
        digest = hashlib.sha256()
        for chunk in self._obstore.get(self._store, name).stream(min_chunk_size=CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def send(self, wheel: CandidateWheel) -> None:
        """Claim the name, then send what has it; the metadata first, for who sees the wheel."""
        name = wheel.filename
        with open_wheel(wheel.path) as archive:
            metadata = archive.read(f"{archive.dist_info}/METADATA")
        with self._reported():
            self._claim(wheel)
            self._put(f"{name}.metadata", metadata)
            with wheel.path.open("rb") as stream:
                body: Any = UploadBody(stream, self._cancel)
                self._put(name, body)

    def _claim(self, wheel: CandidateWheel) -> None:
        text = f"{wheel.sha256}  {wheel.filename}\n".encode()
        name = f"{wheel.filename}.sha256"
        try:
            self._obstore.put(self._store, name, text, attributes=described(name), mode="create")
        except self._errors.AlreadyExistsError:
            theirs = self._claimed(wheel.filename) or ""
            if theirs == wheel.sha256:
                return
            arrived = self._size(wheel.filename) is not None
            refusal = another if arrived else begun
            raise UploadError.of(refusal(wheel, theirs), kind=ErrorKind.NAME_TAKEN) from None

    def _put(self, name: str, content: Any) -> None:
        self._obstore.put(
            self._store,
            name,
            content,
            attributes=described(name, forever=True),
            chunk_size=CHUNK,
            max_concurrency=PARTS,
        )

    def _size(self, name: str) -> int | None:
        with suppress(FileNotFoundError, self._errors.NotFoundError):
            return int(self._obstore.head(self._store, name)["size"])
        return None

    def _claimed(self, name: str) -> str | None:
        with suppress(FileNotFoundError, self._errors.NotFoundError):
            data = bytes(self._obstore.get(self._store, f"{name}.sha256").bytes())
            found = _HASH.match(data)
            return found[1].decode() if found else ""
        return None

    @contextmanager
    def _reported(self) -> Iterator[None]:
        lasting = (
            self._errors.PermissionDeniedError,
            self._errors.UnauthenticatedError,
            self._errors.NotFoundError,
            self._errors.InvalidPathError,
            self._errors.UnknownConfigurationKeyError,
            FileNotFoundError,
        )
        try:
            yield
        except lasting as error:
            raise UploadError.of(f"the bucket answers: {said(error)}") from None
        except (self._errors.BaseError, OSError) as error:
            if self._cancel.is_set():
                raise UploadError.cancelled() from None
            raise UploadError.of(f"the bucket answers: {said(error)}", transient=True) from None
