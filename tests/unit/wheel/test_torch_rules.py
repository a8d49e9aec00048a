"""Rules of `verify` on libtorch's stable ABI."""

from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.version import Version

from orchestrator.models.wheel import Severity
from orchestrator.wheel import verify
from orchestrator.wheel.torch_abi import newest_known, of_wheel, shims
from tests.unit.wheel.conftest import EXPECTED, Inspector
from tests.wheelmaker import EXTENSION, ElfSpec, WheelSpec, make_elf

BASE = "aoti_torch_get_data_ptr"
IN_2_10 = "torch_call_dispatcher"
IN_2_12 = "torch_library_def_with_tags"
UNKNOWN = "aoti_torch_of_tomorrow"
CXX = "_ZN3c1013ParallelGuardC1Eb"


def findings(
    inspector: Inspector,
    *symbols: str,
    planned: str = "",
    requires: tuple[str, ...] = (),
    weak: tuple[str, ...] = (),
) -> list[tuple[Severity, str]]:
    """Return severity and message of what the rule finds in a wheel that needs these symbols."""
    elf = make_elf(ElfSpec(undefined=symbols, weak=weak, defined=("PyInit__ext",)))
    lines = "".join(f"Requires-Dist: {each}\n" for each in requires)
    metadata = f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{lines}\nText.\n"
    spec = WheelSpec(members={EXTENSION: elf})
    spec.extra_info |= {"METADATA": metadata.encode()}
    want = replace(EXPECTED, torch_stable=planned) if planned else None
    report = verify(inspector.path(spec), inspector.policies, expected=want)
    return [(e.severity, e.message) for e in report.problems if e.rule == "torch-stable"]


@pytest.mark.parametrize(
    ("symbol", "is_stable"),
    [
        (BASE, True),
        ("cudaGetLastError", True),
        ("_ZNSt7__cxx1119basic_ostringstreamIcSt11char_traitsIcESaIcEEC1Ev", True),
        ("_ZN9torch_ext4normEPKf", True),  # the project's own: torch_ext::norm
        ("_ZN5float2atEi", True),  # a member named at
        ("THPnot", True),
        # The project's own, from another file of it: arguments of types that are headers alone.
        ("_ZN8facebook10torchcodec12TensorReadIOC1EN5torch6stable6TensorE", True),
        ("_ZN4mine5checkERKSt8optionalIN5torch6stable6DeviceEE", True),
        ("_ZN4mine4castEN5torch10headeronly10ScalarTypeE", True),
        ("_ZN4mine6kernelIN3c108BFloat16EEEvPKT_", True),
        ("_ZN4mine4nameEN3c1010ScalarTypeE", True),
        ("_ZN4mine4nameEN3c1015Float8_e4m3fnuzE", True),
        ("_ZN4mine4bothEN5torch6stable6TensorEN2at6TensorE", False),
        ("_ZN4mine4bothEN2at6TensorEN3c1010ScalarTypeE", False),
        (CXX, False),
        ("_ZNK3c1010TensorImpl5sizesEv", False),
        ("_ZN2at4_ops10empty_like4callERKNS_6TensorE", False),
        ("_ZN5torch7Library3defEv", False),
        ("_ZTIN3c105ErrorE", False),
        ("_Z16THPVariable_WrapRKN2at10TensorBaseE", False),  # the C++ of torch's Python part
        ("_ZN3c10lsERSoNS_10DeviceTypeE", False),
        ("THPVariableClass", False),  # C, and still of torch's Python part
    ],
)
def test_what_is_outside_the_stable_abi(
    symbol: str, *, is_stable: bool, inspector: Inspector
) -> None:
    message = f"planned for libtorch's stable ABI, but {EXTENSION} uses {symbol}"
    error = [] if is_stable else [(Severity.ERROR, message)]
    assert findings(inspector, symbol, planned="2.9") == error
    more = [] if is_stable else [(Severity.ERROR, f"{message} and 1 more")]
    two = findings(inspector, symbol, symbol + "x", planned="2.9")
    assert [each for each in two if each[0] is Severity.ERROR] == more
    assert findings(inspector, symbol) == []


@pytest.mark.parametrize(
    ("planned", "symbols", "message"),
    [
        ("2.9", (BASE,), ""),
        ("2.10", (BASE, IN_2_10), ""),
        ("2.12", (IN_2_10, IN_2_12), ""),
        ("2.9", (IN_2_10, IN_2_12), f"uses {IN_2_10} (torch 2.10), {IN_2_12} (torch 2.12): "),
        ("2.11", (IN_2_10, IN_2_12), f"but {EXTENSION} uses {IN_2_12} (torch 2.12): compile"),
        ("main", (IN_2_12,), ""),
        ("2.9", ("torch_of_the_project",), ""),
    ],
)
def test_the_stable_abi_is_that_of_the_lowest_torch(
    planned: str, symbols: tuple[str, ...], message: str, inspector: Inspector
) -> None:
    found = findings(inspector, *symbols, planned=planned)
    assert [message in each[1] for each in found] == [True] * bool(message)
    assert all(f"planned for torch {planned} and later" in each[1] for each in found)
    assert {each[0] for each in found} <= {Severity.ERROR}


