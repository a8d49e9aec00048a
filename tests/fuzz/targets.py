# ruff: noqa: PLC0415 - what is imported late is what atheris instruments
"""What is fuzzed: for each kind of document its readers, and seeds.

A target raises for everything but the error that its reader promises.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

WHEEL = "demo-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"


def _folder() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own in it
    made = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def elf_target() -> Callable[[bytes], None]:
    from orchestrator.wheel import elf

    def target(data: bytes) -> None:
        try:
            elf.parse(data)
        except elf.MalformedElfError:
            return

    return target


def gpu_seeds() -> Iterator[bytes]:
    from tests.gpumaker import CUDART, PTX, ZSTD, bundle, compressed, device_library, entry, fatbin
    from tests.wheelmaker import ElfSpec, make_elf

    linked = fatbin(entry(80), entry(90, flags=ZSTD, more=b"more" * 4)) + fatbin(
        entry(75, kind=PTX)
    )
    names = ("host-x86_64-unknown-linux--", "hipv4-amdgcn-amd-amdhsa--gfx90a:xnack+")
    plain = bundle(dict.fromkeys(names, b"code"))
    yield from (linked, plain, compressed(plain), compressed(plain, version=2))
    yield b".version 8.7\n.target sm_90a\n"
    yield device_library("libcudart.so.13", linked=linked, __nv_relfatbin=linked)
    yield device_library(linked=linked, texts=CUDART)
    yield device_library(**{".hip_fatbin": compressed(plain) + plain})
    yield make_elf(ElfSpec(machine=(190, 64, "<", 0x6006402)))
    yield make_elf(ElfSpec(machine=(224, 64, "<", 0x53F)))


def gpu_target() -> Callable[[bytes], None]:
    from orchestrator.wheel import elf, gpu

    class Source:
        def __init__(self, data: bytes) -> None:
            self.size, self._data = len(data), data

        def read(self, offset: int, size: int) -> bytes:
            if not 0 <= offset <= offset + size <= self.size:
                raise IndexError(f"{size} bytes at {offset} of {self.size}")
            return self._data[offset : offset + size]

    def target(data: bytes) -> None:
        source = Source(data)
        steps = 0

        def meter(more: int, _read: int, _what: str) -> None:
            nonlocal steps
            steps += more
            if steps > 1_000_000:
                raise OverflowError("steps without end")

        try:
            info = elf.parse(data, meter=meter) if elf.is_elf(data) else None
        except elf.MalformedElfError:
            return
        gpu.read(source, info, meter)

    return target


def macho_seeds() -> Iterator[bytes]:
    from dataclasses import replace

    from tests.binarymaker import DYLIB, MachOSpec, make_fat, make_macho

    spec = MachOSpec(
        kind=DYLIB,
        name="@rpath/libx.dylib",
        needed=("@rpath/liby.dylib", "/usr/lib/libz"),
        rpath=("@loader_path/../lib",),
        defined=("PyInit_x", "PyModExport_x"),
        undefined=("PyList_New", "malloc"),
    )
    for arch in ("arm64", "x86_64", "i386"):
        yield make_macho(replace(spec, arch=arch))
    yield make_macho(replace(spec, order=">", old=True))
    yield make_macho(replace(spec, stripped=True))
    yield from (make_fat(replace(spec, arch="x86_64"), spec, wide=wide) for wide in (False, True))


def pe_seeds() -> Iterator[bytes]:
    from tests.binarymaker import PeSpec, make_pe

    python = {"python3.dll": ("PyList_New", "", "_Py_Dealloc"), "y.dll": ("a",)}
    inits = ("PyInit_x", "PyModExport_x")
    for arch in ("amd64", "arm64", "x86"):
        yield make_pe(PeSpec(arch=arch, imports=python, delayed=python, exports=inits, old=True))
    yield make_pe(PeSpec(hybrid=True, signed=True, delayed=python, more={".nv_fatb": b"x" * 64}))


def reader_target(kind: str) -> Callable[[bytes], None]:
    """What is read of a file is refused, or costs no more steps than a wheel has."""
    from orchestrator.wheel import macho, pe
    from orchestrator.wheel.binary import MalformedBinaryError

    read = macho.parse if kind == "macho" else pe.parse

    def target(data: bytes) -> None:
        steps = 0

        def meter(more: int, bytes_read: int, _what: str) -> None:
            nonlocal steps
            steps += more + bytes_read // 4096
            if steps > 1_000_000:
                raise OverflowError("steps without end")

        try:
            read(data, meter=meter)
        except MalformedBinaryError:
            return

    return target


def binary_seeds() -> Iterator[bytes]:
    from tests.binarymaker import MachOSpec, PeSpec, make_fat, make_macho, make_pe

    needed = ("/usr/lib/libSystem.B.dylib", "@rpath/libz.dylib")
    mach = MachOSpec(needed=needed, rpath=("@loader_path",), undefined=("Py_None",))
    tried = MachOSpec(stripped=True, defined=("PyInit_a",), undefined=("PyDict_New",))
    yield from (make_macho(mach), make_macho(tried), make_fat(mach, tried))
    names = {"python3.dll": ("PyDict_New",), "KERNEL32.dll": ("Sleep",)}
    yield make_pe(PeSpec(imports=names, exports=("PyInit_a",)))


def binary_target() -> Callable[[bytes], None]:
    """A wheel with this file, for macOS and for Windows, is examined, whatever is in the file."""
    from orchestrator.wheel import Policies, report, verify
    from tests.wheelmaker import WheelSpec

    policies = Policies({})
    folder = _folder()

    def target(data: bytes) -> None:
        for end, platform in ((".abi3.so", "macosx_11_0_arm64"), (".pyd", "win_amd64")):
            spec = WheelSpec(members={f"demo/a{end}": data}, abi="abi3", platform=platform)
            path = spec.write(folder)
            verify(path, policies)
            report(path, policies)

    return target


def slice_seeds() -> Iterator[bytes]:
    import random

    from tests.gpumaker import PTX, device_library, entry, fatbin

    noise = random.Random(1).randbytes  # noqa: S311 - nothing secret
    code = fatbin(
        *(entry(80, noise(9000)), entry(86, noise(5000))),
        *(entry(90, noise(300)), entry(90, noise(200), kind=PTX)),
    )
    yield device_library("libcudart.so.13", linked=code)
    yield device_library(linked=code, __nv_relfatbin=code)
    yield code + bytes(24) + code
    yield from small_libraries(fatbin(entry(80, noise(3000)), entry(90, noise(300))))


def small_libraries(code: bytes) -> Iterator[bytes]:
    """Yield libraries as linkers make them, with the same code in all their sections."""
    import subprocess

    from tests.tools.test_elf_shrink import NAMES, SOURCE

    if not shutil.which("g++"):
        return
    folder = _folder()
    (folder / "a.cpp").write_text(SOURCE, encoding="utf-8")
    for name in NAMES:
        (folder / f"{name}.bin").write_bytes(code)
    for more in ("-Wl,-z,noseparate-code", "-Wl,-z,pack-relative-relocs"):
        command = ["g++", "-O1", "-s", "-shared", "-fPIC", more, "a.cpp", "-o", "a.so"]
        subprocess.run(command, cwd=folder, check=True)
        yield (folder / "a.so").read_bytes()


def slice_target() -> Callable[[bytes], None]:
    """A slice is refused, or it is a wheel with no more errors than the one it is made of."""
    from orchestrator.errors import BadWheelError
    from orchestrator.wheel import Policies, verify
    from orchestrator.wheel.gpu_slice import Slice
    from orchestrator.wheel.slicing import architectures, slice_wheel
    from tests.wheelmaker import WheelSpec

    policies = Policies({})
    folder = _folder()

    def errors(path: Path) -> set[str]:
        return {each.rule for each in verify(path, policies).problems if each.severity == "error"}

    def target(data: bytes) -> None:
        spec = WheelSpec()
        spec.members = {"demo/_c.so": data}
        path = spec.write(folder)
        try:
            there = architectures(path)
            wanted = Slice(frozenset(there[-1:]) or frozenset({90}), len(data) % 2 == 0)
            made = slice_wheel(path, wanted, dest_dir=folder / "new", version="1.0+sm")
        except BadWheelError:
            return
        assert not (found := errors(made.path)) or found <= errors(path), found
        assert all(after <= before for before, after in made.files.values()), made.files

    return target


def variant_target() -> Callable[[bytes], None]:
    """Documents of variants are read and joined, or refused."""
    from orchestrator.errors import ConfigError
    from orchestrator.models import variant_metadata
    from tests.wheelmaker import make_variant

    other = variant_metadata.loads(make_variant("cu13"), where="variant.json")

    def target(data: bytes) -> None:
        try:
            found = variant_metadata.loads(data, where="variant.json")
        except ConfigError:
            return
        assert variant_metadata.loads(found.dumps(), where="variant.json") == found
        str(found.flaw)
        for one, two in ((found, other), (other, found)):
            try:
                made = one.joined(two)
            except ValueError:
                continue
            assert variant_metadata.loads(made.dumps(), where="variant.json").variants

    return target


def variant_seeds() -> Iterator[bytes]:
    from tests.wheelmaker import make_variant

    yield make_variant("cu13")
    yield make_variant("cu12", "null")
    yield make_variant("a.b", priorities=["x"], more={"a": {"b": ["c"]}})


def listing_target() -> Callable[[bytes], None]:
    """The names of an index's files are compared with a plan, and made a table of torch."""
    import datetime as dt
    import json

    from orchestrator.discover.release import last_release, newest_sdist
    from orchestrator.errors import OrchestratorError
    from orchestrator.host.program_tables import builtin_table
    from orchestrator.publish import index_coverage, torch_refresh
    from orchestrator.report.schemas import to_json_value
    from tests import factories

    plan = factories.plan_of(
        '[axes]\npython = ["cp312", "cp313t", "abi3-cp310"]\narch = ["x86_64", "aarch64"]\n'
        '[version]\nbase = "1.0"\n[project]\nsdist = true\n'
    )
    known, today = builtin_table(), dt.date(2026, 1, 1)

    def target(data: bytes) -> None:
        names = data.decode("utf-8", "replace").split("\n")
        files = [(name, number % 7 == 0) for number, name in enumerate(names)]
        newest_sdist(names)
        try:
            held = index_coverage.compare(plan, plan, files, project="demo", sdist=True)
            json.dumps(to_json_value(held))
            index_coverage.table(held, plan)
            index_coverage.markdown(held, plan)
            release = last_release(names, index="https://host/simple")
            if release.version:
                gap = index_coverage.compare_release(plan, release.files)
                index_coverage.release_table(gap, release.version)
            torch = torch_refresh.refresh(names, known, updated=today, source="https://host")
            torch_refresh.dumps(torch)
            [*torch_refresh.differences(known, torch)]
        except OrchestratorError:
            return

    return target


