"""What twine and abi3audit, both of the locked toolchain, say about a wheel."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import EnvironmentProblemError
from orchestrator.host import process
from orchestrator.host.json_file import load_json
from orchestrator.models.target import RuleLevel, VerifyPolicy
from orchestrator.models.wheel import Finding, Severity, WheelReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
        self, wheel: Path, report: WheelReport, demands: VerifyPolicy, log: Callable[[str], object]
    ) -> tuple[Finding, ...]:
        """Return the findings of the tools for a wheel that could be read.

        A tool does not run if its rule is off in `demands`; `log` gets the output of the others.

        Raises:
            EnvironmentProblemError: a tool is missing, or was killed.
        """
        off = {rule for rule, level in demands.levels if level is RuleLevel.OFF}
        found: list[Finding] = []
        if "twine" not in off:
            found += self._twine(wheel, log)
        if "abi3audit" not in off and promises_abi3(report):
            found += self._abi3audit(wheel, log)
        return tuple(found)

    def _twine(self, wheel: Path, log: Callable[[str], object]) -> Iterator[Finding]:
        """Is METADATA valid, and would an index show the description? (``twine check``)."""
        lines: list[str] = []
        end = self._run(["twine", "check", str(wheel)], log, lines.append)
        said = list(twine_findings(lines))
        if end.returncode != 0 and not any(each.severity is Severity.ERROR for each in said):
            said.append(_crash("twine", end, lines))
        yield from said if not end.cancelled else ()

    def _abi3audit(self, wheel: Path, log: Callable[[str], object]) -> Iterator[Finding]:
        """Do the extension modules keep to the stable ABI of the Python they name?"""
        lines: list[str] = []
        with tempfile.TemporaryDirectory(prefix="orchestrator-") as scratch:
            output = Path(scratch, "report.json")
            argv = ["abi3audit", "--strict", "--report", "--output", str(output), str(wheel)]
            end = self._run(argv, log, lines.append)
            made = output.exists() and output.stat().st_size > 0
            said = list(abi3_findings(load_json(dict[str, Any], output))) if made else []
        if end.returncode != 0 and not said:
            said.append(_crash("abi3audit", end, lines))
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


def promises_abi3(report: WheelReport) -> bool:
    """Whether a wheel's tags promise the stable ABI."""
    return any(tag.split("-")[1] in {"abi3", "abi3t"} for tag in report.declared_tags)


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


def abi3_findings(report: Mapping[str, Any]) -> Iterator[Finding]:
    """Turn abi3audit's report into findings."""
    for spec in report.get("specs", {}).values():
        for each in spec.get("wheel", ()):
            name, result = each["name"], each["result"]
            if symbols := sorted(result.get("non_abi3_symbols", ())):
                message = f"{name} uses {', '.join(symbols)}: not in the stable ABI"
                yield Finding(rule="abi3audit", message=message)
            if later := sorted(result.get("future_abi3_objects", {}).items()):
                names = ", ".join(f"{symbol} ({version})" for symbol, version in later)
                message = f"{name} is for {result['baseline']} and later, but uses {names}"
                yield Finding(rule="abi3audit", message=message)


def _crash(rule: str, end: process.Finished, lines: list[str]) -> Finding:
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    return Finding(rule=rule, message=f"{rule} ended with {end.returncode}: {last}")
