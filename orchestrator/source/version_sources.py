"""Asks the sources of a version: the environment, the source tree, and images."""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.sources import VersionSourceKind, parse
from orchestrator.config.template import SHORT
from orchestrator.containers import engine as engines
from orchestrator.containers.images import check_image, image_env, image_file
from orchestrator.containers.pinned_images import image_reference
from orchestrator.errors import EnvironmentProblemError, ErrorKind, OrchestratorError
from orchestrator.host import process
from orchestrator.models.target import VersionAnswer, VersionQuestion
from orchestrator.provision.answers import Answers, once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.config.sources import VersionSource
    from orchestrator.models.platforms import Arch
    from orchestrator.provision.host import Host

SCM_SCRIPT = Path(__file__).parent / "scripts" / "scm_version.py"

SCM_TIMEOUT = 120.0
PULL_TIMEOUT = 1800.0

_MAX_FILE = 1 << 20
"""Bytes of a file that is asked for a version; a larger one is something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSources:
    """The environment and the source tree.

    Attributes:
        root: the source's directory; None when the source is an sdist or a requirement.
        environ: this process's environment.
    """

    root: Path | None
    environ: Mapping[str, str]

    def answers(self, sources: Iterable[str]) -> dict[VersionQuestion, VersionAnswer]:
        """Ask all of these sources that take no more than a look."""
        asked = {text: parse(text) for text in sources}
        return {
            VersionQuestion(source=text): self._ask(text, source)
            for text, source in asked.items()
            if source.kind in {VersionSourceKind.ENV, VersionSourceKind.FILE, VersionSourceKind.GIT}
        }

    def scm(self, text: str, host: Host) -> VersionAnswer:
        """Ask setuptools-scm.

        Args:
            text: the source as written.
            host: has the toolchain that it is part of.
        """
        if self.root is None:
            return VersionAnswer(source=text, value="", note=_NO_TREE)
        said = process.capture(
            [str(host.toolchain.python), "-I", str(SCM_SCRIPT), str(self.root)],
            env=host.env | _TRUST,
            timeout=SCM_TIMEOUT,
        )
        note = "" if said.ok else said.last_line
        return VersionAnswer(source=text, value=said.stdout.strip() if said.ok else "", note=note)

    def _ask(self, text: str, source: VersionSource) -> VersionAnswer:
        if source.kind is VersionSourceKind.ENV:
            value = self.environ.get(source.argument)
            note = "not set" if value is None else "set, but empty"
            return _answer(text, value, note)
        if self.root is None:
            return VersionAnswer(source=text, value="", note=_NO_TREE)
        if source.kind is VersionSourceKind.FILE:
            return _read(text, source, self.root / source.argument)
        return _git(text, source, self.root)


_NO_TREE = "the source is no directory, but an sdist"

_TRUST = {
    # In a container or on CI the tree often belongs to another user, which git refuses to read.
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}


def _git(text: str, source: VersionSource, root: Path) -> VersionAnswer:
    words = ["git", "-c", "safe.directory=*", "-C", str(root), "log", "-1", "--format=%H %ct"]
    said = process.capture(words)
    if not said.ok:
        return VersionAnswer(source=text, value="", note=said.last_line or "git does not answer")
    revision, _, seconds = said.stdout.strip().partition(" ")
    if source.argument == "date":
        day = dt.datetime.fromtimestamp(int(seconds), tz=dt.UTC)
        return VersionAnswer(source=text, value=f"{day:%Y%m%d}")
    return VersionAnswer(source=text, value=revision[:SHORT])


def _read(text: str, source: VersionSource, path: Path) -> VersionAnswer:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_FILE).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        note = getattr(error, "strerror", None) or "not UTF-8"
        return VersionAnswer(source=text, value="", note=f"{source.argument}: {note}")
    return _content(text, source, content)


def _content(text: str, source: VersionSource, content: str) -> VersionAnswer:
    """Take the value out of a file: its first line, or what a path names in its JSON."""
    if not source.keys:
        lines = content.strip().splitlines()
        return _answer(text, lines[0] if lines else "", "empty")
    try:
        # Numbers as they are written: 12.10 is not 12.1.
        value: Any = json.loads(content, parse_float=str, parse_int=str)
    except ValueError:
        return VersionAnswer(source=text, value="", note=f"{source.argument} is not JSON")
    for key in source.keys:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        path = ".".join(source.keys)
        return VersionAnswer(source=text, value="", note=f"{source.argument} has no text at {path}")
    return _answer(text, value, "empty")


def _answer(text: str, value: str | None, note: str) -> VersionAnswer:
    """Return an answer, with the note only where there is no value."""
    stripped = (value or "").strip()
    return VersionAnswer(source=text, value=stripped, note="" if stripped else note)


@dataclass(kw_only=True, eq=False)
class ImageSources(Answers):
    """Sources inside images.

    Attributes:
        preference: auto, docker or podman.
        create_args: the matrix' own arguments for the engine.
        pull: whether an image that is not here may be pulled.
        env: environment of the engine's client.
        host: opens the toolchain, which pins the images of cibuildwheel's names.
        log: takes what the engine says while it pulls.
    """

    preference: engines.Preference
    create_args: tuple[str, ...]
    pull: bool
    env: Mapping[str, str]
    host: Callable[[], Host]
    log: Callable[[str], object]

    def answers(
        self, questions: Iterable[VersionQuestion]
    ) -> tuple[dict[VersionQuestion, VersionAnswer], dict[str, OrchestratorError]]:
        """Ask images; each is looked at once.

        Returns:
            The answers, and for each image that could not be asked the reason.
        """
        found: dict[VersionQuestion, VersionAnswer] = {}
        errors: dict[str, OrchestratorError] = {}
        places: defaultdict[tuple[str, Arch], list[VersionQuestion]] = defaultdict(list)
        for question in dict.fromkeys(questions):
            if question.arch is not None:
                places[question.image, question.arch].append(question)
        for (image, arch), asked in places.items():
            try:
                found |= self._image(self._engine.name, image, arch, asked)
            except EnvironmentProblemError as error:
                errors[image] = error
        return found, errors

    @property
    @once
    def _engine(self) -> engines.EngineStatus:
        return engines.choose(self.preference, env=self.env)

    def _image(
        self, engine: engines.EngineName, image: str, arch: Arch, asked: Sequence[VersionQuestion]
    ) -> dict[VersionQuestion, VersionAnswer]:
        reference = image
        if not any(mark in image for mark in "/:@"):
            reference = image_reference(image, arch, self.host().toolchain)
        if self.pull:
            check_image(
                *(engine, reference, arch, self.create_args),
                env=self.env,
                timeout=PULL_TIMEOUT,
                log=self.log,
            )
        environ = image_env(engine, reference, arch, env=self.env)
        if environ is None:
            raise EnvironmentProblemError.of(
                f"image {image} for {arch} is not on this machine",
                hint=f"`{engine} pull {reference}`, or build, which pulls it",
                kind=ErrorKind.NOT_FOUND,
            )
        said: dict[VersionQuestion, VersionAnswer] = {}
        for question in asked:
            source = parse(question.source)
            if source.kind is VersionSourceKind.CONTAINER_ENV:
                value = environ.get(source.argument)
                note = f"{'not set' if value is None else 'set, but empty'} in image {image}"
                answer = _answer(question.source, value, note)
            else:
                answer = self._file(engine, reference, arch, question.source)
            said[question] = answer
        return said

    def _file(self, engine: engines.EngineName, image: str, arch: Arch, text: str) -> VersionAnswer:
        source = parse(text)
        said = image_file(engine, image, arch, source.argument, env=self.env)
        if not said.ok:
            return VersionAnswer(source=text, value="", note=f"in image {image}: {said.last_line}")
        return _content(text, source, said.stdout)
