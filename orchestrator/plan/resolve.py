"""Resolve one cell to one target: lay all layers over each other, fill in every template. Pure.

Order of precedence, for every setting: built-in default < the file's top-level table < the
channel's table < the file's overrides in their order < the channel's overrides in their order.
Environment variables and rules of `verify` are merged by name; everything else replaces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.config import template
from orchestrator.config.presets import PRESETS
from orchestrator.config.settings import VERSION_NAMES, EnvValue, Model, baseline_of
from orchestrator.errors import ConfigError
from orchestrator.models.platforms import LEGACY_MANYLINUX, Arch, Libc
from orchestrator.models.python_tag import ABI3, PythonTag, stable_tag
from orchestrator.models.target import (
    OWN_LISTS,
    EnvVar,
    FurtherTest,
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
from orchestrator.plan.build_environment import build_environment, check_cuda, merge_indexes
from orchestrator.plan.compilers import compile_plan
from orchestrator.plan.devices import WITHOUT
from orchestrator.plan.expand import as_mapping
from orchestrator.plan.impossible import Possible
from orchestrator.plan.layers import overlay
from orchestrator.plan.ordering import CircularDependency, in_order
from orchestrator.plan.renames import inputs_key
from orchestrator.plan.stable_abi import floors, lowest_values, place, with_lowest, with_pins
from orchestrator.plan.torch_table import FINE, RULE
from orchestrator.plan.version import UnansweredSource, compose, merge, pins, version_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

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
    from orchestrator.models.target import CibuildwheelCatalog, TargetId
    from orchestrator.plan.build_environment import Indexes
    from orchestrator.plan.expand import Cell, Pairs
    from orchestrator.plan.layers import ChannelMatrix
    from orchestrator.plan.renames import Told
    from orchestrator.plan.torch_table import TorchSupport
    from orchestrator.plan.version import ComposedVersion, MergedVersionSettings, VersionContext

T = TypeVar("T")

_HOSTED = re.compile(r"ubuntu-(?:latest|\d\d\.\d\d)(|-arm)")
"""Labels of GitHub's own Linux runners, which run on two architectures."""

_RUNNER = "ubuntu-24.04"

