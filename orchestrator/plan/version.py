"""One version, composed once: sources x channel x variant -> PEP 440 version, PEP 427 build tag.

Pure: what the outside said about the declared sources is passed in, as `VersionContext`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from packaging.version import Version

from orchestrator.config import template
from orchestrator.config.presets import PRESETS
from orchestrator.config.sources import VersionSourceKind, parse, placeholder
from orchestrator.errors import ConfigError, clipped
from orchestrator.models.target import VersionAnswer, VersionPart, VersionQuestion
from orchestrator.plan.layers import overlay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import VersionParts
    from orchestrator.models.platforms import Arch

# PEP 427: a build number "must start with a digit"; a dash would end it in a file name.
_BUILD_TAG = re.compile(r"[0-9][A-Za-z0-9_.]*")
_LOCAL = re.compile(r"[a-z0-9]+(?:\.[a-z0-9]+)*")
# What separates the segments of a local part (PEP 440), outside of a template's braces.
_SEPARATOR = re.compile(r"[._-](?![^{}]*\})")
_NUMBER = re.compile(r"[0-9]+")
_PRE = re.compile(r"[-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?[0-9]*", re.IGNORECASE)

OWN = ("base", "pre", "post", "dev", "release")
"""Parts with a meaning of their own; all others are the user's."""

Layers: TypeAlias = "tuple[tuple[str, VersionParts], ...]"
"""Dotted path and content of every ``[version]`` that speaks about a cell, the strongest last."""

_SHORT = 20
"""Characters that an error shows of what a variable says."""

_FILES = frozenset(
    {VersionSourceKind.FILE, VersionSourceKind.CONTAINER_FILE, VersionSourceKind.ATTR}
)

_YES = frozenset({"true", "1", "yes", "on"})
_NO = frozenset({"false", "0", "no", "off", ""})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VersionContext:
    """All that planning may know of the outside.

    Attributes:
        project: the project's name, PEP 503 normalised; empty when only a build would tell.
        version: the source's static version, None when it has none.
        declared: the source in which the project says that its version stands; may be empty.
        preset: how its build learns a version that is read from git.
        requires_python: the specifier of Pythons that it supports; empty for all.
        answers: what each source said that was asked.
    """

    project: str = ""
    version: str | None = None
    declared: str = ""
    preset: str = ""
    requires_python: str = ""
    answers: Mapping[VersionQuestion, VersionAnswer] = field(default_factory=dict)


class UnansweredSource(Exception):  # noqa: N818 - not an error: somebody has to be asked first
    """Only somebody else knows a part that is needed, and nobody has asked yet."""

    def __init__(self, part: str, questions: tuple[VersionQuestion, ...]) -> None:
        super().__init__(part, questions)
        self.part = part
        self.questions = questions


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedVersion:
    """A composed version and its parts.

    Attributes:
        version: PEP 440 version, local part included; canonical unless ``keep-zeros`` is set.
        build_tag: PEP 427 build tag; may be empty.
        release: whether it is for a public index.
        parts: every part with where it came from, for the record.
        names: what templates may name. Naming a required part that no source knows raises
            `ConfigError`, one that nobody has been asked for `UnansweredSource`.
    """

    version: str
    build_tag: str
    release: bool
    parts: tuple[VersionPart, ...]
    names: _Names

    def renamed(self, names: Mapping[str, str]) -> ComposedVersion:
        """Return the same with other values of names, for templates."""
        return replace(self, names=self.names.changed(names))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergedVersionSettings:
    """The ``[version]`` tables of a cell, laid over each other.

    Attributes:
        where: field (``local``, ``parts.nv``) -> the dotted path that set it.
        declared: part -> its sources, the strongest first.
        asks_image: whether one of these sources is an image.
    """

    parts: VersionParts
    declared: Mapping[str, tuple[str, ...]]
    asks_image: bool
    where: Mapping[str, str]
    layers: Layers


