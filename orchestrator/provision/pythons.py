"""Python interpreters of this machine: find one for a tag, fetch one, complete one.

They are run, not judged by their names: a pyenv shim may point nowhere, ``python3`` may be a
virtual environment, and Debian splits venv and the headers off into packages of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ConfigError, EnvironmentProblemError, ErrorKind
from orchestrator.fsutil import file_sha256, write_whole
from orchestrator.host.emulation import host_arch
from orchestrator.host.json_file import load_json
from orchestrator.host.network import base_env
from orchestrator.host.process import Cancel, Tail, capture, run
from orchestrator.host.transient_errors import may_pass
from orchestrator.models.platforms import Arch
from orchestrator.models.python_tag import PythonTag
from orchestrator.models.reading import json_value
from orchestrator.provision import apt
from orchestrator.provision.cache_dir import HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.provision.host import Host

PROBE_TIMEOUT = 20.0
DOWNLOAD_TIMEOUT = 900.0

# Runs under any Python 3, so no syntax newer than 3.4.
_PROBE = r"""
import importlib.util, json, os, platform, sys, sysconfig
include = sysconfig.get_path("include")
name = getattr(sysconfig, "_get_sysconfigdata_name", lambda: "_sysconfigdata")()
specs = [importlib.util.find_spec(each) for each in (name, "sitecustomize")]
files = [each.origin for each in specs if each is not None and each.origin]
files.append(os.path.join(sysconfig.get_path("stdlib"), "distutils", "distutils.cfg"))
print(json.dumps({
    "path": getattr(sys, "_base_executable", None) or sys.executable,
    "version": platform.python_version(),
    "info": list(sys.version_info[:3]),
    "final": sys.version_info[3] == "final",
    "implementation": sys.implementation.name,
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "bits": 64 if sys.maxsize > 2**32 else 32,
    "machine": platform.machine(),
    "soabi": sysconfig.get_config_var("SOABI") or "",
    "include": include,
    "headers": os.path.exists(os.path.join(include, "Python.h")),
    "variables": {each: str(sysconfig.get_config_var(each)) for each in sys.argv[1:]
                  if sysconfig.get_config_var(each) not in (None, "")},
    "files": files,
    "venv": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
}))
"""
"""Prints what is known of an interpreter, and its variables that the arguments name."""

_VARIABLES = (
    *("CC", "CXX", "CPP", "AR", "ARFLAGS", "RANLIB", "CFLAGS", "CPPFLAGS", "LDFLAGS", "OPT"),
    *("CCSHARED", "LDSHARED", "LDCXXSHARED", "BASECFLAGS", "PY_CFLAGS", "PY_CFLAGS_NODIST"),
    *("PY_LDFLAGS", "PY_LDFLAGS_NODIST", "LIBS", "EXT_SUFFIX", "SHLIB_SUFFIX", "MULTIARCH"),
    *("LDLIBRARY", "LDVERSION", "Py_DEBUG", "Py_ENABLE_SHARED"),
)
"""Variables of sysconfig that builds compile and link by."""

_QUESTION = hashlib.sha256(repr((_PROBE, _VARIABLES)).encode()).hexdigest()
"""What this version asks: results are filed under the answer, and another version asks more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """An interpreter that answered, virtual environments resolved to their base.

    Attributes:
        path: its executable.
        version: full version, ``3.12.1`` or ``3.15.0a2``.
        tag: what it is for.
        arch: the architecture of its process.
        soabi: the suffix of its extension modules, ``cpython-312-x86_64-linux-gnu``.
        include: where its C headers are, or would be.
        has_headers: whether ``Python.h`` is there.
        has_venv: whether it can make environments with pip (PEP 405, PEP 453).
        variables: how it compiles and links (sysconfig), as name and value; empty ones are missing.
        settings: the files that decide this and what every build does (``distutils.cfg``,
            ``sitecustomize.py``), as path and digest; the digest of a missing one is empty.
        rank: sorts interpreters for one tag, the best one last.
    """

    path: Path
    version: str
    tag: PythonTag
    arch: Arch
    soabi: str
    include: Path
    has_headers: bool
    has_venv: bool
    variables: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, str], ...]
    rank: tuple[int, ...] = field(repr=False, compare=False)


