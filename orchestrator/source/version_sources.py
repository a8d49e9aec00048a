"""Ask for versions: the environment, the source tree, and images."""

from __future__ import annotations

import datetime as dt
import json
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.sources import VersionSourceKind, parse, usable
from orchestrator.config.template import SHORT
from orchestrator.containers import engine as engines
from orchestrator.containers.images import Image, check_image, image_env, image_file
from orchestrator.containers.pinned_images import image_reference
from orchestrator.errors import (
    ConfigError,
    EnvironmentProblemError,
    ErrorKind,
    OrchestratorError,
    SourceError,
)
from orchestrator.fsutil import read_beneath
from orchestrator.host.process import TIMED_OUT, capture
from orchestrator.models.reading import toml_value
from orchestrator.models.target import VersionAnswer, VersionQuestion
from orchestrator.models.words import count_of
from orchestrator.provision.answers import Answers, once
from orchestrator.source import backend, git, scm
from orchestrator.source.declared import attribute
from orchestrator.source.locate import text_or_nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.config.sources import VersionSource
    from orchestrator.models.platforms import Arch
    from orchestrator.provision.host import Host

PULL_TIMEOUT = 1800.0

_MAX_FILE = 1 << 20
"""Bytes of the largest file that is read for a version."""

_CHEAP = {
    *(VersionSourceKind.ENV, VersionSourceKind.FILE, VersionSourceKind.GIT),
    VersionSourceKind.ATTR,
}
"""Sources that need neither the toolchain nor an engine."""

_LONGEST_LINE = 1000
"""Characters of a line in which a pattern is looked for."""

_NO_TREE = "the source is no directory, but an sdist"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSources:
    """The environment and the source tree.

    Attributes:
        root: the source's directory; None if the source is an sdist or a requirement.
        environ: this process's environment.
    """

    root: Path | None
    environ: Mapping[str, str]

    def answers(self, sources: Iterable[str]) -> dict[VersionQuestion, VersionAnswer]:
        """Ask those of the sources that answer at once."""
        return {
            VersionQuestion(source=text): _answer(text, *self._ask(parse(text)))
            for text in sources
            if parse(text).kind in _CHEAP
        }

    def scm(self, text: str, host: Host) -> VersionAnswer:
        """Ask setuptools-scm, which is part of the host's toolchain."""
        if self.root is None:
            return _answer(text, "", _NO_TREE)
        said = scm.ask(self.root, host)
        return _answer(text, said.stdout if said.ok else "", "" if said.ok else said.last_line)

    def backend(self, text: str, host: Host) -> VersionAnswer:
        """Ask the project's own build backend, which runs code of the project on this host."""
        if self.root is None:
            return _answer(text, "", _NO_TREE)
        said = backend.ask(self.root, host)
        return _answer(text, said.stdout if said.ok else "", "" if said.ok else said.last_line)

    def _ask(self, source: VersionSource) -> _Said:
        if source.kind is VersionSourceKind.ENV:
            return _variable(self.environ, source)
        if self.root is None:
            return "", _NO_TREE
        if source.kind is VersionSourceKind.GIT:
            return _git(source, self.root)
        if source.kind is VersionSourceKind.ATTR:
            module, _, name = source.argument.rpartition(".")
            value = attribute(partial(text_or_nothing, self.root), module, name)
            return value, f"no file of the source assigns a text to {source.argument}"
        try:
            content = read_beneath(self.root, source.argument, limit=_MAX_FILE).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            note = getattr(error, "strerror", None) or "not UTF-8"
            return "", f"{source.argument}: {note}"
        return _content(source, content)


_Said = tuple[str | None, str]
"""A value, and a note that counts only if there is none."""


def _answer(text: str, value: str | None, note: str) -> VersionAnswer:
    stripped = (value or "").strip()
    if not usable(stripped):
        note = f"its {count_of(len(stripped), 'character')} cannot be part of a version"
        return VersionAnswer(source=text, value="", note=note, refused=True)
    return VersionAnswer(source=text, value=stripped, note="" if stripped else note)


def _variable(environ: Mapping[str, str], source: VersionSource) -> _Said:
    value = environ.get(source.argument)
    return value, "not set" if value is None else "set, but empty"


def _git(source: VersionSource, root: Path) -> _Said:
    try:
        repository = git.find(root.resolve())
    except SourceError as error:
        return "", error.what
    if repository is None:
        return "", "not a git repository"
    said = repository.ask(root, "rev-list", "--max-count=1", "--timestamp", "HEAD", "--")
    if not said.ok:
        return "", said.last_line or "git does not answer"
    seconds, _, revision = said.stdout.strip().partition(" ")
    if source.argument == "date":
        try:
            return f"{dt.datetime.fromtimestamp(int(seconds), tz=dt.UTC):%Y%m%d}", ""
        except (ValueError, OverflowError, OSError):
            return "", "the last commit has a time that is no date"
    return revision[:SHORT], ""


