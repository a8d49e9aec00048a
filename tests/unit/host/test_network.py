from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest

from orchestrator.host import index_config, network
from orchestrator.host.network import CONTAINER_CA, HostNetwork, base_env
from orchestrator.provision.host import uv_settings

INDEX = "https://user:hunter2@index.corp/simple"


@pytest.fixture(autouse=True)
def no_system_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network, "_CA_PATHS", ())
    monkeypatch.setattr(index_config, "_PIP_SYSTEM", tmp_path / "no-pip.conf")
    monkeypatch.setattr(index_config, "_UV_SYSTEM", tmp_path / "no-uv.toml")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "home"
    folder.mkdir()
    return {"HOME": str(folder), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}


def configure(home: dict[str, str], name: str, text: str) -> Path:
    """Write a file of the user's configuration, such as ``pip/pip.conf``."""
    file = Path(home["HOME"], ".config", name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def pem(path: Path) -> str:
    path.write_text("-----BEGIN CERTIFICATE-----\n")
    return str(path)


def test_nothing_there(home: dict[str, str]) -> None:
    found = HostNetwork.detect(home)
    assert found == HostNetwork()
    assert "--volume" not in " ".join(found.container_args())
    assert "SSL_CERT_FILE" not in found.child_env()


def test_bundle_is_the_first_file_that_exists(tmp_path: Path, home: dict[str, str]) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    environ = home | {
        "SSL_CERT_FILE": str(tmp_path / "gone.pem"),
        "PIP_CERT": str(empty),
        "REQUESTS_CA_BUNDLE": pem(tmp_path / "requests.pem"),
        "CURL_CA_BUNDLE": pem(tmp_path / "curl.pem"),
    }
    assert HostNetwork.detect(environ).ca_bundle == tmp_path / "requests.pem"


def test_bundle_of_the_system(
    tmp_path: Path, home: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_CA_PATHS", ("/nowhere", pem(tmp_path / "system.pem")))
    assert HostNetwork.detect(home).ca_bundle == tmp_path / "system.pem"


def test_link_to_the_bundle_is_resolved(tmp_path: Path, home: dict[str, str]) -> None:
    pem(tmp_path / "real.pem")
    (tmp_path / "link.pem").symlink_to("real.pem")
    found = HostNetwork.detect(home | {"SSL_CERT_FILE": str(tmp_path / "link.pem")})
    assert f"--volume={tmp_path / 'real.pem'}:{CONTAINER_CA}:ro" in found.container_args()
    assert f"--env=PIP_CERT={CONTAINER_CA}" in found.container_args()
    assert found.child_env()["GIT_SSL_CAINFO"] == str(tmp_path / "real.pem")
    assert found.child_env()["UV_SYSTEM_CERTS"] == "1"


def test_values_never_reach_arguments_or_repr(home: dict[str, str]) -> None:
    environ = home | {
        "HTTPS_PROXY": "http://user:hunter2@proxy:3128",
        "no_proxy": "localhost",
        "PIP_INDEX_URL": INDEX,
        "UV_DEFAULT_INDEX": INDEX,
        "PIP_CONFIG_FILE": "/etc/hunter2.conf",
    }
    found = HostNetwork.detect(environ)
    assert "hunter2" not in " ".join(found.container_args()) + repr(found)
    assert {"--env=HTTPS_PROXY", "--env=no_proxy", "--env=PIP_INDEX_URL"} < set(
        found.container_args()
    )
    assert found.container_client_env() == {
        "https_proxy": "http://user:hunter2@proxy:3128",
        "HTTPS_PROXY": "http://user:hunter2@proxy:3128",
        "no_proxy": "localhost",
        "NO_PROXY": "localhost",
        "PIP_INDEX_URL": INDEX,
        "UV_DEFAULT_INDEX": INDEX,
    }
    assert found.child_env().items() >= (environ.items() - home.items())


def test_empty_values_are_dropped_and_paths_stay_on_the_host(home: dict[str, str]) -> None:
    found = HostNetwork.detect(home | {"PIP_INDEX_URL": "", "http_proxy": " "})
    assert found.container_client_env() == {}
    environ = home | {"PIP_FIND_LINKS": "/wheels", "PIP_EXTRA_INDEX_URL": "file:///srv/simple"}
    found = HostNetwork.detect(environ)
    assert found.container_client_env() == {}
    assert found.child_env()["PIP_FIND_LINKS"] == "/wheels"
    assert found.child_env()["PIP_EXTRA_INDEX_URL"] == "file:///srv/simple"


def test_each_spelling_of_a_proxy_keeps_its_own_value(home: dict[str, str]) -> None:
    """Some programs read one, some the other."""
    found = HostNetwork.detect(home | {"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:2"})
    assert dict(found.proxies) == {"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:2"}
    found = HostNetwork.detect(home | {"all_proxy": "socks5://a:1"})
    assert dict(found.proxies) == dict.fromkeys(("all_proxy", "ALL_PROXY"), "socks5://a:1")


def test_directories_of_wheels_are_mounted(tmp_path: Path, home: dict[str, str]) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "two").mkdir()
    places = f"{tmp_path}/two file://{tmp_path}/a%20b /not/there https://host/x https://u:p@host/y"
    environ = home | {
        "PIP_FIND_LINKS": places,
        "UV_FIND_LINKS": f"{tmp_path}/two,{tmp_path}/not",
        "PIP_NO_INDEX": "1",
    }
    found = HostNetwork.detect(environ)
    args = found.container_args()
    assert [each for each in args if each.startswith("--volume")] == [
        f"--volume={tmp_path}/two:/opt/orchestrator-links/0:ro",
        f"--volume={tmp_path}/a b:/opt/orchestrator-links/1:ro",
    ]
    inside = "/opt/orchestrator-links/0 /opt/orchestrator-links/1 https://host/x"
    assert f"--env=PIP_FIND_LINKS={inside}" in args
    assert "--env=UV_FIND_LINKS=/opt/orchestrator-links/0" in args
    assert "--env=PIP_NO_INDEX" in args
    assert found.child_env()["PIP_FIND_LINKS"] == places


def test_what_runs_on_this_very_machine_is_known(home: dict[str, str]) -> None:
    environ = home | {
        "HTTPS_PROXY": "http://user:hunter2@127.0.0.1:3128",
        "ALL_PROXY": "localhost:1080",
        "NO_PROXY": "localhost",
        "PIP_INDEX_URL": "https://localhost/simple",
        "UV_INDEX": "corp=http://[::1]:8080/simple https://elsewhere/simple",
        "PIP_EXTRA_INDEX_URL": "https://127.example/simple http://host:port/",
    }
    found = HostNetwork.detect(environ).loopbacks()
    assert [(each.variable, each.host, each.port) for each in found] == [
        ("https_proxy", "127.0.0.1", 3128),
        ("all_proxy", "localhost", 1080),
        ("PIP_INDEX_URL", "localhost", 443),
        ("UV_INDEX", "::1", 8080),
    ]


def test_indexes_of_uv_reach_containers(home: dict[str, str]) -> None:
    text = (
        f'[[index]]\nurl = "{INDEX}"\ndefault = true\n'
        '[[index]]\nname = "corp"\nurl = "https://corp/simple"\n'
        '[[index]]\nname = "torch"\nurl = "https://torch/simple"\nexplicit = true\n'
    )
    configure(home, "uv/uv.toml", text)
    environ = home | {"UV_INDEX_CORP_PASSWORD": "hunter2"}
    found = HostNetwork.detect(environ)
    assert found.container_client_env() == {
        "UV_DEFAULT_INDEX": INDEX,
        "UV_INDEX": "corp=https://corp/simple",
        "UV_INDEX_CORP_PASSWORD": "hunter2",
    }
    assert "hunter2" not in " ".join(found.container_args())
    assert HostNetwork.detect(home | {"UV_NO_CONFIG": "1"}).index == ()
    configure(home, "uv/uv.toml", "no toml")
    assert HostNetwork.detect(home).index == ()


def test_uv_can_be_told_to_look_where_pip_looks(tmp_path: Path, home: dict[str, str]) -> None:
    environ = home | {
        "PIP_INDEX_URL": INDEX,
        "PIP_EXTRA_INDEX_URL": "https://one.corp/simple https://two.corp/simple",
        "PIP_NO_INDEX": "0",
        "PIP_FIND_LINKS": f"{tmp_path} https://wheels.corp/",
        "UV_INDEX": "https://other.corp/simple",
    }
    found = HostNetwork.detect(environ)
    public, private = found.uv_like_pip()
    assert dict(public) == {"UV_FIND_LINKS": "/opt/orchestrator-links/0,https://wheels.corp/"}
    assert dict(private) == {
        "UV_DEFAULT_INDEX": INDEX,
        "UV_INDEX": "https://one.corp/simple https://two.corp/simple",
    }
    assert found.only_pip == ()
    assert HostNetwork.detect(home | {"PIP_PROXY": "http://p"}).only_pip == ("PIP_PROXY",)


def test_pip_configuration_counts_less_than_variables(tmp_path: Path, home: dict[str, str]) -> None:
    text = (
        f"[global]\nindex_url = {INDEX}\ntimeout = 7\n"
        f"extra-index-url =\n    https://a/simple\n    https://b/simple\n"
        f"cert = {pem(tmp_path / 'pip.pem')}\n"
    )
    configure(home, "pip/pip.conf", text)
    own = tmp_path / "own.conf"
    own.write_text("[global]\ntimeout = 8\n")
    environ = home | {"PIP_DEFAULT_TIMEOUT": "9"}
    found = HostNetwork.detect(environ)
    assert found.ca_bundle == tmp_path / "pip.pem"
    assert found.container_client_env() == {
        "PIP_INDEX_URL": INDEX,
        "PIP_EXTRA_INDEX_URL": "https://a/simple https://b/simple",
        "PIP_DEFAULT_TIMEOUT": "9",
    }
    found = HostNetwork.detect(home | {"PIP_CONFIG_FILE": str(own)})
    assert found.container_client_env()["PIP_DEFAULT_TIMEOUT"] == "8"
    assert HostNetwork.detect(home | {"PIP_CONFIG_FILE": "/dev/null"}) == HostNetwork(
        host_only=(("PIP_CONFIG_FILE", "/dev/null"),)
    )


def test_what_only_pip_reads_of_its_files_is_known(home: dict[str, str]) -> None:
    text = "[global]\ntimeout = 9\ncert = /ca.pem\n[install]\nprefer_binary = 1\nconstraint =\n"
    configure(home, "pip/pip.conf", f"{text}[search]\nindex = y\n")
    assert HostNetwork.detect(home).only_pip_here == ("prefer-binary",)
    assert HostNetwork.detect(home | {"PIP_CONFIG_FILE": "/dev/null"}).only_pip_here == ()


def test_broken_pip_configuration_is_left_to_pip(tmp_path: Path, home: dict[str, str]) -> None:
    own = tmp_path / "own.conf"
    own.write_bytes(b"\xff\xfe no section")
    assert HostNetwork.detect(home | {"PIP_CONFIG_FILE": str(own)}).index == ()


def test_base_environment_is_an_allow_list() -> None:
    kept = {"PATH": "/bin", "HOME": "/root", "DOCKER_HOST": "ssh://b", "XDG_RUNTIME_DIR": "/run/1"}
    dropped = "TERM CFLAGS CIBW_BUILD PYTHONPATH GITHUB_TOKEN LD_PRELOAD AWS_INDEX_ACCESS_KEY"
    environ = {**kept, "USER": "", "LC_ALL": "de_DE", **dict.fromkeys(dropped.split(), "x")}
    assert base_env(environ) == {**kept, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    assert base_env({})["PATH"]


def test_constraints_of_a_pip_file_are_told_to_uv_on_this_host(
    tmp_path: Path, home: dict[str, str]
) -> None:
    config = tmp_path / "xdg" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(
        "[global]\nconstraint = /etc/a.txt\nbuild-constraint =\n  b.txt\n  c.txt\n"
        "timeout = 60\nretries = 4\ntrusted-host = index.corp\n"
        "extra-index-url = https://index.corp/simple\nfind-links = /wheels\n"
        "[install]\nconstraint = /etc/own.txt\n"
    )
    found = HostNetwork.detect(home)
    plain, private = found.uv_like_pip_here()

    assert dict(plain) == {"UV_CONSTRAINT": "/etc/own.txt", "UV_BUILD_CONSTRAINT": "b.txt c.txt"}
    assert dict(private).keys() == {
        *("UV_HTTP_TIMEOUT", "UV_HTTP_RETRIES", "UV_INSECURE_HOST", "UV_INDEX")
    }
    assert found.only_pip_here == ()
    assert "UV_CONSTRAINT" not in dict(found.uv_like_pip()[0])
    config.write_text("[global]\nconstraint = /etc/a.txt\nno-deps = true\n")
    assert HostNetwork.detect(home).only_pip_here == ("no-deps",)


# Each option of pip: what uv on this host is told, and what keeps pip there

NOWHERE = dict.fromkeys(("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL"), "")
PROXIED = dict.fromkeys(
    (*("http_proxy", "https_proxy", "all_proxy"), *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")),
    "http://me:s3cret@proxy.corp:3128",
)
TRANSLATED: dict[str, tuple[str, dict[str, str]]] = {
    "index-url": (INDEX, {"UV_DEFAULT_INDEX": INDEX}),
    "extra-index-url": ("https://a https://b", {"UV_INDEX": "https://a https://b"}),
    "no-index": ("true", {"UV_DEFAULT_INDEX": network.NO_INDEX, **NOWHERE}),
    "find-links": ("https://wheels.corp/", {"UV_FIND_LINKS": "https://wheels.corp/"}),
    "trusted-host": ("index.corp:8080", {"UV_INSECURE_HOST": "index.corp:8080"}),
    "timeout": ("2.5", {"UV_HTTP_TIMEOUT": "3"}),
    "default-timeout": ("60", {"UV_HTTP_TIMEOUT": "60"}),
    "retries": ("4", {"UV_HTTP_RETRIES": "4"}),
    "proxy": ("http://me:s3cret@proxy.corp:3128", PROXIED),
    "client-cert": ("/etc/me.pem", {"SSL_CLIENT_CERT": "/etc/me.pem"}),
    "keyring-provider": ("subprocess", {"UV_KEYRING_PROVIDER": "subprocess"}),
    "constraint": ("/a.txt /b.txt", {"UV_CONSTRAINT": "/a.txt /b.txt"}),
    "build-constraint": ("/b.txt", {"UV_BUILD_CONSTRAINT": "/b.txt"}),
    "pre": ("yes", {"UV_PRERELEASE": "allow"}),
    "require-hashes": ("1", {"UV_REQUIRE_HASHES": "1"}),
    "uploaded-prior-to": ("P7D", {"UV_EXCLUDE_NEWER": "P7D"}),
}
WITHOUT_EFFECT = {
    "pre": "false",
    "require-hashes": "no",
    "no-index": "0",
    "prefer-binary": "off",
    "keyring-provider": "auto",
    "upgrade": "true",
    "use-feature": "truststore",
    "progress-bar": "off",
    "resume-retries": "3",
    "no-binary": ":none:",
    "user": "0",
}
ONLY_PIP = {
    "prefer-binary": "true",
    "keyring-provider": "import",
    "no-deps": "1",
    "user": "true",
    "target": "/srv/x",
    "ignore-requires-python": "1",
    "use-deprecated": "legacy-resolver",
}


def told_to_uv(environ: dict[str, str]) -> dict[str, str]:
    plain, private = HostNetwork.detect(environ).uv_like_pip_here()
    return {**dict(plain), **dict(private)}


@pytest.mark.parametrize("section", ["global", "install"])
@pytest.mark.parametrize("option", TRANSLATED)
def test_uv_on_this_host_is_told_what_pip_reads(
    home: dict[str, str], option: str, section: str
) -> None:
    value, expected = TRANSLATED[option]
    configure(home, "pip/pip.conf", f"[{section}]\n{option.replace('-', '_')} = {value}\n")

    assert told_to_uv(home) == expected
    assert HostNetwork.detect(home).only_pip_here == ()


@pytest.mark.parametrize("option", TRANSLATED)
def test_pip_s_variables_say_it_too_and_win(home: dict[str, str], option: str) -> None:
    value, expected = TRANSLATED[option]
    configure(home, "pip/pip.conf", f"[global]\n{option} = 7\n[install]\n{option} = 8\n")
    variable = {f"PIP_{option.upper().replace('-', '_')}": value}

    assert told_to_uv(home | variable) == expected


def test_what_is_secret_of_it_is_private_and_shown_by_nobody(home: dict[str, str]) -> None:
    configure(home, "pip/pip.conf", f"[global]\nproxy = {PROXIED['http_proxy']}\n")
    found = HostNetwork.detect(home)

    assert "s3cret" not in repr(found)
    assert "s3cret" not in repr(found.uv_like_pip_here()[0])


@pytest.mark.parametrize("option", WITHOUT_EFFECT)
def test_what_changes_nothing_is_told_to_nobody(home: dict[str, str], option: str) -> None:
    configure(home, "pip/pip.conf", f"[global]\n{option} = {WITHOUT_EFFECT[option]}\n")
    found = HostNetwork.detect(home)

    assert told_to_uv(home) == {}
    assert (found.only_pip_here, found.uv_file) == ((), "")


@pytest.mark.parametrize("option", ONLY_PIP)
def test_what_uv_does_not_have_keeps_pip(home: dict[str, str], option: str) -> None:
    configure(home, "pip/pip.conf", f"[install]\n{option} = {ONLY_PIP[option]}\n")

    assert HostNetwork.detect(home).only_pip_here == (option,)


@pytest.mark.parametrize("section", ["wheel", "download", "freeze"])
def test_what_other_commands_of_pip_are_told_keeps_nobody(
    home: dict[str, str], section: str
) -> None:
    configure(home, "pip/pip.conf", f"[{section}]\nprefer-binary = 1\nconstraint = /x\n")

    assert told_to_uv(home) == {}
    assert HostNetwork.detect(home).only_pip_here == ()


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ("only-binary = :all:", {"no-build": True, "pip": {"only-binary": [":all:"]}}),
        (
            "no-binary = numpy, torch",
            {
                "no-binary-package": ["numpy", "torch"],
                "pip": {"no-binary": ["numpy", "torch"]},
            },
        ),
        ("no-binary = a,:none:,b", {"no-binary-package": ["b"], "pip": {"no-binary": ["b"]}}),
        (
            "no-binary = a\nonly-binary = :all:",
            {
                "no-binary-package": ["a"],
                "no-build": True,
                "pip": {"no-binary": ["a"], "only-binary": [":all:"]},
            },
        ),
    ],
)
def test_what_no_variable_tells_uv_stands_in_a_file(
    home: dict[str, str], tmp_path: Path, lines: str, settings: dict[str, object]
) -> None:
    configure(home, "pip/pip.conf", f"[global]\n{lines}\n")
    found = HostNetwork.detect(home)
    assert tomllib.loads(found.uv_file) == settings
    assert found.only_pip_here == ()

    variables = uv_settings(found, tmp_path / "new")
    assert Path(variables["UV_CONFIG_FILE"]).read_text() == found.uv_file
    assert variables["UV_NO_CONFIG"] == "0", "which would keep uv from reading it"


def test_pip_on_this_host_reads_what_its_variables_say(home: dict[str, str]) -> None:
    """Builds see none of this process's variables, but a file of pip."""
    text = "[global]\nconstraint = /a\ntimeout = 5\n[install]\nconstraint = /b\nno_binary = x\n"
    configure(home, "pip/pip.conf", text)
    environ = home | {"PIP_CONSTRAINT": "/own", "PIP_PRE": "1", "PIP_USER": "1"}
    parser = configparser.RawConfigParser()

    parser.read_string(index_config.merged_pip_config(environ))

    assert {name: dict(parser[name]) for name in parser.sections()} == {
        "global": {"timeout": "5", "constraint": "/own", "pre": "1"},
        "install": {"no_binary": "x"},
    }
    assert dict(HostNetwork.detect(environ).limits) == {"PIP_CONSTRAINT": "/own"}
    assert dict(HostNetwork.detect(environ).pip_rules)["global.constraint"] == "/own"
