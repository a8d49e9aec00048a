"""What we tell cibuildwheel, read back with cibuildwheel's own parser; and what it tells us."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import string
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from cibuildwheel import errors
from cibuildwheel.options import BuildOptions, CommandLineArguments, Options
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.builders.base import BuildContext
from orchestrator.builders.cibuildwheel import (
    _BY_CODE,
    BY_STEP,
    ELF_READER,
    FRONTEND_SCRIPT,
    REPAIR_SCRIPT,
    STEPS,
    Cibuildwheel,
    _failure,
    _only_wheel,
    _Watch,
    command,
    environment_option,
    options,
    repair_command,
)
from orchestrator.config.settings import EngineSettings
from orchestrator.containers.container import ContainerFactory
from orchestrator.containers.engine import EngineName, EngineStatus, Limit
from orchestrator.containers.pinned_images import image_reference
from orchestrator.host.network import HostNetwork
from orchestrator.host.process import Cancel, Finished
from orchestrator.models.platforms import Arch, Libc
from orchestrator.models.result import Failure, FailureKind
from orchestrator.models.target import (
    BuildRequest,
    Digest,
    EnvironmentSpec,
    EnvVar,
    Frontend,
    FrontendName,
    FurtherTest,
    OnRefusal,
    Target,
    TargetResources,
    TargetSteps,
)
from orchestrator.provision.host import Host
from orchestrator.provision.toolchain import Toolchain
from tests import factories
from tests.conftest import examples

EPOCH = factories.SOURCE.epoch
TARGET = factories.target(image="localhost/mine:1")
EVERYTHING = TargetSteps(
    before_all="echo 'all' && $(true)",
    before_build="pip install {package}",
    config_settings=(("cmake.define.A", "x y"), ("b", "'quoted'"), ("c", "a=b")),
    repair="auditwheel",
    external=("cuda",),
    test_command="pytest {project}/tests -k 'a or b'",
    test_requires=("pytest>=9", 'torch==2.8; python_version < "3.14"', "a[b]"),
    test_extras=("one", "two"),
    test_groups=("more",),
    test_sources=("tests", "two words"),
    test_before="echo 'before' {project}",
    environment=EnvironmentSpec(
        frontend=Frontend(name=FrontendName.BUILD_UV, args=("-Ca=b c", "--x:y; z"))
    ),
    timeout=5,
)


def request(target: Target = TARGET) -> BuildRequest:
    return factories.request(target)


def shell(**values: str) -> tuple[EnvVar, ...]:
    return tuple(replace(each, shell=True) for each in factories.env(**values))  # noqa: S604


def understood(
    target: Target, project: Path, extra: Mapping[str, str] | None = None
) -> tuple[Options, BuildOptions]:
    """What cibuildwheel makes of our options, for the identifier of the target."""
    arguments = CommandLineArguments.defaults()
    arguments.platform = "linux"
    arguments.only = target.build_identifier
    arguments.package_dir = project
    found = Options(
        "linux", arguments, env={**options(request(target)), **(extra or {})}, defaults=False
    )
    return found, found.build_options(target.build_identifier)


def evaluated(
    target: Target, project: Path, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    return understood(target, project)[1].environment.as_dictionary(
        {"PATH": "/usr/bin:/bin", **(environ or {})}
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "demo"\nversion = "1.0"\n', encoding="utf-8"
    )
    return tmp_path


# The environment

HOSTILE = (
    *("plain", "", " ", "two words", "  leading and trailing  ", "it's", "'", "''", '"'),
    *('say "hi"', "'\"'\"'", "$HOME", "${HOME}", "$", "$$", "$(touch x)", "a$(touch x)b'c"),
    *("`touch x`", "back\\slash", "trailing\\", "\\$HOME", '\\"', "new\nline", "\n", "tab\there"),
    *("a;touch x", "a && b || c", "a|b>c<d", "<(touch x)", ">(touch x)", "a <(b) >(c)", "$((1+1))"),
    *("$[1+1]", "$'a\\n'", '$"a"', "~", "~/x", "*?[a]", "{a,b}", "{project}", "!history"),
    *("# comment", "a#b", "a=b", "=", "-x", "üñï→", "a\rb", "8.0;9.0+PTX"),
    *("-DX='a b' -DY=\"$(c)\"", "%s %(x)s"),
)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_literal_value_arrives_as_it_is(
    project: Path, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    target = replace(TARGET, env=factories.env(BEFORE="b", VALUE=value, AFTER="a"))

    found = evaluated(target, project, {"HOME": "/evaluated"})

    assert found["VALUE"] == value
    assert (found["BEFORE"], found["AFTER"]) == ("b", "a")
    assert not (project / "x").exists(), "a command in a literal value was run"


SPECIAL = st.text(string.ascii_letters + " \n\t'\"\\$`(){}[]<>|&;#*?~!=%^,:-+@", max_size=12)


@examples(150)
@given(st.lists(SPECIAL, min_size=1, max_size=3))
@example(["'a' 'b'", "$(c)"])
def test_any_literal_values_arrive_as_they_are(values: list[str]) -> None:
    wanted = {f"V{number}": value for number, value in enumerate(values)}
    target = replace(TARGET, env=factories.env(**wanted))

    text = environment_option(target, epoch=EPOCH)

    found = parsed(text).as_dictionary({}, executor=refuse)
    assert found == {"SOURCE_DATE_EPOCH": str(EPOCH), **wanted}


def parsed(text: str) -> Any:
    from cibuildwheel.environment import parse_environment  # noqa: PLC0415 - long to load

    return parse_environment(text)


def refuse(words: list[str], _environ: dict[str, str]) -> str:
    pytest.fail(f"a literal value was evaluated: {words}")


def test_a_shell_value_sees_the_other_values_and_the_matrix_may_set_the_epoch(
    project: Path,
) -> None:
    assert evaluated(TARGET, project)["SOURCE_DATE_EPOCH"] == str(EPOCH)
    env = (
        *factories.env(ROOT="/cuda 13", SOURCE_DATE_EPOCH="1"),
        *shell(BIN="$ROOT/bin", LATER="$BIN/x"),
    )
    found = evaluated(replace(TARGET, env=env), project)
    wanted = {"BIN": "/cuda 13/bin", "LATER": "/cuda 13/bin/x", "SOURCE_DATE_EPOCH": "1"}
    assert wanted.items() <= found.items()


OWN = """
[project]
name = "demo"
version = "1.0"
[dependency-groups]
own = ["of-own"]
more = ["of-more"]
[tool.cibuildwheel]
environment = { OWN = "own", BOTH = "own" }
test-command = "own test"
before-all = "own all"
test-requires = ["own"]
test-extras = ["own"]
test-groups = ["own"]
test-sources = ["own"]
before-test = "own before"
build-frontend = { name = "pip", args = ["own"] }
repair-wheel-command = "own repair"
config-settings = { own = "1" }
manylinux-x86_64-image = "own/image:1"
[tool.cibuildwheel.linux]
environment = { LINUX = "own" }
inherit = { environment = "append" }
[[tool.cibuildwheel.overrides]]
select = "cp312-*"
inherit.environment = "append"
environment = { SELECTED = "own" }
"""


def test_the_project_s_own_settings_survive(project: Path) -> None:
    (project / "pyproject.toml").write_text(OWN, encoding="utf-8")
    target = replace(
        TARGET, env=factories.env(BOTH="ours", OURS="ours"), steps=TargetSteps(repair="command")
    )

    _, found = understood(target, project)

    assert found.environment.as_dictionary({}) == {
        "OWN": "own",
        "BOTH": "ours",
        "LINUX": "own",
        "SELECTED": "own",
        "OURS": "ours",
        "SOURCE_DATE_EPOCH": str(EPOCH),
    }
    kept = {
        "before_all": "own all",
        "test_command": "own test",
        "test_requires": ["own", "of-own"],
        "test_extras": "[own]",
        "test_sources": ["own"],
        "before_test": "own before",
        "config_settings": "own=1",
    }
    assert {name: getattr(found, name) for name in kept} == kept
    assert (found.build_frontend.name, found.build_frontend.args) == ("pip", ["own"])


def test_what_the_matrix_says_wins(project: Path) -> None:
    (project / "pyproject.toml").write_text(OWN, encoding="utf-8")

    _, found = understood(replace(TARGET, steps=EVERYTHING), project)

    wins = {
        "before_all": EVERYTHING.before_all,
        "before_build": EVERYTHING.before_build,
        "before_test": EVERYTHING.test_before,
        "test_command": EVERYTHING.test_command,
        "test_requires": [*EVERYTHING.test_requires, "of-more"],
        "test_extras": "[one,two]",
        "test_sources": [*EVERYTHING.test_sources],
        "config_settings": shlex.join(("cmake.define.A=x y", "b='quoted'", "c=a=b")),
    }
    assert {name: getattr(found, name) for name in wins} == wins
    frontend = found.build_frontend
    assert (frontend.name, tuple(frontend.args)) == ("build[uv]", ("-Ca=b c", "--x:y; z"))
    assert found.repair_command.startswith("python -I -S /opt/orchestrator/repair.py --elf-")
    assert found.repair_command.endswith(" {wheel} {dest_dir}")
    assert found.manylinux_images is not None
    assert found.manylinux_images["x86_64"] == "localhost/mine:1"


def test_an_empty_command_switches_the_project_s_off(project: Path) -> None:
    (project / "pyproject.toml").write_text(OWN, encoding="utf-8")
    steps = TargetSteps(before_all="", test_command="")
    _, found = understood(replace(TARGET, steps=steps), project)
    assert (found.before_all, found.test_command) == ("", "")
    assert "--if-needed" in found.repair_command


def test_an_empty_list_replaces_the_project_s(project: Path) -> None:
    (project / "pyproject.toml").write_text(OWN, encoding="utf-8")
    names = ("requires", "extras", "groups", "sources")
    emptied = ("build.config-settings", *(f"test.{name}" for name in names))
    steps = TargetSteps(test_before="", emptied=emptied)

    _, found = understood(replace(TARGET, steps=steps), project)

    assert (found.test_requires, found.test_extras, found.test_sources) == ([], "", [])
    assert (found.test_groups, found.config_settings, found.before_test) == ([], "", "")


def test_the_project_s_own_repair_command_is_an_answer_to_whether_to_graft(project: Path) -> None:
    own = replace(request().source, own_options=("repair-wheel-command",))
    asked = replace(request(replace(TARGET, steps=TargetSteps())), source=own)
    assert "CIBW_REPAIR_WHEEL_COMMAND" not in options(asked)
    said = replace(request(replace(TARGET, steps=TargetSteps(repair="none"))), source=own)
    assert options(said)["CIBW_REPAIR_WHEEL_COMMAND"] == ""


def test_an_override_for_another_python_is_no_answer_for_this_one() -> None:
    """A cp312-* override with a repair command left cp310 to cibuildwheel's own default."""
    own = (("cp{312,313}-*  pp*", ("repair-wheel-command", "test-command")),)
    source = replace(factories.SOURCE, own_options=("skip",), own_overrides=own)
    steps = TargetSteps()

    found = {
        python: factories.request(replace(TARGET, python=python, steps=steps), source=source)
        for python in ("cp310", "cp312", "cp313")
    }

    ours = {each for each in found if "CIBW_REPAIR_WHEEL_COMMAND" in options(found[each])}
    assert ours == {"cp310"}
    assert found["cp310"].source.own_options == ("skip",)
    assert found["cp312"].source.own_options == ("repair-wheel-command", "skip", "test-command")


