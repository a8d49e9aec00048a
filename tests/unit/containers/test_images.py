"""What an image says of itself."""

from __future__ import annotations

from orchestrator.containers.images import genuine_pythons


def test_a_python_that_is_a_link_to_another_one_is_none() -> None:
    lines = (
        "cp39-cp39/bin/python /usr/bin/python3.11",
        "cp311-cp311/bin/python /usr/bin/python3.11",
        "cp312-cp312/bin/python /opt/_internal/cpython-3.12.7/bin/python3.12",
        "cp314-cp314t/bin/python /opt/_internal/cpython-3.14.0-nogil/bin/python3.14t",
        "cp313-cp313/bin/python /opt/python/cp313-cp313/bin/python",
        "pp311-pypy311_pp73/bin/python /opt/_internal/pp311/bin/pypy3.11",
    )

    assert genuine_pythons(lines) == {
        *("cp311-cp311", "cp312-cp312", "cp313-cp313", "cp314-cp314t", "pp311-pypy311_pp73"),
    }
    assert genuine_pythons(()) == frozenset()
