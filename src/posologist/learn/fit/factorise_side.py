"""One side of a factorisation, patients or treatments: its factors, their side information, and how they are solved.

Every row of a side holds its latent factors and, last, its bias. Given the other side, a row is a small ridge
regression on its cells, drawn towards what its side information lets expect (rows of `columns` times `slope`). Rows
and slopes are solved together: the rows are eliminated first, so that one sweep finds the optimum of the whole side.

References
----------
koren-2009: Y. Koren et al., Matrix factorization techniques for recommender systems, Computer 42(8):30.
agarwal-2009: D. Agarwal and B.-C. Chen, Regression-based latent factor models (factors drawn towards a regression).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
_SIDE_BY_SIDE = 1024  # small matrices that are inverted together
_MOST_NUMBERS = 16_000_000  # numbers of a temporary array; more rows are taken in turn


@dataclass(frozen=True)
class Side:
    """Side information of a side: `columns` are standardised, shape (n_rows, n_columns)."""

    columns: Floats
    centre: Floats
    scale: Floats

    def standardised(self, rows: Floats) -> Floats:
        """Further rows on the scale of `columns`."""
        return ((rows - self.centre) / self.scale).astype(self.columns.dtype)

    def products(self, rows: slice) -> Floats:
        """Products of every two columns of these rows, packed; kept where they are not many."""
        if rows.start == 0 and rows.stop >= len(self.columns):
            return self._products
        return packed_outer(self.columns[rows])

    @cached_property
    def _products(self) -> Floats:
        return packed_outer(self.columns)


def side_of(rows: Floats | None, n_rows: int, dtype: npt.DTypeLike) -> Side:
    """Standardised side information; no columns where there is none. A constant column says nothing and stays 0."""
    if rows is None:
        return Side(np.zeros((n_rows, 0), dtype), np.zeros(0), np.ones(0))
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(spread > 1e-12 * (1.0 + np.abs(centre)), spread, 1.0)
    columns = np.where(scale == spread, (rows - centre) / scale, 0.0)
    return Side(columns.astype(dtype), centre, scale)


@dataclass(frozen=True)
class Half:
    """Fitted factors of a side.

    Parameters
    ----------
    value
        Latent factors and, last, the bias, shape (n_rows, rank + 1).
    slope
        What a standard deviation of each column of side information adds, shape (n_columns, rank + 1).
    inverse
        Inverse of each row's normal matrix, shape (n_rows, rank + 1, rank + 1): times the noise's variance, the
        covariance of the row given the slopes and the other side.
    slope_inverse
        The same for the slopes, shape (n_columns, rank + 1, n_columns, rank + 1).
    """

    value: Floats
    slope: Floats
    inverse: Floats
    slope_inverse: Floats

    @property
    def regressors(self) -> Floats:
        """What the other side is regressed on: latent factors, and 1 for its bias."""
        found = self.value.copy()
        found[:, -1] = 1.0
        return found

    @property
    def bias(self) -> Floats:
        return self.value[:, -1]


def line(half: Half, side: Side) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What side information as given lets expect of a row, rows @ weight + constant: factors and, last, the bias."""
    weight = half.slope.astype(np.float64) / side.scale[:, None]
    return weight, -side.centre @ weight


