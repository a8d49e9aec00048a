"""matrix.toml: every way to get it wrong, and templates."""

from __future__ import annotations

import re

import pytest

from orchestrator.config import template
from orchestrator.config.load import dotted, load
from orchestrator.config.settings import EnvValue, Settings
from orchestrator.errors import MANY, ConfigError, ExitCode, Problem, closest
from orchestrator.host.program_tables import builder_facts
from orchestrator.models.target import OnMismatch
from tests.factories import cases, plan_of

FACTS = builder_facts()
AXES = """
[axes]
python = ["cp312"]
arch = ["x86_64"]
cuda = ["12.4", "13.0"]
"""


def settings(text: str, *, axes: str = AXES) -> Settings:
    return load((axes + text).encode(), facts=FACTS)


def problems(text: str, *, axes: str = AXES) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        settings(text, axes=axes)
    assert caught.value.exit_code is ExitCode.CONFIG
    return caught.value.problems


def problem(text: str, *, axes: str = AXES) -> Problem:
    found = problems(text, axes=axes)
    assert len(found) == 1, [str(each) for each in found]
    return found[0]


# What is right


def test_defaults() -> None:
    found = settings("")

    assert found.project.source == "."
    assert found.axes["libc"].values == ("manylinux",)
    assert found.engine.name == "auto"
    assert found.version.on_mismatch is None
    assert found.build.repair is None
    assert (found.run.cpus, found.run.memory, found.run.emulated, found.run.retries) == (
        *(None, None, None),
        2,
    )


def test_short_and_long_forms() -> None:
    found = settings(
        'rocm = { values = [7, "6.4"], label = "rocm{rocm}" }\n'
        '[build]\nbefore-all = ["a", "b"]\nexternal = ["cuda"]\ntimeout = 60\n'
        '[version]\non-mismatch = "rewrite"\n'
        '[env]\nA = 1\nB = { shell = "$PATH:/x" }\n'
        '[[exclude]]\nwhen = { rocm = 7, cuda = ["12.4", "13*"] }\n'
    )

    assert found.axes["rocm"].values == ("7", "6.4")
    assert found.axes["cuda"].label is None
    assert found.build.before_all == "a && b"
    assert found.version.on_mismatch is OnMismatch.REWRITE
    assert found.env == {"A": "1", "B": EnvValue.model_validate({"shell": "$PATH:/x"})}
    assert found.exclude[0].when == {"rocm": ("7",), "cuda": ("12.4", "13*")}


# One thing wrong

WRONG = cases(__file__, "wrong.toml")


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_one_wrong_thing_is_one_problem(case: dict[str, str]) -> None:
    found = problem(case["toml"], axes="" if case["where"] == "axes" else AXES)

    assert found.where == case["where"]
    assert case["what"] in found.what
    assert case.get("hint", "") in found.hint


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_whoever_follows_the_hint_is_right(case: dict[str, str]) -> None:
    axes = "" if "axes." in case.get("mended", "") or case["where"] == "axes" else AXES
    found = problem(case["toml"], axes="" if case["where"] == "axes" else AXES)
    meant = re.match(r"did you mean '([^']+)'", found.hint)
    if meant is not None and "mended" not in case:
        wrong = re.findall(r"'([^']+)'", found.what)[0]
        settings(re.sub(rf"\b{wrong}\b", meant[1], case["toml"]), axes=axes)
    elif found.hint:
        settings(case["mended"], axes=axes)


