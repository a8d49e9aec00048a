"""The wheel variants that the targets' wheels become: labels, properties, versions. Pure.

PEP 825 and PEP 850 describe variants; both are drafts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.config import condition, template
from orchestrator.errors import ConfigError, closest
from orchestrator.models.variant_metadata import PROVIDERS, SCHEMA, VariantMetadata
from orchestrator.models.wheel_name import LABEL, NULL
from orchestrator.plan.layers import channel_matrix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.config.settings import Settings, VariantSettings
    from orchestrator.models.target import Plan, Target, TargetId
    from orchestrator.models.variant_metadata import Plain, Properties

_PLACE = ("python", "arch", "libc")
_NO_LABEL = re.compile(r"[^0-9a-z_.]")
_WORD = re.compile(r"[0-9a-z_.]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelVariant:
    """What the wheel of a target becomes.

    Attributes:
        version: the variant's version, PEP 440.
        metadata: what its label, the only one, stands for.
        plain: whether it is also the wheel for installers that know no variants.
    """

    version: str
    metadata: VariantMetadata
    plain: bool

    @property
    def label(self) -> str:
        """The label in its name."""
        return next(iter(self.metadata.variants))


def wheel_variants(plan: Plan, settings: Settings) -> dict[TargetId, WheelVariant]:
    """Return the variants of a plan's wheels.

    Raises:
        ConfigError: the matrix has no ``[variant]``, or it does not fit the plan.
    """
    if settings.variant is None:
        hint = "docs/howto/variants.md has an example"
        raise ConfigError.of("the matrix has no wheel variants", where="variant", hint=hint)
    made = _Maker(settings.variant, settings, plan).made()
    _check_labels(made)
    _check_names(made, plan)
    return made


class _Maker:
    def __init__(self, variant: VariantSettings, settings: Settings, plan: Plan) -> None:
        self._variant = variant
        self._axes = channel_matrix(settings, plan.channel).grid.axes
        self._targets = [target for target in plan.targets if target.python]

    def made(self) -> dict[TargetId, WheelVariant]:
        properties = {target.id: self._properties(target) for target in self._targets}
        every = _union(properties.values())
        head = self._head(every)
        plain = self._variant.plain
        node = None if plain is None else condition.from_when(plain, where="variant.plain")
        return {
            target.id: WheelVariant(
                version=self._version(target),
                metadata=replace(
                    head,
                    variants={self._label(target, properties[target.id]): properties[target.id]},
                ),
                plain=node is not None
                and condition.holds(node, _values(target), ids=(target.id, *target.aliases)),
            )
            for target in self._targets
        }

    def _asked(self, target: Target) -> dict[str, str]:
        """Return the axes of a target that ask a machine for something, and their values."""
        values, omit = _values(target), self._variant.omit
        return {
            axis: values[axis]
            for axis in self._variant.axes
            if axis in values and values[axis] not in omit.get(axis, ())
        }

    def _properties(self, target: Target) -> Properties:
        found: Properties = {}
        for axis in self._asked(target):
            for index, text in enumerate(self._variant.axes[axis]):
                where = f"variant.axes.{axis}[{index}]"
                namespace, feature, value = template.render(
                    text, _values(target), where=where
                ).split("::", 2)
                if not _WORD.fullmatch(value):
                    what = f"{value!r} is not a value: digits, lower-case letters, '_' and '.'"
                    raise ConfigError.of(what, where=where)
                features = found.setdefault(namespace, {})
                features[feature] = (*features.get(feature, ()), value)
        return found

    def _label(self, target: Target, properties: Properties) -> str:
        if not properties:
            return NULL
        values = _values(target)
        if self._variant.label is not None:
            label = template.render(self._variant.label, values, where="variant.label")
        else:
            texts = (
                value
                if axis not in self._axes or (own := self._axes[axis][1].label) is None
                else template.render(own, values, where=f"axes.{axis}.label")
                for axis, value in self._asked(target).items()
            )
            label = _NO_LABEL.sub("_", "_".join(filter(None, texts)).lower())
        if label == NULL or not LABEL.fullmatch(label):
            raise ConfigError.of(
                f"{target.id}: {label!r} cannot be the label of its variant",
                where="variant.label",
                hint="1 to 16 of 0-9, a-z, '_' and '.': say a shorter template",
            )
        return label

    def _version(self, target: Target) -> str:
        public = Version(target.version).public
        local = template.render(self._variant.local, _values(target), where="variant.local")
        try:
            return str(Version(f"{public}+{local}")) if local else public
        except ValueError:  # InvalidVersion, or more digits than Python makes a number of
            what = f"{target.id}: not a local version: {local!r}"
            raise ConfigError.of(what, where="variant.local") from None

    def _head(self, every: Properties) -> VariantMetadata:
        """Return what all variants say; it does not depend on which of them are made."""
        ranked = self._variant.priorities
        for number, namespace in enumerate(ranked):
            if namespace not in every:
                hint = closest(namespace, every)
                where = f"variant.priorities[{number}]"
                raise ConfigError.of(f"no variant uses {namespace!r}", where=where, hint=hint)
        names = tuple(dict.fromkeys((*ranked, *every)))
        return VariantMetadata(
            schema=SCHEMA,
            namespaces=names,
            providers={name: self._provider(name, every[name]) for name in names},
            variants={},
        )

    def _provider(self, namespace: str, features: dict[str, tuple[str, ...]]) -> dict[str, Plain]:
        """Return who knows a namespace; one of the project's own has every value that it names."""
        own = self._variant.providers.get(namespace)
        if own is None:
            static: dict[str, Plain] = {
                "static-properties": {**features},
                "feature-order": tuple(features),
            }
            return PROVIDERS.get(namespace, static)
        api = {"plugin-api": own.plugin_api} if own.plugin_api else {}
        return {"requires": own.requires, **api}


