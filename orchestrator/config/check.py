"""What the model alone cannot know about matrix.toml: names, values and templates that fit."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.config import condition, template
from orchestrator.config.presets import PRESETS
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
    known_values,
)
from orchestrator.config.spelling import closest
from orchestrator.errors import ConfigError, Problem
from orchestrator.models.platforms import Arch, Libc

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orchestrator.config.settings import (
        Axis,
        Build,
        Env,
        Include,
        LibrarySettings,
        Matrix,
        Rows,
        TestSettings,
        VersionParts,
        When,
    )
    from orchestrator.models.target import CibuildwheelCatalog

OLDER = frozenset({"cp38", "cp313t"})
"""Pythons that the locked cibuildwheel has given up, and the direct backend builds for."""


def check(
    settings: Settings, facts: CibuildwheelCatalog, *, besides: frozenset[str] = frozenset()
) -> Iterator[Problem]:
    """Return everything that is wrong.

    Args:
        settings: the validated model.
        facts: what the locked builder knows, for the python axis.
        besides: axes that the file has as well, wrong ones that were left out.
    """
    names = _names(settings.axes, settings.rows) | besides
    for name in ("python", "arch"):
        if name not in names:
            yield Problem(
                what="is missing", where=f"axes.{name}", hint=f"for instance {_EXAMPLE[name]}"
            )
    values = _Values(facts)
    yield from _check_axes(settings.axes, names, values, "")
    yield from _check_rows(settings.rows, names, values, "")
    yield from _check_tables(settings, settings, names, values, "")
    yield from _check_includes(settings, besides)
    yield from _check_allow(settings)
    yield from _check_releases(settings)
    if not besides:
        yield from _check_platforms(settings)
        yield from _check_omitted(settings)
    for channel, own in settings.channel.items():
        prefix = f"channel.{channel}."
        if not axis_value_ok(channel):
            yield Problem(what=f"{channel!r} cannot name a channel", where=prefix[:-1])
        here = names | _names(own.axes, own.rows)
        yield from _check_axes(own.axes, here, values, prefix)
        yield from _check_rows(own.rows, here, values, prefix)
        yield from _check_tables(settings, own, here, values, prefix)
    for library, build in settings.library.items():
        yield from _check_library(settings, library, build, values, names)


def _names(axes: Mapping[str, Axis], rows: Iterable[Rows]) -> frozenset[str]:
    """The axes that templates and rules may name."""
    return frozenset(axes) | {axis for each in rows for axis in each.axes}


def _check_tables(
    settings: Settings, part: Matrix, names: frozenset[str], values: _Values, prefix: str
) -> Iterator[Problem]:
    """What the file itself and a channel have in common."""
    derived = DERIVED if settings.compat.torch and "torch" in names else ()
    named = names | {"cxx11abi"} if derived else names
    for index, include in enumerate(part.include):
        yield from _check_include(include, names, values, f"{prefix}include[{index}]")
    rules = [(f"{prefix}exclude[{i}]", rule.when) for i, rule in enumerate(part.exclude)]
    rules += [(f"{prefix}override[{i}]", rule.when) for i, rule in enumerate(part.override)]
    for where, when in rules:
        yield from _check_when(when, named, f"{where}.when")
    yield from _check_images(part.images, names | frozenset(derived), f"{prefix}images")
    shared = {name for each in (settings, part) for name in _version_parts(each)}
    yield from _check_templates(part, names | frozenset(derived), shared, prefix)


def _version_parts(part: Matrix) -> set[str]:
    """The names that its ``[version]`` tables give to parts of their own."""
    tables = (part.version, *(rule.version for rule in part.override))
    return {name for each in tables for name in each.parts}


_BUILT_IN = frozenset({"python", "libc", "arch"})


def _check_axes(
    axes: Mapping[str, Axis], names: frozenset[str], values: _Values, prefix: str
) -> Iterator[Problem]:
    for name, axis in axes.items():
        where = f"{prefix}axes.{name}"
        yield from _check_axis_name(name, where)
        if name in _BUILT_IN:
            for key, value in (("label", axis.label), ("when", axis.when)):
                if value is not None:
                    yield Problem(
                        what=f"has no effect: every cell has {name}, and IDs show it as it is",
                        where=f"{where}.{key}",
                    )
        elif axis.when is not None:
            yield from _check_presence(axis.when, {name}, names, f"{where}.when")
        if axis.label is not None:
            yield from _checked(axis.label, names, f"{where}.label")
        yield from values.check(name, axis.values or (), where)


def _check_presence(
    when: When, own: Collection[str], names: frozenset[str], where: str
) -> Iterator[Problem]:
    """Which cells have an axis cannot depend on its own value."""
    yield from _check_when(when, names - frozenset(own), where)


def _check_axis_name(name: str, where: str) -> Iterator[Problem]:
    if not axis_name_ok(name):
        reserved = " (reserved)" if name in RESERVED_AXES else ""
        yield Problem(
            what=f"{name!r} cannot name an axis{reserved}",
            where=where,
            hint="lower-case letters, digits and underscores",
        )


_EXAMPLE = {"python": 'python = ["cp312"]', "arch": 'arch = ["x86_64"]'}


class _Values:
    """Which values the built-in axes may have."""

    def __init__(self, facts: CibuildwheelCatalog) -> None:
        pythons = facts.pythons | OLDER
        abi3 = {f"abi3-{each}" for each in pythons if re.fullmatch(r"cp3\d+", each)}
        self._known = {**known_values(), "python": pythons | abi3}

    def check(self, axis: str, values: Sequence[str], where: str) -> Iterator[Problem]:
        for index, value in enumerate(values):
            yield from self.check_one(axis, value, f"{where}[{index}]")
            if value in values[:index]:
                yield Problem(what=f"{value!r} is there twice", where=f"{where}[{index}]")

    def check_one(self, axis: str, value: str, where: str) -> Iterator[Problem]:
        known = self._known.get(axis)
        baseline = axis == "libc" and baseline_of(value)
        if known is not None and value not in known and not baseline:
            yield Problem(what=f"unknown {axis} {value!r}", where=where, hint=closest(value, known))
        elif not axis_value_ok(value):
            yield Problem(
                what=f"{value!r} cannot be an axis value",
                where=where,
                hint="values become parts of target IDs: letters, digits and . _ + - only",
            )


def _check_rows(
    rows: Sequence[Rows], names: frozenset[str], values: _Values, prefix: str
) -> Iterator[Problem]:
    for number, each in enumerate(rows):
        where = f"{prefix}rows[{number}]"
        for index, axis in enumerate(each.axes):
            yield from _check_axis_name(axis, f"{where}.axes[{index}]")
            if axis in each.axes[:index]:
                yield Problem(what=f"{axis!r} is there twice", where=f"{where}.axes[{index}]")
        always = sorted(_BUILT_IN & set(each.axes))
        if each.when is not None and always:
            yield Problem(
                what=f"has no effect: every cell has {always[0]}",
                where=f"{where}.when",
                hint=f"take {always[0]} out of these rows, or leave out cells with [[exclude]]",
            )
        elif each.when is not None:
            yield from _check_presence(each.when, each.axes, names, f"{where}.when")
        for index, row in enumerate(each.values):
            place = f"{where}.values[{index}]"
            if len(row) != len(each.axes):
                yield Problem(
                    what=f"has {len(row)} values for {len(each.axes)} axes",
                    where=place,
                    hint=f"one each for {', '.join(each.axes)}",
                )
                continue
            for column, (axis, chosen) in enumerate(zip(each.axes, row, strict=True)):
                yield from values.check(axis, chosen, f"{place}[{column}]")


def _check_include(
    include: Include, names: frozenset[str], values: _Values, where: str
) -> Iterator[Problem]:
    for axis, chosen in include.items():
        if axis not in names:
            yield Problem(
                what=f"unknown axis {axis!r}", where=f"{where}.{axis}", hint=closest(axis, names)
            )
        yield from values.check(axis, chosen, f"{where}.{axis}")


def _check_includes(settings: Settings, besides: Collection[str]) -> Iterator[Problem]:
    """With the rest of the file; in channels and libraries `expand` finds the same later."""
    for index, include in enumerate(settings.include):
        for axis in sorted(_BUILT_IN - include.keys() - set(besides)):
            own = settings.axes.get(axis)
            if own is None or own.values is None or len(own.values) > 1:
                yield Problem(
                    what=f"does not say which {axis}",
                    where=f"include[{index}]",
                    hint="name a value, or several",
                )


def _check_allow(settings: Settings) -> Iterator[Problem]:
    for index, entry in enumerate(settings.compat.allow):
        if not _ALLOWED.fullmatch(entry):
            yield Problem(
                what=f"{entry!r} is no version of torch, cuda or rocm",
                where=f"compat.allow[{index}]",
                hint='for instance "cuda 13.4"',
            )


def _check_releases(settings: Settings) -> Iterator[Problem]:
    """An architecture that is spelled wrong would never be looked up."""
    known = frozenset(map(str, Arch))
    for index, each in enumerate(settings.compat.releases):
        places = [(f"cpu[{number}]", arch) for number, arch in enumerate(each.cpu)]
        places += [(f"cuda.{arch}", arch) for arch in each.cuda]
        places += [(f"rocm.{arch}", arch) for arch in each.rocm]
        places += [(f"gpu-archs.{arch}", arch) for arch in each.gpu_archs]
        for place, arch in places:
            if arch not in known:
                yield Problem(
                    what=f"unknown arch {arch!r}",
                    where=f"compat.releases[{index}].{place}",
                    hint=closest(arch, known),
                )


_ALLOWED = re.compile(r"(torch|cuda|rocm) \S+")
"""What `compat.allow` may say."""


def _check_when(
    when: str | Mapping[str, bool | Sequence[str]], axes: frozenset[str], where: str
) -> Iterator[Problem]:
    try:
        node = condition.from_when(when, where=where)
    except ConfigError as error:
        yield from error.problems
        return
    for axis in sorted(condition.axes_of(node) - axes):
        yield Problem(
            what=f"unknown axis {axis!r}",
            where=where if isinstance(when, str) else f"{where}.{axis}",
            hint=closest(axis, axes),
        )


def _check_images(
    images: Mapping[str, str], names: frozenset[str], where: str
) -> Iterator[Problem]:
    for key, image in images.items():
        if key not in _PLATFORMS and not _platform(key):
            yield Problem(
                what=f"{key!r} is no platform",
                where=f"{where}.{key}",
                hint=closest(key, _PLATFORMS),
            )
        yield from _checked(image, names, f"{where}.{key}")


_PLATFORMS = frozenset(f"{libc}_{arch}" for libc in Libc for arch in Arch)


def _platform(key: str) -> bool:
    """``manylinux_2_28_x86_64``."""
    return any(
        key.endswith(f"_{arch}") and baseline_of(key.removesuffix(f"_{arch}")) for arch in Arch
    )


def _values_of(settings: Settings, axis: str) -> set[str]:
    """Every value that an axis has anywhere in the file."""
    found: set[str] = set()
    channels = settings.channel.values()
    for axes in (settings.axes, *(each.axes for each in channels)):
        found.update(axes[axis].values or () if axis in axes else ())
    for part in (settings, *channels):
        found.update(v for include in part.include for v in include.get(axis, ()))
        for rows in part.rows:
            columns = [i for i, name in enumerate(rows.axes) if name == axis]
            found.update(v for row in rows.values for i in columns for v in row[i : i + 1][0])
    return found


def _check_omitted(settings: Settings) -> Iterator[Problem]:
    """A value to leave out that no cell has: the default would get a suffix after all."""
    tables = [("", settings), *((f"channel.{n}.", c) for n, c in settings.channel.items())]
    for prefix, part in tables:
        places = [(f"{prefix}version", part.version)]
        for index, rule in enumerate(part.override):
            places.append((f"{prefix}override[{index}].version", rule.version))
        for where, parts in places:
            for axis, omitted in parts.omit.items():
                known = _values_of(settings, axis)
                for value in omitted:
                    if known and value not in known:
                        yield Problem(
                            what=f"no {axis} is {value!r}",
                            where=f"{where}.omit.{axis}",
                            hint=closest(value, known),
                        )


def _check_platforms(settings: Settings) -> Iterator[Problem]:
    """An image for a platform that no cell has would silently do nothing."""
    found: dict[str, set[str]] = {"libc": set(), "arch": set()}
    for axis, values in found.items():
        values.update(_values_of(settings, axis))
    libcs = found["libc"] | {
        str(each) for each in Libc for v in found["libc"] if v.startswith(each)
    }
    platforms = {f"{libc}_{arch}" for libc in libcs for arch in found["arch"]}
    tables = {"images": settings.images}
    tables |= {f"channel.{name}.images": each.images for name, each in settings.channel.items()}
    for where, images in tables.items():
        for key in sorted(images.keys() - platforms):
            if _platform(key) or key in _PLATFORMS:
                yield Problem(
                    what=f"has no effect: no cell is for {key}",
                    where=f"{where}.{key}",
                    hint=closest(key, platforms),
                )


def _check_library(
    settings: Settings, name: str, library: LibrarySettings, values: _Values, around: frozenset[str]
) -> Iterator[Problem]:
    where = f"library.{name}"
    prefix = f"{where}."
    if not axis_value_ok(name):
        yield Problem(what=f"{name!r} cannot name a library", where=where)
    own = _names(library.axes, library.rows) | {"libc", "arch"}
    yield from _check_axes(library.axes, own, values, prefix)
    yield from _check_rows(library.rows, own, values, prefix)
    for index, include in enumerate(library.include):
        yield from _check_include(include, own, values, f"{prefix}include[{index}]")
    if "python" in own:
        yield Problem(
            what="a library does not depend on a Python",
            where=f"{where}.axes.python",
            hint="what does is a part of the wheel",
        )
    for index, rule in enumerate(library.exclude):
        yield from _check_when(rule.when, own, f"{where}.exclude[{index}].when")
    if library.when is not None:
        yield from _check_when(library.when, around, f"{where}.when")
    yield from _check_flow(settings, library, where)
    yield from _check_env(library.env, own, f"{where}.env")
    yield from _checked(library.command, own | template.PASS_THROUGH, f"{where}.command")
    if library.image is not None:
        yield from _checked(library.image, own, f"{where}.image")


def _check_flow(settings: Settings, library: LibrarySettings, where: str) -> Iterator[Problem]:
    """What a library gets and gives."""
    for index, other in enumerate(library.needs):
        if other not in settings.library:
            yield Problem(
                what=f"unknown library {other!r}",
                where=f"{where}.needs[{index}]",
                hint=closest(other, settings.library),
            )
    for index, pattern in enumerate(library.outputs):
        if not pattern or pattern.startswith("/") or ".." in pattern.split("/"):
            yield Problem(
                what=f"{pattern!r} is outside the source", where=f"{where}.outputs[{index}]"
            )


def _check_templates(
    part: Matrix, axes: frozenset[str], parts: set[str], prefix: str
) -> Iterator[Problem]:
    own = axes | parts
    full = own | VERSION_NAMES
    yield from _check_env(part.env, full, f"{prefix}env")
    yield from _check_steps(part.build, part.test, full, prefix)
    yield from _check_version(part.version, axes, own, f"{prefix}version")
    for index, rule in enumerate(part.override):
        where = f"{prefix}override[{index}]."
        yield from _check_env(rule.env, full, f"{where}env")
        yield from _check_steps(rule.build, rule.test, full, where)
        yield from _check_version(rule.version, axes, own, f"{where}version")
        if rule.image is not None:
            yield from _checked(rule.image, axes, f"{where}image")


def _check_env(env: Env, names: frozenset[str], where: str) -> Iterator[Problem]:
    for name, value in env.items():
        text = value.shell if isinstance(value, EnvValue) else value
        yield from _check_env_name(name, f"{where}.{name}")
        yield from _check_env_text(text, names, f"{where}.{name}")


def _check_env_text(text: str, names: frozenset[str], where: str) -> Iterator[Problem]:
    if "\0" in text:
        yield Problem(what="an environment variable cannot hold the character NUL", where=where)
    yield from _checked(text, names, where)


def _check_env_name(name: str, where: str) -> Iterator[Problem]:
    if not env_name_ok(name):
        yield Problem(what=f"{name!r} is no environment variable name", where=where)
    elif name.startswith("CIBW_"):
        # It would reach the container, where cibuildwheel does not read it: a silent nothing.
        yield Problem(
            what=f"{name} has no effect inside the build",
            where=where,
            hint="cibuildwheel's options belong in [build], [test] or the project's "
            "[tool.cibuildwheel]",
        )


def _check_steps(
    build: Build, test: TestSettings, names: frozenset[str], where: str
) -> Iterator[Problem]:
    commands = {
        "build.before-all": build.before_all,
        "build.before-build": build.before_build,
        "build.repair": build.repair,
        "test.command": test.command,
    }
    for key, command in commands.items():
        if command is not None:
            yield from _checked(command, names | template.PASS_THROUGH, f"{where}{key}")
    for key, value in (build.config_settings or {}).items():
        yield from _checked(value, names, f"{where}build.config-settings.{key}")
    for index, requirement in enumerate(test.requires or ()):
        yield from _checked(requirement, names, f"{where}test.requires[{index}]")
    if build.repair is not None:
        yield from _check_repair(build.repair, f"{where}build.repair")


def _check_repair(repair: str, where: str) -> Iterator[Problem]:
    named = re.fullmatch(r"[\w-]+", repair)
    if named and repair not in {"none", "auditwheel"}:
        known = closest(repair, ("none", "auditwheel"))
        hint = f"{known}; or a command with {{wheel}} and {{dest_dir}}"
        yield Problem(what=f"unknown repair {repair!r}", where=where, hint=hint)
    elif not named and not ("{wheel}" in repair and "{dest_dir}" in repair):
        yield Problem(
            what="a repair command needs {wheel} and {dest_dir}",
            where=where,
            hint="for instance 'auditwheel repair -w {dest_dir} {wheel}'",
        )


def _check_version(
    parts: VersionParts, axes: frozenset[str], names: frozenset[str], where: str
) -> Iterator[Problem]:
    for name in parts.parts:
        if not axis_name_ok(name) or name in axes:
            taken = "an axis has that name" if name in axes else "reserved, or no name"
            yield Problem(
                what=f"{name!r} cannot name a part of the version ({taken})",
                where=f"{where}.parts.{name}",
                hint="lower-case letters, digits and underscores",
            )
    for name in sorted(parts.omit.keys() - names):
        yield Problem(
            what=f"{name!r} is neither an axis nor a part",
            where=f"{where}.omit.{name}",
            hint=closest(name, names),
        )
    for index, name in enumerate(parts.presets or ()):
        if name not in PRESETS:
            place = f"{where}.presets[{index}]"
            hint = closest(name, PRESETS.keys())
            yield Problem(what=f"unknown preset {name!r}", where=place, hint=hint)
    for key, text in (("local", parts.local), ("build-tag", parts.build_tag)):
        if text is not None:
            yield from _checked(text, names, f"{where}.{key}")
    for name, text in parts.inject.items():
        yield from _check_env_name(name, f"{where}.inject.{name}")
        yield from _check_env_text(text, names | VERSION_NAMES, f"{where}.inject.{name}")
    for name, text in parts.pins.items():
        yield from _checked(text, names | VERSION_NAMES, f"{where}.pins.{name}")


def _checked(text: str, names: frozenset[str], where: str) -> Iterator[Problem]:
    try:
        template.check(text, known=names, where=where)
    except ConfigError as error:
        yield from error.problems