TEMPLATES = {
    "env": '[env]\nA = "{cudaa}"',
    "env.A": '[env]\nA = { shell = "$X{cudaa}" }',
    "label": 'rocm = { values = ["6"], label = "{cudaa}" }',
    "image": '[images]\nmanylinux_x86_64 = "i:{cudaa}"',
    "build": '[build]\nbefore-all = "{cudaa}"',
    "before-build": '[build]\nbefore-build = "{cudaa}"',
    "repair": '[build]\nrepair = "x {cudaa} {wheel} {dest_dir}"',
    "config-settings.o": '[build]\nconfig-settings = { o = "{cudaa}" }',
    "test.command": '[test]\ncommand = "{cudaa}"',
    "requires[1]": '[test]\nrequires = ["a", "b=={cudaa}"]',
    "test.before": '[test]\nbefore = "{cudaa}"',
    "extras[0]": '[test]\nextras = ["{cudaa}"]',
    "groups[0]": '[test]\ngroups = ["{cudaa}"]',
    "sources[0]": '[test]\nsources = ["{cudaa}"]',
    "build.requires[0]": '[build]\nrequires = ["a=={cudaa}"]',
    "build.constraints[0]": '[build]\nconstraints = ["a=={cudaa}"]',
    "frontend.args[0]": '[build]\nfrontend = { name = "pip", args = ["{cudaa}"] }',
    "indexes.torch": '[indexes]\ntorch = "https://host/{cudaa}"',
    "version.local": '[version]\nlocal = "{cudaa}"',
    "build-tag": '[version]\nbuild-tag = "{cudaa}"',
    "inject.V": '[version]\ninject = { V = "{cudaa}" }',
    "override[0].env.A": '[[override]]\nwhen = { cuda = "13.0" }\nenv = { A = "{cudaa}" }',
    "override[0].image": '[[override]]\nwhen = { cuda = "13.0" }\nimage = "i:{cudaa}"',
    "override[0].build.before-all": (
        '[[override]]\nwhen = { cuda = "13.0" }\nbuild = { before-all = "{cudaa}" }'
    ),
    "override[0].version.local": (
        '[[override]]\nwhen = { cuda = "13.0" }\nversion = { local = "{cudaa}" }'
    ),
}


@pytest.mark.parametrize(("where", "text"), TEMPLATES.items())
def test_every_template_is_checked(where: str, text: str) -> None:
    found = problem(text)

    assert where in found.where
    assert "names 'cudaa', which is not an axis" in found.what
    assert "did you mean 'cuda'? Write {{cudaa}} for literal braces" in found.hint


@pytest.mark.parametrize("name", ["version", "base", "local", "build_tag"])
def test_a_version_cannot_be_made_of_itself(name: str) -> None:
    found = problem(f'[version]\nlocal = "{{{name}}}"')

    assert found.where == "version.local"


@pytest.mark.parametrize("name", sorted(template.PASS_THROUGH))
def test_places_of_a_build_are_known_to_commands_only(name: str) -> None:
    settings(f'[test]\ncommand = "x {{{name}}}"')

    assert problem(f'[env]\nA = "{{{name}}}"').where == "env.A"


def test_an_unknown_filter_is_named() -> None:
    found = problem('[env]\nA = "{cuda|nodt}"')

    assert "unknown filter 'nodt'" in found.what
    assert found.hint == "did you mean 'nodot'?"


@pytest.mark.parametrize(
    ("axis", "value", "meant"),
    [
        ("arch", "x86-64", "x86_64"),
        ("arch", "arm64", "aarch64"),
        ("libc", "muslinux", "musllinux"),
        ("python", "cp3.12", "cp312"),
        ("python", "cp312m", "cp312"),
    ],
)
def test_unknown_values_of_built_in_axes(axis: str, value: str, meant: str) -> None:
    axes = {"python": '["cp312"]', "arch": '["x86_64"]'} | {axis: f'["{value}"]'}
    found = problem("", axes="[axes]\n" + "\n".join(f"{k} = {v}" for k, v in axes.items()))

    assert found.where == f"axes.{axis}[0]"
    assert found.what == f"unknown {axis} {value!r}"
    assert found.hint == f"did you mean {meant!r}?"


def test_python_and_arch_must_be_there() -> None:
    found = problems("", axes="[axes]\n")

    assert [each.where for each in found] == ["axes.python", "axes.arch"]
    assert found[0].hint == 'for instance python = ["cp312"]'


