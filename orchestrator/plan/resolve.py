"""Resolve one cell to one target: lay all layers over each other, fill in every template. Pure.

Order of precedence, for every setting: built-in default < the file's top-level table < the
channel's table < the file's overrides in their order < the channel's overrides in their order.
Environment variables and rules of `verify` are merged by name; everything else replaces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.config import template
from orchestrator.config.settings import EnvValue, baseline_of
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import LEGACY_MANYLINUX, Arch, Libc
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.target import (
    EnvVar,
    LibraryStep,
    OnMismatch,
    OnRefusal,
    Target,
    TargetResources,
    TargetSteps,
    UnresolvedVersion,
    VerifyPolicy,
    VersionAnswer,
)
from orchestrator.plan.compilers import CompileSettings, compile_plan
from orchestrator.plan.expand import as_mapping
from orchestrator.plan.layers import overlay
from orchestrator.plan.ordering import CircularDependency, in_order
from orchestrator.plan.version import UnansweredSource, compose, merge, pins, version_variables

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.config.settings import (
        Build,
        CellSettings,
        Env,
        LibrarySettings,
        Override,
        Publish,
        ResourceSettings,
        TestSettings,
        Verify,
    )
    from orchestrator.models.target import CibuildwheelCatalog, CompilePlan, RuleLevel, TargetId
    from orchestrator.plan.expand import Cell
    from orchestrator.plan.layers import ChannelMatrix
    from orchestrator.plan.torch_table import TorchSupport
    from orchestrator.plan.version import MergedVersionSettings, VersionContext

_HOSTED = re.compile(r"ubuntu-(?:latest|\d\d\.\d\d)(|-arm)")
"""Labels of GitHub's own Linux runners, which run on two architectures."""

_RUNNER = "ubuntu-24.04"

_LEGACY = {f"manylinux_{major}_{minor}": name for name, (major, minor) in LEGACY_MANYLINUX.items()}
"""The older names of some baselines (PEP 600)."""

EMULATED_COST = 8.0
"""How much longer a build takes under QEMU, roughly: msgpack 8 times, contourpy 9, hnswlib 8."""

_NAMED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
"""A variable that a shell value names."""