def merge(layers: Layers) -> MergedVersionSettings:
    """Lay the layers over each other; tables inside them are merged key by key."""
    parts, where = overlay(layers, by_name=True)
    declared = {"base": (str(VersionSourceKind.PYPROJECT),), **_declared(parts)}
    return MergedVersionSettings(
        parts=parts,
        declared=declared,
        asks_image=any(parse(each).kind.in_container for each in chain(*declared.values())),
        where=where,
        layers=layers,
    )


def rankings(parts: VersionParts) -> Iterable[tuple[str, ...]]:
    """Return every ranked list of sources that a ``[version]`` declares."""
    return _declared(parts).values()


def _declared(parts: VersionParts) -> dict[str, tuple[str, ...]]:
    own = ((name, getattr(parts, name)) for name in OWN)
    return {name: ranking for name, ranking in own if ranking is not None} | parts.parts


def compose(
    tables: MergedVersionSettings,
    *,
    axes: Mapping[str, str],
    outside: VersionContext,
    image: str,
    arch: Arch,
) -> ComposedVersion:
    """Compose the version of one cell, for every channel and variant alike.

    Args:
        tables: the ``[version]`` tables that speak about the cell.
        axes: the cell's axis values.
        outside: what the sources said.
        image: the cell's image, which container sources are asked of.
        arch: the image's architecture.

    Raises:
        ConfigError: the outcome could never be a wheel's version or build tag.
        UnansweredSource: it needs what only setuptools-scm or the image knows.
    """
    place = (image, arch) if tables.asks_image else ("", None)
    return _composer(tables, outside, *place).compose(axes)


@lru_cache(maxsize=256)  # all cells with the same overrides have one
def _composer(
    tables: MergedVersionSettings, outside: VersionContext, image: str, arch: Arch | None
) -> _Composer:
    return _Composer(tables, outside, (image, arch))