def test_an_axis_whose_name_is_mistyped_is_named() -> None:
    found = problems("", axes='[axes]\npyton = ["cp312"]\narch = ["x86_64"]\n')
    assert found[0].where == "axes.python"
    assert found[0].hint.endswith("; or is axes.pyton meant to be it?")


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"x =", "matrix.toml:1:4"),
        (b"[axes]\n[axes]", "matrix.toml:2:6"),
        (b"a = 1\na = 2", "matrix.toml:2:6"),
        (b"[axes]\npython = [\n  'cp312'\n", "matrix.toml:3:10"),
        (b"\xff = 1", "matrix.toml"),
        ("a = 1".encode("utf-16"), "matrix.toml"),
    ],
)
def test_not_toml(data: bytes, where: str) -> None:
    with pytest.raises(ConfigError, match="not valid TOML") as caught:
        load(data, facts=FACTS)

    assert caught.value.problems[0].where == where


def test_a_byte_order_mark_is_no_part_of_a_file() -> None:
    text = 'axes.python = ["cp312"]\naxes.arch = ["x86_64"]\n'

    assert load(text.encode("utf-8-sig"), facts=FACTS) == load(text.encode(), facts=FACTS)


def test_the_hint_of_an_empty_file_is_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        load(b"", facts=FACTS)
    (problem,) = caught.value.problems
    lines = problem.hint.partition(" is ")[2].split(" and ")

    load("\n".join(lines).encode(), facts=FACTS)


@pytest.mark.parametrize(
    ("written", "tags"),
    [
        ('axes.python = ["3.10", "3.14t", "pypy3.11"]', ["cp310", "cp314t", "pp311"]),
        ('axes.python = "3.10"', ["cp310"]),
        ('axes.python.values = ["3.10"]', ["cp310"]),
        ('axes.python = ["cp310"]', ["cp310"]),
    ],
)
def test_a_python_is_spelled_as_a_version_too(written: str, tags: list[str]) -> None:
    settings = load(f'{written}\naxes.arch = "x86_64"'.encode(), facts=FACTS)

    assert settings.axes["python"].values == tuple(tags)


def test_a_python_is_spelled_as_a_version_in_rows_includes_and_conditions() -> None:
    text = """
    project.source = "x==1"
    axes.arch = ["x86_64"]
    rows = [{ axes = ["python", "z"], values = [[["3.11", "3.12"], "1"], ["3.13t", "2"]] }]
    include = [{ python = "3.14", arch = "x86_64", z = "3" }]
    exclude = [{ when.python = "3.12" }, { when = "python=cp313t" }]
    override = [{ when = "python=3.11", env.A = "{z}" }]
    env.Z = "{z}"
    """
    plan = plan_of(text, version="1")

    assert plan.ids == ("cp311-manylinux_x86_64-1", "cp314-manylinux_x86_64-3")
    assert [each.name for each in plan.targets[0].env] == ["A", "Z"]


# Several things wrong


def test_all_wrong_keys_and_types_are_reported_together() -> None:
    found = problems(
        'rocm = [6.1, "a", true]\n[projct]\n[build]\ntimeout = 0\n[env]\nA = 1.5\nB = { shel = 1 }'
    )

    assert {each.where for each in found} == {
        *("axes.rocm[0]", "axes.rocm[2]", "projct", "build.timeout", "env.A"),
        *("env.B.shell", "env.B.shel"),
    }


def test_all_wrong_values_are_reported_together() -> None:
    found = problems(
        'rocm = ["a", "a"]\n[env]\nA = "{x}"\nCIBW_A = "{y}"\n'
        '[[exclude]]\nwhen = { cud = "1", torc = "2" }\n'
        '[build]\nrepair = "x"\n[images]\nmanylinux_x = "{z}"\n'
    )

    assert [each.where for each in found] == [
        "axes.rocm[1]",
        "exclude[0].when.cud",
        "exclude[0].when.torc",
        "images.manylinux_x",
        "images.manylinux_x",
        "env.A",
        "env.CIBW_A",
        "env.CIBW_A",
        "build.repair",
    ]


