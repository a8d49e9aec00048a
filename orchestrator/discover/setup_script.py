"""Read what a setup.py says, without running it."""

from __future__ import annotations

import ast
import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.models.reading import python_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_EXTENSIONS = frozenset({"ext_modules", "cffi_modules", "rust_extensions"})
"""Arguments of setup() that name what is compiled."""

_COMPILERS = frozenset(
    {"cythonize", "mypycify", "CMakeExtension", "RustExtension", "has_ext_modules", "build_ext"}
    | {"Extension", "Pybind11Extension", "CppExtension", "CUDAExtension"}
)
_FLOOR = re.compile(r"cp3\d{1,3}")
_NAME = re.compile(r"[A-Z_][A-Z0-9_]*", re.IGNORECASE | re.ASCII)
"""The name of a variable of an environment, as shells take it."""

_LONGEST_NAME = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupScript:
    """What a setup.py says.

    Attributes:
        compiles: the name that says that something is compiled; empty if nothing does.
        abi3: the stable ABI's Python, such as ``cp39``; empty if it names none.
        abi3_asks: the stable ABI depends on a variable of the environment.
        torch: it uses ``torch.utils.cpp_extension``, or torch's version of it.
        cuda: it has an extension for CUDA.
        cpu: it has an extension of torch without CUDA.
        variables: the variables that it reads from its environment.
        switch: the variable without which it compiles nothing, and its value; or nothing.
    """

    compiles: str = ""
    abi3: str = ""
    abi3_asks: bool = False
    torch: bool = False
    cuda: bool = False
    cpu: bool = False
    variables: frozenset[str] = frozenset()
    switch: tuple[str, str] | None = None


def read_setup(text: str) -> SetupScript | None:
    """Return what a setup.py says; None if it is not Python that can be read here."""
    tree = python_tree(text)
    if tree is None:
        return None
    nodes = [*ast.walk(tree)]
    names = {name for node in nodes for name in _names(node)}
    asked = frozenset(name for node in nodes for name in _variables(node))
    values = _values(nodes)
    floors = [*_floors(tree, values)]
    certain = [floor for floor, conditional in floors if not conditional]
    return SetupScript(
        compiles=next(iter(sorted(names & _EXTENSIONS) or sorted(names & _COMPILERS)), ""),
        abi3=min(certain, key=_minor, default=""),
        abi3_asks=bool(floors) and not certain,
        torch=any(
            module.startswith("torch.utils.cpp_ext") for n in nodes for module in _modules(n)
        ),
        cuda="CUDAExtension" in names,
        cpu="CppExtension" in names,
        variables=asked,
        switch=_switch(tree, nodes, values),
    )


def _minor(floor: str) -> int:
    return int(floor.removeprefix("cp3"))


def _names(node: ast.AST) -> Iterator[str]:
    """Yield the names that a node uses, as a variable, a keyword, or a key of a dict."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.FunctionDef(name=name):
            yield name
        case ast.keyword(arg=str() as name):
            yield name
        case ast.Constant(value=str() as name) if name in _EXTENSIONS:
            yield name
        case ast.ImportFrom(module="skbuild"):
            yield "ext_modules"
        case _:
            return


def _modules(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (each.name for each in names)
        case ast.ImportFrom(module=str() as module, names=names, level=0):
            yield from (f"{module}.{each.name}" for each in names)
        case ast.Attribute() if isinstance(node.value, ast.Attribute):
            yield ".".join(_dotted(node))
        case _:
            return


def _dotted(node: ast.expr) -> list[str]:
    """Return the parts of a dotted name; nothing for anything else, or a longer one."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < _LONGEST_NAME:
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []


def _last(node: ast.expr) -> str:
    """Return the last part of a name, whatever stands before it."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _variables(node: ast.AST) -> Iterator[str]:
    """Yield the variable that a node reads, as os.getenv("X"), environ["X"], "X" in environ."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=place, attr="get"),
            args=[ast.Constant(value=str() as name), *_],
        ) if _is_environ(place):
            yield name
        case ast.Call(func=function, args=[ast.Constant(value=str() as name), *_]):
            if _last(function).endswith("getenv"):
                yield name
        case ast.Subscript(value=value, slice=ast.Constant(value=str() as name)):
            if _is_environ(value):
                yield name
        case ast.Compare(left=ast.Constant(value=str() as name), ops=[ast.In() | ast.NotIn()]):
            if _is_environ(node.comparators[0]):
                yield name
        case _:
            return


def _is_environ(node: ast.expr) -> bool:
    return _last(node).endswith("environ")


class _UnknownError(Exception):
    """A value that only running the script could tell."""


def _values(nodes: list[ast.AST]) -> dict[str, object]:
    """Return the names that have a value which the environment decides, and it if that is empty."""
    found: dict[str, object] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and _asks(node.value, found):
            for name in node.targets:
                if isinstance(name, ast.Name):
                    with contextlib.suppress(_UnknownError):
                        found[name.id] = _known(node.value, found)
    return found


def _asks(node: ast.AST, values: Mapping[str, object]) -> bool:
    return any(
        [*_variables(inner)]
        or (isinstance(inner, ast.Name) and inner.id in values)
        or (isinstance(inner, ast.Attribute) and inner.attr == "environ")
        for inner in ast.walk(node)
    )


