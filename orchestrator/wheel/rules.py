"""Rules of `verify`: does what a wheel says agree with its files and with the plan?

Each rule is a function from a wheel to findings. A message says what is wrong, where in the wheel,
what was expected and what was found.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import compatible_tags, cpython_tags, parse_tag
from packaging.utils import canonicalize_name
from packaging.version import Version

from orchestrator.models.external_libraries import PRESETS, allowed
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.python_tag import FIRST_ABI3T, PythonTag, stable_tag
from orchestrator.models.wheel import Finding, Severity
from orchestrator.models.words import count_of
from orchestrator.wheel import record
from orchestrator.wheel.abi3 import is_python_name
from orchestrator.wheel.binary_tags import binary_tags
from orchestrator.wheel.checked_wheel import few, finding, parsed_version
from orchestrator.wheel.policy import PlatformTag
from orchestrator.wheel.requires import parsed, pinned
from orchestrator.wheel.tags import extension_module, init_names, is_module_name, libc_of
from orchestrator.wheel.torch_abi import uses_torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from packaging.tags import Tag

    from orchestrator.models.wheel_name import WheelName
    from orchestrator.wheel.checked_wheel import CheckedWheel, Expected
    from orchestrator.wheel.scan import BinaryMember, ElfMember
    from orchestrator.wheel.tags import ExtensionModule, Observation

ALGORITHMS = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"})
"""Hashes that RECORD may use: the format asks for SHA-256 or better."""

_CUDA = (*PRESETS["cuda"], "libc10_cuda.so*", "libtorch_cuda*.so*")
"""Libraries of CUDA, and those of libtorch that only a torch for CUDA has."""

_TAG_STEPS = 4
"""What making one tag costs."""
_PAIR_STEPS = 4
"""What comparing one tag with one module costs."""
_PARSE_STEPS = 16
"""What parsing one requirement costs."""
_FIRST = 2
"""Python 3.2 is the first with a stable ABI."""
_BY_TRIPLET = {each.facts.gnu: each for each in Arch}


def dist_info_files(subject: CheckedWheel) -> Iterator[Finding]:
    """METADATA, WHEEL and RECORD exist and can be read."""
    for what in subject.damage:
        yield finding("dist-info-files", f"{subject.archive.dist_info}: {what}")


def record_entries(subject: CheckedWheel) -> Iterator[Finding]:
    """RECORD lists every file of the wheel once, and nothing else."""
    if subject.rows is None:
        return
    names = {member.filename for member in subject.archive.members}
    spelled = {row.path: row.path.replace("\\", "/").lstrip("./") for row in subject.rows}
    odd = {path: name for path, name in spelled.items() if path not in names and name in names}
    if odd:
        first, name = next(iter(odd.items()))
        message = (
            f"RECORD lists {count_of(len(odd), 'file')} in another spelling, such as {first!r}"
        )
        yield finding("record-extra", f"{message}: write {name!r}, relative to the wheel's root")
    counts = Counter(odd.get(row.path, row.path) for row in subject.rows)
    unlisted = record.signatures_of(subject.archive) | {record.path_of(subject.archive)}
    for name in sorted(names - set(counts) - unlisted):
        yield finding("record-missing", f"{name} is in the wheel but not in RECORD")
    for name in sorted(set(counts) - names):
        yield finding("record-extra", f"RECORD lists {name}, which is not in the wheel")
    for name in sorted(name for name, count in counts.items() if count > 1):
        yield finding("record-extra", f"RECORD lists {name} {counts[name]} times")


def record_contents(subject: CheckedWheel) -> Iterator[Finding]:
    """RECORD has the hashes and sizes of the files."""
    sizes = {member.filename: member.file_size for member in subject.archive.members}
    free = record.signatures_of(subject.archive) | {record.path_of(subject.archive)}
    for row in subject.rows or ():
        if row.path not in sizes or row.path in free:
            continue
        algorithm = row.hash.partition("=")[0]
        got = subject.found.hashes.get(row.path)
        if algorithm not in ALGORITHMS:
            has = f"the hash {row.hash!r}" if row.hash else "no hash"
            message = f"RECORD has {has} for {row.path}; expected sha256 or better"
            yield finding("record-hash", message)
        elif got is not None and got != row.hash.rstrip("="):
            message = f"{row.path}: RECORD says {row.hash}, the file has {got}"
            yield finding("record-hash", message)
        size = sizes[row.path]
        if row.size != str(size):
            message = f"{row.path}: RECORD says {row.size or 'nothing'}, the file has "
            yield finding("record-size", message + count_of(size, "byte"))


def metadata_valid(subject: CheckedWheel) -> Iterator[Finding]:
    """METADATA has every required field once."""
    if subject.metadata is None:
        return
    for field in ("Metadata-Version", "Name", "Version"):
        values = [value for value in subject.metadata.get_all(field, []) if value.strip()]
        if len(values) != 1:
            message = f"METADATA has {len(values)} {field} fields; expected one"
            yield finding("metadata-invalid", message)
    version = subject.stated("Version")
    if version and parsed_version(version) is None:
        yield finding(
            "metadata-invalid", f"METADATA's Version {version!r} is not a version (PEP 440)"
        )
    for field, read in (("Requires-Dist", Requirement), ("Requires-Python", SpecifierSet)):
        values = subject.metadata.get_all(field, [])
        subject.archive.budget.spend(_PARSE_STEPS * len(values), 0, field)
        for value in values:
            try:
                read(value.strip())
            except ValueError as error:
                why = str(error).splitlines()[0]
                yield finding("metadata-invalid", f"METADATA's {field} {value!r}: {why}")


def names_agree(subject: CheckedWheel) -> Iterator[Finding]:
    """File name, METADATA, dist-info and data directories name the same project (PEP 503)."""
    name = subject.archive.name.name
    stated = subject.stated("Name")
    if stated and canonicalize_name(stated) != name:
        yield finding("name-metadata", f"METADATA says Name: {stated}, the file name says {name}")
    for top in _directories(subject):
        directory = top.rpartition(".")[0].rpartition("-")[0]
        if canonicalize_name(directory) != name:
            yield finding(
                "name-dist-info", f"{top} belongs to {directory!r}, the file name says {name}"
            )


def versions_agree(subject: CheckedWheel) -> Iterator[Finding]:
    """File name, METADATA, dist-info and data directories carry the same version."""
    version = subject.archive.name.version
    stated = subject.stated("Version")
    if stated and parsed_version(stated) not in {None, version}:
        message = f"METADATA says Version: {stated}, the file name says {version}"
        yield finding("version-metadata", message)
    for top in _directories(subject):
        # Directory names write "-" as "_", which is a separator in a version as well.
        text = top.rpartition(".")[0].rpartition("-")[2].replace("_", "-")
        if parsed_version(text) != version:
            message = f"{top} says {text or 'no version'}, the file name says {version}"
            yield finding("version-dist-info", message)


def _directories(subject: CheckedWheel) -> tuple[str, ...]:
    """Return the directories that carry name and version: data and dist-info."""
    names = [member.filename.partition("/") for member in subject.archive.members]
    tops = {top for top, slash, _ in names if slash}
    return (*sorted(top for top in tops if top.endswith(".data")), subject.archive.dist_info)


def wheel_file(subject: CheckedWheel) -> Iterator[Finding]:
    """WHEEL has the tags and the build tag of the file name."""
    if subject.wheel is None:
        return
    name = subject.archive.name
    declared: set[Tag] = set()
    bad: list[str] = []
    for text in subject.wheel.get_all("Tag", []):
        expanded = math.prod(part.count(".") + 1 for part in text.split("-"))
        subject.archive.budget.spend(_TAG_STEPS * expanded, 0, "tags of WHEEL")
        try:
            declared |= parse_tag(text.strip())
        except ValueError:
            bad.append(repr(text))
    if bad:
        message = f"WHEEL's Tag {few(bad)} is not a tag (PEP 425), such as {next(iter(name.tags))}"
        yield finding("wheel-tags", message)
    if declared != name.tags:
        message = f"WHEEL says {_listed(declared)}, the file name says {_listed(name.tags)}"
        yield finding("wheel-tags", message)
    build = subject.wheel.get("Build", "").strip()
    if build != name.build:
        yield finding(
            "wheel-build", f"WHEEL says Build {build!r}, the file name says {name.build!r}"
        )
    version = subject.wheel.get("Wheel-Version", "").strip()
    if not re.fullmatch(r"1\.\d+", version):
        yield finding("wheel-version", f"WHEEL says Wheel-Version {version!r}; expected 1.0")


def elf_placement(subject: CheckedWheel) -> Iterator[Finding]:
    """No ELF file is in a wheel for any platform, and no compiled one where pure Python goes."""
    seen = subject.observation
    names = [each.name for each in (subject.found.binaries if seen is None else seen.elves)]
    if seen is not None and "any" in subject.platforms:
        message = f"the tag says any platform, but {names[0]} is built for {seen.arch}"
        yield finding("elf-in-any", message)
    if seen is None and not binary_tags(subject.archive.name):
        return
    root = subject.wheel.get("Root-Is-Purelib", "") if subject.wheel else ""
    pure_root = root.strip().lower() == "true"
    for name in names:
        top, _, rest = name.partition("/")
        purelib = rest.startswith("purelib/") if top.endswith(".data") else pure_root
        if purelib:
            message = f"Root-Is-Purelib is {str(pure_root).lower()}, and {name} goes to purelib"
            # On macOS and Windows both are one directory.
            severity = Severity.WARNING if seen is None else Severity.ERROR
            yield Finding(rule="root-is-purelib", message=message, severity=severity)
            return


def elf_machine(subject: CheckedWheel) -> Iterator[Finding]:
    """ELF files are for the architecture and C library that the platform tags name."""
    arches = subject.arches
    if not arches:
        return
    fits = any(elf.arch in arches for elf in subject.found.elves)
    for elf in subject.found.elves:
        machine = elf.arch or f"machine {elf.info.machine}"
        if machine in arches:
            continue
        # Firmware and GPU code are data; an extension module is not.
        loaded = extension_module(elf) is not None
        if elf.arch is None and not loaded:
            continue
        message = f"{elf.name} is for {machine}, the tag says {_listed(arches)}"
        severity = Severity.ERROR if loaded or not fits else Severity.WARNING
        yield Finding(rule="elf-machine", message=message, severity=severity)
    yield from _elf_libc(subject)


def _elf_libc(subject: CheckedWheel) -> Iterator[Finding]:
    """No platform tag promises another C library than that of the files, or of one of them."""
    libcs = {tag.libc for tag in subject.linux_tags if tag.libc}
    seen = subject.observation
    if seen is None or not libcs or seen.portable:
        return
    for libc in sorted({libc_of(elf) or seen.libc for elf in seen.elves} | {seen.libc}):
        if libcs != {libc}:
            message = f"ELF files need {libc}, the tag says {_listed(libcs)}"
            yield finding("elf-libc", message)


def page_alignment(subject: CheckedWheel) -> Iterator[Finding]:
    """ELF files can be loaded with every page size of the architecture's kernels."""
    arches = subject.arches
    for elf in subject.found.elves:
        pages = elf.arch.facts.pages if elf.arch in arches else 0
        if 0 < elf.info.align < pages:
            message = (
                f"{elf.name} has a segment aligned to {elf.info.align} bytes; kernels of "
                f"{elf.arch} may have pages of {pages}"
            )
            yield finding("page-alignment", message)


