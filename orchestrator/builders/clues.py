"""Find in a build's output what it lacks: a development file, a server, or files of the source.

The compiler's messages stand hundreds of lines before the last one. The last that is known counts:
configure steps try headers and packages that a project can do without.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.builders.system_packages import system_packages
from orchestrator.containers.container import PROJECT
from orchestrator.errors import clipped
from orchestrator.models.platforms import Libc
from orchestrator.models.result import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.models.result import BuildEnvironment, Failure
    from orchestrator.models.target import Target

    _Answer = tuple[BuildEnvironment, Failure | None]

_LACKS = {
    "header": re.compile(
        r"fatal error: '?([\w./+-]+\.h(?:pp|h|xx)?)'?(?:: No such file| file not found)"
        r"|fatal error: '?([\w/+-]+)'?: No such file or directory"
    ),
    "library": re.compile(
        r"cannot find -l:?([\w.+-]+)"
        r"|unable to find (?:dynamic system )?library '?(?:-l)?(\w[\w.+-]*)"
        r"|\blib([\w.+-]+)\.so[\w.]*: cannot open shared object file"
        r"|(?:ould not|annot|nable to) (?:find |or |load |the )+lib([\w+-]+)"
    ),
    "host": re.compile(
        r"[Cc]ould not resolve (?:host|proxy): ([\w.-]+)|[Cc]ould not resolve hostname ([\w.-]+):"
        r"|unable to resolve host address \W([\w.-]+)"
        r"|\blookup ([\w.-]+)(?: on \S+)?: no such host"
        r"|getaddrinfo (?:ENOTFOUND|EAI_AGAIN) ([\w.-]+)|Temporary failure resolving '([\w.-]+)'"
        r"|Failed to connect to ([\w.-]+) port|unable to access 'https?://([\w.-]+)[:/]"
        r"|failed to download from `https?://([\w.-]+)[:/]"
        r"|error sending request for url \(https?://([\w.-]+)[:/]"
        r"|host='([\w.-]+)', port=\d+\): Max retries exceeded"
    ),
    "program": re.compile(
        r"\b([\w.]+[-_]config)(?: \w+)?:? (?:command )?not found|not find ([\w.]+[-_]config)\b"
        r"|sh: (?:\d+: |line \d+: )?([\w.+-]+): (?:command )?not found"
        r"|command '([\w.+-]+)' failed: No such file"
        r"|\b(\w[\w.+-]*)['`\"]? (?:executable|program|command|compiler)(?: was)? not found"
        r"|not find (?:a |an |the )?['`\"]?([\w.+-]+)['`\"]? (?:executable|program|compiler)"
        r"|Program '?([\w.+-]+)[^']*'? not found|(Cargo), the Rust package manager"
        r"|(Pkg-config) for machine \w+ machine not found"
        r"|find (Rust) compiler|No (CMAKE_\w+_COMPILER) could be found"
    ),
    "package": re.compile(
        r"""Dependency "([\w.+-]+)" not found|No package '([\w.+-]+)' found"""
        r"""|Package '?([\w.+-]+)'?(?:, required by '[^']*',)? (?:was )?not found in"""
        r"""|Package '([\w.+-]+)', required by '[^']*', not found"""
        r"""|Could NOT find (\w+)\b"""
        r"""|Could not find a package configuration file provided by "(\w+)\""""
        r"""|Unable to load dependency (\w+)|make sure the (lib\w+) and \w+ development packages"""
        r"""|library files could not be found for (\w+)|No (\w+) library detected"""
        r"""|pkg-config --\w+ ([\w.+-]+)'? returned non-zero"""
    ),
}
"""How compilers, linkers and build systems say that something of the distribution is missing.

``host``: how cargo, git, curl, wget, go, node, apt and Python say that they do not reach a server.
"""

_NO_PROGRAM = re.compile(
    r"No such file or directory: '([\w.+-]+)'"
    r"|\b([\w.+-]+) (?:is |was |may be |probably |seems )*not (?:be )?(?:installed|on PATH)"
)
"""How a Python says that there is no file, or scripts no program: what is known as one counts."""

