"""Patients x treatments factorised: R ~ P T' on observed cells, with biases, side information and intervals.

    outcome of patient u under treatment i = mean + b_u + c_i + p_u . t_i + noise
    p_u, b_u are drawn towards A' x_u (genome, environment, habits); t_i, c_i towards B' z_i (what a treatment is)

A patient or treatment without any cell is answered by its side information alone, with a wider interval. Three solvers
of one model (`factorise_descent` holds its objective): gradient descent as published, alternating solution of whole
sides, which reaches the same optimum, and variational Bayes, which also learns the penalties from the data and is the
one whose intervals are calibrated.

References
----------
koren-2009: Y. Koren et al., Matrix factorization techniques for recommender systems, Computer 42(8):30.
agarwal-2009: D. Agarwal and B.-C. Chen, Regression-based latent factor models, KDD.
lim-2007: Y. J. Lim and Y. W. Teh, Variational Bayesian approach to movie rating prediction, KDD Cup.
hu-2008: Y. Hu et al., Collaborative filtering for implicit feedback datasets, ICDM:263.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from posologist.core.errors import InputError, ModelError
from posologist.learn.fit import factorise_solve as solve
from posologist.learn.fit.factorise_cells import Cells, IntArray, cells_of, expected, normal_equations
from posologist.learn.fit.factorise_descent import Terms, descend
from posologist.learn.fit.factorise_side import (
    Floats,
    Half,
    Side,
    combined_covariance,
    covariance,
    inverted,
    line,
    side_of,
    variance,
)

Solver = Literal["variational", "alternating", "descent"]
Feedback = Literal["explicit", "implicit"]
Array = npt.NDArray[np.float64]

_SINGLE_FROM = 100_000  # cells from which sums of many small numbers are exact enough in single precision
_AT_ONCE = 50_000  # cells whose interval is computed together


@dataclass(frozen=True)
class Answer:
    """Expected outcomes, with the interval of a new outcome of probability `level`; arrays of equal shape."""

    value: Array
    low: Array
    high: Array
    level: float


@dataclass(frozen=True)
class _Known:
    """A fitted side: its factors, the scale of its side information, and its penalty."""

    half: Half
    side: Side
    precision: Floats

    def covariance(self, rows: IntArray, noise: float) -> Floats:
        return covariance(self.half, rows, self.side.columns, self.precision, noise)


class Factorisation(RegressorMixin, BaseEstimator):
    """Matrix factorisation of outcomes, a row of `X` being the numbers of a patient and of a treatment.

    `check_estimator` does not apply: `X` holds names of rows and columns, not measurements.

    Parameters
    ----------
    rank
        Number of latent factors; never more than there are patients or treatments.
    solver
        "variational" (learns the first three penalties, whatever they are here), "alternating" or "descent".
    lambda1, lambda2, lambda_bias
        Penalties of the distance of P, of T and of the biases from what side information expects; above 0.
    ridge
        Penalty of the slopes of side information, whose columns are standardised here; above 0.
    biases
        False: R ~ P T' alone.
    feedback
        "implicit": an outcome is how often a treatment was given (0 or more); it is read as a confidence 1 +
        `confidence` x outcome in a wish of 1, every other cell as a wish of 0 with confidence 1.
    confidence
        See `feedback`.
    penalty, floor
        Of the outcome above `floor` expected in cells that `fit` is told are unsafe.
    rate
        Of gradient descent.
    sweeps
        Most updates of both sides.
    tolerance
        A solver stops when its objective (variational: the noise) changes by less than this share.
    random_state
        Seed of the start.

    Attributes
    ----------
    mean_ : float
    patients_, treatments_ : Half
    noise_ : float or None
        Variance of an outcome around what is expected; None where it cannot be told from the data.
    precision_patients_, precision_treatments_ : array of shape (rank + 1, rank + 1)
        Penalties as used: diagonal, or learned ("variational": noise over the covariance of factors and bias).
    rank_, n_sweeps_, n_halved_ : int
    history_ : tuple of float
        The objective (variational: the noise) after each sweep.
    """

    def __init__(
        self,
        rank: int = 8,
        *,
        solver: Solver = "variational",
        lambda1: float = 1.0,
        lambda2: float = 1.0,
        lambda_bias: float = 1.0,
        ridge: float = 1.0,
        biases: bool = True,
        feedback: Feedback = "explicit",
        confidence: float = 40.0,
        penalty: float = 1.0,
        floor: float = 0.0,
        rate: float = 0.01,
        sweeps: int = 100,
        tolerance: float = 1e-3,
        random_state: int = 0,
    ) -> None:
        self.rank = rank
        self.solver = solver
        self.lambda1 = lambda1
        self.lambda2 = lambda2
        self.lambda_bias = lambda_bias
        self.ridge = ridge
        self.biases = biases
        self.feedback = feedback
        self.confidence = confidence
        self.penalty = penalty
        self.floor = floor
        self.rate = rate
        self.sweeps = sweeps
        self.tolerance = tolerance
        self.random_state = random_state

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        patient_side: Any = None,
        treatment_side: Any = None,
        shape: tuple[int, int] | None = None,
        unsafe: Any = None,
    ) -> Self:
        """Fit.

        Parameters
        ----------
        X
            Patient and treatment of each observed cell, counted from 0, shape (n_cells, 2).
        y
            Outcomes, shape (n_cells,).
        patient_side, treatment_side
            Side information, a row for each patient or treatment, also those without cells.
        shape
            Numbers of patients and treatments; without it those of the side information, or of the cells.
        unsafe
            Cells with a therapeutic index that is too low, shape (n_unsafe, 2).

        Raises
        ------
        InputError
            If numbers are not known, or do not fit each other.
        ModelError
            If what is asked cannot be learned from these cells.
        """
        self._check()
        pairs = pairs_of(X)
        outcome = _outcomes(y, len(pairs), "y")
        weight = np.ones(len(pairs)) if sample_weight is None else _outcomes(sample_weight, len(pairs), "sample_weight")
        sides = tuple(_side_rows(rows, name) for rows, name in (
            (patient_side, "patient_side"), (treatment_side, "treatment_side")))  # fmt: skip
        self.shape_ = _shape(pairs, sides, shape)
        dtype = np.float32 if len(pairs) >= _SINGLE_FROM else np.float64
        terms = self._terms(pairs, outcome, weight, sides, dtype)
        if unsafe is not None:
            terms = self._with_unsafe(terms, pairs_of(unsafe, name="unsafe"), dtype)
        with threadpool_limits(1):  # many small products: a second thread costs more than it does
            self._run(terms, solve.started(terms, self.rank_, np.random.default_rng(self.random_state)))
        return self

    def predict(self, X: Any) -> Array:
        """Expected outcome of each (patient, treatment), shape (n,); implicit feedback: the wish, about 0 to 1."""
        check_is_fitted(self, "patients_")
        pairs = pairs_of(X, self.shape_)
        found = expected(self.patients_.value, self.treatments_.value, pairs[:, 0], pairs[:, 1])
        return np.asarray(found + self.mean_, dtype=np.float64)

    def interval(self, X: Any, *, level: float = 0.9) -> Answer:
        """Expected outcome of each (patient, treatment), with the interval of a new outcome."""
        value = self.predict(X)
        pairs, noise = pairs_of(X, self.shape_), self._noise()
        spread = np.empty(len(value))
        for first in range(0, len(value), _AT_ONCE):
            patient, treatment = pairs[first : first + _AT_ONCE].T
            spread[first : first + _AT_ONCE] = variance(
                self.patients_.value[patient], self._of_patients_.covariance(patient, noise),
                self.treatments_.value[treatment], self._of_treatments_.covariance(treatment, noise),
            )  # fmt: skip
        return _answer(value, spread + noise, level)

    def new_patients(self, side: Any = None, *, X: Any = None, y: Any = None, level: float = 0.9) -> Answer:
        """All treatments for patients who were not among those fitted, shape (n_new, n_treatments).

        Parameters
        ----------
        side
            Their side information; needed where the fit had any.
        X, y
            Their own cells so far (number among the new patients, treatment) and outcomes.

        Raises
        ------
        ModelError
            If the noise is not known (implicit feedback): `predict_new_patients` answers without interval.
        """
        noise = self._noise()
        return self._new_interval(side, X, y, level, self._of_patients_, self._of_treatments_, noise)

    def new_treatments(self, side: Any = None, *, X: Any = None, y: Any = None, level: float = 0.9) -> Answer:
        """All patients under treatments that were not among those fitted, shape (n_new, n_patients).

        `X` holds the number among the new treatments and the patient; otherwise as `new_patients`.
        """
        noise = self._noise()
        return self._new_interval(side, X, y, level, self._of_treatments_, self._of_patients_, noise)

    def predict_new_patients(self, side: Any = None, *, X: Any = None, y: Any = None) -> Array:
        """As `new_patients`, expected outcomes alone."""
        check_is_fitted(self, "patients_")
        return self._new(side, X, y, self._of_patients_, self._of_treatments_)[0]

    def predict_new_treatments(self, side: Any = None, *, X: Any = None, y: Any = None) -> Array:
        """As `new_treatments`, expected outcomes alone."""
        check_is_fitted(self, "patients_")
        return self._new(side, X, y, self._of_treatments_, self._of_patients_)[0]

    def lines(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        """Of patients and of treatments without cells: factors and, last, bias are side @ weight + constant.

        Shapes (n_columns, rank + 1) and (rank + 1,); the mean is not in them.
        """
        check_is_fitted(self, "patients_")
        known = (self._of_patients_, self._of_treatments_)
        of_patients, of_treatments = (line(own.half, own.side) for own in known)
        return of_patients, of_treatments

    def _new_interval(
        self, side: Any, X: Any, y: Any, level: float, own: _Known, other: _Known, noise: float
    ) -> Answer:
        said, value, inverse, columns = self._new(side, X, y, own, other)
        cov = combined_covariance(inverse, own.half.slope_inverse, columns, own.precision, noise)
        n = len(other.half.value)
        other_cov = other.covariance(np.arange(n), noise)
        spread = np.array([
            variance(np.repeat(value[new : new + 1], n, axis=0), np.repeat(cov[new : new + 1], n, axis=0),
                     other.half.value, other_cov)
            for new in range(len(value))
        ])  # fmt: skip
        return _answer(said, spread.reshape(said.shape) + noise, level)

    def _new(self, side: Any, X: Any, y: Any, own: _Known, other: _Known) -> tuple[Array, Floats, Floats, Floats]:
        """Expected outcomes of new rows, their factors, the inverses of their normal matrices, and their columns."""
        pairs = np.zeros((0, 2), dtype=np.int64) if X is None else pairs_of(X)
        columns = _new_columns(side, own.side, pairs)
        shape = (len(columns), len(other.half.value))
        cells = self._cells(_within(pairs, shape), _outcomes([] if y is None else y, len(pairs), "y"),
                            np.ones(len(pairs)), shape, np.float64)  # fmt: skip
        noise = self.noise_ if self.solver == "variational" else None
        equations = normal_equations(cells, other.half, of_patients=True, biases=self.biases, noise=noise or 0.0)
        gram = np.broadcast_to(equations.gram, (shape[0], equations.gram.shape[1])).astype(np.float64)
        inverse = inverted(gram, own.precision)
        value = np.einsum("nij,nj->ni", inverse, equations.right + columns @ own.half.slope @ own.precision)
        every = np.indices(shape).reshape(2, -1)
        said = expected(value, other.half.value.astype(np.float64), *every).reshape(shape)
        return np.asarray(said + self.mean_, dtype=np.float64), value, inverse, columns

    def _run(self, terms: Terms, start: tuple[Half, Half]) -> None:
        self.n_halved_ = 0
        if self.solver == "descent":
            ended = descend(terms, *start, rate=self.rate, most_steps=self.sweeps, tolerance=self.tolerance)
            self.n_halved_ = ended.n_halved
            patients, treatments = solve.with_inverses(terms, ended.patients, ended.treatments)
            history: tuple[float, ...] = ended.history[1:]
        elif self.solver == "alternating":
            patients, treatments, history = solve.alternate(
                terms, *start, most_sweeps=self.sweeps, tolerance=self.tolerance
            )
        else:
            learned = solve.vary(terms, *start, most_sweeps=self.sweeps, tolerance=self.tolerance)
            patients, treatments, history, terms = learned
            self.noise_: float | None = history[-1]
        if self.solver != "variational":
            self.noise_ = None if self.feedback == "implicit" else solve.noise_of(terms, patients, treatments)
        self.patients_, self.treatments_, self.history_ = patients, treatments, history
        self._of_patients_ = _Known(patients, terms.patients, terms.of_patients)
        self._of_treatments_ = _Known(treatments, terms.treatments, terms.of_treatments)
        self.n_sweeps_ = len(history)
        self.precision_patients_, self.precision_treatments_ = terms.of_patients, terms.of_treatments

    def _terms(
        self, pairs: IntArray, outcome: Array, weight: Array, sides: tuple[Array | None, ...], dtype: npt.DTypeLike
    ) -> Terms:
        centred = self.biases and self.feedback == "explicit"
        self.mean_ = float(np.average(outcome, weights=weight)) if centred else 0.0
        cells = self._cells(pairs, outcome, weight, self.shape_, dtype)
        if self.solver == "variational":
            _check_learnable(cells, outcome)
        self.rank_ = min(self.rank, *self.shape_)
        of_patients, of_treatments = (
            np.diag([own] * self.rank_ + [self.lambda_bias]) for own in (self.lambda1, self.lambda2)
        )
        patients, treatments = (side_of(rows, n, dtype) for rows, n in zip(sides, self.shape_, strict=True))
        ridge = np.full(self.rank_ + 1, self.ridge)
        return Terms(cells, patients, treatments, of_patients, of_treatments, ridge, ridge, self.biases)

    def _cells(
        self, pairs: IntArray, outcome: Array, weight: Array, shape: tuple[int, int], dtype: npt.DTypeLike
    ) -> Cells:
        """Cells as they are learned from: outcomes above the mean, or confidences in a wish."""
        if self.feedback == "explicit":
            return cells_of(pairs, (outcome - self.mean_).astype(dtype), shape, weight=weight.astype(dtype))
        if (outcome < 0.0).any():
            raise InputError(
                "a treatment cannot be given less than never", where="y", hint="implicit feedback counts from 0"
            )
        confidence = weight * (1.0 + self.confidence * outcome)
        return cells_of(
            pairs, (outcome > 0.0).astype(dtype), shape, weight=confidence.astype(dtype), background=1.0
        )  # fmt: skip

    def _with_unsafe(self, terms: Terms, pairs: IntArray, dtype: npt.DTypeLike) -> Terms:
        if self.solver == "variational":
            raise ModelError(
                "a penalty is no outcome, so it cannot be learned from as one", where="unsafe",
                hint="use solver='alternating', or leave unsafe cells to the gate",
            )  # fmt: skip
        _within(pairs, self.shape_, "unsafe")
        weight = np.full(len(pairs), self.penalty, dtype=dtype)
        unsafe = cells_of(pairs, np.zeros(len(pairs), dtype=dtype), self.shape_, weight=weight)
        return replace(terms, unsafe=unsafe, floor=self.floor - self.mean_)

    def _check(self) -> None:
        for name in ("rank", "lambda1", "lambda2", "lambda_bias", "ridge", "rate", "sweeps"):
            if not getattr(self, name) > 0:
                raise InputError(f"{getattr(self, name)} is not above 0", where=name, hint="give a positive number")
        for name in ("confidence", "penalty", "tolerance"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{getattr(self, name)} is below 0", where=name, hint="give 0 or more")
        if self.solver == "variational" and self.feedback == "implicit":
            raise ModelError(
                "implicit feedback has no noise whose size could be learned", where="solver",
                hint="use solver='alternating'",
            )  # fmt: skip

    def _noise(self) -> float:
        check_is_fitted(self, "patients_")
        if self.noise_ is None:
            raise ModelError(
                "the noise of these outcomes is not known, so an interval would be invented", where="noise_",
                hint="give more cells than factors, and outcomes that differ; implicit feedback has no interval",
            )  # fmt: skip
        return self.noise_


def pairs_of(X: Any, shape: tuple[int, int] | None = None, *, name: str = "X") -> IntArray:
    """(patient, treatment) numbers, shape (n, 2).

    Raises
    ------
    InputError
        If they are no such numbers, or reach beyond `shape`.
    """
    given = np.asarray(X)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iuf":
        raise InputError(
            f"an array of shape {given.shape} is no list of cells", where=name, hint="give (patient, treatment) numbers"
        )
    if given.dtype.kind == "f" and not (np.isfinite(given).all() and np.array_equal(np.round(given), given)):
        raise InputError("a number of a patient or treatment is not whole", where=name, hint="count them from 0")
    pairs = given.astype(np.int64)
    if len(pairs) and pairs.min() < 0:
        raise InputError("a number of a patient or treatment is below 0", where=name, hint="count them from 0")
    return pairs if shape is None else _within(pairs, shape, name)


def _within(pairs: IntArray, shape: tuple[int, int], name: str = "X") -> IntArray:
    if len(pairs) and (pairs.max(axis=0) >= shape).any():
        raise InputError(
            f"a cell lies outside the {shape[0]} x {shape[1]} that are known", where=name,
            hint="ask for a new patient with new_patients, for a new treatment with new_treatments",
        )  # fmt: skip
    return pairs


def _outcomes(y: Any, n: int, name: str) -> Array:
    found = np.asarray(y, dtype=np.float64)
    if found.shape != (n,):
        raise InputError(f"{found.shape} numbers for {n} cells", where=name, hint="give one for each cell")
    if not np.isfinite(found).all():
        raise InputError(
            f"{int((~np.isfinite(found)).sum())} numbers are not known", where=name, hint="leave those cells out"
        )
    if name == "sample_weight" and (found <= 0).any():
        raise InputError("a weight is not above 0", where=name, hint="leave those cells out")
    return found


def _side_rows(rows: Any, name: str) -> Array | None:
    if rows is None:
        return None
    found = np.asarray(rows, dtype=np.float64)
    if found.ndim != 2:
        raise InputError(f"an array of shape {found.shape} is no table", where=name, hint="give a row for each")
    if not np.isfinite(found).all():
        raise InputError("some side information is not known", where=name, hint="impute it and say so in a column")
    return found


def _shape(pairs: IntArray, sides: tuple[Array | None, ...], shape: tuple[int, int] | None) -> tuple[int, int]:
    if len(pairs) == 0:
        raise InputError("there is no observed cell", where="X", hint="give at least one outcome")
    found = []
    for place, rows in enumerate(sides):
        name = ("patient_side", "treatment_side")[place]
        if rows is not None and shape is not None and len(rows) != shape[place]:
            raise InputError(f"{len(rows)} rows for {shape[place]}", where=name, hint="give a row for each")
        known = len(rows) if rows is not None else shape[place] if shape is not None else None
        found.append(int(pairs[:, place].max()) + 1 if known is None else known)
    _within(pairs, (found[0], found[1]))
    return found[0], found[1]


def _check_learnable(cells: Cells, outcome: Array) -> None:
    """Variational Bayes tells noise from effects: it needs outcomes that differ, in more than a row or a column."""
    reason = None
    if np.ptp(outcome) == 0.0:
        reason = "all outcomes are equal"
    elif len(np.unique(cells.patient)) < 2:
        reason = "there is one patient"
    elif len(np.unique(cells.treatment)) < 2:
        reason = "there is one treatment"
    if reason is not None:
        raise ModelError(
            f"{reason}, so that effects cannot be told from noise", where="y",
            hint="use solver='alternating' with penalties of your own",
        )  # fmt: skip


def _new_columns(side: Any, known: Side, pairs: IntArray) -> Floats:
    rows = _side_rows(side, "side")
    n_columns = known.columns.shape[1]
    if rows is None and n_columns:
        raise InputError("side information is missing", where="side", hint=f"give {n_columns} columns, as in the fit")
    if rows is None:
        return np.zeros((int(pairs[:, 0].max()) + 1 if len(pairs) else 1, 0))
    if rows.shape[1] != n_columns:
        raise InputError(
            f"{rows.shape[1]} columns where the fit had {n_columns}", where="side", hint="give the same columns"
        )
    return known.standardised(rows)


def _answer(value: Array, spread: Array, level: float) -> Answer:
    if not 0.0 < level < 1.0:
        raise InputError(f"{level} is no probability", where="level", hint="give a number between 0 and 1")
    half = float(ndtri(0.5 + level / 2.0)) * np.sqrt(spread)
    return Answer(value, value - half, value + half, level)