def test_nothing_is_audited_and_what_is_needed_is_grafted(project: Path) -> None:
    _, found = understood(TARGET, project)

    assert found.repair_command == repair_command(TARGET)
    assert found.audit_command == []
    none = replace(TARGET, steps=TargetSteps(repair="none"))
    assert understood(none, project)[1].repair_command == ""


# Every identifier


@pytest.mark.parametrize(
    ("python", "libc", "arch"),
    [
        ("cp312", Libc.MANYLINUX, Arch.X86_64),
        ("cp39", Libc.MUSLLINUX, Arch.AARCH64),
        ("cp314t", Libc.MANYLINUX, Arch.ARMV7L),
        ("cp315", Libc.MANYLINUX, Arch.RISCV64),
        ("pp311", Libc.MANYLINUX, Arch.X86_64),
        ("pp39", Libc.MANYLINUX, Arch.AARCH64),
    ],
)
def test_exactly_the_one_identifier_is_built_in_our_image(
    project: Path, python: str, libc: Libc, arch: Arch
) -> None:
    from cibuildwheel.platforms import linux  # noqa: PLC0415 - long to load

    target = replace(TARGET, python=python, libc=libc, arch=arch)

    found, _ = understood(target, project)

    chosen = linux.get_python_configurations(
        found.globals.build_selector, found.globals.architectures
    )
    assert [each.identifier for each in chosen] == [target.build_identifier]
    (step,) = linux.get_build_steps(found, chosen)
    assert step.container_image == "localhost/mine:1"