def _values(target: Target) -> dict[str, str]:
    """Return the values of a target's axes."""
    first = dict(target.covers[0]) if target.covers else {}
    place = {"python": target.python_value, "arch": str(target.arch), "libc": str(target.libc)}
    return {**place, **first, **dict(target.variant)}


def _union(some: Iterable[Properties]) -> Properties:
    """Return all properties, in the order in which the matrix has them."""
    found: Properties = {}
    for properties in some:
        for namespace, features in properties.items():
            for feature, values in features.items():
                of = found.setdefault(namespace, {})
                of[feature] = tuple(dict.fromkeys((*of.get(feature, ()), *values)))
    return found


def _check_labels(made: Mapping[TargetId, WheelVariant]) -> None:
    """Check that a label stands for the same properties everywhere in a version, and conversely."""
    owners: dict[tuple[str, str], tuple[TargetId, str]] = {}
    for target_id, variant in made.items():
        label, properties = variant.label, str(variant.metadata.variants)
        stands_for = str(variant.metadata.variants[label])
        for key, value in ((label, properties), (stands_for, label)):
            other, same = owners.setdefault((variant.version, key), (target_id, value))
            if same != value:
                raise ConfigError.of(
                    f"{other} and {target_id} have the label {label!r} and different properties"
                    if key == label
                    else f"{other} and {target_id} have different labels and the same properties",
                    where="variant.label",
                    hint="name in variant.label all axes of variant.axes, and no others; "
                    "variant.local may have the others",
                )


def _check_names(made: Mapping[TargetId, WheelVariant], plan: Plan) -> None:
    """Check that no two wheels become the same."""
    owners: dict[tuple[str, ...], TargetId] = {}
    for target in plan.targets:
        if (variant := made.get(target.id)) is None:
            continue
        values = _values(target)
        place = (variant.version, target.build_tag, *(values[key] for key in _PLACE))
        for label in (variant.label, *(("",) if variant.plain else ())):
            other = owners.setdefault((label, *place), target.id)
            if other != target.id:
                what = f"label {label!r}" if label else "wheel without a label"
                raise ConfigError.of(
                    f"{other} and {target.id} would be the same wheel: {variant.version}, {what}",
                    where="variant.axes" if label else "variant.plain",
                    hint="say in variant.axes what their other axes ask of a machine, or name "
                    "these in variant.local"
                    if label
                    else "it has to match one of them",
                )