_ADDRESS = re.compile(r"\b(?:https?|ftp)://(?:[^/@\s]*@)?([\w.-]+)")
_UNREACHED = re.compile(
    r"<?urlopen error|Name or service not known|ConnectionError|getaddrinfo failed"
)
"""How a Python says, without a name, that it does not reach a server."""

_NO_FILE = re.compile(
    r"file or directory not found: (\S+)|can't open file '([^']+)'"
    r"|Start directory is not importable: '([^']+)'|No rule to make target '([^']+)'"
    r"|\bcannot open '?([^\s']+)'?: No such file|: ([^\s:']+): No such file or directory$"
    r"|\bFile not found: `?([^`\s]+)|No such file or directory: '([^']+)'"
    r"|\bcan't cd to (\S+)|sh: (?:\d+: |line \d+: )?([\w.+-]*/\S+): not found"
)
"""How test runners, installers, make and shells say that there is no file of that name."""

_FAILED_TEST = re.compile(
    r"^(?:FAILED|ERROR) ([\w./-]+\.py\w?(?:::\S+)?)"
    r"|^(?:FAIL|ERROR): (\w+ \([\w.]+\))"
)
"""How pytest and unittest name a test that fails."""

_LEFT_OUT = re.compile(
    r"building extension \S+ failed|optional Rust extension \S+ failed"
    r"|(?:[Ee]xtension|[Mm]odule|[Ss]peedup|[Cc]ode)\w*\W.*"
    r"(?:could not|couldn't|cannot) be (?:built|compiled)"
    r"|[Ff]all(?:ing|s)?[ -]?back (?:to|on) (?:the |a )?(?:pure|plain|[Pp]ython)"
    r"|Couldn't install with extension|[Pp]lain-Python (?:build|installation) succeeded"
)
"""How setuptools, setuptools-rust and setup scripts say that they go on without compiled code."""

_QUOTED = re.compile(r'#\s*include "([^"]+)"')
"""How C names a header that mostly is the project's own."""

_ERROR = re.compile(
    r"^\s*(?!cibuildwheel:)\S[^:\s]*(?::\d+)*: (?:fatal )?error: .*|^error\[E\d+\]: .*"
)
"""How a compiler says what it does not take."""

_REFUSED = re.compile(
    r"^(?:\S+:\d+:\d+: )?(?:ERROR|error): "
    r"(?!command |subprocess-exited|could not compile|metadata-generation)\S.*"
    r"|^CMake Error: .*"
)
"""How setuptools, Meson, CMake, cargo, maturin and frontends say why they end."""

_CONTINUED = re.compile(
    r"^(CMake Error at [^\s:]+:\d+.*:|.{0,9}maturin failed|ERROR Missing dep\w+:)$"
)
"""Those of whose words the next line has the sense."""

_NO_MODULE = re.compile(r"No module named '?(\w{1,100})'?$")
"""How Python says that it cannot import one; a dotted name is part of something installed."""

_UNDER_QEMU = re.compile(r"qemu: uncaught target signal \d+ \(([^)]+)\)")
"""How QEMU says that a program of another architecture died."""

_TRACEBACK = re.compile(r"^(\s*)Traceback \(most recent call last\):$")
"""How Python begins what it says of an exception that nobody caught; a frontend may indent it."""

_NO_MEMORY = re.compile(
    r"Killed signal terminated program|terminated with signal 9|died due to signal 9"
    r"|\(signal: 9, SIGKILL|Signals\.SIGKILL|unable to execute command: Killed"
    r"|^(?:\S*sh: (?:line )?\d+: +\d+ )?Killed(?: |$)"
    r"|virtual memory exhausted|out of memory allocating|LLVM ERROR: out of memory"
    r"|throwing an instance of 'std::bad_alloc'|Cannot allocate memory|^MemoryError\b"
)
"""How compilers, linkers, shells and Python say that they got no memory, or that the kernel ended a
program, which it does for want of memory."""

_EXCEPTION = re.compile(r"([A-Za-z_][\w.]*: .+)")
"""How Python ends it, where the exception has words."""

_OF_A_PROGRAM = ("subprocess.CalledProcessError", "SystemExit", "KeyboardInterrupt")
"""Exceptions that only say that a program failed, which has said why."""