class _Composer:
    """The way from sources to a version, for the cells with the same tables and answers."""

    def __init__(
        self,
        tables: MergedVersionSettings,
        outside: VersionContext,
        place: tuple[str, Arch | None],
    ) -> None:
        self._settings, self._where = tables.parts, tables.where
        self._outside = outside
        self._place = place
        self._parts = {name: self._resolve(name, each) for name, each in tables.declared.items()}
        self._told = tuple(each for each in self._parts.values() if isinstance(each, VersionPart))

    def compose(self, axes: Mapping[str, str]) -> ComposedVersion:
        names = _Names(axes, self._parts, self._where)
        release = self._release()
        base, public = self._public
        local = "" if release else self._local(base, names)
        version = f"{public['public']}+{local}" if local else public["public"]
        names |= {"version": version, "local": local, **public}
        names["build_tag"] = "" if release else self._build_tag(names)
        return ComposedVersion(
            version=version,
            build_tag=names["build_tag"],
            release=release,
            parts=self._record(names),
            names=names,
        )

    # parts and their sources

    def _resolve(
        self, name: str, ranking: tuple[str, ...]
    ) -> VersionPart | tuple[VersionQuestion, ...]:
        """Go down the ranking: the first source with a value wins, a ``const:`` also without."""
        answers: list[VersionAnswer] = []
        value, winner = "", ""
        ranking = tuple(each for source in ranking for each in self._meant(source))
        for index, source in enumerate(ranking):
            answer = self._ask(source)
            if answer is None and not winner:
                asked = self._question(source)
                rest = [self._question(s) for s in ranking[index:] if parse(s).kind.costly]
                return tuple(question for question in rest if question.image == asked.image)
            answer = answer or _not_asked(source)
            answers.append(answer)
            if answer.refused and not winner:
                break  # the next source is for where this one says nothing
            is_const = parse(source).kind is VersionSourceKind.CONST
            if not winner and (answer.value or is_const):
                value, winner = answer.value, source
        return VersionPart(name=name, value=value, source=winner, answers=tuple(answers))

    def _meant(self, source: str) -> tuple[str, ...]:
        """Return a source; ``pyproject`` is also where a dynamic version stands."""
        outside = self._outside
        is_dynamic = parse(source).kind is VersionSourceKind.PYPROJECT and not outside.version
        return (source, outside.declared) if is_dynamic and outside.declared else (source,)

    def _ask(self, source: str) -> VersionAnswer | None:
        """Return what a source said; None when it takes long to ask, and nobody has yet."""
        kind = parse(source).kind
        if kind is VersionSourceKind.CONST:
            return VersionAnswer(source=source, value=parse(source).argument)
        if kind is VersionSourceKind.PYPROJECT:
            note = "" if self._outside.version else "the project's version is dynamic"
            return VersionAnswer(source=source, value=self._outside.version or "", note=note)
        answer = self._outside.answers.get(self._question(source))
        if answer is None:
            return None if kind.costly else _not_asked(source)
        if placeholder(answer.value):
            note = f"{answer.value!r} is a placeholder"
            return VersionAnswer(source=source, value="", note=note)
        return answer

    def _question(self, source: str) -> VersionQuestion:
        image, arch = self._place if parse(source).kind.in_container else ("", None)
        return VersionQuestion(source=source, image=image, arch=arch)

    def _value(self, name: str) -> str | None:
        """Return a declared part's value, None for one that is not declared."""
        return self._part(name) if name in self._parts else None

    def _part(self, name: str) -> str:
        return _Names({}, self._parts, self._where)[name]

    # the version

    def _shown(self, text: str, *names: str) -> str:
        """Return a text that was made of parts, as an error may show it.

        What a file says is not shown, and neither is what is long: it may be a secret, until it is
        known to be a version.
        """
        parts = (self._parts.get(name) for name in names)
        sources = [part.source for part in parts if isinstance(part, VersionPart) and part.source]
        kinds = {parse(source).kind for source in sources}
        if not kinds & _FILES and (len(text) <= _SHORT or not any(kind.outside for kind in kinds)):
            return clipped(repr(text))
        return f"what {' and '.join(sources)} says"

    def _release(self) -> bool:
        part = self._parts.get("release")
        if part is None:
            return False
        if not isinstance(part, VersionPart):
            raise UnansweredSource("release", part)
        known = part.value.lower() in _YES | _NO
        if not known or any(answer.refused for answer in part.answers if not part.source):
            shown = self._shown(part.value, "release") if part.source else "what is set"
            answers = "; ".join(map(str, part.answers))
            what = f"{shown} is neither true nor false ({clipped(part.source or answers)})"
            raise ConfigError.of(what, where=self._where["release"])
        return part.value.lower() in _YES

    @cached_property
    def _public(self) -> tuple[Version, dict[str, str]]:
        """The base, and what templates may name of the public version that the parts make of it."""
        where = self._where.get("base", "version.base")
        text = self._part("base")
        base = _version(text, where=where, shown=self._shown(text, "base"))
        part = self._parts["base"]
        if base.local and isinstance(part, VersionPart) and part.source == VersionSourceKind.SCM:
            base = Version(base.public)  # the hash and the date of setuptools-scm
        text = f"{base.epoch}!" if base.epoch else ""
        text += ".".join(map(str, base.release))
        pre = self._value("pre")
        if pre and not _PRE.fullmatch(pre):
            what = f"{self._shown(pre, 'pre')} is not a pre-release part"
            raise ConfigError.of(what, where=self._where["pre"])
        text += pre if pre is not None else "".join(map(str, base.pre or ()))
        for name, own in (("post", base.post), ("dev", base.dev)):
            declared = self._value(name)
            number = declared if declared is not None else "" if own is None else str(own)
            if declared and not _NUMBER.fullmatch(declared):
                what = f"{self._shown(declared, name)} is not a number"
                raise ConfigError.of(what, where=self._where[name])
            text += f".{name}{number}" if number else ""
        return base, _public_names(base, _version(text, where=where, shown=clipped(repr(text))))

    def _local(self, base: Version, names: _Names) -> str:
        written = self._settings.local
        where = self._where.get("local", "version.local")
        if not written:
            return base.local or ""
        segments = _SEPARATOR.split(written)
        local = ".".join(filter(None, (self._fill(each, names) for each in segments))).lower()
        local = re.sub("[-_]", ".", local)
        if local and base.local:
            raise ConfigError.of(
                clipped(f"{str(base)!r} has a local part already, and {where} adds {local!r}"),
                where=self._where.get("base", "version.base"),
                hint="keep the base public",
            )
        if not local and "" not in segments:
            return base.local or ""
        if "" in segments or not _LOCAL.fullmatch(local):
            shown = self._shown(local, *template.names_in(written))
            raise ConfigError.of(
                f"{shown} is not a local part of a PEP 440 version",
                where=where,
                hint="letters and digits, separated by dots",
            )
        return local if self._settings.keep_zeros else _canonical(local)

    def _build_tag(self, names: _Names) -> str:
        tag = self._fill(self._settings.build_tag, names) if self._settings.build_tag else ""
        if tag and not _BUILD_TAG.fullmatch(tag):
            raise ConfigError.of(
                f"{self._shown(tag, *template.names_in(self._settings.build_tag))} is not a build "
                "tag",
                where=self._where["build-tag"],
                hint="PEP 427: it starts with a digit and has no dash",
            )
        return tag

    def _fill(self, text: str, names: _Names) -> str:
        """Fill in a piece of a template; nothing where something it names is empty or omitted."""
        omit = self._settings.omit
        try:
            omitted = (name for name in template.names_in(text) if name in omit)
            if any(names[name] in omit[name] for name in omitted):
                return ""
        except KeyError:  # an axis that this cell does not have
            return ""
        return render_or_nothing(text, names)

    def _record(self, names: Mapping[str, str]) -> tuple[VersionPart, ...]:
        record = list(self._told)
        for name in ("local", "build_tag"):
            if text := getattr(self._settings, name):
                own = name.replace("_", "-")
                record.append(VersionPart(name=own, value=names[name], source=text))
        return tuple(record)


