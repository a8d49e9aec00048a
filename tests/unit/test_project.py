"""What must agree in this repository, and what must not be in it."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import orchestrator
from orchestrator.host.program_tables import builder_facts
from tests.conftest import REPOSITORY

PYPROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))

# Versions and dependencies


def script_metadata(text: str) -> dict[str, Any]:
    """Inline script metadata, as PEP 723 itself reads it."""
    pattern = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"
    (match,) = [m for m in re.finditer(pattern, text) if m["type"] == "script"]
    lines = match["content"].splitlines(keepends=True)
    return tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))


def by_name(requirements: list[str]) -> dict[str, Requirement]:
    found = map(Requirement, requirements)
    return {canonicalize_name(each.name): each for each in found}


def test_the_noxfile_needs_what_the_project_needs_and_nox() -> None:
    metadata = script_metadata((REPOSITORY / "noxfile.py").read_text("utf-8"))
    own = by_name(PYPROJECT["project"]["dependencies"])
    noxfile = by_name(metadata["dependencies"])

    assert noxfile.pop("nox").specifier
    assert noxfile == own
    assert metadata["requires-python"] == PYPROJECT["project"]["requires-python"]


def locked() -> dict[str, str]:
    text = (REPOSITORY / "orchestrator" / "provision" / "toolchain.lock").read_text("utf-8")
    pins = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)", text)
    return {canonicalize_name(name): version for name, version in pins}


def test_the_types_are_checked_against_the_toolchain_s_versions() -> None:
    types = by_name([e for e in PYPROJECT["dependency-groups"]["types"] if isinstance(e, str)])
    for name in ("auditwheel", "cibuildwheel", "setuptools-scm"):
        assert str(types[name].specifier) == f"=={locked()[name]}"
    bench = by_name(PYPROJECT["dependency-groups"]["bench"])
    assert bench["auditwheel"] == types["auditwheel"]


def test_the_playground_has_what_planning_needs_by_hash() -> None:
    text = (REPOSITORY / "tools/playground/requirements.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(" --hash=sha256:" in line for line in lines)
    pinned = by_name([line.partition(" ")[0] for line in lines])

    for name in ("packaging", "pydantic"):
        (pin,) = pinned[name].specifier
        declared = by_name(PYPROJECT["project"]["dependencies"])[name].specifier
        assert declared.contains(pin.version)


def test_every_file_of_the_toolchain_is_named_by_its_hash() -> None:
    text = (REPOSITORY / "orchestrator" / "provision" / "toolchain.lock").read_text("utf-8")
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]

    assert len(entries) == len(locked())
    assert [each.split()[0] for each in entries if "--hash=sha256:" not in each] == []


def test_what_the_toolchain_is_made_from_is_in_its_lock() -> None:
    text = (REPOSITORY / "orchestrator" / "provision" / "toolchain.in").read_text("utf-8")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())

    wanted = by_name([line for line in lines if line])
    assert wanted.keys() <= locked().keys()
    for name, requirement in wanted.items():
        assert requirement.specifier.contains(locked()[name], prereleases=True), name


def test_the_facts_are_of_the_locked_cibuildwheel() -> None:
    assert builder_facts().version == locked()["cibuildwheel"]


def test_there_is_one_version() -> None:
    assert PYPROJECT["project"]["version"] == orchestrator.__version__


def test_the_supported_pythons_are_the_classified_ones() -> None:
    classified = [
        each.rpartition(" ")[2]
        for each in PYPROJECT["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", each)
    ]

    assert PYPROJECT["project"]["requires-python"] == f">={classified[0]}"
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{classified[0].replace('.', '')}"


def test_every_dependency_has_its_reason_beside_it() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    block = text.partition("\ndependencies = [\n")[2].partition("\n]")[0]

    assert block
    assert [line for line in block.splitlines() if "#" not in line] == []


# What must not be in the repository


def pieces(*parts: str) -> str:
    """Join, so that this file does not hold what it looks for."""
    return "".join(parts)


def host(*labels: str) -> str:
    """A host name and all below it, but no longer name, path or e-mail address that holds it."""
    name = r"\.".join(labels)
    return rf"(?<![\w@-])(?:[a-z0-9-]+\.)*{name}(?![\w-]|\.[a-z])"


def path(*parts: str) -> str:
    """An absolute path: not a part of a longer one, and not of a URL's."""
    return rf"(?<![\w./}}~-])/{'/'.join(parts)}(?![\w-])"


