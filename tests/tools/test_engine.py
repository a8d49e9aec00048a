from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from orchestrator.containers.engine import (
    EngineName,
    EngineStatus,
    Limit,
    Pull,
    choose,
    probe,
    remove_containers,
)
from orchestrator.containers.images import Image, check_image, check_pullable
from orchestrator.errors import EnvironmentProblemError, ErrorKind
from orchestrator.models.platforms import Arch
from tests.factories import program

DOCKER, PODMAN = EngineName.DOCKER, EngineName.PODMAN

DOCKER_VERSION = {
    "Client": {"ApiVersion": "1.50", "Version": "28.2.2"},
    "Server": {"ApiVersion": "1.47", "Version": "27.3.1+azure-1"},
}
PODMAN_INFO = {"host": {"security": {"rootless": True}}, "version": {"Version": "4.9.4-rhel"}}

Fake: TypeAlias = "Callable[[str, str], dict[str, str]]"


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Put a shell script under an engine's name on a PATH that holds nothing else."""

    def make(name: str, script: str) -> dict[str, str]:
        tool = program(tmp_path / "bin" / name, f'cd "{tmp_path}"\necho "$@" >> calls\n{script}')
        return {"PATH": f"{tool.parent}:{tmp_path / 'tools'}"}

    (tmp_path / "tools").mkdir()
    for tool in ("cat", "sleep", "rm"):
        (tmp_path / "tools" / tool).symlink_to(str(shutil.which(tool)))
    return make


def docker(version: object, code: int = 0, err: str = "", info: object = None) -> str:
    return f"""
case $1 in
version) echo '{json.dumps(version)}'; echo '{err}' >&2; exit {code};;
info) echo '{json.dumps(info)}';;
esac"""


def image(arch: str, variant: str = "", digest: str = "") -> str:
    found = {"Id": "sha256:abc", "Os": "linux", "Architecture": arch, "Variant": variant}
    return json.dumps([found | {"RepoDigests": [digest] if digest else []}])


def engine(inspect: str, run: str = "exit 0", pull: str = "echo no registry >&2; exit 1") -> str:
    return f"case $1 in\nimage) {inspect};;\nrun) {run};;\npull) {pull};;\nesac"


def check(  # noqa: PLR0913
    fake: Fake,
    script: str,
    arch: Arch = Arch.AARCH64,
    *,
    name: EngineName = PODMAN,
    image: str = "registry.example/x/y:1",
    args: tuple[str, ...] = (),
    timeout: float = 20,
) -> tuple[bool, ErrorKind | None, str, list[str]]:
    log: list[str] = []
    env = fake(name, script)
    kind, said = None, ""
    try:
        wanted = Image(name, image, arch, env)
        check_image(wanted, args, timeout=timeout, log=log.append)
    except EnvironmentProblemError as error:
        kind, said = error.kind, str(error)
    calls = Path(env["PATH"].split(":")[0]).parent / "calls"
    return kind is None, kind, said, calls.read_text().splitlines()


def find_image(name: str, env: dict[str, str], pull: Pull = "missing") -> None:
    check_image(Image(PODMAN, name, Arch.AARCH64, env), timeout=9, log=lambda _: None, pull=pull)


def test_docker_works(fake: Fake) -> None:
    info = {
        "SecurityOptions": ["name=seccomp", "name=selinux", "name=userns"],
        "CgroupVersion": "1",
        "Driver": "overlay2",
        "DockerRootDir": "/var/lib/docker",
        "CpuCfsQuota": True,
        "MemoryLimit": False,
    }
    status = probe(DOCKER, env=fake("docker", docker(DOCKER_VERSION, info=info)))
    assert status == EngineStatus(
        name=DOCKER,
        version="27.3.1+azure-1",
        remapped=True,
        cgroup="v1",
        storage="overlay2",
        storage_root="/var/lib/docker",
        selinux=True,
        limits=frozenset({Limit.CPUS}),
    )
    assert status.summary == (
        "27.3.1+azure-1, user namespaces, cgroup v1, storage overlay2, SELinux, cannot limit memory"
    )


def test_rootless_docker_on_another_machine(fake: Fake) -> None:
    env = fake("docker", docker(DOCKER_VERSION, info={"SecurityOptions": ["name=rootless"]}))
    status = probe(DOCKER, env=env | {"DOCKER_HOST": "ssh://box"})
    assert (status.rootless, status.remote) == (True, True)
    assert not probe(DOCKER, env=env | {"DOCKER_HOST": "unix:///run/docker.sock"}).remote


