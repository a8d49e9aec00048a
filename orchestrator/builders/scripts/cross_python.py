"""Derive Python's headers and build settings for another architecture from this interpreter's own.

Those settings of CPython that extension modules are built with hardly depend on the processor:
between 64-bit Linux systems ``pyconfig.h`` differs in the few lines of `MACHINE`, which come from
Debian's packages, and in sizes, which every compiler predefines. So the target's files need no
image, no package and no network.

argv: a JSON file with ``triplet``; ``folder``, which must not exist and gets ``include`` and
``lib``; ``headers``, the directories of Python.h if the interpreter came without; ``tools``, the
target's ``cc``, ``c++`` and ``ar``. ``facts.json`` in the folder then has the name of the module
with the settings (see `sysconfig`), the suffix of extension modules, and the flags of the ABI. Exit
2 with one line if this Python cannot be translated. Runs on Python 3.8 and newer.
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
"""Lines of pyconfig.h that depend on the processor, and the architectures that define them."""

HOST_FLAGS = re.compile(
    r"-(march|mtune|mcpu|mabi|specs|fcf-protection|mbranch-protection|mno-omit-leaf|fuse-ld|flto"
    r"|ffat-lto|fno-semantic-inter|ffile-prefix-map|fdebug-prefix-map|fmacro-prefix-map"
    r"|fdebug-default-version|fprofile|Wl,-rpath|Wl,-R|Wl,--rpath|L/|I/)|-m(32|64)$|-B"
)
"""An interpreter's flags that are for its own processor, place or linker."""

FLAGS = re.compile(r"(\w*_)?(C|CPP|CXX|LD|ARCH_)?FLAGS(_\w+)?|OPT|LD\w*SHARED|BLDSHARED|LINKCC")


def main() -> int:
    """Make the files."""
    asked = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    problem = find_problem()
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    folder, triplet = Path(asked["folder"]), asked["triplet"]
    include, library = folder / "include", folder / "lib"
    library.mkdir(parents=True)
    copy_headers(asked["headers"], include, triplet)
    settings = translate(own_settings(), triplet, include, library, asked["tools"])
    threads = "t" if settings.get("Py_GIL_DISABLED") else ""
    module = f"_sysconfigdata_{threads}_linux_{triplet}"
    text = f"build_time_vars = {pprint.pformat(settings)}\n"
    (library / f"{module}.py").write_text(text, "utf-8")
    facts = {"module": module, "suffix": settings["EXT_SUFFIX"], "flags": threads}
    (folder / "facts.json").write_text(json.dumps(facts), "utf-8")
    return 0


def find_problem() -> str:
    """Return why this interpreter cannot be translated; empty if it can."""
    if sys.implementation.name != "cpython":
        return f"{sys.implementation.name} has no settings for other architectures"
    if sys.maxsize < 2**32 or sys.byteorder != "little":
        return "only an interpreter of a 64-bit little-endian machine can be translated"
    if not str(sysconfig.get_config_var("MULTIARCH") or "").endswith("-linux-gnu"):
        return "this interpreter does not say which architecture and libc it is for"
    return ""


def own_settings() -> dict[str, Any]:
    """Return the settings that this interpreter was built with."""
    name: str = sysconfig._get_sysconfigdata_name()  # type: ignore[attr-defined]  # noqa: SLF001
    found: dict[str, Any] = importlib.import_module(name).build_time_vars
    return found


def copy_headers(elsewhere: list[str], include: Path, triplet: str) -> None:
    """Copy the headers; the target's pyconfig.h replaces this machine's."""
    own = Path(elsewhere[0] if elsewhere else sysconfig.get_path("include"))
    shutil.copytree(own, include)
    config = (own / "pyconfig.h").read_text("utf-8")
    # Debian's leads to one of several, by architecture.
    multiarch = re.escape(str(sysconfig.get_config_var("MULTIARCH")))
    other = re.search(rf"include <({multiarch}/[^>]*pyconfig\.h)>", config)
    if other:
        config = (own.parent / other[1]).read_text("utf-8")
    (include / "pyconfig.h").write_text(translate_config(config, triplet), "utf-8")


def translate_config(config: str, triplet: str) -> str:
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


def translate(
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
