"""Gradient descent for a factorisation, as published, and the objective that every solver makes least.

    J = 1/2 sum over observed cells of w (y - m - b_u - c_i - p_u . t_i)^2                       the outcomes
      + penalty/2 sum over unsafe cells of max(0, s - floor)^2,  s = m + b_u + c_i + p_u . t_i   therapeutic index
      + lambda1/2 |P - X A|^2 + lambda2/2 |T - Z B|^2 + lambda_bias/2 (|b - X a|^2 + |c - Z d|^2)
      + ridge/2 (|A|^2 + |a|^2 + |B|^2 + |d|^2)

X and Z are the side information. Without it, without biases and without unsafe cells this is
|R - P T'|^2 + lambda1 |P|^2 + lambda2 |T|^2 over the observed cells, halved, and a step down its gradient is

    P <- P + a (E T - lambda1 P),   T <- T + a (E' P - lambda2 T),   E = R - P T' on observed cells, else 0.

These are the updates of the founding paper (known from a restatement; the paper itself was not
read here) in the form that is usual in the field.

References
----------
koren-2009: Y. Koren et al., Matrix factorization techniques for recommender systems, Computer 42(8):30.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from posologist.core.errors import NumericsError
from posologist.learn.fit.factorise_cells import Cells
from posologist.learn.fit.factorise_side import Floats, Half, Side

_LEAST_RATE = 1e-12


@dataclass(frozen=True)
class Terms:
    """What the objective is made of: the cells, both sides' information and the penalties.

    Parameters
    ----------
    of_patients, of_treatments
        Penalty of a row's distance from its side information, a matrix; as published it is diagonal: lambda1 or
        lambda2 and, last, that of the bias.
    ridge_of_patients, ridge_of_treatments
        Penalties of the slopes, (rank + 1,); as published all are equal.
    biases
        False holds all biases at 0.
    unsafe
        Cells whose expected outcome above `floor` (without the mean) is penalised; their weight is the penalty.
    """

    cells: Cells
    patients: Side
    treatments: Side
    of_patients: Floats
    of_treatments: Floats
    ridge_of_patients: Floats
    ridge_of_treatments: Floats
    biases: bool = True
    unsafe: Cells | None = None
    floor: float = 0.0


def published_step(
    patients: Floats, treatments: Floats, errors: Floats, *, rate: float, lambda1: float, lambda2: float
) -> tuple[Floats, Floats]:
    """P + a (E T - lambda1 P) and T + a (E' P - lambda2 T), both from the old P and T.

    Parameters
    ----------
    patients, treatments
        P, shape (n_patients, rank), and T, shape (n_treatments, rank).
    errors
        E, outcome minus P T' in observed cells and 0 elsewhere, shape (n_patients, n_treatments); may be sparse.
    """
    return (
        patients + rate * (errors @ treatments - lambda1 * patients),
        treatments + rate * (errors.T @ patients - lambda2 * treatments),
    )


def objective(terms: Terms, patients: Half, treatments: Half) -> float:
    """J of these factors, with their slopes."""
    cells = terms.cells
    said = cells.expected(patients, treatments).astype(np.float64)
    total = cells.square + float(np.sum(said * (cells.weight * said - 2.0 * cells.pull), dtype=np.float64))
    if cells.background:
        left, right = (_whole(half, own) for half, own in ((patients, True), (treatments, False)))
        total += cells.background * float(np.sum((left.T @ left) * (right.T @ right)))
    if terms.unsafe is not None:
        total += float(np.sum(terms.unsafe.weight * _above(terms, patients, treatments) ** 2))
    for half, side, precision, ridge in _sides(terms, patients, treatments):
        away = (half.value - side.columns @ half.slope).astype(np.float64)
        total += float(np.sum((away @ precision) * away)) + float(np.sum(ridge * half.slope.astype(np.float64) ** 2))
    return 0.5 * total


def gradients(terms: Terms, patients: Half, treatments: Half) -> tuple[Floats, Floats]:
    """Slope of J in both sides' factors and biases, shaped like `Half.value`."""
    cells = terms.cells
    errors = cells.matrix(cells.pull - cells.weight * cells.expected(patients, treatments))
    above = None
    if terms.unsafe is not None:
        above = terms.unsafe.matrix(terms.unsafe.weight * _above(terms, patients, treatments))
    found = []
    for own, half, other in ((True, patients, treatments), (False, treatments, patients)):
        regressors = other.regressors
        pull = (errors if own else errors.T) @ regressors
        if above is not None:
            pull -= (above if own else above.T) @ regressors
        if cells.background:
            pull -= cells.background * (_whole(half, own) @ (_whole(other, not own).T @ regressors))
        side, precision = (terms.patients, terms.of_patients) if own else (terms.treatments, terms.of_treatments)
        slope = -pull + (half.value - side.columns @ half.slope) @ precision
        if not terms.biases:
            slope[:, -1] = 0.0
        found.append(slope)
    return found[0], found[1]


def slope_gradients(terms: Terms, patients: Half, treatments: Half) -> tuple[Floats, Floats]:
    """Slope of J in the slopes of both sides' information."""
    found = [
        ridge * half.slope - side.columns.T @ (half.value - side.columns @ half.slope) @ precision
        for half, side, precision, ridge in _sides(terms, patients, treatments)
    ]
    return found[0], found[1]


@dataclass(frozen=True)
class Descended:
    """Where a descent ended: factors, J after each step, and how often a rate was halved (0: run as published)."""

    patients: Half
    treatments: Half
    history: tuple[float, ...]
    n_halved: int


def descend(
    terms: Terms, patients: Half, treatments: Half, *, rate: float, most_steps: int, tolerance: float
) -> Descended:
    """Both sides' updates at once with a constant rate, until J falls by less than `tolerance` of itself.

    A step that would raise J is taken again with half the rate. After each step the slopes of the side information
    are set to their optimum given the factors.

    Raises
    ------
    NumericsError
        If no rate lowers J.
    """
    history = [objective(terms, patients, treatments)]
    n_halved = 0
    for _ in range(most_steps):
        left, right = gradients(terms, patients, treatments)
        while True:
            new = _moved(terms, patients, treatments, left, right, rate)
            total = objective(terms, *new)
            if total <= history[-1]:
                break
            rate, n_halved = rate / 2.0, n_halved + 1
            if rate < _LEAST_RATE:
                raise NumericsError(
                    "no step of gradient descent lowers the objective", where="rate", hint="scale the outcomes"
                )
        patients, treatments = new
        history.append(total)
        if history[-2] - total <= tolerance * total:
            break
    return Descended(patients, treatments, tuple(history), n_halved)


def _moved(
    terms: Terms, patients: Half, treatments: Half, left: Floats, right: Floats, rate: float
) -> tuple[Half, Half]:
    """Both sides a step down their gradients."""
    found = [
        _with_slope(half, half.value - rate * slope, side, precision, ridge)
        for (half, side, precision, ridge), slope in zip(
            _sides(terms, patients, treatments), (left, right), strict=True
        )
    ]
    return found[0], found[1]


def _with_slope(half: Half, value: Floats, side: Side, precision: Floats, ridge: Floats) -> Half:
    """These factors with the best slopes for them; the penalty is diagonal."""
    columns = side.columns
    if columns.shape[1] == 0:
        return replace(half, value=value)
    cross, pull = columns.T @ columns, columns.T @ value
    eye = np.eye(columns.shape[1])
    slope = np.stack(
        [np.linalg.solve(w * cross + ridge[j] * eye, w * pull[:, j]) for j, w in enumerate(np.diag(precision))], axis=1
    )
    return replace(half, value=value, slope=slope)


def _above(terms: Terms, patients: Half, treatments: Half) -> Floats:
    assert terms.unsafe is not None
    return np.maximum(terms.unsafe.expected(patients, treatments) - terms.floor, 0.0)


def _whole(half: Half, of_patients: bool) -> Floats:
    """Factors with bias and 1, so that the product of both sides' rows is the expected outcome."""
    one = np.ones((len(half.value), 1), half.value.dtype)
    latent, bias = half.value[:, :-1], half.value[:, -1:]
    return np.concatenate([latent, bias, one] if of_patients else [latent, one, bias], axis=1)


def _sides(terms: Terms, patients: Half, treatments: Half) -> tuple[tuple[Half, Side, Floats, Floats], ...]:
    return (
        (patients, terms.patients, terms.of_patients, terms.ridge_of_patients),
        (treatments, terms.treatments, terms.of_treatments, terms.ridge_of_treatments),
    )