class Resolver:
    """Makes targets of cells; what cells with the same overrides share is worked out once."""

    def __init__(
        self,
        file: ChannelMatrix,
        outside: VersionContext,
        facts: CibuildwheelCatalog,
        table: TorchSupport | None,
    ) -> None:
        self._file = file
        self._table = table
        self._outside = outside
        self._facts = facts
        self._known: dict[tuple[int, ...], _Merged] = {}
        self.unanswered: dict[TargetId, UnansweredSource] = {}

    def target(self, cell: Cell) -> Target | UnresolvedVersion:
        """Resolve one cell.

        If a source of its version has not been asked yet, the target is made with supposed answers
        and noted in `unanswered`: the real answers do not change which cells are equal, and so not
        the IDs.
        """
        outside, first = self._outside, None
        while True:
            try:
                target = self._resolved(cell, outside)
            except UnansweredSource as missing:
                first = first or missing
                answers = {q: VersionAnswer(source=q.source, value="0") for q in missing.questions}
                outside = replace(outside, answers={**outside.answers, **answers})
            except ConfigError:
                if first is None:
                    raise
                return _alone(cell, first)  # a supposed answer is not possible here
            else:
                if first is not None:
                    self.unanswered[cell.id] = first
                return target

    def _resolved(self, cell: Cell, outside: VersionContext) -> Target:
        merged = self._merged(cell.overrides)
        values = as_mapping(cell)
        python, abi3 = self._python(values, merged, cell)
        values = {**values, "python": python}
        common, image_origin = self._common(
            cell, values, merged.resources, merged.image, merged.runner
        )
        try:
            composed = compose(
                merged.version,
                axes=values,
                outside=outside,
                image=common["image"],
                arch=common["arch"],
            )
            compiling = _compiling(merged, cell, common["libc"], common["baseline"])
        except ConfigError as error:
            raise _of_cell(error, cell) from None
        told = version_variables(merged.version, composed, self._outside.project)
        return Target(
            **common,
            origins=(*merged.origins, ("image", image_origin)),
            overrides=merged.overrides,
            python=python,
            abi3=abi3,
            variant=cell.values[3:],
            version=composed.version,
            build_tag=composed.build_tag,
            on_mismatch=merged.version.parts.on_mismatch or OnMismatch.FAIL,
            env=_env(merged.env, composed.names, told),
            steps=_steps(merged, composed.names),
            compiling=compiling,
            demands=merged.demands,
            publish=tuple(merged.publish.to or ()),
            release=composed.release,
            pins=pins(merged.version, composed),
            parts=composed.parts,
            test_pythons=self._later(values) if cell.values[0][1].startswith(ABI3) else (),
        )

    def library(self, name: str, library: LibrarySettings, cell: Cell) -> Target:
        """Resolve one cell of a library."""
        values = as_mapping(cell)
        where = f"library.{name}"
        image = (f"{where}.image", library.image) if library.image else None
        command = template.render(library.command, values, where=f"{where}.command")
        common, image_origin = self._common(cell, values, library.resources, image)
        return Target(
            **common,
            origins=(("image", image_origin),),
            python="",
            variant=cell.values[2:],
            version="",
            build_tag="",
            on_mismatch=OnMismatch.FAIL,
            env=_env([(where, f"{where}.env", library.env)], values, ()),
            steps=TargetSteps(timeout=library.timeout),
            library=LibraryStep(name=name, command=command, outputs=library.outputs),
        )

    def _common(
        self,
        cell: Cell,
        values: Mapping[str, str],
        settings: ResourceSettings,
        own_image: tuple[str, str] | None,
        own_runner: tuple[str, ...] | None = None,
    ) -> tuple[dict[str, Any], str]:
        """Return the fields that wheels and libraries have in common, and what named the image."""
        libc, baseline = _libc(values["libc"])
        arch = Arch(values["arch"])
        image, image_origin = self.image(values, own_image)
        runner = own_runner or (arch.facts.runner or _RUNNER,)
        emulated = not _native(arch, runner)
        resources = _resources(settings)
        fields = {
            "id": cell.id,
            "libc": libc,
            "baseline": baseline,
            "arch": arch,
            "image": image,
            "resources": resources,
            "cost": (resources.cost or 1.0) * (EMULATED_COST if emulated else 1.0),
            "runner": runner,
            "emulated": emulated,
            "derived": cell.derived,
            "covers": (cell.values,),
            "aliases": (cell.id,),
        }
        return fields, image_origin

    def image(self, values: Mapping[str, str], own: tuple[str, str] | None) -> tuple[str, str]:
        """Return the image for a platform, and what named it.

        Raises:
            ConfigError: there is none, or it is a word that is not an alias.
        """
        libc, arch = values["libc"], values["arch"]
        plain = _libc(libc)[0]
        found = own or self._named_image(libc, plain, arch)
        if found is None:
            raise ConfigError.of(
                f"no image for {libc}_{arch}: cibuildwheel has none of its own",
                where=f"images.{libc}_{arch}",
                hint="name one that holds /opt/python/<tag>/bin/python",
            )
        where, text = found
        image = template.render(text, values, where=where)
        known = self._facts.aliases.get(arch, ())
        aliases = [each for each in known if each.startswith(plain)]
        # A reference has a registry, a path or a tag; a bare word can only be an alias.
        if not any(mark in image for mark in "/:@") and image not in aliases:
            raise ConfigError.of(
                f"{image!r} is neither an image reference nor an alias for {libc}_{arch}",
                where=where,
                hint=f"aliases: {', '.join(aliases) or 'none'}",
            )
        return image, where

    def _named_image(self, libc: str, plain: str, arch: str) -> tuple[str, str] | None:
        """``[images]`` by exact platform, then by libc; else what cibuildwheel pins."""
        for platform in dict.fromkeys((f"{libc}_{arch}", f"{plain}_{arch}")):
            for prefix, part in reversed(self._file.layers):
                if platform in part.images:
                    return f"{prefix}images.{platform}", part.images[platform]
        if libc != plain:
            pinned = self._facts.aliases.get(arch, ())
            names = (each for each in (libc, _LEGACY.get(libc)) if each in pinned)
            return next(((f"axes.libc {libc}", each) for each in names if each), None)
        default = self._facts.default_images.get(f"{plain}_{arch}")
        return ("the locked cibuildwheel", default) if default else None

    def _python(self, values: Mapping[str, str], merged: _Merged, cell: Cell) -> tuple[str, str]:
        """Return the Python that builds a cell, and the lowest that its stable ABI is for.

        Raises:
            ConfigError: the wheel would not serve the cell's own Python.
        """
        value, floor = values["python"], merged.build.abi3
        where = dict(merged.origins).get("build.abi3-python", "build.abi3-python")
        own = merged.build.abi3_python
        if value.startswith(ABI3):
            floor = value.removeprefix(ABI3)
            built_with = own or self._lowest(values, floor)
        elif floor is None:
            return value, ""
        else:
            built_with = own or value
        for each, path in ((value.removeprefix(ABI3), "build.abi3"), (built_with, where)):
            if not PythonTag.parse(each).serves_abi3(floor):
                raise ConfigError.of(
                    f"a {floor}-abi3 wheel has nothing to do with {each} ({cell.id})",
                    where=dict(merged.origins).get(path, path),
                    hint="the stable ABI is for that CPython and later ones, not for free-threaded "
                    "ones or PyPy: exclude them here",
                )
        return built_with, floor

    def _lowest(self, values: Mapping[str, str], floor: str) -> str:
        """Return the lowest Python from ``floor`` on that the builder and torch have."""
        return next((str(each) for each in self._fit(values) if each.serves_abi3(floor)), floor)

    def _later(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the Pythons later than the one that builds."""
        first = PythonTag.parse(values["python"])
        return tuple(str(each) for each in self._fit(values) if each > first)

    def _fit(self, values: Mapping[str, str]) -> list[PythonTag]:
        """Return the CPythons that the builder has for a platform, and torch too; lowest first."""
        torch = self._table.pythons(values) if self._table is not None else None
        platform = f"{_libc(values['libc'])[0]}_{values['arch']}"
        known = self._facts.identifiers
        built = (each for each in self._facts.pythons if f"{each}-{platform}" in known)
        fit = (PythonTag.parse(each) for each in built if torch is None or each in torch)
        return sorted(each for each in fit if each.stable_abi)

    def _merged(self, overrides: tuple[int, ...]) -> _Merged:
        found = self._known.get(overrides)
        if found is None:
            rules = [self._file.grid.override[index] for index in overrides]
            found = self._known[overrides] = _merge(self._file, rules)
        return found


def _alone(cell: Cell, missing: UnansweredSource) -> UnresolvedVersion:
    values = dict(cell.values)
    return UnresolvedVersion(
        id=cell.id,
        python=values["python"].removeprefix(ABI3),
        arch=Arch(values["arch"]),
        part=missing.part,
        questions=missing.questions,
        derived=cell.derived,
        covers=(cell.values,),
        aliases=(cell.id,),
    )


def _native(arch: Arch, runner: Sequence[str]) -> bool:
    """Whether a runner needs no QEMU; the user's own runners are taken to be native."""
    for label in runner:
        if hosted := _HOSTED.fullmatch(label):
            return arch.facts.runner == _RUNNER + hosted[1]
    return True


def _libc(value: str) -> tuple[Libc, str]:
    """``manylinux_2_28`` -> manylinux and its baseline ``2.28``; empty when it names none."""
    return baseline_of(value) or (Libc(value), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """All layers over each other, for the cells with the same overrides.

    Attributes:
        build, test, version, resources, publish: the tables.
        demands: what the wheel must satisfy.
        env: (path of the version table beside it, origin, variables) in order.
        image: (origin, template) of an override's image.
        runner: labels of an override's runner.
        origins: setting -> dotted path of what set it.
        overrides: dotted paths of the overrides.
    """

    build: Build
    test: TestSettings
    version: MergedVersionSettings
    resources: ResourceSettings
    publish: Publish
    demands: VerifyPolicy
    env: list[tuple[str, str, Env]]
    image: tuple[str, str] | None
    runner: tuple[str, ...] | None
    origins: tuple[tuple[str, str], ...]
    overrides: tuple[str, ...]


_SECTIONS = ("build", "test", "resources", "verify", "publish")


def _merge(file: ChannelMatrix, rules: Sequence[tuple[str, Override]]) -> _Merged:
    layers: list[tuple[str, CellSettings]] = [
        *file.layers,
        *((f"{path}.", rule) for path, rule in rules),
    ]
    origins: dict[str, str] = {}
    sections: dict[str, Any] = {}
    for name in _SECTIONS:
        sections[name], where = overlay(
            [(f"{at}{name}", getattr(part, name)) for at, part in layers]
        )
        origins |= {f"{name}.{key}": path for key, path in where.items()}
    version = merge(tuple((f"{prefix}version", part.version) for prefix, part in layers))
    origins |= {f"version.{key}": path for key, path in version.where.items()}
    env = [(f"{prefix}version.inject", f"{prefix}env", part.env) for prefix, part in layers]
    image, runner = None, None
    for path, rule in rules:
        if rule.image is not None:
            image = f"{path}.image", rule.image
        if rule.runner is not None:
            runner = rule.runner
            origins["runner"] = f"{path}.runner"
    levels = {name: level for _, part in layers for name, level in part.verify.rules.items()}
    return _Merged(
        demands=_demands(sections.pop("verify"), levels),
        **sections,
        version=version,
        env=env,
        image=image,
        runner=runner,
        origins=tuple(sorted(origins.items())),
        overrides=tuple(path for path, _ in rules),
    )


def _demands(verify: Verify, levels: Mapping[str, RuleLevel]) -> VerifyPolicy:
    return VerifyPolicy(
        levels=tuple(sorted(levels.items())),
        size_budget=verify.size_budget,
        required=tuple(verify.required or ()),
        build_paths=tuple(verify.build_paths or ()),
    )


def _resources(own: ResourceSettings) -> TargetResources:
    return TargetResources(
        cpus=own.cpus,
        memory=None if own.memory is None else f"{in_bytes(own.memory)}b",
        cost=own.cost,
        memory_per_job=None if own.memory_per_job is None else in_bytes(own.memory_per_job),
    )


def in_bytes(memory: str) -> int:
    """``16 GiB`` in bytes; units are powers of 1024, as docker and podman take them."""
    number, unit = re.fullmatch(r"([0-9.]+) ?([kKMGT]?)i?B?", memory).groups()  # type: ignore[union-attr]
    scale = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[unit.lower()]
    return int(float(number) * scale)


def _env(
    layers: Sequence[tuple[str, str, Env]],
    names: Mapping[str, str],
    versions: Iterable[tuple[str, dict[str, str]]],
) -> tuple[EnvVar, ...]:
    """Lay ``[env]`` and the overrides' variables over those that tell the build its version.

    A value that renders to nothing is left out, so that it cannot erase one of the image; a value
    that is empty in the file is kept. Only the last value is rendered: an override may replace a
    template that names an axis this cell does not have.
    """
    own = {beside: (origin, env) for beside, origin, env in layers}
    last: dict[str, tuple[str, EnvValue | str, bool]] = {}
    for origin, found in versions:
        last |= {name: (origin, value, False) for name, value in found.items()}
        where, env = own.pop(origin, ("", {}))
        last |= {name: (where, value, True) for name, value in env.items()}
    for where, env in own.values():
        last |= {name: (where, value, True) for name, value in env.items()}
    made = {name: _variable(name, *each, names) for name, each in last.items()}
    return _in_order({name: each for name, each in made.items() if each is not None})


def _variable(
    name: str,
    origin: str,
    written: EnvValue | str,
    is_template: bool,  # noqa: FBT001 - what tells the build its version is rendered already
    names: Mapping[str, str],
) -> EnvVar | None:
    text = written.shell if isinstance(written, EnvValue) else written
    value = template.render(text, names, where=f"{origin}.{name}") if is_template else text
    if not value and (text or not is_template):
        return None
    return EnvVar(name=name, value=value, origin=origin, shell=isinstance(written, EnvValue))


def _in_order(variables: Mapping[str, EnvVar]) -> tuple[EnvVar, ...]:
    """Order variables so that each shell value comes after those it names; else by name.

    The order of keys in the file must not matter, and the build evaluates one after the other.
    """
    needs: dict[str, set[str]] = {name: set() for name in variables}
    for name, variable in variables.items():
        if variable.shell:
            named = {match[1] for match in _NAMED.finditer(variable.value)}
            needs[name] = (named & variables.keys()) - {name}
    try:
        return tuple(variables[name] for name in in_order(needs))
    except CircularDependency as error:
        first = error.members[0]
        raise ConfigError.of(
            f"circular dependency of shell values: {', '.join(error.members)}",
            where=f"{variables[first].origin}.{first}",
        ) from None


def _compiling(merged: _Merged, cell: Cell, libc: Libc, baseline: str) -> CompilePlan:
    own, origins = merged.build, dict(merged.origins)
    try:
        return compile_plan(
            CompileSettings(emulation=own.emulation, compiler=own.compiler, baseline=own.baseline),
            libc=libc,
            baseline=baseline,
            axes=dict(cell.values),
            prepared=own.before_all is not None,
            where=lambda key: origins.get(f"build.{key}", f"build.{key}"),
        )
    except ConfigError as error:
        raise _of_cell(error, cell) from None


def _of_cell(error: ConfigError, cell: Cell) -> ConfigError:
    """Name the cell in an error, so that the user knows which value is to blame."""
    return ConfigError(*(replace(each, what=f"{each.what} ({cell.id})") for each in error.problems))


def _steps(merged: _Merged, names: Mapping[str, str]) -> TargetSteps:
    build, test = merged.build, merged.test
    origins = dict(merged.origins)

    def text(value: str | None, key: str) -> str | None:
        return None if value is None else template.render(value, names, where=origins.get(key, key))

    config = sorted((build.config_settings or {}).items())
    return TargetSteps(
        before_all=text(build.before_all, "build.before-all"),
        before_build=text(build.before_build, "build.before-build"),
        config_settings=tuple(
            (key, str(text(value, "build.config-settings"))) for key, value in config
        ),
        repair=text(build.repair, "build.repair"),
        repair_refused=build.repair_refused or OnRefusal.FAIL,
        external=tuple(build.external or ()),
        normalise=build.normalise or False,
        test_command=text(test.command, "test.command"),
        test_requires=tuple(str(text(each, "test.requires")) for each in test.requires or ()),
        smoke=test.smoke is not False,
        timeout=build.timeout,
        timeouts=tuple(sorted((build.timeouts or {}).items())),
    )