_LONGEST = 2048
"""Characters of a line in which something is looked for."""


_TAIL = 60
"""Number of a step's last lines that are kept."""


class StepOutput:
    """What the programs of a step printed, as far as it says why it fails.

    Attributes:
        tail: the last lines.
        found: kind -> the name that was missing last.
        address: the server of the last address that was named.
        no_file: the file that a program did not find first.
        died: the signal that ended a program under QEMU last.
        error: what a compiler did not take first.
        refused: what a build system said last of why it ends.
        left_out: what a build said first of code that it goes on without.
        no_module: the module that Python did not find last.
        quoted: the header that a compiler showed as one of the project's own last.
        starved: the line that says first that memory ran out.
        failed_tests: the names of tests that failed, in the order in which they were named.
        unreached: a server was not reached, before any was named.
    """

    __slots__ = (
        *("address", "died", "error", "failed_tests", "found", "left_out"),
        *("no_file", "no_module", "quoted", "refused", "starved", "tail", "unreached"),
    )

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self.found: dict[str, str] = {}
        self.address = ""
        self.no_file = ""
        self.no_module = ""
        self.quoted = self.starved = ""
        self.error = ""
        self.refused = ""
        self.left_out = ""
        self.failed_tests: dict[str, None] = {}
        self.died = ""
        self.unreached = False

    @property
    def lacks(self) -> tuple[str, str] | None:
        """Kind and name of what was missing; what compilers say counts before what they are told.

        What is known counts first: a missing package may leave out the directories of all headers.
        One that nobody knows may be one that the project can do without.
        """
        found = [(kind, self.found[kind]) for kind in _LACKS if kind in self.found]
        known = (pair for pair in found if pair[0] == "host" or _is_known(*pair))
        return next(known, next((pair for pair in found if pair[0] != "package"), None))

    @property
    def exception(self) -> str:
        """The last exception that nobody caught, if it says more than that a program failed."""
        found = ""
        indent: str | None = None
        for line in self.tail:
            if begun := _TRACEBACK.match(line.rstrip()):
                indent = begun[1]
            elif indent is not None and not line.startswith(f"{indent} "):
                said = _EXCEPTION.match(line[:_LONGEST].rstrip(), len(indent))
                found = said[1] if said and line.startswith(indent) else found
                indent = None
        return "" if found.startswith(_OF_A_PROGRAM) else found

    def hear(self, line: str) -> None:
        """Take a line."""
        self.tail.append(line)
        if _CONTINUED.match(self.refused) and (words := line.strip()):
            self.refused = f"{self.refused} {words[:_LONGEST]}"
        if any(word in line for word in _WORDS):
            self._search(line[:_LONGEST].rstrip())

    def _search(self, text: str) -> None:
        if (lacking := _lacking(text)) is not None:
            kind, name = lacking
            # One that nobody knows may be one of several names of the same thing.
            if _is_known(kind, name) or not _is_known(kind, self.found.get(kind, "")):
                self.found[kind] = name
        if _is_known("program", program := _first_group(_NO_PROGRAM, text)):
            self.found["program"] = program
        self._search_server(text)
        if not self.starved and _NO_MEMORY.search(text):
            self.starved = text.strip()
        self.no_file = self.no_file or _first_group(_NO_FILE, text)
        self.no_module = _first_group(_NO_MODULE, text) or self.no_module
        if not self.error and (wrong := _ERROR.match(text)):
            self.error = wrong[0].strip()
        if refused := _REFUSED.match(text) or _CONTINUED.match(text):
            self.refused = refused[0]
        if not self.left_out and _LEFT_OUT.search(text):
            self.left_out = text.strip()
        self.quoted = _first_group(_QUOTED, text) or self.quoted
        if name := _first_group(_FAILED_TEST, text):
            self.failed_tests[name] = None
        if dead := _UNDER_QEMU.match(text):
            self.died = dead[1]

    def _search_server(self, text: str) -> None:
        """Connect an address with what is said of it: a Python prints errors first into a pipe."""
        self.address = _first_group(_ADDRESS, text) or self.address
        self.unreached = self.unreached or _UNREACHED.search(text) is not None
        if self.address and self.unreached:
            self.found["host"] = self.address
            self.unreached = False


