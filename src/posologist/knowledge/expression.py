"""Small safe expressions for profiles of Statements, for scores and for doses.

Python's expression syntax, restricted: numbers, strings, names, `and or not`, comparisons (also chained and
`in (...)`), `+ - * / **`, `a if c else b`, and these functions:

=====================  =========================================================================
`dx(code)`             a condition of the record, with what it implies: dx(ckd)
`on(group)`            takes a drug, class or enzyme role: on("strong CYP3A4 inhibitor"), on(aspirin)
`recent(group, h)`     takes it, or took it within the last h hours
`taken(group, d)`      takes it now, and has for more than d days: taken(phenytoin, 90)
`allergy(group)`       allergy or intolerance to a drug or allergy group is recorded
`gene(SYMBOL)`         phenotype as expressed: gene(CYP2D6) == "Poor Metabolizer"
`activity(SYMBOL)`     activity score
`indeterminate(SYMBOL)` has a result whose alleles name no phenotype
`allele(SYMBOL, a)`    carries the allele: allele("HLA-B", "*57:01")
`min max exp log sqrt floor` mathematics
=====================  =========================================================================

Bare names are facts of the patient: `age` (years), `sex`, `weight` (kg), `height` (cm), `bmi`, `egfr`
(mL/min/1.73 m2), `crcl` (mL/min), `sbp`, `dbp`, `heart_rate`, `potassium`, ..., `pregnant`, `dialysis`, and of the
plan: `dose_per_day`, `route`, `form`, `indication`, `starting` (false for a drug already taken). Truth is
three-valued (Kleene): what is not known is unknown, and `unknown or true` is true. Arguments of dx, on, recent,
taken, allergy, gene, activity, indeterminate, allele may be written bare or quoted.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np

from posologist.core.errors import KnowledgeError


class _Unknown:
    """The third truth value; also the value of a fact that is not known."""

    def __repr__(self) -> str:
        return "unknown"

    def __bool__(self) -> bool:
        raise TypeError("unknown is neither true nor false")


UNKNOWN = _Unknown()
Scalar = Any  # float, bool, str, numpy array, or UNKNOWN


class Subject(Protocol):
    """What an expression is evaluated against."""

    def fact(self, name: str) -> Scalar:
        """Value of a bare name, or UNKNOWN. Raises KeyError for a name that no patient can have."""

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """Value of one of `QUERIES`, or UNKNOWN."""


GENE_QUERIES = ("gene", "activity", "indeterminate", "allele")
QUERIES = frozenset({"dx", "on", "recent", "taken", "allergy", *GENE_QUERIES})
_MATHS: dict[str, Callable[..., Any]] = {
    "min": lambda *a: _reduce(np.minimum, a),
    "max": lambda *a: _reduce(np.maximum, a),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "floor": np.floor,
}


class Match(NamedTuple):
    """Outcome of an expression: `truth` None is unknown; `read` and `missing` name the facts concerned."""

    truth: bool | None
    read: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def _reduce(operation: Callable[[Any, Any], Any], values: tuple[Any, ...]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = operation(result, value)
    return result


class _Run:
    """One evaluation: looks facts up and remembers which were read and which were missing."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.read: list[str] = []
        self.missing: list[str] = []

    def note(self, name: str, value: Scalar) -> Scalar:
        (self.missing if value is UNKNOWN else self.read).append(name)
        return value


_Node = Callable[[_Run], Scalar]


_ALWAYS = Match(True)


def _once(names: list[str]) -> tuple[str, ...]:
    """The names without repetition, in order."""
    return tuple(dict.fromkeys(names)) if len(names) > 1 else tuple(names)


class Expression:
    """A compiled expression; `source` is its text."""

    def __init__(self, source: str) -> None:
        self.source = source
        try:
            tree = ast.parse(source, mode="eval")
            self._run = _compile(tree.body, source)
        except SyntaxError as error:
            raise KnowledgeError(f"expression '{source}' cannot be read: {error.msg}") from error
        self.names = frozenset(_names(tree))
        self.queries = frozenset(_queries(tree))

    def value(self, subject: Subject) -> Scalar:
        """Value for this subject, or UNKNOWN when a fact that matters is not known."""
        return self._run(_Run(subject))

    def match(self, subject: Subject) -> Match:
        """Three-valued truth with the facts that were read and those that were missing."""
        if self.source == "true":
            return _ALWAYS
        run = _Run(subject)
        result = self._run(run)
        truth = None if result is UNKNOWN else bool(result)
        return Match(truth, _once(run.read), _once(run.missing))


@lru_cache(maxsize=8192)
def expression(source: str) -> Expression:
    """Compiled expression, cached by its text.

    Raises
    ------
    KnowledgeError
        If the text is not in the language.
    """
    return Expression(source)


class Values:
    """Subject made of plain numbers, for scores and formulas."""

    def __init__(self, facts: Mapping[str, Scalar]) -> None:
        self._facts = facts

    def fact(self, name: str) -> Scalar:
        """The given value; a None is unknown."""
        value = self._facts[name]
        return UNKNOWN if value is None else value

    def query(self, function: str, arguments: tuple[Any, ...]) -> Scalar:
        """No record stands behind plain numbers."""
        return UNKNOWN


def _names(tree: ast.AST) -> set[str]:
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for child in [node.func, *(node.args if _function(node) in QUERIES else [])]
    }
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and id(n) not in inside} - {
        "true",
        "false",
    }