def tag_too_low(subject: CheckedWheel) -> Iterator[Finding]:
    """No platform tag promises an older libc than the ELF files need."""
    seen = subject.observation
    if seen is None:
        return
    for platform in subject.platforms:
        tag = PlatformTag.parse(platform)
        # ELF files do not say which musl they need.
        if tag is None or tag.libc is not Libc.MANYLINUX or seen.libc is not Libc.MANYLINUX:
            continue
        if tag.arch == seen.arch and not _enough(tag, seen):
            message = f"the tag says {platform}, the ELF files need {seen.tag}"
            if seen.reasons:
                reason = seen.reasons[-1]
                what = [reason.symbol_version, reason.library, *reason.symbols[:3]]
                message += f" ({reason.file}: {' '.join(part for part in what if part)})"
            yield finding("tag-too-low", message)


def _enough(tag: PlatformTag, seen: Observation) -> bool:
    """Whether a manylinux tag promises what the files need."""
    if tag.version is None:
        return False
    if seen.policy is None:
        # `isa-level` judges newer instructions; here only the libc counts.
        symbols = PlatformTag.parse(seen.symbol_tag)
        libc = symbols.version if symbols else None
        return bool(seen.isa and not seen.external_libs and libc and libc <= tag.version)
    if seen.policy.version <= tag.version:
        return True
    # PEP 600 allows tags between those with a policy: the next newer policy and the libc version
    # decide.
    known = [policy.version for policy in seen.candidates]
    newer = min((version for version in known if version >= tag.version), default=None)
    between = tag.version not in known and newer == seen.policy.version
    return between and (seen.glibc is None or seen.glibc <= tag.version)


