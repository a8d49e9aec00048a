"""The same file is the same plan whatever the order of hashes."""

from __future__ import annotations

import os
import sys

from tests.conftest import REPOSITORY, ran
from tests.unit.plan.test_determinism import EVERYTHING, FILES, document

HASHED = """
import sys
from tests.unit.plan.test_determinism import EVERYTHING, FILES, document, rewritten
for seed, name in enumerate(sorted(FILES)):
    sys.stdout.write(document(rewritten(FILES[name], seed)))
sys.stdout.write(document(rewritten(EVERYTHING, 9), "c"))
"""


def test_hashes_do_not_matter() -> None:
    expected = "".join(document(FILES[name]) for name in sorted(FILES))
    expected += document(EVERYTHING, "c")

    for seed in ("0", "1", "4711"):
        environ = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)}
        said = ran(sys.executable, "-c", HASHED, cwd=REPOSITORY, env=environ, code=0)
        assert said.stdout == expected