def test_the_command_names_one_identifier() -> None:
    assert command(request(), "/out dir") == (
        *("-m", "cibuildwheel", ".", "--only", "cp312-manylinux_x86_64"),
        *("--output-dir", "/out dir"),
    )


# Names


@cache
def known_names() -> set[str]:
    """Every CIBW_* name that cibuildwheel reads: its options, and what its code asks for."""
    defaults = tomllib.loads(
        (files("cibuildwheel") / "resources" / "defaults.toml").read_text("utf-8")
    )["tool"]["cibuildwheel"]
    names = {f"CIBW_{each.upper().replace('-', '_')}" for each in (*defaults, *defaults["linux"])}
    root = Path(inspect.getfile(errors)).parent
    sources = (path.read_text("utf-8") for path in root.rglob("*.py"))
    read = re.compile(r"""(?:environ|env)(?:\.get\(|\[)\s*["'](CIBW_[A-Z_]+)["']""")
    return names | {name for source in sources for name in read.findall(source)}


@pytest.mark.parametrize("arch", [a for a in Arch if a is not Arch.LOONGARCH64])
@pytest.mark.parametrize("libc", Libc)
def test_every_option_we_set_is_one_cibuildwheel_reads(libc: Libc, arch: Arch) -> None:
    """It ignores others without a word."""
    target = replace(TARGET, libc=libc, arch=arch, steps=EVERYTHING)

    assert options(request(target)).keys() - known_names() == set()
    assert "CIBW_CONTAINER_ENGINE" in known_names()
    assert "CIBW_NONSENSE" not in known_names()