class Clues:
    """Hears what a target's programs print, and keeps what says why a step fails.

    Attributes:
        step: what the current step printed.
        build: what the step that builds printed; it may matter later.
        answer: reads what a line says of the environment that compiles, and how that is wrong.
        environment: what is in that environment; None before it was asked.
        differs: how it is not what the cell asks for.
        listeners: who else gets every line.
    """

    __slots__ = ("answer", "build", "differs", "environment", "listeners", "step")

    def __init__(self) -> None:
        self.answer: Callable[[str], _Answer | None] = lambda _line: None
        self.environment: BuildEnvironment | None = None
        self.differs: Failure | None = None
        self.listeners: list[Callable[[str], object]] = []
        self.step = self.build = StepOutput()

    def begin_step(self, name: str) -> None:
        """Forget what the step before has printed, unless it was the build."""
        self.step = StepOutput()
        if name == "build":
            self.build = self.step

    @property
    def tail(self) -> deque[str]:
        """The last lines of the step."""
        return self.step.tail

    @property
    def last_line(self) -> str:
        """The last line of the step; empty without any."""
        return self.tail[-1] if self.tail else ""

    def hear(self, line: str) -> None:
        """Take a line."""
        if answer := self.answer(line):
            self.environment, self.differs = answer
        self.step.hear(line)
        for listener in self.listeners:
            listener(line)


_WORDS = (
    *(
        "not found",
        "o such file",
        "annot ",
        "an't ",
        "nable to",
        "ould ",
        "o package",
        "o rule",
        "detected",
    ),
    *("not installed", "not be installed", "not on PATH"),
    *("Killed", "ignal 9", "ignal: 9", "SIGKILL", "emory", "bad_alloc"),
    *("make sure", "is not importable", "ailed to connect", "ailed to download", "getaddrinfo"),
    *("emporary failure", "no such host", "sending request for url", "Max retries exceeded"),
    *("No module named", "FAIL", "ERROR", "://", "urlopen error", "Name or service not known"),
    *(
        "ConnectionError",
        "Rust package manager",
        "be found",
        "returned non-zero",
        "uncaught target signal",
        'include "',
        "error: ",
        "error[E",
        "CMake Error",
        "maturin failed",
        "xtension ",
        "all back",
        "alling back",
        "lls back",
        "ouldn't ",
        "lain-Python",
    ),
)
"""One of them stands in each line that is known."""


def _is_known(kind: str, name: str) -> bool:
    return any(each.has(kind, name) for each in system_packages())


def _lacking(text: str) -> tuple[str, str] | None:
    found = ((kind, _first_group(pattern, text)) for kind, pattern in _LACKS.items())
    return next((pair for pair in found if pair[1]), None)


def _first_group(pattern: re.Pattern[str], text: str) -> str:
    """Return the group of a match that is not empty; or nothing."""
    match = pattern.search(text)
    return next(filter(None, match.groups()), "") if match else ""


def with_clue(
    failure: Failure, clues: Clues, target: Target, *, source: Path, in_container: bool
) -> Failure:
    """Return a failure with the hint that fits what the build of a source printed."""
    if failure.kind in {FailureKind.BUILD, FailureKind.SETUP} and clues.step.starved:
        return _out_of_memory(failure, clues.step.starved, target)
    return _with_hint(failure, clues, target, source=source, in_container=in_container)


