"""Cells to targets to build requests: everything resolved, every digest computed. Pure.

Order of precedence, for every setting: built-in default < the file's top-level table < the
channel's table < the file's overrides in their order < the channel's overrides in their order.
Environment variables are merged by name; everything else replaces.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.config import condition, template
from orchestrator.config.settings import EnvValue, baseline_of
from orchestrator.errors import ConfigError, Problem
from orchestrator.matrix.axes import circle
from orchestrator.matrix.compat import Table
from orchestrator.matrix.expand import as_mapping, expand
from orchestrator.matrix.grid import layered, of_library
from orchestrator.models import (
    Arch,
    BackendName,
    BuildRequest,
    Demands,
    Digest,
    EnvVar,
    Exclusion,
    Libc,
    LibraryStep,
    OnMismatch,
    OnRefusal,
    Plan,
    Resources,
    Steps,
    Target,
    TargetId,
    Undetermined,
)
from orchestrator.version import Unanswered, compose, injected, merge, pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestrator.config.settings import (
        Build,
        Env,
        Library,
        Matrix,
        Model,
        Override,
        Settings,
        Test,
        TorchTable,
        Verify,
    )
    from orchestrator.matrix.expand import Cell, Pairs
    from orchestrator.matrix.grid import Layered
    from orchestrator.models import BuilderFacts, Level, Source
    from orchestrator.version import Composed, Merged, Outside

_RUNNERS = {
    Arch.X86_64: "ubuntu-24.04",
    Arch.I686: "ubuntu-24.04",
    Arch.AARCH64: "ubuntu-24.04-arm",
    Arch.ARMV7L: "ubuntu-24.04-arm",
}
"""Hosted CI runners that execute an architecture without QEMU."""

_FALLBACK_RUNNER = "ubuntu-24.04"

_LEGACY = {"manylinux_2_17": "manylinux2014", "manylinux_2_12": "manylinux2010"}
"""The older names of some baselines (PEP 600)."""

EMULATED_COST = 8.0
"""How much longer a build takes under QEMU, roughly: msgpack 8 times, contourpy 9, hnswlib 8."""

MANY = 10
"""Problems of one kind that are reported at once."""

_NAMED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
"""A variable that a shell value names."""


def make_plan(
    settings: Settings,
    *,
    facts: BuilderFacts,
    outside: Outside,
    channel: str = "",
    table: TorchTable | None = None,
) -> Plan:
    """Resolve the whole matrix.

    A cell whose version only its image or setuptools-scm knows becomes no target but an
    `Undetermined`; once `outside` has the answers to its questions it becomes one.

    Args:
        settings: the validated file.
        facts: what the locked cibuildwheel knows, for images.
        outside: the project's name and version, and what the version's sources said.
        channel: the channel to plan for, empty for none.
        table: what torch was published for; None leaves that out.

    Raises:
        ConfigError: a rule matches nothing, IDs collide, a version cannot be, an image is missing.
    """
    file = layered(settings, channel)
    compat = Table(table, settings.compat) if table is not None and _has_torch(file) else None
    expansion = expand(file.grid, table=compat)
    resolver = _Resolver(file, outside, facts, compat)
    libraries = _libraries(file, resolver)
    made = [replace(resolver.target(cell), needs=libraries.needs(cell)) for cell in expansion.cells]
    libraries.check()
    targets = _collapsed([each for each in made if isinstance(each, Target)], expansion.name)
    _check_distinct(targets)
    _check_ids((*libraries.targets, *targets))
    return Plan(
        targets=(*libraries.targets, *targets),
        exclusions=(*expansion.exclusions, *libraries.exclusions),
        undetermined=tuple(each for each in made if isinstance(each, Undetermined)),
        channel=channel,
    )


def _has_torch(file: Layered) -> bool:
    rows = (axis for _, each in file.grid.rows for axis in each.axes)
    return file.settings.compat.torch and "torch" in {*file.grid.axes, *rows}


def _check_distinct(targets: Iterable[Target]) -> None:
    """Two wheels of one name would overwrite each other; variants must differ in the file name."""
    seen: dict[tuple[str, ...], Target] = {}
    problems = []
    for target in targets:
        python = f"{target.abi3}-abi3" if target.abi3 else target.python
        name = (python, target.platform, target.version, target.build_tag)
        first = seen.setdefault(name, target)
        if first is not target:
            axes = [axis for axis, _ in target.variant] or ["axis"]
            problems.append(
                Problem(
                    what=f"{first.id} and {target.id} would make wheels of one name: both are "
                    f"{target.version} for {python}-{target.platform}",
                    where="version.release" if target.release else "version.local",
                    hint=_DROPPED
                    if target.release
                    else f'name the variant, for instance local = "{{{axes[0]}}}"',
                )
            )
    if problems:
        raise ConfigError(*problems[:MANY])


_DROPPED = (
    "a release for a public index has neither local part nor build tag: set version.release in an "
    "[[override]] for the one variant that goes there, or exclude the others"
)


def _check_ids(targets: Iterable[Target]) -> None:
    """Expansion sees to this for one matrix; a library may be called like another, or a Python."""
    seen: dict[TargetId, Target] = {}
    for target in targets:
        first = seen.setdefault(target.id, target)
        if first is not target:
            library = first.library or target.library
            raise ConfigError.of(
                f"two targets have the ID {target.id!r}",
                where=f"library.{library.name}" if library else "axes",
                hint="give the library another name",
            )


def make_request(  # noqa: PLR0913 - keyword-only, and each is a part of the key
    target: Target,
    *,
    source: Source,
    backend: BackendName,
    toolchain: Digest,
    builder: str,
    needs: Sequence[Digest] = (),
) -> BuildRequest:
    """Freeze everything that can influence the wheel's bytes, with its digest.

    Presentation (ID, variant, runner, where a variable came from) does not enter the key: two
    targets that would be built by identical requests have identical keys.

    Args:
        target: the resolved cell.
        source: what is built.
        backend: what builds it.
        toolchain: digest of the locked toolchain.
        builder: version of this program.
        needs: the keys of the requests whose outputs go into the source.
    """
    content = {
        "identifier": target.build_identifier or target.platform,
        "baseline": target.baseline,
        "abi3": target.abi3,
        "library": None if target.library is None else asdict(target.library),
        "needs": list(needs),
        "version": target.version,
        "build_tag": target.build_tag,
        "on_mismatch": target.on_mismatch,
        "pins": target.pins,
        "image": target.image if backend is BackendName.CIBUILDWHEEL or target.library else "",
        "env": [(each.name, each.value, each.shell) for each in target.env],
        "steps": {k: v for k, v in asdict(target.steps).items() if k != "timeout"},
        "source": [source.name, source.digest, source.epoch],
        "backend": backend,
        "toolchain": toolchain,
        "builder": builder,
    }
    return BuildRequest(
        target=target,
        source=source,
        backend=backend,
        toolchain_digest=toolchain,
        builder_version=builder,
        key=digest(content),
    )


def digest(content: Any) -> Digest:
    """SHA-256 of the canonical JSON of ``content``."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def planned_backend(target: Target, facts: BuilderFacts) -> BackendName:
    """The backend a target is planned for: cibuildwheel where it knows the identifier."""
    known = target.build_identifier in facts.identifiers
    return BackendName.CIBUILDWHEEL if known else BackendName.DIRECT