def _public_names(base: Version, public: Version) -> dict[str, str]:
    pre = "".join(map(str, public.pre or ()))
    names = {"public": str(public), "base": base.public, "pre": pre}
    for name, number in (("post", public.post), ("dev", public.dev)):
        names[name] = "" if number is None else str(number)
    return names


def _not_asked(source: str) -> VersionAnswer:
    return VersionAnswer(source=source, value="", note="not asked")


_BASE_HINT = (
    'set version.base, for instance base = "1.2.3", base = "scm" (git tags), or base = "backend", '
    "which runs the project's build backend on this host when something is built"
)


class _Names(dict[str, str]):
    """What templates may name; a part that nobody names may be missing."""

    def __init__(
        self,
        axes: Mapping[str, str],
        parts: Mapping[str, VersionPart | tuple[VersionQuestion, ...]],
        where: Mapping[str, str],
    ) -> None:
        super().__init__(axes)
        self._parts = parts
        self._where = where

    def knows(self, name: str) -> bool:
        """Whether the cell has this name; its value may be empty or not known yet."""
        return name in self or name in self._parts

    def changed(self, values: Mapping[str, str]) -> _Names:
        """Return a copy with other values."""
        return _Names({**self, **values}, self._parts, self._where)

    def __missing__(self, name: str) -> str:
        part = self._parts[name]
        if not isinstance(part, VersionPart):
            raise UnansweredSource(name, part)
        if part.value or (part.source and name != "base"):
            return part.value
        where = self._where.get(name) or self._where.get(f"parts.{name}") or f"version.{name}"
        hint = 'add "const:" at the end of its sources if it may be empty'
        if name == "base":
            hint = _BASE_HINT
        answers = "; ".join(map(str, part.answers))
        what = f"no source knows {name!r}: {clipped(answers)}"
        raise ConfigError.of(what, where=where, hint=hint)