def listing_seeds() -> Iterator[bytes]:
    yield b"\n".join(
        [
            *(b"demo-1.0.tar.gz", b"demo-0.9.zip", b"demo-1.0-1-cp312-cp312-linux_x86_64.whl"),
            b"demo-1.0-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            b"demo-1.0-cp310-abi3-musllinux_1_2_aarch64.whl",
            b"demo-1.0+cu126.torch2.8-cp313-cp313t-manylinux_2_28_aarch64-cu126.whl",
        ]
    )
    yield b"\n".join(
        b"torch-2.%d.0%%2B%s-cp312-cp312-manylinux_2_28_x86_64.whl" % (minor, local)
        for minor, local in enumerate((b"cpu", b"cu126", b"cu130", b"rocm6.4", b"xpu"))
    ).replace(b"%2B", b"+")


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


def artefact_target() -> Callable[[bytes], None]:
    """What a job hands on reaches ``dist`` unchanged or not at all; nothing else is written."""
    import json

    from orchestrator.ci.artefacts import find_artefacts
    from orchestrator.ci.collect import collect
    from orchestrator.fsutil import file_sha256
    from orchestrator.report.schemas import read_plan
    from tests.unit.ci import test_collect as jobs

    folder = _folder()
    plan = read_plan(json.dumps(jobs.plan(*map(jobs.planned, jobs.IDS))), where="plan.json")
    place, output = folder / "jobs" / "x", folder / "dist"
    place.mkdir(parents=True)
    wheels = {jobs.name_of(each): jobs.contents(each) for each in jobs.IDS}
    for name, data in wheels.items():
        (place / name).write_bytes(data)
    there = {*folder.rglob("*"), output, place / "results.json"}

    def target(data: bytes) -> None:
        (place / "results.json").write_bytes(data)
        found, _ = find_artefacts([folder / "jobs"], output=output)
        collected = collect(plan, found, output)
        json.dumps(collected.document)
        for each in collected.document["results"]:
            if each["wheel"] is not None:
                assert file_sha256(output / each["wheel"]["filename"]) == each["wheel"]["sha256"]
        strange = {path for path in folder.rglob("*") if path.parent != output} - there
        assert not strange, strange
        shutil.rmtree(output)

    return target


