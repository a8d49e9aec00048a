from __future__ import annotations

import pytest

from orchestrator.discover.setup_script import SetupScript, read_setup
from tests.hostile_wheels import work


def read(text: str) -> SetupScript:
    found = read_setup(text)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("setup(ext_modules=[Extension('a', ['a.c'])])", "ext_modules"),
        ("setup(cffi_modules=['x.py:ffi'])", "cffi_modules"),
        ("kwargs = {'ext_modules': x}\nsetup(**kwargs)", "ext_modules"),
        ("kwargs['rust_extensions'] = x\nsetup(**kwargs)", "rust_extensions"),
        ("class D(Distribution):\n  def has_ext_modules(self): return True", "has_ext_modules"),
        ("from skbuild import setup\nsetup()", "ext_modules"),
        ("setup(cmdclass={'build_ext': CMakeBuild})\nCMakeExtension('x')", "CMakeExtension"),
        ("setup(name='x')", ""),
        ("import os", ""),
    ],
)
def test_what_is_compiled_has_a_name(text: str, name: str) -> None:
    assert read(text).compiles == name


@pytest.mark.parametrize(
    ("text", "floor", "asks"),
    [
        ("setup(options={'bdist_wheel': {'py_limited_api': 'cp39'}})", "cp39", False),
        ("o = {}\nif X:\n  o = {'bdist_wheel': {'py_limited_api': 'cp36'}}", "cp36", False),
        (
            "class B(bdist_wheel):\n  def get_tag(self):\n    return 'cp38', 'abi3', p",
            "cp38",
            False,
        ),
        ("python, abi = 'cp310', 'abi3'", "cp310", False),
        ("Extension('x', [], py_limited_api=True)", "", False),
        ("bdist(py_limited_api='cp311')\nbdist(py_limited_api='cp39')", "cp39", False),
        # What a variable of the environment has to ask for, and what it can only turn off.
        ("if os.getenv('ABI3'):\n  setup(py_limited_api='cp39')", "", True),
        ("A = os.environ.get('ABI3', '') == '1'\nsetup(x='cp39' if A else '')", "", False),
        ("A = os.environ.get('ABI3', '0') == '1'\nif A:\n  f(py_limited_api='cp39')", "", True),
        ("A = bool(os.environ.get('ABI3'))\nx = {'py_limited_api': 'cp39'} if A else {}", "", True),
        ("if 'ABI3' in os.environ:\n  f(py_limited_api='cp39')", "", True),
        ("if not os.environ.get('NO_ABI3'):\n  f(py_limited_api='cp39')", "cp39", False),
        ("if X and os.environ.get('E') != '0':\n  f(py_limited_api='cp39')", "cp39", False),
        ("if X or os.environ.get('E') == '1':\n  f(py_limited_api='cp39')", "cp39", False),
        ("if os.environ['E'].lower() == 'x':\n  f(py_limited_api='cp39')", "", True),
        ("if os.environ.get('E') in ('1', 'on'):\n  f(py_limited_api='cp39')", "", True),
    ],
)
def test_the_stable_abi_is_found_if_nobody_has_to_ask_for_it(
    text: str,
    floor: str,
    asks: bool,  # noqa: FBT001
) -> None:
    found = read(text)

    assert (found.abi3, found.abi3_asks) == (floor, asks)


@pytest.mark.parametrize(
    ("text", "torch", "cuda", "cpu"),
    [
        (
            "from torch.utils.cpp_extension import CUDAExtension\nCUDAExtension('x')",
            True,
            True,
            False,
        ),
        (
            "from torch.utils import cpp_extension\ncpp_extension.CppExtension('x')",
            True,
            False,
            True,
        ),
        (
            "import torch.utils.cpp_extension as t\nt.CUDAExtension, t.CppExtension",
            True,
            True,
            True,
        ),
        ("def f():\n  from torch.utils.cpp_extension import BuildExtension", True, False, False),
        ("import torch\ntorch.utils.cpp_extension.CUDAExtension('x')", True, True, False),
        ("import torch", False, False, False),
        ("from .torch.utils.cpp_extension import X", False, False, False),
    ],
)
def test_extensions_of_torch_are_known(text: str, torch: bool, cuda: bool, cpu: bool) -> None:  # noqa: FBT001
    found = read(text)

    assert (found.torch, found.cuda, found.cpu) == (torch, cuda, cpu)


