# ruff: noqa: PLC0415 - what is imported late is what atheris instruments
"""Coverage-guided fuzzing of the readers of zip, ELF and JSON, with atheris (not a dependency).

    pip install atheris packaging
    python -m tests.fuzz.fuzz_wheel elf CORPUS -atheris_runs=1000000
    python -m tests.fuzz.fuzz_wheel wheel CORPUS -atheris_runs=1000000
    python -m tests.fuzz.fuzz_wheel content CORPUS -atheris_runs=1000000
    python -m tests.fuzz.fuzz_wheel texts CORPUS -atheris_runs=1000000
    python -m tests.fuzz.fuzz_wheel names CORPUS -atheris_runs=1000000
    python -m tests.fuzz.fuzz_wheel record CORPUS -atheris_runs=1000000
    (and plan, results, site)

``elf`` fuzzes the ELF reader, ``wheel`` whole files, and ``content`` the ELF file in a sound zip;
``texts`` METADATA, WHEEL, RECORD and a bill of materials, ``names`` the members' names. ``record``
fuzzes what a shared store has, ``plan``, ``results`` and ``site`` the documents of other machines.
CORPUS is a folder; it is filled with seeds where it is empty. All other arguments are libFuzzer's.
A finding is any exception but the one that the reader promises, more than ten seconds, or more
than 600 MB. Each becomes a test in tests/unit/wheel/test_hostile.py.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

WHEEL = "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"
LIMITS = ("-timeout=10", "-rss_limit_mb=600", "-max_len=65536")


def _folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    return Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))


def elf_target() -> Callable[[bytes], None]:
    from orchestrator.wheel import elf

    def target(data: bytes) -> None:
        try:
            elf.parse(data)
        except elf.MalformedElfError:
            return

    return target


def content_target() -> Callable[[bytes], None]:
    import zipfile

    from orchestrator.wheel import Policies, verify
    from tests.auditor import load_policies

    policies: Policies = load_policies()
    path = _folder() / WHEEL

    def target(data: bytes) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("demo/x.so", data)
            archive.writestr("demo/x.libs/y.so", data[::-1])
            archive.writestr("demo-1.0.dist-info/RECORD", data[:64])
        # The zip file is sound, so nothing at all may be raised.
        verify(path, policies)

    return target


def wheel_target() -> Callable[[bytes], None]:
    from orchestrator.errors import BadWheelError
    from orchestrator.wheel import Policies, report, retag, verify

    policies = Policies({})
    folder = _folder()
    path = folder / WHEEL

    def target(data: bytes) -> None:
        path.write_bytes(data)
        for use in (report, verify):
            try:
                use(path, policies)
            except BadWheelError:
                return
        try:
            retag(path, dest_dir=folder / "new", build_tag="7")
        except BadWheelError:
            return

    return target


def texts_target() -> Callable[[bytes], None]:
    import zipfile

    from orchestrator.errors import BadWheelError
    from orchestrator.models.platforms import Arch, Libc
    from orchestrator.wheel import Expected, Policies, compare, retag, verify

    policies = Policies({})
    folder = _folder()
    path, other = folder / WHEEL, folder / "other" / WHEEL
    other.parent.mkdir()
    want = Expected(
        name="demo",
        version="1.0",
        build_tag="",
        python="cp312",
        libc=Libc.MANYLINUX,
        arch=Arch.X86_64,
        pins=("torch==2.8.0",),
    )

    def write(place: Path, texts: list[bytes]) -> None:
        with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            names = ("METADATA", "WHEEL", "RECORD", "sboms/a.cdx.json", "licenses/LICENSE")
            for name, text in zip(names, texts, strict=False):
                archive.writestr(f"demo-1.0.dist-info/{name}", text)

    def target(data: bytes) -> None:
        texts = [*data.split(b"\xff")[:5], *[b""] * 5][:5]
        write(path, texts)
        write(other, texts[::-1])
        # The zip file is sound: what its texts say is findings.
        verify(path, policies, expected=want)
        for use in (
            lambda: compare(path, other),
            lambda: retag(
                path, dest_dir=folder / "new", version="2", pins=want.pins, add_sbom=True
            ),
        ):
            try:
                use()
            except BadWheelError:
                continue

    return target


def names_target() -> Callable[[bytes], None]:
    from orchestrator.errors import BadWheelError
    from orchestrator.wheel import Policies, retag, verify
    from tests.rawzip import Entry, write

    policies = Policies({})
    folder = _folder()
    path = folder / WHEEL

    def target(data: bytes) -> None:
        names = [b"demo-1.0.dist-info/WHEEL", *data.split(b"\n")]
        path.write_bytes(write([Entry(name=name[: 1 << 15], content=b"") for name in names]))
        try:
            verify(path, policies)
            retag(path, dest_dir=folder / "new", version="2", add_sbom=True)
        except BadWheelError:
            return

    return target


def record_target() -> Callable[[bytes], None]:
    import hashlib

    from orchestrator.models.target import Digest
    from orchestrator.store.result_record import UnreadableRecordError, pack, unpack

    address = Digest("0" * 64)

    def target(data: bytes) -> None:
        try:
            # Whoever writes a record can also compute its checksum.
            whole = hashlib.sha256(data).hexdigest().encode() + b"\n" + data
            pack(unpack(whole, address).record)
        except UnreadableRecordError:
            return

    return target


def plan_target() -> Callable[[bytes], None]:
    from orchestrator.errors import ConfigError
    from orchestrator.report.schemas import read_plan

    def target(data: bytes) -> None:
        try:
            read_plan(data, where="plan.json")
        except ConfigError:
            return

    return target


def results_target() -> Callable[[bytes], None]:
    from orchestrator.errors import ConfigError
    from orchestrator.report import markdown
    from orchestrator.report.results import NAME, read, read_each
    from orchestrator.report.schemas import read_results

    folder = _folder()

    def target(data: bytes) -> None:
        (folder / NAME).write_bytes(data)
        try:
            read_each(data, where=NAME)
            read(folder)
            markdown.render(read_results(data, where=NAME), limit=1 << 16)
        except ConfigError:
            return

    return target


def site_target() -> Callable[[bytes], None]:
    from orchestrator.errors import OrchestratorError
    from orchestrator.publish.index_site import dumps, loads
    from orchestrator.publish.pages import pages

    def target(data: bytes) -> None:
        try:
            site = loads(data, where="site.json")
            dumps(site)
            pages(site)
        except OrchestratorError:
            return

    return target


TARGETS = {
    "record": record_target,
    "plan": plan_target,
    "results": results_target,
    "site": site_target,
    "elf": elf_target,
    "wheel": wheel_target,
    "content": content_target,
    "texts": texts_target,
    "names": names_target,
}


def seeds(kind: str) -> Iterator[bytes]:
    from tests.property.test_wheel import SAMPLES, sample_wheel

    if kind == "texts":
        from tests.wheelmaker import WheelSpec

        bill = (
            b'{"bomFormat": "CycloneDX", "metadata": {"component": {"purl": "pkg:pypi/demo@1.0"}}}'
        )
        files = WheelSpec().files()
        info = WheelSpec().dist_info
        record = b"demo/x.py,sha256=x,1\n"
        yield b"\xff".join([files[f"{info}/METADATA"], files[f"{info}/WHEEL"], record, bill, b"x"])
        return
    if kind == "names":
        yield b"demo/x.py\ndemo/x.libs/libz-0123abcd.so.1\ndemo-1.0.data/scripts/tool\na/b/"
        return
    if kind in {"record", "plan", "results", "site"}:
        yield from documents(kind)
        return
    if kind != "wheel":
        yield from SAMPLES
        return
    with tempfile.TemporaryDirectory() as folder:
        yield sample_wheel(Path(folder)).read_bytes()


def documents(kind: str) -> Iterator[bytes]:
    import json

    from orchestrator.publish.index_site import Site, dumps
    from tests import reports

    document = reports.document(runs=(reports.run("r1", reports.BEGAN),))
    record: dict[str, object] = {
        "address": "0" * 64,
        "target_id": "a",
        "document": {},
        "sources": None,
    }
    plan = {"schema": 1, "channel": "", "targets": [], "excluded": [], "undetermined": []}
    yield {
        "record": json.dumps(
            record | {"backend": "direct", "reason": "", "duration": 1.0}
        ).encode(),
        "plan": json.dumps(plan).encode(),
        "results": json.dumps(document).encode(),
        "site": dumps(Site(aliases=(("a", "cuda"),), published=(("", ""),))),
    }[kind]


def main() -> None:
    kind, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    atheris = import_module("atheris")
    # What is imported before, as the seeds' modules do, is not instrumented.
    with atheris.instrument_imports(include=["orchestrator.wheel", "zipfile"]):
        target = TARGETS[kind]()
    if not any(corpus.iterdir()):
        for number, seed in enumerate(seeds(kind)):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], str(corpus), *LIMITS, *sys.argv[3:]], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
