"""A linear part whose slopes may differ between treatments, as far as the rows ask for it (empirical Bayes).

    margin = bias + sum_j x_j (a_j + sum over features t of `right`: b_{j,t,level of t})

with a_j ~ N(0, v_j) and b_{j,t,.} ~ N(0, v_{j,t}). The variances and that of the noise maximise the probability of the
rows (MacKay's fixed point); a slope that the rows do not need gets a variance near zero and with it vanishes. Row
weights count as numbers of equal rows.

References
----------
MacKay. Bayesian interpolation. Neural Computation 1992;4:415-447.
Neal. Bayesian Learning for Neural Networks. Springer 1996 (automatic relevance determination).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from posologist.core.errors import ModelError
from posologist.learn.features import Array, Index
from posologist.learn.fit.bilinear import FittedBilinear
from posologist.learn.fit.parts import Matrix, Task, columns_of
from posologist.learn.fit.recipe import Hierarchical

_LEAST_VARIANCE = 1e-7  # of a slope, in standardised units: it is then none
_SETTLED = 1e-3  # the largest relative change of the noise and of the sum of the variances at which the rounds end


@dataclass(frozen=True)
class _Terms:
    """The terms of the model: their values on rows, and the number of the variance that each has, (n_terms,)."""

    values: Array
    group: Index


def fitted_hierarchical(part: Hierarchical, matrix: Matrix, task: Task) -> FittedBilinear:
    """The part fitted to rows.

    Raises
    ------
    ModelError
        If a quantile or a yes/no outcome is asked for.
    """
    if task.quantile is not None or task.yes_no:
        raise ModelError(
            "only the mean of a quantity is learned by it", where="recipe, hierarchical", hint="use crossed or trees"
        )
    left = columns_of(part.left, task.columns)
    right = [columns_of((name,), task.columns) for name in part.right]
    levels = np.concatenate(right)
    rows = matrix.astype(np.float64)
    share = task.weight / task.weight.sum()
    middle = share @ rows[:, left]
    terms = _terms(rows[:, left] - middle, rows, [task.columns[j] for j in left], right)
    slope, bias = _most_probable(terms, task, part.rounds)
    alone, own = slope[: len(left)], slope[len(left) : len(left) * (len(levels) + 1)].reshape(len(levels), len(left))
    of_level = slope[len(left) * (len(levels) + 1) :]
    # one map: for each level the sum over left columns, then what acts alone; the other: the levels, then 1
    size = len(levels) + 1
    first, second = np.zeros((rows.shape[1], size)), np.zeros((rows.shape[1], size))
    first[left, :-1], second[levels, np.arange(len(levels))] = own.T, 1.0
    first_bias, second_bias = (
        np.append(of_level - own @ middle, bias - middle @ alone),
        np.append(np.zeros(size - 1), 1.0),
    )
    first[left, -1] = alone
    return FittedBilinear(first, first_bias, second, second_bias)


def _terms(moved: Array, rows: Array, names: list[str], right: list[Index]) -> _Terms:
    """Left columns alone; their products with every level; the levels alone. Columns of one feature share a variance."""
    _, feature = np.unique([name.split("=")[0].removesuffix("?") for name in names], return_inverse=True)
    number = int(feature.max()) + 1
    blocks, groups = [moved], [feature]
    for k, columns in enumerate(right):
        for level in columns:
            blocks.append(moved * rows[:, [level]])
            groups.append(feature + number * (k + 1))
    for k, columns in enumerate(right):
        blocks.append(rows[:, columns])
        groups.append(np.full(len(columns), number * (len(right) + 1) + k))
    return _Terms(np.concatenate(blocks, axis=1), np.concatenate(groups).astype(np.int64))


def _most_probable(terms: _Terms, task: Task, rounds: int) -> tuple[Array, float]:
    """Slopes and bias under the variances that make the rows most probable."""
    weight = task.weight / task.weight.mean()
    n = len(weight)
    centre, mean = weight @ terms.values / n, float(weight @ task.outcome / n)
    moved, outcome = terms.values - centre, task.outcome - mean
    normal, pull = (moved * weight[:, None]).T @ moved, moved.T @ (weight * outcome)
    total = float(weight @ outcome**2)
    noise = max(total / n, 1e-12)
    _, group = np.unique(terms.group, return_inverse=True)
    variance = np.full(int(group.max()) + 1, noise / 16.0)
    slope, identity = np.zeros(len(pull)), np.eye(len(pull))
    for _ in range(rounds):
        precision = 1.0 / variance[group]
        spread = cho_solve(cho_factor(normal / noise + np.diag(precision)), identity)
        slope = spread @ pull / noise
        known = np.clip(1.0 - np.diag(spread) * precision, 0.0, 1.0)  # share that the rows tell of each slope
        before = noise, variance.sum()
        size, told = np.bincount(group, slope**2), np.bincount(group, known)
        variance = np.maximum(size / np.maximum(told, 1e-9), _LEAST_VARIANCE)
        rest = total - 2.0 * slope @ pull + slope @ normal @ slope
        noise = max(rest / max(n - float(known.sum()), 1.0), 1e-9)
        if max(abs(noise / before[0] - 1.0), abs(variance.sum() / before[1] - 1.0)) < _SETTLED:
            break
    return slope, mean - float(centre @ slope)