def artefact_seeds() -> Iterator[bytes]:
    import json

    from tests import reports
    from tests.unit.ci import test_collect as jobs

    run = reports.run("r1", reports.BEGAN)
    for make in (jobs.good, jobs.failed):
        results = [make(each) | {"run": "r1"} for each in jobs.IDS]
        yield json.dumps(reports.document(*results, runs=(run,))).encode()


def sdist_target() -> Callable[[bytes], None]:
    """A tar file is unpacked below its directory, or not at all; what is wrong with it is said."""
    import gzip

    from orchestrator.errors import SourceError
    from orchestrator.source import unpack
    from orchestrator.source.sdist import sdist_problems

    unpack.MOST_BYTES = 1 << 24
    folder = _folder()
    archive, dest = folder / "demo-1.0.tar.gz", folder / "in" / "made"
    dest.parent.mkdir()

    def target(data: bytes) -> None:
        archive.write_bytes(gzip.compress(_checked_tar(data), compresslevel=1))
        try:
            unpack.unpack(archive, dest)
        except SourceError:
            pass
        else:
            for path in dest.rglob("*"):
                assert not path.is_symlink() or path.resolve().is_relative_to(dest), path
                assert path.is_symlink() or path.lstat().st_mode & 0o7000 == 0
        sdist_problems(archive)
        assert {each.name for each in folder.iterdir()} == {"in", archive.name}
        assert {each.name for each in dest.parent.iterdir()} <= {"made"}
        shutil.rmtree(dest, ignore_errors=True)

    return target