def inspect(path: Path, environ: Mapping[str, str]) -> Interpreter | None:
    """Run an executable and return what it is; None if it is not a working Python 3."""
    # Without PYENV_VERSION, which is not in the base environment, a shim starts its default.
    answer = capture(
        [str(path), "-I", "-S", "-c", _PROBE, *_VARIABLES],
        env=base_env(environ),
        timeout=PROBE_TIMEOUT,
    )
    try:
        said: dict[str, Any] = (
            json_value(answer.stdout, where=str(path), names=True) if answer.ok else {}
        )
        arch = host_arch(said["machine"])
    except (ConfigError, ValueError, LookupError, TypeError, EnvironmentProblemError):
        return None
    if said["bits"] == 32:  # noqa: PLR2004 - uname(2) tells a 32-bit process about the kernel
        arch = next((each for each in Arch if each.facts.runs_on == arch), arch)
    tag = {name: said[name] for name in ("implementation", "free_threaded")}
    return Interpreter(
        path=Path(said["path"]),
        version=said["version"],
        tag=PythonTag(minor=said["info"][1], **tag),
        arch=arch,
        soabi=said["soabi"],
        include=Path(said["include"]),
        has_headers=said["headers"],
        has_venv=said["venv"],
        variables=tuple(said["variables"].items()),
        settings=tuple((file, _digest(file)) for file in said["files"]),
        rank=(said["headers"], said["venv"], said["final"], *said["info"]),
    )


def _digest(path: str) -> str:
    try:
        return file_sha256(Path(path))
    except OSError:
        return ""


def find(python: str, *, environ: Mapping[str, str], cache_dir: Path | None = None) -> Interpreter:
    """Return this machine's best interpreter for a tag: with headers if any, then the newest.

    Args:
        python: ``cp312``, ``cp314t``, ``pp311``.
        environ: PATH, HOME, PYENV_ROOT, UV_PYTHON_INSTALL_DIR and XDG_DATA_HOME say where to look.
        cache_dir: where `provide` puts those it fetched.

    Raises:
        ConfigError: `python` is not a tag.
        EnvironmentProblemError: there is none.
    """
    tag, here = PythonTag.parse(python), host_arch()
    candidates = tuple(_candidates(tag, environ, cache_dir))
    memory = None if cache_dir is None else _memory(cache_dir, tag, candidates)
    if memory is not None and (recalled := _recall(memory, candidates)):
        return recalled
    found: dict[Path, Interpreter] = {}
    for candidate in candidates:
        interpreter = inspect(candidate, environ)
        if interpreter is not None and interpreter.tag == tag and interpreter.arch is here:
            found.setdefault(interpreter.path.resolve(), interpreter)
    if found:
        best = max(found.values(), key=lambda interpreter: interpreter.rank)
        if memory is not None:
            _remember(memory, candidates, best)
        return best
    raise EnvironmentProblemError.of(
        f"no {tag.words} for {here} on this machine",
        hint=f"install it (`uv python install {tag.uv_request}`, pyenv, or the distribution's "
        f"python{tag.version}), or build {python} in a container (--backend cibuildwheel)",
        kind=ErrorKind.NOT_FOUND,
    )


def known(python: str, *, environ: Mapping[str, str], cache_dir: Path) -> Interpreter | None:
    """Return what `find` found before, if nothing has changed; starts nothing."""
    tag = PythonTag.match(python)
    if tag is None:
        return None
    candidates = tuple(_candidates(tag, environ, cache_dir))
    return _recall(_memory(cache_dir, tag, candidates), candidates)


def _memory(cache_dir: Path, tag: PythonTag, candidates: Iterable[Path]) -> Path:
    """Return the file for what was found among these: runs with another PATH have their own."""
    among = hashlib.sha256("\n".join(map(str, candidates)).encode("utf-8", "surrogateescape"))
    name = f"{tag.uv_request}-{host_arch()}-{among.hexdigest()[:16]}.json"
    return cache_dir / "interpreters" / name


