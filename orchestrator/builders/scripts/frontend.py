"""Build a wheel with the project's build backend, in the environment that compiles (PEP 517).

Of an sdist it is told ``makes``: ``sdist``; no pip or uv makes one.

The toolchain's Python runs this on this host, and a container's own Python without its
site-packages (``-I -S``) runs it there. Nothing of it is installed where the backend runs, and
nothing that the project installs, upgrades or removes reaches it. Runs on Python 3.8 and newer.

argv: a JSON file; then perhaps ``setup``, to give the Python of before-build what it gets from us,
or the command that this stands in for (``python -m build ...``), whose arguments replace those of
the file. The JSON:

``libraries``: directories with pyproject_hooks and pip, for a Python without site-packages;
``source``; ``output``, a directory; ``scratch``, a directory that may not exist;
``interpreter``: the Python below all environments, and ``python``, that of before-build, unless
both are the one that runs this;
``frontend``: ``build``, ``build[uv]``, ``pip`` or ``uv``, and its ``flags``;
``uv``: installs, instead of pip, if not empty; ``pip``: a program in Python and its argument;
``variables`` of what installs;
``requires``: requirements beside those of the project; ``constraints`` of both;
``locked``: distribution -> version of what is prepared, if nothing else is installed; else null;
``isolated``: whether the build gets a clean environment, unless ``flags`` say otherwise;
``managed``: whether pip and uv, too, build in an environment that this script has made;
``prepared``: the directory of an environment that ``has`` these requirements, or empty;
``indexes``: names and globs of what comes from an index of its own;
``attach``: the script that adds it;
``settings``: further PEP 517 config settings; ``env``: variables of the hook that builds;
``questions`` for the environment that compiles (`ask_environment.py`), empty for none;
``cuda``: the directory of the CUDA toolkit that it was given, empty for none;
``answer``: a file for what the backend requires of this build; then nothing is built; else empty;
``module``: a file with `sysconfig`'s settings for another machine, which the hook that builds takes
this machine for; else empty.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LEGACY = {"requires": ["setuptools >= 40.8.0"], "build-backend": "setuptools.build_meta:__legacy__"}
"""The build system of a project that does not say (PEP 517, PEP 518)."""

DEFAULTS: dict[str, Any] = {
    "uv": "",
    "variables": {},
    "settings": [],
    "env": {},
    "module": "",
    "locked": None,
    "answer": "",
    "makes": "wheel",
}

PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"

UNAME = Path(__file__).with_name("cross_uname.py")
ASK = Path(__file__).with_name("ask_environment.py")

ANSWER = "orchestrator: environment: "
"""The beginning of the line with its answer."""

LOCKED = "locked"
"""The file in `scratch` that says: from now on nothing is installed but what is prepared."""

LIMITS = "limits.txt"
"""The file in `scratch` with the constraints of what before-build installs."""

HEADER = "include/cublas_v2.h"
"""The header that tells a whole toolkit from a compiler."""


def main() -> int:
    """Build one wheel."""
    here = {"interpreter": sys.executable, "python": sys.executable}
    asked = {**DEFAULTS, **here, **json.loads(Path(sys.argv[1]).read_text("utf-8"))}
    sys.path[:0] = asked["libraries"]
    Path(asked["scratch"]).mkdir(parents=True, exist_ok=True)
    try:
        if sys.argv[2:] == ["setup"]:
            set_up(asked)
        else:
            build({**asked, **(stand_in(sys.argv[2:]) if sys.argv[2:] else {})})
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"exit {error.returncode}: {shlex.join(map(str, error.cmd))}\n")
        return 1
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def stand_in(command: Sequence[str]) -> dict[str, Any]:
    """Return what a command of cibuildwheel says.

    It is ``python -m build SOURCE --wheel --outdir=OUTPUT ...``,
    ``python -m pip wheel SOURCE --wheel-dir=OUTPUT --no-deps ...``, or
    ``uv build --python=PYTHON SOURCE --wheel --out-dir=OUTPUT ...``.
    """
    frontend = "uv" if command[0] == "uv" else command[2]
    words = command[4 if frontend == "pip" else 3 :]
    output = next(word for word in words if re.match("--(out-?|wheel-)dir=", word))
    said = {
        "frontend": frontend,
        "source": words[0],
        "output": output.partition("=")[2],
        "flags": words[3:],
        "uv": "uv" if frontend == "uv" or "--installer=uv" in words[3:] else "",
    }
    python = command[2].partition("=")[2]
    return {**said, "python": python} if frontend == "uv" else said


def set_up(asked: Mapping[str, Any]) -> None:
    """Give before-build what the matrix requires of its environment, and its constraints."""
    if asked["constraints"]:
        write_lines(Path(asked["scratch"], LIMITS), asked["constraints"])
    if asked["isolated"]:
        return
    if asked["prepared"]:
        attach(asked, asked["python"])
    else:
        install(asked, asked["python"], asked["requires"])


def build(asked: Mapping[str, Any]) -> None:
    """Make the environment that compiles, and run the frontend that was asked for.

    Raises:
        CalledProcessError: something fails.
        ValueError: the project's [build-system] is wrong.
    """
    if asked["managed"] or asked["frontend"] not in {"pip", "uv"}:
        build_in_environment(asked)
    else:
        run_frontend(asked, asked["python"])
    if asked["locked"] is not None:
        Path(asked["scratch"], LOCKED).touch()


def run_frontend(
    asked: Mapping[str, Any], python: str, *more: str, variables: Mapping[str, str] | None = None
) -> None:
    """Run pip or uv."""
    flags, output = asked["flags"], asked["output"]
    if asked["frontend"] == "pip":
        argv = [python, "-I", "-S", "-c", *asked["pip"], "wheel", asked["source"]]
        argv += [f"--wheel-dir={output}", "--no-deps"]
    else:
        argv = [asked["uv"] or "uv", "build", f"--python={python}", "--wheel"]
        argv += [f"--out-dir={output}", asked["source"]]
    run([*argv, *flags, *more], variables)


def build_in_environment(asked: Mapping[str, Any]) -> None:
    """Do what `build` does: install what the project requires of a build, and call its backend."""
    import pyproject_hooks  # noqa: PLC0415 - its directory is known only now

    flags = parse(asked["flags"])
    isolated = flags.isolated and asked["isolated"]
    settings = join([*flags.settings, *(f"{k}={v}" for k, v in asked["settings"])])
    system = read_build_system(Path(asked["source"], "pyproject.toml"))
    python = make_environment(asked) if isolated else asked["python"]

    def backend(more: Mapping[str, str]) -> pyproject_hooks.BuildBackendHookCaller:
        return pyproject_hooks.BuildBackendHookCaller(
            asked["source"],
            system["build-backend"],
            system.get("backend-path"),
            runner=partial(call, variables={**path_of(python), **more}),
            python_executable=python,
        )

    try:
        if isolated:
            install(asked, python, [*system["requires"], *asked["requires"]])
            # For this machine: a backend may have no CMake for another one.
            requires = getattr(backend({}), f"get_requires_for_build_{asked['makes']}")
            required = requires(settings)
            if asked["answer"]:
                Path(asked["answer"]).write_text(json.dumps(required), "utf-8")
                return
            install(asked, python, required)
        if asked["module"]:
            put(asked["module"], python)
        cuda = toolkit(asked, ask(asked, python), path_of(python)["PATH"])
        if asked["frontend"] in {"pip", "uv"}:
            own = {**path_of(python), **asked["env"], **cuda}
            run_frontend(asked, python, "--no-build-isolation", variables=own)
        else:
            make = getattr(backend({**asked["env"], **cuda}), f"build_{asked['makes']}")
            make(asked["output"], settings)
    except pyproject_hooks.BackendUnavailable as error:
        what = f"the build backend {system['build-backend']} cannot be imported"
        raise ValueError(f"{error.traceback}\n{what}") from None
    except (pyproject_hooks.HookMissing, pyproject_hooks.UnsupportedOperation) as error:
        what = f"the build backend cannot build the {asked['makes']}"
        raise ValueError(f"{what}: {error!r}") from None


def read_build_system(file: Path) -> dict[str, Any]:
    """Return ``[build-system]`` of a project (PEP 518), with the defaults of PEP 517.

    Raises:
        ValueError: it is wrong.
    """
    if not file.is_file():
        return LEGACY
    try:
        import tomllib as toml  # noqa: PLC0415 - Python 3.11 and newer
    except ModuleNotFoundError:
        from pip._vendor import tomli as toml  # type: ignore[no-redef]  # noqa: PLC0415
    table = toml.loads(file.read_text("utf-8")).get("build-system", LEGACY)
    if not is_texts(table.get("requires")):
        raise ValueError("pyproject.toml: build-system.requires is not a list of requirements")
    if not is_texts(table.get("backend-path", [])):
        raise ValueError("pyproject.toml: build-system.backend-path is not a list of directories")
    return {**table, "build-backend": table.get("build-backend", LEGACY["build-backend"])}


def is_texts(value: object) -> bool:
    """Whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def make_environment(asked: Mapping[str, Any]) -> str:
    """Make a clean environment without pip (PEP 405); return its Python."""
    folder = Path(asked["scratch"], "isolated")
    say("making a clean environment for the build")
    # Neither option reaches the environment, and no sitecustomize of the Python below does.
    run([asked["interpreter"], "-I", "-S", "-m", "venv", "--clear", "--without-pip", str(folder)])
    python = str(folder / "bin" / "python")
    if asked["prepared"]:
        attach(asked, python)
    return python


