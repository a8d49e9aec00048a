"""The typed model of matrix.toml. Still templated; `orchestrator.plan.plan` resolves it."""

from __future__ import annotations

import re
from datetime import date
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from orchestrator.config import sources
from orchestrator.config.destinations import DESTINATIONS, OTHERS
from orchestrator.config.template import PASS_THROUGH
from orchestrator.config.verify_rules import RULES, parse_size
from orchestrator.models.platforms import Libc
from orchestrator.models.python_tag import ABI3_FLOOR, PythonTag
from orchestrator.models.store_trust import PUBLIC_KEY, StoreTrust
from orchestrator.models.target import (
    CompilerCacheUse,
    CompilerKind,
    CudaSource,
    EmulationMode,
    FrontendName,
    OnMismatch,
    OnRefusal,
    RuleLevel,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DERIVED = ("cxx11abi", "gpu_archs")
"""Properties that the torch table gives a cell; rules and templates may name them like axes."""

VERSION_NAMES = frozenset({"version", "public", "base", "pre", "post", "dev", "local", "build_tag"})
"""Template names that are known once the version is composed."""

RESERVED_AXES = PASS_THROUGH | VERSION_NAMES | {"gpu_archs"}
"""Names that templates know already."""

_AXIS_NAME = re.compile(r"[a-z][a-z0-9_]*")
_AXIS_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_BASELINE = re.compile(r"(manylinux|musllinux)_(\d+)_(\d+)")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _text(value: Any) -> Any:
    """Accept strings and integers; refuse floats, which TOML has already changed."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        kind = type(value).__name__
        hint = "; quote it: TOML reads 2.10 as the number 2.1" if isinstance(value, float) else ""
        raise PydanticCustomError("text", f"must be a string, got {kind} {value!r}{hint}")
    return str(value)


def _texts(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value,)


def _command(value: Any) -> Any:
    """Join a list of commands as cibuildwheel does."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return " && ".join(value)
    return value


def _bytes(value: Any) -> Any:
    """Accept ``400 MB`` and whole bytes."""
    size = parse_size(str(value)) if isinstance(value, str | int) else None
    if size is None or isinstance(value, bool):
        raise PydanticCustomError("size", 'must be a size such as "400 MB" or "1.5 GiB"')
    return size


def _rule(value: str) -> str:
    if value not in RULES:
        close = get_close_matches(value, RULES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else "docs/reference/verify.md lists them"
        raise PydanticCustomError("rule", f"unknown rule {value!r}; {hint}")
    return value


def _destination(value: str) -> str:
    if value not in DESTINATIONS and OTHERS.fullmatch(value) is None:
        known = ", ".join(DESTINATIONS)
        raise PydanticCustomError("destination", f"must be {known} or a URL, got {value!r}")
    return value


def _label(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise PydanticCustomError("label", f"must be the label of a runner, got {value!r}")
    return value


_TEXT = {"type": ["string", "integer"]}
_VALUES = {"type": "array", "items": _TEXT, "minItems": 1}
_TEXTS = {"anyOf": [_TEXT, _VALUES]}

Text = Annotated[str, BeforeValidator(_text), WithJsonSchema(_TEXT)]
Texts = Annotated[
    tuple[Text, ...],
    BeforeValidator(_texts),
    Field(min_length=1),
    WithJsonSchema(_TEXTS),
]
Repeatable = Annotated[
    tuple[Text, ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (_text(value),)),
    Field(min_length=1),
    WithJsonSchema(_TEXTS),
]
"""One value, or several of one key."""

_STRINGS = {"type": "array", "items": {"type": "string"}}
Command = Annotated[
    str,
    BeforeValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, _STRINGS]}),
]
Strings = tuple[str, ...]
Count = Annotated[int, Field(gt=0, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Size = Annotated[
    int,
    BeforeValidator(_bytes),
    Field(gt=0),
    WithJsonSchema({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]}),
]
Runner = Annotated[
    tuple[Annotated[str, AfterValidator(_label)], ...],
    BeforeValidator(_texts),
    Field(min_length=1),
    WithJsonSchema({"anyOf": [{"type": "string"}, {**_STRINGS, "minItems": 1}]}),
]
RuleName = Annotated[str, AfterValidator(_rule)]
DestinationName = Annotated[str, AfterValidator(_destination)]


class Model(BaseModel):
    """Frozen; unknown keys are errors; TOML keys use dashes."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        # Otherwise each model is compiled for itself, and again inside each that contains it.
        defer_build=True,
    )


class Project(Model):
    """What is built."""

    source: str = "."
    """A directory (relative to matrix.toml), an sdist (``.tar.gz``, ``.zip``), or a pinned
    requirement (``regex==2026.11.15``) whose sdist comes from the package index. ``plan`` as a
    table does not fetch it: until something else has (``build``, ``explain``, ``plan --format
    json``), a note says that the Pythons it supports and its ``[tool.cibuildwheel]`` are not known.
    """
    exclude: Strings = ()
    """Globs over the paths of a source directory (``["README.md", ".github", "docs/*"]``): files
    and directories that no build gets. What happens to them changes no key; ``*`` also matches
    ``/``.
    """
    sdist: bool | None = None
    """``true``: ``build`` makes the sdist of the source directory too; ``false``: there is none,
    and nobody misses it; unset: none is made, and ``publish`` to PyPI says so.
    """


Match = Annotated[
    Annotated[bool, Tag("(presence)")] | Annotated[Texts, Tag("(values)")],
    Discriminator(lambda value: "(presence)" if isinstance(value, bool) else "(values)"),
]
"""``true`` and ``false``: the cell has this axis, or not; else exact values, globs, ranges."""


When = Annotated[
    Annotated[str, Tag("(expression)"), Field(min_length=1)]
    | Annotated[dict[str, Match], Tag("(axes)"), Field(min_length=1)],
    Discriminator(lambda value: "(expression)" if isinstance(value, str) else "(axes)"),
]
"""A table of axis -> what it must match, all of them; or an expression as for ``--select``."""


class Axis(Model):
    """One dimension of the matrix."""

    values: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """The values, in the order in which they are built; unset when `[[rows]]` give them."""
    label: str | None = None
    """Template of this axis' part of the target ID; the value itself when unset."""
    when: When | None = None
    """The cells that have this axis; it is absent from all others, and does not multiply them."""
    label_only: StrictBool = False
    """Whether its values may change nothing but the names of wheels; otherwise that is an error."""


def _axis(value: Any) -> Any:
    if isinstance(value, dict | Axis):
        return value
    return {"values": [value] if isinstance(value, str) else value}


class _AxisSchema:
    """In the JSON Schema an axis is a table or, in short, its values."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "string"}, _VALUES, handler(schema)]}


AxisField = Annotated[Axis, BeforeValidator(_axis), _AxisSchema]


class Rows(Model):
    """Axes that move together, row by row, instead of being multiplied."""

    axes: Annotated[tuple[str, ...], Field(min_length=2)]
    """The axes' names: the columns."""
    values: Annotated[
        tuple[tuple[Texts, ...], ...],
        Field(min_length=1),
    ]
    """The rows; a list inside a row stands for each of its values."""
    when: When | None = None
    """The cells that have these axes."""


class EnvValue(Model):
    """An environment variable that the shell of the build evaluates: ``{ shell = "$PATH:/x" }``."""

    shell: str
    """A value in which ``$NAME`` and ``$(command)`` are evaluated where the build runs."""


Env = dict[
    str,
    Annotated[
        Annotated[EnvValue, Tag("(table)")] | Annotated[Text, Tag("(text)")],
        # Otherwise an error in one kind is reported for both.
        Discriminator(lambda v: "(table)" if isinstance(v, dict | EnvValue) else "(text)"),
    ],
]
Include = dict[str, Texts]


class Exclude(Model):
    """Cells that are not built."""

    when: When
    """Which: axis -> exact value, glob, version range or presence; or an expression."""
    reason: str = ""
    """Why, for the plan."""
    optional: bool = False
    """Whether it may match nothing."""


_MEMORY = r"^[0-9]+(\.[0-9]+)? ?[kKMGT]i?B?$"


def _memory(value: Any) -> Any:
    """Accept ``16 GiB``; units are powers of 1024, as docker and podman take them."""
    if not isinstance(value, str) or re.fullmatch(_MEMORY, value) is None:
        raise PydanticCustomError("memory", 'must be a size such as "16 GiB"')
    number = value.rstrip("iB")
    return int(float(number[:-1]) * 1024 ** ("kmgt".index(number[-1].lower()) + 1))


Memory = Annotated[
    int, BeforeValidator(_memory), WithJsonSchema({"type": "string", "pattern": _MEMORY})
]


class ResourceSettings(Model):
    """What one target may use while it is built."""

    cpus: Positive | None = None
    """CPUs of the container."""
    memory: Memory | None = None
    """Memory of the container, for instance ``16 GiB``."""
    memory_per_job: Memory | None = None
    """Memory that one compiler takes at most; 2 GiB when unset."""
    cost: Positive | None = None
    """How long it takes compared with other targets (1 when unset)."""


class FrontendSettings(Model):
    """What asks the build backend for a wheel: ``build``, or a table with arguments."""

    name: FrontendName
    """``build``, ``build[uv]``, ``pip`` or ``uv``."""
    args: Strings = ()
    """Further arguments."""


def _frontend(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class _FrontendSchema:
    """In the JSON Schema a frontend is a table or, in short, its name."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        return {"anyOf": [{"enum": list(FrontendName)}, handler(schema)]}


FrontendField = Annotated[FrontendSettings, BeforeValidator(_frontend), _FrontendSchema]

TimedStep = Literal["setup", "before-all", "before-build", "build", "repair", "test"]


class Build(Model):
    """How a wheel is built."""

    requires: Strings | None = None
    """Requirements (PEP 508) that the build needs beside those of its own
    ``build-system.requires``: ``["torch=={torch}.*", "ninja"]``.
    """
    constraints: Strings | None = None
    """Requirements (PEP 508) that limit versions and install nothing by themselves:
    ``["setuptools<81"]``. They also limit what pip and uv install in ``before-build``
    (``PIP_CONSTRAINT``, ``UV_CONSTRAINT``), and for building an sdist there
    (``PIP_BUILD_CONSTRAINT``, ``UV_BUILD_CONSTRAINT``), but no test.
    """
    isolation: StrictBool | None = None
    """``true`` (the default): a clean environment with the project's own ``build-system.requires``
    and ``requires``; ``false``: nothing but ``requires`` and what ``before-build`` installs.
    """
    frontend: FrontendField | None = None
    """What asks the project's build backend for a wheel: ``build``, ``build[uv]``, ``pip`` or
    ``uv``, or a table with arguments: ``{ name = "build", args = ["-x"] }``; unset: what the
    project's ``[tool.cibuildwheel]`` says.
    """
    cuda: CudaSource | None = None
    """Where nvcc and its toolkit come from: ``image``, ``host`` or ``index`` (the package index);
    unset: the first that has the cell's version.
    """
    before_all: Command | None = None
    """Shell command run once in the source before everything else; unset: what the project's
    ``[tool.cibuildwheel]`` says.
    """
    before_build: Command | None = None
    """Shell command run in the source before the wheel is built; unset: what the project's
    ``[tool.cibuildwheel]`` says.
    """
    config_settings: dict[str, Repeatable] | None = None
    """PEP 517 config settings; a list gives one of them several values."""
    repair: str | None = None
    """``none`` (nothing is grafted), ``auditwheel`` (the locked one, where the libraries are), or a
    command with ``{wheel}`` and ``{dest_dir}``; unset: the project's own ``repair-wheel-command``,
    or the locked auditwheel for a wheel that needs it.
    """
    abi3: Annotated[str, Field(pattern=ABI3_FLOOR)] | None = None
    """The cells are for the stable ABI from this Python on, such as ``cp39``: built once for all
    their Pythons.
    """
    abi3_python: Annotated[str, Field(pattern=ABI3_FLOOR)] | None = None
    """The Python that builds such a wheel; unset: the lowest one available."""
    torch_stable: Annotated[str, Field(pattern=r"^([0-9]+[.][0-9]+)?$")] | None = None
    """The wheel uses nothing of libtorch but its stable ABI, from this torch on, such as ``2.9``:
    one target for the cells of this torch and all later ones; empty: each torch has its own.
    """
    stable_abi: dict[str, Text] | None = None
    """The same for other axes -> the lowest value that a wheel serves: ``{ numpy = "2.0" }``;
    built once, with it, for that value and all later ones.
    """
    repair_refused: OnRefusal | None = None
    """When ``auditwheel`` refuses: ``fail`` (the default), or ``keep``: the wheel stays as it was
    built and becomes ``linux_*``, which promises nothing about outside libraries.
    """
    external: Strings | None = None
    """Libraries that may stay outside the wheel: the presets ``cuda``, ``torch``, ``rocm``, or
    soname globs such as ``libfoo.so*``; any other library outside the policy is an error.
    """
    emulation: EmulationMode | None = None
    """Where QEMU would be needed: ``accelerated`` (C and C++ are compiled natively, the rest is
    emulated), ``full`` (all is emulated) or ``cross`` (nothing is); unset: ``accelerated`` where
    that is safe, and without any container engine ``cross``.
    """
    compiler: CompilerKind | None = None
    """``gcc``: the image's ABI, headers and C++ library; ``zig``: its own C++ library, linked
    statically, and any glibc; unset: ``zig`` with ``baseline`` or ``cross``, else ``gcc``.
    """
    baseline: Annotated[str, Field(pattern=r"^2\.[0-9]{1,2}$")] | None = None
    """The glibc that zig builds for, such as ``2.17``; unset: that of the cell's ``libc``, else
    2.17 or the architecture's first.
    """
    normalise: StrictBool | None = None
    """``true``: all members get a fixed order, one time (``SOURCE_DATE_EPOCH``) and plain modes, so
    that the same files give the same wheel; ``false`` by default.
    """
    timeout: Count | None = None
    """Seconds a target may take."""
    timeouts: dict[TimedStep, Count] | None = None
    """Step (``setup``, ``before-all``, ``before-build``, ``build``, ``repair``, ``test``) ->
    seconds it may take.
    """


class TestSettings(Model):
    """How a wheel is tested."""

    command: Command | None = None
    """Shell command run with the wheel installed in a clean environment, outside the source."""
    before: Command | None = None
    """Shell command run in the source before the wheel is installed for the test."""
    requires: Strings | None = None
    """Requirements installed for the test. Here, in the three lists below, and in
    `build.config-settings`, nothing (``[]``) replaces what ``[tool.cibuildwheel]`` says.
    """
    extras: Strings | None = None
    """Extras of the wheel that are installed with it."""
    groups: Strings | None = None
    """Dependency groups (PEP 735) of the project's ``pyproject.toml`` that are installed for the
    test.
    """
    sources: Strings | None = None
    """Files and directories of the source that are copied to where the test runs."""
    smoke: StrictBool | None = None
    """``false`` switches off the import, under QEMU, of a wheel that native compilers made; true by
    default.
    """


class Verify(Model):
    """What a finished wheel must satisfy."""

    rules: dict[RuleName, RuleLevel] = Field(default_factory=dict)
    """Rule -> error, warn or off; merged by name."""
    size_budget: Size | None = None
    """The most a wheel may have: ``"400 MB"``, or bytes."""
    required: Strings | None = None
    """Globs over the wheel's members; each must match at least one."""
    build_paths: Strings | None = None
    """Texts that no member may contain, such as the directory it was built in."""


class Publish(Model):
    """Where wheels are meant to go."""

    to: tuple[DestinationName, ...] | None = None
    """``pypi``, ``testpypi``, ``github-release`` or URLs; what one would refuse is an error."""


def _ranking(value: Any) -> Any:
    """A single value is a source if it reads like one, else it stands for itself."""
    if isinstance(value, list | tuple):
        return value
    text = _text(value)
    return (text if sources.is_source(text) else f"const:{text}",)


def _flag(value: Any) -> Any:
    return f"const:{str(value).lower()}" if isinstance(value, bool) else value


def _source(text: str) -> str:
    try:
        sources.parse(text)
    except ValueError as error:
        raise PydanticCustomError("source", str(error)) from None
    return text


Ranking = Annotated[
    tuple[Annotated[Text, AfterValidator(_source)], ...],
    BeforeValidator(_ranking),
    Field(min_length=1),
    WithJsonSchema(_TEXTS),
]
"""Sources of one part of the version, the strongest first; see `orchestrator.config.sources`."""


class VersionParts(Model):
    """How the version is composed; a later layer replaces what it sets, tables key by key."""

    base: Ranking | None = None
    """The base version, or an array of its sources; unset: ``pyproject``, which is what
    ``pyproject.toml`` or ``PKG-INFO`` says.
    """
    pre: Ranking | None = None
    """Pre-release part (``rc1``); replaces the base's own, empty for none."""
    post: Ranking | None = None
    """Number of the post-release; replaces the base's own."""
    dev: Ranking | None = None
    """Number of the development release (``20250901``); replaces the base's own."""
    parts: dict[str, Ranking] = Field(default_factory=dict)
    """Parts of your own for templates: name -> value, or its sources."""
    local: Text | None = None
    """Template of the PEP 440 local version, without the plus sign."""
    build_tag: Text | None = None
    """Template of the PEP 427 build tag."""
    omit: dict[str, Texts] = Field(default_factory=dict)
    """Axis or part -> the values that ``local`` and ``build-tag`` leave out, as those of a default
    variant.
    """
    keep_zeros: bool | None = None
    """``true``: the local part's numbers stay as composed (``nv26.04``) and are not shortened to
    PEP 440's canonical form (``nv26.4``).
    """
    release: Annotated[
        Ranking | None,
        BeforeValidator(_flag),
        WithJsonSchema({"anyOf": [{"type": "boolean"}, *_TEXTS["anyOf"]]}),
    ] = None
    """``true``, or sources: this is for a public index, so there is no local part and no build tag.
    """
    presets: Texts | None = None
    """How the build learns its version: ``setuptools-scm``, ``hatch-vcs``, ``scikit-build-core``,
    ``torch``, ``flashinfer``, ``vllm``, ``triton``.
    """
    inject: dict[str, Text] = Field(default_factory=dict)
    """Environment variable -> template; not set if a value it uses is empty."""
    pins: dict[str, Text] = Field(default_factory=dict)
    """Project -> template of the version specifier for the wheel's requirement on it."""
    on_mismatch: OnMismatch | None = None
    """``fail`` (the default): a wheel with another version is refused; ``rewrite``: its version is
    rewritten in file name, dist-info directory, ``METADATA`` and ``RECORD``.
    """


class CellSettings(Model):
    """Settings of targets; the file, its channels and its overrides have them."""

    env: Env = Field(default_factory=dict)
    """Environment variables of the build; an override adds to those of ``[env]``."""
    resources: ResourceSettings = ResourceSettings.model_construct()
    """What one target may use."""
    build: Build = Build.model_construct()
    """How wheels are built."""
    indexes: dict[str, Text] = Field(default_factory=dict)
    """Distribution, or a glob -> URL of the only simple index that it comes from."""
    test: TestSettings = TestSettings.model_construct()
    """How wheels are tested."""
    version: VersionParts = VersionParts.model_construct()
    """How versions are composed."""
    verify: Verify = Verify.model_construct()
    """What wheels must satisfy."""
    publish: Publish = Publish.model_construct()
    """Where wheels are meant to go."""


class Override(CellSettings):
    """Settings for some cells; later overrides win over earlier ones."""

    when: When
    """Which cells: axis -> exact value, glob, version range or presence; or an expression."""
    optional: bool = False
    """Whether it may match nothing."""
    image: str | None = None
    """Container image."""
    runner: Runner | None = None
    """Label of the CI runner, or several that it must all have."""


class EngineSettings(Model):
    """The container engine."""

    name: Literal["auto", "docker", "podman"] = "auto"
    """auto, docker or podman."""
    create_args: Strings = ()
    """Extra arguments for the engine's create command."""
    pull: Literal["missing", "always", "never"] = "missing"
    """When an image is pulled: where it is not here, before every run, or not at all."""


class CompilerCacheSettings(Model):
    """Compiled objects that are kept for the next Python, the next variant, the next run."""

    use: CompilerCacheUse = CompilerCacheUse.LOCAL
    """local: on this machine; remote: also where $CCACHE_REMOTE_STORAGE says; off: not at all."""
    size: Size = 5_000_000_000
    """The most that this machine's objects may take, for instance ``10 GB``."""


class RunSettings(Model):
    """What one run takes of a machine, and what it tries again."""

    cpus: Positive | None = None
    """CPUs for all targets together; unset: the CPUs that this process may use."""
    memory: Memory | None = None
    """Memory for all targets together; unset: the free memory."""
    emulated: Count | None = None
    """Targets under emulation at once; unset: no more limited than others."""
    retries: Annotated[int, Field(ge=0, le=10, strict=True)] = 2
    """Further attempts after a passing failure of a pull, the network or the engine."""
    allow_unavailable: StrictBool = False
    """Whether a run ends well (exit code 0) without the targets that this machine cannot build."""


PublicKey = Annotated[str, Field(pattern=f"^{PUBLIC_KEY.pattern}$")]


class StoreSettings(Model):
    """Where finished wheels are kept, so that nothing is built twice."""

    remote: Annotated[str, Field(pattern=r"^(s3|gs|az|abfss?|https?|file)://")] | None = None
    """A store that machines share: ``s3://bucket/prefix``, ``gs://``, ``az://`` or ``https://``."""
    options: dict[str, Text] = Field(default_factory=dict)
    """Options of its service, such as ``endpoint`` and ``region``; never credentials."""
    read_only: StrictBool = False
    """Whether the shared store is only read."""
    trust: StoreTrust | None = None
    """Whose results of it are taken: ``all``, ``signed`` (unset, with trusted-keys) or ``none``."""
    trusted_keys: tuple[PublicKey, ...] = ()
    """Public keys; what their holders signed is believed without verifying it again."""
    scope: str = ""
    """Salt: results of another scope are never taken."""
    size_limit: Size = 20 * 1024**3
    """Size of this machine's store above which what was not used for longest is removed."""


class TorchRelease(Model):
    """What one or several torch releases were published for."""

    torch: Texts
    """Versions, as major.minor."""
    python: Texts
    """Python tags with a wheel."""
    cpu: Strings = ()
    """Architectures with a CPU wheel."""
    cuda: dict[str, tuple[Text, ...]] = Field(default_factory=dict)
    """Architecture -> CUDA versions, as major.minor."""
    rocm: dict[str, tuple[Text, ...]] = Field(default_factory=dict)
    """Architecture -> ROCm versions."""
    abi: Text | dict[str, Text] = "1"
    """C++ ABI (_GLIBCXX_USE_CXX11_ABI), or CUDA version -> C++ ABI; ``*`` is every other."""
    gpu_archs: dict[str, dict[str, Text]] = Field(default_factory=dict)
    """Architecture -> CUDA version or major -> TORCH_CUDA_ARCH_LIST of torch's own build."""
    unknown: str = ""
    """Why a list is missing there."""


class TorchTable(Model):
    """The torch support table."""

    updated: date | None = None
    """When it was last compared with what torch published."""
    source: str = ""
    """Where its facts come from."""
    releases: tuple[TorchRelease, ...] = ()
    """The releases; a later entry for a version replaces an earlier one."""


class Compat(Model):
    """Which combinations exist at all."""

    torch: bool = True
    """Whether the torch table excludes what torch never published (with an axis ``torch``);
    ``false`` turns the table off.
    """
    file: str | None = None
    """A table instead of the built-in one, relative to matrix.toml; ``orchestrator compat refresh
    --index URL --output FILE`` makes it from a simple index.
    """
    releases: tuple[TorchRelease, ...] = ()
    """Entries that extend or replace those of the table."""
    allow: Strings = ()
    """Versions that the table need not contain: ``torch 2.15``, ``cuda 13.4``, ``rocm 8.0``."""


class LibrarySettings(Model):
    """Builds that make no wheel: their outputs go into the source of the wheels (fan-in)."""

    axes: dict[str, AxisField] = Field(default_factory=dict)
    """Its own dimensions; an axis of this name in ``[axes]`` is shared by value."""
    rows: tuple[Rows, ...] = ()
    """As ``[[rows]]``."""
    include: tuple[Include, ...] = ()
    """As ``[[include]]``."""
    exclude: tuple[Exclude, ...] = ()
    """As ``[[exclude]]``."""
    command: Command
    """Shell command run in the source; it must leave the outputs there."""
    outputs: Annotated[tuple[str, ...], Field(min_length=1)]
    """Globs, relative to the source, of the files that go into the wheels' source."""
    needs: Strings = ()
    """Other libraries whose outputs this one gets."""
    when: When | None = None
    """The wheels that get it; every wheel with equal values on the shared axes when unset."""
    env: Env = Field(default_factory=dict)
    """Its environment variables; those of ``[env]`` are the wheels'."""
    image: str | None = None
    """Container image; that of the platform when unset."""
    resources: ResourceSettings = ResourceSettings.model_construct()
    """What it may use; ``[resources]`` is what wheels may."""
    timeout: Count | None = None
    """Seconds it may take."""


class Matrix(CellSettings):
    """What a channel may change, and everything else that decides about cells and settings."""

    axes: dict[str, AxisField] = Field(default_factory=dict)
    """The dimensions. A channel's are narrower, wider, or new."""
    rows: tuple[Rows, ...] = ()
    """Axes that move together."""
    include: tuple[Include, ...] = ()
    """Cells that are added: axis -> value or values; excludes do not apply to them."""
    exclude: tuple[Exclude, ...] = ()
    """Cells that are not built."""
    override: tuple[Override, ...] = ()
    """Settings for some cells."""
    images: dict[str, str] = Field(default_factory=dict)
    """``<libc>_<arch>`` -> image reference, or an alias such as manylinux_2_28."""

    @model_validator(mode="before")
    @classmethod
    def _pythons(cls, data: Any) -> Any:
        """``3.10`` stands for ``cp310`` wherever an axis gets its values."""
        return _with_tags(data) if isinstance(data, dict) else data


def _with_tags(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the table of a matrix in which Pythons are spelled as tags."""
    changed = dict(tree)
    axes = tree.get("axes")
    if isinstance(axes, dict) and "python" in axes:
        own = axes["python"]
        values = own.get("values") if isinstance(own, dict) else own
        tags = {**own, "values": _tags(values)} if isinstance(own, dict) else _tags(values)
        changed["axes"] = {**axes, "python": tags}
    for name, item in (("include", _include), ("rows", _rows)):
        if isinstance(items := tree.get(name), list):
            changed[name] = [item(each) if isinstance(each, dict) else each for each in items]
    return changed


def _tags(value: Any) -> Any:
    if isinstance(value, list):
        return [_tags(each) for each in value]
    tag = PythonTag.spelled(value) if isinstance(value, str) else None
    return value if tag is None else str(tag)


def _include(cell: dict[str, Any]) -> dict[str, Any]:
    return {axis: _tags(value) if axis == "python" else value for axis, value in cell.items()}


def _rows(table: dict[str, Any]) -> dict[str, Any]:
    axes, rows = table.get("axes"), table.get("values")
    if not (isinstance(axes, list) and "python" in axes and isinstance(rows, list)):
        return table
    column = axes.index("python")
    values = [
        [_tags(value) if number == column else value for number, value in enumerate(row)]
        if isinstance(row, list)
        else row
        for row in rows
    ]
    return {**table, "values": values}


class ProviderSettings(Model):
    """Who knows what a machine has of a namespace."""

    requires: Annotated[Texts, Field(min_length=1)]
    """Requirements (PEP 508) of the plugin."""
    plugin_api: str = ""
    """Its entry: ``module:Class``; the distribution's own when unset."""


class VariantSettings(Model):
    """Wheel variants (PEP 825, a draft), which ``retag --variants`` writes. Experimental."""

    axes: Annotated[dict[str, Texts], Field(min_length=1)]
    """Axis -> what a value asks of a machine: templates ``namespace::feature::value``, one or
    several; several values of one feature mean any of them.
    """
    omit: dict[str, Texts] = Field(default_factory=dict)
    """Axis -> the values that ask for nothing."""
    label: Text | None = None
    """Template of the label; unset: the labels of the axes above, joined by ``_``. A cell that asks
    for nothing is ``null``.
    """
    local: Text = ""
    """Template of the variants' local version; none by default."""
    plain: When | None = None
    """The cells whose wheel is also the plain one, for installers that know no variants."""
    priorities: Strings = ()
    """Namespaces in decreasing priority, before all others."""
    providers: dict[str, ProviderSettings] = Field(default_factory=dict)
    """Namespace -> its plugin: ``{ requires = "…", plugin-api = "module:Class" }``. ``nvidia``,
    ``x86_64`` and ``aarch64`` have theirs; of any other namespace each machine has all values.
    """


class Channel(Matrix):
    """A way to build the same matrix: nightly, test, release. Laid over the rest of the file."""


class Settings(Matrix):
    """matrix.toml as a whole."""

    project: Project = Project.model_construct()
    """What is built."""
    axes: dict[str, AxisField]
    """The dimensions: python, arch, libc, and any others."""
    library: dict[str, LibrarySettings] = Field(default_factory=dict)
    """Builds whose outputs go into the wheels' source."""
    compat: Compat = Compat.model_construct()
    """Which combinations exist at all."""
    variant: VariantSettings | None = None
    """Wheel variants (PEP 825, a draft), which ``retag --variants`` writes. Experimental."""
    channel: dict[str, Channel] = Field(default_factory=dict)
    """Ways to build the same matrix, chosen with ``--channel``."""
    engine: EngineSettings = EngineSettings.model_construct()
    """The container engine."""
    store: StoreSettings = StoreSettings.model_construct()
    """Where finished wheels are kept."""
    compiler_cache: CompilerCacheSettings = CompilerCacheSettings.model_construct()
    """What is kept of compilations."""
    run: RunSettings = RunSettings.model_construct()
    """What one run takes of a machine."""

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        """``libc`` is manylinux unless the file says otherwise."""
        axes = data.get("axes") if isinstance(data, dict) else None
        if isinstance(axes, dict):
            return {**data, "axes": {"libc": [Libc.MANYLINUX.value], **axes}}
        return data


def baseline_of(libc: str) -> tuple[Libc, str] | None:
    """``manylinux_2_28`` -> manylinux and ``2.28`` (PEP 600, PEP 656); None when it is neither."""
    found = _BASELINE.fullmatch(libc)
    return (Libc(found[1]), f"{found[2]}.{found[3]}") if found else None


def axis_name_ok(name: str) -> bool:
    """Whether ``name`` may name an axis (it becomes a template name)."""
    return _AXIS_NAME.fullmatch(name) is not None and name not in RESERVED_AXES


def axis_value_ok(value: str) -> bool:
    """Whether ``value`` may stand in a target ID, a file name and a shell word as it is."""
    return _AXIS_VALUE.fullmatch(value) is not None


def env_name_ok(name: str) -> bool:
    """Whether ``name`` is a POSIX environment variable name."""
    return _ENV_NAME.fullmatch(name) is not None


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that a field's annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