def triangle(size: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the upper triangle, in the order of packed matrices."""
    return np.triu_indices(size)


def packed_outer(rows: Floats) -> Floats:
    """Product of each row with itself, packed."""
    first, second = triangle(rows.shape[1])
    return rows[:, first] * rows[:, second]


def packed(matrices: Floats) -> Floats:
    """Upper triangles of symmetric matrices, shape (n, size (size + 1) / 2)."""
    first, second = triangle(matrices.shape[-1])
    return matrices[:, first, second]


def unpacked(triangles: Floats, size: int) -> Floats:
    """Symmetric matrices of their packed triangles, shape (n, size, size)."""
    first, second = triangle(size)
    found = np.empty((len(triangles), size, size), triangles.dtype)
    found[:, first, second] = triangles
    found[:, second, first] = triangles
    return found


def inverted(gram: Floats, added: Floats) -> Floats:
    """Inverses of packed matrices with a positive definite matrix added, shape (n, size, size).

    Gauss-Jordan elimination of many small positive definite matrices at once: a thousand of them lie side by side in
    memory, which is ten times as fast as a call of LAPACK for each.
    """
    size = len(added)
    first, second = triangle(size)
    found = np.empty((len(gram), size, size), gram.dtype)
    for start in range(0, len(gram), _SIDE_BY_SIDE):
        rows = slice(start, start + _SIDE_BY_SIDE)
        block = np.empty((size, size, len(gram[rows])), gram.dtype)
        block[first, second] = block[second, first] = gram[rows].T
        block += added[:, :, None]
        for k in range(size):
            pivot = 1.0 / block[k, k]
            column, row = block[:, k].copy(), block[k] * pivot
            column[k], row[k], block[:, k] = 0.0, pivot, 0.0
            block -= column[:, None] * row[None]
            block[k] = row
        found[rows] = block.transpose(2, 0, 1)
    return found


def solved(gram: Floats, right: Floats, side: Side, *, precision: Floats, ridge: Floats) -> Half:
    """The factors and slopes of least penalised squares, given the other side.

    Parameters
    ----------
    gram, right
        Normal equations of each row: packed matrices and right sides.
    precision
        Penalty of a row's distance from its side information, a positive definite matrix.
    ridge
        Penalties of the slopes, shape (rank + 1,).
    """
    own = precision.astype(gram.dtype)
    inverse = inverted(gram, own)
    slope, slope_inverse = _slopes(inverse, right, side, own, ridge)
    drawn = right + (side.columns @ slope) @ own
    return Half(np.einsum("nij,nj->ni", inverse, drawn), slope, inverse, slope_inverse)


def _slopes(inverse: Floats, right: Floats, side: Side, precision: Floats, ridge: Floats) -> tuple[Floats, Floats]:
    """Slopes with the rows eliminated: each row counts with its precision less what its own freedom takes up."""
    size, n_columns = right.shape[1], side.columns.shape[1]
    if n_columns == 0:
        return np.zeros((0, size), inverse.dtype), np.zeros((0, size, 0, size))
    first, second = triangle(n_columns)
    sums = np.zeros((len(first), size * (size + 1) // 2))
    alike = np.zeros(len(first))
    for rows in turns(len(inverse), len(first)):
        products = side.products(rows)
        sums += products.T @ packed(inverse[rows])
        alike += products.sum(axis=0, dtype=np.float64)
    blocks = alike[:, None, None] * precision - precision @ unpacked(sums, size) @ precision
    whole = np.empty((n_columns, size, n_columns, size))
    whole[first, :, second, :] = blocks
    whole[second, :, first, :] = blocks
    whole = whole.reshape(n_columns * size, -1) + np.diag(np.tile(ridge, n_columns))
    pull = np.einsum("nij,nj->ni", inverse, right) @ precision
    slope_inverse = np.linalg.inv(whole)
    slope = slope_inverse @ (side.columns.T @ pull).astype(np.float64).reshape(-1)
    return (
        slope.reshape(n_columns, size).astype(inverse.dtype),
        slope_inverse.reshape(n_columns, size, n_columns, size),
    )


def covariance(half: Half, rows: npt.NDArray[np.int64], columns: Floats, precision: Floats, noise: float) -> Floats:
    """Covariance of rows of a side, their slopes' uncertainty included, shape (n, rank + 1, rank + 1)."""
    return combined_covariance(half.inverse[rows], half.slope_inverse, columns[rows], precision, noise)


def combined_covariance(
    inverse: Floats, slope_inverse: Floats, columns: Floats, precision: Floats, noise: float
) -> Floats:
    """Covariance of a row given the slopes, and what the slopes add through the row's expected value."""
    found = inverse.astype(np.float64)
    if columns.shape[1]:
        size = inverse.shape[1]
        left = np.asarray(columns, dtype=np.float64)
        expected = np.stack(
            [np.einsum("np,pq,nq->n", left, slope_inverse[:, i, :, j], left, optimize=True)
             for i in range(size) for j in range(size)], axis=1
        ).reshape(-1, size, size)  # fmt: skip
        weight = found @ precision
        found = found + weight @ expected @ weight.transpose(0, 2, 1)
    return noise * found


def variance(patient: Floats, patient_cov: Floats, treatment: Floats, treatment_cov: Floats) -> Floats:
    """Variance of the expected outcome of cells: factors, shape (n, rank + 1), and their covariances.

    The two sides are taken as independent.
    """
    left, right = patient.copy(), treatment.copy()
    left[:, -1] = right[:, -1] = 1.0
    of_patient = np.einsum("ni,nij,nj->n", right, patient_cov, right, optimize=True)
    of_treatment = np.einsum("ni,nij,nj->n", left, treatment_cov, left, optimize=True)
    both = np.einsum("nij,nij->n", patient_cov[:, :-1, :-1], treatment_cov[:, :-1, :-1])
    return of_patient + of_treatment + both


def turns(n_rows: int, numbers_each: int) -> list[slice]:
    """Parts of many rows, so that a temporary array of so many numbers a row stays small."""
    step = max(1, _MOST_NUMBERS // numbers_each)
    return [slice(start, start + step) for start in range(0, n_rows, step)]