def isa_level(subject: CheckedWheel) -> Iterator[Finding]:
    """No ELF file needs newer instructions than the platform tag promises."""
    seen = subject.observation
    if seen is None or not any(tag.libc for tag in subject.linux_tags):
        return  # linux_* promises nothing
    for elf in seen.elves:
        if elf.info.isa_level:
            message = f"{elf.name} needs {elf.info.isa_level}, the tag promises plain x86_64"
            # A library may be loaded only on machines that have them; a module is always imported.
            imported = extension_module(elf) is not None
            severity = Severity.ERROR if imported else Severity.WARNING
            yield Finding(rule="isa-level", message=message, severity=severity)


def modules_are_elf(subject: CheckedWheel) -> Iterator[Finding]:
    """Every file that is named like an extension module is an ELF file."""
    found = subject.found
    known = {*(elf.name for elf in found.elves), *found.malformed, *found.unreadable}
    known |= {*(each.name for each in found.binaries), *found.unsound}
    for member in subject.archive.members:
        if is_module_name(member.filename) and member.filename not in known:
            message = f"{member.filename} is named like an extension module, but is not an ELF file"
            yield finding("elf-malformed", message)


def python_abi(subject: CheckedWheel) -> Iterator[Finding]:
    """Every Python that the file name promises can import every extension module.

    The file suffixes decide, as in the import system; a wheel may have one module for several
    Pythons side by side.
    """
    name = subject.archive.name
    arches = subject.arches
    variants: dict[str, list[ExtensionModule]] = {}
    modules = subject.modules
    for module in modules:
        variants.setdefault(module.name, []).append(module)
        arch = module.triplet.partition("-")[0]
        if arches and arch and _BY_TRIPLET.get(arch, arch) not in arches:
            message = f"{module.name}: suffix says {module.triplet}, the tag {_listed(arches)}"
            yield finding("python-abi", message)
    for interpreter, abi in sorted({(tag.interpreter, tag.abi) for tag in name.tags}):
        subject.archive.budget.spend(_PAIR_STEPS * len(modules), 0, "tags and modules")
        for path, some in variants.items():
            suffixes = {one.soabi for one in some}
            if not _importable(interpreter, abi, suffixes):
                message = f"{path} is for {_listed(suffixes)}, the tag says {interpreter}-{abi}"
                yield finding("python-abi", message)