class _Resolver:
    """Makes targets of cells; what cells with the same overrides share is worked out once."""

    def __init__(
        self,
        file: Layered,
        outside: Outside,
        facts: BuilderFacts,
        table: Table | None,
    ) -> None:
        self._file = file
        self._table = table
        self._outside = outside
        self._facts = facts
        self._known: dict[tuple[int, ...], _Merged] = {}

    def target(self, cell: Cell) -> Target | Undetermined:
        """Resolve one cell, as far as its image need not be asked first."""
        try:
            return self._resolved(cell)
        except Unanswered as missing:
            values = dict(cell.values)
            return Undetermined(
                id=cell.id,
                python=values["python"].removeprefix("abi3-"),
                arch=Arch(values["arch"]),
                part=missing.part,
                questions=missing.questions,
                derived=cell.derived,
                covers=(cell.values,),
            )

    def _resolved(self, cell: Cell) -> Target:
        merged = self._merged(cell.overrides)
        values = as_mapping(cell)
        python, abi3 = self._python(values, merged, cell)
        values = {**values, "python": python}
        libc, baseline = _libc(values["libc"])
        arch = Arch(values["arch"])
        image, image_origin = self.image(values, merged.image)
        composed = self._composed(cell, merged, values, image)
        names = composed.names
        emulated = merged.runner is None and arch not in _RUNNERS
        resources = _resources(merged)
        return Target(
            id=cell.id,
            python=python,
            abi3=abi3,
            libc=libc,
            baseline=baseline,
            arch=arch,
            variant=cell.values[3:],
            version=composed.version,
            build_tag=composed.build_tag,
            on_mismatch=merged.version.parts.on_mismatch or OnMismatch.FAIL,
            image=image,
            env=_env(merged.env, names, injected(merged.version, composed, self._outside.project)),
            steps=_steps(merged, names),
            resources=resources,
            cost=(resources.cost or 1.0) * (EMULATED_COST if emulated else 1.0),
            runner=merged.runner[1] if merged.runner else _RUNNERS.get(arch, _FALLBACK_RUNNER),
            emulated=emulated,
            demands=merged.demands,
            release=composed.release,
            pins=pins(merged.version, composed),
            parts=composed.parts,
            derived=cell.derived,
            covers=(cell.values,),
            aliases=(cell.id,),
            test_pythons=self._later(values) if cell.values[0][1].startswith("abi3-") else (),
            origins=(*merged.origins, ("image", image_origin)),
        )

    def _composed(
        self, cell: Cell, merged: _Merged, values: Mapping[str, str], image: str
    ) -> Composed:
        try:
            return compose(
                merged.version,
                axes=values,
                outside=self._outside,
                image=image,
                arch=Arch(values["arch"]),
            )
        except ConfigError as error:
            # One cell of many: without its name nobody knows which value is to blame.
            raise ConfigError(
                *(replace(each, what=f"{each.what} ({cell.id})") for each in error.problems)
            ) from None

    def library(self, name: str, library: Library, cell: Cell) -> Target:
        """Resolve one cell of a library."""
        values = as_mapping(cell)
        where = f"library.{name}"
        libc, baseline = _libc(values["libc"])
        arch = Arch(values["arch"])
        own = (f"{where}.image", library.image) if library.image else None
        image, image_origin = self.image(values, own)
        emulated = arch not in _RUNNERS
        command = template.render(library.command, values, where=f"{where}.command")
        return Target(
            id=cell.id,
            python="",
            libc=libc,
            baseline=baseline,
            arch=arch,
            variant=cell.values[2:],
            version="",
            build_tag="",
            on_mismatch=OnMismatch.FAIL,
            image=image,
            env=_env([(where, f"{where}.env", library.env)], values, ()),
            steps=Steps(),
            resources=Resources(),
            cost=EMULATED_COST if emulated else 1.0,
            runner=_RUNNERS.get(arch, _FALLBACK_RUNNER),
            emulated=emulated,
            derived=cell.derived,
            covers=(cell.values,),
            aliases=(cell.id,),
            origins=(("image", image_origin),),
            library=LibraryStep(name=name, command=command, outputs=library.outputs),
        )

    def image(self, values: Mapping[str, str], own: tuple[str, str] | None) -> tuple[str, str]:
        """Return the image for a platform, and what named it.

        Raises:
            ConfigError: there is none, or it is a word that is no alias.
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
        if value.startswith("abi3-"):
            floor = value.removeprefix("abi3-")
            built_with = own or self._lowest(values, floor)
        elif floor is None:
            return value, ""
        else:
            built_with = own or value
        for each, path in ((value.removeprefix("abi3-"), "build.abi3"), (built_with, where)):
            if _minor(each) < _minor(floor):
                raise ConfigError.of(
                    f"a {floor}-abi3 wheel has nothing to do with {each} ({cell.id})",
                    where=dict(merged.origins).get(path, path),
                    hint="the stable ABI is for that CPython and later ones, not for free-threaded "
                    "ones or PyPy: exclude them here",
                )
        return built_with, floor

    def _lowest(self, values: Mapping[str, str], floor: str) -> str:
        """The lowest Python from ``floor`` on that can build: the builder and torch have it."""
        fit = (each for each in self._fit(values) if _minor(each) >= _minor(floor))
        return next(fit, floor)

    def _later(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The Pythons later than the one that builds."""
        first = _minor(values["python"])
        return tuple(each for each in self._fit(values) if _minor(each) > first)

    def _fit(self, values: Mapping[str, str]) -> list[str]:
        """The CPythons that the builder has for a platform, and torch as well; lowest first."""
        torch = self._table.pythons(values) if self._table is not None else None
        platform = f"{_libc(values['libc'])[0]}_{values['arch']}"
        known = self._facts.identifiers
        built = (each for each in self._facts.pythons if f"{each}-{platform}" in known)
        fit = (each for each in built if torch is None or each in torch)
        return sorted((each for each in fit if _minor(each) > 0), key=_minor)

    def _merged(self, overrides: tuple[int, ...]) -> _Merged:
        found = self._known.get(overrides)
        if found is None:
            rules = [self._file.grid.override[index] for index in overrides]
            found = self._known[overrides] = _merge(self._file, rules)
        return found