def test_what_is_wrong_in_a_rest_stands_where_it_stands_in_the_file() -> None:
    """A wrong item before it does not shift the numbers, nor hide what comes after."""
    found = problems(
        'rocm = [6.1, "a", "a"]\nzeta = { values = ["1"], lable = "x" }\nsix = true\n'
        '[[exclude]]\nreason = "no when"\n'
        "[[exclude]]\nwhen = { cuda = 12.4 }\n"
        '[[exclude]]\nwhen = { cud = "1", six = "x" }\n'
        '[[rows]]\naxes = ["p", "q"]\nvalues = 3\n'
        '[[override]]\nwhen = { p = "1" }\nimage = "i:{x}"\n'
    )

    assert {each.where for each in found} == {
        *("axes.rocm[0]", "axes.rocm[2]", "axes.zeta.lable", "axes.six"),
        *("exclude[0].when", "exclude[1].when.cuda[0]", "exclude[2].when.cud"),
        *("rows[0].values", "override[0].image"),
    }


def test_the_error_shows_every_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        settings('[env]\nA = "{x}"\n"B C" = "1"')

    assert str(caught.value).count("\n") >= 2
    assert "env.A: " in str(caught.value)
    assert "env.B C: " in str(caught.value)


# Helpers


def test_closest_lists_what_is_known_but_not_without_end() -> None:
    assert closest("cuad", ["cuda", "zz"]) == "did you mean 'cuda'?"
    assert closest("?", ["b", "a"]) == "known: a, b"
    many = [f"v{n:03}" for n in range(MANY + 1)]
    assert closest("?", many).endswith(f"v019, ... ({MANY + 1} in all)")


def test_dotted_paths() -> None:
    assert dotted(("axes", "cuda", "values", 1)) == "axes.cuda[1]"
    assert dotted(("override", 2, "env", "A", "(table)", "shell")) == "override[2].env.A.shell"
    assert dotted(()) == "matrix.toml"


# Templates

VALUES = {"cuda": "12.4", "torch": "2.4.1", "python": "cp312"}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{cuda}", "12.4"),
        ("cu{cuda|nodot}", "cu124"),
        ("{torch|majmin}", "2.4"),
        ("{torch|major}", "2"),
        ("{torch|majmin|nodot}", "24"),
        ("{cuda}{torch}", "12.42.4.1"),
        ("", ""),
        # the shell's
        ("${SHELL}", "${SHELL}"),
        ("${cuda}", "${cuda}"),
        ("${X:-{cuda}}", "${X:-{cuda}}"),
        ("$cuda {cuda}", "$cuda 12.4"),
        ("$(nvcc {cuda})", "$(nvcc 12.4)"),
        ("$${cuda}", "$${cuda}"),
        # literal braces
        ("{{cuda}}", "{cuda}"),
        ("{{cuda|nodot}}", "{cuda|nodot}"),
        ("{{cuda}} {cuda}", "{cuda} 12.4"),
        ("{{wheel}}", "{wheel}"),
        # Python and JSON in commands
        ("python -c 'print({1: 2})'", "python -c 'print({1: 2})'"),
        ('{"a": {"b": [1, {}]}}', '{"a": {"b": [1, {}]}}'),
        ("{'x'}", "{'x'}"),
        ("{0} {} { cuda }", "{0} {} { cuda }"),
        ("f'{{cuda}}'", "f'{cuda}'"),
        ("{a b}", "{a b}"),
        ("}{", "}{"),
        # cibuildwheel's, filled in at build time
        ("pytest {project}/tests", "pytest {project}/tests"),
        ("repair {wheel} -w {dest_dir} # {cuda}", "repair {wheel} -w {dest_dir} # 12.4"),
    ],
)
def test_rendering(text: str, rendered: str) -> None:
    template.check(text, known={*VALUES, *template.PASS_THROUGH}, where="x")

    assert template.render(text, VALUES) == rendered


def test_a_value_is_not_rendered_again() -> None:
    assert template.render("{a}", {"a": "{b}", "b": "no"}) == "{b}"