def _with_hint(
    failure: Failure, clues: Clues, target: Target, *, source: Path, in_container: bool
) -> Failure:
    printed = clues.step
    if failure.kind is FailureKind.PURE_WHEEL or _found_no_code(failure, printed):
        return without_code(failure, clues, target, in_container=in_container)
    file = printed.no_file.removeprefix(f"{source}/").removeprefix(f"{PROJECT}/")
    file = "" if file.startswith("/") else file  # a file of the machine
    # A module of the source is missing because it was not built or installed.
    module = "" if _has_module(source, printed.no_module) else printed.no_module
    hint, known, missing = "", False, ""
    if printed.lacks:
        known = printed.lacks[0] == "host" or _is_known(*printed.lacks)
        who = "test" if failure.kind is FailureKind.TEST else "build"
        missing = _missing(*printed.lacks, target, in_container=in_container, who=who)
    if failure.kind is FailureKind.TEST:
        hint = _why_test_failed(file, module, printed) or (missing if known else "")
        if not module and not file and _may_matter(clues.build):
            why = _why_left_out(clues.build, target, in_container=in_container)
            hint = f"{hint or failure.hint}; perhaps the build left code out, because {why}"
    elif failure.kind is FailureKind.SETUP and known:
        # The hint of a step that prepares names a program that nobody knows, and the key to set.
        hint = missing
    elif failure.kind is FailureKind.BUILD and missing:
        own = printed.lacks == ("header", printed.quoted) and _is_unheard(printed.quoted)
        hint = f"{missing}; {_ITS_OWN}" if own else missing
    elif failure.kind in {FailureKind.BUILD, FailureKind.SETUP}:
        hint = _why_build_failed(failure, file, module, source)
        if not hint and failure.kind is FailureKind.BUILD:
            hint = _first_words(printed)
    if not hint and printed.died:
        hint = _died_under_qemu(printed.died, target)
    return replace(failure, hint=hint or failure.hint)


def _out_of_memory(failure: Failure, words: str, target: Target) -> Failure:
    own = target.resources.memory_per_job
    counted = f"{own / (1 << 30):.3g} GiB" if own else "2 GiB, as nothing else is set"
    return replace(
        failure,
        kind=FailureKind.MEMORY,
        message=f"memory ran out: {clipped(words)}",
        hint=f"one compiler was counted as {counted}: set resources.memory-per-job (in an "
        "[[override]] for these targets), or run fewer at once with -j",
    )


def without_code(failure: Failure, clues: Clues, target: Target, *, in_container: bool) -> Failure:
    """Return the failure of a wheel without compiled code, with why its build left that out."""
    why = _why_left_out(clues.build, target, in_container=in_container)
    hint = f"perhaps the project left its compiled code out, because {why}"
    return replace(failure, hint=hint) if why else failure


def _may_matter(build: StepOutput) -> bool:
    """Whether a build that ended well did not compile something; most of them look for things."""
    return bool(build.left_out) or "header" in build.found


def _why_left_out(build: StepOutput, target: Target, *, in_container: bool) -> str:
    if build.lacks:
        return _missing(*build.lacks, target, in_container=in_container)
    if build.left_out and not build.error:
        return f"it says {clipped(build.left_out)!r}; the log has the rest"
    return _first_words(build)


def _found_no_code(failure: Failure, printed: StepOutput) -> bool:
    """Whether a repair fails as auditwheel finds nothing in the wheel that it could repair."""
    return failure.kind is FailureKind.REPAIR and any(
        _NO_CODE.search(line) for line in printed.tail
    )


_NO_CODE = re.compile("no ELF (?:executable|file is in the wheel)")
"""Part of auditwheel's sentence, and of that of our script."""


def _first_words(printed: StepOutput) -> str:
    """Return what a compiler, or else the build backend, says of a failed build."""
    if printed.error:
        return f"the compiler's first error is {clipped(printed.error)!r}; the log has the rest"
    if exception := printed.exception:
        return f"the build raised {clipped(exception)!r}; the log has the traceback"
    if printed.refused:
        return f"the build says {clipped(printed.refused)!r}; the log has the rest"
    return ""


_PART = re.compile(r"/|\.(?:txt|in|toml|lock)$")
"""Tells a file of a source from a program that is not installed."""


def _why_build_failed(failure: Failure, file: str, module: str, source: Path) -> str:
    """Return the hint of a step that reads a file, or imports a module, that is not there."""
    if failure.step in {"before-all", "before-build"} and _PART.search(file):
        cure = f'build.{failure.step} = "true" goes without it'
        return _not_there(failure.step, file, cure)
    if failure.kind is FailureKind.BUILD and module:
        return _no_module("build", module)
    if failure.kind is FailureKind.BUILD and _is_file_name(file, source):
        return _not_there("the build", file, "change what names it in matrix.toml")
    return ""


def _has_module(source: Path, name: str) -> bool:
    places = (name, f"src/{name}", f"{name}.py", f"src/{name}.py")
    return any((source / each).exists() for each in places)