@pytest.mark.parametrize(
    ("script", "what"),
    [
        (
            docker(
                {"Client": {"ApiVersion": "1.50"}, "Server": None},
                1,
                "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.",
            ),
            "daemon is not running",
        ),
        (
            docker({}, 1, "permission denied while trying to connect to the Docker daemon socket"),
            "no permission",
        ),
        (
            docker({"Client": {"ApiVersion": "1.50"}, "Server": {"ApiVersion": "1.40"}}),
            "too old",
        ),
        (docker({"Client": {"APIVersion": "4.3.1", "Version": "4.3.1"}}), "another name"),
        ("echo 'segmentation fault' >&2; exit 139", "does not answer: segmentation fault"),
        ("echo nonsense", "does not answer: nonsense"),
    ],
)
def test_docker_does_not_work(fake: Fake, script: str, what: str) -> None:
    with pytest.raises(EnvironmentProblemError, match=what) as refused:
        probe(DOCKER, env=fake("docker", script))
    assert refused.value.hint


def test_engine_that_hangs(fake: Fake) -> None:
    with pytest.raises(EnvironmentProblemError, match=r"no answer within 0\.3 s"):
        probe(DOCKER, env=fake("docker", "sleep 30"), timeout=0.3)


def test_podman_works(fake: Fake) -> None:
    status = probe(PODMAN, env=fake("podman", f"echo '{json.dumps(PODMAN_INFO)}'"))
    assert (status.version, status.rootless) == ("4.9.4-rhel", True)
    assert status.limits == frozenset(Limit), "an old podman does not tell"


@pytest.mark.parametrize(
    ("rootless", "cgroup", "controllers", "limits"),
    [
        (True, "v1", [], []),
        (True, "v2", ["memory", "pids"], [Limit.MEMORY]),
        (True, "v2", ["cpu", "memory"], list(Limit)),
        (False, "v1", ["cpuset"], list(Limit)),
    ],
)
def test_what_podman_can_limit(
    fake: Fake, *, rootless: bool, cgroup: str, controllers: list[str], limits: list[Limit]
) -> None:
    info = {
        "host": {
            "cgroupVersion": cgroup,
            "cgroupControllers": controllers,
            "security": {"rootless": rootless, "selinuxEnabled": True},
            "serviceIsRemote": False,
        },
        "store": {"graphDriverName": "vfs", "graphRoot": "/g"},
        "version": {"Version": "4.3.1"},
    }
    status = probe(PODMAN, env=fake("podman", f"echo '{json.dumps(info)}'"))
    assert status.limits == frozenset(limits)
    assert (status.cgroup, status.storage, status.storage_root) == (cgroup, "vfs", "/g")
    assert status.mount_args() == ("--security-opt=label=disable",)


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("""echo '{"version": {"Version": "2.2.1"}}'""", "too old"),
        (
            'echo "time=x level=error msg=\\"cannot find newuidmap: not found\\"" >&2; exit 125',
            "rootless: cannot find newuidmap: not found",
        ),
        ("echo 'Error: boom' >&2; exit 125", "podman does not work: boom"),
        (
            "echo 'Error: unable to connect to Podman socket: x' >&2; exit 125",
            "service is not running",
        ),
    ],
)
def test_podman_does_not_work(fake: Fake, script: str, what: str) -> None:
    with pytest.raises(EnvironmentProblemError, match=what):
        probe(PODMAN, env=fake("podman", script))


def test_nothing_installed(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblemError) as refused:
        choose("auto", env={"PATH": str(tmp_path)})
    (problem,) = refused.value.problems
    assert problem.what == "docker is not installed; podman is not installed"
    assert problem.hint.count("install") == 2, "one way to mend it: in words, and on Debian"


def test_auto_takes_the_first_that_works(fake: Fake) -> None:
    fake("docker", docker({}, 1, "Cannot connect to the Docker daemon"))
    env = fake("podman", f"echo '{json.dumps(PODMAN_INFO)}'")
    assert choose("auto", env=env).name is PODMAN
    with pytest.raises(EnvironmentProblemError, match="the docker daemon is not running"):
        choose("docker", env=env)


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker client")
def test_real_docker_client_without_a_daemon(tmp_path: Path) -> None:
    folder = Path(str(shutil.which("docker"))).parent
    socket = f"unix://{tmp_path}/none.sock"
    env = {"PATH": str(folder), "DOCKER_HOST": socket, "HOME": str(tmp_path)}
    with pytest.raises(EnvironmentProblemError, match="the docker daemon is not running"):
        probe(DOCKER, env=env)


def test_local_image_is_not_pulled(fake: Fake) -> None:
    ok, _, _, calls = check(fake, engine(f"echo '{image('arm64', 'v8')}'"))
    assert ok
    assert calls[-1] == (
        "run --rm --pull=never --platform=linux/arm64 --entrypoint=/bin/true registry.example/x/y:1"
    )


