"""How a model file states variability, converted to the variance-covariance of the etas.

=============  =====================================================================================
convention     variance of the eta
=============  =====================================================================================
`variance`     the number itself (NONMEM's and nlmixr's omega)
`sd`           its square (Monolix's and Tucuxi's omega)
`cv`           its square: the coefficient of variation taken as the SD of the eta
`cv-exact`     ln(1 + cv^2): the coefficient of variation of a log-normal parameter
=============  =====================================================================================

Two etas are tied by `correlations` (of the etas) or, with `variance`, by `covariances`; or the whole matrix stands in
`lower`, the rows of its lower triangle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from posologist.core.errors import KnowledgeError

Matrix = list[list[float]]

_VARIANCE: dict[str, Callable[[float], float]] = {
    "variance": lambda x: x,
    "sd": lambda x: x * x,
    "cv": lambda x: x * x,
    "cv-exact": lambda x: math.log1p(x * x),
}
_KEYS = {"convention", "values", "correlations", "covariances", "lower", "note"}
_TOLERANCE = 1e-9  # share of the largest variance below which a pivot counts as zero


def lower_triangle(stated: dict[str, Any], names: Sequence[str], kinds: Sequence[str], what: str) -> Matrix:
    """Full symmetric variance-covariance in the order of `names`.

    Parameters
    ----------
    stated
        Table of the file: `convention`, and either `values` by name with `correlations` or `covariances` (rows of
        name, name, number), or `lower`.
    names
        Structural parameters on which the etas act, in order.
    kinds
        "log-normal", "normal" or "logit" for each; a coefficient of variation is read for log-normal ones only.

    Raises
    ------
    KnowledgeError
        If the convention is not known, a name has no random effect, a random effect has no number, or a number
        cannot be what it is said to be.
    """
    convention = stated.get("convention")
    if convention not in _VARIANCE:
        raise KnowledgeError(f"{what}: convention {convention!r} is not one of {', '.join(_VARIANCE)}")
    if unknown := sorted(stated.keys() - _KEYS):
        raise KnowledgeError(f"{what}: unknown keys {', '.join(unknown)}")
    if "lower" in stated:
        return _from_rows(stated, names, what)
    values = dict(stated.get("values", {}))
    _complete(values, names, what, all_needed=what == "omega")
    if convention.startswith("cv") and set(kinds) - {"log-normal"}:
        raise KnowledgeError(f"{what}: a coefficient of variation is read for log-normal parameters only")
    if bad := [name for name, value in values.items() if not value >= 0]:
        raise KnowledgeError(f"{what}: {', '.join(bad)} must not be negative")
    matrix = [[0.0] * len(names) for _ in names]
    for i, name in enumerate(names):
        matrix[i][i] = _VARIANCE[convention](float(values.get(name, 0.0)))
    _tie(matrix, stated, names, what)
    return matrix


def _complete(values: dict[str, Any], names: Sequence[str], what: str, *, all_needed: bool) -> None:
    if unknown := sorted(values.keys() - set(names)):
        raise KnowledgeError(f"{what}: no random effect acts on {', '.join(unknown)}")
    if all_needed and (without := [name for name in names if name not in values]):
        raise KnowledgeError(f"{what}: no number for {', '.join(without)}", hint="write 0 where patients do not differ")


def _from_rows(stated: dict[str, Any], names: Sequence[str], what: str) -> Matrix:
    rows = stated["lower"]
    if stated["convention"] != "variance" or stated.keys() & {"values", "correlations", "covariances"}:
        raise KnowledgeError(f"{what}: `lower` holds variances and covariances, alone")
    if [len(row) for row in rows] != list(range(1, len(names) + 1)):
        raise KnowledgeError(f"{what}: `lower` needs {len(names)} rows of 1, 2, ... numbers, as many as random effects")
    return [[float(rows[i][j] if j <= i else rows[j][i]) for j in range(len(names))] for i in range(len(names))]


def _tie(matrix: Matrix, stated: dict[str, Any], names: Sequence[str], what: str) -> None:
    if "covariances" in stated and stated["convention"] != "variance":
        raise KnowledgeError(f"{what}: covariances stand beside variances only", hint="give correlations")
    rows = [(row, True) for row in stated.get("correlations", [])]
    for row, relative in [*rows, *((row, False) for row in stated.get("covariances", []))]:
        first, second, value = row
        if first not in names or second not in names or first == second:
            raise KnowledgeError(f"{what}: {first} and {second} are not two random effects")
        if relative and not -1 <= value <= 1:
            raise KnowledgeError(f"{what}: the correlation {value} of {first} and {second} is not within -1 to 1")
        i, j = names.index(first), names.index(second)
        tied = value * math.sqrt(matrix[i][i] * matrix[j][j]) if relative else float(value)
        matrix[i][j] = matrix[j][i] = tied


def is_covariance(matrix: Sequence[Sequence[float]]) -> bool:
    """Whether a matrix is symmetric positive semidefinite (elimination with the largest pivot first)."""
    size = len(matrix)
    if any(len(row) != size for row in matrix):
        return False
    left = [list(row) for row in matrix]
    small = _TOLERANCE * max((abs(x) for row in left for x in row), default=0.0)
    if any(abs(left[i][j] - left[j][i]) > small for i in range(size) for j in range(i)):
        return False
    remaining = list(range(size))
    while remaining:
        k = max(remaining, key=lambda i: left[i][i])
        pivot = left[k][k]
        if pivot <= small:
            return all(abs(left[i][j]) <= small for i in remaining for j in remaining)
        remaining.remove(k)
        for i in remaining:
            share = left[i][k] / pivot
            for j in remaining:
                left[i][j] -= share * left[k][j]
    return True