def _why_test_failed(file: str, module: str, printed: StepOutput) -> str:
    if module.startswith("test"):
        return _no_test_files(module)
    if module:
        return _no_module("test", module)
    if printed.failed_tests:
        name, *more = printed.failed_tests
        what = f"{name} and {len(more)} more fail" if more else f"{name} fails"
        return f"the wheel was built, and its test {what}: the log says why"
    return _no_test_files(file) if file else ""


_DISTRIBUTIONS = {"distutils": "setuptools", "pkg_resources": "setuptools<82", "yaml": "pyyaml"}
"""Module -> the distribution that has it, under another name."""


def _no_module(table: str, name: str) -> str:
    project = _DISTRIBUTIONS.get(name, name)
    return (
        f"the {table} imports {name}, which is not installed: {table}.requires = "
        f'["{project}"], or the distribution that has it'
    )


def _is_file_name(name: str, source: Path) -> bool:
    """Whether it is the name of a file, and not of a program, that a source does not have."""
    return ("/" in name or "." in name.strip(".")) and not (source / name).exists()


def _not_there(what: str, name: str, cure: str) -> str:
    return (
        f"{what} names {name}, which the source does not have (an sdist may leave it out): "
        f"{cure}; or build from a checkout"
    )


_ITS_OWN = (
    "or build from a checkout, as the sources include it as one of their own, and an sdist may "
    "leave it out"
)


def _died_under_qemu(signal: str, target: Target) -> str:
    return (
        f"a program died under QEMU ({signal}), by QEMU's fault or its own: install a newer "
        'qemu-user-static, let it be another processor (such as env.QEMU_CPU = "cortex-a72" for '
        f"aarch64), or build on a machine that is {target.arch}"
    )


def _no_test_files(name: str) -> str:
    return (
        f"the test's command, or what runs before it, names {name}, which the source does not have "
        "(an sdist may leave its tests out): set test.command, and test.before, to what needs no "
        "file of the source, such as \"python -c 'import NAME'\", or build from a checkout; "
        'test.command = "" tests nothing'
    )


_REQUIRED = {
    **dict.fromkeys(("numpy", "pybind11", "nanobind", "torch"), ""),
    **dict.fromkeys(("ATen", "c10"), "torch"),
}
_REQUIRED |= {name: project or name for name, project in _REQUIRED.items()}
"""Directory of headers -> the distribution of the package index that has it."""


def _is_unheard(header: str) -> bool:
    return not _is_known("header", header) and header.partition("/")[0] not in _REQUIRED


def _missing(
    kind: str, name: str, target: Target, *, in_container: bool, who: str = "build"
) -> str:
    found = next((each for each in system_packages() if each.has(kind, name)), None)
    if kind == "host":
        return (
            f"the {who} downloads from {name}, which cannot be reached from here: let this machine "
            "reach it, set HTTPS_PROXY, or configure a mirror of it"
        )
    if required := next((each for each in _REQUIRED if name.startswith(f"{each}/")), ""):
        project = _REQUIRED[required]
        return f'the header {name} is missing, which {project} has: build.requires = ["{project}"]'
    if found is None:
        where = "in build.before-all" if in_container else "on this host"
        if kind == "header":
            return (
                f"the header {name} is missing: install the distribution's package that has it "
                f"{where}; `apt-file search {name}` and `dnf provides '*/{name}'` name it"
            )
        return f"the {kind} {name} is missing: install what has it {where}"
    # Messages write programs in their own way: Pkg-config, Cargo.
    name = name if kind != "program" or name in found.names else found.names[0]
    what = (
        f"the {kind} {name} is missing; {found.apt} (apt), {found.dnf} (dnf, yum) or "
        f"{found.apk} (apk) has it"
    )
    if not in_container:
        return f"{what}: install it on this host"
    command = f"dnf install -y {found.dnf} || yum install -y {found.dnf}"
    if "manylinux" not in target.image:  # those have one of the two
        command += f" || {{ apt-get update && apt-get install -y {found.apt}; }}"
    if target.libc is Libc.MUSLLINUX:
        command = f"apk add {found.apk}"
    return f'{what}: build.before-all = "{command}", or an image that has it'