def test_only_what_the_matrix_says_is_set() -> None:
    assert options(request()).keys() == {
        *("CIBW_ENVIRONMENT", "CIBW_INHERIT", "CIBW_MANYLINUX_X86_64_IMAGE"),
        *("CIBW_REPAIR_WHEEL_COMMAND", "CIBW_AUDIT_COMMAND", "CIBW_LOG_FOLD_MODE"),
    }


# Repair


def test_repair() -> None:
    def repair(text: str, *external: str) -> str:
        return repair_command(replace(TARGET, steps=TargetSteps(repair=text, external=external)))

    assert repair("none", "cuda") == ""
    assert repair("auditwheel") == (
        "python -I -S /opt/orchestrator/repair.py --elf-reader=/opt/orchestrator/elf.py "
        "--site-packages=/opt/orchestrator/site-packages --patchelf=/opt/orchestrator/patchelf "
        "--arch=x86_64 --refused=fail {wheel} {dest_dir}"
    )
    assert repair("mine {wheel} {dest_dir}") == "mine {wheel} {dest_dir}"
    words = shlex.split(repair("auditwheel", "libfoo.so*", "torch", "it's.so*"))
    assert words[8:10] == ["--refused=fail", "--exclude=libfoo.so*"]
    assert words[-3:] == ["--exclude=it's.so*", "{wheel}", "{dest_dir}"]
    assert "--exclude=libtorch.so*" in words
    words = shlex.split(repair_command(replace(TARGET, steps=TargetSteps(external=("libx.so",)))))
    assert words[8:10] == ["--if-needed", "--refused=keep"]
    assert {"--exclude=libx.so", "--exclude=libtorch.so*", "--exclude=libcudart.so*"} <= {*words}
    kept = TargetSteps(repair="auditwheel", repair_refused=OnRefusal.KEEP)
    assert "--refused=keep" in shlex.split(repair_command(replace(TARGET, steps=kept)))


# The process


@dataclass(kw_only=True, eq=False)
class Podman(ContainerFactory):
    """An engine that is there, with some images that were checked."""

    images: Mapping[tuple[str, Arch], str]
    status: EngineStatus

    @property
    def engine(self) -> EngineStatus:
        return self.status

    def checked_id(self, target: Target) -> str:
        return self.images.get((self.reference(target), target.arch), "")


