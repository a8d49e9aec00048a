"""Run what a page of the docs shows, in order, in one directory; compare what is printed.

A block of code with a title is a file: it is written. Of a ``console`` block, each line that begins
with ``$`` is run by one shell for the whole page (``>`` goes on with it), and must exit with 0; the
lines below are what it prints. Numbers may differ, and ``...`` stands for any lines. A comment
before a block says what it needs that not every machine has: ``<!-- needs engine -->``.

    python -m tests.transcripts PAGE...      put what is printed today into the pages

leaves alone commands whose output has ``...``.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY, with_own_store

FENCE = re.compile(
    r"(?ms)^(?:<!-- needs (?P<needs>[\w-]+) -->\n)?"
    r'^```(?P<kind>[\w-]+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$'
)
ENGINES = ("docker", "podman")
HOME = "/demo"
"""What pages call the directory in which they are run."""
README = REPOSITORY / "README.md"
CLONE = ("matrix.toml", "examples")
"""What README's commands need of this repository."""
MARK = "-- the command above ended with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A file, or commands with their output; where it stands in the page."""

    kind: str
    title: str
    text: str
    needs: str
    start: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and what the page says that it prints."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    command: Command
    block: Block
    code: int
    printed: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is not as the page says; empty if all is."""
        if self.code:
            return f"exit {self.code}"
        if matches(self.command.shown, self.printed):
            return ""
        return "the page shows something else"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page that are run or written."""
    text = page.read_text("utf-8")
    return [
        Block(
            kind=found["kind"],
            title=found["title"] or "",
            text=found["text"],
            needs=found["needs"] or "",
            start=found.start("text"),
            line=text.count("\n", 0, found.start()) + 1,
        )
        for found in FENCE.finditer(text)
        if found["kind"] == "console" or found["title"]
    ]


def commands(block: Block) -> Iterator[Command]:
    """Take a console block apart."""
    for part in re.split(r"(?m)^\$ ", block.text)[1:]:
        first, *lines = part.splitlines()
        told = [first]
        while lines and lines[0].startswith("> "):
            told.append(lines.pop(0)[2:])
        yield Command(text="\n".join(told), shown=tuple(lines))


def matches(shown: Collection[str], printed: Collection[str]) -> bool:
    """Compare without numbers and widths; ``...`` stands for any lines."""
    pattern = "\n".join("*" if line.strip() == "..." else _plain(line) for line in shown)
    text = "\n".join(map(_plain, printed))
    return fnmatch.fnmatchcase(text, re.sub(r"[\[\]?]", "?", pattern))


def _plain(line: str) -> str:
    line = re.sub(r"\b[0-9a-f]{8,64}\b", "HASH", line)
    line = re.sub(r"\d+(?:[.,:]\d+)*", "N", line)
    return re.sub(r"(?: *[-─━ ])+ *", " ", line).strip()


def run(
    page: Path, place: Path, *, have: Collection[str] = (), env: Mapping[str, str] | None = None
) -> list[Ended]:
    """Write the files of a page and run its commands, without what needs more than `have`."""
    script: list[str] = ["exec 2>&1"]
    told: list[tuple[Command, Block]] = []
    for number, block in enumerate(blocks(page)):
        if block.needs and block.needs not in have:
            continue
        if block.title:
            file = place / f".block-{number}"
            file.write_text(block.text, encoding="utf-8")
            target = f'"{block.title}"'
            script.append(f'mkdir -p "$(dirname {target})" && cp "{file}" {target}')
            continue
        for command in commands(block):
            told.append((command, block))
            script += [command.text, f'printf "\\n{MARK} %d\\n" $?']
    home = place / "me"
    home.mkdir()
    for name in CLONE if page == README else ():
        (shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy)(
            REPOSITORY / name, home / name
        )
    variables = {**with_own_store(env), "COLUMNS": "80", "NO_COLOR": "1", "PIP_QUIET": "1"}
    del variables["PYTHONPATH"]
    variables["PATH"] = path_of(place / "bin", variables["PATH"], engines="engine" in have)
    out = _bash("\n".join(script), home, variables).replace(str(home), HOME)
    ends = re.findall(rf"(?ms)(.*?)^{MARK} (\d+)\n", out)
    assert len(ends) == len(told), out
    return [
        Ended(
            command=command,
            block=block,
            code=int(code),
            printed=tuple(printed.strip("\n").splitlines()),
        )
        for (command, block), (printed, code) in zip(told, ends, strict=True)
    ]


def path_of(folder: Path, path: str, *, engines: bool) -> str:
    """Return a PATH with this program, and without container engines unless a page needs one."""
    folder.mkdir()
    (folder / "orchestrator").symlink_to(Path(sys.executable).parent / "orchestrator")
    for program in (each for part in path.split(os.pathsep) for each in Path(part).glob("*")):
        link = folder / program.name
        if not link.is_symlink() and (engines or program.name not in ENGINES):
            link.symlink_to(program)
    return str(folder)


def _bash(script: str, place: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        timeout=1500,
        check=False,
    )
    return done.stdout


def update(page: Path, ends: Collection[Ended]) -> None:
    """Put what was printed into a page."""
    text = page.read_text("utf-8")
    for block in reversed(list(dict.fromkeys(ended.block for ended in ends))):
        mine = [ended for ended in ends if ended.block == block]
        body = "".join(_written(ended) for ended in mine)
        text = text[: block.start] + body + text[block.start + len(block.text) :]
    page.write_text(text, encoding="utf-8")


def _written(ended: Ended) -> str:
    told = "$ " + ended.command.text.replace("\n", "\n> ")
    keep = any(line.strip() == "..." for line in ended.command.shown)
    lines = ended.command.shown if keep else ended.printed
    return "".join(f"{line.rstrip()}\n" for line in (told, *lines))


def main(pages: Collection[str]) -> None:
    """Run pages and put what they print into them."""
    for name in pages:
        with tempfile.TemporaryDirectory() as folder:
            ends = run(Path(name).resolve(), Path(folder), have=os.environ.get("HAVE", "").split())
        for ended in ends:
            if ended.code:
                lines = (f"{name}: exit {ended.code}: {ended.command.text}", *ended.printed)
                sys.stderr.write("\n".join((*lines, "")))
        update(Path(name), ends)


if __name__ == "__main__":
    main(sys.argv[1:])