def test_options_of_the_build_are_proved_too(fake: Fake) -> None:
    script = engine(f"echo '{image('arm64')}'")
    _, _, _, calls = check(fake, script, args=("--network=host", "--volume=/a:/b"))
    assert "--network=host --volume=/a:/b" in calls[-1]


@pytest.mark.parametrize(
    ("arch", "local", "ok"),
    [
        (Arch.ARMV7L, image("arm", "v7"), True),
        (Arch.ARMV7L, image("arm"), True),  # podman 4 does not tell the variant
        (Arch.ARMV7L, image("arm", "v6"), False),
        (Arch.I686, image("386"), True),
        (Arch.I686, image("amd64"), True),
        (Arch.X86_64, image("arm64"), False),
        (Arch.LOONGARCH64, image("loong64"), True),
    ],
)
def test_platform_of_a_local_image(fake: Fake, arch: Arch, local: str, *, ok: bool) -> None:
    assert check(fake, engine(f"echo '{local}'"), arch, image="localhost/x")[0] is ok


def test_pulls_what_is_missing(fake: Fake) -> None:
    found = image("arm64", digest="registry.example/x/y@sha256:1")
    inspect = f"[ -e pulled ] && echo '{found}' || exit 1"
    env = fake("podman", engine(inspect, pull="echo Trying; : > pulled"))
    log: list[str] = []
    name = "registry.example/x/y"
    result = check_image(Image(PODMAN, name, Arch.AARCH64, env), timeout=9, log=log.append)
    assert (result.id, result.digest) == ("sha256:abc", "registry.example/x/y@sha256:1")
    assert log == ["Trying"]


@pytest.mark.parametrize(
    ("pull", "here", "pulls"),
    [
        ("missing", True, 0),
        ("missing", False, 1),
        ("always", True, 1),
        ("never", True, 0),
        ("never", False, 0),
    ],
)
def test_images_are_pulled_as_the_matrix_says(
    fake: Fake, tmp_path: Path, *, pull: Pull, here: bool, pulls: int
) -> None:
    if here:
        (tmp_path / "pulled").touch()
    inspect = f"[ -e pulled ] && echo '{image('arm64')}' || exit 1"
    env = fake("podman", engine(inspect, pull=": > pulled"))
    if here or pulls:
        find_image("registry.example/x", env, pull=pull)
    else:
        with pytest.raises(EnvironmentProblemError, match="must not be pulled") as refused:
            find_image("registry.example/x", env, pull=pull)
        assert refused.value.kind is ErrorKind.NOT_FOUND
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum(each.startswith("pull ") for each in calls) == pulls


def test_a_local_image_is_never_pulled(fake: Fake, tmp_path: Path) -> None:
    env = fake("podman", engine(f"echo '{image('arm64')}'"))
    find_image("localhost/x", env, pull="always")
    assert "\npull" not in (tmp_path / "calls").read_text()


def test_whether_a_registry_has_an_image(fake: Fake) -> None:
    env = fake("podman", 'test "$3" = good && exit 0; echo "Error: x: unauthorized" >&2; exit 125')
    check_pullable(Image(PODMAN, "good", Arch.AARCH64, env))
    with pytest.raises(
        EnvironmentProblemError, match=r"registry\.example/bad is not here.*unauthorized"
    ):
        check_pullable(Image(PODMAN, "registry.example/bad@sha256:1", Arch.AARCH64, env))


REFUSED_FOR_GOOD = "Error: x509: certificate signed by unknown authority"


@pytest.mark.parametrize(
    ("said", "fault", "transient"),
    [
        ("Error: dial tcp: lookup registry.example: no such host", ErrorKind.UNREACHABLE, False),
        ("Error: pinging registry x: Get x: dial tcp: i/o timeout", ErrorKind.UNREACHABLE, True),
        ("Error: unexpected HTTP status: 503 Service Unavailable", None, True),
        (REFUSED_FOR_GOOD, ErrorKind.UNREACHABLE, False),
        ("Error: reading manifest 1: manifest unknown", ErrorKind.NOT_FOUND, False),
        ("no matching manifest for linux/arm64 in the list", ErrorKind.WRONG_ARCH, False),
        ("write /x: no space left on device", ErrorKind.CANNOT_RUN, False),
    ],
)
def test_a_pull_that_fails_says_why_and_whether_it_may_pass(
    fake: Fake, said: str, fault: ErrorKind | None, *, transient: bool
) -> None:
    env = fake(PODMAN, engine("exit 1", pull=f"echo '{said}' >&2; exit 1"))
    with pytest.raises(EnvironmentProblemError) as refused:
        find_image("registry.example/x", env)
    assert fault in {None, refused.value.kind}
    assert refused.value.transient is transient
    assert said.rpartition(": ")[2] in str(refused.value), "the innermost cause is told"


