"""The observed cells of patients x treatments as arrays, and a side's normal equations from them.

Cells are held row by row (CSR). Sums over a row's cells are products of this sparse matrix with what is known of the
other side, so that no loop in Python is as long as the data. Cells that ought not to be rewarded (unsafe) are held the
same way; what counts for them is how far their expected outcome lies above a floor.

References
----------
hu-2008: Y. Hu et al., Collaborative filtering for implicit feedback datasets, ICDM:263 (confidence, all cells).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from posologist.learn.fit.factorise_side import Floats, Half, packed, packed_outer, triangle

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Cells in the order of their patients.

    Parameters
    ----------
    patient, treatment
        Numbers of each cell, (n_cells,).
    weight, pull
        Weight of a cell's square, and weight times its outcome, (n_cells,); outcomes without `mean`.
    start
        First cell of each patient, (n_patients + 1,).
    n_treatments
        Number of treatments.
    square
        Sum of weight times squared outcome: what the squares come to where nothing is explained.
    background
        Weight of every cell, observed or not, towards an outcome of 0 (implicit feedback); else 0.
    """

    patient: IntArray
    treatment: IntArray
    weight: Floats
    pull: Floats
    start: IntArray
    n_treatments: int
    square: float
    background: float = 0.0

    def matrix(self, data: Floats) -> Any:
        """Numbers of the cells as a sparse matrix, patients x treatments."""
        return sparse.csr_matrix((data, self.treatment, self.start), shape=(len(self.start) - 1, self.n_treatments))

    @cached_property
    def weights(self) -> Any:
        return self.matrix(self.weight)

    @cached_property
    def pulls(self) -> Any:
        return self.matrix(self.pull)

    def expected(self, patients: Half, treatments: Half) -> Floats:
        """What the factors say of each cell, without the mean, (n_cells,)."""
        return expected(patients.value, treatments.value, self.patient, self.treatment)


def cells_of(
    pairs: IntArray, outcome: Floats, shape: tuple[int, int], *, weight: Floats, background: float = 0.0
) -> Cells:
    """Cells from (patient, treatment) pairs in any order, (n_cells, 2); a repeated pair is two observations.

    `weight` includes the background's, which is taken off where every cell has it.
    """
    order = np.argsort(pairs[:, 0], kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(pairs[:, 0], minlength=shape[0]))])
    index = np.int32 if max(shape) < 2**31 and len(pairs) < 2**31 else np.int64
    patient, treatment = (pairs[order, side].astype(index) for side in (0, 1))
    pull = weight * outcome
    square = float(np.sum(pull * outcome, dtype=np.float64))
    beyond = (weight - outcome.dtype.type(background))[order]
    return Cells(patient, treatment, beyond, pull[order], start.astype(index), shape[1], square, background)


def expected(patients: Floats, treatments: Floats, patient: IntArray, treatment: IntArray) -> Floats:
    """Biases and product of latent factors for each pair, (n,)."""
    found = patients[patient, -1] + treatments[treatment, -1]
    for k in range(patients.shape[1] - 1):
        found += np.ascontiguousarray(patients[:, k])[patient] * np.ascontiguousarray(treatments[:, k])[treatment]
    return found


class Equations(NamedTuple):
    """Normal equations of a side's rows: packed matrices, right sides, and the matrices without the other's spread."""

    gram: Floats
    right: Floats
    plain: Floats


def normal_equations(
    cells: Cells, other: Half, *, of_patients: bool, biases: bool, noise: float = 0.0, unsafe: Cells | None = None
) -> Equations:
    """Packed matrices and right sides of a side's rows, given the other side.

    Parameters
    ----------
    other
        The other side; where `noise` is above 0, its covariance (`noise` times its inverses) counts too, as in
        variational Bayes.
    biases
        False holds the biases of these rows at 0.
    unsafe
        Cells with their weight and their weighted target.
    """
    regressors = other.regressors
    known = packed_outer(regressors)
    gram = np.zeros((1, known.shape[1]), known.dtype)
    right = np.zeros((1, regressors.shape[1]), known.dtype)
    if cells.background:
        gram = gram + cells.background * known.sum(axis=0)
        right = right - cells.background * (other.bias @ regressors)
    for own in (cells, *(() if unsafe is None else (unsafe,))):
        weights, pulls = (own.weights, own.pulls) if of_patients else (own.weights.T, own.pulls.T)
        gram = gram + weights @ known
        right = right + pulls @ regressors - weights @ (regressors * other.bias[:, None])
    plain = gram
    of_bias = triangle(regressors.shape[1])[1] == regressors.shape[1] - 1
    if noise:
        spread = (cells.weights if of_patients else cells.weights.T) @ (noise * packed(other.inverse))
        right[:, :-1] -= spread[:, of_bias][:, :-1]
        gram = gram + np.where(of_bias, 0.0, spread)
    if not biases:
        gram = np.where(of_bias, 0.0, gram)
        right[:, -1] = 0.0
    return Equations(gram.astype(known.dtype), right.astype(known.dtype), plain)