def attach(asked: Mapping[str, Any], python: str) -> None:
    """Add the prepared environment to that of a Python."""
    run([python, "-I", asked["attach"], asked["prepared"]])


def path_of(python: str) -> dict[str, str]:
    """Return the variables with which programs of an environment are found."""
    return {"PATH": f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def install(asked: Mapping[str, Any], python: str, requirements: Sequence[str]) -> None:
    """Install requirements into an environment, as far as it was not prepared for them.

    Raises:
        ValueError: one of them may only come from an index that is not known here.
    """
    requirements = [each for each in requirements if each not in asked["has"]]
    if not requirements:
        return
    if asked["locked"] is not None:
        check_locked(requirements, asked["locked"], python)
        return
    for each in requirements:
        name = re.sub("[-_.]+", "-", re.split(r"[^\w.-]", each.strip())[0]).lower()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in asked["indexes"]):
            what = f"{each!r} is required only now, and [indexes] says where {name} comes from"
            raise ValueError(f"{what}: add it to build.requires")
    say(f"installing {', '.join(requirements)}")
    file = write_lines(Path(asked["scratch"], "requirements.txt"), requirements)
    if asked["uv"]:
        argv = [asked["uv"], "pip", "install", f"--python={python}", "--no-progress"]
    else:
        argv = [python, "-I", "-c", *asked["pip"], "install", "--no-warn-script-location"]
    argv += [f"--requirement={file}"]
    variables = {**path_of(python), **asked["variables"]}
    if asked["constraints"]:
        limits = write_lines(file.with_name("constraints.txt"), asked["constraints"])
        argv += [f"--constraint={limits}"]
        # Old versions of pip do not know the option.
        names = ("PIP_BUILD_CONSTRAINT", "UV_BUILD_CONSTRAINT")
        variables = {**variables, **dict.fromkeys(names, str(limits))}
    run(argv, variables)