def _known(node: ast.AST, values: Mapping[str, object]) -> object:
    """Evaluate an expression for an empty environment; raises _UnknownError."""
    try:
        return _value(node, values)
    except RecursionError:
        raise _UnknownError from None


def _value(node: ast.AST, values: Mapping[str, object]) -> object:
    found: object
    match node:
        case ast.Constant(value=value):
            found = value
        case ast.Name(id=name) if name in values:
            found = values[name]
        case ast.Call(args=[_, *default]) if [*_variables(node)]:
            found = _value(default[0], values) if default else None
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
            found = [_value(each, values) for each in elements]
            if any(isinstance(each, list) for each in found):
                raise _UnknownError  # lists of lists may be compared without end
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            found = not _value(inner, values)
        case ast.Call(func=ast.Name(id="bool"), args=[inner]):
            found = bool(_value(inner, values))
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            found = _compared(operator, left, right, values)
        case _:
            raise _UnknownError
    return found


def _compared(
    operator: ast.cmpop, left: ast.expr, right: ast.expr, values: Mapping[str, object]
) -> object:
    if isinstance(operator, ast.In) and _is_environ(right):
        return False
    first, second = _value(left, values), _value(right, values)
    match operator:
        case ast.Eq() | ast.Is():
            return first == second
        case ast.NotEq() | ast.IsNot():
            return first != second
        case ast.In() if isinstance(second, list):
            return first in second
        case _:
            raise _UnknownError


def _holds(test: ast.expr, values: Mapping[str, object]) -> bool:
    """Whether a condition may hold although nobody sets a variable."""
    parts = test.values if isinstance(test, ast.BoolOp) else [test]
    answers = []
    for part in parts:
        try:
            answers.append(not _asks(part, values) or bool(_known(part, values)))
        except _UnknownError:
            answers.append(False)
    disjunction = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or)
    return any(answers) if disjunction else all(answers)


def _floors(tree: ast.AST, values: Mapping[str, object]) -> Iterator[tuple[str, bool]]:
    """Yield each Python of the stable ABI, and whether the environment has to ask for it."""
    pending = [(tree, False)]
    while pending:
        node, conditional = pending.pop()
        match node:
            case ast.Dict(keys=keys, values=floors):
                for key, floor in zip(keys, floors, strict=True):
                    if isinstance(key, ast.Constant) and key.value == "py_limited_api":
                        yield from _floor(floor, conditional)
            case ast.keyword(arg="py_limited_api", value=value):
                yield from _floor(value, conditional)
            case ast.Tuple(elts=[ast.Constant(value=str() as floor), ast.Constant("abi3"), *_]):
                if _FLOOR.fullmatch(floor):
                    yield floor, conditional
            case ast.If(test=test) | ast.IfExp(test=test):
                conditional = conditional or not _holds(test, values)
            case _:
                pass
        pending += ((child, conditional) for child in ast.iter_child_nodes(node))


def _floor(value: ast.expr, conditional: bool) -> Iterator[tuple[str, bool]]:  # noqa: FBT001
    floor = value.value if isinstance(value, ast.Constant) else None
    if isinstance(floor, str) and _FLOOR.fullmatch(floor):
        yield floor, conditional


def _switch(
    tree: ast.AST, nodes: list[ast.AST], values: Mapping[str, object]
) -> tuple[str, str] | None:
    """Return the one variable that has to ask for every extension, and what it has to be."""
    guards = dict.fromkeys(_guards(tree, values))
    asked = [each for each in guards if each is not None]
    if not asked or len(asked) < len(guards):
        return None
    names = {inner.id for each in asked for inner in ast.walk(each) if isinstance(inner, ast.Name)}
    decided = [
        node.value
        for node in nodes
        if isinstance(node, ast.Assign)
        and any(isinstance(name, ast.Name) and name.id in names for name in node.targets)
    ]
    parts = [inner for each in (*asked, *decided) for inner in ast.walk(each)]
    variables = {name for each in parts for name in _variables(each)}
    wanted = (
        inner.value
        for each in parts
        if isinstance(each, ast.Compare) and isinstance(each.ops[0], ast.Eq | ast.In)
        for inner in ast.walk(each.comparators[0])
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value
    )
    names = {each for each in variables if _NAME.fullmatch(each)}  # it becomes a key
    return (names.pop(), next(wanted, "1")) if names and len(variables) == 1 else None


def _guards(tree: ast.AST, values: Mapping[str, object]) -> Iterator[ast.expr | None]:
    """Yield for each extension the condition that holds only if a variable is set; else None."""
    pending: list[tuple[ast.AST, ast.expr | None]] = [(tree, None)]
    while pending:
        node, guard = pending.pop()
        if isinstance(node, ast.Call) and _last(node.func) in _COMPILERS:
            yield guard
        inner, body = guard, set[int]()
        if isinstance(node, ast.If | ast.IfExp):
            inner = guard or (None if _holds(node.test, values) else node.test)
            body = {*map(id, node.body if isinstance(node, ast.If) else [node.body])}
        children = [*ast.iter_child_nodes(node)]
        pending += ((each, inner if id(each) in body else guard) for each in reversed(children))
