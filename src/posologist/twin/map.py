"""Most probable parameters of a patient given the levels (maximum a posteriori), many patients at once.

The objective is -2 ln of the posterior density without constants,

    sum((y - f)^2 / var(f) + ln var(f)) + eta' Omega^-1 eta,

with -2 ln P(y < limit) for a level below its limit (M3). It is minimised over independent scores of the random
effects (`individual.Effects`) by Newton steps inside a trust region. The predictions at the centre and at its
neighbours are one call of the predictor; fourth-order central differences of them give the derivatives with about
eleven digits.

References
----------
sheiner-1979-forecasting: L. B. Sheiner et al., Forecasting individual pharmacokinetics, Clin Pharmacol Ther 26:294.
beal-2001 (M3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from posologist.core.errors import PosologistError
from posologist.twin.individual import Array
from posologist.twin.levels import Model, Predict, Problem, Table, is_below, levels_at, problem_of, shape_of
from posologist.twin.residual import misfit

_STEP = 0.01  # distance of the neighbours, in standard deviations of a random effect
_SMALL_STEP = 1e-7  # a Newton step this small (standard deviations) is the end
_SMALL_GAIN = 1e-8  # a failed step from which no more than this was to be gained is the end as well
_FIRST_RADIUS, _LONGEST_STEP = 1.0, 4.0  # trust region (standard deviations of the random effects)
_SECULAR = 6  # Newton steps that find the damping of a step that ends on the radius
_FLAT = 0.1  # curvature below which the expected curvature is used instead (the prior alone has 2)
_ITERATIONS = 100
_TINY = 1e-300


@dataclass(frozen=True)
class MapResult:
    """Estimate of one patient.

    `eta` are the random effects between patients in the order of the model, `occasions` (n_occasions, n_eta) those
    within; `parameters` hold at the last record; `objective` as in the module; `gradient` is the largest derivative
    of the objective by a score, not small where the minimum is a kink (a lag that ends at a level). `hessian`, one row
    for each eta of both, is that of objective / 2 by the etas, so that its inverse approximates the posterior
    covariance; directions without variance are zero in it. `predictions` belong to the levels in order, as do
    `deviations`, (level - prediction) / sd on the scale of the error (nan for one below its limit). `problem` says why
    there is no estimate; it is empty otherwise.
    """

    subject: str
    eta: Array
    parameters: dict[str, float]
    objective: float
    converged: bool
    iterations: int
    gradient: float
    hessian: Array
    predictions: Array
    deviations: Array
    occasions: Array = field(default_factory=lambda: np.zeros((0, 0)))
    problem: str = ""

    @property
    def covariance(self) -> Array:
        """Laplace's approximation of the posterior covariance of the etas, in the order of `hessian`."""
        return np.asarray(np.linalg.pinv(self.hessian, hermitian=True))


def map_estimates(model: Model, tables: Sequence[Table], *, predict: Predict | None = None) -> tuple[MapResult, ...]:
    """Estimates of all patients, in their order; one that fails says why and leaves the others alone.

    Parameters
    ----------
    model
        A `PkModel`.
    tables
        One event table for each patient, times in h.
    predict
        Prediction of a record's output; by default that of the model's structure, by closed forms where they hold.
    """
    groups: dict[Any, list[int]] = {}
    results: dict[int, MapResult] = {}
    for i, table in enumerate(tables):
        try:
            groups.setdefault(shape_of(model, table, predict), []).append(i)
        except PosologistError as error:
            results[i] = _failed(model, table, str(error))
    for members in groups.values():
        found = _group(model, [tables[i] for i in members], predict)
        results.update(zip(members, found, strict=True))
    return tuple(results[i] for i in range(len(tables)))