def _importable(interpreter: str, abi: str, soabis: set[str]) -> bool:
    """Whether a Python with this tag can import a module with one of these suffixes."""
    if "" in soabis:
        return True
    # PEP 803: from 3.15 on, a Python with the GIL loads .abi3t.so as well, not the other way round.
    python = PythonTag.match(interpreter)
    both = {"abi3t"} if python is None or python.minor >= FIRST_ABI3T else set()
    if abi in {"abi3", "abi3t"}:
        return bool(soabis & {abi, *both})
    if abi == "none":
        if python and python.stable_abi:
            return bool(soabis & {python.soabi, "abi3", *both})
        # py3: one version's suffix alone cannot serve every Python 3.
        return len(soabis) > 1 or "abi3" in soabis
    if abi.startswith("cp"):
        # Free-threaded Pythons do not import .abi3.so.
        stable = both if abi.endswith("t") else {"abi3", *both}
        return bool(soabis & {f"cpython-{abi.removeprefix('cp')}", *stable})
    return any(abi.replace("_", "-").startswith(soabi) for soabi in soabis)


def module_hooks(subject: CheckedWheel) -> Iterator[Finding]:
    """Every extension module has the function that the import system calls (PEP 489, PEP 793)."""
    pythons = [PythonTag.match(tag.interpreter) for tag in subject.archive.name.tags]
    before = any(python is None or python.minor < FIRST_ABI3T for python in pythons)
    findings = (each for module in subject.modules for each in _hooks(module, before=before))
    # A file for several architectures says most things twice.
    yield from dict.fromkeys(findings)