def _minor(python: str) -> int:
    """``cp312`` -> 12; -1 for what no stable ABI is for: PyPy and free-threaded builds."""
    found = re.fullmatch(r"cp3(\d+)", python)
    return int(found[1]) if found else -1


def _libc(value: str) -> tuple[Libc, str]:
    """``manylinux_2_28`` -> manylinux and its baseline ``2.28``; empty when it names none."""
    return baseline_of(value) or (Libc(value), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Merged:
    """All layers over each other, for the cells with the same overrides.

    Attributes:
        build: how to build.
        test: how to test.
        version: the ``[version]`` tables.
        resources: what a target may use.
        demands: what the wheel must satisfy.
        env: (path of the version table beside it, origin, variables) in order.
        image: (origin, template) of an override's image.
        runner: (origin, label) of an override's runner.
        origins: setting -> dotted path of what set it.
    """

    build: Build
    test: Test
    version: Merged
    resources: Any
    demands: Demands
    env: list[tuple[str, str, Env]]
    image: tuple[str, str] | None
    runner: tuple[str, str] | None
    origins: tuple[tuple[str, str], ...]


_SECTIONS = ("build", "test", "resources", "verify")


def _merge(file: Layered, rules: Sequence[tuple[str, Override]]) -> _Merged:
    layers: list[tuple[str, Matrix | Override]] = [
        *file.layers,
        *((f"{path}.", rule) for path, rule in rules),
    ]
    origins: dict[str, str] = {}
    sections: dict[str, Any] = {}
    for name in _SECTIONS:
        parts = [(f"{prefix}{name}", getattr(part, name)) for prefix, part in layers]
        sections[name] = _over(parts, name, origins)
    version = merge(tuple((f"{prefix}version", part.version) for prefix, part in layers))
    env = [(f"{prefix}version.inject", f"{prefix}env", part.env) for prefix, part in layers]
    image = [(f"{path}.image", rule.image) for path, rule in rules if rule.image is not None]
    runner = [(f"{path}.runner", rule.runner) for path, rule in rules if rule.runner is not None]
    if runner:
        origins["runner"] = runner[-1][0]
    origins |= {f"version.{key}": path for key, path in version.where.items()}
    levels = {name: level for _, part in layers for name, level in part.verify.rules.items()}
    return _Merged(
        demands=_demands(sections.pop("verify"), levels),
        **sections,
        version=version,
        env=env,
        image=image[-1] if image else None,
        runner=runner[-1] if runner else None,
        origins=tuple(sorted(origins.items())),
    )


def _over(parts: Sequence[tuple[str, Model]], name: str, origins: dict[str, str]) -> Model:
    """Lay tables over each other: what a later one sets wins. Say in ``origins`` which it was."""
    merged = parts[0][1]
    for path, part in parts:
        changes = {field: getattr(part, field) for field in sorted(part.model_fields_set)}
        merged = merged.model_copy(update=changes)
        for field in changes:
            key = type(part).model_fields[field].alias or field
            origins[f"{name}.{key}"] = f"{path}.{key}"
    return merged


def _demands(verify: Verify, levels: Mapping[str, Level]) -> Demands:
    return Demands(
        levels=tuple(sorted(levels.items())),
        size_budget=verify.size_budget,
        required=tuple(verify.required or ()),
        build_paths=tuple(verify.build_paths or ()),
    )


def _resources(merged: _Merged) -> Resources:
    own = merged.resources
    return Resources(cpus=own.cpus, memory=_engine_size(own.memory), cost=own.cost)


def _engine_size(memory: str | None) -> str | None:
    """``16 GiB`` in bytes, as docker and podman take them; units are powers of 1024."""
    if memory is None:
        return None
    number, unit = re.fullmatch(r"([0-9.]+) ?([kKMGT]?)i?B?", memory).groups()  # type: ignore[union-attr]
    scale = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[unit.lower()]
    return f"{int(float(number) * scale)}b"


def _env(
    layers: Sequence[tuple[str, str, Env]],
    names: Mapping[str, str],
    versions: Iterable[tuple[str, dict[str, str]]],
) -> tuple[EnvVar, ...]:
    """Lay ``[env]`` and the overrides' over what tells the build its version.

    An empty value is left out, so that it cannot erase one that the image has; one that is
    written empty in the file is meant. Only what counts in the end is rendered: an override may
    replace what names an axis that this cell does not have.
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


def _in_order(found: Mapping[str, EnvVar]) -> tuple[EnvVar, ...]:
    """Order variables so that each shell value comes after those it names; else by name.

    The order of keys in the file must not matter, and the build evaluates one after the other.

    Raises:
        ConfigError: values name each other in a circle.
    """
    names = {
        each.name: {match[1] for match in _NAMED.finditer(each.value)} & found.keys() - {each.name}
        if each.shell
        else set()
        for each in found.values()
    }
    ordered: list[EnvVar] = []
    while names:
        ready = sorted(name for name, needs in names.items() if not needs & names.keys())
        if not ready:
            circle = min(names)
            raise ConfigError.of(
                f"shell values name each other in a circle: {', '.join(sorted(names))}",
                where=f"{found[circle].origin}.{circle}",
            )
        ordered.append(found[ready[0]])
        del names[ready[0]]
    return tuple(ordered)


def _steps(merged: _Merged, names: Mapping[str, str]) -> Steps:
    build, test = merged.build, merged.test
    origins = dict(merged.origins)

    def text(value: str | None, key: str) -> str | None:
        return None if value is None else template.render(value, names, where=origins.get(key, key))

    config = sorted((build.config_settings or {}).items())
    return Steps(
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
        timeout=build.timeout,
    )


# Fan-in


class _Libraries:
    """The libraries' targets, and which wheels need which of them."""

    def __init__(self, file: Layered) -> None:
        self.targets: list[Target] = []
        self.exclusions: list[Exclusion] = []
        self._file = file
        self._conditions = {
            name: condition.from_when(each.when, where=f"library.{name}.when")
            for name, each in file.settings.library.items()
            if each.when is not None
        }
        self._needed: set[TargetId] = set()

    def needs(self, cell: Cell) -> tuple[TargetId, ...]:
        """Return the targets whose outputs go into this cell's source."""
        values = as_mapping(cell)
        found = tuple(each.id for each in self.targets if self._feeds(each, values))
        self._needed.update(found)
        return found

    def _feeds(self, target: Target, values: Mapping[str, str]) -> bool:
        name = target.library.name if target.library is not None else ""
        node = self._conditions.get(name)
        if node is not None and not condition.holds(node, values):
            return False
        return _agree(dict(target.covers[0]), values)

    def check(self) -> None:
        """Refuse what would be built for nothing; leave it out where a channel is narrower.

        Raises:
            ConfigError: without a channel, a library's target feeds no wheel.
        """
        needed = set(self._needed)
        for target in reversed(self.targets):  # what is needed comes before what needs it
            needed.update(target.needs if target.id in needed else ())
        unused = [each for each in self.targets if each.id not in needed]
        if self._file.channel:
            self.targets = [each for each in self.targets if each.id in needed]
            self.exclusions += map(_for_nothing, unused)
        elif unused:
            raise ConfigError(
                *(
                    Problem(
                        what=f"{each.id} feeds no wheel",
                        where=f"library.{each.library.name}" if each.library else "library",
                        hint="exclude it, or give the wheels an axis with its values",
                    )
                    for each in unused[:MANY]
                )
            )


def _for_nothing(target: Target) -> Exclusion:
    rule = f"library.{target.library.name}" if target.library else "library"
    return Exclusion(cell=target.covers[0], rule=rule, reason="feeds no wheel of this channel")


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether two cells have equal values on the axes that both have."""
    return all(other.get(axis, value) == value for axis, value in one.items())


def _libraries(file: Layered, resolver: _Resolver) -> _Libraries:
    """Resolve the libraries in an order in which each comes after those it needs."""
    libraries = _Libraries(file)
    made: dict[str, list[Target]] = {}
    for name in _in_dependency_order(file.settings.library):
        library = file.settings.library[name]
        expansion = expand(of_library(name, file), prefix=f"{name}-")
        made[name] = []
        for cell in expansion.cells:
            target = resolver.library(name, library, cell)
            needs = (
                each.id
                for other in sorted(library.needs)
                for each in made[other]
                if _agree(dict(each.covers[0]), dict(cell.values))
            )
            made[name].append(replace(target, needs=tuple(needs)))
        libraries.targets += made[name]
        libraries.exclusions += expansion.exclusions
    return libraries


def _in_dependency_order(libraries: Mapping[str, Library]) -> list[str]:
    """Raise ConfigError where libraries need each other in a circle."""
    waiting = {name: set(each.needs) for name, each in libraries.items()}
    ordered: list[str] = []
    while waiting:
        ready = sorted(name for name, needs in waiting.items() if needs <= set(ordered))
        if not ready:
            names = [name for (name,) in circle({(name,): waiting[name] for name in waiting})]
            raise ConfigError.of(
                f"libraries need each other in a circle: {', '.join(names)}",
                where=f"library.{names[0]}.needs",
            )
        ordered.append(ready[0])
        del waiting[ready[0]]
    return ordered


# Collapse


def _collapsed(found: Iterable[Target], name: Callable[[Pairs], TargetId]) -> tuple[Target, ...]:
    """Make one target of the cells that would build the same; it names all it covers."""
    groups: dict[Any, list[Target]] = {}
    for target in found:
        groups.setdefault(_identity(target), []).append(target)
    shared = {key: _shared(group, name) for key, group in groups.items()}
    # What cells have in common may be the name of other groups too, or of one of their cells: then
    # the first cell tells them apart, whose ID is nobody else's.
    taken = Counter(each.id for each in shared.values())
    owner = {each.id: key for key, group in groups.items() for each in group}
    return tuple(
        each
        if taken[each.id] == 1 and owner.get(each.id, key) == key
        else replace(each, id=groups[key][0].id)
        for key, each in shared.items()
    )


def _identity(target: Target) -> Any:
    """Everything that decides about the wheel's bytes, the source and the host left out."""
    return (
        target.abi3 or target.python,
        bool(target.abi3),
        target.platform,
        target.baseline,
        target.version,
        target.build_tag,
        target.on_mismatch,
        target.pins,
        target.demands,
        target.image,
        tuple((each.name, each.value, each.shell) for each in target.env),
        replace(target.steps, timeout=None),
        target.needs,
        # What tells released variants apart has been dropped: they are not the same for that.
        target.variant if target.release else (),
    )


def _shared(group: Sequence[Target], name: Callable[[Pairs], TargetId]) -> Target:
    """Return the one target of a group: built with the lowest of its cells' Pythons."""
    if len(group) == 1 and not group[0].abi3:
        return group[0]
    first = min(group, key=lambda target: _minor(target.python))
    cells = [_built_as(each) for each in group]
    common = tuple(pair for pair in cells[0] if all(pair in other for other in cells[1:]))
    covered = dict.fromkeys(each.python for each in group)
    return replace(
        first,
        id=_named(common, name) or group[0].id,
        variant=common[3:],
        derived=tuple(
            pair for pair in first.derived if all(pair in each.derived for each in group)
        ),
        cost=max(each.cost for each in group),
        covers=tuple(cell for each in group for cell in each.covers),
        aliases=tuple(alias for each in group for alias in each.aliases),
        test_pythons=tuple(
            dict.fromkeys(each for each in (*covered, *first.test_pythons) if each != first.python)
        )
        if first.abi3
        else (),
    )


def _built_as(target: Target) -> Pairs:
    """A cell's values with the Python that its wheel is for."""
    python = f"abi3-{target.abi3}" if target.abi3 else target.python
    return (("python", python), *target.covers[0][1:])


def _named(common: Pairs, name: Callable[[Pairs], TargetId]) -> TargetId | None:
    try:
        return name(common)
    except ConfigError:  # a label that needs one of the axes that are gone
        return None