def _queries(tree: ast.AST) -> set[tuple[str, tuple[Any, ...]]]:
    return {
        (_function(node), tuple(_argument(a, "") for a in node.args))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _function(node) in QUERIES
    }


def _function(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _argument(node: ast.expr, source: str) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
        return node.value
    raise KnowledgeError(f"expression '{source}': an argument must be a name, a string or a number")


def _compile(node: ast.expr, source: str) -> _Node:
    handler = _HANDLERS.get(type(node))
    if handler is None:
        raise KnowledgeError(f"expression '{source}': {type(node).__name__} is not allowed")
    return handler(node, source)


def _constant(node: ast.Constant, source: str) -> _Node:
    value = node.value
    if not isinstance(value, str | int | float | bool):
        raise KnowledgeError(f"expression '{source}': constant {value!r} is not allowed")
    return lambda run: value


def _name(node: ast.Name, source: str) -> _Node:
    name = node.id
    if name in ("true", "false"):
        constant = name == "true"
        return lambda run: constant
    return lambda run: run.note(name, run.subject.fact(name))


def _call(node: ast.Call, source: str) -> _Node:
    function = _function(node)
    if node.keywords:
        raise KnowledgeError(f"expression '{source}': keyword arguments are not allowed")
    if function in QUERIES:
        arguments = tuple(_argument(a, source) for a in node.args)
        label = f"{function}({', '.join(map(str, arguments))})"
        return lambda run: run.note(label, run.subject.query(function, arguments))
    if function not in _MATHS:
        raise KnowledgeError(f"expression '{source}': no function '{function or ast.unparse(node.func)}'")
    operation, parts = _MATHS[function], [_compile(a, source) for a in node.args]

    def run_call(run: _Run) -> Scalar:
        values = [part(run) for part in parts]
        return UNKNOWN if any(v is UNKNOWN for v in values) else operation(*values)

    return run_call


def _boolean(node: ast.BoolOp, source: str) -> _Node:
    parts = [_compile(v, source) for v in node.values]
    deciding = isinstance(node.op, ast.Or)

    def run_boolean(run: _Run) -> Scalar:
        unknown = False
        for part in parts:
            value = part(run)
            if value is UNKNOWN:
                unknown = True
            elif bool(value) is deciding:
                return deciding
        return UNKNOWN if unknown else not deciding

    return run_boolean


def _unary(node: ast.UnaryOp, source: str) -> _Node:
    part = _compile(node.operand, source)
    if isinstance(node.op, ast.Not):
        return lambda run: UNKNOWN if (v := part(run)) is UNKNOWN else not v
    if isinstance(node.op, ast.USub):
        return lambda run: UNKNOWN if (v := part(run)) is UNKNOWN else -v
    raise KnowledgeError(f"expression '{source}': operator is not allowed")


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.Pow: lambda a, b: a**b,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ORDERINGS = frozenset(_COMPARE[kind] for kind in (ast.Lt, ast.LtE, ast.Gt, ast.GtE))


def _binary(node: ast.BinOp, source: str) -> _Node:
    operation = _BINARY.get(type(node.op))
    if operation is None:
        raise KnowledgeError(f"expression '{source}': operator is not allowed")
    left, right = _compile(node.left, source), _compile(node.right, source)

    def run_binary(run: _Run) -> Scalar:
        a, b = left(run), right(run)
        if a is UNKNOWN or b is UNKNOWN:
            return UNKNOWN
        try:
            return operation(a, b)
        except (ZeroDivisionError, OverflowError, TypeError):
            return UNKNOWN  # outside the domain, or a text where a number is asked for

    return run_binary


def _comparable(operation: Any, left: Scalar, right: Scalar) -> bool:
    """Whether an ordering makes sense: not between a text and a number."""
    ordering = operation in _ORDERINGS
    return not ordering or isinstance(left, str) == isinstance(right, str)


def _compare(node: ast.Compare, source: str) -> _Node:
    first = _compile(node.left, source)
    rest = [(_COMPARE.get(type(op)), _compile(c, source)) for op, c in zip(node.ops, node.comparators, strict=True)]
    if any(op is None for op, _ in rest):
        raise KnowledgeError(f"expression '{source}': comparison is not allowed")

    def run_compare(run: _Run) -> Scalar:
        left, unknown, result = first(run), False, True
        for operation, part in rest:
            right = part(run)
            if left is UNKNOWN or right is UNKNOWN or not _comparable(operation, left, right):
                unknown = True
            elif not operation(left, right):  # type: ignore[misc]
                result = False
            left = right
        return False if not result else (UNKNOWN if unknown else True)

    return run_compare


def _conditional(node: ast.IfExp, source: str) -> _Node:
    test, yes, no = (_compile(n, source) for n in (node.test, node.body, node.orelse))

    def run_conditional(run: _Run) -> Scalar:
        decided = test(run)
        if decided is UNKNOWN:
            return UNKNOWN
        return yes(run) if decided else no(run)

    return run_conditional


def _tuple(node: ast.Tuple | ast.List, source: str) -> _Node:
    parts = [_compile(e, source) for e in node.elts]
    return lambda run: tuple(part(run) for part in parts)


_HANDLERS: dict[type[ast.expr], Callable[[Any, str], _Node]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Call: _call,
    ast.BoolOp: _boolean,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _compare,
    ast.IfExp: _conditional,
    ast.Tuple: _tuple,
    ast.List: _tuple,
}


def is_finite(value: Scalar) -> bool:
    """Whether an expression's value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