FORBIDDEN = {
    # A workplace; /project, /opt, /usr, /tmp and /host belong to containers and to everybody.
    "a path of this machine": [
        path("work", r"(?:main|shared|\.[a-z]+)"),
        path("work") + r"(?=/)",
        path("root") + r"(?=/)",
        path("home", r"[a-z]\w*"),
        path("Users", r"\w+"),
        path("tmp", pieces("bash", "_jobs")),
        path("tmp", "s", "v"),
        path("tmp", "pytest-of-"),
    ],
    # Where packages come from is the user's business: pip's, uv's and apt's own settings.
    "a host of a package registry": [
        host(pieces("py", "pi"), "org"),
        host(pieces("python", "hosted"), "org"),
        host(pieces("np", "mjs"), "(?:org|com)"),
        host(pieces("debi", "an"), "(?:org|net)"),
        host(pieces("ubun", "tu"), "com"),
        host(pieces("crat", "es"), "io"),
        host("proxy", pieces("gol", "ang"), "org"),
        host("index", "docker", "io"),
        host(
            r"(?:pypi|npm|apt|deb|pip|artifactory|nexus|mirrors?|registry)", r"[a-z0-9-]+", "[a-z]+"
        ),
    ],
    "an address of a private network": [
        r"(?<![\d.])(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d+\.\d+(?![\d.])",
    ],
}


def offences(text: str) -> list[str]:
    return [
        f"{number}: {what}: {match[0]}"
        for what, patterns in FORBIDDEN.items()
        for pattern in patterns
        for number, line in enumerate(text.splitlines(), 1)
        for match in re.finditer(pattern, line)
    ]


@pytest.mark.parametrize(
    "line",
    [
        pieces("cd /", "work/main"),
        pieces("PATH=/", "work/x/bin"),
        pieces("cat /", "root/.ssh"),
        pieces("'/", "root/x'"),
        pieces("/", "home/me/x"),
        pieces("see /tmp/", "bash_", "jobs.0/1"),
        pieces("https://py", "pi.org/simple"),
        pieces("index-url = https://test.py", "pi.org/simple/"),
        pieces("files.python", "hosted.org"),
        pieces("http://deb.debi", "an.org/debian"),
        pieces("deb http://snapshot.debi", "an.org x"),
        pieces("registry.np", "mjs.org"),
        pieces("https://pypi.internal-mirror", ".example"),
        pieces("http://mirror", ".corp.lan/x"),
        pieces("http://10.1", ".2.3:8080"),
    ],
)
def test_the_patterns_find_what_they_are_for(line: str) -> None:
    assert offences(line)


@pytest.mark.parametrize(
    "line",
    [
        "WORKDIR /project",
        "a/work/b and ./work/x and {work}/logs",
        "work = root / 'work' / 'logs'",
        "/usr/local/cuda/version.json",
        "the PyPI index, on pypi or not",
        "debian:bookworm",
        "https://github.com/pypa/cibuildwheel",
        "https://packaging.python.org/specifications",
        "quay.io/pypa/manylinux_2_28_x86_64",
        "me@example.org",
        "version 10.1.2",
        "registry/{arch}:{cuda}",
        "registry.read_text()",
    ],
)
def test_the_patterns_find_nothing_else(line: str) -> None:
    assert offences(line) == []
