"""What twine, of the locked toolchain, says about a wheel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.provision.toolchain import Toolchain

_SAID = re.compile(r"(?P<level>ERROR|WARNING)\s+(?P<text>.*)")
_WIDE = {"COLUMNS": "10000", "NO_COLOR": "1", "TERM": "dumb"}
"""Rich folds lines and colours words where nothing says how wide the terminal is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalChecks:
    """Runs the tools that know more of one thing than `orchestrator.wheel` does.

    Attributes:
        toolchain: the locked tools.
        env: the environment they get.
        cancel: stops them.
    """

    toolchain: Toolchain
    env: Mapping[str, str]
    cancel: process.Cancel

    def __call__(
        self, wheel: Path, demands: VerifyPolicy, log: Callable[[str], object]
    ) -> tuple[Finding, ...]:
        """Return the findings of the tools for a wheel that could be read.

        A tool does not run if its rule is off in `demands`; `log` gets the output of the others.

        Raises:
            EnvironmentProblemError: a tool is missing, or was killed.
        """
        off = {rule for rule, level in demands.levels if level is RuleLevel.OFF}
        return () if "twine" in off else tuple(self._twine(wheel, log))

    def _twine(self, wheel: Path, log: Callable[[str], object]) -> Iterator[Finding]:
        """Is METADATA valid, and would an index show the description? (``twine check``)."""
        lines: list[str] = []
        end = self._run(["twine", "check", str(wheel)], log, lines.append)
        said = list(twine_findings(lines))
        if end.returncode != 0 and not any(each.severity is Severity.ERROR for each in said):
            said.append(_crash("twine", end, lines))
        yield from said if not end.cancelled else ()

    def _run(
        self, module: list[str], log: Callable[[str], object], on_line: Callable[[str], object]
    ) -> process.Finished:
        argv = [str(self.toolchain.python), "-I", "-m", *module]
        env = {**self.env, **_WIDE}
        end = process.run(
            argv, env=env, cwd=self.toolchain.root, log=log, on_line=on_line, cancel=self.cancel
        )
        if end.returncode < 0 and not end.cancelled:
            # It says nothing about the wheel, and must not be kept as if it did.
            raise EnvironmentProblemError.of(f"{module[0]} was killed by signal {-end.returncode}")
        return end


def twine_findings(lines: list[str]) -> Iterator[Finding]:
    """Turn the output of ``twine check`` into findings; indented lines go on with the last one."""
    said: list[tuple[str, list[str]]] = []
    for line in lines:
        if match := _SAID.search(line):
            said.append((match["level"], [match["text"].strip()]))
        elif said and line.startswith(" ") and line.strip():
            said[-1][1].append(line.strip())
    for level, parts in said:
        severity = Severity.ERROR if level == "ERROR" else Severity.WARNING
        yield Finding(rule="twine", message=" ".join(parts), severity=severity)


def _crash(rule: str, end: process.Finished, lines: list[str]) -> Finding:
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return Finding(rule=rule, message=f"{rule} ended with {end.returncode}: {last}")
