"""Fast solvers of a factorisation: whole sides in turn, to the optimum of the objective or by variational Bayes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from posologist.learn.fit.factorise_cells import Cells, Equations, normal_equations
from posologist.learn.fit.factorise_descent import Terms, objective
from posologist.learn.fit.factorise_side import (
    Floats,
    Half,
    Side,
    packed,
    packed_outer,
    solved,
    triangle,
    turns,
    unpacked,
)

_PASSES = 3  # of the power iteration that finds the first directions
_MOST_LAMBDA = 1e5  # a penalty beyond this is as good as none of the effect, and single precision ends
_NOISE_AT_FIRST = 0.25  # share of the outcomes' variance
_LEAST_NOISE = 1e-9  # share of the outcomes' variance


def started(terms: Terms, rank: int, rng: np.random.Generator) -> tuple[Half, Half]:
    """Where solvers begin: patients at 0; treatments along the leading directions of the outcomes.

    The first directions are those along which the outcomes of treatments follow the patients' side information; the
    rest are leading directions of the cells themselves.
    """
    cells, dtype = terms.cells, terms.cells.pull.dtype
    n_patients, n_treatments = len(cells.start) - 1, cells.n_treatments
    number = np.maximum(cells.weights.T @ np.ones(n_patients, dtype), 1e-12)
    found = np.zeros((n_treatments, rank))
    n_known = 0
    columns = terms.patients.columns
    if columns.shape[1]:
        left = np.linalg.svd(_slopes_of_treatments(terms, columns), full_matrices=False)[0]
        n_known = min(rank, left.shape[1])
        found[:, :n_known] = left[:, :n_known]
    if n_known < rank:
        known = found[:, :n_known]
        rest = rng.normal(size=(n_treatments, rank - n_known))
        for _ in range(_PASSES):
            rest = cells.pulls.T @ (cells.pulls @ rest.astype(dtype))
            rest, _ = np.linalg.qr(rest - known @ (known.T @ rest) + 1e-9 * rng.normal(size=rest.shape))
        found[:, n_known:] = rest
    scale = np.sqrt(n_treatments * _second_moment(cells) / rank)  # as if every factor of a patient varied by 1
    bias = cells.pulls.sum(axis=0) / (number + terms.of_treatments[-1, -1]) if terms.biases else 0.0 * number
    value = np.concatenate([found * scale, np.asarray(bias).reshape(-1, 1)], axis=1).astype(dtype)
    return _blank(np.zeros((n_patients, rank + 1), dtype), terms.patients), _blank(value, terms.treatments)


def _slopes_of_treatments(terms: Terms, columns: Floats) -> Floats:
    """How the outcomes of each treatment follow the patients' side information, shape (n_treatments, n_columns)."""
    cells = terms.cells
    whole = np.concatenate([columns, np.ones((len(columns), 1), columns.dtype)], axis=1)
    size = whole.shape[1]
    gram = np.zeros((cells.n_treatments, size * (size + 1) // 2))
    for rows in turns(len(whole), size * size):
        gram += cells.weights[rows].T @ packed_outer(whole[rows])
    normal = unpacked(gram, size) + np.eye(size)
    return np.linalg.solve(normal, (cells.pulls.T @ whole).astype(np.float64)[..., None])[:, :-1, 0]


def _second_moment(cells: Cells) -> float:
    return cells.square / max(float(cells.weight.sum(dtype=np.float64)), 1e-12)


def _blank(value: Floats, side: Side) -> Half:
    size, n_columns = value.shape[1], side.columns.shape[1]
    return Half(
        value, np.zeros((n_columns, size), value.dtype), np.zeros((len(value), size, size), value.dtype),
        np.zeros((n_columns, size, n_columns, size)),
    )  # fmt: skip


def alternate(
    terms: Terms, patients: Half, treatments: Half, *, most_sweeps: int, tolerance: float
) -> tuple[Half, Half, tuple[float, ...]]:
    """Each side to its optimum given the other, until the objective falls by less than `tolerance` of itself.

    What unsafe cells add is not quadratic where their expected outcome is below the floor; there it is bounded from
    above by the square that touches it, so that no sweep can raise the objective.
    """
    history: list[float] = []
    for _ in range(most_sweeps):
        patients = _solved_patients(terms, _equations(terms, patients, treatments, of_patients=True))
        treatments = _solved_treatments(terms, _equations(terms, patients, treatments, of_patients=False))
        patients, treatments = balanced(terms, patients, treatments)
        history.append(objective(terms, patients, treatments))
        if len(history) > 1 and history[-2] - history[-1] <= tolerance * abs(history[-1]):
            break
    return (*with_inverses(terms, patients, treatments), tuple(history))


def balanced(terms: Terms, patients: Half, treatments: Half) -> tuple[Half, Half]:
    """The same expected outcomes by other factors, those with the least penalty.

    Any matrix M leaves P M (T M^-T)' as it is. With S and R the penalised squares of both sides, the least penalty is
    at M M' = S^-1 # R, their geometric mean. Alternating solution alone is slow to find it where one side is long.
    """
    of_patients = _penalised(
        patients, terms.patients, float(terms.of_patients[0, 0]), float(terms.ridge_of_patients[0])
    )
    of_treatments = _penalised(
        treatments, terms.treatments, float(terms.of_treatments[0, 0]), float(terms.ridge_of_treatments[0])
    )
    root = _power(of_patients, 0.5)
    back = _power(of_patients, -0.5)
    mixing = _power(back @ _power(root @ of_treatments @ root, 0.5) @ back, 0.5)
    undoing = np.linalg.inv(mixing)
    return _mixed(patients, mixing), _mixed(treatments, undoing.T)


def _penalised(half: Half, side: Side, weight: float, ridge: float) -> Floats:
    away = (half.value - side.columns @ half.slope)[:, :-1].astype(np.float64)
    slope = half.slope[:, :-1].astype(np.float64)
    found = weight * away.T @ away + ridge * slope.T @ slope
    return found + 1e-12 * max(float(np.trace(found)), 1e-300) * np.eye(len(found))


def _power(matrix: Floats, exponent: float) -> Floats:
    """Power of a symmetric positive matrix."""
    size, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(size, 1e-300) ** exponent) @ vectors.T


def _mixed(half: Half, mixing: Floats) -> Half:
    own = mixing.astype(half.value.dtype)
    value = np.concatenate([half.value[:, :-1] @ own, half.value[:, -1:]], axis=1)
    slope = np.concatenate([half.slope[:, :-1] @ own, half.slope[:, -1:]], axis=1)
    return replace(half, value=value, slope=slope)


def vary(
    terms: Terms, patients: Half, treatments: Half, *, most_sweeps: int, tolerance: float
) -> tuple[Half, Half, tuple[float, ...], Terms]:
    """Variational Bayes: sides with their covariances, noise and penalties learned; the last terms hold the penalties.

    Patients and treatments are independent in the approximation. The history is the noise's variance.
    """
    cells = terms.cells
    least = _LEAST_NOISE * _second_moment(cells)
    terms = _guessed(terms)
    history: list[float] = []
    noise = 0.0
    for _ in range(most_sweeps):
        of_patients = normal_equations(cells, treatments, of_patients=True, biases=terms.biases, noise=noise)
        patients = _solved_patients(terms, of_patients)
        of_treatments = normal_equations(cells, patients, of_patients=False, biases=terms.biases, noise=noise)
        explained = _trace(patients, of_patients.gram)
        if noise:
            spread = noise * (explained + _trace(treatments, of_treatments.plain))
            new = (_squares(cells, patients, treatments) + spread) / len(cells.weight)
            treatments = _solved_treatments(terms, of_treatments)
        else:
            treatments = _solved_treatments(terms, of_treatments)
            new = _squares(cells, patients, treatments) / max(len(cells.weight) - explained, 0.1 * len(cells.weight))
        noise = max(new, least)
        terms = _relearned(terms, patients, treatments, noise)
        history.append(noise)
        if len(history) > 2 and abs(history[-1] - history[-2]) <= tolerance * noise:
            break
    return patients, treatments, tuple(history), terms


def _guessed(terms: Terms) -> Terms:
    """Penalties to begin with: a part of the outcomes' variance is noise, and factors are as large as in `started`.

    Those of the slopes stay. All are in the unit of the outcomes, so that a change of unit changes no answer.
    """
    noise = _NOISE_AT_FIRST * _second_moment(terms.cells)
    rank = len(terms.of_patients) - 1
    of_patients = np.append(np.full(rank, noise), 1.0)
    of_treatments = np.append(np.full(rank, _NOISE_AT_FIRST * rank), 1.0)
    return replace(
        terms, of_patients=np.diag(of_patients), of_treatments=np.diag(of_treatments),
        ridge_of_patients=terms.ridge_of_patients * of_patients,
        ridge_of_treatments=terms.ridge_of_treatments * of_treatments,
    )  # fmt: skip


def noise_of(terms: Terms, patients: Half, treatments: Half) -> float | None:
    """Variance around the fit: squares over cells less what the factors took up; None where that is nothing."""
    of_patients, of_treatments = (
        _trace(half, normal_equations(terms.cells, other, of_patients=own, biases=terms.biases).gram)
        for half, other, own in ((patients, treatments, True), (treatments, patients, False))
    )
    free = len(terms.cells.weight) - of_patients - of_treatments
    found = _squares(terms.cells, patients, treatments)
    return found / free if free > 0.0 and found > 0.0 else None


def with_inverses(terms: Terms, patients: Half, treatments: Half) -> tuple[Half, Half]:
    """These factors with the inverses of their normal matrices, for their covariances."""
    as_patients = _solved_patients(terms, _equations(terms, patients, treatments, of_patients=True))
    as_treatments = _solved_treatments(terms, _equations(terms, patients, treatments, of_patients=False))
    return (
        replace(patients, inverse=as_patients.inverse, slope_inverse=as_patients.slope_inverse),
        replace(treatments, inverse=as_treatments.inverse, slope_inverse=as_treatments.slope_inverse),
    )


def _equations(terms: Terms, patients: Half, treatments: Half, *, of_patients: bool) -> Equations:
    unsafe = terms.unsafe
    if unsafe is not None:
        target = np.minimum(unsafe.expected(patients, treatments), terms.floor)
        unsafe = replace(unsafe, pull=(unsafe.weight * target).astype(unsafe.weight.dtype))
    other = treatments if of_patients else patients
    return normal_equations(terms.cells, other, of_patients=of_patients, biases=terms.biases, unsafe=unsafe)


def _solved_patients(terms: Terms, equations: Equations) -> Half:
    return solved(
        equations.gram, equations.right, terms.patients, precision=terms.of_patients, ridge=terms.ridge_of_patients
    )


def _solved_treatments(terms: Terms, equations: Equations) -> Half:
    return solved(
        equations.gram,
        equations.right,
        terms.treatments,
        precision=terms.of_treatments,
        ridge=terms.ridge_of_treatments,
    )


def _squares(cells: Cells, patients: Half, treatments: Half) -> float:
    """Weighted squares of what is left of the outcomes."""
    said = cells.expected(patients, treatments)
    return cells.square + float(np.sum(said * (cells.weight * said - 2.0 * cells.pull), dtype=np.float64))


def _trace(half: Half, gram: Floats) -> float:
    """Sum over rows of the trace of inverse times gram (packed)."""
    first, second = triangle(half.value.shape[1])
    twice = np.where(first == second, 1.0, 2.0).astype(gram.dtype)
    return float(np.sum(np.einsum("nq,nq->q", packed(half.inverse), gram) * twice, dtype=np.float64))


def _relearned(terms: Terms, patients: Half, treatments: Half, noise: float) -> Terms:
    """The penalties that the spread of the factors around their side information asks for: noise over covariance.

    A covariance is drawn to equal and independent factors as if by as many further rows as it has columns.
    """
    found = []
    cells = terms.cells
    for half, side, seen, unit in (
        (patients, terms.patients, np.diff(cells.start) > 0, _second_moment(cells)),
        (treatments, terms.treatments, np.bincount(cells.treatment, minlength=cells.n_treatments) > 0, 1.0),
    ):
        away = (half.value - side.columns @ half.slope)[seen].astype(np.float64)
        total = away.T @ away + noise * half.inverse[seen].sum(axis=0, dtype=np.float64)
        size, n = len(total), len(away)
        alike = np.diag(np.append(np.full(size - 1, np.diag(total)[:-1].mean()), total[-1, -1])) / n
        least = noise / _MOST_LAMBDA / np.append(np.full(size - 1, unit), 1.0)
        spread = (total + size * alike) / (n + size) + np.diag(least)
        found.append(noise * np.linalg.inv(spread))
    return replace(terms, of_patients=found[0], of_treatments=found[1])
