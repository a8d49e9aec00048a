"""Compare an index with a plan: which planned wheels it has, which are missing, and what else."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.version import Version

from orchestrator.errors import EnvironmentProblemError
from orchestrator.models.python_tag import ABI3, PythonTag
from orchestrator.models.wheel_name import WheelName
from orchestrator.models.words import count_of
from orchestrator.plan.cover import expression
from orchestrator.report.plans import coverage
from orchestrator.report.schemas import CoverageDocument, HeldTarget, LackingTarget
from orchestrator.report.text import aligned, code, markdown_table, one_line
from orchestrator.source.sdist import SdistName
from orchestrator.wheel.policy import PlatformTag
from orchestrator.wheel.rules import serves

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from orchestrator.models.target import Cell, Plan, Target


def matching(name: WheelName, targets: Iterable[Target], project: str) -> tuple[Target, ...]:
    """Return the targets whose wheel has this name.

    Args:
        name: the file's name.
        targets: the plan's targets.
        project: the planned project's normalised name; empty for any.
    """
    if project and name.name != project:
        return ()
    some = [each for each in targets if each.python and name.version == Version(each.version)]
    platforms = [PlatformTag.parse(each) for each in name.platforms] if some else []
    return tuple(each for each in some if _is(name, platforms, each))


def _is(name: WheelName, platforms: Sequence[PlatformTag | None], target: Target) -> bool:
    return (
        not name.label
        and (not target.build_tag or name.build == target.build_tag)
        and any(
            tag is not None and tag.arch == target.arch and tag.libc in {None, target.libc}
            for tag in platforms
        )
        and any(serves(tag, target.python) for tag in name.tags)
    )


def compare(  # noqa: PLR0913 - keyword-only
    plan: Plan,
    chosen: Plan,
    files: Iterable[tuple[str, bool]],
    *,
    project: str,
    indexes: Sequence[str] = (),
    sdist: bool = False,
) -> CoverageDocument:
    """Compare an index with a plan, of which the user asks about a chosen part.

    Args:
        plan: the whole plan.
        chosen: the part of it.
        files: (file name, whether it is yanked) of all files that the index lists for the project.
        project: the project's normalised name; empty for any.
        indexes: the addresses, as given.
        sdist: whether the index should have the project's sdist, too.
    """
    every = sorted(set(files))
    public = {Version(Version(each.version).public) for each in plan.targets if each.python}
    sdists = [pair for pair in every if _is_sdist_of(pair[0], public, project)]
    there = {*sdists}
    wheels = [pair for pair in every if pair not in there]
    files_of, beyond, yanked, others = _sort(plan, wheels, project)
    good = tuple(name for name, is_yanked in sdists if not is_yanked)
    asked = [target for target in chosen.targets if target.python]
    lacks = [each for each in asked if each.id not in files_of]
    return CoverageDocument(
        indexes=tuple(indexes),
        has=tuple(
            HeldTarget(id=each.id, files=tuple(sorted(files_of[each.id])))
            for each in asked
            if each.id in files_of
        ),
        lacks=tuple(
            LackingTarget(id=each.id, version=each.version, cells=each.covers) for each in lacks
        ),
        unknown=tuple(each.id for each in chosen.undetermined if each.python),
        beyond=tuple(sorted(beyond)),
        yanked=tuple(sorted(yanked.union(name for name, is_yanked in sdists if is_yanked))),
        other_versions=others,
        select=expression([each.id for each in lacks], plan.everything) or None,
        sdists=good,
        lacks_sdist=sdist and not good,
    )


def _is_sdist_of(filename: str, public: Collection[Version], project: str) -> bool:
    """Whether it is the sdist of a version that is planned; its wheels may have a local part."""
    name = SdistName.match(filename)
    return name is not None and name.version in public and project in {"", name.name}


MOST_STEPS = 20_000_000
"""Tags of files, and pairs of a file and a target, that are compared; honest ones are 5 million."""


class _Meter:
    """What is left of the comparisons: files, their tags and targets multiply."""

    def __init__(self) -> None:
        self._left = MOST_STEPS

    def spend(self, name: WheelName, targets: int) -> None:
        """Use what it takes to compare a file with so many targets."""
        self._left -= len(name.tags) * (1 + targets // _AT_ONCE) + targets
        if self._left < 0:
            what = "it has more files of these versions than can be compared with the plan"
            raise EnvironmentProblemError.of(what, where="the index")


_AT_ONCE = 8
"""Targets that it takes as long to look at as one tag, as few are for the file's platform."""


def _sort(
    plan: Plan, files: Iterable[tuple[str, bool]], project: str
) -> tuple[Mapping[str, set[str]], set[str], set[str], int]:
    """Return target -> its files, those beyond the plan, yanked ones, and how many others."""
    # By version first: an index may have as many versions as the plan has targets.
    by_version: defaultdict[Version, list[Target]] = defaultdict(list)
    for target in plan.targets:
        if target.python:
            by_version[Version(target.version)].append(target)
    public = {Version(version.public) for version in by_version}
    files_of: defaultdict[str, set[str]] = defaultdict(set)
    beyond, yanked, others = set(), set(), 0
    meter = _Meter()
    for filename, is_yanked in sorted(set(files)):
        name = WheelName.match(filename)
        if name is None or Version(name.version.public) not in public:
            others += 1
            continue
        planned = by_version.get(name.version, ())
        meter.spend(name, len(planned))
        hits = matching(name, planned, project)
        if not hits:
            beyond.add(filename)
        elif is_yanked:
            yanked.add(filename)
        for target in hits if not is_yanked else ():
            files_of[target.id].add(filename)
    return files_of, beyond, yanked, others


