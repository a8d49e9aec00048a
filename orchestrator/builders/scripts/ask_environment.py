"""Ask the environment that is about to compile a wheel what it has; its own Python runs this.

argv: JSON, a list of questions with ``what``, ``axis``, ``value``, ``pattern`` (which the whole
answer must match) and ``required``. Prints one line, `ANSWER` with JSON: ``python``, ``packages``,
``torch``, ``nvcc`` and ``cuda`` as they are, and ``wrong``, the questions with another answer
(``found``).
Exit `DIFFERS` if there is one. Nothing is started but nvcc, to tell its version, and Python, to
import a torch whose files do not tell everything. Runs on Python 3.8 and newer; with ``-S`` no
``sitecustomize`` comes in between.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ANSWER = "orchestrator: environment: "
DIFFERS = 3

COMPILERS = ("CUDACXX", "PYTORCH_NVCC", "NVCC")
"""Variables that name nvcc for CMake, torch's extensions and makefiles."""

TOOLKITS = ("CUDA_HOME", "CUDA_PATH")

USUAL = "/usr/local/cuda/bin/nvcc"
"""Where torch's extensions and CMake look last."""

IMPORT = """\
import json, torch
abi = getattr(torch, "compiled_with_cxx11_abi", lambda: torch._C._GLIBCXX_USE_CXX11_ABI)
print(json.dumps([torch.__version__, torch.version.cuda, torch.version.hip, int(abi())]))
"""

TIMEOUT = 300.0

Question = dict[str, Any]


def main() -> int:
    """Print the answers."""
    questions = json.loads(sys.argv[1])
    open_site()
    facts: dict[str, Any] = {
        "python": python(),
        "packages": packages(),
        "torch": torch(),
        "nvcc": nvccs(),
    }
    facts["cuda"] = cuda()
    wrong = [each for question in questions for each in differences(question, facts)]
    sys.stdout.write(f"{ANSWER}{json.dumps({**facts, 'wrong': wrong})}\n")
    return DIFFERS if wrong else 0


def open_site() -> None:
    """Do what ``-S`` left out, but for ``sitecustomize``; hide what lies beside this file."""
    own = Path(__file__).resolve().parent
    sys.path[:] = [each for each in sys.path if Path(each).resolve() != own]
    if sys.flags.no_site:
        vars(site)["execsitecustomize"] = vars(site)["execusercustomize"] = lambda: None
        site.main()


def python() -> dict[str, str]:
    """Return this Python's tag and version."""
    kinds = {"cpython": "cp", "pypy": "pp", "graalpy": "gp"}
    kind = kinds.get(sys.implementation.name, sys.implementation.name)
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    # GraalPy's ABI is that of a release: graalpy250-312-native-x86_64-linux
    release = re.match(r"graalpy(\d+)-", sysconfig.get_config_var("SOABI") or "")
    suffix = f"_{release[1]}" if release else threads
    tag = f"{kind}{sys.version_info[0]}{sys.version_info[1]}{suffix}"
    return {"tag": tag, "version": sys.version.split()[0].rstrip("+")}


def packages() -> dict[str, str]:
    """Return the normalized name and the version of every distribution that can be imported."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        name = each.metadata["Name"]
        if name:  # the rest of a package that was removed
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each.version)
    return dict(sorted(found.items()))


def torch() -> dict[str, str] | None:
    """Return torch's version, its CUDA and ROCm (``none`` for neither) and C++ ABI; else None.

    Its files tell that; importing it takes seconds, and under QEMU a minute.
    """
    try:
        spec = find_spec("torch")
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).parent
    told = folder / "version.py"
    names = runpy.run_path(str(told)) if told.is_file() else {}
    found = [names.get("__version__"), names.get("cuda"), names.get("hip"), abi_of(folder)]
    if not {"__version__", "cuda"} <= names.keys() or not found[-1]:
        found = imported() or found
    version, cuda, hip, abi = found
    none = "none" if version else ""
    return {
        "version": str(version or ""),
        "cuda": str(cuda or none),
        "hip": str(hip or none),
        "cxx11abi": str(abi),
    }


def abi_of(folder: Path) -> str:
    """Return the C++ ABI of a torch; empty if its files do not tell."""
    config = folder / "share/cmake/Torch/TorchConfig.cmake"
    if config.is_file():
        match = re.search(r"_GLIBCXX_USE_CXX11_ABI=([01])", config.read_text("utf-8"))
        if match:
            return match[1]
    library = folder / "lib/libc10.so"
    # Strings in the names of its functions (c10::Error::Error) have another type in the old ABI.
    return str(int(b"__cxx1112basic_string" in library.read_bytes())) if library.is_file() else ""


def imported() -> list[Any] | None:
    """Import torch in another process, and ask it; None if that fails."""
    try:
        said = run([sys.executable, "-c", IMPORT])
        answers = json.loads(said.splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    return answers if isinstance(answers, list) else None


def run(argv: list[str]) -> str:
    """Return what a program prints."""
    return subprocess.run(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        timeout=TIMEOUT,
    ).stdout


def nvccs() -> dict[str, str]:
    """Return the version of each nvcc that a build may call, by how it is called."""
    calls = [shlex.split(os.environ.get(name, "")) for name in COMPILERS]
    homes = [os.environ[name] for name in TOOLKITS if os.environ.get(name)]
    calls += [[str(Path(each, "bin/nvcc"))] for each in homes if Path(each, "bin/nvcc").is_file()]
    on_path = shutil.which("nvcc")
    calls += [[on_path]] if on_path else []
    if not any(calls) and Path(USUAL).is_file():
        calls = [[USUAL]]
    found = {}
    for call in filter(None, calls):
        try:
            version = re.search(r", V(\d[\d.]*)", run([*call, "--version"]))
        except (OSError, subprocess.SubprocessError):
            continue
        if version:  # otherwise it is another compiler, such as clang
            found[" ".join(call)] = version[1]
    return found


def cuda() -> list[str]:
    """Return the directories of CUDA's libraries and headers that came as wheels, as torch's do."""
    places = (Path(each, "nvidia") for each in sys.path)
    return [str(each.parent) for place in places for each in sorted(place.glob("*/include"))]


def differences(question: Question, facts: dict[str, Any]) -> list[Question]:
    """Return a question once for each wrong answer."""
    answers, pattern = answers_to(question["what"], facts), re.compile(question["pattern"])
    if not answers:
        return [{**question, "found": "", "where": ""}] if question["required"] else []
    wrong = {where: each for where, each in answers.items() if not pattern.fullmatch(each)}
    if question["what"] == "torch":  # only one of its two versions may have a local part
        wrong = dict(list(wrong.items())[-1:]) if len(wrong) == len(answers) else {}
    return [{**question, "found": each, "where": where} for where, each in wrong.items()]


def answers_to(what: str, facts: dict[str, Any]) -> dict[str, str]:
    """Return the answers, by where they are from."""
    torch, version = facts["torch"] or {}, facts["packages"].get(what, "")
    answers: dict[str, dict[str, str]] = {
        "python": {sys.executable: facts["python"]["tag"]},
        "nvcc": facts["nvcc"],
        "torch": {"metadata": version, "version.py": torch.get("version", "")},
        "torch.version.cuda": {"torch": torch.get("cuda", "")},
        "torch.version.hip": {"torch": torch.get("hip", "")},
        "C++ ABI of torch": {"torch": torch.get("cxx11abi", "")},
    }
    found = answers.get(what, {"metadata": version})
    return {where: each for where, each in found.items() if each}


if __name__ == "__main__":
    sys.exit(main())