def _hooks(module: ExtensionModule, *, before: bool) -> Iterator[Finding]:
    stem = module.called
    name, inits = module.file.name, module.file.info.inits
    if not module.hooks and f"_cffi_pypyinit_{stem}" not in inits:
        others = f"; it has {few(sorted(inits))}" if inits else ""
        message = f"{name} has no {' or '.join(init_names(stem))}: it cannot be imported"
        # `torch.ops.load_library` loads what registers operators, whatever its name is; ctypes
        # and cffi load what knows nothing of Python.
        is_library = not inits and not any(
            is_python_name(each.name) for each in module.file.info.undefined
        )
        loaded = is_library or uses_torch(module.file.info)
        severity = Severity.WARNING if loaded else Severity.ERROR
        yield Finding(rule="module-init", message=message + others, severity=severity)
    elif before and module.hooks == {"PyModExport"} and "abi3t" not in module.soabi:
        message = f"{name} has no {next(iter(init_names(stem)))}, which Pythons before 3.15 need"
        yield finding("module-init", message)


def executable_stack(subject: CheckedWheel) -> Iterator[Finding]:
    """No library asks for an executable stack: glibc 2.41 and newer do not load it."""
    seen = subject.observation
    if seen is None or seen.libc is not Libc.MANYLINUX:
        return
    names = [each.name for each in seen.elves if each.info.executable_stack]
    programs = {each.name for each in seen.elves if each.info.program}
    if libraries := [name for name in names if name not in programs]:
        message = f"{few(libraries)}: needs an executable stack, which glibc 2.41 refuses; link "
        message += "with -Wl,-z,noexecstack, and mark assembly code (.note.GNU-stack)"
        yield finding("executable-stack", message)


def stable_abi(subject: CheckedWheel) -> Iterator[Finding]:
    """What a wheel for the stable ABI needs of Python is in the stable ABI of the one it names."""
    known = subject.stable_abi
    floors = {abi: _floor(subject.archive.name, abi) for abi in ("abi3", "abi3t")}
    lowest = min((floor for floor in floors.values() if floor is not None), default=None)
    if known is None or lowest is None:
        return
    own = {name for elf in subject.found.elves for name in elf.info.python_names}
    modules = {module.file.name: module.soabi for module in subject.modules}
    findings: dict[Finding, None] = {}
    # A file for several architectures says most things twice.
    files: list[ElfMember | BinaryMember] = [*subject.found.elves, *subject.found.binaries]
    for file in files:
        soabi = modules.get(file.name, "")
        if soabi in {"", *floors}:
            floor = floors.get(soabi)
            floor = lowest if floor is None else floor
            findings |= dict.fromkeys(_outside_abi(file, own, known, floor))
    yield from findings


