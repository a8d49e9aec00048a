"""What others put into a store: it is taken if it is what the target is to be, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.host.process import Cancel
from orchestrator.models.platforms import Arch
from orchestrator.models.provenance import Provenance
from orchestrator.models.reading import adapter
from orchestrator.models.result import BuildEnvironment
from orchestrator.models.store_trust import StoreTrust
from orchestrator.models.target import (
    BackendName,
    Digest,
    LibraryStep,
    Target,
    TargetId,
    TargetSteps,
)
from orchestrator.models.untrusted import FileMode, RelativePath
from orchestrator.models.wheel import WheelReport
from orchestrator.run.cache_key import Action, BuildWay, make_action
from orchestrator.run.planned import request_for
from orchestrator.run.result_cache import ResultCache
from orchestrator.run.run_dir import RunDirectories
from orchestrator.source.fingerprint import SourceFingerprint
from orchestrator.store.cas import Store
from orchestrator.store.local import LocalStore
from orchestrator.store.remote import RemoteStore
from orchestrator.store.result_record import Blob, OutputFile, Record, VerifyVerdict, pack
from orchestrator.store.seals import SigningKey, TrustedKeys
from orchestrator.wheel import verify
from tests import factories
from tests.auditor import load_policies
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf

POLICIES = load_policies()
TEXT = b"31 bytes that are not a wheel.\n"
GOOD = WheelSpec(members={EXTENSION: make_elf(ElfSpec(defined=("PyInit__ext",)))})
TARGET = factories.target("t", steps=TargetSteps(external=("*",)))
LIBRARY = factories.target(
    "lib", python="", library=LibraryStep(name="lib", command="make", outputs=("out/*.so",))
)
CONTAINER = BuildWay(BackendName.CIBUILDWHEEL, in_container=True)
KEY, OTHER = SigningKey.new(), SigningKey.new()


def action_of(target: Target) -> Action:
    request = request_for(target, factories.SOURCE, CONTAINER, {})
    return make_action(request, {"image": "abc"}, scope="", needs=())


class Machine:
    """A machine with a result cache, and a directory that it shares with strangers."""

    def __init__(
        self, root: Path, trust: StoreTrust = StoreTrust.ALL, keys: tuple[str, ...] = ()
    ) -> None:
        self.root = root
        self.said: list[str] = []
        self.asked: list[str] = []
        self.shared = root / "shared"
        self.places = RunDirectories(
            **{name: root / name for name in ("output", "run", "logs", "rejected")}
        )
        for folder in (self.shared, self.places.output, self.places.logs):
            folder.mkdir(exist_ok=True)
        url = self.shared.as_uri()
        self.cache = ResultCache(
            store=Store(
                local=LocalStore(root / "store", lambda: b"of this machine"),
                warn=self.said.append,
                open_remote=lambda: RemoteStore(url, options={}, environ={}),
                trust=trust,
                keys=TrustedKeys.of(keys),
            ),
            places=self.places,
            identity=cast("SourceFingerprint", None),
            project="demo",
            policies=lambda: POLICIES,
            check=self.check,
            step=lambda *_: None,
            cancel=Cancel(),
        )

    def check(self, wheel: Path, *_: object) -> tuple[()]:
        self.asked.append(wheel.name)
        return ()

    def plant(self, data: bytes) -> Blob:
        """Put bytes into the shared directory."""
        blob = Blob(sha256=Digest(hashlib.sha256(data).hexdigest()), size=len(data))
        place = self.shared / "blobs" / blob.sha256[:2] / blob.sha256
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return blob

    def claim(self, record: Record, key: SigningKey | None = None, **changes: Any) -> None:
        """Put a record there; the changes are of its JSON, so that it may say anything."""
        body = adapter(Record).dump_python(record, mode="json") | changes
        data = json.dumps(body).encode()
        seal = "" if key is None else " " + key.seal(record.address, data)
        first = hashlib.sha256(data).hexdigest() + seal
        place = self.shared / "actions" / record.address[:2] / record.address
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(first.encode() + b"\n" + data)

    def dist(self) -> list[str]:
        return sorted(each.name for each in self.places.output.iterdir())


def wheel_record(machine: Machine, data: bytes | None = None) -> Record:
    """What a build of the target puts into a store: with a verdict that has no finding."""
    folder = machine.root / "made"
    folder.mkdir(exist_ok=True)
    file = GOOD.write(folder)
    report = verify(file, POLICIES, external=("*",))
    blob = machine.plant(file.read_bytes() if data is None else data)
    action = action_of(TARGET)
    return Record(
        address=action.address,
        target_id=TARGET.id,
        document={},
        sources=None,
        backend=BackendName.CIBUILDWHEEL,
        reason="elsewhere",
        duration=1.0,
        wheel=replace(report, sha256=blob.sha256, size=blob.size, problems=()),
        verdicts=(VerifyVerdict(demands=no_demands(), findings=()),),
    )


def no_demands() -> Digest:
    """The digest of the demands on the target's wheel."""
    from orchestrator.run.finish import demands_on  # noqa: PLC0415
    from orchestrator.run.result_cache import _digest  # noqa: PLC0415

    return _digest(demands_on(Path(GOOD.filename), TARGET))


