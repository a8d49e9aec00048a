"""The lock of requirements as a file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.lock_file import read_lock, write_lock
from orchestrator.errors import ConfigError
from orchestrator.models.requirement_lock import (
    Asked,
    LockedEnvironment,
    LockedFile,
    RequirementLock,
    TargetLock,
)

FILE = LockedFile(
    name="numpy",
    version="2.1",
    filename="numpy-2.1-cp312-cp312-manylinux_2_17_x86_64.whl",
    sha256="0" * 64,
    url="https://host/numpy-2.1-cp312-cp312-manylinux_2_17_x86_64.whl",
    index="https://host/simple",
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LINES = st.lists(TEXT, max_size=3).map(tuple)


def lock_of(asked: Asked, backend: tuple[str, ...] = ()) -> RequirementLock:
    environment = LockedEnvironment(asked=asked, backend=backend, files=(FILE,))
    return RequirementLock(
        environments={environment.name: environment},
        targets={"cp312": TargetLock(build=environment.name, tests=((environment.name,), ()))},
    )


@given(
    st.builds(
        Asked,
        python=TEXT,
        platform=TEXT,
        glibc=TEXT,
        requires=LINES,
        constraints=LINES,
        indexes=st.dictionaries(TEXT, TEXT, max_size=2).map(lambda each: tuple(each.items())),
    ),
    LINES,
)
def test_what_is_written_is_read(asked: Asked, backend: tuple[str, ...]) -> None:
    lock = lock_of(asked, backend)
    text = write_lock(lock)
    assert read_lock(text.encode(), where="matrix.lock") == lock
    assert write_lock(read_lock(text.encode(), where="matrix.lock")) == text


def test_an_empty_lock_is_one() -> None:
    assert read_lock(write_lock(RequirementLock()).encode(), where="x") == RequirementLock()


ASKED = Asked(python="cp312", platform="manylinux_x86_64", glibc="2.28", requires=("numpy",))

WRONG = {
    "a table of targets that is none": ("[targets]", "targets = 7\n[other]", "targets"),
    "environments that are none": (
        f'[environments."{ASKED.digest}"]',
        "[[environments]]",
        "environments",
    ),
    "a name in capitals": ('name = "numpy"', 'name = "Numpy"', "name"),
    "a version with a space": ('version = "2.1"', 'version = "2 1"', "version"),
    "a hash of another length": ("0" * 64, "0" * 63, "sha256"),
    "a file that installs nothing": ('_x86_64.whl", sha', '_x86_64.exe", sha', "filename"),
    "an address of a program": ("https://host/numpy", "ext::sh/numpy", "url"),
    "nothing asked": ('python = "cp312"\n', "", "python"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_no_lock_has_is_refused_with_its_place(what: str) -> None:
    old, new, told = WRONG[what]
    text = write_lock(lock_of(ASKED))
    assert old in text
    with pytest.raises(ConfigError) as raised:
        read_lock(text.replace(old, new).encode(), where="matrix.lock")
    assert str(raised.value).startswith("matrix.lock")
    assert told in str(raised.value)