def host_with_pins(tmp_path: Path, environ: Mapping[str, str] | None = None) -> Host:
    root = tmp_path / "toolchain"
    pins = root / "lib/python3.11/site-packages/cibuildwheel/resources/pinned_docker_images.cfg"
    pins.parent.mkdir(parents=True, exist_ok=True)
    pins.write_text("[x86_64]\nmanylinux_2_28 = registry.example/m@sha256:1\n")
    tools = Toolchain(python=root, root=root, bin=root / "bin", digest=Digest("1" * 64))
    host = factories.host(tmp_path / "cache", tools, network=HostNetwork.detect(environ or {}))
    return replace(host, env={"PATH": "/usr/bin", "HOME": "/house"})


def backend(
    tmp_path: Path,
    *create_args: str,
    environ: Mapping[str, str] | None = None,
    images: Mapping[tuple[str, Arch], str] | None = None,
    **status: Any,
) -> Any:
    return Cibuildwheel(
        containers=Podman(
            host=host_with_pins(tmp_path, environ),
            settings=EngineSettings.model_validate({"create-args": create_args}),
            label="orchestrator.run=1",
            log=lambda _line: None,
            cancel=Cancel(),
            images=images or {},
            status=EngineStatus(name=EngineName.PODMAN, **status),
        )
    )


def job(tmp_path: Path, target: Target = TARGET) -> BuildContext:
    return factories.build_context(tmp_path / "scratch", request=request(target))


def test_nothing_of_this_machine_reaches_cibuildwheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CIBW_BUILD", "GITHUB_STEP_SUMMARY", "CFLAGS"):
        monkeypatch.setenv(name, "of this machine")

    env = backend(tmp_path)._environment(job(tmp_path))

    assert not {"CIBW_BUILD", "GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "CFLAGS"} & env.keys()
    assert env["PATH"] == f"{tmp_path}/scratch/client:{tmp_path}/toolchain/bin:/usr/bin"
    assert env["TMPDIR"].startswith(str(tmp_path))
    assert {name for name in env if name.startswith("CIBW_")} <= known_names()


def test_the_image_that_was_proved_is_the_one_that_is_used(tmp_path: Path) -> None:
    proved = {("registry.example/m@sha256:1", Arch.X86_64): "sha256:abc"}
    (tmp_path / "scratch").mkdir()
    target = replace(TARGET, image="manylinux_2_28")

    env = backend(tmp_path, images=proved)._environment(job(tmp_path, target))

    assert env["CIBW_MANYLINUX_X86_64_IMAGE"] == "sha256:abc"


LIMITED = TargetResources(cpus=2.0, memory="1g")


@pytest.mark.parametrize(
    ("status", "has", "lacks"),
    [
        ({}, f"{REPAIR_SCRIPT}:/opt/orchestrator/repair.py:ro", "label=disable"),
        ({}, f"{ELF_READER}:/opt/orchestrator/elf.py:ro", "label=disable"),
        ({}, f"{FRONTEND_SCRIPT}:/opt/orchestrator/frontend.py:ro", "label=disable"),
        ({"selinux": True}, "--security-opt=label=disable", "--privileged"),
        ({}, "--cpus=2 --memory=1g", "label=disable"),
        ({"limits": frozenset({Limit.CPUS})}, "--cpus=2", "--memory"),
    ],
)
def test_a_container_has_the_tools_and_the_limits_that_the_engine_can_set(
    tmp_path: Path, status: dict[str, Any], has: str, lacks: str
) -> None:
    given = backend(tmp_path, **status)._engine_option(replace(TARGET, resources=LIMITED))
    assert has in given
    assert lacks not in given


def test_limits_that_the_engine_cannot_set_are_said(tmp_path: Path) -> None:
    weak = backend(tmp_path, limits=frozenset({Limit.CPUS})).containers.engine
    assert weak.unlimited(LIMITED).endswith("cannot limit memory")
    assert not weak.unlimited(TargetResources(cpus=2.0))


def test_the_engine_option_is_understood(tmp_path: Path) -> None:
    from cibuildwheel.oci_container import OCIContainerEngineConfig  # noqa: PLC0415

    bundle = tmp_path / "our ca.pem"
    bundle.write_text("x", encoding="utf-8")
    hostile = ("--network=host", "--env=A=b c", "--env=Q='\"; x: y", "--env=D=$(touch x)")
    made = backend(tmp_path, *hostile, environ={"SSL_CERT_FILE": str(bundle)})

    limits = TargetResources(cpus=1.5, memory="1024b")
    target = replace(TARGET, resources=limits)
    found = OCIContainerEngineConfig.from_config_string(made._engine_option(target))

    assert found.name == "podman"
    assert found.disable_host_mount
    assert found.create_args[0] == "--label=orchestrator.run=1"
    assert tuple(found.create_args[-4:]) == hostile
    assert {"--cpus=1.5", "--memory=1024b"} <= set(found.create_args[:-4])
    assert any(each.startswith(f"--volume={bundle}:") for each in found.create_args)


# Exit codes


def codes() -> dict[int, str]:
    """Every exit code of cibuildwheel, from its own errors."""
    found = {}
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if not issubclass(kind, errors.FatalError):
            continue
        arguments = [None] * (len(inspect.signature(kind.__init__).parameters) - 1)
        # FatalError takes anything; the others take one message, list or name, or nothing.
        takes_any = kind.__init__ is errors.FatalError.__init__
        error = kind("x") if takes_any else kind(*("x" for _ in arguments))
        found[error.return_code] = name
    return found


def test_we_know_all_exit_codes() -> None:
    assert sorted(codes()) == [*range(1, 11)]
    assert set(_BY_CODE) == set(codes()) - {1}


class Heard:
    """Our follower of cibuildwheel's output, and the steps it has announced."""

    def __init__(self, tmp_path: Path) -> None:
        self.steps: list[str] = []
        self.watch = _Watch(replace(job(tmp_path), step=self.steps.append))

    def hear(self, *lines: str) -> str:
        for line in lines:
            self.watch(line)
        return self.watch.step


@pytest.fixture
def heard(tmp_path: Path) -> Heard:
    return Heard(tmp_path)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (2, FailureKind.CONFIGURATION),
        (3, FailureKind.NO_IDENTIFIER),
        (4, FailureKind.CONFIGURATION),
        (5, FailureKind.PURE_WHEEL),
        (6, FailureKind.DUPLICATE_WHEEL),
        (7, FailureKind.ENGINE),
        (8, FailureKind.REPAIR),
        (9, FailureKind.AUDIT),
        (10, FailureKind.NO_WHEEL),
    ],
)
def test_an_exit_code_is_a_kind_of_failure(code: int, kind: FailureKind) -> None:
    failure = _failure(code, "build", ["\x1b[1mcibuildwheel: error: because of this\x1b[0m"])

    assert (failure.kind, failure.step) == (kind, "build")
    assert failure.message.endswith(f"(cibuildwheel exit {code}: because of this)")


