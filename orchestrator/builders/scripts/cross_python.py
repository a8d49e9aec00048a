"""Run by an interpreter of this host: its headers and build settings, as of another architecture.

What a CPython says of itself to those who build extension modules hardly depends on the processor:
between 64-bit Linux systems ``pyconfig.h`` differs in the handful of lines in `MACHINE`, which was
read off Debian's packages; sizes are taken from what every compiler predefines. So the target's
files are derived from those of the interpreter that runs this, and no image, no package and no
network is needed for them.

argv: a JSON file. It says ``triplet``; ``folder``, which must not exist and gets ``include`` and
``lib``; ``headers``, where Python.h is where the interpreter came without; ``tools``, a mapping of
``cc``, ``c++`` and ``ar`` to the target's. ``facts.json`` in the folder then says the name of the
module with the settings (see `sysconfig`), the suffix of extension modules, and the flags of the
ABI. Exit 2 with one line when this Python cannot be translated. Runs under any Python from 3.8.
"""

from __future__ import annotations

import importlib
import json
import pprint
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

SIZES = {
    "SIZEOF_DOUBLE": "__SIZEOF_DOUBLE__",
    "SIZEOF_FLOAT": "__SIZEOF_FLOAT__",
    "SIZEOF_INT": "__SIZEOF_INT__",
    "SIZEOF_LONG": "__SIZEOF_LONG__",
    "SIZEOF_LONG_DOUBLE": "__SIZEOF_LONG_DOUBLE__",
    "SIZEOF_LONG_LONG": "__SIZEOF_LONG_LONG__",
    "SIZEOF_SHORT": "__SIZEOF_SHORT__",
    "SIZEOF_SIZE_T": "__SIZEOF_SIZE_T__",
    "SIZEOF_UINTPTR_T": "__SIZEOF_POINTER__",
    "SIZEOF_VOID_P": "__SIZEOF_POINTER__",
    "SIZEOF_WCHAR_T": "__SIZEOF_WCHAR_T__",
}
"""Sizes, and what gcc and clang predefine for the target."""

MACHINE: dict[str, tuple[str, ...]] = {
    "HAVE_GCC_ASM_FOR_X64": ("x86_64",),
    "HAVE_GCC_ASM_FOR_X87": ("x86_64",),
    "HAVE_USABLE_WCHAR_T": ("aarch64",),  # at least two bytes, and unsigned
    "PY_HAVE_PERF_TRAMPOLINE": ("x86_64", "aarch64"),
    "PY_SUPPORT_TIER": (),
}
"""Lines of pyconfig.h that depend on the processor, and where they are defined."""

HOST_FLAGS = re.compile(
    r"-(march|mtune|mcpu|mabi|specs|fcf-protection|mbranch-protection|mno-omit-leaf|fuse-ld|flto"
    r"|ffat-lto|fno-semantic-inter|ffile-prefix-map|fdebug-prefix-map|fmacro-prefix-map"
    r"|fdebug-default-version|fprofile|Wl,-rpath|Wl,-R|Wl,--rpath|L/|I/)|-m(32|64)$|-B"
)
"""Flags that an interpreter was built with and that are for its own processor, place or linker."""

FLAGS = re.compile(r"(\w*_)?(C|CPP|CXX|LD|ARCH_)?FLAGS(_\w+)?|OPT|LD\w*SHARED|BLDSHARED|LINKCC")


def main() -> int:
    """Make the files."""
    asked = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    problem = unfit()
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    folder, triplet = Path(asked["folder"]), asked["triplet"]
    include, library = folder / "include", folder / "lib"
    library.mkdir(parents=True)
    copy_headers(asked["headers"], include, triplet)
    settings = translated(own_settings(), triplet, include, library, asked["tools"])
    threads = "t" if settings.get("Py_GIL_DISABLED") else ""
    module = f"_sysconfigdata_{threads}_linux_{triplet}"
    text = f"build_time_vars = {pprint.pformat(settings)}\n"
    (library / f"{module}.py").write_text(text, "utf-8")
    facts = {"module": module, "suffix": settings["EXT_SUFFIX"], "flags": threads}
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")
    return 0


def unfit() -> str:
    """Why this interpreter says nothing of others; empty where it does."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} has no settings for other architectures"
    if sys.maxsize < 2**32 or sys.byteorder != "little":
        return "only an interpreter of a 64-bit little-endian machine can be translated"
    if not str(sysconfig.get_config_var("MULTIARCH") or "").endswith("-linux-gnu"):
        return "this interpreter does not say which architecture and libc it is for"
    return ""


def own_settings() -> dict[str, Any]:
    """What this interpreter was built with."""
    name: str = sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]  # noqa: SLF001
    found: dict[str, Any] = importlib.import_module(name).build_time_vars
    return found


def copy_headers(elsewhere: list[str], include: Path, triplet: str) -> None:
    """Copy the headers; the target's pyconfig.h takes the place of this machine's."""
    own = Path(elsewhere[0] if elsewhere else sysconfig.get_path("include"))
    shutil.copytree(own, include)
    config = (own / "pyconfig.h").read_text("utf-8")
    # Debian's leads to one of several, by architecture.
    multiarch = re.escape(str(sysconfig.get_config_var("MULTIARCH")))
    other = re.search(rf"include <({multiarch}/[^>]*pyconfig\.h)>", config)
    if other:
        config = (own.parent / other[1]).read_text("utf-8")
    (include / "pyconfig.h").write_text(of_machine(config, triplet), "utf-8")


def of_machine(config: str, triplet: str) -> str:
    """Return pyconfig.h for another architecture."""
    arch = triplet.partition("-")[0]

    def line(match: re.Match[str]) -> str:
        name = match["defined"] or match["undefined"]
        if name in SIZES:
            return f"#define {name} {SIZES[name]}"
        if name not in MACHINE:
            return match[0]
        return f"#define {name} 1" if arch in MACHINE[name] else f"/* #undef {name} */"

    pattern = r"(?m)^(#define (?P<defined>\w+) .*|/\* #undef (?P<undefined>\w+) \*/)$"
    return re.sub(pattern, line, config)


def translated(
    own: dict[str, Any], triplet: str, include: Path, library: Path, tools: dict[str, str]
) -> dict[str, Any]:
    """Return the settings for another architecture."""
    here = own["MULTIARCH"]
    arch, old = triplet.partition("-")[0], here.partition("-")[0]
    made: dict[str, Any] = {}
    for name, value in own.items():
        if name in MACHINE:
            made[name] = int(arch in MACHINE[name])
        elif not isinstance(value, str):
            made[name] = value
        elif FLAGS.fullmatch(name):
            made[name] = " ".join(word for word in value.split() if not HOST_FLAGS.match(word))
        else:
            made[name] = value.replace(here, triplet).replace(f"{old}-pc-linux", f"{arch}-pc-linux")
    for name in ("LDSHARED", "BLDSHARED"):
        made[name] = f"{tools['cc']} -shared"
    made |= {"LDCXXSHARED": f"{tools['c++']} -shared", "CC": tools["cc"], "CXX": tools["c++"]}
    made |= {"AR": tools["ar"], "LINKCC": tools["cc"], "MULTIARCH": triplet}
    made |= {"INCLUDEPY": str(include), "CONFINCLUDEPY": str(include)}
    # No library of Python is linked, and none of this machine is to be found by chance.
    made |= {"LIBDIR": str(library), "LIBPL": str(library)}
    return made


if __name__ == "__main__":
    sys.exit(main())