def _recall(memory: Path, candidates: tuple[Path, ...]) -> Interpreter | None:
    """Return the interpreter that was found among these files last time, if none has changed.

    One without headers or venv is inspected again: a package may have brought them meanwhile.
    """
    try:
        read = load_json(dict[str, Any], memory)
        if read["question"] != _QUESTION or read["candidates"] != _signs(candidates):
            return None
        said = read["interpreter"]
        if said.keys() != {each.name for each in fields(Interpreter)}:
            return None  # of another version of this program
        said |= {name: Path(said[name]) for name in ("path", "include")}
        said |= {"arch": Arch(said["arch"]), "tag": PythonTag(**said["tag"])}
        pairs = {name: tuple(map(tuple, said[name])) for name in ("variables", "settings")}
        found = Interpreter(**{**said, **pairs, "rank": tuple(said["rank"])})
        if any(_digest(path) != digest for path, digest in found.settings):
            return None
    except (ConfigError, OSError, ValueError, LookupError, TypeError):
        return None
    whole = found.has_headers and found.has_venv and (found.include / "Python.h").exists()
    return found if whole else None


def _remember(memory: Path, candidates: tuple[Path, ...], found: Interpreter) -> None:
    """Remember an interpreter; it does not matter if the cache cannot be written."""
    signs = _signs(candidates)
    if signs is None:
        return
    document = {"question": _QUESTION, "candidates": signs, "interpreter": asdict(found)}
    with contextlib.suppress(OSError):
        write_whole(memory, json.dumps(document, default=str), durable=False)


def _signs(candidates: tuple[Path, ...]) -> list[list[str | int]] | None:
    """Return what changes when one of the candidates changes.

    None if one is a script, which may start another interpreter every time.
    """
    signs: list[list[str | int]] = []
    for each in candidates:
        with contextlib.suppress(OSError), each.open("rb") as stream:
            if stream.read(4) != b"\x7fELF":
                return None
            seen = os.fstat(stream.fileno())
            real = os.path.realpath(each)
            signs.append([str(each), real, seen.st_ino, seen.st_size, seen.st_ctime_ns])
    return signs


