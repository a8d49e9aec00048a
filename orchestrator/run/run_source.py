"""How a run reads its source: for its digest, and for the copy that everything is built from."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.errors import SourceError
from orchestrator.host.process import output_files
from orchestrator.run.inputs import caches
from orchestrator.source.fingerprint import identify
from orchestrator.source.stage import fetch_sdist, stage, tree_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchestrator.models.target import Source
    from orchestrator.provision.host import Host
    from orchestrator.run.inputs import Inputs
    from orchestrator.run.reproduce import RebuildRequest
    from orchestrator.source.fingerprint import SourceFingerprint
    from orchestrator.source.stage import SourceFile, StagedSource

FEW = 3
"""Files that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSource:
    """The source of a run.

    A build writes to directories that may lie inside the source. The host fetches a requirement,
    and is asked for nothing else. A rebuild demands an earlier source.
    """

    inputs: Inputs
    written: tuple[Path, ...]
    environ: Mapping[str, str]
    host: Callable[[], Host]
    again: RebuildRequest | None = None

    @property
    def _skip(self) -> tuple[Path, ...]:
        """What may lie inside the source without being a part of it."""
        inputs = self.inputs
        own = (inputs.matrix, *inputs.beside, *caches(self.environ), *output_files())
        return (*self.written, *own)

    def _fetch(self, requirement: str) -> Path:
        return fetch_sdist(requirement, host=self.host())

    def _demand(self, source: Source) -> Source:
        return source if self.again is None else self.again.source(source)

    def identify(self) -> SourceFingerprint:
        """Return what the source is, and its files; nothing is copied."""
        cache_dir, _ = caches(self.environ)
        fingerprint = identify(
            self.inputs.origin,
            fetch=self._fetch,
            skip=self._skip,
            cache_dir=cache_dir,
            environ=self.environ,
        )
        return replace(fingerprint, source=self._demand(fingerprint.source))

    def stage(self, dest: Path, identity: SourceFingerprint) -> StagedSource:
        """Copy the source.

        Raises:
            SourceError: it is not what `identify` found any more, as all keys have it.
        """
        staged = stage(self.inputs.origin, dest=dest, fetch=self._fetch, skip=self._skip)
        if self._demand(staged.source) != identity.source:
            raise _changed(identity, tree_files(staged.root))
        return staged


def _changed(identity: SourceFingerprint, files: Iterable[SourceFile]) -> SourceError:
    """Return the error that names the files which are not what they were."""
    names = sorted({file.path for file in {*identity.files} ^ {*files}})
    first, more = ", ".join(names[:FEW]), len(names) - FEW
    others = f" and {more} more" if more > 0 else ""
    return SourceError.of(
        f"the source changed while this run began: {first or 'its last commit'}{others}",
        where="project.source",
        hint="run the same command again; what is finished is kept. Files that something else "
        f"writes are no part of it with project.exclude = {json.dumps(names[:1] or ['build.log'])}",
    )