def _group(model: Model, tables: Sequence[Table], predict: Predict | None) -> list[MapResult]:
    """Estimates of tables of one shape; where one of them stops the batch, each is tried alone."""
    try:
        problem = problem_of(model, tables, predict=predict)
        return map_results(problem, minimise(problem), tables)
    except PosologistError as error:
        if len(tables) == 1:
            return [_failed(model, tables[0], str(error))]
    return [result for table in tables for result in _group(model, [table], predict)]


def _failed(model: Model, table: Table, why: str) -> MapResult:
    n = len(model.random)
    nothing = np.full(len(levels_at(table)), np.nan)
    return MapResult(
        str(table.subject),
        np.full(n, np.nan),
        {},
        np.inf,
        False,
        0,
        np.inf,
        np.zeros((n, n)),
        nothing,
        nothing,
        problem=why,
    )


class Optimum(NamedTuple):
    """Where the minimiser ended, for each patient: scores, local values, iterations, whether it converged."""

    scores: Array
    local: Local
    iterations: Any
    converged: Any

    def where(self, rows: Any) -> Optimum:
        """These ends only."""
        return Optimum(self.scores[rows], self.local.where(rows), self.iterations[rows], self.converged[rows])


class Local(NamedTuple):
    """Objective at scores with its derivatives: (n,), (n, n_scores), (n, n_scores, n_scores); predictions."""

    value: Array
    gradient: Array
    hessian: Array
    expected: Array
    predictions: Array

    def where(self, rows: Any) -> Local:
        """These patients only."""
        return Local(*(part[rows] for part in self))


class Stencil(NamedTuple):
    """Neighbours of a point, (n_points, n_scores), and the weights that make derivatives of values there."""

    points: Array
    first: Array
    second: Array


@lru_cache(maxsize=64)
def stencil(n: int) -> Stencil:
    """Central differences of fourth order; mixed derivatives of second order."""
    points, h = [np.zeros(n)], _STEP
    for i in range(n):
        points += [np.eye(n)[i] * h * k for k in (-2, -1, 1, 2)]
    pairs = list(itertools.combinations(range(n), 2))
    for i, j in pairs:
        points += [(np.eye(n)[i] + np.eye(n)[j]) * h * k for k in (-1, 1)]
    first, second = np.zeros((n, len(points))), np.zeros((n, n, len(points)))
    for i in range(n):
        own = slice(1 + 4 * i, 5 + 4 * i)
        first[i, own] = np.array([1.0, -8.0, 8.0, -1.0]) / (12.0 * h)
        second[i, i, own] = np.array([-1.0, 16.0, 16.0, -1.0]) / (12.0 * h * h)
        second[i, i, 0] = -30.0 / (12.0 * h * h)
    for k, (i, j) in enumerate(pairs):
        mixed = np.zeros(len(points))
        mixed[0] = 2.0
        mixed[1 + 4 * n + 2 * k : 3 + 4 * n + 2 * k] = 1.0
        for axis in (i, j):
            mixed[[2 + 4 * axis, 3 + 4 * axis]] = -1.0
        second[i, j] = second[j, i] = mixed / (2.0 * h * h)
    return Stencil(np.array(points), first, second.reshape(n * n, len(points)))


def local_values(problem: Problem, rows: Any, scores: Array) -> Local:
    """Objective and derivatives of the patients `rows` (n,) at `scores` (n, n_scores)."""
    around = stencil(scores.shape[1])
    n, n_points = len(rows), len(around.points)
    neighbours = (scores[:, None, :] + around.points).reshape(n * n_points, -1)
    with np.errstate(all="ignore"):
        predicted = problem.on_scale(np.repeat(rows, n_points), neighbours).reshape(n, n_points, -1)
        centre = predicted[:, 0]
        terms = misfit(problem.error, centre, problem.levels[rows], problem.below[rows])
        first = around.first @ predicted
        second = (around.second @ predicted @ terms.slope[..., None]).reshape(n, *(2 * scores.shape[1:]))
        turned = np.swapaxes(first, 1, 2)
        prior = 2.0 * np.eye(scores.shape[1])
        return Local(
            value=terms.value.sum(axis=1) + (scores * scores).sum(axis=1),
            gradient=(first @ terms.slope[..., None])[..., 0] + 2.0 * scores,
            hessian=(first * terms.curvature[:, None, :]) @ turned + second + prior,
            expected=(first * terms.expected[:, None, :]) @ turned + prior,
            predictions=centre,
        )