def _candidates(
    tag: PythonTag, environ: Mapping[str, str], cache_dir: Path | None
) -> Iterator[Path]:
    """Yield the existing executables that may be the interpreter, each place once."""
    home = Path(environ.get("HOME") or "/nonexistent")
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    pyenv = Path(environ.get("PYENV_ROOT") or home / ".pyenv")
    stores = [
        pyenv / "versions",
        Path(environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python"),
        Path("/opt/python"),
    ]
    if cache_dir is not None:
        stores.append(cache_dir / "pythons")
    on_path = [Path(folder) for folder in environ.get("PATH", os.defpath).split(os.pathsep)]
    names = (*tag.programs, "python3", "python")
    places = [(folder, names) for folder in (*on_path, Path("/usr/local/bin")) if folder.name]
    for store in stores:
        places += [(folder, tag.programs) for folder in sorted(store.glob("*/bin"))]
    seen: set[tuple[Path, str]] = set()
    for folder, programs in places:
        # pyenv's shims are slow shell scripts for what `versions` holds anyway.
        for name in () if folder == pyenv / "shims" else programs:
            # Not the resolved file: some distributions' wrappers go by the name they are called.
            key = (folder.resolve(), name)
            if key not in seen and os.access(folder / name, os.X_OK):
                seen.add(key)
                yield folder / name


def provide(python: str, host: Host, *, cancel: Cancel | None = None) -> Interpreter:
    """Return an interpreter for a tag (``cp312``); fetch one with the locked uv if there is none.

    Raises:
        EnvironmentProblemError: there is none, and uv cannot fetch one.
    """
    try:
        return find(python, environ=host.environ, cache_dir=host.cache_dir)
    except EnvironmentProblemError as error:
        missing = error
    store = host.cache_dir / "pythons"
    store.mkdir(parents=True, exist_ok=True)
    try:
        download(PythonTag.parse(python).uv_request, host, store=store, cancel=cancel)
    except EnvironmentProblemError as error:
        what = f"{missing.what}, and {error.what}"
        raise error.reword(what, hint=missing.hint) from None
    return find(python, environ=host.environ, cache_dir=host.cache_dir)


def download(  # noqa: PLR0913 - mostly keywords
    request: str,
    host: Host,
    *,
    store: Path,
    cancel: Cancel | None = None,
    timeout: float = DOWNLOAD_TIMEOUT,
    retries: int = 3,
) -> None:
    """Have the locked uv put an interpreter into a directory, `store`, within `timeout` seconds.

    `request` is uv's name of it: ``cpython@3.12``, ``cpython-3.12-linux-aarch64-gnu``.

    Raises:
        EnvironmentProblemError: uv cannot fetch it.
    """
    tail = Tail()
    uv = str(host.toolchain.bin / "uv")
    own = {"UV_PYTHON_INSTALL_DIR": str(store), "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    done = run(
        [uv, "python", "install", "--no-bin", "--no-config", request],
        env={"UV_HTTP_RETRIES": str(retries), **host.net_env, **own},
        cwd=store,
        log=tail,
        timeout=timeout,
        cancel=cancel,
    )
    if done.returncode == 0:
        return
    kind, why = ErrorKind.OTHER, _reason(tail.text) or "uv printed no reason"
    if done.timed_out:
        kind, why = ErrorKind.TIMED_OUT, f"not done after {timeout:g} s"
    elif done.cancelled:
        kind, why = ErrorKind.CANCELLED, "cancelled"
    passing = may_pass(tail.text.splitlines())
    raise EnvironmentProblemError.of(f"uv could not fetch one: {why}", kind=kind, transient=passing)


def _reason(text: str) -> str:
    """The innermost cause uv names, else its last line."""
    causes = re.findall(r"^\s*(?:Caused by|cause|error):\s*(.+)$", text, re.MULTILINE)
    return causes[-1].strip() if causes else text.strip().rpartition("\n")[2].strip()


def headers(interpreter: Interpreter, host: Host) -> tuple[Path, ...]:
    """Return the include directories that an interpreter is missing, for `with_headers`.

    On Debian and Ubuntu their package is downloaded and unpacked into the cache, without root.

    Raises:
        EnvironmentProblemError: there are none, and none to fetch.
    """
    if interpreter.has_headers:
        return ()
    version = interpreter.tag.version
    what = f"the C headers of {interpreter.path} ({interpreter.version}) are missing"
    of_debian = interpreter.path.resolve().parent == Path("/usr/bin")
    if not of_debian or interpreter.tag.implementation != "cpython":
        hint = "reinstall this Python with its headers, or use another one"
        raise EnvironmentProblemError.of(what, hint=hint)
    env = host.net_env
    if not all(shutil.which(tool, path=env["PATH"]) for tool in ("apt-get", "dpkg-deb")):
        hint = f"install them, such as with `dnf install python{version}-devel`"
        raise EnvironmentProblemError.of(what, hint=hint)
    package = f"libpython{version}-dev"
    show = ["dpkg-query", "--show", "--showformat=${Version}", f"libpython{version}-stdlib"]
    asked = capture(show, env=env)
    installed = asked.stdout.strip() if asked.ok else ""
    name = f"{package}_{installed or 'any'}_{host_arch()}".replace(":", "%3a")
    try:
        folder = HEADERS.provide(
            host.cache_dir, name, lambda made: _fetch_headers(version, installed, made, env)
        ).folder
    except EnvironmentProblemError as error:
        what = f"{what}, and {package} could not be fetched: {error.what}"
        hint = f"`apt-get install python{version}-dev` as root"
        raise error.reword(what, hint=hint) from None
    # Python.h is in the first; Debian's pyconfig.h there includes
    # <x86_64-linux-gnu/python3.11/pyconfig.h>, which the second one resolves.
    return (folder / f"python{version}", folder)


def _fetch_headers(version: str, installed: str, made: Path, env: Mapping[str, str]) -> None:
    """Unpack what is below the package's ``usr/include``, of the installed revision if possible."""
    debs, root, package = made.parent / "debs", made.parent / "root", f"libpython{version}-dev"
    refused = EnvironmentProblemError.of("no apt here")
    # Another revision of the same minor version has the same ABI.
    names = (*([f"{package}={installed}"] if installed else []), package)
    archives = (opened(made.parent, env) for opened in (apt.own, apt.own_anew))
    for archive, name in ((archive, name) for archive in archives for name in names):
        try:
            archive.fetch([name], debs)
            break
        except EnvironmentProblemError as error:
            refused = error
    else:
        raise refused
    apt.unpack(debs, root, env=env)
    include = root / "usr/include"
    if not (include / f"python{version}/Python.h").is_file():
        raise EnvironmentProblemError.of(f"{name} holds no python{version}/Python.h")
    include.rename(made)


def without_own_path(env: Mapping[str, str], interpreter: Interpreter) -> dict[str, str]:
    """Return a build's environment in which extension modules do not get the interpreter's RPATH.

    A Python with a shared library of its own, as pyenv builds it, hands on the RPATH that finds
    it. In an extension module that path of this machine is useless: the library is loaded before
    any module. A linker or flags that are set stay; a compiler that is set links, as setuptools
    makes it. Some projects read the interpreter's LDFLAGS themselves, if none are set.
    """
    known, own = dict(interpreter.variables), {}
    for name, compiler in (("LDSHARED", "CC"), ("LDCXXSHARED", "CXX")):
        words, old = known.get(name, "").split(), known.get(compiler, "").split()
        kept = _without_run_paths(words)
        if kept == words or name in env:
            continue
        if compiler not in env:
            own[name] = " ".join(kept)
        elif old and words[: len(old)] == old:
            own[name] = " ".join([env[compiler], *kept[len(old) :]])
    flags = known.get("LDFLAGS", "").split()
    if "LDFLAGS" not in env and (kept := _without_run_paths(flags)) != flags:
        # Every tool reads these: where the interpreter's libraries are is none of its business.
        own["LDFLAGS"] = " ".join(word for word in kept if not word.startswith("-L"))
    return {**env, **own}


def _without_run_paths(words: Sequence[str]) -> list[str]:
    """Return a linker's arguments without those that set an RPATH."""
    text = "\0".join(words)
    return [word for word in _RPATH.sub("\0", f"\0{text}\0").split("\0") if word]


_RPATH = re.compile(
    r"\0(?:-Wl,(?:-R|--?rpath)(?:[=,/][^\0]*|\0-Wl,[^\0]*)"
    r"|-Xlinker\0(?:-R|--?rpath)(?:=[^\0]*|\0-Xlinker\0[^\0]*)|-R/?[^\0]*)(?=\0)"
)
"""An argument, or a pair of them, between NULs."""


def with_headers(env: Mapping[str, str], include_dirs: Sequence[Path]) -> dict[str, str]:
    """Return a build's environment in which compilers and CMake find headers kept elsewhere.

    `include_dirs` come from `headers`: ``Python.h`` is in the first; none changes nothing.
    """
    if not include_dirs:
        return dict(env)
    # gcc, clang and nvcc's host compiler read CPATH; CMake looks for Python.h itself, and only
    # where the interpreter says it is, unless told otherwise (scikit-build-core reads CMAKE_ARGS).
    own = [str(folder) for folder in include_dirs]
    cpath = os.pathsep.join([*own, *filter(None, [env.get("CPATH")])])
    cmake = [f"-DPython{number}_INCLUDE_DIR={own[0]}" for number in ("", "3")]
    arguments = " ".join([*cmake, *filter(None, [env.get("CMAKE_ARGS")])])
    return {**env, "CPATH": cpath, "CMAKE_ARGS": arguments}