@lru_cache(maxsize=1024)  # all cells of a matrix have the same few
def _version(text: str, *, where: str, shown: str) -> Version:
    try:
        return Version(text)
    except ValueError:  # InvalidVersion, or more digits than Python makes a number of
        raise ConfigError.of(
            f"{shown} is not a PEP 440 version",
            where=where,
            hint="for instance 1.2.3, 2.0rc1 or 1!1.0.post1.dev3",
        ) from None


@lru_cache(maxsize=4096)  # one for each variant; the other axes repeat it
def _canonical(local: str) -> str:
    return Version(f"0+{local}").local or ""


def render_or_nothing(text: str, names: Mapping[str, str]) -> str:
    """Fill in a template; return nothing if something that it names is empty or not there.

    So ``+{local}`` never becomes ``+``, and no empty value replaces a better one of the image.
    """
    try:
        if not all(names[name] for name in template.names_in(text)):
            return ""
    except KeyError:  # an axis that this cell does not have
        return ""
    return template.render(text, names)


# what the build and the wheel are told


def version_variables(
    tables: MergedVersionSettings, composed: ComposedVersion, project: str, preset: str = ""
) -> Iterator[tuple[str, dict[str, str]]]:
    """Return what tells the build its version, layer by layer: origin, and variable -> value.

    An empty value means that the variable must not be set.

    Args:
        tables: the ``[version]`` tables that speak about the cell.
        composed: its version.
        project: the project's name; empty when it is not known.
        preset: the preset where the matrix names none; empty for none.
    """
    dist = re.sub(r"[-_.]+", "_", project).upper()
    presets = tables.parts.presets
    for name in filter(None, (preset,)) if presets is None else presets:
        known: dict[str, str] = {}
        for variable, text in PRESETS[name].items():
            if all(map(composed.names.knows, template.names_in(text))):
                own = variable.replace("{DIST}", dist)
                known[own if project else variable.removesuffix("_FOR_{DIST}")] = text
        where = tables.where.get("presets") or tables.where.get("base", "version.base")
        yield f"{where} ({name})", _render_all(known, composed)
    for path, parts in tables.layers:
        yield f"{path}.inject", _render_all(parts.inject, composed)


def _render_all(templates: Mapping[str, str], composed: ComposedVersion) -> dict[str, str]:
    return {name: render_or_nothing(text, composed.names) for name, text in templates.items()}


def pins(tables: MergedVersionSettings, composed: ComposedVersion) -> tuple[str, ...]:
    """Return the requirements (PEP 508) that the wheel has to state, sorted.

    Raises:
        ConfigError: one would be no requirement.
    """
    if not tables.parts.pins:
        return ()
    from packaging.requirements import Requirement  # noqa: PLC0415 - rare

    requirements = []
    for project, text in tables.parts.pins.items():
        specifier = render_or_nothing(text, composed.names)
        if not specifier:
            continue
        try:
            requirement = Requirement(f"{project}{specifier}")
            hash(requirement.specifier)  # versions are parsed late
        except ValueError:  # InvalidRequirement, or more digits than Python makes a number of
            requirement = None
        if requirement is None or not requirement.specifier or requirement.url:
            raise ConfigError.of(
                f"{clipped(repr(project + specifier))} is not a pinned requirement (PEP 508)",
                where=tables.where[f"pins.{project}"],
                hint='for instance "=={torch|majmin}.*"',
            )
        requirements.append(str(requirement))
    return tuple(sorted(requirements))


def origins(parts: Iterable[VersionPart]) -> Sequence[str]:
    """Say in lines where each part of a version came from, for logs."""
    lines = []
    for part in parts:
        lines.append(f"{part.name} = {part.value or '(empty)'}  # from {part.source or 'nothing'}")
        lines += [f"  {answer}" for answer in part.answers]
    return lines