def _checked_tar(data: bytes) -> bytes:
    """Correct the checksum of each block that has been a header."""
    made = bytearray(data)
    for at in range(0, len(made) - 511, 512):
        if made[at + 257 : at + 262] == b"ustar":
            made[at + 148 : at + 156] = b" " * 8
            made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])
    return bytes(made)


def sdist_seeds() -> Iterator[bytes]:
    import io
    import tarfile

    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as bundle:
            for name, kind in (
                ("demo-1.0", tarfile.DIRTYPE),
                ("demo-1.0/a", tarfile.REGTYPE),
                ("demo-1.0/PKG-INFO", tarfile.REGTYPE),
                ("demo-1.0/pyproject.toml", tarfile.REGTYPE),
                ("demo-1.0/link", tarfile.SYMTYPE),
                ("demo-1.0/same", tarfile.LNKTYPE),
                ("demo-1.0/" + "long/" * (8 if form == tarfile.USTAR_FORMAT else 40) + "b", b"0"),
            ):
                info = tarfile.TarInfo(name)
                text = b"Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nLicense-File: a\n"
                info.type, info.size, info.mtime = kind, len(text) * (kind == b"0"), 1e9 + 0.5
                info.linkname = {b"2": "a", b"1": "demo-1.0/a"}.get(kind, "")
                bundle.addfile(info, io.BytesIO(text))
        yield out.getvalue()


def source_target() -> Callable[[bytes], None]:
    """A tree with this pyproject.toml, PKG-INFO and setup.cfg is planned, or refused."""
    from orchestrator.errors import SourceError
    from orchestrator.source import locate, own_options, scm

    folder = _folder()
    (folder / "setup.py").write_text("")

    def target(data: bytes) -> None:
        names = ("pyproject.toml", "PKG-INFO", "setup.cfg")
        for name, text in zip(names, [*data.split(b"\xff"), b"", b""], strict=False):
            (folder / name).write_bytes(text)
        for ask in (
            lambda: locate.locate(str(folder), base=folder),
            lambda: own_options.own_options(folder),
            lambda: scm.options(scm._configured(locate.read_toml(folder, names[0])), where=""),
        ):
            try:
                ask()
            except SourceError:
                continue

    return target