def _outside_abi(
    elf: ElfMember | BinaryMember, own: set[str], known: Mapping[str, int], floor: int
) -> Iterator[Finding]:
    # What a file can do without is weak: it asks at run time whether it is there.
    names = [each.name for each in elf.info.undefined if not each.weak]
    used = sorted({name for name in names if is_python_name(name)} - own)
    if private := [name for name in used if name not in known]:
        message = f"{elf.name} uses {', '.join(private)}: not in the stable ABI"
        yield finding("abi3audit", message)
    if later := [name for name in used if known.get(name, 0) > floor]:
        shown = ", ".join(f"{name} (3.{known[name]})" for name in later)
        message = f"{elf.name} is for 3.{floor} and later, but uses {shown}"
        yield finding("abi3audit", message)


def promises_stable_abi(name: WheelName) -> bool:
    """Whether a wheel's tags promise the stable ABI."""
    return any(tag.abi in {"abi3", "abi3t"} for tag in name.tags)


def _floor(name: WheelName, abi: str) -> int | None:
    """Return the oldest Python (the 12 of 3.12) that loads a wheel's modules for a stable ABI."""
    pythons = [PythonTag.match(tag.interpreter) for tag in name.tags if tag.abi == abi]
    return min((_FIRST if python is None else python.minor for python in pythons), default=None)


def planned(subject: CheckedWheel) -> Iterator[Finding]:
    """The wheel is the one that was planned."""
    want = subject.expected
    if want is None:
        return
    yield from planned_name(subject.archive.name, want)
    yield from _planned_metadata(subject, want)
    yield from _planned_platform(subject, want)
    yield from _planned_baseline(subject, want)
    yield from _planned_cuda(subject, want)


def planned_name(name: WheelName, want: Expected) -> Iterator[Finding]:
    """The file name is that of the wheel that was planned."""
    pairs = (
        ("planned-name", canonicalize_name(want.name) or str(name.name), str(name.name)),
        # The spelling counts: a plan may say 1.0+nv26.04, whose normal form is 1.0+nv26.4.
        ("planned-version", want.version, name.version_text),
        ("planned-build-tag", want.build_tag, name.build),
        ("planned-label", "", name.label),
    )
    for rule, expected, got in pairs:
        if expected != got:
            message = f"planned {expected or 'nothing'}, got {got or 'nothing'}"
            yield finding(rule, f"{name}: {message}")
    wanted = stable_tag(want.abi3) if want.abi3 else ""
    if wanted and wanted not in {f"{each.interpreter}-{each.abi}" for each in name.tags}:
        message = (
            f"planned {wanted}, the file name says {name.python}-{name.abi}: "
            "the project does not build for the stable ABI, or for another lowest Python"
        )
        yield finding("planned-python", message)
    if not any(serves(tag, want.python) for tag in name.tags):
        python = f"{name.python}-{name.abi}"
        yield finding("planned-python", f"planned for {want.python}, the file name says {python}")
    for platform in name.platforms:
        own = PlatformTag.parse(platform)
        if platform == "any" or (own and own.arch == want.arch and own.libc in {None, want.libc}):
            continue
        message = f"planned for {want.libc}_{want.arch}, the file name says {platform}"
        yield finding("planned-platform", message)


def _planned_metadata(subject: CheckedWheel, want: Expected) -> Iterator[Finding]:
    if subject.metadata is None:
        return
    stated = subject.stated("Version")
    if stated != want.version and parsed_version(stated) == Version(want.version):
        yield finding("planned-version", f"METADATA: planned {want.version}, spelled {stated}")
    requirements = subject.metadata.get_all("Requires-Dist", [])
    for pin in want.pins:
        subject.archive.budget.spend(_PARSE_STEPS * len(requirements), 0, "requirements")
        if pinned(requirements, [pin]) != requirements:
            name = canonicalize_name(Requirement(pin).name)
            there = filter(None, map(parsed, requirements))
            same = [str(one) for one in there if canonicalize_name(one.name) == name]
            message = f"METADATA: planned Requires-Dist: {pin}, got {_listed(same)}"
            yield finding("planned-requires", message)


