"""Cells to targets to build requests: everything resolved, every digest computed. Pure.

Order of precedence, for every setting: built-in default < top-level table < overrides in the order
of the file. Environment variables are merged by name; everything else replaces.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.config import template
from orchestrator.config.settings import EnvValue
from orchestrator.errors import ConfigError, Problem
from orchestrator.matrix.expand import expand
from orchestrator.models import (
    Arch,
    BackendName,
    BuildRequest,
    Digest,
    EnvVar,
    Libc,
    OnMismatch,
    Plan,
    Steps,
    Target,
)
from orchestrator.version import compose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.config.settings import (
        Build,
        Env,
        Override,
        Settings,
        Test,
        VersionParts,
    )
    from orchestrator.matrix.expand import Cell
    from orchestrator.models import BuilderFacts, Source
    from orchestrator.version import Composed

M = TypeVar("M", "VersionParts", "Build", "Test")
T = TypeVar("T")

_RUNNERS = {
    Arch.X86_64: "ubuntu-24.04",
    Arch.I686: "ubuntu-24.04",
    Arch.AARCH64: "ubuntu-24.04-arm",
    Arch.ARMV7L: "ubuntu-24.04-arm",
}
"""Hosted CI runners that execute an architecture without QEMU."""

MANY = 10
"""Problems of one kind that are reported at once."""

_NAMED = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
"""A variable that a shell value names."""

_FALLBACK_RUNNER = "ubuntu-24.04"


def make_plan(settings: Settings, *, source_version: str | None, facts: BuilderFacts) -> Plan:
    """Resolve the whole matrix.

    Args:
        settings: the validated file.
        source_version: the source's static version, None when it has none.
        facts: what the locked cibuildwheel knows, for images.

    Raises:
        ConfigError: a rule matches nothing, IDs collide, a version cannot be, an image is missing.
    """
    expansion = expand(settings)
    targets = tuple(_target(settings, cell, source_version, facts) for cell in expansion.cells)
    _check_distinct(targets)
    return Plan(targets=targets, exclusions=expansion.exclusions)


def _check_distinct(targets: Iterable[Target]) -> None:
    """Two wheels of one name would overwrite each other; variants must differ in the file name."""
    seen: dict[tuple[str, ...], Target] = {}
    problems = []
    for target in targets:
        name = (target.python, target.platform, target.version, target.build_tag)
        first = seen.setdefault(name, target)
        if first is not target:
            problems.append(
                Problem(
                    what=f"{first.id} and {target.id} would make wheels of one name: both are "
                    f"{target.version} for {target.build_identifier}",
                    where="version.local",
                    hint='name the variant, for instance local = "{'
                    + next(axis for axis, _ in target.variant)
                    + '}"',
                )
            )
    if problems:
        raise ConfigError(*problems[:MANY])


def make_request(
    target: Target, *, source: Source, backend: BackendName, toolchain: Digest, builder: str
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
    """
    content = {
        "identifier": target.build_identifier,
        "version": target.version,
        "build_tag": target.build_tag,
        "on_mismatch": target.on_mismatch,
        "image": target.image if backend is BackendName.CIBUILDWHEEL else "",
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


def _target(
    settings: Settings, cell: Cell, source_version: str | None, facts: BuilderFacts
) -> Target:
    values = dict(cell.values)
    arch, libc = Arch(values["arch"]), Libc(values["libc"])
    overrides = [(f"override[{i}]", settings.override[i]) for i in cell.overrides]
    version, composed = _version(settings, overrides, values, source_version)
    names = {**values, **composed.values()}
    runner = _last(rule.runner for _, rule in overrides)
    return Target(
        id=cell.id,
        python=values["python"],
        libc=libc,
        arch=arch,
        variant=cell.variant,
        version=composed.version,
        build_tag=composed.build_tag,
        on_mismatch=version.on_mismatch or OnMismatch.FAIL,
        image=_image(settings, overrides, values, facts),
        env=_env(settings, overrides, names),
        steps=_steps(settings, overrides, names),
        runner=runner or _RUNNERS.get(arch, _FALLBACK_RUNNER),
        emulated=runner is None and arch not in _RUNNERS,
    )


def _version(
    settings: Settings,
    overrides: list[tuple[str, Override]],
    values: Mapping[str, str],
    source_version: str | None,
) -> tuple[VersionParts, Composed]:
    parts = _merged(settings.version, *(rule.version for _, rule in overrides))
    base = parts.base if parts.base is not None else source_version
    return parts, compose(base=base, local=parts.local, build_tag=parts.build_tag, values=values)


def _merged(first: M, *others: M) -> M:
    """Lay ``others`` over ``first``: what a later one sets wins."""
    merged = first
    for other in others:
        changes = {name: getattr(other, name) for name in other.model_fields_set}
        merged = merged.model_copy(update=changes)
    return merged


def _last(values: Iterable[T | None]) -> T | None:
    return next((v for v in reversed(list(values)) if v is not None), None)


def _image(
    settings: Settings,
    overrides: list[tuple[str, Override]],
    values: Mapping[str, str],
    facts: BuilderFacts,
) -> str:
    platform = f"{values['libc']}_{values['arch']}"
    where = f"images.{platform}"
    chosen = settings.images.get(platform) or facts.default_images.get(platform)
    for rule_path, rule in overrides:
        if rule.image is not None:
            where, chosen = f"{rule_path}.image", rule.image
    if not chosen:
        raise ConfigError.of(
            f"no image for {platform}: cibuildwheel has none of its own",
            where=where,
            hint="name one that holds /opt/python/<tag>/bin/python",
        )
    image = template.render(chosen, values)
    known = facts.aliases.get(values["arch"], ())
    aliases = [each for each in known if each.startswith(values["libc"])]
    # A reference has a registry, a path or a tag; a bare word can only be an alias.
    if not any(mark in image for mark in "/:@") and image not in aliases:
        raise ConfigError.of(
            f"{image!r} is neither an image reference nor an alias for {platform}",
            where=where,
            hint=f"aliases: {', '.join(aliases) or 'none'}",
        )
    return image


def _env(
    settings: Settings, overrides: list[tuple[str, Override]], names: Mapping[str, str]
) -> tuple[EnvVar, ...]:
    layers: list[tuple[str, Env | dict[str, str]]] = [
        ("version.inject", settings.version.inject),
        ("env", settings.env),
    ]
    for where, rule in overrides:
        layers.append((f"{where}.version.inject", rule.version.inject))
        layers.append((f"{where}.env", rule.env))
    found: dict[str, EnvVar] = {}
    for origin, layer in layers:
        for name, value in layer.items():
            shell = isinstance(value, EnvValue)
            text = value.shell if isinstance(value, EnvValue) else value
            found[name] = EnvVar(
                name=name, value=template.render(text, names), origin=origin, shell=shell
            )
    return _in_order(found)


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


def _steps(
    settings: Settings, overrides: list[tuple[str, Override]], names: Mapping[str, str]
) -> Steps:
    build = _merged(settings.build, *(rule.build for _, rule in overrides))
    test = _merged(settings.test, *(rule.test for _, rule in overrides))

    def text(value: str | None) -> str | None:
        return None if value is None else template.render(value, names)

    config = sorted((build.config_settings or {}).items())
    return Steps(
        before_all=text(build.before_all),
        before_build=text(build.before_build),
        config_settings=tuple((key, template.render(value, names)) for key, value in config),
        repair=text(build.repair),
        external=tuple(build.external or ()),
        test_command=text(test.command),
        test_requires=tuple(template.render(each, names) for each in test.requires or ()),
        timeout=build.timeout,
    )