@pytest.mark.parametrize("text", ["{nope}", "{cuda|nope}", "{cuda|nodot|nope}", "{python-tag}"])
def test_check_refuses_what_render_could_not_do(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^there: "):
        template.check(text, known=VALUES, where="there")


# Sources of the version


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ('base = ["evn:X"]', "version.base[0]", "did you mean 'env'?"),
        ('base = ["1.0"]', "version.base[0]", "a fixed text is 'const:1.0'"),
        ('base = ["env:A-B"]', "version.base[0]", "write env:NAME"),
        ('base = ["env"]', "version.base[0]", "write env:NAME"),
        ('base = ["scm:x"]', "version.base[0]", "write scm"),
        ('base = ["git:branch"]', "version.base[0]", "write git or git:date"),
        ('base = ["container-file:v.json"]', "version.base[0]", "write container-file:/usr"),
        ("base = []", "version.base", "must not be empty"),
        ('dev = ["pyproject", "files:x"]', "version.dev[1]", "did you mean 'file'?"),
        ('parts = { nv = ["env:1"] }', "version.parts.nv[0]", "is not a source"),
        *(
            (f'parts = {{ nv = ["file:{path}"] }}', "version.parts.nv[0]", "outside the source")
            for path in ("/etc/shadow", "../secret", "a/../../b", ".git/config", "x/.git/HEAD#a")
        ),
        *(
            (f'parts = {{ nv = ["{kind}:{name}"] }}', "version.parts.nv[0]", "names a secret")
            for kind in ("env", "container-env")
            for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "PyPI_Password", "API_KEY_2")
        ),
        *(
            (f'base = "env:{name}"', "version.base[0]", "names a secret")
            for name in ("NPM_AUTH", "GITHUBTOKEN", "ssh_key", "DB_PW", "SENTRY_DSN", "secrets")
        ),
        ('parts = { cuda = "1" }', "version.parts.cuda", "an axis has that name"),
        ('parts = { local = "1" }', "version.parts.local", "reserved"),
        ('parts = { "A-b" = "1" }', "version.parts.A-b", "cannot name a part"),
        ('omit = { cud = "1" }', "version.omit.cud", "neither an axis nor a part"),
        ('presets = ["vlm"]', "version.presets[0]", "unknown preset 'vlm'"),
        ('pins = { torch = "=={torc}" }', "version.pins.torch", "names 'torc'"),
        ('inject = { A = "{nvv}" }', "version.inject.A", "names 'nvv'"),
    ],
)
def test_what_a_version_table_cannot_say(text: str, where: str, what: str) -> None:
    found = problem(f"[version]\n{text}")

    assert found.where == where
    assert what in str(found)


def test_a_single_value_is_a_source_or_itself() -> None:
    version = settings(
        """
        [version]
        base = "file:VERSION"
        pre = "rc1"
        dev = "git:date"
        post = 3
        parts = { sha = "git", nv = "26.04", empty = "const:" }
        release = true
        """
    ).version

    assert version.base == ("file:VERSION",)
    assert (version.pre, version.dev, version.post) == (("const:rc1",), ("git:date",), ("const:3",))
    assert version.parts == {"sha": ("git",), "nv": ("const:26.04",), "empty": ("const:",)}
    assert version.release == ("const:true",)


def test_parts_may_be_named_wherever_axes_may() -> None:
    settings(
        """
        [version]
        parts = { nv = "26.04" }
        local = "nv{nv}"
        [env]
        A = "{nv}-{public}"
        [build]
        before-build = "echo {nv}"
        [[override]]
        when = { cuda = "13.0" }
        version = { parts = { more = "1" }, build-tag = "{more}" }
        """
    )


@pytest.mark.parametrize("key", ["cpus", "cost"])
@pytest.mark.parametrize("value", ["inf", "nan", "1e400"])
def test_an_amount_is_a_finite_number(key: str, value: str) -> None:
    found = problem(f"[resources]\n{key} = {value}")

    assert found.where == f"resources.{key}"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('[env]\nA = "a\\u0000b"', "env.A"),
        ('[env]\nA = { shell = "a\\u0000b" }', "env.A"),
        ('[version]\ninject = { A = "a\\u0000b" }', "version.inject.A"),
    ],
)
def test_no_variable_holds_what_no_program_can_be_given(text: str, where: str) -> None:
    found = problem(text)

    assert found.where == where
    assert "NUL" in found.what