ARCH_LIST = "TORCH_CUDA_ARCH_LIST"
"""What torch's extension builder reads the GPUs from."""

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
        self.possible = Possible(
            requires_python=outside.requires_python, facts=facts, own_image=self._has_own_image
        )
        self._known: dict[tuple[int, ...], _Merged] = {}
        self._rendered: dict[Hashable, Any] = {}
        self._label_only = tuple(
            sorted(name for name, (_, axis) in file.grid.axes.items() if axis.label_only)
        )
        self._composed: dict[TargetId, tuple[_Merged, ComposedVersion]] = {}
        self.notes: dict[str, None] = {}
        self.floors: dict[tuple[str, str, str], None] = {}
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
        own = values = {**values, "python": python}
        stable = self._stable_abi(values, merged, cell)
        values = {**values, **dict(stable), **self._derived(cell, stable)}
        if "torch" in values and values.get("cuda", "none") in WITHOUT:
            values.setdefault("gpu_archs", "")
        common = self._common(cell, values, merged.resources, merged.image, merged.runner)
        built = with_lowest(cell.values, stable)
        with _naming(cell):
            place = {"image": common["image"], "arch": common["arch"]}
            composed = compose(merged.version, axes=values, outside=outside, **place)
            compiling = compile_plan(
                merged.build,
                libc=common["libc"],
                baseline=common["baseline"],
                axes=dict(built),
                where=lambda key: merged.origin(f"build.{key}"),
            )
            check_cuda(merged.build.cuda, dict(built), merged.origin("build.cuda"))
        self._composed[cell.id] = merged, composed
        self._check_gpu_archs(cell, merged)
        return Target(
            **common | {"origins": (*merged.origins.items(), *common["origins"])},
            overrides=merged.overrides,
            label_only=self._label_only,
            python=python,
            abi3=abi3,
            stable_abi=stable,
            variant=built[3:],
            version=composed.version,
            build_tag=composed.build_tag,
            on_mismatch=merged.version.parts.on_mismatch or OnMismatch.FAIL,
            env=self._once(self._env, merged, composed, merged.names_in_env),
            steps=self._once(_steps, merged, composed, merged.names_in_steps),
            compiling=compiling,
            demands=merged.demands,
            publish=tuple(merged.publish.to or ()),
            release=composed.release,
            pins=with_pins(pins(merged.version, composed), stable),
            cuda_is_toolkit=self._table is None,
            parts=composed.parts,
            test_pythons=self._later(values) if cell.values[0][1].startswith(ABI3) else (),
            further_tests=_further_tests(merged, cell, stable, composed, own),
        )

    def _once(
        self,
        render: Callable[[_Merged, ComposedVersion], T],
        merged: _Merged,
        composed: ComposedVersion,
        wanted: frozenset[str],
    ) -> T:
        """Render once for all cells with the same overrides, and the same values of these names."""
        names = composed.names
        try:
            values = (names[name] if names.knows(name) else None for name in wanted)
            key = (render, merged.overrides, *values)
        except (ConfigError, UnansweredSource):  # perhaps it is not needed
            return render(merged, composed)
        if key not in self._rendered:
            self._rendered[key] = render(merged, composed)
        found: T = self._rendered[key]
        return found

    def _env(self, merged: _Merged, composed: ComposedVersion) -> tuple[EnvVar, ...]:
        preset = self._preset(merged, composed)
        told = version_variables(merged.version, composed, self._outside.project, preset)
        beneath = (RULE, {ARCH_LIST: composed.names.get("gpu_archs", "")})
        return _env(merged.env, composed.names, (beneath, *told))

    def _preset(self, merged: _Merged, composed: ComposedVersion) -> str:
        """Return how a build learns a version of git, of which its copy of the source has none."""
        is_scm = any(part.name == "base" and part.source == "scm" for part in composed.parts)
        written = {name for _, _, env in merged.env for name in env}
        written |= merged.version.parts.inject.keys()
        by_hand = any("PRETEND_VERSION" in name for name in written)
        return (self._outside.preset or "setuptools-scm") if is_scm and not by_hand else ""

    def _check_gpu_archs(self, cell: Cell, merged: _Merged) -> None:
        """Note it if nothing says for which GPUs a cell's torch extension is compiled."""
        verdict = FINE if self._table is None else self._table.judge(cell.values)
        if not verdict.unknown:
            return
        written = {name for _, _, env in merged.env for name in env}
        if ARCH_LIST not in written | merged.version.parts.inject.keys():
            values = dict(cell.values)
            what = f"torch {values['torch']} with CUDA {values['cuda']} on {values['arch']}"
            self.notes.setdefault(
                f"{ARCH_LIST} is not set for {what}: {verdict.unknown}; set it in [env]"
            )

    def fixed(self, target: Target) -> Hashable:
        """Return what the build of a target is told by texts that no name stands in."""
        merged, _ = self._composed[target.aliases[0]]
        fixed, steps = merged.fixed, target.steps
        env = ((e.name, e.value, e.shell) for e in target.env if (e.origin, e.name) in fixed)
        commands = (steps.before_all, steps.before_build, steps.config_settings, steps.repair)
        tests = (steps.test_command, steps.test_before, steps.test_requires)
        are_fixed = VERSION_NAMES.isdisjoint(merged.names_in_steps)
        return tuple(env), (commands, tests) if are_fixed else None

    def inputs(self, target: Target) -> Hashable:
        """Return what is equal for equal inputs of a build, whatever the target is called."""
        merged, composed = self._composed[target.aliases[0]]
        named = composed.renamed(dict.fromkeys(VERSION_NAMES, "0"))
        placed = composed.renamed({"version": composed.names["public"], "build_tag": "0"})
        return inputs_key(self._told(merged, named), self._told(merged, placed))

    def _told(self, merged: _Merged, composed: ComposedVersion) -> Told:
        env = tuple(each for each in self._env(merged, composed) if each.origin != RULE)
        return env, _steps(merged, composed)

    def library(self, name: str, library: LibrarySettings, cell: Cell) -> Target:
        """Resolve one cell of a library."""
        values = as_mapping(cell)
        where = f"library.{name}"
        image = (f"{where}.image", library.image) if library.image else None
        command = template.render(library.command, values, where=f"{where}.command")
        return Target(
            **self._common(cell, values, library.resources, image),
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
    ) -> dict[str, Any]:
        """Return the fields that wheels and libraries have in common."""
        libc, baseline = _libc(values["libc"])
        arch = Arch(values["arch"])
        image, image_origin = self.image(values, own_image)
        runner = own_runner or (arch.facts.runner or _RUNNER,)
        emulated = not _native(arch, runner)
        memory = None if settings.memory is None else f"{settings.memory}b"
        return {
            "id": cell.id,
            "libc": libc,
            "baseline": baseline,
            "arch": arch,
            "image": image,
            "origins": (("image", image_origin),),
            "resources": TargetResources(
                cpus=settings.cpus,
                memory=memory,
                cost=settings.cost,
                memory_per_job=settings.memory_per_job,
            ),
            "cost": (settings.cost or 1.0) * (EMULATED_COST if emulated else 1.0),
            "runner": runner,
            "emulated": emulated,
            "derived": cell.derived,
            "covers": (cell.values,),
            "aliases": (cell.id,),
        }

    def image(self, values: Mapping[str, str], own: tuple[str, str] | None) -> tuple[str, str]:
        """Return the image for a platform, and what named it.

        Raises:
            ConfigError: there is none, or it is a word that is not an alias.
        """
        libc, arch = values["libc"], values["arch"]
        plain = _libc(libc)[0]
        named = own or self._named_image(libc, plain, arch)
        if named is None:
            raise ConfigError.of(
                f"no image for {libc}_{arch}: cibuildwheel has none of its own",
                where=f"images.{libc}_{arch}",
                hint="name one that holds /opt/python/<tag>/bin/python",
            )
        where, text = named
        image = template.render(text, values, where=where)
        if any(mark in image for mark in "/:@"):
            return image, where
        # A reference has a registry, a path or a tag; a bare word can only be an alias.
        aliases = [name for name in self._facts.aliases.get(arch, ()) if name.startswith(plain)]
        if image not in aliases:
            raise ConfigError.of(
                f"{image!r} is neither an image reference nor an alias for {libc}_{arch}",
                where=where,
                hint=f"aliases: {', '.join(aliases) or 'none'}",
            )
        return image, where

    def _has_own_image(self, cell: Cell) -> bool:
        """Whether the matrix names an image for a cell that is not one of cibuildwheel's."""
        try:
            image, _ = self.image(dict(cell.values), self._merged(cell.overrides).image)
        except ConfigError:  # there is none, or only the rest of the cell says which
            return True
        return any(mark in image for mark in "/:@")

    def _named_image(self, libc: str, plain: str, arch: str) -> tuple[str, str] | None:
        """``[images]`` by exact platform, then by libc; else what cibuildwheel pins."""
        for platform in dict.fromkeys((f"{libc}_{arch}", f"{plain}_{arch}")):
            for prefix, part in reversed(self._file.layers):
                if platform in part.images:
                    return f"{prefix}images.{platform}", part.images[platform]
        if libc != plain:
            pinned = self._facts.aliases.get(arch, ())
            names = (name for name in (libc, _LEGACY.get(libc, "")) if name in pinned)
            return next(((f"axes.libc {libc}", name) for name in names), None)
        default = self._facts.default_images.get(f"{plain}_{arch}")
        return ("the locked cibuildwheel", default) if default else None

    def _python(self, values: Mapping[str, str], merged: _Merged, cell: Cell) -> tuple[str, str]:
        """Return the Python that builds a cell, and the lowest that its stable ABI is for.

        Raises:
            ConfigError: the wheel would not serve the cell's own Python.
        """
        value, floor = values["python"], merged.build.abi3
        own = merged.build.abi3_python
        if value.startswith(ABI3):
            floor = value.removeprefix(ABI3)
            built_with = own or self._lowest(values, floor)
        elif floor is None:
            return value, ""
        else:
            built_with = own or value
        served = ((value.removeprefix(ABI3), "build.abi3"), (built_with, "build.abi3-python"))
        for tag, key in served:
            if not PythonTag.parse(tag).serves_abi3(floor):
                raise ConfigError.of(
                    f"a {stable_tag(floor)} wheel has nothing to do with {tag} ({cell.id})",
                    where=merged.origin(key),
                    hint="the stable ABI is for that CPython and later ones, not for PyPy, and for "
                    "free-threaded ones only from cp315t on: exclude them here",
                )
        return built_with, floor

    def _stable_abi(self, values: Mapping[str, str], merged: _Merged, cell: Cell) -> Pairs:
        """Return the axes with a stable ABI, each with the value that builds the cell."""
        found = lowest_values(merged.build, values, merged.origins, cell=cell.id)
        for axis, floor in floors(merged.build).items():
            if axis in values:
                self.floors.setdefault((axis, floor, place(merged.origins, axis)))
        return tuple(sorted(found.items()))

    def _derived(self, cell: Cell, stable: Pairs) -> dict[str, str]:
        """Return what the torch table says about what builds a wheel for a stable ABI."""
        if not stable or self._table is None:
            return {}
        return dict(self._table.judge(with_lowest(cell.values, stable)).derived)

    def _lowest(self, values: Mapping[str, str], floor: str) -> str:
        """Return the lowest Python from ``floor`` on that the builder and torch have."""
        lowest = PythonTag.parse(floor)
        fit = (tag for tag in self._fit(values) if tag.free_threaded == lowest.free_threaded)
        return next((str(tag) for tag in fit if tag.serves_abi3(floor)), floor)

    def _later(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """Return the Pythons, beside the one that builds, that load the wheel."""
        first = PythonTag.parse(values["python"])
        served = (tag for tag in self._fit(values) if tag.serves_abi3(str(first)))
        return tuple(str(tag) for tag in served if tag != first)

    def _fit(self, values: Mapping[str, str]) -> list[PythonTag]:
        """Return the CPythons that the builder has for a platform, and torch too; lowest first."""
        torch = self._table.pythons(values) if self._table is not None else None
        platform = f"{_libc(values['libc'])[0]}_{values['arch']}"
        known = self._facts.identifiers
        built = (name for name in self._facts.pythons if f"{name}-{platform}" in known)
        fit = (PythonTag.parse(name) for name in built if torch is None or name in torch)
        return sorted(
            tag for tag in fit if tag.implementation == "cpython" and self.possible.serves(tag)
        )

    def _merged(self, overrides: tuple[int, ...]) -> _Merged:
        if overrides not in self._known:
            rules = [self._file.grid.override[index] for index in overrides]
            self._known[overrides] = _merge(self._file, rules)
        return self._known[overrides]


@contextmanager
def _naming(cell: Cell) -> Iterator[None]:
    """Name a cell in errors: the user sees which value is to blame."""
    try:
        yield
    except ConfigError as error:
        named = (replace(each, what=f"{each.what} ({cell.id})") for each in error.problems)
        raise ConfigError(*named) from None


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


@cache
def _libc(value: str) -> tuple[Libc, str]:
    """``manylinux_2_28`` -> manylinux and its baseline ``2.28``; empty when it names none."""
    return baseline_of(value) or (Libc(value), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """All layers over each other, for the cells with the same overrides.

    Attributes:
        env: (origin of the same layer's ``version.inject``, origin, variables) in order.
        image: (origin, template) of an override's image.
        origins: setting -> dotted path of what set it, sorted.
        fixed: (origin, name) of the variables in whose values no name stands.
        names_in_env: what the texts of variables name, also of those that tell the version.
        names_in_steps: what the texts of commands, requirements and indexes name.
    """

    build: Build
    indexes: Indexes
    test: TestSettings
    version: MergedVersionSettings
    resources: ResourceSettings
    publish: Publish
    demands: VerifyPolicy
    env: list[tuple[str, str, Env]]
    image: tuple[str, str] | None
    runner: tuple[str, ...] | None
    origins: Mapping[str, str]
    overrides: tuple[str, ...]
    fixed: frozenset[tuple[str, str]]
    names_in_env: frozenset[str]
    names_in_steps: frozenset[str]

    def origin(self, key: str) -> str:
        return self.origins.get(key, key)


def _merge(file: ChannelMatrix, rules: Sequence[tuple[str, Override]]) -> _Merged:
    layers: list[tuple[str, CellSettings]] = [
        *file.layers,
        *((f"{path}.", rule) for path, rule in rules),
    ]
    origins: dict[str, str] = {}
    sections: dict[str, Any] = {}
    for name in ("build", "test", "resources", "verify", "publish"):
        sections[name], where = overlay(
            [(f"{at}{name}", getattr(part, name)) for at, part in layers]
        )
        origins |= {f"{name}.{key}": path for key, path in where.items()}
    version = merge(tuple((f"{prefix}version", part.version) for prefix, part in layers))
    origins |= {f"version.{key}": path for key, path in version.where.items()}
    indexes = merge_indexes(layers)
    origins |= {f"indexes.{name}": path for name, (path, _) in indexes.items()}
    env = [(f"{prefix}version.inject", f"{prefix}env", part.env) for prefix, part in layers]
    image, runner = None, None
    for path, rule in rules:
        if rule.image is not None:
            image = f"{path}.image", rule.image
        if rule.runner is not None:
            runner = rule.runner
            origins["runner"] = f"{path}.runner"
    last = {name: (where, value) for _, where, part in env for name, value in part.items()}
    told: list[Mapping[str, str]] = [part.inject for _, part in version.layers]
    told += [PRESETS[name] for name in version.parts.presets or ()]
    learnt = {"gpu_archs", "version"} if version.parts.presets is None else {"gpu_archs"}
    return _Merged(
        demands=_demands(sections.pop("verify"), layers),
        **sections,
        indexes=indexes,
        version=version,
        env=env,
        image=image,
        runner=runner,
        origins=dict(sorted(origins.items())),
        overrides=tuple(path for path, _ in rules),
        fixed=frozenset(
            (where, name)
            for name, (where, value) in last.items()
            if VERSION_NAMES.isdisjoint(_names_in(value))
        ),
        names_in_env=_names_in(*(value for _, value in last.values()), *told) | learnt,
        names_in_steps=_names_in(sections["build"], sections["test"], indexes),
    )


def _demands(verify: Verify, layers: Iterable[tuple[str, CellSettings]]) -> VerifyPolicy:
    """Return what `verify` asks; rules of all layers count, by name."""
    levels = {name: level for _, part in layers for name, level in part.verify.rules.items()}
    return VerifyPolicy(
        levels=tuple(sorted(levels.items())),
        size_budget=verify.size_budget,
        required=tuple(verify.required or ()),
        build_paths=tuple(verify.build_paths or ()),
    )


def _names_in(*values: object) -> frozenset[str]:
    """Return what all texts in some tables name."""
    found: set[str] = set()
    for value in values:
        if isinstance(value, str):
            found.update(template.names_in(value))
        elif isinstance(value, Model | Mapping):
            found |= _names_in(*dict(value).values())
        elif isinstance(value, tuple):
            found |= _names_in(*value)
    return frozenset(found)


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
    for origin, told in versions:
        last |= {name: (origin, value, False) for name, value in told.items()}
        where, env = own.pop(origin, ("", {}))
        last |= {name: (where, value, True) for name, value in env.items()}
    for where, env in own.values():
        last |= {name: (where, value, True) for name, value in env.items()}
    made = filter(None, (_variable(name, *written, names) for name, written in last.items()))
    return _in_order({variable.name: variable for variable in made})


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
    if not any(variable.shell for variable in variables.values()):
        return tuple(variables[name] for name in sorted(variables))
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


def _further_tests(
    merged: _Merged, cell: Cell, stable: Pairs, composed: ComposedVersion, own: Mapping[str, str]
) -> tuple[FurtherTest, ...]:
    """Return the test of a cell whose wheel is built with a lower value of an axis."""
    axes = {axis for axis, _ in stable}
    differ = tuple(pair for pair in cell.values if pair[0] in axes and pair not in stable)
    if not differ or merged.test.command is None:
        return ()
    steps = _steps(merged, composed.renamed(own))
    test = FurtherTest(
        values=differ, command=steps.test_command or "", requires=steps.test_requires
    )
    return (test,)


def _is_emptied(key: str, build: Build, test: TestSettings) -> bool:
    table, _, name = key.partition(".")
    value = getattr(build if table == "build" else test, name.replace("-", "_"))
    return value is not None and not value


def _steps(merged: _Merged, composed: ComposedVersion) -> TargetSteps:
    build, test, names = merged.build, merged.test, composed.names

    def text(value: str | None, key: str) -> str | None:
        return value and template.render(value, names, where=merged.origin(key))

    def texts(values: Iterable[str] | None, key: str) -> tuple[str, ...]:
        where = merged.origin(key)
        return tuple(
            template.render(value, names, where=f"{where}[{number}]")
            for number, value in enumerate(values or ())
        )

    return TargetSteps(
        environment=build_environment(build, merged.indexes, names, merged.origin),
        before_all=text(build.before_all, "build.before-all"),
        before_build=text(build.before_build, "build.before-build"),
        config_settings=tuple(
            (key, str(text(value, "build.config-settings")))
            for key, values in sorted((build.config_settings or {}).items())
            for value in values
        ),
        repair=text(build.repair, "build.repair"),
        repair_refused=build.repair_refused or OnRefusal.FAIL,
        external=tuple(build.external or ()),
        normalise=build.normalise or False,
        test_command=text(test.command, "test.command"),
        test_requires=texts(test.requires, "test.requires"),
        test_extras=texts(test.extras, "test.extras"),
        test_groups=texts(test.groups, "test.groups"),
        test_sources=texts(test.sources, "test.sources"),
        test_before=text(test.before, "test.before"),
        emptied=tuple(key for key in OWN_LISTS if _is_emptied(key, build, test)),
        smoke=test.smoke is not False,
        timeout=build.timeout,
        timeouts=tuple(sorted((build.timeouts or {}).items())),
    )