def minimise(problem: Problem) -> Optimum:
    """Scores that minimise each patient's objective, from the typical patient on."""
    return _descended(problem, np.arange(problem.levels.shape[0]), *_start(problem))


def minimise_from(problem: Problem, owner: Any, scores: Array) -> Optimum:
    """Where the objective of the patients `owner` (n,) falls to from these scores (n, n_scores)."""
    return _descended(problem, owner, scores.copy(), local_values(problem, owner, scores))


def _descended(problem: Problem, owner: Any, scores: Array, best: Local) -> Optimum:
    """Newton steps inside a trust region; `scores` and `best` are moved in place."""
    n = len(owner)
    iterations = np.zeros(n, dtype=int)
    converged = np.zeros(n, dtype=bool)
    radius = np.full(n, _FIRST_RADIUS)
    active = np.flatnonzero(_is_finite(best))
    for _ in range(_ITERATIONS):
        step, gain, length = _step(best.where(active), radius[active])
        done = (length < _SMALL_STEP) & (length < 0.5 * radius[active])
        converged[active[done]] = True
        rows, step, gain, length = active[~done], step[~done], gain[~done], length[~done]
        if not rows.size:
            break
        tried = local_values(problem, owner[rows], scores[rows] + step)
        iterations[rows] += 1
        share = np.where(_is_finite(tried), best.value[rows] - tried.value, -np.inf) / np.maximum(gain, _TINY)
        better = share > 0
        radius[rows] = np.where(share < 0.25, 0.25 * length, np.where(share > 0.75, 2.0, 1.0) * radius[rows])
        radius[rows] = np.minimum(radius[rows], _LONGEST_STEP)
        stuck = ~better & (gain < _SMALL_GAIN)
        converged[rows[stuck]] = True
        taken = rows[better]
        scores[taken] += step[better]
        for mine, theirs in zip(best, tried, strict=True):
            mine[taken] = theirs[better]
        active = rows[~stuck]
        if not active.size:
            break
    return Optimum(scores, best, iterations, converged)


def _start(problem: Problem) -> tuple[Array, Local]:
    """The typical patient; where a level has no likelihood there, the likeliest of some patients around it."""
    n, n_scores = problem.levels.shape[0], problem.effects.n_scores
    scores = np.zeros((n, n_scores))
    best = local_values(problem, np.arange(n), scores)
    lost = np.flatnonzero(~_is_finite(best))
    for axis, length in itertools.product(range(n_scores if lost.size else 0), (-1.0, 1.0, -2.0, 2.0)):
        tried = np.zeros((lost.size, n_scores))
        tried[:, axis] = length
        found = local_values(problem, lost, tried)
        better = _is_finite(found) & (~_is_finite(best.where(lost)) | (found.value < best.value[lost]))
        scores[lost[better]] = tried[better]
        for mine, theirs in zip(best, found, strict=True):
            mine[lost[better]] = theirs[better]
    return scores, best


def _is_finite(local: Local) -> Any:
    values = np.isfinite(local.value) & np.isfinite(local.gradient).all(axis=1)
    return values & np.isfinite(local.hessian).all(axis=(1, 2))