def test_no_registry_is_asked_for_a_local_image(fake: Fake) -> None:
    ok, fault, problem, calls = check(fake, engine("exit 1"), image="localhost/x:1")
    assert (ok, fault) == (False, ErrorKind.NOT_FOUND)
    assert "there is no local image localhost/x:1" in problem
    assert not [call for call in calls if call.startswith("pull")]


def test_wrong_architecture_after_the_pull(fake: Fake) -> None:
    ok, fault, problem, _ = check(fake, engine(f"echo '{image('amd64')}'", pull="exit 0"))
    assert (ok, fault) == (False, ErrorKind.WRONG_ARCH)
    assert "is for linux/amd64, not for linux/arm64" in problem


def test_variant_that_podman_does_not_tell(fake: Fake) -> None:
    script = engine(f"echo '{image('arm')}'", pull="exit 0")
    ok, _, _, calls = check(fake, script, Arch.ARMV7L)
    assert ok
    assert "pull --platform=linux/arm/v7 registry.example/x/y:1" in calls


def test_docker_decides_itself_about_a_multi_platform_image(fake: Fake) -> None:
    script = engine(f"echo '{image('amd64')}'", pull="exit 0")
    assert check(fake, script, name=DOCKER)[0]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("exec /bin/true: exec format error", ErrorKind.NOT_EXECUTABLE),
        ("Error: runc: exec user process caused: Exec format error", ErrorKind.NOT_EXECUTABLE),
        ("image was found but does not match the specified platform", ErrorKind.WRONG_ARCH),
        ("Error: crun: setrlimit: Operation not permitted", ErrorKind.CANNOT_RUN),
    ],
)
def test_container_does_not_start(fake: Fake, said: str, fault: ErrorKind) -> None:
    script = engine(f"echo '{image('arm64')}'", run=f"echo '{said}' >&2; exit 126")
    ok, got, problem, _ = check(fake, script)
    assert (ok, got) == (False, fault)
    assert said.rpartition(": ")[2] in problem, "the innermost cause is told"


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        ("Error: runc: error setting rlimit type 7: operation not permitted", "--ulimit=nofile="),
        ('Error: slirp4netns failed: open("/dev/net/tun"): Permission denied', "--network=host"),
        ("Error: the requested cgroup controller cpu is not available", "[resources]"),
        ("Error: crun: cgroups in hybrid mode not supported", "apt-get install runc"),
    ],
)
def test_what_a_restricted_host_refuses_comes_with_its_cure(
    fake: Fake, said: str, cure: str
) -> None:
    script = engine(f"echo '{image('arm64')}'", run=f"echo '{said}' >&2; exit 126")
    _, fault, problem, _ = check(fake, script)
    assert fault is ErrorKind.CANNOT_RUN
    assert cure in problem
    assert "{" not in problem


def test_pull_that_takes_too_long(fake: Fake) -> None:
    script = engine("exit 1", pull="sleep 30")
    ok, fault, problem, _ = check(fake, script, timeout=1)
    assert (ok, fault) == (False, ErrorKind.TIMED_OUT)
    assert "not done after" in problem


def test_remove_containers(fake: Fake, tmp_path: Path) -> None:
    script = "case $1 in\nps) [ -e removed ] || echo aaa bbb;;\nrm) : > removed;;\nesac"
    env = fake("podman", script)
    assert remove_containers(PODMAN, "run=1", env=env) == ("aaa", "bbb")
    assert (tmp_path / "calls").read_text().splitlines() == [
        "ps --all --quiet --no-trunc --filter=label=run=1",
        "kill aaa bbb",
        "rm --force --volumes aaa bbb",
        "ps --all --quiet --no-trunc --filter=label=run=1",
    ]
    assert remove_containers(PODMAN, "run=1", env=env) == ()


def test_what_cannot_be_listed_or_removed_at_first_is_removed_all_the_same(fake: Fake) -> None:
    """Somebody kills `podman ps` and `podman rm`, and a container appears meanwhile."""
    script = """
    first() { [ -e "$1" ] && return 1; : >"$1"; }
    case $1 in
    ps)
        ! first listed || kill -9 $$
        [ -e removed ] || echo aaa
        [ -e removed ] && ! [ -e both ] && echo late
        true;;
    rm)
        ! first tried || exit 125
        [ -e removed ] && : >both
        : >removed;;
    esac
    """
    env = fake("podman", script)

    assert remove_containers(PODMAN, "run=1", env=env) == ("aaa", "late")


def test_what_cannot_be_removed_at_all_is_no_endless_task(fake: Fake) -> None:
    assert remove_containers(PODMAN, "run=1", env=fake("podman", "echo aaa")) == ()
    assert remove_containers(PODMAN, "run=1", env=fake("podman", "exit 1")) == ()