VERSIONS = """
import json, platform
full = platform.python_version()
found = {"python_version": ".".join(full.split(".")[:2]), "python_full_version": full}
print(json.dumps({**found, "platform_python_implementation": platform.python_implementation()}))
"""


def check_locked(requirements: Iterable[str], locked: Mapping[str, str], python: str) -> None:
    """Make sure that what is locked meets requirements of a Python's environment.

    Raises:
        ValueError: it does not.
    """
    from pip._vendor.packaging.requirements import Requirement  # noqa: PLC0415 - not everywhere

    argv = [python, "-I", "-S", "-c", VERSIONS]
    said = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
    for each in requirements:
        found = Requirement(each)
        if found.marker and not found.marker.evaluate({"extra": "", **json.loads(said.stdout)}):
            continue
        version = locked.get(re.sub("[-_.]+", "-", found.name).lower())
        other = found.url or found.extras
        if version is None or other or not found.specifier.contains(version, prereleases=True):
            has = f"has {found.name} {version}" if version else "does not have it"
            again = "add it to build.requires, and run `orchestrator lock`"
            raise ValueError(f"{each!r} is required only now, and the lock {has}: {again}")


def write_lines(file: Path, lines: Iterable[str]) -> Path:
    """Write a file, and return it."""
    file.write_text("".join(f"{each}\n" for each in lines), "utf-8")
    return file


