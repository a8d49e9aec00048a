"""What the model alone cannot check in matrix.toml: names, values and templates that fit."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import chain
from typing import TYPE_CHECKING

from orchestrator.config import condition, template
from orchestrator.config.presets import PRESETS
from orchestrator.config.requirements import EXAMPLE, EXAMPLE_INDEX, index_fault, requirement_fault
from orchestrator.config.settings import (
    DERIVED,
    RESERVED_AXES,
    VERSION_NAMES,
    EnvValue,
    Settings,
    axis_name_ok,
    axis_value_ok,
    baseline_of,
    env_name_ok,
)
from orchestrator.config.unknown_keys import cibuildwheel_hint
from orchestrator.config.value_hints import for_shell, means_shell, value_hint
from orchestrator.errors import ConfigError, Problem, closest
from orchestrator.models import external_libraries
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.python_tag import ABI3, FIRST_ABI3T, PythonTag
from orchestrator.models.words import count_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from orchestrator.config.settings import (
        Axis,
        Build,
        CellSettings,
        Channel,
        Env,
        Include,
        LibrarySettings,
        Matrix,
        Rows,
        TestSettings,
        VariantSettings,
        VersionParts,
        When,
    )
    from orchestrator.models.target import CibuildwheelCatalog

OLDER = frozenset({"cp38", "cp313t"})
"""Pythons that the locked cibuildwheel no longer has, and that the direct backend builds for."""

_BUILT_IN = frozenset({"python", "libc", "arch"})
_EXAMPLE = {"python": 'python = ["cp312"]', "arch": 'arch = ["x86_64"]'}
_PLATFORMS = frozenset(f"{libc}_{arch}" for libc in Libc for arch in Arch)
_NEEDED = ("pyproject.toml", "setup.py", "setup.cfg")
_REPAIRS = ("none", "auditwheel")

_AXIS_NAME = "lower-case letters, digits and underscores"

_DISTRIBUTION = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9._*-]*[A-Za-z0-9*])?")
"""The name of a distribution, or a glob over such names."""

_ALLOWED = re.compile(r"(torch|cuda|rocm) \S+")
"""What `compat.allow` may say."""

_PROPERTY = re.compile(r"[a-z0-9_]+::[a-z0-9_]+::.+")
"""What a machine must have (PEP 825), before the value's template is filled in."""

_FIRST_STABLE_ABI = 2
"""The stable ABI came with Python 3.2 (PEP 384); a wheel for it may name one that nobody builds."""