def test_what_a_file_can_do_without_asks_at_run_time(inspector: Inspector) -> None:
    assert findings(inspector, BASE, weak=(IN_2_12,), planned="2.9") == []


def test_a_name_of_no_known_torch_is_a_warning(inspector: Inspector) -> None:
    ((severity, message),) = findings(inspector, UNKNOWN, planned="2.9")
    assert severity is Severity.WARNING
    assert message.endswith(f"not in the stable ABI of any torch up to {newest_known()}")


@pytest.mark.parametrize(
    ("requires", "symbol", "message"),
    [
        (("torch>=2.10",), IN_2_10, ""),
        (("torch>=2.9",), IN_2_10, f"METADATA allows torch 2.9, but {EXTENSION} uses {IN_2_10} "),
        (("Torch >= 2.9, <2.10",), IN_2_10, "METADATA allows torch 2.9, "),
        (("torch>=2.4",), BASE, ""),  # it may be older than the first promise
        (("torch>=2.4",), IN_2_10, f"METADATA allows torch 2.4, but {EXTENSION} uses {IN_2_10} "),
        (("torch",), IN_2_10, ""),
        (("torch>=2.9 ; extra == 'gpu'",), IN_2_10, ""),
        (("torch>=2.9 ; python_version > '3'", "torch!=2.9.*"), IN_2_10, ""),
        (("torch>=" + "9" * 5000,), IN_2_10, ""),
        (("torch @ https://host/torch.whl",), IN_2_10, ""),
        (("torchvision>=0.1",), IN_2_10, ""),
        (("torch==2.12.*",), CXX, ""),
        (("torch==2.12.1",), CXX, ""),
        (("torch>=2.12,<2.13",), CXX, ""),
        (("torch",), CXX, ""),
        (("torch>=2.4",), CXX, f"METADATA allows torch 2.4 and later ones, but {EXTENSION} uses "),
    ],
)
def test_metadata_allows_what_the_files_serve(
    requires: tuple[str, ...], symbol: str, message: str, inspector: Inspector
) -> None:
    found = findings(inspector, symbol, requires=requires)
    assert [each[1].startswith(message) for each in found] == [True] * bool(message)
    level = Severity.WARNING if symbol == CXX else Severity.ERROR
    assert {each[0] for each in found} <= {level}


@pytest.mark.parametrize(
    ("symbols", "lowest"),
    [
        ((BASE,), "2.9"),
        ((BASE, IN_2_12, IN_2_10), "2.12"),
        ((BASE, UNKNOWN), ""),
        ((BASE, CXX), ""),
        (("malloc",), ""),
    ],
)
def test_the_first_torch_that_has_all(
    symbols: tuple[str, ...], lowest: str, inspector: Inspector
) -> None:
    members = {
        f"f{number}.so": make_elf(ElfSpec(undefined=(s,))) for number, s in enumerate(symbols)
    }
    report = verify(inspector.path(WheelSpec(members=members)), inspector.policies)
    assert report.torch_from == lowest


def test_the_table_begins_with_the_first_torch_that_promises_anything() -> None:
    torches = sorted(set(shims().values()), key=Version)
    assert torches[0] == "2.9"
    assert torches[-1] == newest_known()
    assert len(shims()) > 800


@pytest.mark.parametrize("path", ["demo/torch-{}/lib/libdemo.so", "demo/ops_torch{}.so"])
@pytest.mark.parametrize(
    ("requires", "torches", "message"),
    [
        ("torch>=2.9,<2.12", ("2.9", "2.10", "2.11"), ""),
        ("torch", ("2.9", "2.10"), ""),
        ("torch>=2.9,<2.12", ("2.9", "2.11"), "METADATA allows torch 2.10, but there are files "),
        ("torch>=2.9", ("2.9", "2.10"), "METADATA allows torch 2.11, but there are files for 2.9,"),
        ("torch>=2.9", ("2.9",), "METADATA allows torch 2.9 and later ones, but "),
    ],
)
def test_a_wheel_with_files_for_each_torch_serves_these(
    path: str, requires: str, torches: tuple[str, ...], message: str, inspector: Inspector
) -> None:
    if "{}.so" in path:
        torches = tuple(each.replace(".", "") for each in torches)
    elf = make_elf(ElfSpec(undefined=(CXX,)))
    spec = WheelSpec(members={path.format(each): elf for each in torches})
    metadata = (
        f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nRequires-Dist: {requires}\n\nText.\n"
    )
    spec.extra_info |= {"METADATA": metadata.encode()}
    report = verify(inspector.path(spec), inspector.policies)
    found = [each.message for each in report.problems if each.rule == "torch-stable"]
    assert [each.startswith(message) for each in found] == [True] * bool(message)


def test_a_wheel_for_both_ways_to_pass_strings_says_so() -> None:
    assert of_wheel(["c++", "c++ (cxx11)", "stable", "c++ (pre-cxx11)"]) == "c++ (cxx11, pre-cxx11)"
    assert of_wheel(["stable", "c++", "c++ (cxx11)"]) == "c++ (cxx11)"
    assert of_wheel(["stable", ""]) == "stable"
    assert of_wheel([]) == ""
