"""The same file is the same plan, byte for byte, whatever the order of keys and of hashes."""

from __future__ import annotations

import json
import random
import tomllib
from typing import Any

import pytest

from orchestrator.ci.jobs import Sizes, plan_jobs
from orchestrator.errors import ConfigError
from orchestrator.host.program_tables import builtin_table
from orchestrator.models.target import BuildRequest, Digest, Source, TargetId
from orchestrator.plan.plan import make_request, planned_backend
from orchestrator.report.serialize import dumps, plan_document
from tests.conftest import REPOSITORY
from tests.factories import FACTS, plan_of

EXAMPLES = sorted((REPOSITORY / "examples" / "matrices").glob("*.toml"))
SOURCE = Source(name="demo", version="1.0", digest=Digest("0" * 64), epoch=1)

EVERYTHING = """
[axes]
python = ["cp311", "cp312", "abi3-cp39"]
arch = ["x86_64", "aarch64"]
device = { values = ["gpu", "cpu"], label = "" }
torch = { values = ["2.6", "2.9"], when = { device = "gpu" } }
cuda = { values = ["12.6", "13.0"], label = "cu{cuda|nodot}", when = { torch = true } }
[[rows]]
axes = ["os", "gcc"]
values = [["b", "11"], ["a", ["12", "13"]]]
when = "device=gpu"
[[include]]
python = "cp313"
arch = "x86_64"
device = "cpu"
[[exclude]]
when = { os = "a", gcc = "13", python = "cp311" }
[[exclude]]
when = { torch = "<2.9", cuda = ">=13" }
[[override]]
when = { cxx11abi = "1", os = "b" }
env = { Z = "1", B = { shell = "$Z" }, A = "{torch}" }
build = { before-all = "x", repair = "none", timeout = 3 }
[version]
local = "{python}.{device}"
inject = { V = "{version}", GCC = "{gcc}", CUDA = "{cuda}" }
[[override]]
when = { device = "gpu" }
version = { local = "{python}.{torch}.{cuda}.{os}.{gcc}" }
[library.one]
command = "one"
outputs = ["x"]
when = { device = true }
[library.two]
axes = { torch = ["2.9"], level = ["1", "2"] }
command = "two"
outputs = ["y"]
needs = ["one"]
[channel.c]
axes = { cuda = ["13.0"], device = ["gpu"] }
env = { C = "1" }
version = { base = "2" }
"""

FILES = {path.stem: path.read_text(encoding="utf-8") for path in EXAMPLES}
FILES["everything"] = EVERYTHING


def document(text: str, channel: str = "") -> str:
    """What ``plan --format json`` says."""
    plan = plan_of(text, version="1.0", channel=channel, table=builtin_table())
    made: dict[TargetId, BuildRequest] = {}
    for each in plan.targets:
        made[each.id] = make_request(
            each,
            source=SOURCE,
            backend=planned_backend(each, FACTS),
            toolchain=Digest("1" * 64),
            builder="1",
            needs=[made[need].key for need in each.needs],
        )
    origins = [each.origins for each in plan.targets]
    jobs = plan_jobs(plan, Sizes())
    written = plan_document(plan, tuple(made.values()), jobs=jobs)
    return dumps({**written, "origins": origins})


def toml(node: Any) -> str:
    """A value as TOML in one line; JSON's strings are TOML's."""
    if isinstance(node, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {toml(v)}' for key, v in node.items())}}}"
    if isinstance(node, list):
        return f"[{', '.join(map(toml, node))}]"
    return json.dumps(node)


def shuffled(node: Any, chance: random.Random) -> Any:
    if isinstance(node, dict):
        keys = chance.sample(sorted(node), len(node))
        return {key: shuffled(node[key], chance) for key in keys}
    return [shuffled(each, chance) for each in node] if isinstance(node, list) else node


def rewritten(text: str, seed: int) -> str:
    """The same file with the keys of every table in another order; arrays keep theirs."""
    tree = tomllib.loads(text)
    again = shuffled(tree, random.Random(seed))  # noqa: S311 - nothing here is a secret
    written = "".join(f"{json.dumps(key)} = {toml(value)}\n" for key, value in again.items())
    assert tomllib.loads(written) == tree
    return written


@pytest.mark.parametrize("name", FILES)
def test_the_order_of_keys_does_not_matter(name: str) -> None:
    expected = document(FILES[name])
    texts = {rewritten(FILES[name], seed) for seed in range(3)}

    assert len(texts) == 3
    for text in texts:
        assert document(text) == expected


def test_nor_in_a_channel() -> None:
    expected = document(EVERYTHING, "c")

    assert expected != document(EVERYTHING)
    for seed in range(3):
        assert document(rewritten(EVERYTHING, seed), "c") == expected


def test_the_order_of_an_array_does() -> None:
    text = FILES["flash-attention"]
    assert document(text.replace('"cp310", "cp311"', '"cp311", "cp310"')) != document(text)


def test_errors_are_the_same_too() -> None:
    text = EVERYTHING.replace('os = "a", gcc = "13"', 'os = "aa", gcc = "133"').replace(
        'torch = "<2.9", cuda = ">=13"', 'torch = ">9", cuda = ">99"'
    )

    def errors(of: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            document(of)
        return sorted(map(str, caught.value.problems))  # in the order of the file

    assert len(errors(text)) == 4
    for seed in range(3):
        assert errors(rewritten(text, seed)) == errors(text)
