"""The exponential of small matrices without negative off-diagonal elements, for many draws at once.

A matrix is a list of rows; an element is an array over the draws, or None where it is zero by structure (nothing
flows from the one compartment to the other), which is never computed. Batches come last, so that every operation
runs along memory.

References
----------
xue-ye-2008 (exponentials of essentially nonnegative matrices to entrywise relative accuracy: shift, Taylor, square)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from posologist.core.errors import NumericsError

Array = npt.NDArray[Any]
Matrix = list[list[Array | None]]

_DEGREE = 16  # with a norm up to 1/2 the next term is below 2e-20
_BLOCK = 4
_NORM = 0.5
_COEFFICIENTS = np.cumprod(np.concatenate([[1.0], 1.0 / np.arange(1, _DEGREE + 1)]))
_MOST_SQUARINGS = 40


def exponential(rates: Matrix, time: Array) -> Matrix:
    """exp(rates * time), elementwise over the batch; `rates` 1/h with losses on its diagonal, `time` h >= 0.

    Raises
    ------
    NumericsError
        If a rate is not finite, or so large that the squarings would lose the digits.
    """
    shift = _largest_loss(rates)
    norm = float(np.max((np.real(shift) + 1.0) * np.real(time), initial=0.0))
    if not np.isfinite(norm) or norm > 2.0**_MOST_SQUARINGS:
        raise NumericsError("a rate is not finite or far too large", hint="check the parameters: volumes, ka, ktr")
    squarings = max(0, int(np.ceil(np.log2(norm / _NORM)))) if norm > _NORM else 0
    step = time / 2.0**squarings
    scaled = _shifted(rates, shift, step)
    result = _scaled_by(_taylor(scaled), np.exp(-shift * step))
    for _ in range(squarings):
        result = product(result, result)
    return result


def product(left: Matrix, right: Matrix) -> Matrix:
    """The matrix product, elementwise over the batch; structural zeros stay None."""
    size = range(len(left))
    return [[_dot(left[i], [right[k][j] for k in size]) for j in size] for i in size]


def apply(matrix: Matrix | None, vector: Sequence[Array | None]) -> list[Array | None]:
    """Matrix times vector, elementwise over the batch; no matrix leaves the vector as it is."""
    return list(vector) if matrix is None else [_dot(row, vector) for row in matrix]


def _dot(row: Sequence[Array | None], column: Sequence[Array | None]) -> Array | None:
    total: Array | None = None
    for a, b in zip(row, column, strict=True):
        if a is not None and b is not None:
            total = a * b if total is None else total + a * b
    return total


def _largest_loss(rates: Matrix) -> Array:
    losses = [np.real(-rates[i][i]) for i in range(len(rates)) if rates[i][i] is not None]  # type: ignore[operator]
    return np.asarray(np.maximum.reduce(np.broadcast_arrays(*losses)) if losses else np.zeros(1))


def _shifted(rates: Matrix, shift: Array, step: Array) -> Matrix:
    scaled: Matrix = [[None if a is None else a * step for a in row] for row in rates]
    for i in range(len(rates)):
        diagonal = scaled[i][i]
        scaled[i][i] = shift * step if diagonal is None else diagonal + shift * step
    return scaled


def _scaled_by(matrix: Matrix, factor: Array) -> Matrix:
    return [[None if a is None else a * factor for a in row] for row in matrix]


def _taylor(x: Matrix) -> Matrix:
    """Taylor's polynomial of degree 16 in x, by Horner's scheme in blocks of four powers (six products)."""
    powers = [x]
    for _ in range(_BLOCK - 1):
        powers.append(product(powers[-1], x))
    result = _scaled_by(powers[-1], np.asarray(_COEFFICIENTS[_DEGREE]))
    for start in range(_DEGREE - _BLOCK, -1, -_BLOCK):
        result = _add_block(result, powers, start)
        if start:
            result = product(result, powers[-1])
    return result


def _add_block(result: Matrix, powers: list[Matrix], start: int) -> Matrix:
    size = range(len(result))
    return [[_block_element(result[i][j], powers, i, j, start) for j in size] for i in size]


def _block_element(total: Array | None, powers: list[Matrix], i: int, j: int, start: int) -> Array | None:
    for power in range(1, _BLOCK):
        element = powers[power - 1][i][j]
        if element is not None:
            term = element * _COEFFICIENTS[start + power]
            total = term if total is None else total + term
    if i == j:
        total = np.asarray(_COEFFICIENTS[start]) if total is None else total + _COEFFICIENTS[start]
    return total


def solve(matrix: Matrix, vector: list[Array], *, because: str) -> list[Array]:
    """x with matrix x = vector, elementwise over the batch; `because` tells what a singular matrix means.

    Raises
    ------
    NumericsError
        If the matrix is singular.
    """
    elements = [a for row in matrix for a in row if a is not None] + vector
    shape = np.broadcast_shapes(*(np.shape(a) for a in elements))
    dense = np.stack([np.stack([_filled(a, shape) for a in row], axis=-1) for row in matrix], axis=-2)
    right = np.stack([_filled(a, shape) for a in vector], axis=-1)[..., None]
    try:
        result = np.linalg.solve(dense, right)[..., 0]
    except np.linalg.LinAlgError:
        raise NumericsError(because, hint="check that the clearance is positive") from None
    return [result[..., i] for i in range(len(vector))]


def _filled(a: Array | None, shape: tuple[int, ...]) -> Array:
    return np.zeros(shape) if a is None else np.broadcast_to(a, shape)
