# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "nox>=2026.4", "click>=8.2", "jinja2>=3.1.6", "packaging>=26.1", "pydantic>=2.10",
#   "rich>=13.9", "ruamel.yaml>=0.18", "trove-classifiers>=2026.1",
# ]
# ///
"""Everything a developer of this project runs; `nox -l` lists it.

The dependencies above are nox and those of pyproject.toml, so that ``nox`` alone is enough on a
fresh machine; the package itself is imported from this directory. A test keeps the two equal.
"""

import os
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))

import orchestrator.nox

nox.options.sessions = ["tests"]
nox.options.error_on_missing_interpreters = True

PYPROJECT = nox.project.load_toml("pyproject.toml")
PARALLEL = ("--numprocesses=auto", "--dist=loadfile", "--no-loadscope-reorder")
"""In as many processes as there are cores, a file in one of them, in the order of collection."""


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(PYPROJECT, name)


orchestrator.nox.sessions()


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: nearly every rule, and the format."""
    session.install(*_group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict."""
    session.install("-e", ".", *_group("types"))
    session.run("mypy")


@nox.session(reuse_venv=True)
def fast(session: nox.Session) -> None:
    """Format, lint, unit and property tests, in two minutes: what to run before a commit."""
    session.install("-e", ".", *_group("lint"), *_group("types"), *_group("tests"))
    session.run("ruff", "format")
    session.run("ruff", "check")
    fewer = "--hypothesis-profile=fast"
    session.run("pytest", *PARALLEL, fewer, "tests/unit", "tests/property", *session.posargs)


@nox.session(requires=["lint", "types"])
def tests(session: nox.Session) -> None:
    """All tests this machine can run, after lint and types; it says what it leaves out and why."""
    session.install("-e", ".", *_group("types"), *_group("tests"))
    env = {"CI": os.environ.get("CI", "")}
    session.run("pytest", *PARALLEL, "--durations=25", *session.posargs, env=env)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site with its playground, in site/; a broken link is an error."""
    session.install(*_group("docs"))
    session.run("zensical", "build", "--clean", "--strict")
    session.run("python", "tools/playground.py", "site/playground")


@nox.session
def corpus(session: nox.Session) -> None:
    """All real wheels against auditwheel, delocate and delvewheel (730 MB of downloads)."""
    session.install("-e", ".", *_group("types"), *_group("tests"))
    session.run("pytest", "tests/corpus", "--corpus=all", *session.posargs)


@nox.session
def nightly(session: nox.Session) -> None:
    """What takes minutes: real projects and other build systems, under QEMU."""
    session.install("-e", ".", *_group("types"), *_group("tests"))
    env = {"CI": os.environ.get("CI", "")}
    session.run("pytest", "-m", "nightly", "--durations=0", *session.posargs, env=env)


@nox.session
def relock(session: nox.Session) -> None:
    """Lock the toolchain anew, and what is derived from it."""
    session.install("-e", ".")
    session.run("orchestrator", "toolchain", "lock", "--upgrade", *session.posargs)
    python = session.run("orchestrator", "toolchain", "path", "python", silent=True)
    facts = session.run(
        str(python).split()[-1], "tools/cibuildwheel_facts.py", silent=True, external=True
    )
    Path("orchestrator/plan/cibuildwheel.json").write_text(str(facts), encoding="utf-8")