def check(
    settings: Settings, facts: CibuildwheelCatalog, *, besides: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """Return everything that is wrong.

    Args:
        settings: the validated model.
        facts: what the locked builder knows, for the python axis.
        besides: other axes of the file, which were wrong and left out.
    """
    pythons = facts.pythons | OLDER
    newest = max(PythonTag.parse(python).minor for python in pythons)
    abi3 = {f"{ABI3}cp3{minor}" for minor in range(_FIRST_STABLE_ABI, newest + 1)}
    abi3 |= {f"{ABI3}cp3{minor}t" for minor in range(FIRST_ABI3T, newest + 1)}
    known = {"python": pythons | abi3, "arch": frozenset(Arch), "libc": frozenset(Libc)}
    checker = _Checker(settings, known)
    checker.check_file(besides)
    for name, channel in settings.channel.items():
        checker.check_channel(name, channel, besides)
    for name, library in settings.library.items():
        checker.check_library(name, library, besides)
    yield from checker.problems


def _missing_hint(name: str, axes: Collection[str]) -> str:
    import difflib  # noqa: PLC0415 - as in `closest`

    meant = difflib.get_close_matches(name, axes, n=1)
    other = f"; or is axes.{meant[0]} meant to be it?" if meant else ""
    return f"for instance {_EXAMPLE[name]}{other}"


@dataclass(slots=True)
class _Checker:
    """Collects problems; ``known`` has the values of the built-in axes."""

    settings: Settings
    known: Mapping[str, Collection[str]]
    problems: list[Problem] = field(default_factory=list)

    def report(self, what: str, where: str, hint: str = "") -> None:
        self.problems.append(Problem(what=what, where=where, hint=hint))

    # the tables

    def check_file(self, besides: frozenset[str]) -> None:
        settings = self.settings
        names = _names(settings) | besides
        for name in ("python", "arch"):
            if name not in names:
                self.report("is missing", f"axes.{name}", _missing_hint(name, settings.axes))
        for index, pattern in enumerate(settings.project.exclude):
            self.check_excluded(pattern, f"project.exclude[{index}]")
        self.check_axes(settings, names, "")
        self.check_matrix(settings, names, "")
        for index, include in enumerate(settings.include):
            self.check_include_says(include, besides, f"include[{index}]")
        for index, entry in enumerate(settings.compat.allow):
            if not _ALLOWED.fullmatch(entry):
                what = f"{entry!r} is not a version of torch, cuda or rocm"
                self.report(what, f"compat.allow[{index}]", 'for instance "cuda 13.4"')
        self.check_releases()
        if settings.variant is not None:
            self.check_variant(settings.variant, names)
        if not besides:  # else a value may be among those that were left out
            self.check_platforms()
            self.check_omitted()

    def check_variant(self, variant: VariantSettings, names: frozenset[str]) -> None:
        for key in ("axes", "omit"):
            for axis in sorted(getattr(variant, key).keys() - names):
                hint = closest(axis, names)
                self.report(f"unknown axis {axis!r}", f"variant.{key}.{axis}", hint)
        for axis, templates in variant.axes.items():
            for index, text in enumerate(templates):
                where = f"variant.axes.{axis}[{index}]"
                if not _PROPERTY.fullmatch(text):
                    hint = 'for instance "nvidia::cuda_version_lower_bound::{cuda}"'
                    self.report(f"{text!r} is not namespace::feature::value", where, hint)
                self.check_template(text, names, where)
        self.check_template(variant.label, names, "variant.label")
        self.check_template(variant.local, names, "variant.local")
        if variant.plain is not None:
            self.check_when(variant.plain, names, "variant.plain")

    def check_channel(self, name: str, channel: Channel, besides: frozenset[str]) -> None:
        prefix = f"channel.{name}."
        if not axis_value_ok(name):
            self.report(f"{name!r} cannot name a channel", prefix[:-1])
        names = _names(self.settings) | besides | _names(channel)
        self.check_axes(channel, names, prefix)
        self.check_matrix(channel, names, prefix)

    def check_library(self, name: str, library: LibrarySettings, besides: frozenset[str]) -> None:
        where = f"library.{name}"
        if not axis_value_ok(name):
            self.report(f"{name!r} cannot name a library", where)
        own = _names(library) | {"libc", "arch"}
        self.check_axes(library, own, f"{where}.")
        for index, include in enumerate(library.include):
            self.check_include(include, own, f"{where}.include[{index}]")
        if "python" in own:
            hint = "build what does as part of the wheel"
            self.report("a library does not depend on a Python", f"{where}.axes.python", hint)
        for index, rule in enumerate(library.exclude):
            self.check_when(rule.when, own, f"{where}.exclude[{index}].when")
        if library.when is not None:
            self.check_when(library.when, _names(self.settings) | besides, f"{where}.when")
        for index, other in enumerate(library.needs):
            if other not in self.settings.library:
                hint = closest(other, self.settings.library)
                self.report(f"unknown library {other!r}", f"{where}.needs[{index}]", hint)
        for index, pattern in enumerate(library.outputs):
            self.check_inside(pattern, f"{where}.outputs[{index}]")
        self.check_env(library.env, own, f"{where}.env")
        self.check_template(library.command, own | template.PASS_THROUGH, f"{where}.command")
        self.check_template(library.image, own, f"{where}.image")

    def check_matrix(self, part: Matrix, names: frozenset[str], prefix: str) -> None:
        """Check what the file itself and a channel have in common."""
        settings = self.settings
        with_torch = settings.compat.torch and "torch" in names
        axes = names | frozenset(DERIVED) if with_torch else names
        for index, include in enumerate(part.include):
            self.check_include(include, names, f"{prefix}include[{index}]")
        in_rules = names | {"cxx11abi"} if with_torch else names
        whens = [(f"exclude[{i}]", rule.when) for i, rule in enumerate(part.exclude)]
        whens += [(f"override[{i}]", rule.when) for i, rule in enumerate(part.override)]
        for place, when in whens:
            self.check_when(when, in_rules, f"{prefix}{place}.when")
        for key, image in part.images.items():
            where = f"{prefix}images.{key}"
            if not _is_platform(key):
                self.report(f"{key!r} is not a platform", where, closest(key, _PLATFORMS))
            self.check_template(image, axes, where)
        tables = (table for each in (settings, part) for table, _ in _layers(each, ""))
        own = axes | {name for table in tables for name in table.version.parts}
        for table, where in _layers(part, prefix):
            self.check_env(table.env, own | VERSION_NAMES, f"{where}env")
            self.check_steps(table.build, table.test, own | VERSION_NAMES, where)
            self.check_environment(table, own | VERSION_NAMES, where)
            self.check_version(table.version, axes, own, f"{where}version")
        for index, override in enumerate(part.override):
            self.check_template(override.image, axes, f"{prefix}override[{index}].image")

    # axes and their values

    def check_axes(
        self, part: Matrix | LibrarySettings, names: frozenset[str], prefix: str
    ) -> None:
        for name, axis in part.axes.items():
            where = f"{prefix}axes.{name}"
            self.check_axis_name(name, where)
            if name in _BUILT_IN:
                self.check_built_in(name, axis, where)
            elif axis.when is not None:
                self.check_when(axis.when, names - {name}, f"{where}.when")
            self.check_template(axis.label, names, f"{where}.label")
            self.check_values(name, axis.values or (), where)
        for number, rows in enumerate(part.rows):
            self.check_rows(rows, names, f"{prefix}rows[{number}]")

    def check_axis_name(self, name: str, where: str) -> None:
        if not axis_name_ok(name):
            reserved = " (reserved)" if name in RESERVED_AXES else ""
            what = f"{name!r} cannot name an axis{reserved}"
            self.report(what, where, "choose another name" if reserved else _AXIS_NAME)

    def check_built_in(self, name: str, axis: Axis, where: str) -> None:
        for key in ("label", "when", "label-only"):
            if key.replace("-", "_") in axis.model_fields_set:
                what = f"has no effect: every cell has {name}, and IDs show it as it is"
                self.report(what, f"{where}.{key}")

    def check_values(self, axis: str, values: Sequence[str], where: str) -> None:
        for index, value in enumerate(values):
            place = f"{where}[{index}]"
            known = self.known.get(axis, {value})
            if value not in known and not (axis == "libc" and baseline_of(value)):
                hint = value_hint(axis, value) or closest(value, known)
                self.report(f"unknown {axis} {value!r}", place, hint)
            elif not axis_value_ok(value):
                hint = "values become parts of target IDs: letters, digits and . _ + - only"
                self.report(f"{value!r} cannot be an axis value", place, hint)
            if value in values[:index]:
                self.report(f"{value!r} is there twice", place)

    def check_rows(self, rows: Rows, names: frozenset[str], where: str) -> None:
        for index, axis in enumerate(rows.axes):
            self.check_axis_name(axis, f"{where}.axes[{index}]")
            if axis in rows.axes[:index]:
                self.report(f"{axis!r} is there twice", f"{where}.axes[{index}]")
        if rows.when is not None:
            if always := sorted(_BUILT_IN & set(rows.axes)):
                hint = f"take {always[0]} out of these rows, or leave out cells with [[exclude]]"
                self.report(f"has no effect: every cell has {always[0]}", f"{where}.when", hint)
            else:
                self.check_when(rows.when, names - set(rows.axes), f"{where}.when")
        for index, row in enumerate(rows.values):
            place = f"{where}.values[{index}]"
            if len(row) != len(rows.axes):
                what = f"has {count_of(len(row), 'value')} for {len(rows.axes)} axes"
                self.report(what, place, f"one each for {', '.join(rows.axes)}")
                continue
            for column, (axis, values) in enumerate(zip(rows.axes, row, strict=True)):
                self.check_values(axis, values, f"{place}[{column}]")

    def check_include(self, include: Include, names: frozenset[str], where: str) -> None:
        for axis, values in include.items():
            if axis not in names:
                self.report(f"unknown axis {axis!r}", f"{where}.{axis}", closest(axis, names))
            self.check_values(axis, values, f"{where}.{axis}")

    def check_include_says(self, include: Include, besides: frozenset[str], where: str) -> None:
        """Check the file's includes early; `expand` finds the same in channels and libraries."""
        for axis in sorted(_BUILT_IN - include.keys() - besides):
            own = self.settings.axes.get(axis)
            if own is None or len(own.values or ("", "")) > 1:
                self.report(f"does not say which {axis}", where, "name a value, or several")

    def check_when(self, when: When, axes: frozenset[str], where: str) -> None:
        try:
            node = condition.from_when(when, where=where)
        except ConfigError as error:
            self.problems += error.problems
            return
        for axis in sorted(condition.axes_of(node) - axes):
            place = where if isinstance(when, str) else f"{where}.{axis}"
            self.report(f"unknown axis {axis!r}", place, closest(axis, axes))

    # what names a value that must be there

    def check_releases(self) -> None:
        """Check architectures: one with a typing error would never be looked up."""
        known = self.known["arch"]
        for index, release in enumerate(self.settings.compat.releases):
            places = [(f"cpu[{number}]", arch) for number, arch in enumerate(release.cpu)]
            for key in ("cuda", "rocm", "gpu-archs"):
                table = getattr(release, key.replace("-", "_"))
                places += [(f"{key}.{arch}", arch) for arch in table]
            for place, arch in places:
                if arch not in known:
                    where = f"compat.releases[{index}].{place}"
                    self.report(f"unknown arch {arch!r}", where, closest(arch, known))

    def check_excluded(self, pattern: str, where: str) -> None:
        self.check_inside(pattern, where)
        if taken := [name for name in _NEEDED if fnmatchcase(name, pattern)]:
            hint = "a build needs it: name other files, such as README.md or docs"
            self.report(f"excludes {taken[0]}", where, hint)

    def check_inside(self, path: str, where: str) -> None:
        if not path or path.startswith("/") or ".." in path.split("/"):
            self.report(f"{path!r} is outside the source", where)

    def check_platforms(self) -> None:
        """Check that images are for platforms of the matrix; others would silently do nothing."""
        libcs = _values_of(self.settings, "libc")
        libcs |= {str(libc) for libc in Libc for value in libcs if value.startswith(libc)}
        arches = _values_of(self.settings, "arch")
        platforms = {f"{libc}_{arch}" for libc in libcs for arch in arches}
        for part, prefix in _parts(self.settings):
            for key in sorted(part.images.keys() - platforms):
                if _is_platform(key):
                    what = f"has no effect: no cell is for {key}"
                    self.report(what, f"{prefix}images.{key}", closest(key, platforms))

    def check_omitted(self) -> None:
        """Check values to leave out: with a typing error, the default would get a suffix."""
        for part, prefix in _parts(self.settings):
            for table, where in _layers(part, prefix):
                self.check_omit(table.version.omit, f"{where}version.omit")
        if self.settings.variant is not None:
            self.check_omit(self.settings.variant.omit, "variant.omit")

    def check_omit(self, table: Mapping[str, Sequence[str]], where: str) -> None:
        for axis, omitted in table.items():
            known = _values_of(self.settings, axis)
            for value in omitted:
                if known and value not in known:
                    hint = closest(value, known)
                    self.report(f"no {axis} is {value!r}", f"{where}.{axis}", hint)

    # texts

    def check_template(self, text: str | None, names: frozenset[str], where: str) -> None:
        for name in sorted({*template.names_in(text or "")} & {*DERIVED} - names):
            hint = "it needs an axis torch, and a compat.torch that is not false"
            self.report(f"{name} comes from the torch table, which does not apply", where, hint)
            names |= {name}
        try:
            template.check(text or "", known=names, where=where)
        except ConfigError as error:
            self.problems += error.problems

    def check_env(self, env: Env | Mapping[str, str], names: frozenset[str], table: str) -> None:
        for name, value in env.items():
            text, where = value.shell if isinstance(value, EnvValue) else value, f"{table}.{name}"
            if not env_name_ok(name):
                self.report(f"{name!r} is not an environment variable name", where)
            elif name.startswith("CIBW_"):
                # It would reach the container, where cibuildwheel does not read it.
                hint = cibuildwheel_hint(name) or "it belongs in the project's [tool.cibuildwheel]"
                self.report(f"{name} has no effect inside the build", where, hint)
            elif not isinstance(value, EnvValue) and means_shell(name, text):
                shell = f"{name} = {{ shell = {json.dumps(for_shell(text))} }}"
                hint = f"{shell} evaluates it where the build runs"
                self.report("is literal here, and no shell evaluates it", where, hint)
            if "\0" in text:
                self.report("an environment variable cannot hold the character NUL", where)
            self.check_template(text, names, where)

    def check_steps(
        self, build: Build, test: TestSettings, names: frozenset[str], where: str
    ) -> None:
        in_commands = names | template.PASS_THROUGH
        self.check_template(build.before_all, in_commands, f"{where}build.before-all")
        self.check_template(build.before_build, in_commands, f"{where}build.before-build")
        self.check_template(build.repair, in_commands, f"{where}build.repair")
        self.check_template(test.command, in_commands, f"{where}test.command")
        for key, values in (build.config_settings or {}).items():
            for value in values:
                self.check_template(value, names, f"{where}build.config-settings.{key}")
        self.check_template(test.before, in_commands, f"{where}test.before")
        for key in ("requires", "extras", "groups", "sources"):
            for index, text in enumerate(getattr(test, key) or ()):
                self.check_template(text, names, f"{where}test.{key}[{index}]")
        for index, path in enumerate(test.sources or ()):
            self.check_inside(path, f"{where}test.sources[{index}]")
        if build.repair is not None:
            self.check_repair(build.repair, f"{where}build.repair")
        for index, name in enumerate(build.external or ()):
            self.check_external(name, f"{where}build.external[{index}]")

    def check_environment(self, part: CellSettings, names: frozenset[str], where: str) -> None:
        build = part.build
        for key in ("requires", "constraints"):
            for index, line in enumerate(getattr(build, key) or ()):
                self.check_requirement(line, names, f"{where}build.{key}[{index}]")
        for index, text in enumerate(build.frontend.args if build.frontend else ()):
            self.check_template(text, names, f"{where}build.frontend.args[{index}]")
        for axis in sorted((build.stable_abi or {}).keys()):
            self.check_stable_abi(axis, names, f"{where}build.stable-abi.{axis}")
        if build.torch_stable:
            place = f"{where}build.torch-stable"
            self.check_stable_abi("torch", names, place)
            if "torch" in (build.stable_abi or {}):
                hint = "keep one of them"
                self.report(f"{where}build.stable-abi.torch says it, too", place, hint)
        for name, url in part.indexes.items():
            place = f"{where}indexes.{name}"
            if not _DISTRIBUTION.fullmatch(name):
                hint = 'for instance torch, or "nvidia-*"'
                self.report(f"{name!r} is not the name of a distribution", place, hint)
            self.check_template(url, names, place)
            if url and not template.names_in(url) and (fault := index_fault(url)):
                self.report(fault, place, EXAMPLE_INDEX)

    def check_stable_abi(self, axis: str, names: frozenset[str], where: str) -> None:
        if axis in _BUILT_IN:
            hint = "build.abi3 is Python's stable ABI" if axis == "python" else ""
            self.report(f"{axis} has no stable ABI here", where, hint)
        elif axis not in names:
            self.report(f"unknown axis {axis!r}", where, closest(axis, names))

    def check_requirement(self, line: str, names: frozenset[str], where: str) -> None:
        """Check a requirement; one with placeholders is checked again when they are filled in."""
        self.check_template(line, names, where)
        is_constraint = where.partition("[")[0].endswith("constraints")
        fault = requirement_fault(line, is_constraint=is_constraint)
        if fault and not template.names_in(line):
            self.report(fault, where, EXAMPLE)

    def check_external(self, name: str, where: str) -> None:
        try:
            external_libraries.resolve([name], where=where)
        except ConfigError as error:
            self.problems += error.problems

    def check_repair(self, repair: str, where: str) -> None:
        is_word = re.fullmatch(r"[\w-]+", repair)
        if is_word and repair not in _REPAIRS:
            hint = closest(repair, _REPAIRS, "or a command with {wheel} and {dest_dir}")
            self.report(f"unknown repair {repair!r}", where, hint)
        elif not is_word and not ("{wheel}" in repair and "{dest_dir}" in repair):
            hint = "for instance 'auditwheel repair -w {dest_dir} {wheel}'"
            self.report("a repair command needs {wheel} and {dest_dir}", where, hint)

    def check_version(
        self, parts: VersionParts, axes: frozenset[str], names: frozenset[str], where: str
    ) -> None:
        for name in parts.parts:
            if not axis_name_ok(name) or name in axes:
                taken = name in axes or name in RESERVED_AXES
                why = "an axis has that name" if name in axes else "reserved, or not a name"
                what = f"{name!r} cannot name a part of the version ({why})"
                hint = "choose another name" if taken else _AXIS_NAME
                self.report(what, f"{where}.parts.{name}", hint)
        for name in sorted(parts.omit.keys() - names):
            what = f"{name!r} is neither an axis nor a part"
            self.report(what, f"{where}.omit.{name}", closest(name, names))
        for index, name in enumerate(parts.presets or ()):
            if name not in PRESETS:
                hint = closest(name, PRESETS.keys())
                self.report(f"unknown preset {name!r}", f"{where}.presets[{index}]", hint)
        self.check_template(parts.local, names, f"{where}.local")
        self.check_template(parts.build_tag, names, f"{where}.build-tag")
        self.check_env(parts.inject, names | VERSION_NAMES, f"{where}.inject")
        for name, text in parts.pins.items():
            self.check_template(text, names | VERSION_NAMES, f"{where}.pins.{name}")


def _names(part: Matrix | LibrarySettings) -> frozenset[str]:
    """Return the axes that templates and rules may name."""
    return frozenset(part.axes) | {axis for rows in part.rows for axis in rows.axes}


def _parts(settings: Settings) -> Iterator[tuple[Matrix, str]]:
    """Yield the file and its channels, each with the prefix of its paths."""
    yield settings, ""
    yield from ((channel, f"channel.{name}.") for name, channel in settings.channel.items())


def _layers(part: Matrix, prefix: str) -> Iterator[tuple[CellSettings, str]]:
    """Yield the file or a channel, and its overrides, each with the prefix of its paths."""
    yield part, prefix
    yield from ((rule, f"{prefix}override[{i}].") for i, rule in enumerate(part.override))


def _values_of(settings: Settings, axis: str) -> set[str]:
    """Return every value that an axis has anywhere in the file."""
    found: set[str] = set()
    for part, _ in _parts(settings):
        if axis in part.axes:
            found.update(part.axes[axis].values or ())
        found.update(chain(*(include.get(axis, ()) for include in part.include)))
        for rows in part.rows:
            for row in rows.values:
                # A row of another length is reported elsewhere.
                found.update(*(v for name, v in zip(rows.axes, row, strict=False) if name == axis))
    return found


def _is_platform(key: str) -> bool:
    """Whether this is a platform such as ``musllinux_x86_64`` or ``manylinux_2_28_x86_64``."""
    baselines = (key.removesuffix(f"_{arch}") for arch in Arch if key.endswith(f"_{arch}"))
    return key in _PLATFORMS or any(map(baseline_of, baselines))