def test_variables_are_listed() -> None:
    found = read(
        "getenv('A')\nos.environ.get('B', 1)\nenviron['C']\nos.environ[x]\nenvironment('D')"
    )

    assert found.variables == {"A", "B", "C"}


@pytest.mark.parametrize("text", ["print 'x'", "(" * 3000, "x = \0", "-" * 100_000 + "1"])
def test_what_is_not_python_is_not_read(text: str) -> None:
    assert read_setup(text) is None


def test_what_python_warns_about_is_not_shown(recwarn: pytest.WarningsRecorder) -> None:
    assert read("x = '\\d'\nassert (1, 'x')\nx is 'y'").compiles == ""
    assert not recwarn.list


@pytest.mark.parametrize(
    ("text", "switch"),
    [
        # charset-normalizer
        (
            "USE = os.getenv('C') == '1'\nM = None\nif USE:\n  M = cythonize([Extension('a', [])])",
            ("C", "1"),
        ),
        ("if os.environ.get('C', '0') == 'yes':\n  x = [Extension('a', [])]", ("C", "yes")),
        ("if os.getenv('C'):\n  x = [Extension('a', [])]", ("C", "1")),
        ("x = [Extension('a', [])] if 'C' in os.environ else []", ("C", "1")),
        ("if os.environ.get('C') in ('on', '1'):\n  x = mypycify(['a.py'])", ("C", "on")),
        # Something is compiled unasked.
        ("x = [Extension('a', [])]\nif os.getenv('C'):\n  x += [Extension('b', [])]", None),
        ("if not os.getenv('PURE'):\n  x = [Extension('a', [])]", None),
        ("if os.getenv('PURE'):\n  x = []\nelse:\n  x = [Extension('a', [])]", None),
        ("if sys.platform == 'linux':\n  x = [Extension('a', [])]", None),
        ("if os.environ.get('C', '1') == '1':\n  x = [Extension('a', [])]", None),
        # Two variables: a person has to decide.
        ("if os.getenv('A') and os.getenv('B'):\n  x = [Extension('a', [])]", None),
        ("setup(name='x')", None),
        # No name of a variable: it would become lines of the matrix.
        ("if os.getenv('C = 1\\n[build]\\nx'):\n  x = [Extension('a', [])]", None),
        ("if os.environ['A B']:\n  x = [Extension('a', [])]", None),
        ("if '' in os.environ:\n  x = [Extension('a', [])]", None),
        ("if os.getenv('É'):\n  x = [Extension('a', [])]", None),
        ("x = [Extension('a', [])] if '1' in os.environ else []", None),
    ],
)
def test_a_variable_may_have_to_ask_for_what_is_compiled(
    text: str, switch: tuple[str, str] | None
) -> None:
    assert read(text).switch == switch


def compared(n: int) -> str:
    """Two lists of lists, each of which has 2 ** n texts."""
    rows = [f"{name}0 = [os.getenv('X')]" for name in "ab"]
    rows += [f"{name}{i} = [{name}{i - 1}, {name}{i - 1}]" for i in range(1, n) for name in "ab"]
    return "\n".join([*rows, f"c = a{n - 1} == b{n - 1}"])


@pytest.mark.parametrize(
    "text",
    [
        "x = a" + ".b" * 2000,
        "x = a" + '("x")' * 900,
        "x = 1" + " + 1" * 2500,
        "x = " + "not " * 900 + "os.environ",
        "if a:\n  b\n" + "elif a:\n  b\n" * 900,
        ("x = a" + ".b" * 300 + "\n") * 10,
        compared(60),
        "if os.getenv('A'):\n" + "  Extension('a', [])\n" * 1000,
    ],
)
def test_deep_and_long_scripts_take_time_that_grows_with_them(text: str) -> None:
    assert work(lambda: read(text)) < 10_000_000


def test_a_number_that_no_python_has_is_no_floor() -> None:
    assert read(f"setup(py_limited_api='cp3{'1' * 5000}')\nsetup(py_limited_api='cp39')").abi3 == (
        "cp39"
    )


@pytest.mark.parametrize(
    "value", ["0x" + "F" * 20_000, "9", "1.5", "b'cp39'", "None", "...", "-0o" + "7" * 20_000]
)
def test_a_floor_that_is_no_text_is_none(value: str) -> None:
    for text in (f"setup(py_limited_api={value})", f"o = {{'py_limited_api': {value}}}"):
        found = read_setup(text)
        assert found is not None
        assert found.abi3 == ""