def _step(local: Local, radius: Array) -> tuple[Array, Array, Array]:
    """Step inside the radius, what it should gain, and its length.

    The expected curvature stands in where the true one is not convex. Where the Newton step is too long, the damping
    that brings it to the radius solves 1 / length = 1 / radius, which is nearly linear in it.
    """
    if local.gradient.shape[1] == 0:
        nothing = np.zeros(len(local.value))
        return local.gradient, nothing, nothing
    eigenvalues, vectors = np.linalg.eigh(local.hessian)
    flat = eigenvalues[:, 0] < _FLAT
    if flat.any():
        eigenvalues[flat], vectors[flat] = np.linalg.eigh(local.expected[flat])
    along = (np.swapaxes(vectors, 1, 2) @ local.gradient[..., None])[..., 0]
    moved = along / eigenvalues
    length = np.sqrt((moved * moved).sum(axis=1))
    long = length > radius
    if long.any():
        moved[long] = _shortened(along[long], eigenvalues[long], radius[long])
        length = np.sqrt((moved * moved).sum(axis=1))
    gain = (moved * (along - 0.5 * eigenvalues * moved)).sum(axis=1)
    return -(vectors @ moved[..., None])[..., 0], gain, length


def _shortened(along: Array, eigenvalues: Array, radius: Array) -> Array:
    damping = np.zeros((len(radius), 1))
    for _ in range(_SECULAR):
        moved = along / (eigenvalues + damping)
        square = (moved * moved).sum(axis=1)
        slope = (moved * moved / (eigenvalues + damping)).sum(axis=1)
        damping[:, 0] += (np.sqrt(square) / radius - 1.0) * square / slope
    moved = along / (eigenvalues + damping)
    return np.asarray(moved * np.minimum(1.0, radius / np.sqrt((moved * moved).sum(axis=1)))[:, None])


def map_results(problem: Problem, optimum: Optimum, tables: Sequence[Table]) -> list[MapResult]:
    """What the minimiser found, patient by patient; `tables` are those of the problem."""
    rows = np.arange(len(tables))
    effects, n_eta = problem.effects, problem.effects.n_eta
    etas = effects.all_etas(optimum.scores)
    last = problem.parameters(rows, optimum.scores)[-1] if problem.typical else {}
    with np.errstate(over="ignore"):
        predicted = np.where(problem.error.logarithmic, np.exp(optimum.local.predictions), optimum.local.predictions)
    with np.errstate(invalid="ignore", divide="ignore"):
        away = problem.levels - optimum.local.predictions
        spread = np.sqrt(problem.error.variance(optimum.local.predictions))
        deviations = np.where(problem.below, np.nan, away / spread)
    inverse = np.linalg.pinv(effects.factor)
    hessians = inverse.T @ (optimum.local.hessian / 2.0) @ inverse
    return [
        MapResult(
            subject=str(table.subject),
            eta=etas[i, :n_eta],
            parameters={name: float(values[i]) for name, values in last.items()},
            objective=float(optimum.local.value[i]),
            converged=bool(optimum.converged[i]),
            iterations=int(optimum.iterations[i]),
            gradient=float(np.abs(optimum.local.gradient[i]).max(initial=0.0)),
            hessian=hessians[i],
            predictions=predicted[i],
            deviations=deviations[i],
            occasions=etas[i, n_eta:].reshape(-1, n_eta) if n_eta else np.zeros((0, 0)),
            problem=_complaint(problem, optimum, i),
        )
        for i, table in enumerate(tables)
    ]


def _complaint(problem: Problem, optimum: Optimum, i: int) -> str:
    if optimum.converged[i]:
        return ""
    predicted = optimum.local.predictions[i]
    if np.isfinite(optimum.local.value[i]):
        return f"no minimum was found within {_ITERATIONS} steps"
    with np.errstate(invalid="ignore", over="ignore"):
        variance = problem.error.variance(predicted)
    records = problem.tables[i].records
    for place, value, spread in zip(levels_at(problem.tables[i]), predicted, variance, strict=True):
        if not is_below(records[place]) and (not np.isfinite(value) or not spread > 0):
            time = records[place].time
            return f"the level at {time:g} h has no likelihood: the model predicts none there, and no error around it"
    return "the objective has no value at the typical parameters"
