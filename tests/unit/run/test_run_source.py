"""What a run says about a source that is not what it was."""

from __future__ import annotations

import re

from orchestrator.config.load import load
from orchestrator.run.run_source import _changed
from orchestrator.source.fingerprint import SourceFingerprint
from orchestrator.source.stage import SourceFile
from tests.factories import FACTS, SOURCE


def files(**contents: str) -> tuple[SourceFile, ...]:
    return tuple(
        SourceFile(path=f"{name}.log", kind="file", sha256=text) for name, text in contents.items()
    )


def test_the_files_that_changed_are_named() -> None:
    earlier = SourceFingerprint(source=SOURCE, files=files(same="1", changed="1", gone="1"))

    error = _changed(earlier, files(same="1", changed="2", new="1", other="1"))

    assert "changed.log, gone.log, new.log and 1 more" in str(error)
    (line,) = re.findall(r"project.exclude = .*", error.hint)
    load(f'{line}\naxes.python = "3.12"\naxes.arch = "x86_64"'.encode(), facts=FACTS)


def test_only_the_time_of_the_last_commit_may_have_changed() -> None:
    earlier = SourceFingerprint(source=SOURCE, files=files(same="1"))

    assert "its last commit" in str(_changed(earlier, files(same="1")))