def source_seeds() -> Iterator[bytes]:
    from tests.conftest import REPOSITORY

    own = (
        b'[project]\nname = "demo"\nversion = "1.0"\n[build-system]\nrequires = ["a>1"]\n'
        b'[tool.setuptools_scm]\nversion_scheme = "post-release"\nroot = ".."\n'
        b"git_describe_command = \"git describe --match 'v*'\"\n"
        b'[tool.cibuildwheel]\ntest-sources = "a b"\n[tool.cibuildwheel.linux]\n'
        b'dependency-versions = {file = "c.txt"}\n[[tool.cibuildwheel.overrides]]\nselect = "*"\n'
    )
    info = b"Metadata-Version: 2.2\nName: demo\nVersion: 1.0\nDynamic: Requires-Dist\n\nbody\n"
    yield own + b"\xff" + info + b"\xff[metadata]\nname = demo\n"
    for path in [REPOSITORY / "pyproject.toml", *(REPOSITORY / "examples").rglob("pyproject.toml")]:
        yield path.read_bytes() + b"\xff" + info


def matrix_target() -> Callable[[bytes], None]:
    from orchestrator.config.lines import with_lines
    from orchestrator.config.load import examine
    from orchestrator.errors import ConfigError
    from orchestrator.host.program_tables import builder_facts

    facts = builder_facts()

    def target(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        try:
            loaded = examine(data, facts=facts)
        except ConfigError as error:
            str(with_lines(error, text, file="matrix.toml"))
        else:
            str(with_lines(ConfigError(*loaded.problems), text, file="matrix.toml"))

    return target


def matrix_seeds() -> Iterator[bytes]:
    from tests.conftest import REPOSITORY

    for path in [*REPOSITORY.rglob("matrix*.toml")]:
        if ".venv" not in path.parts:
            yield path.read_bytes()


def project_target() -> Callable[[bytes], None]:
    from orchestrator.discover.setup_script import read_setup
    from orchestrator.discover.workflows import read_workflow
    from orchestrator.errors import ConfigError
    from orchestrator.plan.cibuildwheel_selection import matches

    def target(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        read_setup(text)
        matches(text, "cp312-manylinux_x86_64")
        try:
            read_workflow(text, where="w.yml")
        except ConfigError:
            return

    return target


def project_seeds() -> Iterator[bytes]:
    yield (
        b"on: {workflow_call: {inputs: {a: {default: x}}}}\nenv: {A: '${{ inputs.a || env.B }}'}\n"
        b"jobs:\n  a:\n    runs-on: ${{ matrix.os[0] }}\n    strategy:\n      matrix:\n"
        b"        os: &o [[ubuntu, x], [macos, y]]\n        p: [3.10]\n"
        b"        exclude: [{p: 3.10}]\n"
        b"        include: [{os: *o, q: 1}]\n    steps:\n    - uses: pypa/cibuildwheel@v4\n"
        b"      if: contains(matrix.os, 'u') && !github.x\n      with: {only: '${{ matrix.p }}'}\n"
    )
    yield (
        b"import os\nfrom torch.utils.cpp_extension import CUDAExtension\n"
        b"A = os.getenv('A', '1') != '0'\nif A and not os.environ.get('B') in ('1',):\n"
        b"    o = {'bdist_wheel': {'py_limited_api': 'cp39'}}\n"
        b"setup(ext_modules=[CUDAExtension('a')], options=o if 'C' in os.environ else {})\n"
    )
    yield b"cp3{10..12,9}-* *-{many,musl}linux_{x86_64,i6{8,9}6} cp31[0-4]t?-*"


INIT_FILES = (
    *("pyproject.toml", "PKG-INFO", "setup.cfg", "setup.py", "Cargo.toml", "meson.build"),
    ".github/workflows/w.yml",
)


def init_target() -> Callable[[bytes], None]:
    """What `init` writes for any tree is a matrix that can be read, or there is an error."""
    import datetime as dt

    from orchestrator.config.load import load
    from orchestrator.discover.cells import Surroundings
    from orchestrator.discover.new_matrix import new_matrix
    from orchestrator.discover.project import read_project
    from orchestrator.errors import ConfigError, SourceError
    from orchestrator.host.program_tables import builder_facts, builtin_table
    from orchestrator.source.locate import locate

    folder, facts = _folder(), builder_facts()
    around = Surroundings(
        catalog=facts, table=builtin_table(), native="x86_64", today=dt.date(2026, 1, 1)
    )
    (folder / ".github/workflows").mkdir(parents=True)

    def target(data: bytes) -> None:
        texts = [*data.split(b"\xff"), *[b""] * len(INIT_FILES)]
        for name, text in zip(INIT_FILES, texts, strict=False):
            (folder / name).write_bytes(text)
        try:
            found = read_project(folder, locate(str(folder), base=folder))
            made = new_matrix(found, None, around)
        except (ConfigError, SourceError):
            return
        load(made.text.encode(), facts=facts)

    return target


def init_seeds() -> Iterator[bytes]:
    own = (
        b'[project]\nname = "demo"\nversion = "1.0"\nrequires-python = ">=3.10"\n'
        b'[build-system]\nrequires = ["setuptools", "torch"]\n[tool.cibuildwheel]\n'
        b'build = ["cp3{10..13}-*"]\nskip = "*-musllinux_*"\nmanylinux-x86_64-image = "a/b:c"\n'
        b'[[tool.cibuildwheel.overrides]]\nselect = "cp312-*"\nmanylinux-aarch64-image = "q/r"\n'
    )
    cargo = b'[dependencies]\npyo3 = {version = "0.2", features = ["abi3-py39"]}\n'
    meson = b"project('a', 'c', version: '1.0')\npy.extension_module('a', limited_api: '3.9')\n"
    flow, script, _ = project_seeds()
    config = b"[metadata]\nname = demo\n[bdist_wheel]\npy_limited_api = cp39\n"
    yield b"\xff".join([own, b"", config, script, b"", b"", flow])
    rust = own.replace(b'["setuptools", "torch"]', b'["maturin"]\nbuild-backend = "maturin"')
    yield b"\xff".join([rust, b"", b"", b"", cargo, b"", flow])
    mesons = own.replace(b'["setuptools", "torch"]', b'["a"]\nbuild-backend = "mesonpy"')
    yield b"\xff".join([mesons + b"[tool.meson-python]\nlimited-api = true\n", *[b""] * 4, meson])


def page_target() -> Callable[[bytes], None]:
    """A page of an index is files, or an error."""
    from orchestrator.errors import OrchestratorError
    from orchestrator.host import simple_index
    from orchestrator.host.web import HttpResponse

    url = "https://host/simple/demo/"

    def target(data: bytes) -> None:
        for kind in ("text/html", "application/vnd.pypi.simple.v1+json"):
            answer = HttpResponse(status=200, reason="", kind=kind, url=url, body=data)
            answer.document()
            try:
                simple_index._files(answer, url)
            except OrchestratorError:
                continue

    return target


def page_seeds() -> Iterator[bytes]:
    yield b"""<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.1">
<base href="https://files/x/"></head><body>
<a href="../../demo-1.0.tar.gz#sha256=%s" data-yanked="old" data-requires-python="&gt;=3.9">demo</a>
<a href="demo-1.0-py3-none-any.whl" data-core-metadata="sha256=a">w</a></body></html>""" % (
        b"a" * 64
    )
    yield (
        b'{"meta": {"api-version": "1.1"}, "name": "demo", "files": [{"filename": "d.tar.gz",'
        b'"url": "https://x/d.tar.gz", "hashes": {"sha256": "00"}, "size": 5, "yanked": false},'
        b'{"filename": "b", "url": "b", "hashes": {}, "yanked": "old"}]}'
    )


def installed_texts() -> Iterator[bytes]:
    """METADATA, WHEEL, RECORD, a bill of materials and a licence of what is installed here."""
    import sysconfig

    for info in sorted(Path(sysconfig.get_path("purelib")).glob("*.dist-info")):
        bills = sorted((info / "sboms").glob("*.json"))
        files = [info / "METADATA", info / "WHEEL", info / "RECORD", *bills[:1]]
        texts = [file.read_bytes() for file in files if file.is_file()]
        if len(texts) >= 3 and sum(map(len, texts)) < 1 << 15:
            yield b"\xff".join(texts)


MORE_SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "gpu": gpu_seeds,
    "slice": slice_seeds,
    "binary": binary_seeds,
    "macho": macho_seeds,
    "pe": pe_seeds,
    "variant": variant_seeds,
    "listing": listing_seeds,
    "artefact": artefact_seeds,
    "sdist": sdist_seeds,
    "source": source_seeds,
    "matrix": matrix_seeds,
    "project": project_seeds,
    "init": init_seeds,
    "page": page_seeds,
}

TARGETS: dict[str, Callable[[], Callable[[bytes], None]]] = {
    "artefact": artefact_target,
    "sdist": sdist_target,
    "source": source_target,
    "matrix": matrix_target,
    "project": project_target,
    "init": init_target,
    "page": page_target,
    "record": record_target,
    "plan": plan_target,
    "results": results_target,
    "site": site_target,
    "elf": elf_target,
    "gpu": gpu_target,
    "slice": slice_target,
    "binary": binary_target,
    "macho": partial(reader_target, "macho"),
    "pe": partial(reader_target, "pe"),
    "variant": variant_target,
    "listing": listing_target,
    "wheel": wheel_target,
    "content": content_target,
    "texts": texts_target,
    "names": names_target,
}


def seeds(kind: str) -> Iterator[bytes]:
    from tests.property.test_wheel import SAMPLES, sample

    if kind in MORE_SEEDS:
        yield from MORE_SEEDS[kind]()
        return
    if kind == "texts":
        from tests.wheelmaker import WheelSpec

        yield from installed_texts()

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
        yield sample(Path(folder)).read_bytes()


def documents(kind: str) -> Iterator[bytes]:
    from orchestrator.report import serialize
    from tests.unit.report.test_document_compat import recorded

    if kind == "record":
        yield record_document()
    elif kind == "site":
        yield site_document()
    else:
        yield serialize.dumps(recorded(kind)).encode()


def record_document() -> bytes:
    from orchestrator.models.reading import parse
    from orchestrator.models.target import BackendName, Digest
    from orchestrator.models.untrusted import FileMode, RelativePath
    from orchestrator.models.wheel import Finding
    from orchestrator.report import schemas
    from orchestrator.store.result_record import Blob, OutputFile, Record, VerifyVerdict, pack
    from tests.unit.report.test_document_compat import recorded

    results = parse(schemas.ResultsDocument, recorded("results")).results
    built = next(each for each in results if each.compiled is not None)
    (inspected,) = parse(schemas.InspectDocument, recorded("inspect")).wheels
    blob = Blob(sha256=Digest("1" * 64), size=7)
    findings = (Finding(rule="twine", message="no text"),)
    record = Record(
        address=Digest("0" * 64),
        target_id=built.target_id,
        document={"request": {"env": [["A", "b"]]}, "place": {}},
        sources=blob,
        backend=BackendName.DIRECT,
        reason="it is there",
        duration=1.0,
        tested=("cp313",),
        compiled=built.compiled,
        log=blob,
        wheel=inspected,
        verdicts=(VerifyVerdict(demands=Digest("2" * 64), findings=findings),),
        said=findings,
        outputs=(OutputFile(path=RelativePath("a/b.so"), mode=FileMode(0o755), blob=blob),),
    )
    return pack(record).partition(b"\n")[2]


def site_document() -> bytes:
    from dataclasses import replace
    from datetime import UTC, datetime

    from orchestrator.models import variant_metadata
    from orchestrator.publish.index_site import File, Site, SubIndex, dumps
    from tests.wheelmaker import make_variant

    file = File(
        filename=WHEEL,
        project="demo",
        version="1.0",
        sha256="0" * 64,
        size=1,
        requires_python=">=3.9",
        uploaded=datetime(2026, 1, 1, tzinfo=UTC),
        metadata="1" * 64,
        cells=(("cp312", "x"),),
    )
    label = variant_metadata.loads(make_variant("cu13"), where="variant.json")
    labelled = replace(file, filename=f"{WHEEL.removesuffix('.whl')}-cu13.whl", variant=label)
    variant = SubIndex(path="cu126/torch-2.8", values=(("cuda", "12.6"),))
    site = Site(
        files=(file, labelled),
        variants=(variant,),
        aliases=(("a", "cuda"),),
        published=(("", ""),),
    )
    return dumps(site)