@pytest.mark.parametrize(
    ("line", "step", "kind"),
    [
        ("", "", FailureKind.CONFIGURATION),
        ("Starting container image x...", "start", FailureKind.IMAGE),
        ("Copying project into container...", "copy", FailureKind.ENGINE),
        ("Running before_all...", "before-all", FailureKind.SETUP),
        ("Setting up build environment...", "setup", FailureKind.SETUP),
        ("Running before_build...", "before-build", FailureKind.SETUP),
        ("Building wheel...", "build", FailureKind.BUILD),
        ("Repairing wheel...", "repair", FailureKind.REPAIR),
        ("Testing wheel...", "test", FailureKind.TEST),
        ("Copying wheels back to host...", "collect", FailureKind.ENGINE),
    ],
)
@pytest.mark.parametrize("code", [1, 99, -9 + 1])
def test_any_other_code_is_told_apart_by_step(
    heard: Heard, line: str, step: str, kind: FailureKind, code: int
) -> None:
    failure = _failure(code, heard.hear(line), [line])

    assert (failure.kind, failure.step) == (kind, step)
    assert f"cibuildwheel exit {code}" in failure.message


@pytest.mark.parametrize(
    ("line", "program"),
    [
        ("sh: 1: yum: not found", "yum"),
        ("sh: line 1: apt-get: command not found", "apt-get"),
        ("bash: line 7: g++-12: command not found", "g++-12"),
        ("sh: apk: not found", "apk"),
    ],
)
@pytest.mark.parametrize("step", ["before-all", "before-build"])
def test_a_command_for_another_image_is_told_with_its_program(
    line: str, program: str, step: str
) -> None:
    failure = _failure(1, step, ["x", f"    \x1b[31m{line}\x1b[0m", "y"])

    assert f"there is no {program} here" in failure.hint
    assert f"Set build.{step}" in failure.hint
    assert "there is no" not in _failure(1, "build", [line]).hint


