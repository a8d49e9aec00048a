"""Import every extension module of a wheel; a container's Python runs this. argv: the wheel.

Nothing is installed. Other projects that a wheel requires are missing: a module that fails because
of that, or whose package does, is loaded without being initialized. Every other failure makes this
exit with 1. After a crash, the last line names the module.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
import tempfile
import zipfile
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path, PurePosixPath

_SCHEMES = ("purelib", "platlib")


def place_of(member: str) -> PurePosixPath | None:
    """Return where a member is imported from; None for what is installed elsewhere (PEP 427)."""
    path = PurePosixPath(member)
    if not path.parts or not path.parts[0].endswith(".data"):
        return path
    if len(path.parts) > 2 and path.parts[1] in _SCHEMES:  # noqa: PLR2004 - NAME.data/SCHEME/...
        return PurePosixPath(*path.parts[2:])
    return None


def module_of(path: PurePosixPath) -> str:
    """Return the module that a file is, empty for none."""
    suffix = next((each for each in EXTENSION_SUFFIXES if path.name.endswith(each)), "")
    parts = (*path.parent.parts, path.name[: len(path.name) - len(suffix)])
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    is_module = suffix and all(part.isidentifier() for part in parts)
    return ".".join(parts) if is_module else ""


def unpack(wheel: Path, folder: Path) -> dict[str, Path]:
    """Unpack the modules; return the extension modules and their files."""
    modules = {}
    with zipfile.ZipFile(str(wheel)) as archive:
        for member in archive.namelist():
            place = place_of(member)
            if place is None or member.endswith("/") or ".." in place.parts:
                continue
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(member))
            module = module_of(place)
            # libfoo.so beside a module is a library, and has no name that can be imported.
            if module and not place.name.startswith("lib"):
                modules[module] = target
    return modules


def unloadable(path: Path) -> str:
    """Load a module as a library; return what is wrong, empty for nothing."""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        # The missing project would have loaded these before it.
        known = ("cannot open shared object file", "undefined symbol")
        return "" if any(each in str(error) for each in known) else str(error)
    return ""


def problem_of(module: str, path: Path, own: set[str]) -> str:
    """Import a module; return what is wrong, empty for nothing."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in own:
            return str(error)
        sys.stdout.write(f"  loaded, not initialized: {missing} is not installed\n")
        return unloadable(path)
    except ImportError as error:
        # A library of another project, which would be installed beside it.
        return "" if "cannot open shared object file" in str(error) else str(error)
    except (SystemError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:  # noqa: BLE001 - it runs, and that is what was asked
        sys.stdout.write(f"  {module} says {type(error).__name__}: {error}\n")
        return unloadable(path)
    return ""


def main() -> int:
    """Import them all."""
    with tempfile.TemporaryDirectory() as folder:
        modules = unpack(Path(sys.argv[1]), Path(folder))
        sys.path.insert(0, folder)
        own = {each.name.partition(".")[0] for each in Path(folder).iterdir()}
        bad = 0
        for module, path in modules.items():
            sys.stdout.write(f"importing {module}\n")
            sys.stdout.flush()
            problem = problem_of(module, path, own)
            if problem:
                bad = 1
                sys.stdout.write(f"cannot import {module}: {problem}\n")
    return bad


if __name__ == "__main__":
    sys.exit(main())