def _content(source: VersionSource, content: str) -> _Said:
    """Return a file's first line, what a pattern finds, or the text at a path in JSON or TOML."""
    if source.pattern:
        return _found(source, content)
    if not source.keys:
        return next(iter(content.strip().splitlines()), ""), "empty"
    is_toml = source.argument.endswith(".toml")
    try:
        # Numbers as they are written: 12.10 is not 12.1. The size is bounded: `_MAX_FILE`
        value: Any = (
            toml_value(content, where=source.argument)
            if is_toml
            else json.loads(content, parse_float=str, parse_int=str)
        )
    except (ValueError, RecursionError, ConfigError):
        return "", f"{source.argument} is not {'TOML' if is_toml else 'JSON'}"
    for key in source.keys:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        return "", f"{source.argument} has no text at {'.'.join(source.keys)}"
    return value, "empty"


_SEARCH = f"""
import json, re, sys
pattern = re.compile(sys.argv[1])
group = pattern.groupindex.get("version") or pattern.groupindex.get("value") or 1
for line in open(sys.argv[2], encoding="utf-8").read().splitlines():
    if len(line) <= {_LONGEST_LINE} and (found := pattern.search(line)):
        print(json.dumps(found[group] or ""))
        break
"""
_SEARCH_TIMEOUT = 5.0
"""Seconds; some patterns take longer than anybody waits, and whoever sends a patch writes them."""


def _found(source: VersionSource, content: str) -> _Said:
    """Return what a pattern's group ``version`` or ``value`` holds, else its first one."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-") as folder:
        text = Path(folder, "text")
        text.write_text(content, encoding="utf-8")
        argv = (sys.executable, "-I", "-S", "-c", _SEARCH, source.pattern, str(text))
        said = capture(argv, timeout=_SEARCH_TIMEOUT)
    if said.returncode == TIMED_OUT:
        return "", f"{source.pattern} takes too long on {source.argument}"
    if not said.ok:
        return "", said.last_line
    if not said.stdout:
        return "", f"no line of {source.argument} is like {source.pattern}"
    return str(json.loads(said.stdout)), "empty"


@dataclass(kw_only=True, eq=False)
class ImageSources(Answers):
    """Sources inside images.

    Attributes:
        preference: auto, docker or podman.
        create_args: arguments of the matrix for the engine.
        pull: whether a missing image may be pulled.
        env: environment of the engine's client.
        host: opens the toolchain, which pins the images of cibuildwheel's names.
        log: gets the engine's output while it pulls.
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
        """Ask each image once; return the answers, and why an image could not be asked."""
        answers: dict[VersionQuestion, VersionAnswer] = {}
        errors: dict[str, OrchestratorError] = {}
        places: defaultdict[tuple[str, Arch], list[VersionQuestion]] = defaultdict(list)
        for question in dict.fromkeys(questions):
            if question.arch is not None:
                places[question.image, question.arch].append(question)
        for (image, arch), asked in places.items():
            try:
                answers |= self._image(image, arch, asked)
            except EnvironmentProblemError as error:
                errors[image] = error
        return answers, errors

    @property
    @once
    def _engine(self) -> engines.EngineStatus:
        return engines.choose(self.preference, env=self.env)

    def _image(
        self, image: str, arch: Arch, asked: Sequence[VersionQuestion]
    ) -> dict[VersionQuestion, VersionAnswer]:
        engine, reference = self._engine.name, image
        if not any(mark in image for mark in "/:@"):
            reference = image_reference(image, arch, self.host().toolchain)
        wanted = Image(engine, reference, arch, self.env)
        if self.pull:
            check_image(wanted, self.create_args, timeout=PULL_TIMEOUT, log=self.log)
        environ = image_env(wanted)
        if environ is None:
            raise EnvironmentProblemError.of(
                f"image {image} for {arch} is not on this machine",
                hint=f"`{engine} pull {reference}`, or build, which pulls it",
                kind=ErrorKind.NOT_FOUND,
            )
        answers = {}
        for question in asked:
            source = parse(question.source)
            if source.kind is VersionSourceKind.CONTAINER_ENV:
                value, note = _variable(environ, source)
                said = value, f"{note} in image {image}"
            else:
                file = image_file(wanted, source.argument)
                missing = f"in image {reference}: {file.last_line}"
                said = _content(source, file.stdout) if file.ok else ("", missing)
            answers[question] = _answer(question.source, *said)
        return answers