@pytest.mark.parametrize(
    "line",
    [
        "E: Unable to locate package libx-dev",
        "Error: Unable to find a match: libx-dev",
        "  libx-dev (no such package):",
        "No package libx-dev available.",
    ],
)
def test_a_package_that_the_distribution_does_not_know_is_named(line: str) -> None:
    failure = _failure(1, "before-all", ["sh: 1: dnf: not found", line, "y"])

    assert "knows no package libx-dev" in failure.hint
    assert "apt-get update" in failure.hint


@pytest.mark.parametrize(
    ("code", "line", "kind"),
    [
        (1, "g++: error: x.o: No space left on device", FailureKind.DISK),
        (2, "OSError: [Errno 28] No space left on device", FailureKind.DISK),
        (1, "Disk quota exceeded", FailureKind.DISK),
        (137, "bye", FailureKind.BUILD),
        (-9, "bye", FailureKind.BUILD),
        (1, "g++: fatal error: Killed signal terminated program cc1plus", FailureKind.BUILD),
    ],
)
def test_the_machine_s_trouble_is_not_the_project_s(
    tmp_path: Path, code: int, line: str, kind: FailureKind
) -> None:
    one = job(tmp_path)
    one.clues.tail.append(line)
    end = Finished(returncode=code, duration=1.0, timed_out=False, cancelled=False)
    failure = one.trouble(end, step="build")

    assert failure is not None
    assert failure.kind is kind
    assert failure.hint
    assert failure.step == "build"
    assert one.trouble(replace(end, returncode=0), step="build") is None


# Steps