def _planned_platform(subject: CheckedWheel, want: Expected) -> Iterator[Finding]:
    seen = subject.observation
    if seen is None or "any" in subject.platforms:
        what = "it has no ELF file" if seen is None else "its tag is 'any'"
        message = f"planned a wheel for {want.libc}_{want.arch}, but {what}"
        yield finding("not-platform-wheel", message)
    if seen and (seen.arch != want.arch or not (seen.portable or seen.libc is want.libc)):
        message = f"planned for {want.libc}_{want.arch}, the ELF files are {seen.libc}_{seen.arch}"
        yield finding("planned-platform", message)


def _planned_baseline(subject: CheckedWheel, want: Expected) -> Iterator[Finding]:
    """The wheel needs no newer libc than planned; `inspect` shows the symbols that do."""
    seen = subject.observation
    tag = None if seen is None else PlatformTag.parse(seen.symbol_tag)
    if not want.baseline or tag is None or tag.version is None:
        return
    most = tuple(map(int, want.baseline.split(".")))
    if tag.version > most:
        needs = ".".join(map(str, tag.version))
        message = f"planned for {want.libc} {want.baseline}, it needs {want.libc} {needs}"
        yield finding("planned-baseline", message)


def _planned_cuda(subject: CheckedWheel, want: Expected) -> Iterator[Finding]:
    """The wheel needs libraries of CUDA if it is planned for CUDA, and else none."""
    if want.cuda is None:
        return
    files = {name: elf.name for elf in subject.found.elves for name in elf.info.needed}
    subject.archive.budget.spend(len(files) * len(_CUDA), 0, "libraries")
    cuda = sorted(name for name in files if allowed(name, _CUDA))
    if cuda and not want.cuda:
        message = f"planned without CUDA, but {files[cuda[0]]} needs {cuda[0]}"
        yield finding("planned-cuda", message)
    if want.cuda and not cuda and any(allowed(name, PRESETS["torch"]) for name in files):
        # What loads CUDA by itself needs none of them.
        message = "planned for CUDA, but no file needs a library of CUDA: is it for the CPU alone?"
        yield Finding(rule="planned-cuda", message=message, severity=Severity.WARNING)


def serves(tag: Tag, python: str) -> bool:
    """Whether a wheel with this tag serves this Python; the platform does not count."""
    own = PythonTag.match(python)
    if own is None or own.implementation != "cpython":
        name = python if own is None else own.interpreter
        return tag.interpreter == name or (tag.interpreter, tag.abi) == ("py3", "none")
    return (tag.interpreter, tag.abi) in _served(python, own.minor)


@cache
def _served(python: str, minor: int) -> frozenset[tuple[str, str]]:
    """Return the interpreters and ABIs of all tags that a CPython serves."""
    version = (3, minor)
    # The platform does not count: "any" is a placeholder.
    tags = (*cpython_tags(version, [python], ["any"]), *compatible_tags(version, None, ["any"]))
    return frozenset((tag.interpreter, tag.abi) for tag in tags)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, values))) or "nothing"


RULES: tuple[Callable[[CheckedWheel], Iterator[Finding]], ...] = (
    dist_info_files,
    record_entries,
    record_contents,
    metadata_valid,
    names_agree,
    versions_agree,
    wheel_file,
    elf_placement,
    elf_machine,
    page_alignment,
    tag_too_low,
    isa_level,
    modules_are_elf,
    python_abi,
    module_hooks,
    executable_stack,
    stable_abi,
    planned,
)
"""All rules, in the order their findings are reported."""