def test_what_an_earlier_run_set_aside_goes_once_the_wheel_is_in_dist(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.claim(wheel_record(machine))
    aside = machine.places.rejected / TARGET.id / "full-disk.whl"
    aside.parent.mkdir(parents=True)
    aside.touch()
    assert machine.cache.restore(action_of(TARGET)) is not None
    assert not aside.parent.exists()


def test_a_sound_wheel_is_verified_as_after_a_build_and_once(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.claim(wheel_record(machine))

    for _ in range(2):
        result = machine.cache.restore(action_of(TARGET))
        assert result is not None
        assert result.cached
        assert machine.dist() == [GOOD.filename]
    assert machine.asked == [GOOD.filename], "the tools looked at it, as nobody's word counts"
    assert machine.said == []


@pytest.mark.parametrize("signed", [True, False])
def test_how_a_wheel_was_built_is_told_by_whom_this_machine_trusts(
    tmp_path: Path, *, signed: bool
) -> None:
    machine = Machine(tmp_path, keys=(KEY.public,))
    history: dict[str, Any] = {
        "environment": BuildEnvironment(python="3.12.4"),
        "provenance": Provenance(invocation="https://ci.example/1", began=1.0),
        "container": factories.CONTAINER,
    }
    machine.claim(replace(wheel_record(machine), **history), KEY if signed else None)

    for _ in range(2):  # from the shared store, and then from this machine's
        result = machine.cache.restore(action_of(TARGET))
        assert result is not None
        for name, told in history.items():
            assert getattr(result, name) == (told if signed else None), name


BAD: dict[str, dict[str, Any]] = {
    "absolute": {"filename": "/tmp/x/demo-1.0-cp312-cp312-linux_x86_64.whl"},  # noqa: S108
    "parent": {"filename": f"../../{GOOD.filename}"},
    "a directory": {"filename": f"a/{GOOD.filename}"},
    "control": {"filename": f"{GOOD.filename}\n::error::"},
    "endless": {"filename": "x" * 5000},
    "no wheel": {"filename": "demo.zip"},
    "NUL": {"filename": f"{GOOD.filename}\0"},
    "another name": {"filename": GOOD.filename.replace("demo", "requests")},
    "another version": {"filename": GOOD.filename.replace("1.0", "99.0")},
    "a build tag": {"filename": GOOD.filename.replace("1.0", "1.0-7")},
    "another Python": {"filename": GOOD.filename.replace("cp312", "cp311")},
    "another platform": {"filename": GOOD.filename.replace("x86_64", "aarch64")},
    "another libc": {"filename": GOOD.filename.replace("manylinux_2_17", "musllinux_1_2")},
    "a lower tag": {"filename": GOOD.filename.replace("cp312-cp312", "py3-none")},
    "a hash that is a path": {"sha256": "/etc/passwd"},
    "a hash of nothing": {"sha256": "0" * 64},
    "a smaller size": {"size": 1},
    "a larger size": {"size": 1 << 40},
    "a negative size": {"size": -1},
    "an impossible version": {"version": "one/../two"},
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD)
def test_a_wheel_that_is_not_the_planned_one_is_a_miss(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    machine = Machine(tmp_path)
    record = wheel_record(machine)
    before = {*tmp_path.parent.iterdir()}
    wheel = adapter(WheelReport).dump_python(cast("WheelReport", record.wheel), mode="json")
    machine.claim(record, wheel=wheel | change)

    assert machine.cache.restore(action_of(TARGET)) is None

    assert machine.dist() == []
    assert {*tmp_path.parent.iterdir()} == before
    assert len(machine.said) <= 1
    named = [line for line in machine.said if record.address[:16] in line]
    missing = "sha256" in change and len(change["sha256"]) == 64
    assert named or missing or "of the shared store is damaged" in machine.said[0]


WRONG: dict[str, Callable[[Path], bytes]] = {
    "text": lambda _folder: TEXT,
    "nothing": lambda _folder: b"",
    "another project": lambda folder: replace(GOOD, name="requests").write(folder).read_bytes(),
    "another version": lambda folder: replace(GOOD, version="9").write(folder).read_bytes(),
    "no ELF file": lambda folder: replace(GOOD, members={}).write(folder).read_bytes(),
    "another machine": lambda folder: (
        replace(GOOD, members={EXTENSION: make_elf(ElfSpec(arch=Arch.AARCH64))})
        .write(folder)
        .read_bytes()
    ),
    "a newer libc": lambda folder: (
        replace(
            GOOD,
            members={EXTENSION: make_elf(ElfSpec(versions={"libc.so.6": {"GLIBC_2.38": ("x",)}}))},
        )
        .write(folder)
        .read_bytes()
    ),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_a_verdict_in_a_record_is_a_claim(tmp_path: Path, data: Callable[[Path], bytes]) -> None:
    machine = Machine(tmp_path)
    (tmp_path / "wrong").mkdir()
    record = wheel_record(machine, data=data(tmp_path / "wrong"))
    machine.claim(record)

    for _ in range(2):
        assert machine.cache.restore(action_of(TARGET)) is None
    assert machine.dist() == []
    assert any(f"record {record.address[:16]} is not taken: " in line for line in machine.said)


def test_what_is_refused_keeps_no_name_from_the_target_that_builds_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.claim(wheel_record(machine, data=TEXT))

    assert machine.cache.restore(action_of(TARGET)) is None
    assert machine.cache.published == {}


# Trust


def trusting(root: Path, trust: StoreTrust, *keys: SigningKey) -> Machine:
    return Machine(root, trust, tuple(key.public for key in keys))


@pytest.mark.parametrize(
    ("trust", "key", "taken", "asked"),
    [
        (StoreTrust.NONE, None, False, 0),
        (StoreTrust.NONE, KEY, False, 0),
        (StoreTrust.SIGNED, None, False, 0),
        (StoreTrust.SIGNED, OTHER, False, 0),
        (StoreTrust.SIGNED, KEY, True, 0),
        (StoreTrust.ALL, None, True, 1),
        (StoreTrust.ALL, OTHER, True, 1),
        (StoreTrust.ALL, KEY, True, 0),
    ],
)
def test_who_is_believed(
    tmp_path: Path,
    trust: StoreTrust,
    key: SigningKey | None,
    taken: bool,  # noqa: FBT001
    asked: int,
) -> None:
    machine = trusting(tmp_path, trust, KEY)
    machine.claim(wheel_record(machine), key)

    assert (machine.cache.restore(action_of(TARGET)) is not None) == taken
    assert len(machine.asked) == asked


def test_a_signature_is_of_one_address_and_one_text(tmp_path: Path) -> None:
    machine = trusting(tmp_path, StoreTrust.SIGNED, KEY)
    record = wheel_record(machine)
    address = Digest("ab" * 32)
    machine.claim(replace(record, address=address), KEY)
    signed = (machine.shared / "actions" / "ab" / address).read_bytes()
    place = machine.shared / "actions" / record.address[:2] / record.address
    place.parent.mkdir(parents=True, exist_ok=True)

    place.write_bytes(signed)
    assert machine.cache.restore(action_of(TARGET)) is None
    seal = signed.partition(b"\n")[0].partition(b" ")[2]
    body = pack(record).partition(b"\n")[2]
    place.write_bytes(hashlib.sha256(body).hexdigest().encode() + b" " + seal + b"\n" + body)
    assert machine.cache.restore(action_of(TARGET)) is None
    for broken in (b"", b"here:00", seal[:-4], seal.replace(b":", b""), seal + b" x", b"\xff"):
        place.write_bytes(hashlib.sha256(body).hexdigest().encode() + b" " + broken + b"\n" + body)
        assert machine.cache.restore(action_of(TARGET)) is None


def test_what_was_taken_from_anybody_is_not_taken_by_a_release_on_the_same_machine(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    machine.claim(wheel_record(machine))
    assert machine.cache.restore(action_of(TARGET)) is not None

    for trust in (StoreTrust.SIGNED, StoreTrust.NONE):
        assert trusting(tmp_path, trust, KEY).cache.restore(action_of(TARGET)) is None


def test_a_key_that_is_not_trusted_any_more_is_not_believed_any_more(tmp_path: Path) -> None:
    machine = trusting(tmp_path, StoreTrust.SIGNED, KEY)
    machine.claim(wheel_record(machine), KEY)
    assert machine.cache.restore(action_of(TARGET)) is not None
    assert machine.asked == []

    assert trusting(tmp_path, StoreTrust.SIGNED, OTHER).cache.restore(action_of(TARGET)) is None
    later = trusting(tmp_path, StoreTrust.ALL, OTHER)
    assert later.cache.restore(action_of(TARGET)) is not None
    assert later.asked == [GOOD.filename]


def test_what_this_machine_made_is_taken_whatever_is_trusted(tmp_path: Path) -> None:
    machine = trusting(tmp_path, StoreTrust.NONE)
    record = wheel_record(machine)
    machine.cache.store.put(record, ())
    machine.cache.store.local.put_file(tmp_path / "made" / GOOD.filename)

    result = machine.cache.restore(action_of(TARGET))

    assert result is not None
    assert machine.asked == []


def test_a_record_of_another_machine_s_directory_is_a_claim(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    record = wheel_record(machine, data=TEXT)
    other = LocalStore(tmp_path / "store", lambda: b"of another machine")
    other.put_bytes(TEXT)
    other.put_record(record)

    assert machine.cache.restore(action_of(TARGET)) is None
    assert machine.dist() == []


# Libraries


def library_record(machine: Machine, **outputs: bytes) -> Record:
    action = action_of(LIBRARY)
    return Record(
        address=action.address,
        target_id=LIBRARY.id,
        document={},
        sources=None,
        backend=BackendName.DIRECT,
        reason="elsewhere",
        duration=1.0,
        outputs=tuple(
            OutputFile(
                path=RelativePath(f"out/{name}.so"),
                mode=FileMode(0o755),
                blob=machine.plant(data),
            )
            for name, data in outputs.items()
        ),
    )


def output(record: Record, **changes: Any) -> list[dict[str, Any]]:
    """Return the record's outputs, the first one changed."""
    found: list[dict[str, Any]] = adapter(Record).dump_python(record, mode="json")["outputs"]
    return [found[0] | changes, *found[1:]]


def brought(machine: Machine) -> dict[str, int]:
    folder = machine.places.outputs(TargetId("lib"))
    files = (each for each in folder.rglob("*") if not each.is_dir())
    return {str(each.relative_to(folder)): each.stat().st_mode & 0o7777 for each in files}


def test_the_outputs_of_a_library_come_with_their_modes(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.claim(record := library_record(machine, a=b"1", b=b"2"), outputs=None)
    machine.claim(record, outputs=output(record, mode=0o777))

    assert machine.cache.restore_outputs(action_of(LIBRARY))
    assert brought(machine) == {"out/a.so": 0o755, "out/b.so": 0o755}


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/tmp/outside.so"},  # noqa: S108
        {"path": "../../outside.so"},
        {"path": "out/../../../outside.so"},
        {"path": "out/.."},
        {"path": "out//x.so"},
        {"path": ""},
        {"path": "out/a\0.so"},
        {"path": "out/" + "x" * 300},
        {"mode": 0o4755},
        {"mode": 0o2755},
        {"mode": 0o1777},
        {"mode": -1},
        {"mode": "0755"},
        {"blob": {"sha256": "../../../../etc/passwd", "size": 1}},
        {"blob": {"sha256": "0" * 64, "size": 1}},
        {"path": "setup.py"},
        {"path": "out/b.so/c.so"},
        {"path": "out"},
    ],
)
def test_an_output_that_is_none_of_the_library_s_is_a_miss_that_leaves_nothing(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    machine = Machine(tmp_path)
    record = library_record(machine, b=b"2")
    last = library_record(machine, b=b"2", a=b"1")
    machine.claim(last, outputs=[*output(record), *output(last, **change)[:1]])

    taken = machine.cache.restore_outputs(action_of(LIBRARY))

    assert brought(machine) == ({"out/b.so": 0o755} if taken else {})
    assert not taken or change == {"path": "setup.py"}
    assert not (tmp_path.parent / "outside.so").exists()


def test_a_library_without_what_it_is_to_make_is_a_miss(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.claim(library_record(machine))

    assert not machine.cache.restore_outputs(action_of(LIBRARY))
    assert "left no file that matches" in machine.said[0]


def test_a_library_is_taken_from_nobody_where_signatures_are_asked_for(tmp_path: Path) -> None:
    machine = trusting(tmp_path, StoreTrust.SIGNED, KEY)
    machine.claim(record := library_record(machine, a=b"1"))
    assert not machine.cache.restore_outputs(action_of(LIBRARY))

    machine.claim(record, KEY)
    assert machine.cache.restore_outputs(action_of(LIBRARY))