def announced() -> set[str]:
    """What cibuildwheel passes to ``log.step``, up to the first value that is filled in."""
    root = Path(inspect.getfile(errors)).parent
    found = set()
    for source in (root / "platforms" / "linux.py", root / "audit.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "log.step":
                (argument,) = node.args
                parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
                first = parts[0]
                assert isinstance(first, ast.Constant)
                found.add(str(first.value).rstrip(". "))
    return found


def test_we_know_all_steps() -> None:
    # Ours is the audit: CIBW_AUDIT_COMMAND is empty.
    assert announced() - {"Auditing wheel"} == set(STEPS)
    assert set(STEPS.values()) | {""} == set(BY_STEP)


def test_steps_are_recognised_in_colours_announced_once_and_not_said_by_projects(
    heard: Heard,
) -> None:
    step = heard.hear(
        "Build ID: cp312-manylinux_x86_64",
        "\x1b[1mCopying project into container...\x1b[0m",
        "",
        "  Building wheel...  ",
        "Building wheels for collected packages: demo",
        "  running before_all of something",
        "Building wheel for demo (pyproject.toml): started",
        "Repairing wheel tags is somebody else's business",
        "Testing wheelhouse",
    )

    assert heard.steps == ["copy", "build"]
    assert step == "build"


# What is left behind


def test_further_tests_run_in_the_environment_of_the_first() -> None:
    further = FurtherTest(
        values=(("torch", "2.13"),), command="check 2.13", requires=("t==2.13.*",)
    )
    steps = replace(TARGET.steps, test_command="check 2.12 # it")
    target = replace(TARGET, steps=steps, further_tests=(further,))
    said = options(request(target))["CIBW_TEST_COMMAND"]

    assert said.startswith("{ check 2.12 # it\n} && { echo 'testing with torch 2.13'\n} && { if ")
    assert "python -m pip install -q 't==2.13.*'; else uv pip install -q 't==2.13.*'; fi" in said
    assert said.endswith(" && { check 2.13\n}")
    alone = replace(target, further_tests=())
    assert options(request(alone))["CIBW_TEST_COMMAND"] == "check 2.12 # it"


def test_prepared_environments_are_added_to_that_of_the_test() -> None:
    further = FurtherTest(values=(("torch", "2.13"),), command="check", requires=("t==2.13.*",))
    steps = replace(TARGET.steps, test_command="check", test_before="touch it")
    target = replace(TARGET, python="cp311", steps=steps, further_tests=(further,))
    tests = (("/first",), ("/second",))
    said = options(request(target), tests=tests, attach="/a ttach.py")
    first, second = (f"python -I '/a ttach.py' {each}" for each in ("/first", "/second"))
    assert said["CIBW_BEFORE_TEST"] == f"{first} && touch it"
    commands = said["CIBW_TEST_COMMAND"].split(" && ")
    assert commands[2] == f"{{ {second}\n}}"
    # What the project itself does before its test is not replaced.
    own = request(target)
    own = replace(own, source=replace(own.source, own_options=("before-test",)))
    assert options(own, tests=tests)["CIBW_BEFORE_TEST"] == "touch it"


def test_each_python_of_a_test_gets_its_own_prepared_environment() -> None:
    steps = replace(TARGET.steps, test_command="check")
    target = replace(TARGET, python="cp311", steps=steps, test_pythons=("cp312",))
    said = options(request(target), tests=(("/of 311", "/of-312"),))["CIBW_BEFORE_TEST"]
    cases = re.search(r"case \$\((.*)\) in (.*) esac", said)
    assert cases is not None
    assert re.findall(r"(\w+)\) python -I \S+ (.*?);;", cases[2]) == [
        ("cp311", "'/of 311'"),
        ("cp312", "/of-312"),
    ]


@pytest.mark.parametrize(
    ("names", "kind", "words"),
    [
        ((), FailureKind.NO_IDENTIFIER, "built nothing"),
        (("a.txt",), FailureKind.NO_IDENTIFIER, "built nothing"),
        (("b.whl", "a.whl"), FailureKind.DUPLICATE_WHEEL, "a.whl, b.whl"),
    ],
)
def test_another_number_of_wheels_than_one_is_a_failure(
    tmp_path: Path, names: tuple[str, ...], kind: FailureKind, words: str
) -> None:
    for name in names:
        (tmp_path / name).touch()
    found = _only_wheel(tmp_path, TARGET)
    assert isinstance(found, Failure)
    assert found.kind is kind
    assert words in found.message
    assert ("requires-python" in found.hint) is (kind is FailureKind.NO_IDENTIFIER)
    for path in tmp_path.glob("b*"):
        path.unlink()
        assert _only_wheel(tmp_path, TARGET) == tmp_path / "a.whl"


def test_an_alias_is_pinned_as_the_locked_cibuildwheel_pins_it() -> None:
    class Tools:
        site_packages = Path(inspect.getfile(errors)).parents[1]

    def reference(image: str, arch: Arch = Arch.X86_64) -> str:
        return image_reference(image, arch, Tools())  # type: ignore[arg-type]

    assert reference("mine:1") == "mine:1"
    assert "manylinux_2_28_x86_64" in reference("manylinux_2_28")
    assert "musllinux_1_2_aarch64" in reference("musllinux_1_2", Arch.AARCH64)
    assert reference("manylinux_2_28", Arch.LOONGARCH64) == "manylinux_2_28"


def test_an_abi3_wheel_is_built_once_and_tested_on_later_pythons() -> None:
    # cibuildwheel tests a wheel that is there only where its name is not linux_*.
    abi3 = replace(TARGET, python="cp39", abi3="cp39", test_pythons=("cp310", "cp312"))
    whole = request(replace(abi3, steps=replace(TARGET.steps, repair="none")))
    found = options(whole)
    identifiers = [f"{python}-{abi3.platform}" for python in ("cp39", "cp310", "cp312")]
    assert found["CIBW_BUILD"].split() == identifiers
    assert "--only" not in command(whole, "out")
    assert "sed s/-linux_/-manylinux_2_17_/" in found["CIBW_REPAIR_WHEEL_COMMAND"]
    unset = request(replace(abi3, steps=replace(TARGET.steps, repair=None)))
    assert "--if-needed --call-it=manylinux_2_17" in options(unset)["CIBW_REPAIR_WHEEL_COMMAND"]
    alone = request(replace(whole.target, test_pythons=()))
    assert "CIBW_BUILD" not in options(alone)
    assert options(alone)["CIBW_REPAIR_WHEEL_COMMAND"] == ""
    assert "--only" in command(alone, "out")