def ask(asked: Mapping[str, Any], python: str) -> Sequence[str]:
    """Ask the environment that compiles what it has, before it does; return where CUDA's parts are.

    Raises:
        ValueError: something else than the cell asks for.
    """
    if not asked["questions"]:
        return ()
    argv = [python, "-S", str(ASK), asked["questions"]]
    env = {**os.environ, **path_of(python), **asked["env"]}
    done = subprocess.run(argv, env=env, check=False, stdout=subprocess.PIPE, text=True)
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    if done.returncode:
        code = f"{ASK.name}: exit {done.returncode}"
        raise ValueError(f"this environment cannot compile for the cell ({code})")
    answer: dict[str, Any] = json.loads(done.stdout.partition(ANSWER)[2])
    return tuple(answer["cuda"])


def toolkit(asked: Mapping[str, Any], parts: Sequence[str], path: str) -> dict[str, str]:
    """Return variables of a toolkit with the libraries that torch has brought, if it lacks them.

    Wheels of a compiler lack cuBLAS and others, and torch's headers include theirs. Links to both
    make one toolkit; nvcc looks for what is beside the link that it is called by.
    """
    own = Path(asked["cuda"])
    if not asked["cuda"] or not parts or (own / HEADER).exists():
        return {}
    folder = Path(asked["scratch"], "cuda")
    shutil.rmtree(folder, ignore_errors=True)
    folders = [own, *map(Path, parts)]
    link_all(folder / "bin", [own / "bin"])
    link_all(folder / "include", [each / "include" for each in folders])
    link_all(folder / "lib", [each / name for each in folders for name in ("lib64", "lib")])
    for library in sorted((folder / "lib").glob("*.so.*")):
        name = library.name.partition(".so.")[0]
        if not (folder / f"lib/{name}.so").exists():
            (folder / f"lib/{name}.so").symlink_to(library.name)
    (folder / "lib64").symlink_to("lib")
    (folder / "nvvm").symlink_to(own / "nvvm")
    libraries = (f"{folder}/lib64", os.environ.get("LIBRARY_PATH", ""))
    return {
        "CUDA_HOME": str(folder),
        "CUDA_PATH": str(folder),
        "PATH": f"{folder}/bin{os.pathsep}{path}",
        "LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
    }


def link_all(folder: Path, sources: Iterable[Path]) -> None:
    """Link to everything in some directories; the first one of a name counts."""
    folder.mkdir(parents=True)
    for source in sources:
        for each in sorted(source.iterdir()) if source.is_dir() else ():
            if not (folder / each.name).exists():
                (folder / each.name).symlink_to(each)


def call(
    cmd: Sequence[str],
    cwd: str | None = None,
    extra_environ: Mapping[str, str] | None = None,
    *,
    variables: Mapping[str, str],
) -> None:
    """Run a hook, as pyproject_hooks asks for it, with some variables more."""
    run(cmd, {**variables, **(extra_environ or {})}, cwd)


def run(
    argv: Sequence[str], variables: Mapping[str, str] | None = None, cwd: str | None = None
) -> None:
    """Run a program to its end."""
    subprocess.run(list(argv), check=True, cwd=cwd, env={**os.environ, **(variables or {})})


def say(line: str) -> None:
    """Print a line before what programs print afterwards."""
    sys.stdout.write(f"* {line}\n")
    sys.stdout.flush()


def parse(flags: Sequence[str]) -> argparse.Namespace:
    """Parse those arguments of `build` that matter here."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    setting = ("-C", "--config-setting", "--config-settings")
    parser.add_argument(*setting, dest="settings", action="append", default=[])
    alone = ("-n", "--no-isolation", "--no-build-isolation")
    parser.add_argument(*alone, dest="isolated", action="store_false")
    return parser.parse_known_args(flags)[0]


def join(settings: Iterable[str]) -> dict[str, Any]:
    """Return settings as hooks get them: a name that is given twice has a list of values."""
    values: dict[str, list[str]] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        values.setdefault(name, []).append(value)
    return {name: many if len(many) > 1 else many[0] for name, many in values.items()}


def put(module: str, python: str) -> None:
    """Copy another machine's settings, and its name, to where a Python finds them."""
    asked = [python, "-I", "-c", PURELIB]
    said = subprocess.run(asked, text=True, stdout=subprocess.PIPE, check=True)
    place = Path(said.stdout.strip())
    shutil.copy(module, place)
    shutil.copy(UNAME, place)
    # Lines that begin with `import` are executed when Python starts (see `site`).
    (place / "cross_uname.pth").write_text("import cross_uname\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
