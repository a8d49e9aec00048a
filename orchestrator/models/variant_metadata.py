"""What a wheel variant needs of a machine: ``variant.json`` of PEP 825 and PEP 850, both drafts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from orchestrator.errors import ConfigError
from orchestrator.models.json_form import Length
from orchestrator.models.reading import json_value, parse
from orchestrator.models.wheel_name import NULL

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "https://variants-schema.wheelnext.dev/peps/850/v0.2.0.json"
"""The draft that this program writes."""

LARGEST: Final = 1 << 20
"""Bytes of a document that is read."""

Word = Annotated[str, Length(100, pattern="^[a-z0-9_]+$")]
"""A namespace, or a feature."""
Value = Annotated[str, Length(100, pattern="^[a-z0-9_.]+$")]
Label = Annotated[str, Length(16, pattern="^[0-9a-z_.]+$")]
Properties = dict[Word, dict[Word, tuple[Value, ...]]]
"""Namespace -> feature -> values, of which a machine must have one."""
_Texts = tuple[str, ...]
Plain = bool | int | str | _Texts | dict[str, str | _Texts | dict[str, _Texts]] | None
"""What the drafts have beside that; it is nested no deeper."""

PROVIDERS: Final[Mapping[str, dict[str, Plain]]] = {
    "nvidia": {
        "requires": ("nvidia-variant-provider",),
        "plugin-api": "nvidia_variant_provider.plugin:NvidiaVariantPlugin",
    },
    "x86_64": {"requires": ("x86-64-variant-provider",)},
    "aarch64": {"requires": ("aarch64-variant-provider",)},
}
"""Namespaces that installers know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantMetadata:
    """The document of a wheel, or of all variants of a version.

    Attributes:
        schema: which draft it follows.
        namespaces: all namespaces, in decreasing priority.
        priorities: what older drafts rank beside namespaces.
        providers: namespace -> who knows the machine.
        variants: label -> what the machine must have; nothing is the null variant.
        more: what this program does not know, and keeps.
    """

    schema: Annotated[str, Length(1000)]
    namespaces: tuple[Word, ...]
    priorities: dict[str, Plain] = field(default_factory=dict)
    providers: dict[Word, dict[str, Plain]] = field(default_factory=dict)
    variants: dict[Label, Properties]
    more: dict[str, Plain] = field(default_factory=dict)

    @property
    def flaw(self) -> str:
        """Why it contradicts itself; empty if it does not."""
        used = {name for properties in self.variants.values() for name in properties}
        if unknown := sorted(used - {*self.namespaces}):
            return f"default-priorities.namespace lacks {', '.join(unknown)}"
        if self.providers and self.providers.keys() != {*self.namespaces}:
            return "providers has other namespaces than default-priorities.namespace"
        if self.variants.get(NULL):
            return f"the variant {NULL!r} has properties"
        return ""

    def joined(self, other: VariantMetadata) -> VariantMetadata:
        """Return the document of both, as PEP 825 merges them.

        Raises:
            ValueError: they contradict each other, or say too much together.
        """
        for name in ("schema", "more"):
            if getattr(self, name) != getattr(other, name):
                raise ValueError(f"they have different values of {_KEYS[name]}")
        short, long = sorted((self.namespaces, other.namespaces), key=len)
        if long[: len(short)] != short:
            raise ValueError(f"they have different values of {_KEYS['namespaces']}")
        tables: dict[str, Any] = {}
        for name in ("priorities", "providers", "variants"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if bad := [key for key in mine if key in theirs and mine[key] != theirs[key]]:
                raise ValueError(f"they have different values of {_KEYS[name]}.{bad[0]}")
            tables[name] = dict(sorted({**mine, **theirs}.items()))
        made = replace(self, namespaces=long, **tables)
        if (size := len(made.dumps())) > LARGEST:
            raise ValueError(f"a document of both has {size} bytes; at most {LARGEST} are read")
        return made

    def dumps(self) -> bytes:
        """Return it as JSON."""
        document = {
            "$schema": self.schema,
            "default-priorities": {"namespace": self.namespaces, **self.priorities},
            **({"providers": self.providers} if self.providers else {}),
            "variants": self.variants,
            **self.more,
        }
        return (json.dumps(document, indent=1) + "\n").encode()


_KEYS = {
    "schema": "$schema",
    "namespaces": "default-priorities.namespace",
    "priorities": "default-priorities",
    "providers": "providers",
    "variants": "variants",
    "more": "keys that this version does not know",
}


def loads(data: bytes, *, where: str) -> VariantMetadata:
    """Read a document.

    Raises:
        ConfigError: it is none.
    """
    tree = json_value(data, where=where, largest=LARGEST)
    priorities = tree.get("default-priorities") if isinstance(tree, dict) else None
    if not isinstance(priorities, dict):
        raise ConfigError.of("not a document of wheel variants (PEP 825)", where=where)
    known = {"$schema", "default-priorities", "providers", "variants"}
    found = {
        "schema": tree.get("$schema"),
        "namespaces": priorities.get("namespace"),
        "priorities": {key: value for key, value in priorities.items() if key != "namespace"},
        "providers": tree.get("providers", {}),
        "variants": tree.get("variants"),
        "more": {key: value for key, value in tree.items() if key not in known},
    }
    return parse(VariantMetadata, found, where=where)