def table(held: CoverageDocument, plan: Plan) -> str:
    """Return the comparison as text, with the command that builds the missing wheels."""
    lines = [_summary(held), ""]
    for title, rows in _grids(held, plan):
        lines += [f"{title}:", *(f"  {line}" for line in aligned(rows)), ""]
    for title, names in _lists(held):
        lines += [f"{title}:", *(f"  {one_line(name)}" for name in names), ""]
    if held.select:
        lines += ["to build what it lacks:", f"  {_command(held.select, plan)}", ""]
    return "\n".join(lines).rstrip()


def markdown(held: CoverageDocument, plan: Plan) -> str:
    """Return the same as `table` for a job summary or an issue."""
    lines = ["### What the index has", "", _summary(held), ""]
    for title, rows in _grids(held, plan):
        lines += [f"**{title}**", "", *markdown_table(rows), ""]
    for title, names in _lists(held):
        lines += [f"<details><summary>{title}: {len(names)}</summary>", ""]
        lines += [*(f"- {code(name)}" for name in names), "", "</details>", ""]
    if held.select:
        lines += ["To build what it lacks:", "", f"    {_command(held.select, plan)}", ""]
    return "\n".join(lines).rstrip()


def _summary(held: CoverageDocument) -> str:
    total = len(held.has) + len(held.lacks)
    parts = [f"the index has {len(held.has)} of {count_of(total, 'planned wheel')}"]
    parts += ["no sdist"] if held.lacks_sdist else ["the sdist"] if held.sdists else []
    parts += [f"{len(held.unknown)} more have no version yet"] if held.unknown else []
    parts += [f"{count_of(len(held.beyond), 'file')} beyond the plan"] if held.beyond else []
    parts += [f"{len(held.yanked)} yanked"] if held.yanked else []
    parts += (
        [f"{count_of(held.other_versions, 'file')} of other versions"]
        if held.other_versions
        else []
    )
    return ", ".join(parts)


def _grids(held: CoverageDocument, plan: Plan) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    for title, some in (("has", held.has), ("lacks", held.lacks)):
        ids = {each.id for each in some}
        if ids:
            targets = tuple(target for target in plan.targets if target.id in ids)
            rows, legend = coverage(replace(plan, targets=targets, undetermined=()))
            yield f"{title} ({legend})", rows


def _lists(held: CoverageDocument) -> Iterator[tuple[str, Sequence[str]]]:
    lists: dict[str, Sequence[str]] = {
        "lacks": [*(target.id for target in held.lacks), *["the sdist"] * held.lacks_sdist],
        "no version yet": held.unknown,
        "beyond the plan": held.beyond,
        "yanked": held.yanked,
    }
    yield from ((title, names) for title, names in lists.items() if names)


def _command(select: str, plan: Plan) -> str:
    channel = f" --channel {plan.channel}" if plan.channel else ""
    return f"orchestrator build{channel} --select '{select}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseGap:
    """A plan beside the wheels of a release, whatever the plan's version.

    Attributes:
        made: files of the release of which the plan makes a newer one.
        missing: files for Linux of which it does not.
        elsewhere: files for other systems, or for all.
        new: targets that the release has no wheel of.
    """

    made: tuple[str, ...]
    missing: tuple[str, ...]
    elsewhere: tuple[str, ...]
    new: tuple[str, ...]


def compare_release(plan: Plan, files: Iterable[str]) -> ReleaseGap:
    """Compare the targets of a plan with the names of a release's wheels."""
    cells = {each.id: {*_served(each.covers)} for each in plan.everything if each.python}
    made: list[str] = []
    missing: list[str] = []
    elsewhere: list[str] = []
    met: set[str] = set()
    meter, every = _Meter(), sum(map(len, cells.values()))
    for filename in sorted(set(files)):
        name = WheelName.parse(filename)
        meter.spend(name, every)
        tags = [tag for text in name.platforms if (tag := PlatformTag.parse(text))]
        platforms = {(str(tag.libc), tag.arch) for tag in tags}
        hits = {
            target
            for target, some in cells.items()
            for python, libc, arch in some
            if (libc, arch) in platforms and any(serves(tag, python) for tag in name.tags)
        }
        met |= hits
        (made if hits else missing if tags else elsewhere).append(filename)
    new = [each for each in cells if each not in met]
    return ReleaseGap(
        made=tuple(made), missing=tuple(missing), elsewhere=tuple(elsewhere), new=tuple(new)
    )


def _served(covers: Iterable[Cell]) -> Iterator[tuple[str, str, str]]:
    """Yield Python, C library and architecture of each wheel that would do for these cells."""
    for cell in map(dict, covers):
        python, libc = cell["python"], cell["libc"].partition("_")[0]
        pythons = [python]
        if python.startswith(ABI3):
            floor = PythonTag.parse(python.removeprefix(ABI3))
            ends = ("", "t") if floor.free_threaded else ("",)
            pythons = [f"cp3{n}{end}" for n in range(floor.minor, _LATEST) for end in ends]
        yield from ((each, libc, cell["arch"]) for each in pythons)


_LATEST = 40
"""The minor version of a Python that nobody has."""


def release_table(gap: ReleaseGap, version: str) -> str:
    """Return the comparison with a release as text."""
    total = count_of(len(gap.made) + len(gap.missing), "wheel")
    lines = [f"the plan makes {len(gap.made)} of the {total} for Linux of {version}"]
    if gap.elsewhere:
        lines.append(f"{len(gap.elsewhere)} more are for other systems")
    for title, names in (("not made", gap.missing), ("new", gap.new)):
        lines += [f"{title}:", *(f"  {one_line(name)}" for name in names)] if names else []
    return "\n".join(lines)
